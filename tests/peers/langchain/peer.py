"""LangChain's `ChatOpenAI`: invoke and stream, with and without `await`."""

from pathlib import Path
from typing import Any

import httpx2
from langchain_openai import ChatOpenAI

from tests.peers.telling import HEADERS, KEY, MODEL, Ask, Hits, Seen, arguments, tell
from tests.peers.through import clients_of


def options(url: str, directory: Path | None, hits: Hits) -> dict[str, Any]:
    """Return what a chat model is made with."""
    shared: dict[str, Any] = {"base_url": f"{url}/v1", "api_key": KEY, "model": MODEL, "max_retries": 0}
    shared["include_response_headers"] = True
    if directory is None:
        return {**shared, "default_headers": HEADERS}
    client, async_client = clients_of(httpx2, directory, hits)
    return {**shared, "http_client": client, "http_async_client": async_client}


def whole(message: Any) -> Seen:
    calls = tuple(part for call in message.tool_calls for part in (call["name"], str(call["args"])))
    return Seen(text=message.content, calls=calls, cache_status=cache_status(message))


def streamed(chunks: list[Any]) -> Seen:
    said = next(filter(None, map(cache_status, chunks)))
    return Seen(text="".join(chunk.content for chunk in chunks), chunks=len(chunks), cache_status=said)


def cache_status(message: Any) -> str | None:
    said: str | None = message.response_metadata.get("headers", {}).get("cache-status")
    return said


def get_weather(city: str) -> str:
    """Return the weather in a city."""
    return f"It rains in {city}."


def asks_of(model: ChatOpenAI) -> dict[str, Ask]:
    with_tool = model.bind_tools([get_weather], tool_choice="required")

    async def ainvoke() -> Seen:
        return whole(await model.ainvoke("async JSON"))

    async def astream() -> Seen:
        return streamed([chunk async for chunk in model.astream("async stream")])

    return {
        "JSON": lambda: whole(model.invoke("JSON")),
        "stream": lambda: streamed(list(model.stream("stream"))),
        "tool": lambda: whole(with_tool.invoke("tool")),
        "async JSON": ainvoke,
        "async stream": astream,
    }


def main() -> None:
    hits = Hits()
    tell(asks_of(ChatOpenAI(**options(*arguments(), hits))), hits)


if __name__ == "__main__":
    main()
