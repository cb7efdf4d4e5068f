"""Identical JSON at once, in mounts that start no thread and no task: one asks, the others wait for it."""

import contextlib
import socket
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace

import anyio
import httpx
import httpx2
import pytest

from cachemw import ExchangeReport, Limits, MemoryStore, Policy
from cachemw.cache.directives import Abandon
from cachemw.cache.effects import Claim, ClaimResult
from cachemw.cache.sharing import Course, Sender
from cachemw.drivers.pull_sync import flight_of_threads
from cachemw.errors import UpstreamError
from cachemw.flights.pulled import PulledFlight
from cachemw.flights.registry import FlightTable
from cachemw.messages import Kind
from tests.asgi_driver import Reply
from tests.mounts.conftest import Mounted, status_of
from tests.mounts.gates import Gate
from tests.mounts.mounting import PULLED
from tests.mounts.wsgi_upstream import BrokenOffError
from tests.upstream import JSON, Told, always, completion, prompt, stream

pytestmark = pytest.mark.anyio

pulled = pytest.mark.parametrize("mounted", PULLED, indirect=True)
pulled_over_http = pytest.mark.parametrize("mounted", PULLED[1:], indirect=True)

CALLERS = 20
STORED = "fwd=miss; fwd-status=200; stored; key"
COLLAPSED = "fwd=miss; fwd-status=200; collapsed; key"
RAISED = (httpx.RemoteProtocolError, httpx2.RemoteProtocolError, httpx.ReadError, httpx2.ReadError, BrokenOffError)


class Watched(MemoryStore):
    """Counts who has looked: the very next thing they do is to wait."""

    def __init__(self) -> None:
        super().__init__()
        self.looks: list[bytes] = []

    def get(self, index: bytes) -> bytes | None:
        self.looks.append(index)
        return super().get(index)


async def together(mounted: Mounted, then: Callable[[], Awaitable[None]], callers: int = CALLERS) -> list[Reply]:
    """Ask the same so many times at once; `then`, when all have found that it is not stored."""
    mounted.store = store = Watched()
    mounted.mount()
    replies: list[Reply] = []

    async def ask() -> None:
        replies.append(await mounted.ask("on", prompt("many")))

    with anyio.fail_after(10):
        async with anyio.create_task_group() as tasks:
            for _ in range(callers):
                tasks.start_soon(ask)
            while len(store.looks) < callers:  # noqa: ASYNC110 - other threads'
                await anyio.sleep(0.002)
            await anyio.sleep(0.05)
            await then()
    return replies


async def nothing() -> None:
    """What happens otherwise."""


def opening(gate: Gate) -> Callable[[], Awaitable[None]]:
    async def then() -> None:
        gate.set()

    return then


@pulled
async def test_identical_json_is_asked_for_once(mounted: Mounted) -> None:
    """P1: all have the same bytes, and say how they came by them."""
    gate, told = Gate(), completion()
    mounted.upstream.respond = always(replace(told, parts=(gate, *told.parts)))

    replies = await together(mounted, opening(gate))

    assert mounted.upstream.calls == 1
    assert sorted(status_of(reply) for reply in replies) == [COLLAPSED] * (CALLERS - 1) + [STORED]
    assert {reply.body for reply in replies} == {told.parts[0]}
    assert not any(b"age" in reply.headers for reply in replies)
    assert sorted(report.collapsed for report in mounted.reports) == [False] + [True] * (CALLERS - 1)


@pulled
async def test_an_error_is_everybodys(mounted: Mounted) -> None:
    """P1, H10: status, bytes and `Retry-After`, for at most two calls."""
    gate = Gate()
    mounted.upstream.respond = always(Told((gate, b'{"error": 1}'), 429, (*JSON, (b"retry-after", b"3"))))

    replies = await together(mounted, opening(gate))

    assert mounted.upstream.calls <= 2
    assert {(reply.status, reply.body, reply.headers[b"retry-after"]) for reply in replies} == {(429, b'{"error": 1}', b"3")}
    assert not list(mounted.store.scan())


@pulled
async def test_what_breaks_off_is_asked_for_twice_at_most(mounted: Mounted) -> None:
    """P1, R1."""
    gate = Gate()
    mounted.upstream.respond = always(Told((b'{"choices": [', gate), ends=False))

    replies = await together(mounted, opening(gate))

    assert mounted.upstream.calls <= 2
    failed = [reply.status == 502 or isinstance(reply.error, RAISED) for reply in replies]
    assert failed == [True] * CALLERS
    assert not list(mounted.store.scan())


@pulled_over_http
async def test_an_upstream_that_cannot_be_reached_is_tried_twice_at_most(mounted: Mounted) -> None:
    """P1."""
    gate = Gate()
    with hanging_up(gate) as (url, attempts):
        mounted.url = url
        replies = await together(mounted, opening(gate))

    assert 1 <= len(attempts) <= 2
    failed = [reply.status == 502 or isinstance(reply.error, RAISED) for reply in replies]
    assert failed == [True] * CALLERS
    assert len({id(reply.error) for reply in replies if reply.error}) in (0, CALLERS)  # clients write in theirs


