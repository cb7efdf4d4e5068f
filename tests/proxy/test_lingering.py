"""A client that is refused while it is still sending hears why (RFC 9112 §9.6)."""

import contextlib
import time
from dataclasses import replace

import anyio
import pytest
from anyio.abc import SocketStream

from cachemw import Limits
from tests.proxy.guarded import HASTY, guarding, rest, status_of

pytestmark = pytest.mark.anyio

HEAD = b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
SIZE = 8_000_000  # more than sockets hold


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


async def _send_all(stream: SocketStream) -> None:
    for _ in range(SIZE // 100_000):
        await stream.send(bytes(100_000))  # raises where the connection is reset


async def test_who_sends_too_much_can_send_it_all_and_is_told() -> None:
    """F40, I8"""
    async with guarding() as guarded:
        for _ in range(5):
            async with await guarded.connect() as stream:
                await stream.send(HEAD + b"Content-Length: %d\r\n\r\n" % SIZE)
                await _send_all(stream)
                assert status_of(await rest(stream)) == 413
        assert guarded.upstream.calls == 0


async def test_who_goes_on_for_ever_is_not_listened_to_for_ever() -> None:
    async with guarding(Limits(linger_time=0.2)) as guarded, await guarded.connect() as stream:
        await stream.send(HEAD + b"Content-Length: 90000000000\r\n\r\n")
        began = time.monotonic()
        with contextlib.suppress(anyio.BrokenResourceError):
            while time.monotonic() - began < 20:
                await stream.send(bytes(100_000))

        assert 0.1 < time.monotonic() - began < 10


async def test_what_comes_after_a_refusal_is_no_request() -> None:
    async with guarding() as guarded, await guarded.connect() as stream:
        await stream.send(HEAD + b"Content-Length: 200000\r\n\r\n" + bytes(1000))
        await anyio.sleep(0.05)
        await stream.send(b"GET /v1/models HTTP/1.1\r\nHost: localhost\r\n\r\n" * 100)
        reply = await rest(stream)

        assert reply.count(b"HTTP/1.1 ") == 1
        assert guarded.upstream.calls == 0


async def test_who_has_sent_all_is_not_waited_for() -> None:
    async with guarding(replace(HASTY, linger_time=30.0)) as guarded, await guarded.connect() as stream:
        began = time.monotonic()
        await rest(stream)  # says nothing, and its time runs out

        assert time.monotonic() - began < 10
