"""Clients that leave, over real sockets: an upstream that holds its answer back, servers of two makes, one event loop."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field

import anyio
import httpx
from anyio.abc import SocketAttribute, SocketStream
from starlette.types import ASGIApp, Receive, Scope, Send

from cachemw import ExchangeReport, MemoryStore, Policy
from cachemw.asgi import CacheMiddleware
from cachemw.flights.flight import Flight
from cachemw.flights.registry import FlightTable
from cachemw.proxy import Proxy
from cachemw.upstreams import HttpUpstream
from tests.patience import PATIENT
from tests.real.grounds import AROUND, CLOSE, Around, Ground
from tests.real.proxied import PATIENCE
from tests.serving import until
from tests.upstream import EVENT_STREAM, JSON, completion, prompt, stream_events

PROMPTLY = 3.0
"""Seconds that a second may take on a busy machine."""

CHAT = "/v1/chat/completions"
HEADERS = {**CLOSE, "authorization": "Bearer sk-alice", "content-type": "application/json"}


@dataclass(frozen=True, slots=True)
class Point:
    """Where an answer is held, and what its client reads before it leaves: as far as these bytes, or nothing."""

    name: str
    first: tuple[bytes, ...] | None  # None: not even a head
    rest: tuple[bytes, ...]
    headers: tuple[tuple[bytes, bytes], ...] = EVENT_STREAM
    until: bytes | None = None

    @property
    def body(self) -> bytes:
        return b"".join((*(self.first or ()), *self.rest))

    def request(self) -> bytes:
        return prompt(stream=self.headers is EVENT_STREAM)


EVENTS = tuple(stream_events("hello there my friend"))
(WHOLE,) = (part for part in completion().parts if isinstance(part, bytes))
BEFORE_THE_HEAD = Point("before-the-head", None, EVENTS)
BEFORE_A_TOKEN = Point("before-a-token", (), EVENTS, until=b"\r\n\r\n")
MID_STREAM = Point("mid-stream", EVENTS[:2], EVENTS[2:], until=b"hello ")
WAITING_FOR_JSON = Point("waiting-for-json", (WHOLE[:40],), (WHOLE[40:],), JSON)
POINTS = (BEFORE_THE_HEAD, BEFORE_A_TOKEN, MID_STREAM, WAITING_FOR_JSON)


@dataclass(slots=True)
class Held:
    """An app that answers the first half, and the second when `rest` is set; every later request at once."""

    point: Point
    calls: int = 0
    holds: anyio.Event = field(default_factory=anyio.Event)
    rest: anyio.Event = field(default_factory=anyio.Event)
    left: anyio.Event = field(default_factory=anyio.Event)  # set when an answer ended before its end

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        while (await receive()).get("more_body"):
            pass
        self.calls += 1
        has_ended = False
        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(_watch, receive, tasks.cancel_scope)
                await self._say(send)
                has_ended = True
                await send({"type": "http.response.body", "body": b"", "more_body": False})
                tasks.cancel_scope.cancel()
        finally:
            if not has_ended:
                self.left.set()

    async def _say(self, send: Send) -> None:
        point = self.point
        if point.first is None:
            await self._hold()
        await send({"type": "http.response.start", "status": 200, "headers": list(point.headers)})
        for part in point.first or ():
            await send({"type": "http.response.body", "body": part, "more_body": True})
        if point.first is not None:
            await self._hold()
        for part in point.rest:
            await send({"type": "http.response.body", "body": part, "more_body": True})

    async def _hold(self) -> None:
        self.holds.set()
        await self.rest.wait()


async def _watch(receive: Receive, scope: anyio.CancelScope) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    scope.cancel()


MOUNTS = ("proxy", "around-an-app")


@dataclass(frozen=True, slots=True)
class Scene:
    """One test's: where we are, what answers, and what is under way."""

    url: str
    upstream: ASGIApp
    store: MemoryStore
    table: FlightTable[Flight]
    reports: list[ExchangeReport]
    client: httpx.AsyncClient
    sockets: Callable[[], int]

    @property
    def records(self) -> int:
        return len(list(self.store.scan()))

    def flight(self) -> Flight:
        """Return the one that is under way."""
        ((flight,),) = self.table._flights.values()
        return flight

    async def ask(self, body: bytes, control: str = "on") -> httpx.Response:
        """Send a chat request, over a new connection."""
        return await self.client.post(self.url + CHAT, content=body, headers={**HEADERS, "cachemw": control})