@pulled
async def test_who_has_no_more_patience_asks_too(mounted: Mounted) -> None:
    """P1: however slow the first one's upstream is."""
    gate, told, times = Gate(), completion(), list[float]()

    def respond(asked: object) -> Told:
        times.append(time.monotonic())
        if len(times) == 5:
            gate.set()
        return replace(told, parts=(gate, *told.parts))

    mounted.upstream.respond = respond
    mounted.policy = Policy(patience=0.1)

    began = time.monotonic()
    replies = await together(mounted, nothing, callers=5)

    assert mounted.upstream.calls == 5
    assert min(times[1:]) - began > 0.09
    superseded = "fwd=miss; fwd-status=200; key; detail=superseded"
    says = [status_of(reply) for reply in replies]
    assert STORED in says
    assert set(says) <= {STORED, superseded}


@pulled
async def test_what_is_too_large_to_be_shared_is_asked_for_by_all(mounted: Mounted) -> None:
    """D7: whole, each."""
    gate, told = Gate(), completion("x" * 1_000)
    mounted.upstream.respond = always(replace(told, parts=(gate, *told.parts)))
    mounted.policy = Policy(max_record_bytes=300)

    replies = await together(mounted, opening(gate), callers=5)

    assert {(reply.body, reply.complete) for reply in replies} == {(told.parts[0], True)}
    assert [status_of(reply) for reply in replies] == ["fwd=miss; fwd-status=200; key; detail=record-too-large"] * 5


@pytest.mark.parametrize("mounted", [kind for kind in PULLED if kind.endswith("async")], indirect=True)
async def test_a_task_that_is_cancelled_is_obeyed_and_another_asks(mounted: Mounted) -> None:
    """P5: nobody waits for it any longer, and its upstream is closed."""
    mounted.upstream.left = Gate()
    mounted.upstream.respond = always(Told((Gate(),)))
    replies: list[Reply] = []

    async def ask() -> None:
        replies.append(await mounted.ask("on", prompt("many")))

    async with anyio.create_task_group() as tasks:
        with anyio.move_on_after(5) as first:
            async with anyio.create_task_group() as one:
                one.start_soon(ask)
                while not mounted.upstream.calls:  # noqa: ASYNC110 - another thread's
                    await anyio.sleep(0.002)
                tasks.start_soon(ask)
                tasks.start_soon(ask)
                await anyio.sleep(0.02)
                mounted.upstream.respond = always(completion())
                first.cancel()
        await mounted.upstream.left.wait()

    assert mounted.upstream.calls == 2
    assert sorted(status_of(reply) for reply in replies) in ([COLLAPSED, STORED], ["hit; ttl=86400; key", STORED])


@pulled
async def test_streams_do_not_wait_for_one_another(mounted: Mounted) -> None:
    """One thread may open two before it reads either: both are asked for, both are answered, one record is kept."""
    second = Gate()
    replies: list[Reply] = []

    async def ask() -> None:
        replies.append(await mounted.ask("on", prompt(stream=True)))

    def respond(asked: object) -> Told:
        told = stream()
        if mounted.upstream.calls == 2:
            second.set()
        return replace(told, parts=(second, *told.parts))

    mounted.upstream.respond = respond
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(ask)
        tasks.start_soon(ask)

    assert [status_of(reply) for reply in replies] == ["fwd=miss; fwd-status=200; key"] * 2
    assert all(reply.complete for reply in replies)
    assert len(list(mounted.store.scan())) == 1


@contextlib.contextmanager
def hanging_up(gate: Gate) -> Iterator[tuple[str, list[str]]]:
    """Listen, and hang up on everyone without an answer once the gate is open; gives who called."""
    attempts: list[str] = []

    def serve() -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, caller = listener.accept()
                with connection:
                    attempts.append(str(caller))
                    gate.wait_here()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}", attempts
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()


CLAIM = Claim(Course(b"key", Kind(stream=False), 0, Sender((), ())), True, True, Abandon.CANCEL, ExchangeReport())


def test_whoever_waited_in_vain_waits_for_one_and_the_same_next() -> None:
    """P1: however slow each of them is to ask; and who waited for nobody begins anew."""
    table: FlightTable[PulledFlight] = FlightTable(flight_of_threads, Limits())

    def lead(after: PulledFlight | None = None) -> PulledFlight:
        claimed, led = table.claim(CLAIM, after)
        assert claimed is ClaimResult.LEAD
        assert led is not None
        return led

    def fail(flight: PulledFlight) -> None:
        flight.fail(UpstreamError("refused"))
        table.close(flight)

    first = lead()
    assert table.claim(CLAIM, None) == (None, first)
    fail(first)
    second = lead(after=first)
    assert [table.claim(CLAIM, first) for _ in range(3)] == [(None, second)] * 3
    fail(second)
    assert table.claim(CLAIM, first) == (None, second)
    third = lead(after=second)
    table.close(third)

    assert table.claim(CLAIM, second) == (None, third)
    assert table.claim(CLAIM, first) == (None, second)
    assert lead() not in (first, second, third)
