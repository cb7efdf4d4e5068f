"""The WSGI mount: requests that are cut short, that nobody knows the end of, that are large, or written by hand."""

import io
import tracemalloc
from collections.abc import Iterable
from typing import Any

import httpx
import pytest

from cachemw import MemoryStore, Policy
from cachemw._wsgi_environ import Environ, StartResponse, WsgiApp, WsgiRequest
from cachemw.budget import Budget
from cachemw.messages import Unread
from cachemw.upstreams import HttpUpstream
from cachemw.wsgi import CacheMiddleware
from tests.mounts.conftest import status_of
from tests.mounts.inner_transports import answering, inner_of
from tests.mounts.mounting import PATH
from tests.mounts.test_wsgi import ANSWER, HIT, JSON, MISS, ON, TYPE, Mount, Untouchable, giving
from tests.upstream import prompt
from tests.wsgi_driver import Server, environ_for

MIB = 2**20
NO_CHAT = "fwd=bypass; detail=invalid-json"


class Before:
    """A mount before an upstream, and what that one was asked."""

    def __init__(self, answer: Any = answering) -> None:
        self.inner = inner_of(httpx, answer)
        upstream = HttpUpstream("https://api.example/v1", sync_transport=lambda: self.inner)
        self.app = CacheMiddleware(giving([]), upstream=upstream, store=MemoryStore())

    @property
    def targets(self) -> list[bytes]:
        return [request.url.raw_path for request in self.inner.requests]


def keeping(environs: list[Environ], read: bool = True) -> WsgiApp:
    """Return an app that keeps what it is called with, and what it read of the body."""

    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        environs.append({**environ, "read": environ["wsgi.input"].read() if read else b""})
        start_response("200 OK", JSON)
        return [ANSWER]

    return app


def served(app: WsgiApp, environ: Environ) -> Server:
    server = Server()
    server.serve(app, environ)
    return server


def cut_short(headers: Any = ON, came: int = 40) -> Environ:
    """Return a request of which only some bytes come."""
    return environ_for("POST", PATH, headers, prompt()) | {"wsgi.input": io.BytesIO(prompt()[:came])}


@pytest.mark.parametrize("came", [0, 40])
def test_of_a_request_that_is_cut_short_an_upstream_gets_nothing(came: int) -> None:
    """H7: its client left; what came of it is another request."""
    mount = Before()

    reply = served(mount.app, cut_short(came=came)).reply()

    assert (reply.status, reply.body, reply.error) == (400, b"", None)
    assert mount.inner.requests == []


@pytest.mark.parametrize("came", [0, 40])
def test_nor_does_it_get_a_whole_one_where_its_client_did_not_opt_in(came: int) -> None:
    """H7: what came goes on, and breaks off there too."""
    bodies: list[bytes] = []

    def answer(request: Any) -> Any:
        bodies.append(b"".join(request.stream))
        return answering(request)

    reply = served(Before(answer).app, cut_short((TYPE,), came)).reply()

    assert bodies == []
    assert reply.status in (400, 502)


def test_an_app_reads_what_came_of_it_and_answers_as_without_us() -> None:
    """H7, K9."""
    environs: list[Environ] = []
    mount = Mount(keeping(environs))

    reply = served(mount.app, cut_short()).reply()

    assert (reply.status, reply.body, status_of(reply)) == (200, ANSWER, "")
    assert [environ["read"] for environ in environs] == [prompt()[:40]]
    assert (list(mount.store.scan()), mount.reports) == ([], [])


def chunked(body: Any, **more: Any) -> Environ:
    """Return a request in chunks."""
    return environ_for("POST", PATH, (*ON, (b"transfer-encoding", b"chunked"))) | {"wsgi.input": body, **more}


@pytest.mark.parametrize("length", ["", "10"])
def test_of_chunks_whose_end_nobody_knows_the_app_is_given_the_very_body(length: str) -> None:
    """H7: to read it would be to wait for ever, and a length beside chunks counts for nothing (RFC 9112 §6.3)."""
    environs: list[Environ] = []
    mount, body = Mount(keeping(environs, read=False)), Untouchable()

    reply = served(mount.app, chunked(body, CONTENT_LENGTH=length)).reply()

    assert (reply.body, status_of(reply)) == (ANSWER, NO_CHAT)
    assert environs[0]["wsgi.input"] is body


@pytest.mark.parametrize("length", ["", "10", "1000000"])
def test_chunks_that_end_by_themselves_are_read_whatever_a_length_says(length: str) -> None:
    """K1, H7."""
    environs: list[Environ] = []
    mount = Mount(keeping(environs))

    replies = [
        served(mount.app, chunked(io.BytesIO(prompt()), CONTENT_LENGTH=length, **{"wsgi.input_terminated": True})).reply()
        for _ in range(2)
    ]

    assert [status_of(reply) for reply in replies] == [MISS, HIT]
    assert [environ["read"] for environ in environs] == [prompt()]


