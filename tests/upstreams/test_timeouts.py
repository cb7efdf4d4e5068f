"""How long an upstream may take, and that no waiting of ours is taken for it."""

import contextlib
import itertools
import socket
from collections.abc import Iterator

import anyio
import pytest

from cachemw.errors import UpstreamTimeout
from cachemw.limits import Timeouts
from cachemw.messages import Head
from cachemw.upstreams import HttpUpstream
from cachemw.upstreams.push import End, pushed
from tests.upstreams.raw import CHUNKED, Listener, Part, answer, ask, chunk, closing, head, hear_out, outgoing, reaching

pytestmark = pytest.mark.anyio

SHORT = 0.2
PROMPTLY = 2.0
STREAM_HEAD = head(b"Content-Type: text/event-stream")


@contextlib.contextmanager
def a_port_that_takes_no_connections() -> Iterator[int]:
    """Fill a listener's queue: what comes then is left waiting by the kernel."""
    with contextlib.ExitStack() as opened:
        listener = opened.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(4):
            waiting = opened.enter_context(socket.socket())
            waiting.settimeout(0.05)
            try:
                waiting.connect(listener.getsockname())
            except TimeoutError:
                break
        else:
            pytest.skip("this system's listeners queue without an end")
        yield listener.getsockname()[1]


async def time_out(upstream: HttpUpstream, listener: Listener, **timeouts: float) -> None:
    """Ask, and be told promptly that it takes too long."""
    with anyio.fail_after(PROMPTLY), pytest.raises(UpstreamTimeout):
        await ask(upstream, listener=listener, timeouts=Timeouts(**timeouts))


async def test_a_connection_that_is_not_taken_times_out() -> None:
    with a_port_that_takes_no_connections() as port:
        listener = Listener()
        async with closing(HttpUpstream(f"http://127.0.0.1:{port}")) as upstream:
            await time_out(upstream, listener, connect=SHORT)

    assert listener.head is None


@pytest.mark.parametrize("said", [b"", b"HTTP/1.1 200 OK\r\nContent-Type: "], ids=["nothing", "half a head"])
async def test_a_first_byte_that_does_not_come_times_out(said: bytes) -> None:
    listener = Listener()

    async with reaching(said, anyio.Event()) as (server, upstream):
        await time_out(upstream, listener, first_byte=SHORT)
        with anyio.fail_after(PROMPTLY):
            await server.left.wait()

    assert listener.head is None


@pytest.mark.parametrize("said", [b"", b"abc"], ids=["after the head", "after a piece"])
async def test_an_upstream_that_falls_silent_times_out(said: bytes) -> None:
    listener = Listener()

    async with reaching(STREAM_HEAD, said, anyio.Event()) as (server, upstream):
        await time_out(upstream, listener, idle=SHORT)
        with anyio.fail_after(PROMPTLY):
            await server.left.wait()

    assert (listener.body, listener.is_over) == (said, False)


async def test_what_cannot_be_read_as_chunks_ends_no_later_than_silence() -> None:
    """R1: aiohttp's parser gives up on a size that is no number, and does not say so."""
    listener = Listener()

    async with reaching(CHUNKED, chunk(b"abc"), b"zz\r\n") as (_, upstream):
        await time_out(upstream, listener, idle=SHORT)

    assert (listener.body, listener.is_over) == (b"abc", False)


async def test_an_upstream_that_never_ends_times_out_in_all() -> None:
    listener = Listener()
    endless: itertools.chain[Part] = itertools.chain([STREAM_HEAD], itertools.repeat(b"again "))

    async with reaching() as (server, upstream):
        server.parts = endless
        await time_out(upstream, listener, total=SHORT)

    assert listener.body.startswith(b"again again ")
    assert not listener.is_over


async def test_the_time_for_the_first_byte_is_not_that_for_the_next() -> None:
    late = anyio.Event()
    timeouts = Timeouts(first_byte=0.6, idle=10.0)
    listener = Listener()

    async with reaching(STREAM_HEAD, late, b"abc") as (_, upstream), anyio.create_task_group() as tasks:
        tasks.start_soon(hear_out, upstream, outgoing(timeouts=timeouts), listener)
        await anyio.sleep(0.75)
        late.set()

    assert (listener.body, listener.is_over) == (b"abc", True)


@pytest.mark.parametrize("slow_at", ["head", "piece", "end"])
async def test_a_client_that_is_slow_to_read_is_no_silent_upstream(slow_at: str) -> None:
    """S6: time spent on a reader of ours is not the upstream's."""
    timeouts = Timeouts(first_byte=2 * SHORT, idle=2 * SHORT)
    listener = Listener()

    async def emit(event: Head | bytes | End) -> None:
        is_slow = {"head": isinstance(event, Head), "piece": isinstance(event, bytes), "end": isinstance(event, End)}
        if is_slow[slow_at]:
            await anyio.sleep(3 * SHORT)
        await listener.emit(event)

    async with reaching(answer(b"abc")) as (_, upstream):
        await pushed(upstream, outgoing(timeouts=timeouts), emit)

    assert (listener.body, listener.is_over) == (b"abc", True)


async def test_a_deadline_of_the_callers_is_not_the_upstreams() -> None:
    """P5: a task cancelled from outside ends at once, and as cancelled."""
    async with reaching(STREAM_HEAD, b"abc", anyio.Event()) as (server, upstream):
        listener = Listener()
        with anyio.move_on_after(SHORT) as patience:
            await ask(upstream, listener=listener)
        with anyio.fail_after(PROMPTLY):
            await server.left.wait()

    assert patience.cancelled_caught
    assert (listener.body, listener.is_over) == (b"abc", False)
