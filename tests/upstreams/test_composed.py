"""Upstreams made of upstreams: a dozen lines each over the port, and caching, collapsing and flights know nothing of it."""

import contextlib
from collections.abc import AsyncIterator, Callable, Sequence

import anyio
import pytest
from anyio import to_thread

import cachemw.asgi
import cachemw.wsgi
from cachemw import MemoryStore
from cachemw._wsgi_environ import Environ, StartResponse
from cachemw.errors import UpstreamError
from cachemw.messages import HttpTarget
from cachemw.upstreams import HttpUpstream
from cachemw.upstreams.base import AsyncResponse, SyncResponse, UpstreamRequest
from tests import wsgi_driver
from tests.flights.callers import Caller
from tests.serving import nobody_there, until
from tests.upstream import Upstream, completion, prompt, stream_events
from tests.upstreams.raw import CHUNKED, Part, RawServer, answer, chunk, head, listening

pytestmark = pytest.mark.anyio

PATH = "/v1/chat/completions"
ON = ((b"content-type", b"application/json"), (b"cachemw", b"on"))
MISS = "fwd=miss; fwd-status=200; stored"


class Group:
    """Several upstreams for one and the same; it is called what its first is."""

    def __init__(self, *candidates: HttpUpstream) -> None:
        self.candidates = candidates
        self.place = "a group"

    def target(self, raw_path: bytes, query: bytes) -> HttpTarget:
        return self.candidates[0].target(raw_path, query)

    async def aclose(self) -> None:
        for candidate in self.candidates:
            await candidate.aclose()

    def close(self) -> None:
        for candidate in self.candidates:
            candidate.close()


class Fallback(Group):
    """Ask one after the other, until one is well; the last one's response is the group's."""

    async def aopen(self, request: UpstreamRequest) -> AsyncResponse:
        for candidate in self.candidates[:-1]:
            with contextlib.suppress(UpstreamError):
                response = await candidate.aopen(request)
                if response.head.status < 400:
                    return response
                await response.aclose()
        return await self.candidates[-1].aopen(request)

    def open(self, request: UpstreamRequest) -> SyncResponse:
        for candidate in self.candidates[:-1]:
            with contextlib.suppress(UpstreamError):
                response = candidate.open(request)
                if response.head.status < 400:
                    return response
                response.close()
        return self.candidates[-1].open(request)


class Race(Group):
    """Ask all at once; the first that is well wins."""

    async def aopen(self, request: UpstreamRequest) -> AsyncResponse:
        won: list[AsyncResponse] = []

        async def run(candidate: HttpUpstream) -> None:
            with contextlib.suppress(UpstreamError):
                response = await candidate.aopen(request)
                if won or response.head.status >= 400:
                    await response.aclose()
                else:
                    won.append(response)
                    tasks.cancel_scope.cancel()

        try:
            async with anyio.create_task_group() as tasks:
                for candidate in self.candidates:
                    tasks.start_soon(run, candidate)
        except BaseException:  # nobody waits for it any more
            for response in won:
                await response.aclose()
            raise
        if not won:
            raise UpstreamError("none of them is well")
        return won[0]


NEVER = None
"""Of an answer: from here on nothing comes, and the connection stays open."""

COMPLETION = b"".join(part for part in completion().parts if isinstance(part, bytes))
WELL = answer(COMPLETION, b"Content-Type: application/json")
LIMITED = answer(b"{}", b"Content-Type: application/json", status=b"429 Too Many Requests")
BROKEN = head(b"Content-Type: application/json", b"Content-Length: 2").replace(b"200 OK", b"500 Sorry")


@contextlib.asynccontextmanager
async def serving(*answers: Sequence[Part | None]) -> AsyncIterator[tuple[RawServer, ...]]:
    """Serve each of these, on a port of its own."""
    async with contextlib.AsyncExitStack() as opened:
        servers = []
        for parts in answers:
            said = [anyio.Event() if part is NEVER else part for part in parts]
            servers.append(await opened.enter_async_context(listening(*said)))
        yield tuple(servers)


@contextlib.asynccontextmanager
async def mounted(make: Callable[..., Fallback | Race], *urls: str) -> AsyncIterator[cachemw.asgi.CacheMiddleware]:
    """Mount such a group of upstreams, of which nothing is known but that it has the port."""
    cache = cachemw.asgi.CacheMiddleware(Upstream(), upstream=make(*map(HttpUpstream, urls)), store=MemoryStore())
    try:
        yield cache
        table = cache.driver.flights.here()
        assert (len(table), table.held, table.detached) == (0, 0, 0)
    finally:
        await cache.aclose()


async def asked_twice(cache: cachemw.asgi.CacheMiddleware) -> tuple[Caller, Caller]:
    """Let two ask, one after the other."""
    first, second = Caller(prompt()), Caller(prompt())
    with anyio.fail_after(5):
        await first.call(cache)
        await second.call(cache)
    return first, second


