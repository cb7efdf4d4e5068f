"""LangChain's `OpenAIEmbeddings`, with and without `await`. It shows no headers."""

from pathlib import Path
from typing import Any

import httpx2
from langchain_openai import OpenAIEmbeddings

from tests.peers.telling import HEADERS, KEY, MODEL, Ask, Hits, Seen, arguments, in_words, tell
from tests.peers.through import clients_of


def options(url: str, directory: Path | None, hits: Hits) -> dict[str, Any]:
    """Return what embeddings are made with: texts are sent as they are, and need no tokenizer from the network."""
    shared: dict[str, Any] = {"base_url": f"{url}/v1", "api_key": KEY, "model": MODEL, "max_retries": 0}
    shared["check_embedding_ctx_length"] = False
    if directory is None:
        return {**shared, "default_headers": HEADERS}
    client, async_client = clients_of(httpx2, directory, hits)
    return {**shared, "http_client": client, "http_async_client": async_client}


def asks_of(embeddings: OpenAIEmbeddings) -> dict[str, Ask]:
    async def aembed() -> Seen:
        return Seen(text=in_words(await embeddings.aembed_documents(["five", "six"])))

    return {
        "documents": lambda: Seen(text=in_words(embeddings.embed_documents(["one", "two", "three"]))),
        "query": lambda: Seen(text=in_words(embeddings.embed_query("four"))),
        "async documents": aembed,
    }


def main() -> None:
    hits = Hits()
    tell(asks_of(OpenAIEmbeddings(**options(*arguments(), hits))), hits)


if __name__ == "__main__":
    main()
