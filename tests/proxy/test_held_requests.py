"""What a listener holds of a request whose head is known: for how long, how much, and what becomes of it."""

import contextlib
import gc
import socket
import struct
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from functools import partial

import anyio
import anyio.lowlevel
import pytest
from anyio.abc import SocketStream

from cachemw import Limits, MemoryStore, Policy
from cachemw.budget import Budget
from cachemw.cache.recall import RECALLED_BODY
from cachemw.cli.listening import listen, url_of
from cachemw.cli.serve import configured
from cachemw.proxy.admission import AccessRules
from cachemw.upstreams import HttpUpstream
from tests.proxy.guarded import HASTY, listening, rest, status_of
from tests.proxy.recalling import JSON, LARGE, LAST, Counting, Listener, chat, head_of, pair, recalling, timeless
from tests.serving import served_here, serving, until
from tests.upstream import Told, Upstream, prompt

pytestmark = [pytest.mark.anyio, pytest.mark.faults]

HEAD = head_of(JSON)
BODY = JSON[len(HEAD) :]


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"


@contextlib.asynccontextmanager
async def one(limits: Limits = Limits(), known: tuple[bytes, ...] = (JSON,)) -> AsyncIterator[Listener]:
    async with pair(limits, known=known) as both:
        yield both.recalling


async def test_a_body_that_trickles_behind_a_known_head_is_a_408() -> None:
    """S11"""
    async with one(HASTY) as listener, await listener.connect() as stream:
        await listener.send(stream, HEAD)
        assert listener.whole_ways == 0
        reply = b""
        with anyio.move_on_after(5):
            while not reply:
                with contextlib.suppress(anyio.BrokenResourceError):
                    await stream.send(b" ")
                with anyio.move_on_after(HASTY.body_time / 20):
                    reply = await rest(stream)

    assert status_of(reply) == 408
    assert b"connection: close" in reply


async def test_a_body_that_never_comes_behind_a_known_head_is_a_408() -> None:
    async with one(HASTY) as listener, await listener.connect() as stream:
        await listener.send(stream, JSON)  # sets the time for which the connection is kept, which is longer
        assert status_of(await stream.receive()) == 200
        await listener.send(stream, HEAD)
        reply = await rest(stream, HASTY.body_time + 2)

    assert status_of(reply) == 408


async def test_the_time_of_a_body_begins_with_its_head_wherever_it_was_held() -> None:
    """Holding is no respite: what is fed later has only the rest."""
    limits = replace(HASTY, body_time=1.0)
    async with one(limits) as listener, await listener.connect() as stream:
        began = time.monotonic()
        await listener.send(stream, HEAD)
        await anyio.sleep(0.7)
        listener.proxy.bodies.take(limits.requests_bytes)  # nothing more may be held
        await listener.send(stream, b" ")
        listener.proxy.bodies.give_back(limits.requests_bytes)
        assert listener.whole_ways == 1

        assert status_of(await rest(stream)) == 408
        assert time.monotonic() - began < 1.6


async def test_a_first_request_that_is_recalled_ends_the_time_for_heads() -> None:
    async with one(replace(HASTY, head_time=0.2)) as listener, await listener.connect() as stream:
        await listener.send(stream, JSON)
        assert status_of(await stream.receive()) == 200
        await anyio.sleep(0.4)
        await listener.send(stream, JSON)

        assert status_of(await stream.receive()) == 200
        assert listener.whole_ways == 0


async def test_the_head_behind_a_recalled_request_has_its_time() -> None:
    async with one(HASTY) as listener, await listener.connect() as stream:
        await listener.send(stream, JSON, b"GET / HT")
        reply = await rest(stream, HASTY.head_time + 2)

    assert reply.count(b"HTTP/1.1 ") == 2
    assert b"HTTP/1.1 408 " in reply


@pytest.mark.parametrize("pieces", [(JSON,), (HEAD, BODY)], ids=["in one", "in two"])
async def test_a_connection_is_kept_while_what_comes_is_recalled_and_no_longer(pieces: tuple[bytes, ...]) -> None:
    async with one() as listener:
        listener.keep_alive = 0.5
        async with await listener.connect() as stream:
            for _ in range(4):
                await listener.send(stream, *pieces)
                assert status_of(await stream.receive()) == 200
                await anyio.sleep(0.3)

            assert await rest(stream, 2) == b""
        assert listener.whole_ways == 0


