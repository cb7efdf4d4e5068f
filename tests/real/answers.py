"""Answers of an upstream that are made up: so that one can tell which call they came from, or when they end."""

import asyncio
import itertools
import json

import anyio

from tests.real.proxied import Respond, is_chat
from tests.real.recordings import Body
from tests.upstream import EVENT_STREAM, Asked, Told, completion, stream, stream_events

LINGER = 0.005
"""Seconds between `[DONE]` and the end of the body: some upstreams take their time."""


def numbered() -> Respond:
    """Number the answers, so that each is another."""
    numbers = itertools.count(1)

    def respond(asked: Asked) -> Told:
        if not is_chat(asked):
            return completion()
        text = f"answer number {next(numbers)}"
        return stream(text) if json.loads(asked.body).get("stream") else completion(text)

    return respond


def lingering(asked: Asked) -> Told:
    """Answer with the prompt, as a stream whose body ends a little after `[DONE]`."""
    text = json.loads(asked.body)["messages"][-1]["content"] if is_chat(asked) else ""
    end = anyio.Event()
    asyncio.get_running_loop().call_later(LINGER, end.set)
    return Told([*stream_events(text), end], headers=EVENT_STREAM)


def to_chat(told: Told) -> Respond:
    """Give this answer to chat requests, and a good one to those that only warm up."""
    return lambda asked: told if is_chat(asked) else completion()


def request(text: str = "hi", **more: object) -> Body:
    """Return a chat request."""
    return {"model": "m", "messages": [{"role": "user", "content": text}], **more}
