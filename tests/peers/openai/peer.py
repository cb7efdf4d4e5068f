"""The OpenAI SDK: with and without `await`, its `.stream()` helper, and its raw responses."""

from typing import Any

import httpx2
import openai

from tests.peers.telling import KEY, MODEL, Ask, Hits, Seen, arguments, messages, tell, text_of
from tests.peers.through import sdk_options

WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "strict": True,
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}},
            "required": ["city"],
            "additionalProperties": False,
        },
    },
}


def whole(completion: Any, cache_status: str | None = None) -> Seen:
    message = completion.choices[0].message
    calls = tuple(part for call in message.tool_calls or () for part in (call.function.name, call.function.arguments))
    return Seen(text=message.content or "", calls=calls, cache_status=cache_status)


def streamed(chunks: list[Any], cache_status: str | None = None) -> Seen:
    return Seen(text=text_of(chunks), chunks=len(chunks), cache_status=cache_status)


def about(question: str, **more: Any) -> dict[str, Any]:
    return {"model": MODEL, "messages": messages(question), **more}


def helped(chat: Any, question: str, **more: Any) -> Seen:
    with chat.stream(**about(question, **more)) as stream:
        events = list(stream)
        final = whole(stream.get_final_completion())
    return Seen(text=final.text, calls=final.calls, chunks=len(events))


def raw(chat: Any, question: str) -> Seen:
    response = chat.with_raw_response.create(**about(question))
    return whole(response.parse(), response.headers["cache-status"])


def raw_stream(chat: Any, question: str) -> Seen:
    response = chat.with_raw_response.create(**about(question, stream=True))
    return streamed(list(response.parse()), response.headers["cache-status"])


def waiting(chat: Any) -> dict[str, Ask]:
    return {
        "JSON": lambda: whole(chat.create(**about("JSON"))),
        "stream": lambda: streamed(list(chat.create(**about("stream", stream=True)))),
        "tool": lambda: whole(chat.create(**about("tool", tools=[WEATHER], tool_choice="required"))),
        ".stream()": lambda: helped(chat, "helper"),
        ".stream() of a tool": lambda: helped(chat, "helper, tool", tools=[WEATHER], tool_choice="required"),
        "raw JSON": lambda: raw(chat, "raw"),
        "raw stream": lambda: raw_stream(chat, "raw stream"),
    }


async def helped_async(chat: Any, question: str) -> Seen:
    async with chat.stream(**about(question)) as stream:
        events = [event async for event in stream]
        final = whole(await stream.get_final_completion())
    return Seen(text=final.text, chunks=len(events))


async def raw_async(chat: Any, question: str) -> Seen:
    async with chat.with_streaming_response.create(**about(question)) as response:
        return whole(await response.parse(), response.headers["cache-status"])


def awaiting(chat: Any) -> dict[str, Ask]:
    async def create() -> Seen:
        return whole(await chat.create(**about("async JSON")))

    async def stream() -> Seen:
        return streamed([chunk async for chunk in await chat.create(**about("async stream", stream=True))])

    return {
        "async JSON": create,
        "async stream": stream,
        "async .stream()": lambda: helped_async(chat, "async helper"),
        "async raw": lambda: raw_async(chat, "async raw"),
    }


def main() -> None:
    hits, (url, directory) = Hits(), arguments()
    shared = {"base_url": f"{url}/v1", "api_key": KEY, "max_retries": 0}
    sync_options, async_options = sdk_options(httpx2, shared, directory, hits)
    client, async_client = openai.OpenAI(**sync_options), openai.AsyncOpenAI(**async_options)
    tell(waiting(client.chat.completions) | awaiting(async_client.chat.completions), hits)


if __name__ == "__main__":
    main()
