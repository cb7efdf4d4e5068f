"""What is made of a response of httpx: how its body ends, and how long its end may take."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from cachemw.upstreams.http import head_of, hurried

BARE = {"content-type": "application/json"}
SIZED = {"Content-Length": "2"}
CHUNKED = {"Transfer-Encoding": "chunked"}


@pytest.mark.parametrize(
    ("version", "headers", "delimited"),
    [
        (b"HTTP/1.1", BARE, False),
        (b"HTTP/1.0", BARE, False),
        (b"HTTP/1.1", SIZED, True),
        (b"HTTP/1.1", CHUNKED, True),
        (b"HTTP/1.0", SIZED, True),
        (b"HTTP/2", BARE, True),
        (b"HTTP/3", BARE, True),
        (None, BARE, True),
    ],
)
def test_only_in_http_1_a_body_ends_where_its_connection_does(version: bytes | None, headers: Any, delimited: bool) -> None:
    """R1: what other transports give ends by itself, and says when it was cut."""
    extensions = {} if version is None else {"http_version": version}

    head = head_of("POST", httpx.Response(200, headers=headers, extensions=extensions))

    assert (head.status, head.delimited) == (200, delimited)


@pytest.mark.parametrize(("method", "status"), [("HEAD", 200), ("POST", 204), ("GET", 304)])
def test_what_has_no_body_needs_no_end(method: str, status: int) -> None:
    assert head_of(method, httpx.Response(status, extensions={"http_version": b"HTTP/1.1"})).delimited


class Connection:
    """Notes how long each read may take."""

    def __init__(self) -> None:
        self.timeouts: list[float | None] = []

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        self.timeouts.append(timeout)
        return b"x" * max_bytes


def response_over(stream: Any) -> httpx.Response:
    return httpx.Response(200, extensions={} if stream is None else {"network_stream": stream})


def test_a_read_takes_no_longer_than_it_may_and_then_the_connection_is_itself_again() -> None:
    """S6: the next answer over the same connection has its own time."""
    connection = Connection()

    with hurried(response_over(connection), 1.0):
        came = [connection.read(3, timeout) for timeout in (None, 5.0, 0.5)]
    connection.read(3, 5.0)

    assert came == [b"xxx"] * 3
    assert connection.timeouts == [1.0, 1.0, 0.5, 5.0]
    assert vars(connection) == {"timeouts": connection.timeouts}


def test_another_thread_that_reads_from_the_connection_is_not_hurried() -> None:
    """H7, S6: when the body ends, the connection is anybody's at once."""
    connection = Connection()

    with hurried(response_over(connection), 1.0), ThreadPoolExecutor(1) as others:
        others.submit(connection.read, 3, 5.0).result()
        others.submit(connection.read, 3).result()
        connection.read(3, 5.0)

    assert connection.timeouts == [5.0, None, 1.0]


class Slotted:
    """A connection that cannot be changed."""

    __slots__ = ()

    def read(self, max_bytes: int, timeout: float | None = None) -> float | None:
        return timeout


@pytest.mark.parametrize("stream", [None, Slotted()], ids=["no connection", "one that cannot be changed"])
def test_where_it_cannot_be_hurried_a_response_is_left_alone(stream: Any) -> None:
    response = response_over(stream)

    with hurried(response, 1.0):
        read_at = None if stream is None else stream.read(3, 5.0)

    assert read_at == (None if stream is None else 5.0)
