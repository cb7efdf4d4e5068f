"""What is made of an upstream's answer, and of one that breaks off: over real sockets."""

from collections.abc import AsyncIterator

import anyio
import httpx
import pytest
from anyio import to_thread

from cachemw.errors import UpstreamError, UpstreamTimeout
from cachemw.limits import Timeouts
from cachemw.messages import Head, header_values
from cachemw.upstreams import HttpUpstream
from tests.serving import nobody_there
from tests.upstreams.raw import (
    CHUNKED,
    Listener,
    Part,
    answer,
    ask,
    chunk,
    closing,
    head,
    hear_out,
    outgoing,
    reaching,
    read_out,
)

pytestmark = pytest.mark.anyio


async def test_a_coded_answer_is_not_decoded() -> None:
    """S9, H9."""
    async with reaching(answer(b"\x1f\x8bnot really", b"Content-Encoding: gzip")) as (_, upstream):
        heard = await ask(upstream)

    assert heard.body == b"\x1f\x8bnot really"
    assert heard.head is not None
    assert (b"Content-Encoding", b"gzip") in heard.head.headers


async def test_an_answer_comes_as_it_is_sent() -> None:
    """S6, H8, S9: the head before the body is there, every piece before the next."""
    gates = [anyio.Event() for _ in range(3)]
    parts: list[Part] = [CHUNKED, gates[0], chunk(b"data: 1\r\n\r\n"), gates[1], chunk(b": 2\n"), gates[2], chunk(b"")]

    async with reaching(*parts) as (_, upstream):
        listener = Listener()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(hear_out, upstream, outgoing(), listener)
            while listener.head is None:
                await listener.news.wait()
            gates[0].set()
            await listener.hears(b"data: 1\r\n\r\n")
            gates[1].set()
            await listener.hears(b"data: 1\r\n\r\n: 2\n")
            assert not listener.is_over
            gates[2].set()

    assert listener.is_over


SOUND = [
    ("with a length", [answer(b"{}")], b"{}", True),
    ("chunked", [CHUNKED, chunk(b"ab"), chunk(b"cd"), chunk(b"")], b"abcd", True),
    ("until the connection closes", [head(b"Content-Type: text/event-stream"), b"abcd"], b"abcd", False),
    ("without a body", [b"HTTP/1.1 204 No Content\r\n\r\n"], b"", True),
    ("empty", [answer(b"")], b"", True),
]


@pytest.mark.parametrize(("parts", "body", "delimited"), [row[1:] for row in SOUND], ids=[row[0] for row in SOUND])
async def test_an_answer_that_ends_where_the_connection_does_is_marked(parts: list[Part], body: bytes, delimited: bool) -> None:
    """R1: only its content can tell whether it is complete."""
    async with reaching(*parts) as (_, upstream):
        heard = await ask(upstream)

    assert isinstance(heard.head, Head)
    assert heard.head.delimited is delimited
    assert (heard.body, heard.is_over) == (body, True)


async def test_a_head_request_has_no_body_whatever_length_it_names() -> None:
    told = b"HTTP/1.1 200 OK\r\nContent-Length: 999\r\nConnection: close\r\n\r\n"

    async with reaching(told) as (_, upstream):
        heard = await ask(upstream, method="HEAD")

    assert heard.head is not None
    assert heard.head.delimited
    assert (heard.body, heard.is_over) == (b"", True)


BROKEN: list[tuple[str, list[Part], bytes]] = [
    ("before the head", [b""], b""),
    ("within the head", [b"HTTP/1.1 200 OK\r\nContent-Le"], b""),
    ("what is no HTTP", [b"220 ftp.example ready\r\n\r\n"], b""),
    ("within a length", [answer(b"abcdef")[:-2]], b"abcd"),
    ("before the body", [answer(b"abcdef")[:-6]], b""),
    ("within a chunk", [CHUNKED, chunk(b"ab"), b"9\r\ncd"], b"abcd"),
    ("between chunks", [CHUNKED, chunk(b"ab"), chunk(b"cd")], b"abcd"),
    ("in the last chunk", [CHUNKED, chunk(b"abcd"), b"0\r\n"], b"abcd"),
]


@pytest.mark.parametrize(("parts", "seen"), [row[1:] for row in BROKEN], ids=[row[0] for row in BROKEN])
async def test_an_answer_that_breaks_off_is_an_error_and_never_an_end(parts: list[Part], seen: bytes) -> None:
    """R1, H10."""
    listener = Listener()

    async with reaching(*parts) as (_, upstream):
        with pytest.raises(UpstreamError) as broken:
            await ask(upstream, listener=listener)

    assert not isinstance(broken.value, UpstreamTimeout)
    assert broken.value.__cause__ is not None
    assert not listener.is_over
    assert seen.startswith(listener.body)


def told(status: bytes = b"200 OK", *fields: bytes) -> bytes:
    """Return a response with these header fields and no other, and a body that any of them allows."""
    body = b"2\r\nok\r\n0\r\n\r\n" if any(b"chunked" in field.lower() for field in fields) else b"ok"
    return b"\r\n".join([b"HTTP/1.1 " + status, b"Connection: close", *fields, b"", body])


