"""Event loops come and go, clients leave: neither may leave anything behind."""

import gc
import random
import warnings
from collections.abc import Callable, Iterator

import anyio
import httpx
import pytest
from starlette.requests import Request
from starlette.responses import Response
from starlette.testclient import TestClient
from starlette.types import Receive, Scope, Send

from cachemw.errors import UpstreamError
from cachemw.upstreams import HttpUpstream
from tests.serving import serving, serving_in_thread
from tests.upstream import EVENT_STREAM, Asked, Told, Upstream, completion, stream_events
from tests.upstreams.raw import CHUNKED, Listener, ask, chunk, closing, hear_out, outgoing, reaching


def check_nothing_is_left(run: Callable[[], None]) -> None:
    """Run it, and see that no warning tells of something that was not closed."""
    gc.collect()
    gc.freeze()  # what was there before is none of this, and to look through it again would take half a second
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        run()
        gc.collect()
    assert [str(warning.message) for warning in caught] == []


@pytest.fixture
def upstream_url() -> Iterator[str]:
    with serving_in_thread(Upstream()) as url:
        yield url


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_one_event_loop_after_another_may_use_an_upstream(upstream_url: str, backend: str) -> None:
    upstream = HttpUpstream(upstream_url)
    heard: list[Listener] = []

    async def main() -> None:
        heard.append(await ask(upstream))
        heard.append(await ask(upstream))

    def run() -> None:
        anyio.run(main, backend=backend)
        anyio.run(main, backend=backend)

    check_nothing_is_left(run)

    assert [listener.is_over for listener in heard] == [True] * 4


def test_an_app_in_the_test_client_makes_an_event_loop_for_each_request(upstream_url: str) -> None:
    """Without a lifespan nobody closes anything."""
    upstream = HttpUpstream(upstream_url)
    statuses: list[int] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        heard = await ask(upstream, headers=tuple(Request(scope).headers.raw))
        assert heard.head is not None
        await Response(heard.body, heard.head.status)(scope, receive, send)

    def run() -> None:
        client = TestClient(app)
        statuses.extend(client.get("/").status_code for _ in range(5))
        client.close()

    check_nothing_is_left(run)

    assert statuses == [200] * 5


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_it_may_be_closed_twice_and_before_first_use_and_used_again(upstream_url: str, backend: str) -> None:
    upstream = HttpUpstream(upstream_url)
    heard: list[Listener] = []

    async def main() -> None:
        await upstream.aclose()
        await upstream.aclose()
        heard.append(await ask(upstream))
        await upstream.aclose()
        await upstream.aclose()
        heard.append(await ask(upstream))
        await upstream.aclose()

    check_nothing_is_left(lambda: anyio.run(main, backend=backend))

    assert [listener.is_over for listener in heard] == [True, True]


def test_each_event_loop_has_a_transport_of_its_own_and_closes_it() -> None:
    made: list[Recorder] = []

    def make() -> Recorder:
        made.append(Recorder())
        return made[-1]

    upstream = HttpUpstream("http://api.example/v1", transport=make)

    async def main() -> None:
        await ask(upstream)
        await ask(upstream)

    anyio.run(main)
    anyio.run(main)

    assert [recorder.calls for recorder in made] == [2, 2]
    assert [recorder.closings for recorder in made] == [1, 1]


class Recorder(httpx.AsyncBaseTransport):
    """Answers, and counts."""

    def __init__(self) -> None:
        self.calls = self.closings = 0

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.calls += 1
        return httpx.Response(200, stream=httpx.ByteStream(b"{}"))

    async def aclose(self) -> None:
        self.closings += 1


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["trio"])
class TestUnderTrio:
    """Best effort: httpx's own transport."""

    async def test_an_answer_comes_as_it_is_sent(self) -> None:
        more = anyio.Event()
        listener = Listener()

        async with (
            reaching(CHUNKED, chunk(b"a"), more, chunk(b"b"), chunk(b""), api_key="sk") as (server, upstream),
            anyio.create_task_group() as tasks,
        ):
            tasks.start_soon(hear_out, upstream, outgoing(), listener)
            await listener.hears(b"a")
            more.set()

        assert (listener.body, listener.is_over) == (b"ab", True)
        assert server.sent(b"authorization") == [b"Bearer sk"]

    async def test_an_answer_that_breaks_off_is_an_error(self) -> None:
        listener = Listener()

        async with reaching(CHUNKED, chunk(b"a")) as (_, upstream):
            with pytest.raises(UpstreamError):
                await ask(upstream, listener=listener)

        assert not listener.is_over


@pytest.mark.anyio
async def test_after_a_hundred_clients_that_left_all_is_well() -> None:
    """H4: before the head, within the body, at any point; then a pool's worth of good ones."""
    dice = random.Random(4)
    never = anyio.Event()

    def respond(asked: Asked) -> Told:
        if b"good" in asked.raw_path:
            return completion()
        return Told([*stream_events()[: dice.randrange(4)], never], headers=EVENT_STREAM)

    async def leave(upstream: HttpUpstream) -> None:
        with anyio.move_on_after(dice.uniform(0.0, 0.1)):
            await ask(upstream)

    heard: list[Listener] = []

    async def stay(upstream: HttpUpstream) -> None:
        heard.append(await ask(upstream, b"/good"))

    async with serving(Upstream(respond)) as url, closing(HttpUpstream(url)) as upstream:
        async with anyio.create_task_group() as leaving:
            for _ in range(100):
                leaving.start_soon(leave, upstream)
        with anyio.fail_after(10):
            async with anyio.create_task_group() as staying:
                for _ in range(20):
                    staying.start_soon(stay, upstream)

    assert [(listener.is_over, listener.head and listener.head.status) for listener in heard] == [(True, 200)] * 20


@pytest.mark.anyio
async def test_a_client_that_leaves_closes_the_connection() -> None:
    """H3."""
    async with reaching(CHUNKED, chunk(b"a"), anyio.Event()) as (server, upstream):
        async with anyio.create_task_group() as tasks:
            listener = Listener()
            tasks.start_soon(hear_out, upstream, outgoing(), listener)
            await listener.hears(b"a")
            tasks.cancel_scope.cancel()
        with anyio.fail_after(10):
            await server.left.wait()


@pytest.mark.anyio
async def test_a_connection_is_used_again_only_where_the_whole_answer_was_read() -> None:
    """H4: not after a client that left, nor after a response that was closed unread."""
    ports: list[int] = []
    never = anyio.Event()
    answering = Upstream(
        lambda asked: completion() if b"good" in asked.raw_path else Told((b"data", never), headers=EVENT_STREAM)
    )

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            ports.append(scope["client"][1])
        await answering(scope, receive, send)

    async with serving(app) as url, closing(HttpUpstream(url)) as upstream:
        await ask(upstream, b"/good")
        async with anyio.create_task_group() as tasks:
            listener = Listener()
            tasks.start_soon(hear_out, upstream, outgoing(), listener)
            await listener.hears(b"data")
            tasks.cancel_scope.cancel()
        await ask(upstream, b"/good")
        await (await upstream.aopen(outgoing())).aclose()
        await ask(upstream, b"/good")

    first, left, second, unread, third = ports
    assert first == left != second == unread != third != first
