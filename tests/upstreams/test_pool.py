"""H4: a transport whose pool lost its connections is replaced, one that is only full is not."""

import contextlib
import logging
import random
from collections.abc import AsyncIterator, Callable
from functools import partial

import anyio
import httpx
import pytest
from starlette.types import Receive, Scope, Send

from cachemw.errors import UpstreamTimeout
from cachemw.limits import Timeouts
from cachemw.upstreams import HttpUpstream
from tests.serving import serving_in_thread, until
from tests.upstream import Upstream
from tests.upstreams import raw
from tests.upstreams.raw import Listener, Part, closing, head, listening

pytestmark = pytest.mark.anyio

MOST = 5
PROMPTLY = 5.0
STREAM_HEAD = head(b"Content-Type: text/event-stream")
SOON = Timeouts(pool=0.1)
BRIEF = Timeouts(first_byte=0.5, pool=0.1)
ask = partial(raw.ask, timeouts=SOON)
EVERY_BACKEND = pytest.mark.parametrize("anyio_backend", ["asyncio", "trio"])


class Made:
    """Makes transports with room for so many connections, and keeps them."""

    def __init__(self, kind: Callable[..., httpx.AsyncHTTPTransport] = httpx.AsyncHTTPTransport, most: int = MOST) -> None:
        self.transports: list[httpx.AsyncHTTPTransport] = []
        self._kind, self._limits = kind, httpx.Limits(max_connections=most)

    def __call__(self) -> httpx.AsyncHTTPTransport:
        self.transports.append(self._kind(verify=False, trust_env=False, limits=self._limits))
        return self.transports[-1]

    def has_lost(self) -> bool:
        """Say, while nobody asks, whether there is a connection that is busy all the same."""
        connections = getattr(self.transports[-1]._pool, "connections", []) if self.transports else []
        return any(not (connection.is_idle() or connection.is_closed()) for connection in connections)


class Together:
    """An upstream in a thread of its own. What is asked there is answered when as many are there as connections can be."""

    PATH = b"/v1/together"

    def __init__(self) -> None:
        self._answering, self._here, self._all_here = Upstream(), 0, anyio.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["raw_path"] == self.PATH.removeprefix(b"/v1"):
            self._here += 1
            if self._here == MOST:
                self._all_here.set()
            await self._all_here.wait()
        await anyio.sleep(0.005)
        await self._answering(scope, receive, send)


async def ask_at_once(count: int, upstream: HttpUpstream, path: bytes = b"/v1/chat/completions") -> list[Listener]:
    """Ask so often at the same time."""
    heard = [Listener() for _ in range(count)]
    async with anyio.create_task_group() as tasks:
        for listener in heard:
            tasks.start_soon(partial(ask, upstream, path, listener=listener))
    return heard


async def storm(upstream: HttpUpstream) -> None:
    """Have crowds ask, and be cancelled in one moment: what is lost depends on that moment."""
    dice = random.Random(1093)
    for _ in range(100):
        with anyio.move_on_after(dice.random() * 0.03):
            await ask_at_once(4 * MOST, upstream)


@contextlib.asynccontextmanager
async def reaching_over(made: "Made", *parts: Part) -> AsyncIterator[HttpUpstream]:
    """Serve, and give the upstream that is there over such transports."""
    async with (
        listening(*parts) as server,
        closing(HttpUpstream(server.url, transport=made)) as upstream,
    ):
        yield upstream


class Wedged(httpx.AsyncHTTPTransport):
    """Gives no connection, as one that has lost all of its own."""

    asked = closed = 0

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.asked += 1
        await anyio.sleep(request.extensions["timeout"]["pool"])
        raise httpx.PoolTimeout("no connection")

    async def aclose(self) -> None:
        self.closed += 1


class Losing(httpx.AsyncHTTPTransport):
    """Gives one connection of its two."""

    asked = closed = 0

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.asked += 1
        if self.asked == 1:
            return await super().handle_async_request(request)
        raise httpx.PoolTimeout("no connection")

    async def aclose(self) -> None:
        self.closed += 1
        await super().aclose()


class FirstWedged(Made):
    """Makes a wedged transport first."""

    def __call__(self) -> httpx.AsyncHTTPTransport:
        self._kind = httpx.AsyncHTTPTransport if self.transports else Wedged
        return super().__call__()


