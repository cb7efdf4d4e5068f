"""What is made of an upstream's answer, and of one that breaks off: over real sockets."""

import anyio
import pytest

from cachemw.core.messages import Head
from cachemw.errors import UpstreamError, UpstreamTimeout
from cachemw.upstreams import HttpUpstream
from tests.serving import nobody_there
from tests.upstreams.raw import CHUNKED, Listener, Part, answer, ask, chunk, closing, head, hear_out, outgoing, reaching

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
            tasks.start_soon(hear_out, upstream, outgoing(upstream), listener)
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


async def test_nobody_listening_is_an_error() -> None:
    with nobody_there() as url:
        async with closing(HttpUpstream(url)) as upstream:
            with pytest.raises(UpstreamError) as refused:
                await ask(upstream)

    assert not isinstance(refused.value, UpstreamTimeout)
    assert refused.value.__cause__ is not None
