"""LlamaIndex's `OpenAILike`: chat and stream_chat, with and without `await`. It shows no headers."""

from pathlib import Path
from typing import Any

import httpx
from llama_index.core.llms import ChatMessage
from llama_index.llms.openai_like import OpenAILike

from tests.peers.telling import HEADERS, KEY, MODEL, Ask, Hits, Seen, arguments, tell
from tests.peers.through import clients_of


def options(url: str, directory: Path | None, hits: Hits) -> dict[str, Any]:
    """Return what a model is made with."""
    shared: dict[str, Any] = {"api_base": f"{url}/v1", "api_key": KEY, "model": MODEL, "max_retries": 0}
    shared["is_chat_model"] = True
    if directory is None:
        return {**shared, "default_headers": HEADERS}
    client, async_client = clients_of(httpx, directory, hits)
    return {**shared, "http_client": client, "async_http_client": async_client}


def whole(response: Any) -> Seen:
    return Seen(text=response.message.content)


def streamed(parts: list[Any]) -> Seen:
    return Seen(text="".join(part.delta or "" for part in parts), chunks=len(parts))


def asks_of(model: OpenAILike) -> dict[str, Ask]:
    def about(question: str) -> list[ChatMessage]:
        return [ChatMessage(role="user", content=question)]

    async def achat() -> Seen:
        return whole(await model.achat(about("async JSON")))

    async def astream_chat() -> Seen:
        return streamed([part async for part in await model.astream_chat(about("async stream"))])

    return {
        "JSON": lambda: whole(model.chat(about("JSON"))),
        "stream": lambda: streamed(list(model.stream_chat(about("stream")))),
        "async JSON": achat,
        "async stream": astream_chat,
    }


def main() -> None:
    hits = Hits()
    tell(asks_of(OpenAILike(**options(*arguments(), hits))), hits)


if __name__ == "__main__":
    main()
