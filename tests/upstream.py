"""An upstream that answers what the test says, and remembers what it was asked. An ASGI app: it can also be wrapped."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import anyio
from starlette.types import Message, Receive, Scope, Send

EVENT_STREAM = ((b"content-type", b"text/event-stream; charset=utf-8"),)
JSON = ((b"content-type", b"application/json"),)
DONE = b"data: [DONE]\n\n"

Part = bytes | anyio.Event | BaseException
"""Of a body: bytes to send, an event to wait for, or what the app raises there."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A request as it arrived upstream."""

    method: str
    path: str
    raw_path: bytes
    query: bytes
    headers: tuple[tuple[bytes, bytes], ...]
    body: bytes

    def header(self, name: bytes) -> bytes | None:
        return next((value for known, value in self.headers if known.lower() == name), None)


@dataclass(frozen=True, slots=True)
class Told:
    """A response to give. One that does not end just returns, which breaks the transfer."""

    parts: Sequence[Part]
    status: int = 200
    headers: tuple[tuple[bytes, bytes], ...] = JSON
    ends: bool = True


@dataclass(slots=True)
class Upstream:
    """Answers by `respond`, which may look at the request."""

    respond: Callable[[Asked], Told] = field(default=lambda asked: answer_to(asked))
    asked: list[Asked] = field(default_factory=list)
    left: anyio.Event | None = None  # set when a client went away before the end
    hears: Callable[[bytes], None] | None = None  # told of every piece of a request's body as it comes

    @property
    def calls(self) -> int:
        return len(self.asked)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await _live(receive, send)
            return
        asked = await _read(scope, receive, self.hears)
        self.asked.append(asked)
        told = self.respond(asked)
        await send({"type": "http.response.start", "status": told.status, "headers": list(told.headers)})
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._watch, receive, tasks.cancel_scope)
            await _send_parts(told, send)
            tasks.cancel_scope.cancel()

    async def _watch(self, receive: Receive, scope: anyio.CancelScope) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        if self.left is not None:
            self.left.set()
        scope.cancel()


async def _send_parts(told: Told, send: Send) -> None:
    for part in told.parts:
        if isinstance(part, bytes):
            await send({"type": "http.response.body", "body": part, "more_body": True})
        elif isinstance(part, anyio.Event):
            await part.wait()
        else:
            raise part
    if told.ends:
        await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _read(scope: Scope, receive: Receive, hears: Callable[[bytes], None] | None) -> Asked:
    body = b""
    has_more = True
    while has_more:
        message: Message = await receive()
        body += message.get("body", b"")
        if hears is not None:
            hears(message.get("body", b""))
        has_more = message.get("more_body", False)
    fields = tuple((bytes(name), bytes(value)) for name, value in scope["headers"])
    return Asked(scope["method"], scope["path"], scope["raw_path"], scope["query_string"], fields, body)


async def _live(receive: Receive, send: Send) -> None:
    while True:
        phase = (await receive())["type"]
        await send({"type": f"{phase}.complete"})
        if phase == "lifespan.shutdown":
            return


def always(told: Told) -> Callable[[Asked], Told]:
    """Return a `respond` that looks at nothing."""
    return lambda _: told


def answer_to(asked: Asked) -> Told:
    """Return a good answer: a stream if that was asked for, else JSON; it says how the prompt ended."""
    body = json.loads(asked.body) if asked.body else {}
    prompt = str(body.get("messages", [{}])[-1].get("content", "")) if isinstance(body, dict) else ""
    return (
        stream(f"you said {prompt[-20:]}")
        if isinstance(body, dict) and body.get("stream")
        else completion(f"you said {prompt[-20:]}")
    )


def completion(text: str = "hello", **changes: Any) -> Told:
    """Return a chat completion with one choice."""
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
    body = {"id": "c1", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice], **changes}
    raw = json.dumps(body).encode()
    return Told((raw,), headers=(*JSON, (b"content-length", b"%d" % len(raw))))


def event(delta: dict[str, Any], finish_reason: str | None = None, index: int = 0, **more: Any) -> bytes:
    """Return one chunk of a stream, framed."""
    choice = {"index": index, "delta": delta, "finish_reason": finish_reason}
    body = {"id": "c1", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice], **more}
    return b"data: " + json.dumps(body).encode() + b"\n\n"


def stream_events(text: str = "hello there") -> list[bytes]:
    """Return the events of a whole stream, `[DONE]` included."""
    words = [event({"content": word + " "}) for word in text.split()]
    return [event({"role": "assistant"}), *words, event({}, "stop"), DONE]


def stream(text: str = "hello there") -> Told:
    """Return a whole stream, one part an event."""
    return Told(stream_events(text), headers=EVENT_STREAM)


def prompt(text: str = "hi", **more: Any) -> bytes:
    """Return the body of a chat request, as the SDKs write it."""
    body = {"model": "m", "messages": [{"role": "user", "content": text}], **more}
    return json.dumps(body, separators=(",", ":"), ensure_ascii=False).encode()
