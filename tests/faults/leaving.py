"""Clients leave at every event of a stream, and in every phase of JSON: in process, and some of it over real sockets.

H3, H6, P1: who leaves costs one upstream call, what is read on is kept whole, what is ended is ended within a second, and
nothing is left of either.
"""

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal

import anyio
import httpx
from starlette.types import Message, Receive, Scope, Send

from cachemw import MemoryStore
from cachemw.asgi import CacheMiddleware
from cachemw.cache import record as codec
from cachemw.flights.flight import Flight
from cachemw.flights.registry import FlightTable
from cachemw.proxy import Proxy
from cachemw.upstreams import HttpUpstream
from tests.faults.fault import ALL, Fault, Tally
from tests.faults.truth import answer_to, question, true_body
from tests.flights.callers import Caller, Way
from tests.real.grounds import Ground, grounded, until
from tests.real.leaving import EVENTS, MOUNTS, WHOLE, Held, Point, call_and_leave, staged
from tests.upstream import EVENT_STREAM, JSON

Company = Literal["alone", "followed", "following", "both leave"]
"""Who leaves: the only reader; the first of two, the second, both."""

PROMPTLY = 1.0
"""Seconds in which an upstream is closed that nobody reads any more."""
PATIENCE = 5.0
ENOUGH = 3
"""What went wrong so often will again, and may take its time."""
WAYS: tuple[Way, ...] = ("disconnect", "oserror")
COMPANIES: tuple[Company, ...] = ("alone", "followed", "following", "both leave")


@dataclass(frozen=True, slots=True)
class Case:
    """One client's leaving: before which message of the upstream, in whose company, and what is to become of the answer."""

    body: bytes
    at: int
    abandon: str
    by: Way
    company: Company

    @property
    def whole(self) -> bytes:
        return true_body(self.body)

    @property
    def may_end(self) -> bool:
        """Whether nobody reads any more, and nobody wants it."""
        return self.abandon == "cancel" and self.company in ("alone", "both leave")

    def caller(self) -> Caller:
        return Caller(self.body, f"on, abandon={self.abandon}", by=self.by)

    def __str__(self) -> str:
        return f"{self.company}, {self.abandon}, by {self.by}, before message {self.at} of {self.body[-60:]!r}"


@dataclass(slots=True)
class Holding:
    """An upstream, an app and an httpx transport in one, that waits before one message of its answer."""

    at: int | None = None
    calls: int = 0
    open: int = 0
    holds: anyio.Event = field(default_factory=anyio.Event)
    goes_on: anyio.Event = field(default_factory=anyio.Event)

    def reset(self, at: int | None) -> None:
        """Be as new; `None`: wait nowhere."""
        self.at, self.calls, self.holds, self.goes_on = at, 0, anyio.Event(), anyio.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        body = (await receive())["body"]
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(_watch, receive, tasks.cancel_scope)
            with self._answering():
                for number, message in enumerate(messages_for(body)):
                    await self.pause(number)
                    await send(message)
            tasks.cancel_scope.cancel()

    async def respond(self, request: httpx.Request) -> httpx.Response:
        """Answer as a transport does."""
        head, *parts = messages_for(request.content)
        with self._answering():
            await self.pause(0)
        fields = [*head["headers"], (b"transfer-encoding", b"chunked")]
        return httpx.Response(200, headers=fields, stream=_Body(self, [part["body"] for part in parts]), request=request)

    @contextlib.contextmanager
    def _answering(self) -> Iterator[None]:
        self.calls += 1
        self.open += 1
        try:
            yield
        finally:
            self.open -= 1

    async def pause(self, number: int) -> None:
        if number == self.at:
            self.holds.set()
            await self.goes_on.wait()


class _Body(httpx.AsyncByteStream):
    """No generator: trio complains of those that nobody reads to their end."""

    def __init__(self, holding: Holding, parts: list[bytes]) -> None:
        self._holding, self._parts, self._is_open = holding, enumerate(parts, start=1), True
        holding.open += 1

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        for number, part in self._parts:
            await self._holding.pause(number)
            return part
        raise StopAsyncIteration

    async def aclose(self) -> None:
        self._holding.open -= self._is_open
        self._is_open = False


class _Transport(httpx.AsyncBaseTransport):
    def __init__(self, holding: Holding) -> None:
        self._holding = holding

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        return await self._holding.respond(request)


