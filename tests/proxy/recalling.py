"""One store behind two listeners, of which one recalls: whatever is sent, the two say the same, but for `Age` and `ttl`."""

import contextlib
import re
import weakref
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import anyio
from anyio.abc import SocketStream
from uvicorn._types import ASGI3Application, HTTPScope
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from cachemw import ExchangeReport, Limits, MemoryStore, Policy
from cachemw.proxy import Gate, Proxy
from cachemw.proxy.admission import AccessRules
from cachemw.proxy.listener import GuardedProtocol
from cachemw.upstreams import HttpUpstream
from tests.proxy.guarded import listening, rest
from tests.serving import serving, until
from tests.upstream import EVENT_STREAM, Told, Upstream, always, prompt, stream_events

RULES = AccessRules(Policy(), max_body=1_000_000)
RECALLING = Limits(recall_bytes=2**26)
"""Said, for a run of all tests may be one without recall."""

LAST = b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n"
"""After it the server closes, and all has been said."""

_IN_TIME = re.compile(rb"(?<=\r\nage: )\d+|(?<=; ttl=)\d+")


def chat(body: bytes, fields: bytes = b"", version: bytes = b"1.1", length: bytes | None = None) -> bytes:
    """Return a request for a completion."""
    size = b"Content-Length: %d\r\n" % len(body) if length is None else length
    fixed = b"Host: 127.0.0.1\r\nContent-Type: application/json\r\nAuthorization: Bearer sk-a\r\nCachemw: on\r\n"
    return b"POST /v1/chat/completions HTTP/" + version + b"\r\n" + fixed + fields + size + b"\r\n" + body


JSON = chat(prompt("what is one and one, asked as JSON"), b"Connection: keep-alive\r\n")
STREAM = chat(prompt("what is one and one, asked as a stream", stream=True))
LARGE = chat(prompt("a long story", stream=True))
"""Its answer is a stream of more than a piece."""


def head_of(request: bytes) -> bytes:
    return request[: request.index(b"\r\n\r\n") + 4]


@dataclass(slots=True)
class Listener:
    """A proxy that listens: what it was sent, and how many requests went the whole way."""

    gate: Gate
    proxy: Proxy
    reports: list[ExchangeReport]
    port: int = 0
    keep_alive: float = 5.0
    received: int = 0
    whole_ways: int = 0
    scopes: list[HTTPScope] = field(default_factory=list)
    connections: weakref.WeakSet[GuardedProtocol] = field(default_factory=weakref.WeakSet)

    def protocol(self, *args: Any, **kwargs: Any) -> GuardedProtocol:
        return Counting(self, *args, **kwargs)

    async def connect(self) -> SocketStream:
        return await anyio.connect_tcp("127.0.0.1", self.port)

    async def send(self, stream: SocketStream, *pieces: bytes) -> None:
        """Send pieces, each when the one before it has been read."""
        for piece in pieces:
            due = self.received + len(piece)
            await stream.send(piece)
            await until(partial(self._has_read, due))

    def _has_read(self, due: int) -> bool:
        return self.received >= due

    async def said(self, *pieces: bytes) -> bytes:
        """Send pieces on one connection; return all that is said, but what depends on the time."""
        async with await self.connect() as stream:
            with contextlib.suppress(anyio.BrokenResourceError):  # it was refused, and said why
                for piece in (*pieces, LAST):
                    due = self.received + len(piece)
                    await stream.send(piece)
                    await self._read_by(due)
            return timeless(await rest(stream))

    async def _read_by(self, due: int) -> None:
        """Give the listener the time to read a piece, if it still reads."""
        for _ in range(100):
            if self.received >= due:
                break
            await anyio.lowlevel.checkpoint()

    async def ask(self, request: bytes, times: int = 1) -> bytes:
        """Ask some times, each on a connection of its own; return what is said the last time."""
        for _ in range(times):
            reply = await self.said(request)
        return reply


class Counting(GuardedProtocol):
    """One connection of a listener that counts."""

    def __init__(self, counts: Listener, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._counts = counts
        counts.connections.add(self)
        self.timeout_keep_alive = counts.keep_alive  # type: ignore[assignment]

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._counts.received += len(data)

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        self._counts.scopes.append(cycle.scope)
        self._counts.whole_ways += cycle.scope["path"] != "/healthz"
        super()._start_asgi_task(cycle, app)


def timeless(said: bytes) -> bytes:
    return _IN_TIME.sub(b"0", said)


@dataclass(slots=True)
class Pair:
    """Two listeners before one upstream and one store: one that recalls, and one that does not."""

    recalling: Listener
    plain: Listener
    upstream: Upstream

    async def say_the_same(self, *pieces: bytes) -> bytes:
        """Send the same to both, and return what both say."""
        said = await self.recalling.said(*pieces)
        assert said == await self.plain.said(*pieces)
        return said


@contextlib.asynccontextmanager
async def pair(
    limits: Limits = Limits(),
    rules: AccessRules = RULES,
    known: Sequence[bytes] = (JSON, STREAM, LARGE),
    hears: bool = True,
) -> AsyncIterator[Pair]:
    """Serve both; the one that recalls knows the heads of some requests. `hears`: there is a hook."""
    behind, store = Upstream(), MemoryStore()
    async with serving(behind) as url, contextlib.AsyncExitStack() as stack:

        async def listener(limits: Limits) -> Listener:
            upstream = HttpUpstream(url + "/v1", api_key="sk-server", credentials="lend" if rules.client_keys else "pass")
            stack.push_async_callback(upstream.aclose)
            return await stack.enter_async_context(recalling(upstream, store, limits, rules, hears))

        recalls = replace(limits, recall_bytes=RECALLING.recall_bytes)
        both = Pair(await listener(recalls), await listener(replace(limits, recall_bytes=0)), behind)
        for request in known:
            if b"a long story" in request:
                behind.respond = always(Told(stream_events("word " * 1500), headers=EVENT_STREAM))
            await both.recalling.ask(request, 3)
            behind.respond = Upstream().respond
        both.recalling.whole_ways = 0
        yield both


@contextlib.asynccontextmanager
async def recalling(
    upstream: HttpUpstream,
    store: MemoryStore,
    limits: Limits = RECALLING,
    rules: AccessRules = RULES,
    hears: bool = True,
) -> AsyncIterator[Listener]:
    """Serve one proxy."""
    reports: list[ExchangeReport] = []
    proxy = Proxy(upstream, store=store, policy=rules.policy, limits=limits, hooks=[reports.append] if hears else [])
    gate = Gate(proxy, rules, limits=limits, bodies=proxy.bodies, recaller=proxy.recaller)
    listener = Listener(gate, proxy, reports)
    async with listening(gate, limits, listener.protocol) as listener.port:
        yield listener
