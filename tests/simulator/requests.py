"""Requests to the simulator, and its answers read."""

import json
from typing import Any

import anyio
from starlette.types import ASGIApp, Message

from tests.asgi_driver import Reply, call

CHAT = "/v1/chat/completions"
WEATHER: dict[str, Any] = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "parameters": {
            "type": "object",
            "properties": {
                "city": {"type": "string"},
                "days": {"type": "integer", "minimum": 1, "maximum": 7},
                "unit": {"enum": ["celsius", "fahrenheit"]},
            },
            "required": ["city"],
        },
    },
}
NEWS: dict[str, Any] = {"type": "function", "function": {"name": "get_news"}}


def ask(**members: Any) -> bytes:
    """Return the body of a request; members override the usual ones."""
    usual = {"model": "llama3.1-8b", "messages": [{"role": "user", "content": "Explain photosynthesis to me, please."}]}
    return json.dumps(usual | members).encode()


async def post(app: ASGIApp, **members: Any) -> Reply:
    return await call(app, "POST", CHAT, ask(**members))


async def completion(app: ASGIApp, **members: Any) -> Any:
    reply = await post(app, **members)
    assert (reply.status, reply.complete) == (200, True), reply.body
    return json.loads(reply.body)


async def chunks(app: ASGIApp, **members: Any) -> list[Any]:
    """Return the parsed events of a stream, without the end mark that it must have."""
    *events, done = events_of(await post(app, stream=True, **members))
    assert done == "[DONE]"
    return [json.loads(event) for event in events]


def events_of(reply: Reply) -> list[str]:
    *events, rest = reply.body.decode().split("\n\n")
    assert not rest
    return [event.removeprefix("data: ") for event in events]


def text_of(events: list[Any], index: int = 0) -> str:
    entries = [entry for event in events for entry in event["choices"] if entry["index"] == index]
    return "".join(entry["delta"].get("content") or "" for entry in entries)


async def nothing_more() -> Message:
    """Be the `receive` of a client that has no more to say and stays."""
    await anyio.sleep_forever()
    raise AssertionError("forever is over")
