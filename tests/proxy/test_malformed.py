"""What is no request of HTTP, or is one in two ways, gets a 400 and a closed connection; the upstream hears of none."""

from collections.abc import AsyncIterator

import anyio
import anyio.lowlevel
import pytest

from cachemw.proxy.heads import held_back, is_sound
from tests.proxy.guarded import Guarded, guarding, rest, status_of
from tests.upstream import Told, always, prompt

pytestmark = pytest.mark.anyio

HOST = b"Host: 127.0.0.1\r\n"
POST = b"POST /v1/chat/completions HTTP/1.1\r\n" + HOST + b"Content-Type: application/json\r\n"
GET = b"GET /v1/models HTTP/1.1\r\n" + HOST
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"
SECOND = b"GET /v1/second HTTP/1.1\r\n" + HOST + b"\r\n"
BODY = prompt()


def posted(fields: bytes, body: bytes = b"abc") -> bytes:
    return POST + fields + b"\r\n" + body


def got(fields: bytes) -> bytes:
    return GET + fields + b"\r\n"


def line(request_line: bytes, fields: bytes = b"") -> bytes:
    return request_line + b"\r\n" + HOST + fields + b"\r\n"


MALFORMED = {
    # Two lengths of one body (RFC 9112 §6.3).
    "CL.TE": posted(b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n", b"0\r\n\r\n"),
    "TE.CL": posted(b"Transfer-Encoding: chunked\r\nContent-Length: 4\r\n", b"0\r\n\r\n"),
    "TE.CL, in other letters": posted(b"tRANSFER-eNCODING: Chunked\r\ncONTENT-lENGTH: 4\r\n", b"0\r\n\r\n"),
    "two lengths": posted(b"Content-Length: 3\r\nContent-Length: 4\r\n"),
    "one length twice": posted(b"Content-Length: 3\r\nContent-Length: 3\r\n"),
    "a list of lengths": posted(b"Content-Length: 3, 3\r\n"),
    "a signed length": posted(b"Content-Length: +3\r\n"),
    "a negative length": posted(b"Content-Length: -3\r\n"),
    "an empty length": posted(b"Content-Length: \r\n"),
    "a hexadecimal length": posted(b"Content-Length: 0x3\r\n"),
    "a length with a point": posted(b"Content-Length: 3.0\r\n"),
    "a length in two words": posted(b"Content-Length: 3 3\r\n"),
    "a length beyond 64 bits": posted(b"Content-Length: 18446744073709551619\r\n"),
    "a length with a letter": posted(b"Content-Length: 3a\r\n"),
    "a quoted length": posted(b'Content-Length: "3"\r\n'),
    # Codings of the transfer.
    "chunked twice": posted(b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", b"0\r\n\r\n"),
    "a list of chunked": posted(b"Transfer-Encoding: chunked, chunked\r\n", b"0\r\n\r\n"),
    "gzip before chunked": posted(b"Transfer-Encoding: gzip, chunked\r\n", b"0\r\n\r\n"),
    "gzip and chunked in two fields": posted(b"Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n", b"0\r\n\r\n"),
    "identity before chunked": posted(b"Transfer-Encoding: identity, chunked\r\n", b"0\r\n\r\n"),
    "chunked before gzip": posted(b"Transfer-Encoding: chunked, gzip\r\n", b"0\r\n\r\n"),
    "an unknown coding": posted(b"Transfer-Encoding: xchunked\r\n", b"0\r\n\r\n"),
    "identity": posted(b"Transfer-Encoding: identity\r\n", b"0\r\n\r\n"),
    "no coding": posted(b"Transfer-Encoding:\r\n", b"0\r\n\r\n"),
    "quoted chunked": posted(b'Transfer-Encoding: "chunked"\r\n', b"0\r\n\r\n"),
    "chunked with a parameter": posted(b"Transfer-Encoding: chunked;q=1\r\n", b"0\r\n\r\n"),
    "chunked with a vertical tab": posted(b"Transfer-Encoding: \x0bchunked\r\n", b"0\r\n\r\n"),
    "chunked on a second line": posted(b"Transfer-Encoding:\r\n chunked\r\n", b"0\r\n\r\n"),
    "a space before the colon": posted(b"Transfer-Encoding : chunked\r\n", b"0\r\n\r\n"),
    "chunked in HTTP/1.0": CHUNKED.replace(b"HTTP/1.1", b"HTTP/1.0") + b"0\r\n\r\n",
    # Chunks.
    "a bare LF behind the size": CHUNKED + b"5\nhello\r\n0\r\n\r\n",
    "a bare CR behind the size": CHUNKED + b"5\rhello\r\n0\r\n\r\n",
    "a size with 0x": CHUNKED + b"0x5\r\nhello\r\n0\r\n\r\n",
    "a space behind the size": CHUNKED + b"5 \r\nhello\r\n0\r\n\r\n",
    "a space before the size": CHUNKED + b" 5\r\nhello\r\n0\r\n\r\n",
    "a negative size": CHUNKED + b"-5\r\nhello\r\n0\r\n\r\n",
    "a size beyond 64 bits": CHUNKED + b"10000000000000005\r\nhello\r\n0\r\n\r\n",
    "no size": CHUNKED + b"\r\nhello\r\n0\r\n\r\n",
    "a size that is none": CHUNKED + b"hello\r\n0\r\n\r\n",
    "a chunk that is longer": CHUNKED + b"5\r\nhello!\r\n0\r\n\r\n",
    "a chunk that is shorter": CHUNKED + b"5\r\nhell\r\n0\r\n\r\n",
    "a chunk without an end": CHUNKED + b"5\r\nhello0\r\n\r\n",
    "a bare LF behind a chunk": CHUNKED + b"5\r\nhello\n0\r\n\r\n",
    "a bare LF in an extension": CHUNKED + b"5;a=b\nX\r\nhello\r\n0\r\n\r\n",
    "a bare CR in an extension": CHUNKED + b"5;a=b\rX\r\nhello\r\n0\r\n\r\n",
    "a trailer that is none": CHUNKED + b"5\r\nhello\r\n0\r\nnothing\r\n\r\n",
    "a length in the trailer": CHUNKED + b"5\r\nhello\r\n0\r\nContent-Length: 5\r\n\r\n",
    # Lines and characters.
    "a folded line": got(b"X-A: a\r\n b\r\n"),
    "a folded line, by a tab": got(b"X-A: a\r\n\tb\r\n"),
    "a space behind the request line": line(b"GET /v1/models HTTP/1.1").replace(b"\r\nHost", b"\r\n Host"),
    "a bare LF behind the request line": b"GET /v1/models HTTP/1.1\n" + HOST + b"\r\n",
    "a bare LF behind a field": GET + b"X-A: a\n\r\n",
    "a bare LF before the body": GET + b"\n",
    "a bare CR in a field": got(b"X-A: a\rX-B: b\r\n"),
    "a NUL in a value": got(b"X-A: a\x00b\r\n"),
    "a NUL in a name": got(b"X\x00A: a\r\n"),
    "a control character in a value": got(b"X-A: a\x01b\r\n"),
    "a vertical tab in a value": got(b"X-A: a\x0bb\r\n"),
    "a delete in a value": got(b"X-A: a\x7fb\r\n"),
    "a space in a name": got(b"X A: a\r\n"),
    "a space behind a name": got(b"X-A : a\r\n"),
    "a name that is not ASCII": got(b"X-\xe4: a\r\n"),
    "a name with a slash": got(b"X/A: a\r\n"),
    "no name": got(b": a\r\n"),
    "no colon": got(b"X-A\r\n"),
    # The request line.
    "HTTP/0.9": b"GET /v1/models\r\n\r\n",
    "HTTP/0.9, by number": line(b"GET /v1/models HTTP/0.9"),
    "HTTP/1.2": line(b"GET /v1/models HTTP/1.2"),
    "HTTP/2.0": line(b"GET /v1/models HTTP/2.0"),
    "HTTP/2, as it begins": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "http in small letters": line(b"GET /v1/models http/1.1"),
    "a version of two digits": line(b"GET /v1/models HTTP/1.10"),
    "half a version": line(b"GET /v1/models HTTP/1."),
    "something behind the version": line(b"GET /v1/models HTTP/1.1 x"),
    "another protocol": line(b"DESCRIBE rtsp://127.0.0.1/ RTSP/1.0"),
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 64,
    "a method in small letters": line(b"get /v1/models HTTP/1.1"),
    "an unknown method": line(b"BREW /v1/models HTTP/1.1"),
    "a tab behind the method": line(b"GET\t/v1/models HTTP/1.1"),
    "a space before the method": line(b" GET /v1/models HTTP/1.1"),
    "no target": line(b"GET HTTP/1.1"),
    "a relative target": line(b"GET v1/models HTTP/1.1"),
    "an asterisk": line(b"GET * HTTP/1.1"),
    "a tunnel": line(b"CONNECT api.example:443 HTTP/1.1"),
    "a fragment": line(b"GET /v1/models#x HTTP/1.1"),
    "a broken escape": line(b"GET /v1/%zz HTTP/1.1"),
    "half an escape": line(b"GET /v1/models?a=%4 HTTP/1.1"),
    "a NUL in the target": line(b"GET /v1/\x00 HTTP/1.1"),
    "a target that is not ASCII": line(b"GET /v1/\xff HTTP/1.1"),
    "a query that is not ASCII": line(b"GET /v1/models?a=\xc3\xa9 HTTP/1.1"),
    "a control character in the target": line(b"GET /v1/\x01 HTTP/1.1"),
    "a delete in the target": line(b"GET /v1/\x7f HTTP/1.1"),
    "a tab in the target": line(b"GET /v1/a\tb HTTP/1.1"),
    "a space in the query": line(b"GET /v1/models?a= b HTTP/1.1"),
    "a space in the target": line(b"GET /v1/a b HTTP/1.1"),
    # The host.
    "no host": b"GET /v1/models HTTP/1.1\r\n\r\n",
    "two hosts": got(HOST),
    "two hosts that differ": got(b"Host: evil.example\r\n"),
    "an empty host": b"GET /v1/models HTTP/1.1\r\nHost:\r\n\r\n",
    "a host with userinfo": b"GET /v1/models HTTP/1.1\r\nHost: localhost:80@evil.example\r\n\r\n",
    "another host in the target": line(b"GET http://evil.example/v1/models HTTP/1.1"),
    "the same host behind userinfo": line(b"GET http://127.0.0.1@evil.example/v1/models HTTP/1.1"),
    "another scheme in the target": line(b"GET ftp://127.0.0.1/v1/models HTTP/1.1"),
    "a port that is none in the target": line(b"GET http://127.0.0.1:99999/v1/models HTTP/1.1"),
}


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module")
async def server(anyio_backend: str) -> AsyncIterator[Guarded]:
    async with guarding() as guarded:
        yield guarded


@pytest.fixture
def guarded(server: Guarded) -> Guarded:
    return server.fresh()


def test_there_are_enough_of_them() -> None:
    assert len(MALFORMED) >= 60


@pytest.mark.parametrize("request_bytes", MALFORMED.values(), ids=MALFORMED.keys())
async def test_what_is_malformed_is_refused_and_the_connection_closed(guarded: Guarded, request_bytes: bytes) -> None:
    """S11: a second request behind it is not answered, and nothing at all reaches the upstream."""
    reply = await guarded.say(request_bytes + SECOND)

    assert status_of(reply) == 400
    assert reply.count(b"HTTP/1.1 ") == 1
    assert b"connection: close" in reply
    assert guarded.upstream.calls == 0


@pytest.mark.parametrize("request_bytes", MALFORMED.values(), ids=MALFORMED.keys())
async def test_so_it_is_when_it_comes_behind_a_good_one(guarded: Guarded, request_bytes: bytes) -> None:
    """S11: whose answer is whole, and not followed by one that nobody can assign."""
    good = posted(b"Content-Length: %d\r\n" % len(BODY), BODY)

    reply = await guarded.say(good + request_bytes + SECOND)

    asked = [asked.path for asked in guarded.upstream.asked]
    assert asked == ["/v1/chat/completions"]
    assert status_of(reply) == 200
    head, _, body = reply.partition(b"\r\n\r\n")
    assert b"content-length: %d\r\n" % len(body.partition(b"HTTP/1.1 400")[0]) in head.lower() + b"\r\n"
    assert reply.count(b"HTTP/1.1 ") <= 2


@pytest.mark.parametrize("request_bytes", MALFORMED.values(), ids=MALFORMED.keys())
async def test_so_it_is_when_it_comes_in_pieces(guarded: Guarded, request_bytes: bytes) -> None:
    """S11: of which the first ends within the head. Of what breaks in its body, the upstream has heard the beginning."""
    head_size = request_bytes.find(b"\r\n\r\n")
    cut = head_size if head_size > 0 else len(request_bytes) // 2

    reply = await guarded.say(request_bytes[:cut], request_bytes[cut:] + SECOND, pause=0.003)

    assert status_of(reply) == 400
    assert reply.count(b"HTTP/1.1 ") == 1
    assert guarded.upstream.calls == 0


SOUND = {
    "an absolute target": line(b"GET http://127.0.0.1/v1/models HTTP/1.1"),
    "an absolute target in capitals": line(b"GET HTTP://127.0.0.1/v1/models HTTP/1.1"),
    "an empty line before": b"\r\n" + line(b"GET /v1/models HTTP/1.1"),
    "an escape": line(b"GET /v1/a%2Fb?c=%20 HTTP/1.1"),
    "a value that is not ASCII": got(b"X-A: \xe4\r\n"),
    "an empty value": got(b"X-A:\r\n"),
    "no space behind a colon": got(b"X-A:a\r\n"),
    "HTTP/1.0": line(b"GET /v1/models HTTP/1.0"),
    "chunks": POST + b"Transfer-Encoding: chunked\r\n\r\n%x;a=b\r\n%s\r\n0\r\nX-T: a\r\n\r\n" % (len(BODY), BODY),
    "chunks, in capitals": POST + b"Transfer-Encoding: CHUNKED\r\n\r\n%X\r\n%s\r\n0\r\n\r\n" % (len(BODY), BODY),
    "a length": posted(b"Content-Length: %d\r\n" % len(BODY), BODY),
}


@pytest.mark.parametrize("request_bytes", SOUND.values(), ids=SOUND.keys())
async def test_what_is_unusual_and_sound_is_answered(guarded: Guarded, request_bytes: bytes) -> None:
    async with await guarded.connect() as stream:
        await stream.send(request_bytes)
        reply = await stream.receive()

    asked = len(guarded.upstream.asked)
    assert (status_of(reply), asked) == (200, 1)


async def test_a_trailer_says_nothing_about_the_request(guarded: Guarded) -> None:
    """F46: RFC 9110 §6.5.1: a key that comes behind the body would be one that nobody has looked at."""
    chunks = b"%x\r\n%s\r\n0\r\nAuthorization: Bearer sk-trailing\r\nCachemw: ttl=-1\r\nHost: evil.example\r\n\r\n"

    async with await guarded.connect() as stream:
        await stream.send(CHUNKED + chunks % (len(BODY), BODY))
        reply = await stream.receive()

    asked = guarded.upstream.asked.pop()
    assert status_of(reply) == 200
    assert asked.header(b"authorization") == b"Bearer sk-server"


UPGRADE = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n"
"""What Java's own client and `curl --http2` say whenever they may."""


@pytest.mark.parametrize("cut", [0, 20, 60, 150, 10_000])
@pytest.mark.parametrize("is_chunked", [False, True])
async def test_who_would_like_another_protocol_is_answered_in_this_one(guarded: Guarded, is_chunked: bool, cut: int) -> None:
    """F45: RFC 9110 §7.8: and with all of the body, which the parser alone would drop."""
    sized = b"Content-Length: %d\r\n" % len(BODY)
    chunked = b"Transfer-Encoding: chunked\r\n", b"%x\r\n%s\r\n0\r\n\r\n" % (len(BODY), BODY)
    first = posted(UPGRADE + chunked[0], chunked[1]) if is_chunked else posted(UPGRADE + sized, BODY)

    reply = await guarded.say(first[:cut], first[cut:], got(b"Connection: close\r\n"), pause=0.02)

    assert reply.count(b"HTTP/1.1 200") == 2
    assert [asked.body for asked in guarded.upstream.asked] == [BODY, b""]
    assert all(asked.header(b"upgrade") is None for asked in guarded.upstream.asked)


LOWER = posted(b"upgrade: h2c\r\nConnection: upgrade\r\nContent-Length: %d\r\n" % len(BODY), BODY)
LATE = posted(b"Content-Length: %d\r\n" % len(BODY) + UPGRADE, BODY)


@pytest.mark.parametrize("request_bytes", [LOWER, LATE], ids=["lower", "late"])
async def test_wherever_its_head_is_cut_the_body_is_not_lost(guarded: Guarded, request_bytes: bytes) -> None:
    """F132: RFC 9110 §7.8: a segment may end anywhere."""
    for cut in range(1, len(request_bytes)):
        async with await guarded.connect() as stream:
            await stream.send(request_bytes[:cut])
            await anyio.sleep(0.002)
            await stream.send(request_bytes[cut:])
            assert status_of(await stream.receive()) == 200, cut

    assert [asked.body for asked in guarded.upstream.asked] == [BODY] * (len(request_bytes) - 1)
    assert all(asked.header(b"upgrade") is None for asked in guarded.upstream.asked)


async def test_nor_is_it_where_every_byte_comes_alone(guarded: Guarded) -> None:
    """F132."""
    async with await guarded.connect() as stream:
        for byte in LATE:
            await stream.send(bytes([byte]))
            await anyio.lowlevel.checkpoint()
        assert status_of(await stream.receive()) == 200

    assert [asked.body for asked in guarded.upstream.asked] == [BODY]


async def test_one_behind_another_is_refused_and_loses_no_body(guarded: Guarded) -> None:
    """F133: the first is answered, whole; the second is not asked without its body."""
    reply = await guarded.say(LATE + LATE)

    assert [asked.body for asked in guarded.upstream.asked] == [BODY]
    assert status_of(reply) == 200
    assert reply.count(b"HTTP/1.1 200") == 1


async def test_one_behind_an_answer_that_was_given_is_told_why(guarded: Guarded) -> None:
    """F133: its head came with the end of the body before it, so that it was not seen in time."""
    sized = b"Content-Length: %d\r\n\r\n" % len(BODY)
    async with await guarded.connect() as stream:
        await stream.send(POST + sized + BODY[:-1])
        await anyio.sleep(0.01)
        await stream.send(BODY[-1:] + LATE[:30])
        assert status_of(await stream.receive()) == 200
        await stream.send(LATE[30:])
        reply = await rest(stream)

    assert status_of(reply) == 400
    assert [asked.body for asked in guarded.upstream.asked] == [BODY]


@pytest.mark.parametrize("cut", [0, 1, 2, 3, 4])
async def test_a_body_is_not_taken_for_a_head_whose_end_was_cut(guarded: Guarded, cut: int) -> None:
    """F136."""
    body = b"Upgrade: h2c\r\nUpgrade: h2c"
    head = posted(b"Content-Length: %d\r\n" % len(body), b"")
    at = len(head) - 4 + cut
    guarded.upstream.respond = always(Told((b"{}",)))

    async with await guarded.connect() as stream:
        await stream.send((head + body)[:at])
        await anyio.sleep(0.005)
        await stream.send((head + body)[at:])
        assert status_of(await stream.receive()) == 200

    assert [asked.body for asked in guarded.upstream.asked] == [body]


@pytest.mark.parametrize(
    ("piece", "size"),
    [
        (b"GET / HTTP/1.1", 0),
        (b"GET / HTTP/1.1\r", 1),
        (b"GET / HTTP/1.1\r\n", 2),
        (b"GET / HTTP/1.1\r\nX: a\r\n\r", 3),
        (b"GET / HTTP/1.1\r\nUPGRADE", 9),
        (b"GET / HTTP/1.1\r\nUpgrade:", 0),
        (b"GET / HTTP/1.1\r\nUpgraded", 0),
        (b"GET / HTTP/1.1\r\nX-Up", 0),
        (b"GET / HTTP/1.1\r\n\r\n", 0),
        (b"GET / HTTP/1.1\r\n\r\nbody\r\nUp", 0),
        (b"\r\nUpgra", 7),
        (b"", 0),
    ],
)
def test_no_more_is_held_back_than_may_be_the_beginning_of_it(piece: bytes, size: int) -> None:
    """F132: and nothing behind a head, for which somebody may be waiting."""
    assert held_back(piece) == size


async def test_a_body_that_speaks_of_upgrades_is_left_alone(guarded: Guarded) -> None:
    body = b'{"messages": [], "text": "\r\nUpgrade: h2c"}'

    await guarded.say(posted(UPGRADE + b"Content-Length: %d\r\nConnection: close\r\n" % len(body), body))

    assert guarded.upstream.asked[0].body == body


async def test_two_good_requests_at_once_are_answered_one_after_the_other(guarded: Guarded) -> None:
    good = posted(b"Content-Length: %d\r\n" % len(BODY), BODY)

    reply = await guarded.say(good + got(b"Connection: close\r\n"))

    paths = [asked.path for asked in guarded.upstream.asked]
    assert reply.count(b"HTTP/1.1 200") == 2
    assert paths == ["/v1/chat/completions", "/v1/models"]


async def test_a_body_that_breaks_under_way_is_refused_and_the_upstream_is_left(guarded: Guarded) -> None:
    """S11: its head was sound, so the upstream has heard the beginning."""
    left, begun = anyio.Event(), anyio.Event()
    guarded.upstream.left, guarded.upstream.hears = left, lambda piece: begun.set()
    guarded.upstream.respond = always(Told([anyio.Event()]))
    async with await guarded.connect() as stream:
        await stream.send(CHUNKED + b"5\r\nhello\r\n")
        with anyio.fail_after(5):
            await begun.wait()
        await stream.send(b"zz\r\n" + SECOND)
        reply = await rest(stream)

    assert status_of(reply) == 400
    assert reply.count(b"HTTP/1.1 ") == 1
    with anyio.fail_after(5):
        await left.wait()


def test_a_sound_head_names_one_host() -> None:
    host = ((b"host", b"localhost:8080"),)

    assert is_sound("1.1", b"http://LOCALHOST:8080/v1", host)
    assert not is_sound("1.1", b"http://localhost/v1", host)
    assert not is_sound("1.1", b"http://localhost:8080/v1", ())
    assert not is_sound("1.1", b"http://localhost:8080/v1", host + host)
