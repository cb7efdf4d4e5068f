"""The upstream is cut after every byte: in every mount, however its answers are framed, and some of it over real sockets.

R1: nothing is stored before its end was seen whole, no reader is shown a clean end, and nobody invents a `[DONE]`.
"""

import asyncio
import contextlib
import json
import socket
import struct
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal

import httpx
import httpx2
from starlette.types import Receive, Scope, Send

import cachemw.asgi
import cachemw.httpx
import cachemw.httpx2
import cachemw.wsgi
from cachemw import MemoryStore, Policy
from cachemw.proxy import Proxy
from cachemw.upstreams import HttpUpstream
from tests import transport_driver, wsgi_driver
from tests.asgi_driver import Reply
from tests.cassettes import FOLDER
from tests.faults.fault import ALL, Fault, Tally
from tests.faults.truth import answer_to, question
from tests.flights.bots import say
from tests.flights.callers import Caller
from tests.mounts.mounting import MAKERS, PATH, Sent
from tests.mounts.wsgi_upstream import WsgiUpstream
from tests.real.recordings import stored
from tests.upstream import DONE, EVENT_STREAM, JSON, Asked, Part, Told, Upstream

Headers = tuple[tuple[bytes, bytes], ...]
Way = Literal["raises", "returns", "is short", "is closed", "is whole"]
"""How an answer ends: an app or a transport raises; an app returns; it ends before its Content-Length, or before the last
chunk; a connection is closed that nothing else would have ended; as it should."""

RECORDINGS = ("cerebras_simple_llama", "cerebras_qwen_coder_tools_1", "openai_stream_length", "openai_stream_logprobs")
ASKING: Headers = ((b"content-type", b"application/json"), (b"authorization", b"Bearer alice"), (b"cachemw", b"on"))
URL = "http://127.0.0.1:1"
STRIDE, LONG_STRIDE = 23, 101
"""Of the bytes on the wire, one of so many is tried over sockets."""


@dataclass(frozen=True, slots=True)
class Whole:
    """An answer to cut, and what is asked for it. Its `last` event begins so, and the one that says of a cut so: `told`."""

    asks: bytes
    body: bytes
    is_stream: bool
    path: str = PATH
    last: bytes = DONE.strip()
    told: bytes = b'data: {"error"'

    @property
    def headers(self) -> Headers:
        return EVENT_STREAM if self.is_stream else JSON

    @property
    def complete_at(self) -> int:
        """After how many bytes nothing is missing: the `[DONE]`, or the last bracket."""
        is_line = self.is_stream and self.last == DONE.strip()
        return self.body.index(self.last) + len(self.last) if is_line else len(self.body.rstrip())


def wholes() -> list[Whole]:
    """Return two answers of each kind: recorded ones where they are, else ours."""
    if not FOLDER.is_dir():
        asked = [question(number, 40, stream=number > 1) for number in range(4)]
        return [Whole(body, _body_of(answer_to(body)), number > 1) for number, body in enumerate(asked)]
    recordings = [stored(name) for name in RECORDINGS]
    return [Whole(json.dumps(recording.request()).encode(), recording.body(), recording.is_stream) for recording in recordings]


def _body_of(told: Told) -> bytes:
    return b"".join(part for part in told.parts if isinstance(part, bytes))


class AppError(Exception):
    """What an app raises in the middle of its answer."""