@contextlib.asynccontextmanager
async def staged(
    ground: Ground,
    server: str,
    mount: str,
    upstream: ASGIApp,
    *,
    around: Around = AROUND["plain"],
    policy: Policy | None = None,
) -> AsyncIterator[Scene]:
    """Mount us on a server, before an upstream. In the end nothing may be left: no flight, task or busy connection."""
    front, url = ground.fronts[server]
    before, store, reports = asyncio.all_tasks(), MemoryStore(), list[ExchangeReport]()
    assert ground.sockets() == 0
    ground.upstream.app = upstream
    http = HttpUpstream(ground.upstream_url + "/v1")
    if mount == "proxy":
        app: ASGIApp = Proxy(http, store=store, policy=policy, limits=PATIENT, hooks=[reports.append])
        cache = app._cache  # type: ignore[attr-defined]
    else:
        app = cache = CacheMiddleware(upstream, name="held", store=store, policy=policy, limits=PATIENT, hooks=[reports.append])
    front.app = around(app)
    table = cache.driver.flights.here()
    try:
        yield Scene(url, upstream, store, table, reports, ground.client, ground.sockets)
        await front.settle()
        assert (len(table), table.detached, table.held) == (0, 0, 0)
    finally:
        await http.aclose()
    with contextlib.suppress(TimeoutError):
        await until(lambda: asyncio.all_tasks() <= before and ground.sockets() == 0, PROMPTLY)
    assert not (left := asyncio.all_tasks() - before), left
    assert ground.sockets() == 0


@contextlib.asynccontextmanager
async def calling(
    url: str, body: bytes, control: str = "on", *, resets: bool = False, sends: float = 1
) -> AsyncIterator[SocketStream]:
    """Send a chat request, or a part of it, and give the socket; in the end it is closed, by a reset if wanted."""
    host, _, port = url.removeprefix("http://").partition(":")
    stream: SocketStream
    async with await anyio.connect_tcp(host, int(port)) as stream:
        if resets:
            raw: socket.socket = stream.extra(SocketAttribute.raw_socket)
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_NOT)
        request = written(body, control, host=f"{host}:{port}")
        await stream.send(request[: int(len(request) * sends)])
        yield stream


LINGER_NOT = b"\1\0\0\0\0\0\0\0"
"""Closed means reset: what is unsent is dropped."""


def written(body: bytes, control: str = "on", *fields: str, host: str = "here") -> bytes:
    """Return a chat request as it is sent."""
    named = (f"{name}: {value}" for name, value in {**HEADERS, "cachemw": control, "content-length": len(body)}.items())
    return "\r\n".join([f"POST {CHAT} HTTP/1.1", f"host: {host}", *named, *fields, "", ""]).encode() + body


async def hear(stream: SocketStream, until_seen: bytes | None) -> bytes:
    """Read as far as these bytes; `None`: nothing."""
    heard = b""
    with anyio.fail_after(PATIENCE):
        while until_seen is not None and until_seen not in heard:
            heard += await stream.receive()
    return heard


async def call_and_leave(scene: Scene, held: Held, control: str = "on") -> None:
    """Send the request, come to the point, and close the socket."""
    async with calling(scene.url, held.point.request(), control) as stream:
        await come_to(scene, held, stream)


async def come_to(scene: Scene, held: Held, stream: SocketStream) -> None:
    """Wait until the answer is where it is held, and all that was said of it has come."""
    with anyio.fail_after(PATIENCE):
        await held.holds.wait()
    said = sum(map(len, held.point.first or ()))
    await until(lambda: scene.table.held == said)
    await hear(stream, held.point.until)
