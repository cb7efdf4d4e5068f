"""The Cerebras SDK, with and without `await`."""

from typing import Any

import httpx
from cerebras.cloud.sdk import AsyncCerebras, Cerebras

from tests.peers.telling import KEY, MODEL, Ask, Hits, Seen, arguments, messages, tell, text_of
from tests.peers.through import sdk_options


def whole(response: Any) -> Seen:
    text = response.parse().choices[0].message.content
    return Seen(text=text, cache_status=response.headers["cache-status"])


def streamed(chunks: list[Any], cache_status: str) -> Seen:
    return Seen(text=text_of(chunks), chunks=len(chunks), cache_status=cache_status)


def about(question: str, **more: Any) -> dict[str, Any]:
    return {"model": MODEL, "messages": messages(question), **more}


def waiting(chat: Any) -> dict[str, Ask]:
    def stream() -> Seen:
        response = chat.with_raw_response.create(**about("stream", stream=True))
        return streamed(list(response.parse()), response.headers["cache-status"])

    return {
        "plain": lambda: Seen(text=chat.create(**about("plain")).choices[0].message.content),
        "JSON": lambda: whole(chat.with_raw_response.create(**about("JSON"))),
        "stream": stream,
    }


def awaiting(chat: Any) -> dict[str, Ask]:
    async def create() -> Seen:
        response = await chat.with_raw_response.create(**about("async JSON"))
        text = (await response.parse()).choices[0].message.content
        return Seen(text=text, cache_status=response.headers["cache-status"])

    async def stream() -> Seen:
        response = await chat.with_raw_response.create(**about("async stream", stream=True))
        return streamed([chunk async for chunk in await response.parse()], response.headers["cache-status"])

    return {"async JSON": create, "async stream": stream}


def main() -> None:
    hits, (url, directory) = Hits(), arguments()
    shared = {"base_url": url, "api_key": KEY, "max_retries": 0}
    sync_options, async_options = sdk_options(httpx, shared, directory, hits)
    client, async_client = Cerebras(**sync_options), AsyncCerebras(**async_options)
    tell(waiting(client.chat.completions) | awaiting(async_client.chat.completions), hits)


if __name__ == "__main__":
    main()