@dataclass(slots=True)
class Source:
    """What answers: so much of an answer, that ends in such a way. Apps and transports of every kind ask it."""

    whole: Whole
    cut: int = 0
    way: Way = "is whole"
    open_bodies: int = 0

    @property
    def pieces(self) -> list[bytes]:
        """What comes, in two pieces."""
        come = self.whole.body[: self.cut]
        return [piece for piece in (come[: self.cut // 2], come[self.cut // 2 :]) if piece]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await say(self.told(None), send)

    def told(self, _: Asked | None) -> Told:
        """Answer as an app does."""
        length = (b"content-length", b"%d" % len(self.whole.body))
        headers = (*self.whole.headers, length) if self.way == "is short" else self.whole.headers
        parts: list[Part] = [*self.pieces, *([AppError()] if self.way == "raises" else [])]
        return Told(parts, headers=headers, ends=self.way in ("is short", "is whole"))

    def response(self, family: Any, request: Any) -> Any:
        """Answer as a transport of httpx, or of httpx2, does."""
        framed = () if self.way == "is closed" else ((b"transfer-encoding", b"chunked"),)
        return family.Response(
            200,
            headers=[*self.whole.headers, *framed],
            stream=_body_class(family)(self, family),
            request=request,
            extensions={"http_version": b"HTTP/1.1"},
        )


def _body_class(family: Any) -> Any:
    class Body(family.SyncByteStream, family.AsyncByteStream):  # type: ignore[misc]
        """A body that is to be closed."""

        def __init__(self, source: Source, family: Any) -> None:
            self._source, self._family, self._is_open = source, family, True
            source.open_bodies += 1

        def __iter__(self) -> Iterator[bytes]:
            yield from self._source.pieces
            if self._source.way == "raises":
                raise self._family.RemoteProtocolError("the peer closed the connection before the last chunk")

        async def __aiter__(self) -> AsyncIterator[bytes]:
            for piece in self:
                yield piece

        def close(self) -> None:
            self._source.open_bodies -= self._is_open
            self._is_open = False

        async def aclose(self) -> None:
            self.close()

    return Body


def inner_of(source: Source, family: Any) -> Any:
    """Return a transport that answers as a source does."""

    class Inner(family.BaseTransport, family.AsyncBaseTransport):  # type: ignore[misc]
        """A transport, sync and async."""

        def handle_request(self, request: Any) -> Any:
            return source.response(family, request)

        async def handle_async_request(self, request: Any) -> Any:
            return source.response(family, request)

    return Inner()


@dataclass(frozen=True, slots=True)
class Subject:
    """A mount, and how answers end before it. `is_tidy` says that nothing is under way."""

    name: str
    ways: tuple[Way, ...]
    ask: Callable[[bytes], Awaitable[Reply]]
    is_tidy: Callable[[], bool] = field(default=lambda: True)


def _asgi(name: str, ways: tuple[Way, ...], app: Any, cache: cachemw.asgi.CacheMiddleware, path: str) -> Subject:
    async def ask(body: bytes) -> Reply:
        caller = Caller(body, headers=((b"authorization", b"Bearer alice"),), path=path)
        await caller.call(app)  # what it raises, for which a server breaks the transfer off, it keeps
        return Reply(caller.status, caller.headers, tuple(caller.chunks), caller.is_complete)

    def is_tidy() -> bool:
        table = cache.driver.flights.here()
        return (len(table), table.held, table.detached) == (0, 0, 0)

    return Subject(name, ways, ask, is_tidy)


def _wsgi(name: str, ways: tuple[Way, ...], app: Any, path: str) -> Subject:
    async def ask(body: bytes) -> Reply:
        return wsgi_driver.call(app, "POST", path, body, ASKING, is_validated=False)

    return Subject(name, ways, ask)


def _transport(family: Any, mount: Any, source: Source, options: Any) -> Iterator[Subject]:
    ways: tuple[Way, ...] = ("raises", "is closed")
    client = family.Client(transport=mount.CacheTransport(inner_of(source, family), **options))
    aclient = family.AsyncClient(transport=mount.AsyncCacheTransport(inner_of(source, family), **options))

    async def ask(body: bytes) -> Reply:
        return transport_driver.call(client, "POST", URL + source.whole.path, body, ASKING)

    async def aask(body: bytes) -> Reply:
        return await transport_driver.acall(aclient, "POST", URL + source.whole.path, body, ASKING)

    yield Subject(family.__name__, ways, ask)
    yield Subject(f"{family.__name__} async", ways, aask)


def subjects(source: Source, store: MemoryStore) -> Iterator[Subject]:
    """Return the nine mounts, with an app or a transport in them that answers as the source says."""
    options: Any = {"store": store, "policy": Policy(on_abandon="cancel")}
    path = source.whole.path
    over_http: tuple[Way, ...] = ("raises", "is closed")
    here = WsgiUpstream(Upstream(source.told))
    upstream = partial(
        HttpUpstream, URL + "/v1", transport=lambda: inner_of(source, httpx), sync_transport=lambda: inner_of(source, httpx)
    )
    around = cachemw.asgi.CacheMiddleware(source, name="bot", **options)
    before = cachemw.asgi.CacheMiddleware(source, upstream=upstream(), **options)
    proxy = Proxy(upstream(), **options)
    yield _asgi("ASGI around an app", ("raises", "returns", "is short"), around, around, path)
    yield _asgi("ASGI with an upstream", over_http, before, before, path)
    yield _asgi("proxy", over_http, proxy, proxy._cache, path)
    around_here = cachemw.wsgi.CacheMiddleware(here, name="bot", **options)
    before_here = cachemw.wsgi.CacheMiddleware(here, upstream=upstream(), **options)
    yield _wsgi("WSGI around an app", ("raises", "is short"), around_here, path)
    yield _wsgi("WSGI with an upstream", over_http, before_here, path)
    yield from _transport(httpx, cachemw.httpx, source, options)
    yield from _transport(httpx2, cachemw.httpx2, source, options)


def fault_of(reply: Reply, whole: Whole, come: bytes, records: int, *, may_be_whole: bool) -> str | None:
    """Say what is wrong with what a reader was shown, or is stored; `come`: what the upstream said before it was cut."""
    if records and not may_be_whole:
        return "stored"
    if reply.status not in (None, 200, 502, 504):
        return f"status {reply.status}"
    if reply.status != 200:
        return None
    if _is_shown_whole(reply) and not (may_be_whole and reply.body == come):
        return "shown with a clean end"
    said, _, _ = reply.body.partition(whole.told)
    if not come.startswith(said) and not come.startswith(said.rstrip(b"\n")):
        return "shown what was not said"
    if whole.last.removeprefix(b"data: ") in reply.body and whole.last not in come:
        return "an invented end"
    return None


def _is_shown_whole(reply: Reply) -> bool:
    """Say whether a reader takes it as whole: it ended in order, and is as long as it says."""
    declared = reply.headers.get(b"content-length", b"%d" % len(reply.body))
    return reply.complete and int(declared) == len(reply.body)


async def cut_everywhere(whole: Whole, *, every_way: bool, stride: int = 2) -> Tally:
    """Cut an answer after every of its bytes, in every mount and every way, or after one of so many, in turn."""
    store, source = MemoryStore(), Source(whole)
    tally = Tally()
    for number, subject in enumerate(subjects(source, store)):
        for cut in range(len(whole.body)) if every_way else range(number % stride, len(whole.body), stride):
            for way in subject.ways if every_way else (subject.ways[cut // stride % len(subject.ways)],):
                source.way, source.cut = way, cut
                tally += await _cut_once(subject, source, store)
        source.way, source.cut = "is whole", len(whole.body)
        reply = await subject.ask(whole.asks)
        assert (reply.body, purge(store)) == (whole.body, 1), f"{subject.name} does not keep what is whole"
        if source.open_bodies or not subject.is_tidy():
            tally += Tally(leaks=1, examples=(f"{subject.name}: something is under way",))
    return tally


async def _cut_once(subject: Subject, source: Source, store: MemoryStore) -> Tally:
    reply = await subject.ask(source.whole.asks)
    may_be_whole = source.way == "is closed" and source.cut >= source.whole.complete_at
    wrong = fault_of(reply, source.whole, source.whole.body[: source.cut], len(list(store.scan())), may_be_whole=may_be_whole)
    if wrong or may_be_whole:
        purge(store)
    if wrong is None:
        return Tally(1)
    return Tally(1, wrong=1, examples=(f"{subject.name} {source.way} after {source.cut} bytes: {wrong}",))


def purge(store: MemoryStore) -> int:
    """Delete what is stored, and return how much that was."""
    keys = [key for key, _ in store.scan()]
    for key in keys:
        store.delete(key)
    return len(keys)


class Cutter:
    """A server in a thread: it says so many of its bytes to whoever asks, and closes, or resets, the connection."""

    def __init__(self) -> None:
        self.wire, self.cut, self.resets = b"", 0, False
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def close(self) -> None:
        """Stop."""
        self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._listener.close()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):  # the listener was shut down
            while True:
                connection, _ = self._listener.accept()
                with connection, contextlib.suppress(OSError):
                    self._talk(connection)

    def _talk(self, connection: socket.socket) -> None:
        connection.settimeout(5)
        asked = b""
        while not _is_whole(asked):
            if not (more := connection.recv(65_536)):
                return
            asked += more
        connection.sendall(self.wire[: self.cut])
        if self.resets:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def _is_whole(asked: bytes) -> bool:
    fields, end, body = asked.lower().partition(b"\r\n\r\n")
    return bool(end) and len(body) >= int(fields.partition(b"content-length:")[2].split(b"\r\n")[0])


def framings(whole: Whole) -> dict[str, bytes]:
    """Return the bytes on the wire, framed in each way there is."""
    fields = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Type: " + whole.headers[0][1]
    middle = len(whole.body) // 2
    chunks = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in (whole.body[:middle], whole.body[middle:], b""))
    return {
        "Content-Length": b"%s\r\nContent-Length: %d\r\n\r\n%s" % (fields, len(whole.body), whole.body),
        "chunked": b"%s\r\nTransfer-Encoding: chunked\r\n\r\n%s" % (fields, chunks),
        "close": b"%s\r\n\r\n%s" % (fields, whole.body),
    }


async def _cut_on_the_wire(whole: Whole, cutter: Cutter, kind: str, stride: int) -> Tally:
    """Cut what is on the wire after some of its bytes, by the end of the connection and by a reset."""
    store, tally = MemoryStore(), Tally()
    mount = MAKERS[kind](cutter.url, Upstream(), {"store": store})
    for at, (framing, wire) in enumerate(framings(whole).items()):
        cutter.wire = wire
        for resets in (False, True):
            for cut in range(at + 3 * resets, len(wire), stride):
                cutter.cut, cutter.resets = cut, resets
                reply = await mount.send(Sent(whole.asks, ASKING))
                come = wire[:cut].partition(b"\r\n\r\n")[2]
                may_be_whole = framing == "close" and len(come) >= whole.complete_at and not resets
                wrong = fault_of(reply, whole, whole.body, purge(store), may_be_whole=may_be_whole and reply.body == come)
                examples = (f"{kind} {framing} after {cut} bytes: {wrong}",) if wrong else ()
                tally += Tally(1, wrong=bool(wrong), examples=examples)
        cutter.cut, cutter.resets = len(wire), False
        reply = await mount.send(Sent(whole.asks, ASKING))
        assert (reply.body, purge(store)) == (whole.body, 1), f"{kind} does not keep what is whole"
    await mount.aclose()
    return tally


async def _run(*, every_way: bool) -> Tally:
    tally = Tally()
    before = asyncio.all_tasks()
    for whole in wholes():
        tally += await cut_everywhere(whole, every_way=every_way)
    in_process, cutter = tally.trials, Cutter()
    try:
        for whole in wholes():
            for kind in ("proxy", "WSGI with an upstream", "httpx", "httpx2 async"):
                tally += await _cut_on_the_wire(whole, cutter, kind, STRIDE if every_way else LONG_STRIDE)
    finally:
        await asyncio.to_thread(cutter.close)
    left = len(asyncio.all_tasks() - before)
    return tally + Tally(leaks=left, note=f"{in_process:,} in process, {tally.trials - in_process:,} over sockets")


def cut_after_every_byte(trials: int) -> Tally:
    """Cut four answers wherever they can be. Where not `ALL` is to be tried, mounts and ways take turns."""
    return asyncio.run(_run(every_way=trials == ALL))


FAULTS = (
    Fault(
        "upstream cut after every byte",
        "JSON and SSE, every offset of four recordings, every mount, framing and error; in CI in turn",
        20_000,
        ALL,
        cut_after_every_byte,
    ),
)