async def test_a_connection_that_held_a_request_for_long_is_kept_no_longer_for_that() -> None:
    """The time for a body is longer than that for which a connection is kept, and both are told by one timer."""
    async with one() as listener:
        listener.keep_alive = 0.2
        async with await listener.connect() as stream:
            await listener.send(stream, JSON)
            assert status_of(await stream.receive()) == 200
            await listener.send(stream, HEAD)
            await anyio.sleep(0.5)  # until it has been seen that a request is held
            await listener.send(stream, BODY)
            assert status_of(await stream.receive()) == 200

            assert await rest(stream, 2) == b""


async def test_a_connection_is_kept_no_longer_for_a_request_that_was_held_and_went_the_whole_way() -> None:
    async with one() as listener:
        listener.keep_alive = 0.2
        async with await listener.connect() as stream:
            await listener.send(stream, HEAD)
            listener.proxy.bodies.take(Limits().requests_bytes)  # nothing more may be held
            await listener.send(stream, BODY[:5])
            listener.proxy.bodies.give_back(Limits().requests_bytes)
            await listener.send(stream, BODY[5:])
            assert status_of(await stream.receive()) == 200

            assert await rest(stream, 2) == b""
        assert listener.whole_ways == 1


async def test_who_leaves_while_his_request_is_held_leaves_nothing() -> None:
    async with one() as listener:
        async with await listener.connect() as stream:
            await listener.send(stream, HEAD, BODY[:5])
        await until(lambda: _is_empty(listener.proxy.bodies))

        assert listener.whole_ways == 0


async def test_of_a_connection_that_is_reset_nothing_stays() -> None:
    """No timer, which would hold it until the time for its body is over."""
    async with one() as listener:
        async with await listener.connect() as stream:
            await listener.send(stream, HEAD)
            raw = stream.extra(anyio.abc.SocketAttribute.raw_socket)
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

        await until(lambda: gc.collect() >= 0 and not listener.connections)


def _is_empty(bodies: Budget) -> bool:
    limit = Limits().requests_bytes
    is_empty = bodies.take(limit)
    bodies.give_back(limit)
    return is_empty


async def test_what_is_held_counts_among_the_bodies() -> None:
    async with one() as listener, await listener.connect() as stream:
        await listener.send(stream, HEAD, BODY[:5])
        assert not _is_empty(listener.proxy.bodies)
        await listener.send(stream, BODY[5:])
        assert status_of(await stream.receive()) == 200

        assert _is_empty(listener.proxy.bodies)
        assert listener.whole_ways == 0


async def test_where_no_more_may_be_held_the_request_goes_the_whole_way() -> None:
    async with one() as listener, await listener.connect() as stream:
        listener.proxy.bodies.take(Limits().requests_bytes - len(HEAD))
        await listener.send(stream, HEAD, BODY[:5])
        assert listener.whole_ways == 1
        listener.proxy.bodies.give_back(Limits().requests_bytes - len(HEAD))
        await listener.send(stream, BODY[5:])

        assert status_of(await stream.receive()) == 200
        assert _is_empty(listener.proxy.bodies)


async def test_a_request_that_is_held_when_the_server_ends_is_answered() -> None:
    upstream, store = Upstream(), MemoryStore()
    async with serving(upstream) as url, recalling(HttpUpstream(url + "/v1", api_key="k", credentials="pass"), store) as before:
        gate, counts = before.gate, Listener(before.gate, before.proxy, [])
        await before.ask(JSON, 3)
        with listen("127.0.0.1", 0) as listener:
            counts.port = int(url_of(listener).rpartition(":")[2])
            async with served_here(configured(gate, None, protocol=counts.protocol), listener) as server:
                stream, idle = await counts.connect(), await counts.connect()
                async with stream, idle:
                    await counts.send(idle, JSON)
                    assert status_of(await idle.receive()) == 200
                    await counts.send(stream, HEAD)
                    assert counts.whole_ways == 0
                    server.end()
                    await until(lambda: counts.whole_ways == 1)
                    await counts.send(stream, BODY)
                    reply = await rest(stream)

                    assert await rest(idle) == b""

    assert status_of(reply) == 200
    assert b"connection: close" in reply