async def test_after_a_storm_of_cancellations_as_many_requests_as_ever_are_under_way_at_once() -> None:
    """F37, H4, httpcore#1093: httpx's own pool would give back few connections, or none; with nobody queueing in it, all."""
    made = Made()

    with serving_in_thread(Together()) as url:
        async with closing(HttpUpstream(url, transport=made)) as upstream:
            with anyio.fail_after(30):
                await storm(upstream)
                heard = await ask_at_once(MOST, upstream, Together.PATH)

    assert all(listener.is_over for listener in heard)
    assert len(made.transports) == 1
    assert not made.has_lost()


@EVERY_BACKEND
async def test_a_hundred_who_wait_for_a_connection_make_one_new_transport(caplog: pytest.LogCaptureFixture) -> None:
    """F38, H4: nobody's request fails by it, and who lost its connections is closed when nobody waits for one any more."""
    made = FirstWedged(most=100)

    with serving_in_thread(Upstream()) as url:
        async with closing(HttpUpstream(url, transport=made)) as upstream:
            with anyio.fail_after(10), caplog.at_level(logging.WARNING, "cachemw"):
                heard = await ask_at_once(100, upstream)
            first, _ = made.transports

    assert all(listener.is_over for listener in heard)
    assert isinstance(first, Wedged)
    assert first.asked >= 100
    assert first.closed == 1
    assert [record.getMessage() for record in caplog.records] == [
        "connections to the upstream were lost in their pool: another one takes its place"
    ]


@EVERY_BACKEND
async def test_a_pool_that_is_only_full_is_kept_and_waited_for() -> None:
    gate, made, reading, waiting = anyio.Event(), Made(most=1), Listener(), Listener()

    async with reaching_over(made, STREAM_HEAD, b"abc", gate) as upstream, anyio.create_task_group() as tasks:
        tasks.start_soon(partial(ask, upstream, listener=reading))
        with anyio.fail_after(PROMPTLY):
            await reading.hears(b"abc")
        tasks.start_soon(partial(ask, upstream, listener=waiting))
        await anyio.sleep(5 * SOON.pool)
        assert waiting.head is None
        gate.set()

    assert (reading.is_over, waiting.is_over) == (True, True)
    assert len(made.transports) == 1


async def test_who_waits_for_a_connection_waits_no_longer_than_for_a_first_byte() -> None:
    made, reading = Made(most=1), Listener()

    async with (
        reaching_over(made, STREAM_HEAD, anyio.Event()) as upstream,
        anyio.create_task_group() as tasks,
    ):
        tasks.start_soon(partial(ask, upstream, listener=reading))
        with anyio.fail_after(PROMPTLY):
            await reading.news.wait()
            with pytest.raises(UpstreamTimeout):
                await ask(upstream, timeouts=BRIEF)
        tasks.cancel_scope.cancel()

    assert len(made.transports) == 1


async def test_a_transport_that_is_lost_is_closed_when_the_last_answer_over_it_is_read() -> None:
    """H4: what is being read goes on."""
    gate, made, reading = anyio.Event(), Made(Losing, most=2), Listener()

    async with reaching_over(made, STREAM_HEAD, b"abc", gate) as upstream, anyio.create_task_group() as tasks:
        tasks.start_soon(partial(ask, upstream, listener=reading))
        with anyio.fail_after(PROMPTLY):
            await reading.hears(b"abc")
        tasks.start_soon(ask, upstream)
        await until(lambda: len(made.transports) == 2)
        lost = made.transports[0]
        assert isinstance(lost, Losing)
        assert not lost.closed
        gate.set()
        await until(lambda: lost.closed == 1)

    assert (reading.body, reading.is_over) == (b"abc", True)


async def test_a_transport_that_others_use_too_is_not_closed() -> None:
    """Its maker gives the same one again: who else waits for it is not known."""
    shared = Wedged(verify=False)

    upstream = HttpUpstream("http://127.0.0.1:1", transport=lambda: shared)
    with pytest.raises(UpstreamTimeout):
        await ask(upstream, timeouts=BRIEF)

    asked, closed = shared.asked, shared.closed
    await upstream.aclose()

    assert asked > 2
    assert (closed, shared.closed) == (0, 1)


async def test_a_transport_that_is_none_of_httpx_raises_what_it_likes() -> None:
    made: list[httpx.AsyncBaseTransport] = []

    class Other(httpx.AsyncBaseTransport):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            made.append(self)
            assert request.extensions["timeout"]["pool"] is None
            raise httpx.PoolTimeout("no connection")

    async with closing(HttpUpstream("http://127.0.0.1:1", transport=Other)) as upstream:
        with pytest.raises(UpstreamTimeout):
            await ask(upstream)

    assert len(made) == 1
