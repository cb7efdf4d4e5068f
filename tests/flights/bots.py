"""Wrapped apps that answer what the test says, in one task, so that what they raise comes out bare."""

import json
from collections.abc import Sequence

import anyio
import anyio.lowlevel
from starlette.types import Receive, Scope, Send

from tests.upstream import EVENT_STREAM, Part, Told, completion, event, stream, stream_events

EVENTS = stream_events("one two three")
WHOLE = b"".join(EVENTS)
CUT = Told(EVENTS[:2], headers=EVENT_STREAM, ends=False)
RETRY = (b"retry-after", b"7")
USAGE = {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}


class Bot:
    """Gives its answers in turn, the last one ever after; an exception is raised before the head.

    It waits at its gate before each.
    """

    def __init__(self, *answers: Told | Exception, gate: anyio.Event | None = None) -> None:
        self.answers, self.gate, self.calls = answers, gate, 0
        self.was_cancelled = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.calls += 1
        answer = self.answers[min(self.calls, len(self.answers)) - 1] if self.answers else None
        try:
            asked = json.loads((await receive())["body"])
            if self.gate is not None:
                await self.gate.wait()
            if isinstance(answer, Exception):
                raise answer
            await say(answer or (stream() if asked.get("stream") else completion()), send)
        except anyio.get_cancelled_exc_class():
            self.was_cancelled = True
            raise


async def say(told: Told, send: Send) -> None:
    """Send a response; the app has its own work to do before each part."""
    await send({"type": "http.response.start", "status": told.status, "headers": list(told.headers)})
    for part in told.parts:
        await anyio.lowlevel.checkpoint()
        if isinstance(part, bytes):
            await send({"type": "http.response.body", "body": part, "more_body": True})
        elif isinstance(part, anyio.Event):
            await part.wait()
        else:
            raise part
    if told.ends:
        await send({"type": "http.response.body"})


def streaming(*parts: Part, ends: bool = True) -> Told:
    """Return a stream of these parts; of none, a whole one."""
    return Told(parts or EVENTS, headers=EVENT_STREAM, ends=ends)


def held_at(number: int, gate: anyio.Event, events: Sequence[bytes] = EVENTS) -> Told:
    """Return a whole stream that waits at a gate once so many events were sent."""
    return streaming(*events[:number], gate, *events[number:])


def with_usage() -> Told:
    """Return a stream that can answer for JSON too: its usage is on the finish chunk, as Cerebras sends it."""
    return streaming(*EVENTS[:-2], event({}, "stop", usage=USAGE), EVENTS[-1])
