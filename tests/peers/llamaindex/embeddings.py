"""LlamaIndex's `OpenAILikeEmbedding`, with and without `await`. It shows no headers."""

from pathlib import Path
from typing import Any

import httpx
from llama_index.embeddings.openai_like import OpenAILikeEmbedding

from tests.peers.telling import HEADERS, KEY, MODEL, Ask, Hits, Seen, arguments, in_words, tell
from tests.peers.through import clients_of


def options(url: str, directory: Path | None, hits: Hits) -> dict[str, Any]:
    """Return what embeddings are made with."""
    shared: dict[str, Any] = {"api_base": f"{url}/v1", "api_key": KEY, "model_name": MODEL, "max_retries": 0}
    if directory is None:
        return {**shared, "default_headers": HEADERS}
    client, async_client = clients_of(httpx, directory, hits)
    return {**shared, "http_client": client, "async_http_client": async_client}


def asks_of(embeddings: OpenAILikeEmbedding) -> dict[str, Ask]:
    async def aembed() -> Seen:
        return Seen(text=in_words(await embeddings.aget_text_embedding_batch(["five", "six"])))

    return {
        "texts": lambda: Seen(text=in_words(embeddings.get_text_embedding_batch(["one", "two", "three"]))),
        "query": lambda: Seen(text=in_words(embeddings.get_query_embedding("four"))),
        "async texts": aembed,
    }


def main() -> None:
    hits = Hits()
    tell(asks_of(OpenAILikeEmbedding(**options(*arguments(), hits))), hits)


if __name__ == "__main__":
    main()