async def _watch(receive: Receive, scope: anyio.CancelScope) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    scope.cancel()


def messages_for(body: bytes) -> list[Message]:
    """Return the messages of the true answer: its head, its parts, JSON in two halves, and its end."""
    told = answer_to(body)
    parts = [part for part in told.parts if isinstance(part, bytes)]
    if len(parts) == 1:
        parts = [parts[0][:50], parts[0][50:]]
    start = {"type": "http.response.start", "status": 200, "headers": list(told.headers[:1])}
    more = [{"type": "http.response.body", "body": part, "more_body": True} for part in parts]
    return [start, *more, {"type": "http.response.body", "body": b"", "more_body": False}]


@dataclass(slots=True)
class House:
    """A mount, what answers before it, and what is stored."""

    name: str
    upstream: Holding
    app: Any
    cache: CacheMiddleware
    store: MemoryStore
    slowest: float = 0.0  # seconds an upstream was open that nobody read

    @property
    def table(self) -> FlightTable[Flight]:
        return self.cache.driver.flights.here()

    def take_records(self) -> list[bytes]:
        """Return the bodies that are stored, and remove them."""
        records = list(self.store.scan())
        for key, _ in records:
            self.store.delete(key)
        return [codec.decode(record).body for _, record in records]

    def is_tidy(self) -> bool:
        return (len(self.table), self.table.held, self.table.detached, self.upstream.open) == (0, 0, 0, 0)


def houses() -> Iterator[House]:
    """Mount us in each way in which clients share an answer."""
    upstream, store = Holding(), MemoryStore()
    around = CacheMiddleware(upstream, name="bot", store=store)
    yield House("around an app", upstream, around, around, store)
    for name in ("with an upstream", "proxy"):
        upstream, store = Holding(), MemoryStore()
        http = HttpUpstream("http://127.0.0.1:1/v1", transport=partial(_Transport, upstream))
        app = Proxy(http, store=store) if name == "proxy" else CacheMiddleware(upstream, upstream=http, store=store)
        yield House(name, upstream, app, app._cache if isinstance(app, Proxy) else app, store)


async def leave(house: House, case: Case) -> Tally:
    """Have a client leave, and judge what became of it, of who reads along, and of the next one."""
    house.upstream.reset(case.at)
    before = len(anyio.get_running_tasks())
    leader, follower = case.caller(), case.caller()
    try:
        with anyio.fail_after(PATIENCE):
            await _act(house, case, leader, follower)
            fault = await _fault_of(house, case, leader, follower)
            while len(anyio.get_running_tasks()) > before:
                await anyio.lowlevel.checkpoint()
    except TimeoutError:
        return Tally(1, leaks=1, examples=(f"{house.name}, {case}: it hangs",))
    if fault is None:
        return Tally(1)
    is_wrong, is_left = fault.startswith("wrong"), fault.startswith("left")
    failed = not (is_wrong or is_left)
    return Tally(1, is_wrong, failed, is_left, examples=(f"{house.name}, {case}: {fault}",))


async def _act(house: House, case: Case, leader: Caller, follower: Caller) -> None:
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(leader.call, house.app)
        await house.upstream.holds.wait()
        if case.company != "alone":
            tasks.start_soon(follower.call, house.app)
            await _until(lambda: _seats(house) == 2)
        if case.company != "following":
            leader.leave()
        if case.company in ("following", "both leave"):
            follower.leave()
        left_at = anyio.current_time()
        if case.by == "disconnect":
            await _until(lambda: _seats(house) == (case.company in ("followed", "following")))
        if case.may_end and case.by == "disconnect":
            await _until(lambda: house.upstream.open == 0)
            house.slowest = max(house.slowest, anyio.current_time() - left_at)
        house.upstream.goes_on.set()


def _seats(house: House) -> int:
    return sum(len(flight.readers) for flights in house.table._flights.values() for flight in flights)


async def _until(holds: Callable[[], bool]) -> None:
    while not holds():
        await anyio.lowlevel.checkpoint()


