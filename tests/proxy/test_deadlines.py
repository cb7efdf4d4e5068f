"""How long the listener waits for a client, told by when it closes the connection."""

import contextlib
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import anyio
import pytest
from anyio.abc import SocketStream
from starlette.types import Message, Receive, Scope, Send

from cachemw import Limits
from cachemw.limits import BODY_BYTES, MIB
from cachemw.proxy.listener import GuardedProtocol
from tests.proxy.guarded import HASTY, Guarded, guarding, listening, rest, status_of
from tests.upstream import Told, completion, prompt

pytestmark = [pytest.mark.anyio, pytest.mark.faults]

HOST = b"Host: 127.0.0.1\r\n"
GET = b"GET /healthz HTTP/1.1\r\n" + HOST + b"\r\n"
POST = b"POST /v1/chat/completions HTTP/1.1\r\n" + HOST + b"Content-Type: application/json\r\n"
LATE = 0.6
"""How much later than it is due something may be, on a machine that is busy."""


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module")
async def server(anyio_backend: str) -> AsyncIterator[Guarded]:
    async with guarding(HASTY) as guarded:
        yield guarded


@pytest.fixture
def guarded(server: Guarded) -> Guarded:
    return server.fresh()


async def trickle(stream: SocketStream, data: bytes, every: float = 0.05) -> None:
    """Send a byte at a time until the other side has had enough."""
    with contextlib.suppress(anyio.BrokenResourceError, anyio.ClosedResourceError):
        for at in range(len(data)):
            await stream.send(data[at : at + 1])
            await anyio.sleep(every)


async def hear_out(stream: SocketStream, data: bytes = b"") -> tuple[bytes, float]:
    """Send bytes one by one; return all that comes, and after how many seconds the connection was closed."""
    began = time.monotonic()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(trickle, stream, data)
        reply = await rest(stream)
        tasks.cancel_scope.cancel()
    return reply, time.monotonic() - began


def is_due(after: float, due: float) -> bool:
    return due - 0.05 <= after <= due + LATE


def test_the_deadlines_are_those_of_the_documentation() -> None:
    """D7: and so are the other limits of a request."""
    readme = " ".join((Path(__file__).parents[2] / "docs/proxy.md").read_text().split())

    limits = Limits()

    assert f"{limits.head_time:.0f} s for the head of a request and {limits.body_time:.0f} s" in readme
    assert f"body over {BODY_BYTES // MIB} MiB" in readme
    assert f"head over {limits.head_bytes // 1024} KiB or {limits.head_fields} fields" in readme


async def test_who_says_nothing_is_left_without_a_word(guarded: Guarded) -> None:
    async with await guarded.connect() as stream:
        reply, after = await hear_out(stream)

    assert reply == b""
    assert is_due(after, HASTY.head_time)


@pytest.mark.parametrize("beginning", [b"GET / HT", b"\r\n", GET[:-2], GET[:-2] + b"X-A: " + b"a" * 99], ids=repr)
async def test_a_head_that_does_not_end_is_a_408(guarded: Guarded, beginning: bytes) -> None:
    async with await guarded.connect() as stream:
        await stream.send(beginning)
        reply, after = await hear_out(stream)

    assert status_of(reply) == 408
    assert is_due(after, HASTY.head_time)


async def test_a_head_that_trickles_has_no_longer(guarded: Guarded) -> None:
    """Bytes do not put the end off."""
    async with await guarded.connect() as stream:
        reply, after = await hear_out(stream, GET)

    assert status_of(reply) == 408
    assert is_due(after, HASTY.head_time)


async def test_empty_lines_are_no_request_and_no_respite(guarded: Guarded) -> None:
    async with await guarded.connect() as stream:
        _, after = await hear_out(stream, b"\r\n" * 99)

    assert is_due(after, HASTY.head_time)


async def test_the_time_of_a_second_head_begins_with_its_first_byte(guarded: Guarded) -> None:
    async with await guarded.connect() as stream:
        await stream.send(GET)
        assert status_of(await stream.receive()) == 200
        await anyio.sleep(HASTY.head_time * 1.5)  # the connection may be idle: that is the server's own time
        await stream.send(GET)
        assert status_of(await stream.receive()) == 200
        await anyio.sleep(HASTY.head_time / 2)

        reply, after = await hear_out(stream, GET)

    assert status_of(reply) == 408
    assert is_due(after, HASTY.head_time)