def test_to_hand_on_a_large_body_piece_by_piece_copies_no_more_than_the_piece() -> None:
    """P3, D7: else a few megabytes take minutes."""
    incoming = WsgiRequest(environ_for("POST", PATH, ON, bytes(21 * MIB)), Budget(MIB * 30))
    assert incoming.read(20 * MIB) is Unread.TOO_LARGE
    body = incoming.handed_on(recorded=False)["wsgi.input"]
    body.read(1)

    tracemalloc.start()
    pieces = [body.read(8192) for _ in range(5)]
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert [len(piece) for piece in pieces] == [8192] * 5
    assert most < MIB
    assert len(body.read()) == 21 * MIB - 1 - 5 * 8192


@pytest.mark.parametrize("value", [7, None, "prix: 5 €", "", b"x", ["a"]], ids=repr)
def test_a_field_that_is_no_field_does_not_stop_a_request(value: Any) -> None:
    """H7: what servers give is text, but test clients and other middleware put anything there."""
    environs: list[Environ] = []
    mount = Mount(keeping(environs))

    reply = served(mount.app, environ_for("POST", PATH, ON, prompt()) | {"HTTP_X": value}).reply()

    assert (reply.body, status_of(reply), reply.error) == (ANSWER, MISS, None)
    assert environs[0]["HTTP_X"] is value


@pytest.mark.parametrize("length", ["²", "9" * 5000, "-1", "1_0", " ", "ten", None], ids=lambda length: str(length)[:5])
def test_a_length_that_is_none_is_no_length(length: Any) -> None:
    """H7: then there is no body."""
    environs: list[Environ] = []
    environ = environ_for("POST", PATH, ON) | {"CONTENT_LENGTH": length, "wsgi.input": Untouchable()}

    reply = served(Mount(keeping(environs)).app, environ).reply()

    assert (reply.body, status_of(reply), reply.error) == (ANSWER, NO_CHAT, None)
    assert environs[0]["read"] == b""


SLASHED = "/v1/a/b/chat/completions"


@pytest.mark.parametrize("name", ["REQUEST_URI", "RAW_URI"])
@pytest.mark.parametrize(
    ("uri", "script", "target"),
    [
        ("/v1/a%2Fb/chat/completions", "", b"/v1/a%2Fb/chat/completions"),
        ("/v1/a%2fb/chat/completions?x=1", "", b"/v1/a%2fb/chat/completions"),
        ("/app/v1/a%2Fb/chat/completions", "/app", b"/v1/a%2Fb/chat/completions"),
        ("/v1/other/chat/completions", "", SLASHED.encode()),
        ("/app/v1/a%2Fb/chat/completions", "", SLASHED.encode()),
        ("https://elsewhere/v1/a%2Fb/chat/completions", "", SLASHED.encode()),
        ("", "", SLASHED.encode()),
        (None, "", SLASHED.encode()),
    ],
)
def test_an_upstream_is_asked_for_the_path_as_it_was_sent(name: str, uri: str | None, script: str, target: bytes) -> None:
    """K2, I6: where the server says how it was, and nobody has changed it since."""
    mount = Before()

    served(mount.app, environ_for("POST", SLASHED, ON, prompt()) | {name: uri, "SCRIPT_NAME": script})

    assert mount.targets == [target]


def test_two_paths_that_were_sent_otherwise_are_two_requests() -> None:
    """K2: around an app as well."""
    mount = Mount(giving([ANSWER]), policy=Policy())

    says = [
        status_of(served(mount.app, environ_for("POST", SLASHED, ON, prompt()) | {"RAW_URI": uri}).reply())
        for uri in (SLASHED, "/v1/a%2Fb/chat/completions", SLASHED)
    ]

    assert says == [MISS, MISS, HIT]


@pytest.mark.parametrize(
    "more",
    [{"SCRIPT_NAME": "/\u20ac"}, {"RAW_URI": "/\ud800"}, {"REQUEST_URI": 7}, {"SCRIPT_NAME": None}, {"QUERY_STRING": None}],
    ids=str,
)
def test_a_path_that_is_no_path_does_not_stop_a_request(more: Any) -> None:
    """H7."""
    mount, server = Mount(giving([ANSWER])), Server()

    server.serve(mount.app, environ_for("POST", PATH, ON, prompt()) | more)

    assert (server.reply().error, status_of(server.reply())) == (None, MISS)
