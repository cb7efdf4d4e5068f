"""Fallback and hedging over real connections: what servers see of it."""

import contextlib
import socket
from collections.abc import AsyncIterator, Sequence
from typing import Any

import anyio
import anyio.to_thread
import pytest

from cachemw.cache.plans import Hedge
from cachemw.gateway.fallback import aopen_in_turn
from cachemw.gateway.race import aopen_hedged
from cachemw.upstreams import HttpUpstream
from tests.gateway.bouts import ROLE, Asking, asking, hear_async, hear_sync
from tests.upstream import stream_events
from tests.upstreams.raw import CHUNKED, Part, RawServer, answer, chunk, listening

pytestmark = pytest.mark.anyio

GOOD = b"".join(stream_events())
RATE = answer(b'{"error": {"message": "slow down"}}', b"Retry-After: 7", status=b"429 Too Many Requests")


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    found: str = request.param
    return found


def streaming(*parts: bytes | anyio.Event) -> Sequence[Part]:
    return [CHUNKED, *(chunk(part) if isinstance(part, bytes) else part for part in parts)]


WHOLE = streaming(GOOD, b"")


@contextlib.asynccontextmanager
async def between(first: Sequence[Part], second: Sequence[Part], **plan: Any) -> AsyncIterator[tuple[Asking, list[RawServer]]]:
    """Serve both, and give a request for them."""
    async with listening(*first) as one, listening(*second) as two:
        question = asking(plan=plan, a=[], b=[])
        upstreams = {name: HttpUpstream(server.url) for name, server in zip("ab", (one, two), strict=True)}
        question.desk.upstreams = dict(upstreams)
        yield question, [one, two]
        for upstream in upstreams.values():
            await upstream.aclose()
            upstream.close()


FIRSTS: dict[str, tuple[Sequence[Part], str]] = {
    "a limit of the rate": ([RATE], "rate"),
    "a role and the end of the connection": (streaming(ROLE), "broken"),
    "an error within a 200": (streaming(b'data: {"error": {"message": "no"}}\n\n', b""), "broken"),
    "no HTTP": ([b"SSH-2.0-OpenSSH_9.6\r\n\r\n"], "broken"),
}


@pytest.mark.filterwarnings("ignore:Async generator 'http:ResourceWarning")  # httpx's, of a response closed before its end
@pytest.mark.parametrize(("first", "word"), FIRSTS.values(), ids=FIRSTS)
@pytest.mark.parametrize("is_sync", [False, True], ids=["awaited", "in a thread"])
async def test_the_next_target_answers_over_the_wire(first: Sequence[Part], word: str, is_sync: bool) -> None:
    """G1, G6."""
    async with between(first, WHOLE) as (question, servers):
        heard = await (anyio.to_thread.run_sync(hear_sync, question) if is_sync else hear_async(question))

    assert (heard.body, heard.tried) == (GOOD, [f"a {word}"])
    assert servers[1].requests[0].endswith(b'{"model": "b"}')


@pytest.mark.parametrize("is_sync", [False, True], ids=["awaited", "in a thread"])
async def test_a_port_that_nobody_listens_at_is_left(is_sync: bool) -> None:
    """G6."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        async with between([], WHOLE) as (question, _):
            question.desk.upstreams["a"] = HttpUpstream(f"http://127.0.0.1:{unused.getsockname()[1]}")
            heard = await (anyio.to_thread.run_sync(hear_sync, question) if is_sync else hear_async(question))

    assert (heard.body, heard.tried) == (GOOD, ["a unreachable"])


@pytest.mark.parametrize("is_sync", [False, True], ids=["awaited", "in a thread"])
@pytest.mark.parametrize("has_head", [False, True], ids=["without a head", "after a head"])
async def test_a_server_that_says_nothing_is_left_and_sees_it(is_sync: bool, has_head: bool) -> None:
    """G4, G7."""
    silence = streaming(ROLE, anyio.Event()) if has_head else [anyio.Event()]
    async with between(silence, WHOLE, first_token=0.2) as (question, servers):
        heard = await (anyio.to_thread.run_sync(hear_sync, question) if is_sync else hear_async(question))
        with anyio.fail_after(5):
            await servers[0].left.wait()

    assert (heard.body, heard.tried) == (GOOD, ["a slow"])


@pytest.mark.parametrize("has_head", [False, True], ids=["without a head", "after a head"])
async def test_a_losers_connection_is_closed(has_head: bool) -> None:
    """G7, G18, E3."""
    silence = streaming(ROLE, anyio.Event()) if has_head else [anyio.Event()]
    async with between(silence, WHOLE, hedge=Hedge(after=0.05)) as (question, servers):
        heard = await hear_async(question, aopen_hedged)
        with anyio.fail_after(5):
            await servers[0].left.wait()

    assert (heard.body, heard.tried) == (GOOD, ["a lost"])


@pytest.mark.parametrize("opener", [aopen_in_turn, aopen_hedged])
async def test_a_client_that_leaves_closes_every_connection(opener: Any) -> None:
    """G7, G8."""
    silence = streaming(ROLE, anyio.Event())
    async with between(silence, silence, hedge=Hedge(after=0.0)) as (question, servers):
        expected = servers if opener is aopen_hedged else servers[:1]
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(hear_async, question, opener)
            for server in expected:
                await server.asked.wait()
            tasks.cancel_scope.cancel()
        with anyio.fail_after(5):
            for server in expected:
                await server.left.wait()

    assert sorted(question.desk.words) == ["a gone", "b gone"][: len(expected)]


async def test_a_connection_that_breaks_after_the_first_word_is_a_break() -> None:
    """G2."""
    async with between(streaming(GOOD[:-40]), WHOLE) as (question, servers):
        heard = await hear_async(question)

    assert heard.body == GOOD[:-40]
    assert heard.error is not None
    assert servers[1].requests == []
