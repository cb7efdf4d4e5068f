"""ASGI's messages, and the values they stand for."""

from collections.abc import AsyncIterator, Awaitable, Callable
from urllib.parse import quote

import anyio
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from cachemw.core.messages import Head, Headers
from cachemw.core.policy import Policy
from cachemw.upstreams.base import END, Answer, Emit, Forwarding
from cachemw.upstreams.http import HttpUpstream, Outgoing


class ClientLeftError(OSError):
    """The client went away before its request was whole."""


class Incoming:
    """A request's body as the server hands it over: read here within a limit, then handed on to whoever answers."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._read = b""
        self._has_more = True
        self._handed_over: anyio.Event | None = None

    async def read(self, limit_bytes: int) -> bytes | None:
        """Return the body, `None` where it is larger than the limit; 0 only looks whether there is one.

        Raises `ClientLeftError`.
        """
        chunks: list[bytes] = []
        size = 0
        while self._has_more and size <= limit_bytes:
            chunks.append(await self._next())
            size += len(chunks[-1])
        self._read = b"".join(chunks)
        return self._read if size <= limit_bytes else None

    def replayed(self) -> Receive:
        """Return a `receive` that first gives what was read, then what the server gives: the rest, or a real disconnect."""
        messages: list[Message] = [{"type": "http.request", "body": self._read, "more_body": self._has_more}]

        async def replay() -> Message:
            return messages.pop() if messages else await self._receive()

        return replay

    def content(self) -> bytes | AsyncIterator[bytes]:
        """Return the body to send on: whole, or what was read and then piece by piece."""
        return self._pieces() if self._has_more else self._read

    async def left(self) -> None:
        """Return when the client has left. Nobody can tell before the body is handed over."""
        if self._has_more:
            self._handed_over = anyio.Event()
            await self._handed_over.wait()
        while (await self._receive())["type"] != "http.disconnect":
            pass

    async def _pieces(self) -> AsyncIterator[bytes]:
        if self._read:
            yield self._read
        while self._has_more:
            yield await self._next()
        if self._handed_over is not None:
            self._handed_over.set()

    async def _next(self) -> bytes:
        message = await self._receive()
        if message["type"] != "http.request":
            raise ClientLeftError
        self._has_more = message.get("more_body", False)
        body: bytes = message.get("body", b"")
        return body


class AsgiClient:
    """The server's `send`, as a client to answer."""

    def __init__(self, send: Send, left: Callable[[], Awaitable[None]] | None) -> None:
        self._send, self.left = send, left

    async def start(self, head: Head) -> None:
        await self._send({"type": "http.response.start", "status": head.status, "headers": list(head.headers)})

    async def write(self, chunk: bytes, more: bool) -> None:
        await self._send({"type": "http.response.body", "body": chunk, "more_body": more})


def from_app(app: ASGIApp, scope: Scope, receive: Receive) -> Forwarding:
    """Let a wrapped app answer, in the request's own task."""

    def forwarding(recorded: bool) -> Answer:
        headers = list(scope["headers"])
        if recorded:  # what is stored has no content coding
            headers = [field for field in headers if field[0].lower() != b"accept-encoding"]
            headers.append((b"accept-encoding", b"identity"))

        async def answer(emit: Emit) -> None:
            await app({**scope, "headers": headers, "extensions": {}}, receive, _emitting(emit))

        return answer

    return forwarding


def to_upstream(upstream: HttpUpstream, scope: Scope, incoming: Incoming, policy: Policy) -> Forwarding:
    """Let an HTTP upstream answer."""

    def forwarding(recorded: bool) -> Answer:
        outgoing = Outgoing(scope["method"], requested_url(upstream, scope), headers_of(scope), incoming.content())
        return upstream.answer(outgoing, policy.header_rules, recorded)

    return forwarding


def requested_url(upstream: HttpUpstream, scope: Scope) -> str:
    """Return the absolute URL that a request to us becomes a request for."""
    return upstream.url_for(raw_path_below(scope), scope["query_string"])


def _emitting(emit: Emit) -> Send:
    async def send(message: Message) -> None:
        if message["type"] == "http.response.start":
            fields = tuple((bytes(name), bytes(value)) for name, value in message.get("headers", ()))
            await emit(Head(message["status"], fields))
        elif message["type"] == "http.response.body":
            if chunk := bytes(message.get("body", b"")):
                await emit(chunk)
            if not message.get("more_body", False):
                await emit(END)

    return send


def path_below(scope: Scope) -> str:
    """Return the request's path below `root_path`."""
    return _below(scope["path"], scope.get("root_path", ""))


def raw_path_below(scope: Scope) -> bytes:
    """Return the path below `root_path` as it was sent."""
    raw = scope.get("raw_path")
    if raw is None:
        return quote(path_below(scope), safe="/:@!$&'()*+,;=~").encode()
    return _below(raw.decode("latin-1"), quote(scope.get("root_path", ""))).encode("latin-1")


def _below(path: str, root: str) -> str:
    below = path.removeprefix(root)
    return below if root and below[:1] in ("", "/") else path


def headers_of(scope: Scope) -> Headers:
    """Return the request's header fields."""
    return tuple((name, value) for name, value in scope["headers"])