async def _fault_of(house: House, case: Case, leader: Caller, follower: Caller) -> str | None:
    """Say what is wrong, failed or left."""
    if house.upstream.calls != 1:
        return f"{house.upstream.calls} upstream calls"
    if not house.is_tidy():
        return "left: something is under way"
    stays = {"followed": follower, "following": leader}.get(case.company)
    if stays is not None and (stays.body, stays.is_complete) != (case.whole, True):
        return "wrong for who stays" if stays.is_complete else "who stays has no answer"
    records = house.take_records()
    if any(record != case.whole for record in records):
        return "wrong: stored in part"
    if not case.may_end and not records:
        return "nothing is stored"
    if case.may_end and case.by == "disconnect" and records:
        return "it was not ended"
    house.upstream.at = None
    after = Caller(case.body)
    await after.call(house.app)
    if (after.body, after.is_complete, house.take_records()) != (case.whole, True, [case.whole]):
        return "wrong for the next one"
    return None


def cases() -> Iterator[Case]:
    """Leave before every message, the head and the end included."""
    for body in (question(1, stream=True), question(2)):
        for at in range(len(messages_for(body))):
            for abandon, by, company in itertools.product(("finish", "cancel"), WAYS, COMPANIES):
                yield Case(body, at, abandon, by, company)


async def _in_process() -> Tally:
    tally, slowest = Tally(), 0.0
    for house in houses():
        for case in cases():
            if _is_enough(tally):
                return tally
            tally += await leave(house, case)
        slowest = max(slowest, house.slowest)
        if house.slowest > PROMPTLY:
            tally += Tally(leaks=1, examples=(f"{house.name}: an upstream was open for {house.slowest:.1f} s",))
    return tally + Tally(note=f"{slowest * 1000:.0f}")


def _is_enough(tally: Tally) -> bool:
    return tally.wrong + tally.failed + tally.leaks >= ENOUGH


def points() -> list[Point]:
    """Return where an answer is held, over sockets."""
    seen = [None if number == 0 else EVENTS[min(number, len(EVENTS) - 1) - 1] for number in range(len(EVENTS) + 1)]
    return [
        Point("before the head", None, EVENTS),
        *(Point(f"after event {at}", EVENTS[:at], EVENTS[at:], EVENT_STREAM, until) for at, until in enumerate(seen)),
        *(Point(f"after byte {at} of JSON", (WHOLE[:at],), (WHOLE[at:],), JSON) for at in (1, 60, len(WHOLE) - 1)),
    ]


async def _leave_for_good(ground: Ground, server: str, mount: str, point: Point, abandon: str) -> Tally:
    """Close the socket, and ask again. What is wrong is raised."""
    held = Held(point)
    async with staged(ground, server, mount, held) as scene:
        await call_and_leave(scene, held, f"on, abandon={abandon}")
        began = anyio.current_time()
        if abandon == "finish":
            await until(lambda: scene.table.detached == 1)
            held.rest.set()
            await until(lambda: scene.records == 1)
        else:
            await until(lambda: held.left.is_set() and not scene.table and scene.sockets() == 0)
            assert anyio.current_time() - began < PROMPTLY, "the upstream was closed late"
            assert scene.records == 0, "something was stored"
            held.rest.set()
        reply = await scene.ask(point.request())
    assert reply.content == point.body, "the next one had another answer"
    assert held.calls == (1 if abandon == "finish" else 2), f"{held.calls} upstream calls"
    return Tally(1)


async def _over_sockets() -> Tally:
    tally = Tally()
    async with grounded() as ground:
        for server, mount, point, abandon in itertools.product(ground.fronts, MOUNTS, points(), ("finish", "cancel")):
            if _is_enough(tally):
                break
            try:
                tally += await _leave_for_good(ground, server, mount, point, abandon)
            except (AssertionError, TimeoutError) as exc:
                tally += Tally(1, failed=1, examples=(f"{server}, {mount}, {point.name}, {abandon}: {exc!r}",))
    return tally


def leave_at_every_event(_: int) -> Tally:
    """Leave wherever one can, on both kinds of event loops, and over sockets."""
    here = anyio.run(_in_process, backend="asyncio") + anyio.run(_in_process, backend="trio")
    sockets = asyncio.run(_over_sockets())
    return (
        here
        + sockets
        + Tally(note=f"{here.trials:,} in process, {sockets.trials} over sockets; closed in {here.note} ms at most")
    )


FAULTS = (
    Fault(
        "client leaves at every event",
        "before every message of a stream and of JSON, alone and in company, finish and cancel; uvicorn and hypercorn",
        ALL,
        ALL,
        leave_at_every_event,
    ),
)