LENGTH = b"Content-Length: 2"
UNSPEAKABLE = {
    "a status of no class": told(b"700 What", LENGTH),
    "the first of no class": told(b"600 What", LENGTH),
    "no status": told(b"000 What", LENGTH),
    "a status below the first": told(b"099 What", LENGTH),
    "a protocol that nobody asked for": told(b"101 Switching Protocols", b"Upgrade: x"),
    "a control character": told(b"200 OK", b"X: a\x01b", LENGTH),
    "a deletion": told(b"200 OK", b"X: a\x7fb", LENGTH),
    "a compressed transfer": told(b"200 OK", b"Transfer-Encoding: gzip, chunked"),
    "a compressed transfer without chunks": told(b"200 OK", b"Transfer-Encoding: gzip"),
    "chunks in chunks": told(b"200 OK", b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked"),
}
WAYS = pytest.mark.parametrize("is_awaited", [True, False], ids=["awaited", "pulled"])


async def heard(
    upstream: HttpUpstream, is_awaited: bool, method: str = "POST", timeouts: Timeouts = Timeouts()
) -> tuple[Head | None, bytes]:
    """Ask in either way, and hear the answer out."""
    if is_awaited:
        listener = await ask(upstream, method=method, timeouts=timeouts)
        return listener.head, listener.body
    return await to_thread.run_sync(read_out, upstream, outgoing(method=method, timeouts=timeouts))


@WAYS
@pytest.mark.parametrize("said", UNSPEAKABLE.values(), ids=UNSPEAKABLE)
async def test_a_head_that_no_server_can_say_is_a_broken_upstreams(said: bytes, is_awaited: bool) -> None:
    """F78, H10, D1."""
    async with reaching(said, anyio.Event()) as (server, upstream):
        with pytest.raises(UpstreamError) as broken:
            await heard(upstream, is_awaited, timeouts=Timeouts(first_byte=3, idle=3))
        with anyio.fail_after(5):
            await server.left.wait()  # nobody goes on with it

    assert not isinstance(broken.value, UpstreamTimeout)


ODD = [
    ("the first status", told(b"200 OK", LENGTH), 200),
    ("the last status", told(b"599 Odd", LENGTH), 599),
    ("after another one", b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" + told(b"200 OK", LENGTH), 200),
    ("a tab", told(b"200 OK", b"X: a\tb", LENGTH), 200),
    ("what is not ASCII", told(b"200 OK", b"X: a\xff\xc3\xa9", LENGTH), 200),
    ("chunks in any case", told(b"200 OK", b"Transfer-Encoding: Chunked "), 200),
]


@WAYS
@pytest.mark.parametrize(("said", "status"), [row[1:] for row in ODD], ids=[row[0] for row in ODD])
async def test_what_is_odd_and_can_be_said_passes(said: bytes, status: int, is_awaited: bool) -> None:
    async with reaching(said) as (_, upstream):
        head, body = await heard(upstream, is_awaited)

    assert head is not None
    assert (head.status, body) == (status, b"ok")


@WAYS
@pytest.mark.parametrize(
    ("method", "status", "is_kept"),
    [("GET", 204, False), ("GET", 304, False), ("POST", 204, False), ("HEAD", 200, True), ("HEAD", 304, True)],
)
async def test_what_has_no_body_has_no_length_but_for_a_heads(
    method: str, status: int, is_kept: bool, is_awaited: bool
) -> None:
    """RFC 9110 §8.6: a 304 may say how long the body would have been, and a server waits for it."""
    said = b"HTTP/1.1 %d X\r\nETag: x\r\nContent-Length: 10\r\nConnection: close\r\n\r\n" % status
    async with reaching(said) as (_, upstream):
        head, body = await heard(upstream, is_awaited, method)

    assert head is not None
    assert (head.status, head.delimited, body) == (status, True, b"")
    assert header_values(head.headers, b"content-length") == [b"10"] * is_kept
    assert header_values(head.headers, b"etag") == [b"x"]


async def test_nobody_listening_is_an_error() -> None:
    with nobody_there() as url:
        async with closing(HttpUpstream(url)) as upstream:
            with pytest.raises(UpstreamError) as refused:
                await ask(upstream)

    assert not isinstance(refused.value, UpstreamTimeout)
    assert refused.value.__cause__ is not None


class Unclosable(httpx.AsyncByteStream):
    """A body whose connection fails when it is closed."""

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield b"{}"

    async def aclose(self) -> None:
        raise httpx.CloseError("broken")


async def test_a_connection_that_fails_when_it_is_closed_is_a_broken_upstreams() -> None:
    """It is no exception of an app's, which a server would be told of."""
    transport = httpx.MockTransport(lambda _: httpx.Response(200, stream=Unclosable()))
    listener = Listener()

    async with closing(HttpUpstream("https://api.example", transport=lambda: transport)) as upstream:
        with pytest.raises(UpstreamError):
            await ask(upstream, listener=listener)

    assert not listener.is_over
