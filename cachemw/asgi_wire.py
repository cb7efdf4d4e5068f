"""ASGI's messages, and the values they stand for."""

from collections.abc import AsyncIterator, Awaitable, Callable
from urllib.parse import quote

import anyio
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from cachemw.core.headers import without
from cachemw.core.messages import Head, Headers
from cachemw.core.policy import Policy
from cachemw.upstreams.base import END, Answer, Emit, Forwarding
from cachemw.upstreams.http import HttpUpstream, Outgoing


class ClientLeftError(OSError):
    """The client went away before its request was whole."""


class Incoming:
    """A request as the server hands it over. Its body is read here within a limit, then handed on to whoever answers.

    `path` and `raw_path` are below `root_path`.
    """

    def __init__(self, scope: Scope, receive: Receive) -> None:
        self.scope = scope
        self.method: str = scope["method"]
        self.path = path_below(scope)
        self.headers: Headers = tuple([(name, value) for name, value in scope["headers"]])
        self._receive = receive
        self._read = b""
        self._has_more = True
        self._handed_over: anyio.Event | None = None

    @property
    def raw_path(self) -> bytes:
        return raw_path_below(self.scope)

    @property
    def query(self) -> bytes:
        query: bytes = self.scope["query_string"]
        return query

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
        if (await self._receive())["type"] != "http.disconnect":
            await anyio.sleep_forever()  # a `receive` that goes on giving the body cannot tell

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


def from_app(app: ASGIApp, incoming: Incoming) -> Forwarding:
    """Let a wrapped app answer, in the request's own task."""

    def forwarding(recorded: bool) -> Answer:
        headers = incoming.headers
        if recorded:  # what is stored has no content coding
            headers = (*without(headers, (b"accept-encoding",)), (b"accept-encoding", b"identity"))

        async def answer(emit: Emit) -> None:
            scope = {**incoming.scope, "headers": list(headers), "extensions": {}}
            await app(scope, incoming.replayed(), _emitting(emit))

        return answer

    return forwarding


def to_upstream(upstream: HttpUpstream, incoming: Incoming, policy: Policy) -> Forwarding:
    """Let an HTTP upstream answer."""

    def forwarding(recorded: bool) -> Answer:
        url = upstream.url_for(incoming.raw_path, incoming.query)
        outgoing = Outgoing(incoming.method, url, incoming.headers, incoming.content())
        return upstream.answer(outgoing, policy.header_rules, recorded)

    return forwarding


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