async def test_a_head_in_time_is_answered_however_it_is_cut(guarded: Guarded) -> None:
    async with await guarded.connect() as stream:
        await trickle(stream, GET, every=0)

        assert status_of(await stream.receive()) == 200


BODIES = {
    "of known length": (b"Content-Length: 500\r\n\r\n", b"x" * 500),
    "chunked": (b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n" * 500),
    "a chunk's extension": (b"Transfer-Encoding: chunked\r\n\r\n", b"5;" + b"x" * 500),
    "a trailer": (b"Transfer-Encoding: chunked\r\n\r\n", b"0\r\nX-A: " + b"x" * 500),
}


@pytest.mark.parametrize(("fields", "body"), BODIES.values(), ids=BODIES.keys())
@pytest.mark.parametrize("control", [b"", b"Cachemw: on\r\n"], ids=["not opted in", "opted in"])
async def test_a_body_that_trickles_is_a_408(guarded: Guarded, fields: bytes, body: bytes, control: bytes) -> None:
    """S11: and what has come of it is answered by nobody."""
    async with await guarded.connect() as stream:
        await stream.send(POST + control + fields)
        reply, after = await hear_out(stream, body)

    assert status_of(reply) == 408
    assert b"connection: close" in reply
    assert is_due(after, HASTY.body_time)
    assert not list(guarded.store.scan())


async def test_a_body_that_never_comes_is_a_408(guarded: Guarded) -> None:
    async with await guarded.connect() as stream:
        await stream.send(POST + b"Content-Length: 5\r\n\r\n")
        reply, after = await hear_out(stream)

    assert status_of(reply) == 408
    assert is_due(after, HASTY.body_time)


async def test_who_was_refused_is_heard_no_more(guarded: Guarded) -> None:
    """F44"""
    async with await guarded.connect() as stream:
        await stream.send(POST.replace(HOST, b"Host: evil.example\r\n") + b"Content-Length: 500\r\n\r\n")
        assert status_of(await stream.receive()) == 403
        reply, after = await hear_out(stream, b"x" * 500)

    assert reply == b""
    assert after < HASTY.body_time


class Brisk(GuardedProtocol):
    """Keeps nothing alive for long."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.timeout_keep_alive = 1  # s


async def test_who_is_answered_before_all_was_sent_does_not_stay_for_ever() -> None:
    """F41: behind an answer the rest of a request takes the keep-alive's time from it."""
    async with guarding(HASTY, protocol=Brisk) as guarded, await guarded.connect() as stream:
        await stream.send(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\n")
        assert status_of(await stream.receive()) == 200
        await anyio.sleep(0.05)
        await stream.send(b"0123456789")
        began = time.monotonic()
        reply = await rest(stream)

    assert reply == b""
    assert is_due(time.monotonic() - began, 1.0)


async def test_what_nobody_needs_is_not_taken_for_ever() -> None:
    """F42: a probe's body, say; before, gigabytes were read within a minute."""
    async with guarding() as guarded, await guarded.connect() as stream:
        await stream.send(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999999\r\n\r\n")
        assert status_of(await stream.receive()) == 200
        sent, began = 0, time.monotonic()
        with contextlib.suppress(anyio.BrokenResourceError):
            while time.monotonic() - began < 9:
                await stream.send(bytes(100_000))
                sent += 100_000

    assert time.monotonic() - began < 5


async def test_who_reads_nothing_does_not_stay_for_ever() -> None:
    """F43"""
    app = Flood()
    async with listening(app, HASTY) as port, await anyio.connect_tcp("127.0.0.1", port) as stream:
        await stream.send(b"GET / HTTP/1.1\r\n\r\n")
        with anyio.fail_after(5):
            await app.is_left.wait()


class Flood:
    """Sends without end."""

    def __init__(self) -> None:
        self.is_left = anyio.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._hear, receive, tasks.cancel_scope)
            while True:
                await send({"type": "http.response.body", "body": bytes(65_536), "more_body": True})
                await anyio.lowlevel.checkpoint()  # uvicorn drops at once what nobody gets any more

    async def _hear(self, receive: Receive, here: anyio.CancelScope) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        self.is_left.set()
        here.cancel()


async def test_an_answer_has_all_the_time_it_takes(guarded: Guarded) -> None:
    """Only clients have deadlines."""
    go = anyio.Event()
    guarded.upstream.respond = lambda _: Told([b"late", go])
    body = prompt()

    async with await guarded.connect() as stream:
        await stream.send(POST + b"Content-Length: %d\r\n\r\n" % len(body) + body)
        await anyio.sleep(HASTY.head_time + HASTY.body_time)
        go.set()
        reply = b""
        with anyio.fail_after(5):
            while not reply.endswith(b"0\r\n\r\n"):
                reply += await stream.receive()

    assert status_of(reply) == 200


async def test_half_a_request_behind_a_whole_one_spoils_nothing(guarded: Guarded) -> None:
    """The first is answered to its end, although the second's time is over before that."""
    go = anyio.Event()
    guarded.upstream.respond = lambda _: Told([b"a", go, b"z"], headers=((b"content-type", b"text/plain"),))
    body = prompt()

    async with await guarded.connect() as stream:
        await stream.send(POST + b"Content-Length: %d\r\n\r\n" % len(body) + body + b"GET / HT")
        await anyio.sleep(HASTY.head_time * 2)
        go.set()
        reply, _ = await hear_out(stream)

    assert status_of(reply) == 200
    assert reply.endswith(b"1\r\nz\r\n0\r\n\r\n")
    assert reply.count(b"HTTP/1.1 ") == 1


class Slow:
    """An app that begins to answer at once, and reads a body when it is let."""

    def __init__(self) -> None:
        self.go = anyio.Event()
        self.begins = False
        self.ended: list[Message] = []
        self.has_ended = anyio.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        if self.begins:
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b"begun", "more_body": True})
        await self.go.wait()
        while True:
            message = await receive()
            if message["type"] == "http.disconnect" or not message["more_body"]:
                break
        self.ended.append(message)
        self.has_ended.set()
        if not self.begins:
            await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"read"})


