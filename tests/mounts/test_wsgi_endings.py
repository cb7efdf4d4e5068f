"""The WSGI mount: when what answers is closed, and what becomes of an answer that breaks off."""

from collections.abc import Iterable, Iterator
from typing import Any

import httpx
import pytest

from cachemw import ExchangeReport, MemoryStore, Policy
from cachemw._wsgi_environ import Environ, StartResponse, WsgiApp
from cachemw.upstreams import HttpUpstream
from cachemw.wsgi import CacheMiddleware
from tests.mounts.conftest import status_of
from tests.mounts.inner_transports import inner_of
from tests.mounts.mounting import PATH
from tests.mounts.test_wsgi import ANSWER, EVENTS, JSON, ON, Closing, Mount, giving
from tests.upstream import DONE, EVENT_STREAM, prompt, stream_events
from tests.upstream import JSON as JSON_FIELDS
from tests.wsgi_driver import Server, environ_for

BOTH = pytest.mark.parametrize("streaming", [False, True], ids=["json", "stream"])


def chat(streaming: bool) -> Environ:
    return environ_for("POST", PATH, ON, prompt(stream=streaming))


@BOTH
def test_what_the_app_returned_is_closed_when_the_server_closes_and_not_before(streaming: bool) -> None:
    """H7: what a framework does when a response is closed comes after it was sent."""
    result = Closing(stream_events() if streaming else [ANSWER])
    mount = Mount(giving(result, EVENTS if streaming else JSON))

    body: Any = mount.app(chat(streaming), Server().start_response)
    closed = [result.closed]
    assert b"".join(body) == (b"".join(stream_events()) if streaming else ANSWER)
    closed.append(result.closed)
    body.close()

    assert [*closed, result.closed] == [0, 0, 1]


class RefusedError(Exception):
    """How a server answers a head that it does not take."""


def refuse(status: str, headers: Any, exc_info: Any = None) -> Any:
    raise RefusedError


@BOTH
def test_where_the_server_refuses_the_head_what_the_app_returned_is_closed_once(streaming: bool) -> None:
    """H7, E1."""
    result = Closing(stream_events() if streaming else [ANSWER])
    mount = Mount(giving(result, EVENTS if streaming else JSON))

    with pytest.raises(RefusedError):
        mount.app(chat(streaming), refuse)

    assert result.closed == 1
    assert [(report.fwd, report.stored, report.details) for report in mount.reports] == [
        ("miss", not streaming, ("client-left",))
    ]


@BOTH
def test_where_the_server_refuses_the_head_an_upstreams_answer_is_closed(streaming: bool) -> None:
    """H7, H4: its connection is free again."""
    reports: list[ExchangeReport] = []
    told = (EVENT_STREAM, stream_events(), None) if streaming else (JSON_FIELDS, [ANSWER], None)
    inner = inner_of(httpx, lambda request: told)
    upstream = HttpUpstream("https://api.example/v1", sync_transport=lambda: inner)
    mounted = CacheMiddleware(giving([]), upstream=upstream, store=MemoryStore(), hooks=[reports.append])

    with pytest.raises(RefusedError):
        mounted(chat(streaming), refuse)

    assert inner.body.closed >= 1
    assert [report.details for report in reports] == [("client-left",)]


def test_text_in_mid_stream_breaks_off_as_a_bug_of_the_app() -> None:
    """H10, P5: its reader is told, and the server that it is of bytes."""
    chunks: Any = [*stream_events()[:2], "data: text\n\n"]
    mount = Mount(giving(chunks, EVENTS))

    reply = mount.ask(streaming=True)

    assert isinstance(reply.error, TypeError)
    assert reply.chunks[:2] == tuple(stream_events()[:2])
    assert reply.chunks[2].startswith(b'data: {"error"')
    assert DONE not in reply.body
    assert [(report.stored, report.details) for report in mount.reports] == [(False, ("truncated",))]


@BOTH
def test_an_app_that_gives_text_at_once_raises_before_there_is_a_head(streaming: bool) -> None:
    chunks: Any = ["text"]

    reply = Mount(giving(chunks, EVENTS if streaming else JSON)).ask(streaming=streaming)

    assert isinstance(reply.error, TypeError)
    assert reply.status is None


class WrittenError(Exception):
    """What an app raises behind what it wrote."""


def writing(status: str, *earlier: Iterable[bytes]) -> WsgiApp:
    """Return an app that answers so at first; then it writes an answer with this status, and raises."""
    answers = iter(earlier)

    def app(environ: Environ, start_response: StartResponse) -> Iterator[bytes] | Iterable[bytes]:
        for answer in answers:
            start_response("200 OK", JSON)
            return answer
        start_response(status, JSON)(b"{}")
        raise WrittenError from ZeroDivisionError()

    return app


def test_a_stale_answer_stands_in_for_what_is_written_and_then_raises() -> None:
    """R5, H7: its client has an answer, whole."""
    mount = Mount(writing("503 Service Unavailable", [ANSWER]), policy=Policy(lifetime=60.0))
    mount.app.driver.clock = lambda: 1_000_000.0
    mount.ask()
    mount.app.driver.clock = lambda: 1_000_100.0

    reply = mount.ask()

    assert (reply.status, reply.body, reply.error) == (200, ANSWER, None)
    assert status_of(reply).startswith("fwd=stale; fwd-status=503; ttl=-40; key; detail=stale-if-error")
    assert [report.fwd for report in mount.reports] == ["miss", "stale"]


@pytest.mark.parametrize("status", ["503 Service Unavailable", "200 OK"])
def test_with_none_that_exception_comes_out_as_itself(status: str) -> None:
    """P5, E1: with its cause; and the hooks are told that what was written is not all."""
    mount = Mount(writing(status))

    reply = mount.ask()

    assert isinstance(reply.error, WrittenError)
    assert isinstance(reply.error.__cause__, ZeroDivisionError)
    assert (reply.chunks, reply.complete) == ((b"{}",), False)
    assert [(report.stored, report.details[:1]) for report in mount.reports] == [(False, ("truncated",))]
    assert not list(mount.store.scan())
