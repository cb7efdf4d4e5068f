"""A server that says exactly the bytes it is told to, and a listener that hears an upstream out."""

import contextlib
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass, field

import anyio
from anyio.abc import ByteStream, SocketAttribute

from cachemw.cache.header_rules import HeaderRules
from cachemw.limits import Timeouts
from cachemw.messages import Head, Headers
from cachemw.upstreams import HttpUpstream
from cachemw.upstreams.base import UpstreamRequest
from cachemw.upstreams.checking import Credentials
from cachemw.upstreams.push import End, pushed

Part = bytes | anyio.Event
"""Of an answer: bytes to send, or an event to wait for."""

RULES = HeaderRules()


def answer(body: bytes = b"{}", *fields: bytes, status: bytes = b"200 OK") -> bytes:
    """Return a whole response, header fields spelled as they are given."""
    length = b"Content-Length: %d" % len(body)
    return b"\r\n".join([b"HTTP/1.1 " + status, length, b"Connection: close", *fields, b"", body])


def head(*fields: bytes) -> bytes:
    """Return the head of a response that says nothing of its body's length."""
    return b"\r\n".join([b"HTTP/1.1 200 OK", *fields, b"", b""])


def chunk(data: bytes) -> bytes:
    """Return a chunk of the chunked coding; an empty one is the last."""
    return b"%x\r\n%s\r\n" % (len(data), data)


CHUNKED = head(b"Content-Type: text/event-stream", b"Transfer-Encoding: chunked")


@dataclass(slots=True)
class RawServer:
    """Says the same on every connection, when the request has come, and hangs up."""

    parts: Iterable[Part] = field(default=(answer(),))
    requests: list[bytes] = field(default_factory=list)
    asked: anyio.Event = field(default_factory=anyio.Event)  # set when there is a request
    left: anyio.Event = field(default_factory=anyio.Event)  # set when a client hung up first
    url: str = ""

    @property
    def origin(self) -> bytes:
        return self.url.removeprefix("http://").encode()

    def request_line(self) -> bytes:
        """Return the first line of the last request."""
        return self.requests[-1].partition(b"\r\n")[0]

    def sent(self, lower_name: bytes) -> list[bytes]:
        """Return the values of a field of the last request."""
        return [value for name, value in self.fields() if name == lower_name]

    def fields(self) -> list[tuple[bytes, bytes]]:
        """Return the header fields of the last request, names in lower case."""
        lines = self.requests[-1].partition(b"\r\n\r\n")[0].split(b"\r\n")[1:]
        pairs = (line.partition(b":") for line in lines)
        return [(name.lower(), value.strip()) for name, _, value in pairs]

    async def talk(self, stream: ByteStream) -> None:
        with contextlib.suppress(anyio.EndOfStream, anyio.BrokenResourceError):
            async with stream:
                self.requests.append(await _whole_request(stream))
                self.asked.set()
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(self._watch, stream, tasks.cancel_scope)
                    await self._say(stream)
                    tasks.cancel_scope.cancel()

    async def _say(self, stream: ByteStream) -> None:
        with contextlib.suppress(anyio.BrokenResourceError):
            for part in self.parts:
                await (stream.send(part) if isinstance(part, bytes) else part.wait())

    async def _watch(self, stream: ByteStream, scope: anyio.CancelScope) -> None:
        with contextlib.suppress(anyio.EndOfStream, anyio.BrokenResourceError):
            while True:
                await stream.receive()
        self.left.set()
        scope.cancel()


async def _whole_request(stream: ByteStream) -> bytes:
    request = b""
    while not _is_whole(request):
        request += await stream.receive()
    return request


def _is_whole(request: bytes) -> bool:
    fields, end, body = request.partition(b"\r\n\r\n")
    _, _, length = fields.lower().partition(b"content-length:")
    if b"transfer-encoding: chunked" in fields.lower():
        return body.endswith(b"0\r\n\r\n")
    return bool(end) and len(body) >= int(length.split(b"\r\n")[0] or 0)


@contextlib.asynccontextmanager
async def listening(*parts: Part) -> AsyncIterator[RawServer]:
    """Serve from the running event loop."""
    async with await anyio.create_tcp_listener(local_host="127.0.0.1") as listener, anyio.create_task_group() as tasks:
        server = RawServer(parts or (answer(),))
        server.url = f"http://127.0.0.1:{listener.extra(SocketAttribute.local_port)}"
        tasks.start_soon(listener.serve, server.talk)
        yield server
        tasks.cancel_scope.cancel()


@contextlib.asynccontextmanager
async def reaching(
    *parts: Part,
    path: str = "",
    api_key: str | None = None,
    credentials: Credentials = "pass",
) -> AsyncIterator[tuple[RawServer, HttpUpstream]]:
    """Serve, and give the upstream that is there."""
    async with (
        listening(*parts) as server,
        closing(HttpUpstream(server.url + path, api_key=api_key, credentials=credentials)) as upstream,
    ):
        yield server, upstream


@dataclass(slots=True)
class Listener:
    """Hears an answer out."""

    head: Head | None = None
    body: bytes = b""
    is_over: bool = False
    news: anyio.Event = field(default_factory=anyio.Event)

    async def emit(self, event: Head | bytes | End) -> None:
        await anyio.lowlevel.checkpoint()
        if isinstance(event, Head):
            self.head = event
        elif isinstance(event, End):
            self.is_over = True
        else:
            self.body += event
        news, self.news = self.news, anyio.Event()
        news.set()

    async def hears(self, body: bytes) -> None:
        """Wait until so much of the body has come."""
        while self.body != body:
            await self.news.wait()


def outgoing(
    path: bytes = b"/v1/chat/completions",
    query: bytes = b"",
    *,
    headers: Headers = (),
    method: str = "POST",
    recorded: bool = False,
    rules: HeaderRules = RULES,
    timeouts: Timeouts = Timeouts(),
) -> UpstreamRequest:
    """Return the request that a client's path and header fields become."""
    body = b"" if method in ("GET", "HEAD") else b"{}"
    return UpstreamRequest(method, path, query, headers, body, rules, recorded=recorded, timeouts=timeouts)


async def ask(
    upstream: HttpUpstream,
    path: bytes = b"/v1/chat/completions",
    query: bytes = b"",
    *,
    headers: Headers = (),
    method: str = "POST",
    recorded: bool = False,
    rules: HeaderRules = RULES,
    listener: Listener | None = None,
    timeouts: Timeouts = Timeouts(),
) -> Listener:
    """Ask, and hear the answer out."""
    heard = listener or Listener()
    request = outgoing(path, query, headers=headers, method=method, recorded=recorded, rules=rules, timeouts=timeouts)
    await pushed(upstream, request, heard.emit)
    return heard


async def hear_out(upstream: HttpUpstream, request: UpstreamRequest, listener: Listener) -> None:
    """Ask, where nobody waits for the listener."""
    await pushed(upstream, request, listener.emit)


def read_out(upstream: HttpUpstream, request: UpstreamRequest) -> tuple[Head, bytes]:
    """Ask without `await`, and read the answer to its end. Raises `UpstreamError`."""
    with contextlib.closing(upstream), contextlib.closing(upstream.open(request)) as response:
        chunks = list(iter(lambda: response.read(None), None))
    return response.head, b"".join(chunks)


@contextlib.asynccontextmanager
async def closing(upstream: HttpUpstream) -> AsyncIterator[HttpUpstream]:
    """Close the upstream's connections in the end."""
    try:
        yield upstream
    finally:
        await upstream.aclose()