async def test_the_time_in_which_nothing_is_read_is_not_the_clients() -> None:
    """A body of more than is held waits for an upstream that is slow."""
    app, size = Slow(), 8 * 2**20
    async with listening(app, HASTY) as port, await anyio.connect_tcp("127.0.0.1", port) as stream:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(stream.send, b"POST / HTTP/1.1\r\nContent-Length: %d\r\n\r\n" % size + b"x" * size)
            await anyio.sleep(HASTY.body_time * 2)
            app.go.set()
        reply = await stream.receive()

    assert status_of(reply) == 200


async def test_an_answer_that_had_begun_is_broken_off() -> None:
    app = Slow()
    app.begins = True
    async with listening(app, HASTY) as port, await anyio.connect_tcp("127.0.0.1", port) as stream:
        await stream.send(b"POST / HTTP/1.1\r\nContent-Length: 9\r\n\r\nx")
        reply, after = await hear_out(stream)
        app.go.set()
        with anyio.fail_after(5):
            await app.has_ended.wait()

    assert reply.endswith(b"begun\r\n")
    assert is_due(after, HASTY.body_time)
    assert app.ended == [{"type": "http.disconnect"}]


async def test_a_hundred_slow_clients_are_all_closed_in_time() -> None:
    """reliability: while others are answered."""
    async with guarding(HASTY) as guarded, contextlib.AsyncExitStack() as stack:
        guarded.upstream.respond = lambda _: completion()
        streams = []
        for at in range(100):
            streams.append(await stack.enter_async_context(await guarded.connect()))
            await streams[-1].send(GET[:9] if at % 2 else POST + b"Content-Length: 500\r\n\r\n")
        began = time.monotonic()
        async with await guarded.connect() as one:
            await one.send(GET)
            assert status_of(await one.receive()) == 200
        replies = [await rest(stream) for stream in streams]

    assert {status_of(reply) for reply in replies} == {408}
    assert time.monotonic() - began < 10
