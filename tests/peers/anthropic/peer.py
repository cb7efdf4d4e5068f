"""The Anthropic SDK: with and without `await`, its `.stream()` helper, tools, thinking, and its raw responses."""

from typing import Any

import anthropic
import httpx2

from tests.peers.telling import KEY, MODEL, Ask, Hits, Seen, arguments, in_words, messages, tell
from tests.peers.through import sdk_options

WEATHER = {
    "name": "get_weather",
    "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}
THINKING = {"thinking": {"type": "enabled", "budget_tokens": 1024}, "max_tokens": 4096}


def about(question: str, **more: Any) -> dict[str, Any]:
    return {"model": MODEL, "max_tokens": 1000, "messages": messages(question), **more}


def whole(message: Any, cache_status: str | None = None, chunks: int | None = None) -> Seen:
    """Return what a message says: all of it, its usage, its signatures and its id too."""
    calls = tuple(part for block in message.content if block.type == "tool_use" for part in (block.name, in_words(block.input)))
    return Seen(text=in_words(message), calls=calls, cache_status=cache_status, chunks=chunks)


def streamed(events: list[Any], cache_status: str | None = None) -> Seen:
    """Return what a stream says, event by event."""
    return Seen(text=in_words(events), chunks=len(events), cache_status=cache_status)


def helped(api: Any, question: str, **more: Any) -> Seen:
    with api.stream(**about(question, **more)) as stream:
        events = list(stream)
        return whole(stream.get_final_message(), stream.response.headers["cache-status"], len(events))


def raw(api: Any, question: str) -> Seen:
    response = api.with_raw_response.create(**about(question))
    return whole(response.parse(), response.headers["cache-status"])


def raw_stream(api: Any, question: str) -> Seen:
    response = api.with_raw_response.create(**about(question, stream=True))
    return streamed(list(response.parse()), response.headers["cache-status"])


def waiting(api: Any) -> dict[str, Ask]:
    called = {"tools": [WEATHER], "tool_choice": {"type": "any"}}
    return {
        "JSON": lambda: whole(api.create(**about("JSON"))),
        "stream": lambda: streamed(list(api.create(**about("stream", stream=True)))),
        "tool": lambda: whole(api.create(**about("tool", **called))),
        "thinking": lambda: whole(api.create(**about("thinking", **THINKING))),
        ".stream()": lambda: helped(api, "helper"),
        ".stream() of a tool": lambda: helped(api, "helper, tool", **called),
        ".stream() of thinking": lambda: helped(api, "helper, thinking", **THINKING),
        "raw JSON": lambda: raw(api, "raw"),
        "raw stream": lambda: raw_stream(api, "raw stream"),
    }


async def helped_async(api: Any, question: str) -> Seen:
    async with api.stream(**about(question)) as stream:
        events = [event async for event in stream]
        return whole(await stream.get_final_message(), chunks=len(events))


def awaiting(api: Any) -> dict[str, Ask]:
    async def create() -> Seen:
        return whole(await api.create(**about("async JSON")))

    async def stream() -> Seen:
        return streamed([event async for event in await api.create(**about("async stream", stream=True))])

    return {"async JSON": create, "async stream": stream, "async .stream()": lambda: helped_async(api, "async helper")}


def main() -> None:
    hits, (url, directory) = Hits(), arguments()
    shared = {"base_url": url, "api_key": KEY, "max_retries": 0}
    sync_options, async_options = sdk_options(httpx2, shared, directory, hits)
    client, async_client = anthropic.Anthropic(**sync_options), anthropic.AsyncAnthropic(**async_options)
    tell(waiting(client.messages) | awaiting(async_client.messages), hits)


if __name__ == "__main__":
    main()
