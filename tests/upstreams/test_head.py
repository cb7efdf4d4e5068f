"""Which heads of an upstream a server can say in its turn, as tables."""

import httpx
import pytest

from cachemw.errors import UnusableHead, UpstreamError
from cachemw.messages import Head, Headers
from cachemw.upstreams.heads import sayable
from cachemw.upstreams.http import head_of

LENGTH = (b"Content-Length", b"10")
CHUNKED = (b"Transfer-Encoding", b"chunked")
TYPE = (b"content-type", b"application/json")


@pytest.mark.parametrize("status", [-1, 0, 99, 100, 101, 103, 199, 600, 700, 999])
def test_a_status_that_is_none_of_an_answer_is_a_broken_upstreams(status: int) -> None:
    """H10: RFC 9110 §15."""
    with pytest.raises(UpstreamError):
        sayable("POST", Head(status, ()))


@pytest.mark.parametrize("octet", [*range(9), *range(10, 32), 127])
def test_a_control_character_is_a_broken_upstreams(octet: int) -> None:
    """H10: RFC 9110 §5.5."""
    with pytest.raises(UpstreamError):
        sayable("POST", Head(200, (TYPE, (b"x", b"a" + bytes([octet]) + b"b"))))


@pytest.mark.parametrize(
    "fields",
    [
        ((b"transfer-encoding", b"gzip"),),
        ((b"transfer-encoding", b"gzip, chunked"),),
        ((b"transfer-encoding", b"identity"),),
        ((b"transfer-encoding", b""),),
        (CHUNKED, CHUNKED),
    ],
)
def test_a_body_whose_coding_nobody_undoes_is_a_broken_upstreams(fields: Headers) -> None:
    """H10: RFC 9112 §6.1, §6.3."""
    with pytest.raises(UpstreamError):
        sayable("POST", Head(200, fields))


@pytest.mark.parametrize("status", [200, 299, 304, 404, 500, 599])
@pytest.mark.parametrize(
    "fields",
    [(), (TYPE, TYPE), (CHUNKED,), ((b"transfer-encoding", b"CHUNKED"),), ((b"x", b"a\tb \xff\xc3\xa9~"), (b"y", b""))],
)
@pytest.mark.parametrize("delimited", [False, True])
def test_all_else_is_said_as_it_is(status: int, fields: Headers, delimited: bool) -> None:
    """H9."""
    head = Head(status, fields, delimited)

    assert sayable("GET", head) == head


@pytest.mark.parametrize(
    ("method", "status", "is_kept"),
    [("GET", 204, False), ("POST", 304, False), ("GET", 200, True), ("HEAD", 200, True), ("HEAD", 304, True)],
)
def test_the_length_of_a_body_that_does_not_come_is_a_heads_alone(method: str, status: int, is_kept: bool) -> None:
    """RFC 9110 §8.6."""
    assert sayable(method, Head(status, (LENGTH, TYPE))) == Head(status, (LENGTH, TYPE) if is_kept else (TYPE,))


@pytest.mark.parametrize("fields", [(CHUNKED, LENGTH), (LENGTH, CHUNKED), (CHUNKED, (b"Content-Length", b"0"))])
@pytest.mark.parametrize("method", ["GET", "POST", "HEAD"])
def test_a_body_that_ends_in_two_ways_is_a_broken_upstreams(method: str, fields: Headers) -> None:
    """H10: RFC 9112 §6.3 lets chunks overrule a length, and has it handled as an error; whichever client asks."""
    with pytest.raises(UnusableHead) as raised:
        sayable(method, Head(200, (*fields, TYPE)))

    assert raised.value.detail == "two-framings"


def _lengths(*values: bytes) -> Headers:
    return tuple((b"Content-Length", value) for value in values)


@pytest.mark.parametrize("more", [(), (CHUNKED,), (TYPE,)], ids=str)
@pytest.mark.parametrize(
    "values",
    [(b"10", b"11"), (b"10, 11",), (b"10", b"10, 11"), (b"",), (b"+10",), (b"1e1",), (b"10", b"ten"), (b"0x10",), (b"\xb2",)],
    ids=str,
)
@pytest.mark.parametrize("method", ["POST", "HEAD"])
def test_more_lengths_than_one_are_a_broken_upstreams(values: tuple[bytes, ...], more: Headers, method: str) -> None:
    """F114, H10: RFC 9112 §6.3, whatever the parser lets through."""
    with pytest.raises(UpstreamError):
        sayable(method, Head(200, (*_lengths(*values), *more)))


@pytest.mark.parametrize("values", [(b"10", b"10"), (b"10, 10",), (b"10", b" 10 ,10"), (b"10", b"010")], ids=str)
def test_a_length_that_is_said_twice_is_said_once(values: tuple[bytes, ...]) -> None:
    """RFC 9110 §8.6: there are clients that take two for one too many."""
    assert sayable("POST", Head(200, (*_lengths(*values), TYPE))) == Head(200, (TYPE, (b"content-length", b"10")))


BARE, SIZED, CODED = {"content-type": "application/json"}, {"Content-Length": "2"}, {"Transfer-Encoding": "chunked"}


@pytest.mark.parametrize(
    ("method", "status", "version", "headers", "delimited"),
    [
        ("POST", 200, b"HTTP/1.1", BARE, False),
        ("POST", 200, b"HTTP/1.0", BARE, False),
        ("POST", 200, b"HTTP/1.1", SIZED, True),
        ("POST", 200, b"HTTP/1.1", CODED, True),
        ("POST", 200, b"HTTP/2", BARE, True),
        ("POST", 200, None, BARE, True),
        ("HEAD", 200, b"HTTP/1.1", BARE, True),
        ("POST", 204, b"HTTP/1.1", BARE, True),
        ("GET", 304, b"HTTP/1.1", BARE, True),
    ],
)
def test_only_in_http_1_a_body_ends_where_its_connection_does(
    method: str, status: int, version: bytes | None, headers: dict[str, str], delimited: bool
) -> None:
    """R1: what other transports give ends by itself, and says when it was cut; what has no body needs no end."""
    extensions = {} if version is None else {"http_version": version}

    assert head_of(method, httpx.Response(status, headers=headers, extensions=extensions)).delimited is delimited
