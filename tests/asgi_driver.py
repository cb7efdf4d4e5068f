"""A tiny ASGI client that shows what an app sent, in which messages, and whether it came to an end."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

import anyio
from starlette.types import ASGIApp, Message, Scope

RawHeaders = Iterable[tuple[bytes, bytes]]
Hears = Callable[[bytes], None]
"""What a client does with each chunk when it comes."""


@dataclass(frozen=True, slots=True)
class Reply:
    """What came of a request. A body that is not complete was broken off, or left by its client."""

    status: int | None  # None: the response never began
    headers: Mapping[bytes, bytes]  # names in lower case; of repeated fields the last
    chunks: tuple[bytes, ...]  # as they came; empty ones are not listed
    complete: bool
    arrivals: tuple[float, ...] = field(default=(), compare=False)  # seconds after the call, one for each chunk
    raw_headers: tuple[tuple[bytes, bytes], ...] = ()
    error: Exception | None = field(default=None, compare=False)  # what broke it off, in mounts that raise

    @property
    def body(self) -> bytes:
        return b"".join(self.chunks)


def ignore(chunk: bytes) -> None:
    """Hear nothing."""


async def call(
    app: ASGIApp, method: str, path: str, body: bytes = b"", headers: RawHeaders = (), *, hears: Hears = ignore
) -> Reply:
    """Send a request and stay until the app returns."""
    return await answered(app, scope_for(method, path, headers), body, hears=hears)


async def answered(app: ASGIApp, scope: Scope, body: bytes = b"", *, hears: Hears = ignore) -> Reply:
    """Send the request of a scope, and stay until the app returns."""
    exchange = _Exchange(body, leave_after=None, hears=hears)
    await app(scope, exchange.receive, exchange.send)
    return exchange.reply()


async def call_and_leave(
    app: ASGIApp, method: str, path: str, body: bytes = b"", headers: RawHeaders = (), *, after: int
) -> Reply:
    """Send a request and leave after so many messages of the response, its start among them; 0 leaves at once."""
    exchange = _Exchange(body, leave_after=after)
    await app(scope_for(method, path, headers), exchange.receive, exchange.send)
    return exchange.reply()


def scope_for(method: str, path: str, headers: RawHeaders = ()) -> Scope:
    """Return an HTTP scope; a query string may follow the path."""
    bare, _, query = path.partition("?")
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": bare,
        "raw_path": bare.encode(),
        "query_string": query.encode(),
        "root_path": "",
        "headers": [(name.lower(), value) for name, value in headers],
        "client": ("127.0.0.1", 50000),
        "server": ("127.0.0.1", 8000),
        "state": {},
        "extensions": {},
    }


class _Exchange:
    """The server's side of one request."""

    def __init__(self, body: bytes, leave_after: int | None, hears: Hears = ignore) -> None:
        self._body: bytes | None = body
        self._leave_after, self._hears = leave_after, hears
        self._gone = anyio.Event()
        self._messages: list[tuple[float, Message]] = []
        self._began_at = anyio.current_time()

    async def receive(self) -> Message:
        body, self._body = self._body, None
        if body is not None:
            return {"type": "http.request", "body": body, "more_body": False}
        if self._leave_after != 0:
            await self._gone.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        await anyio.lowlevel.checkpoint()  # as a socket would: other tasks get their turn
        if self._gone.is_set():
            return  # a server drops what comes too late
        self._messages.append((anyio.current_time() - self._began_at, message))
        if message.get("body"):
            self._hears(message["body"])
        if _is_last(message) or len(self._messages) == self._leave_after:
            self._gone.set()

    def reply(self) -> Reply:
        start = next((message for _, message in self._messages if message["type"] == "http.response.start"), {})
        headers = tuple((name, value) for name, value in start.get("headers", ()))
        chunks = [(at, message["body"]) for at, message in self._messages if message.get("body")]
        return Reply(
            status=start.get("status"),
            headers=dict(headers),
            chunks=tuple(chunk for _, chunk in chunks),
            complete=any(_is_last(message) for _, message in self._messages),
            arrivals=tuple(at for at, _ in chunks),
            raw_headers=headers,
        )


def _is_last(message: Message) -> bool:
    return message["type"] == "http.response.body" and not message.get("more_body", False)