@pytest.mark.parametrize("fields", [b"", b"X-Request-Id: another\r\n"], ids=["held by the listener", "read by the gate"])
async def test_whose_body_has_not_come_when_the_server_has_ended_is_told_so(
    fields: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    """F81, H10, P5"""
    request = chat(prompt("never whole"))
    async with contextlib.AsyncExitStack() as server:
        both = await server.enter_async_context(pair(known=(request,)))
        stream = await both.recalling.connect()
        async with stream:
            await both.recalling.send(stream, head_of(request)[:-2] + fields + b"\r\n")
            await server.aclose()
            reply = await rest(stream)

    assert status_of(reply) == 503
    assert b"shutting_down" in reply
    assert not [record for record in caplog.records if record.exc_info]


async def test_behind_an_answer_under_way_a_request_waits() -> None:
    async with pair() as both, await both.recalling.connect() as stream:
        go = anyio.Event()
        both.upstream.respond = lambda _: Told([b"first", go], headers=((b"content-type", b"text/plain"),))
        await both.recalling.send(stream, chat(prompt("slow")), JSON)
        await stream.send(HEAD)  # which is not read for now
        assert b"first" in await stream.receive()
        go.set()
        await stream.send(BODY + LAST)
        reply = await rest(stream)

    assert timeless(reply).count(b"; hit; ") == 2
    assert reply.index(b"0\r\n\r\n") < reply.index(b"; hit; ")


async def test_who_reads_slowly_is_told_all_in_its_order() -> None:
    requests = [LARGE, JSON] * 20
    async with pair() as both:
        told = [timeless(await both.plain.said(request)) for request in (LARGE, JSON)]
        expected = [said[: said.rindex(b"HTTP/1.1 200")] for said in told]
        async with await both.recalling.connect() as stream, anyio.create_task_group() as tasks:
            tasks.start_soon(_send_all, stream, requests)
            await anyio.sleep(0.2)
            reply = await rest(stream, 20)

    assert timeless(reply).startswith(b"".join(expected * 20))
    assert both.recalling.whole_ways > 0  # while nothing more could be written


class Unheard(Counting):
    """Is not told that its client does not read, as some versions of asyncio tell nobody."""

    def pause_writing(self) -> None:
        """Hear nothing."""


async def test_what_nobody_reads_is_not_piled_up_where_nobody_says_so() -> None:
    async with pair(known=(LARGE,)) as both:
        counts = both.recalling
        async with listening(counts.gate, protocol=partial(Unheard, counts)) as counts.port, await counts.connect() as stream:
            for _ in range(40):
                await stream.send(LARGE)
                await anyio.sleep(0.002)

    assert 0 < both.recalling.whole_ways < 40


async def _send_all(stream: SocketStream, requests: list[bytes]) -> None:
    for request in (*requests, LAST):
        await stream.send(request)
        await anyio.lowlevel.checkpoint()


async def test_who_reads_nothing_of_what_is_recalled_does_not_stay_for_ever() -> None:
    """F43"""
    async with one(HASTY, known=(LARGE,)) as listener, await listener.connect() as stream:
        with anyio.fail_after(20), contextlib.suppress(anyio.BrokenResourceError):
            while True:
                await stream.send(LARGE)
                await anyio.sleep(0.001)


@pytest.mark.parametrize(("size", "whole_ways"), [(RECALLED_BODY, 0), (RECALLED_BODY + 1, 1)])
async def test_a_body_of_so_many_bytes_is_held_and_none_of_more(size: int, whole_ways: int) -> None:
    body = prompt("x" * (size - len(prompt(""))))
    assert len(body) == size
    request = chat(body)
    async with pair(known=(request,)) as both:
        said = await both.say_the_same(head_of(request), *[body[at : at + 50_000] for at in range(0, size, 50_000)])

        assert b"; hit; " in said
        assert both.recalling.whole_ways == whole_ways


async def test_a_key_that_was_taken_back_is_refused_by_another_gate_before_the_same_store() -> None:
    rules = AccessRules(Policy(), client_keys=(b"sk-a", b"sk-b"), max_body=1_000_000)
    async with serving(Upstream()) as url:
        upstream, store = HttpUpstream(url + "/v1", api_key="k", credentials="lend"), MemoryStore()
        async with recalling(upstream, store, rules=rules) as before:
            await before.ask(JSON, 4)
            assert before.whole_ways == 3
            async with recalling(upstream, store, rules=replace(rules, client_keys=(b"sk-b",))) as after:
                reply = await after.ask(JSON, 2)
        await upstream.aclose()

    assert status_of(reply) == 401