EVERY_BACKEND = pytest.mark.parametrize("anyio_backend", ["asyncio", "trio"])


@EVERY_BACKEND
async def test_what_the_third_of_three_answers_is_stored_and_then_a_hit() -> None:
    with nobody_there() as refusing:
        async with (
            serving([LIMITED, NEVER], [WELL]) as (limited, well),
            mounted(Fallback, limited.url, refusing, well.url) as cache,
        ):
            first, second = await asked_twice(cache)
            with anyio.fail_after(5):
                await limited.left.wait()

    assert (first.status, first.said) == (200, MISS)
    assert (second.status, second.said.partition(";")[0], second.body) == (200, "hit", first.body)
    assert (len(limited.requests), len(well.requests)) == (1, 1)


@EVERY_BACKEND
async def test_of_a_race_the_first_that_is_well_is_stored_and_the_others_are_given_up() -> None:
    async with (
        serving([NEVER], [WELL], [BROKEN, NEVER]) as (slow, fast, broken),
        mounted(Race, slow.url, fast.url, broken.url) as cache,
    ):
        first, second = await asked_twice(cache)
        with anyio.fail_after(5):
            await slow.left.wait()
            await broken.left.wait()

    assert (first.status, first.said) == (200, MISS)
    assert (second.status, second.said.partition(";")[0], second.body) == (200, "hit", first.body)
    assert [len(server.requests) for server in (slow, fast, broken)] == [1, 1, 1]


@EVERY_BACKEND
@pytest.mark.parametrize(("make", "first_answer"), [(Fallback, [LIMITED, NEVER]), (Race, [NEVER])], ids=["fallback", "race"])
async def test_those_who_ask_for_the_same_read_along_and_the_group_is_asked_once(
    make: Callable[..., Fallback | Race], first_answer: Sequence[Part | None]
) -> None:
    events, more = stream_events(), anyio.Event()
    streamed: list[Part | None] = [CHUNKED, chunk(events[0]), more, chunk(b"".join(events[1:])), chunk(b"")]
    leader, follower = Caller(), Caller()

    async with (
        serving(first_answer, streamed) as (first, second),
        mounted(make, first.url, second.url) as cache,
        anyio.create_task_group() as tasks,
    ):
        for caller in (leader, follower):
            tasks.start_soon(caller.call, cache)
            await caller.hears(events[0])
        more.set()
        await leader.returns()
        await follower.returns()
        with anyio.fail_after(5):
            await first.left.wait()

    assert [caller.body for caller in (leader, follower)] == [b"".join(events)] * 2
    assert [caller.is_complete for caller in (leader, follower)] == [True, True]
    assert "collapsed" in follower.said
    assert (len(first.requests), len(second.requests)) == (1, 1)


@EVERY_BACKEND
async def test_a_race_that_nobody_wins_is_an_upstream_that_cannot_answer() -> None:
    caller = Caller(prompt())

    async with (
        serving([BROKEN, NEVER], [LIMITED, NEVER]) as (broken, limited),
        mounted(Race, broken.url, limited.url) as cache,
    ):
        with anyio.fail_after(5):
            await caller.call(cache)
            await broken.left.wait()
            await limited.left.wait()

    assert caller.status == 502


@EVERY_BACKEND
async def test_a_client_that_leaves_cancels_all_that_race_for_it() -> None:
    """H3."""
    caller = Caller(prompt(), "on, abandon=cancel")

    async with (
        serving([NEVER], [NEVER]) as (one, other),
        mounted(Race, one.url, other.url) as cache,
        anyio.create_task_group() as tasks,
    ):
        tasks.start_soon(caller.call, cache)
        await until(lambda: bool(one.requests and other.requests))
        caller.leave()
        with anyio.fail_after(5):
            await one.left.wait()
            await other.left.wait()
        await caller.returns()

    assert caller.status is None


def nobody(environ: Environ, start_response: StartResponse) -> list[bytes]:
    raise AssertionError("everything goes to the upstream")


async def test_without_await_the_third_of_three_is_asked_as_well() -> None:
    with nobody_there() as refusing:
        async with serving([LIMITED, NEVER], [WELL]) as (limited, well):
            group = Fallback(*map(HttpUpstream, (limited.url, refusing, well.url)))
            app = cachemw.wsgi.CacheMiddleware(nobody, upstream=group, store=MemoryStore())
            with anyio.fail_after(5), contextlib.closing(app):
                first = await to_thread.run_sync(wsgi_driver.call, app, "POST", PATH, prompt(), ON)
                second = await to_thread.run_sync(wsgi_driver.call, app, "POST", PATH, prompt(), ON)
                await limited.left.wait()

    assert (first.status, first.headers[b"cache-status"].partition(b"; key")[0]) == (200, b"cachemw; " + MISS.encode())
    assert (second.status, second.headers[b"cache-status"][:12], second.body) == (200, b"cachemw; hit", first.body)
    assert (len(limited.requests), len(well.requests)) == (1, 1)
