"""What an upstream failed of, by the cause: over real sockets, and whichever client asks."""

import logging
import socket
import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import Any

import anyio
import httpx
import pytest
from anyio import to_thread
from anyio.abc import SocketAttribute, SocketStream

from cachemw.errors import Cause, TruncatedResponse, UnusableHead, UpstreamError, UpstreamTimeout
from cachemw.limits import Timeouts
from cachemw.messages import host_in
from cachemw.upstreams import HttpUpstream
from cachemw.upstreams.base import UpstreamRequest
from cachemw.upstreams.failures import described, log_failure, log_status
from tests.serving import nobody_there
from tests.upstreams.raw import CHUNKED, ask, chunk, closing, listening, outgoing, read_out

pytestmark = pytest.mark.anyio

CLIENTS = ["aiohttp", "httpx", "httpx, without await"]
every_client = pytest.mark.parametrize("client", CLIENTS)


async def failing(client: str, url: str, timeouts: Timeouts = Timeouts()) -> UpstreamError:
    """Ask, and return the failure."""
    transport = None if client == "aiohttp" else lambda: httpx.AsyncHTTPTransport(trust_env=False)
    async with closing(HttpUpstream(url, transport=transport)) as upstream:
        try:
            if client == "httpx, without await":
                await to_thread.run_sync(read_out, upstream, outgoing(timeouts=timeouts))
            else:
                await ask(upstream, timeouts=timeouts)
        except UpstreamError as error:
            return error
    raise AssertionError("it answered")


@contextmanager
def accepting_and_silent() -> Iterator[str]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield f"127.0.0.1:{listener.getsockname()[1]}"


@asynccontextmanager
async def plain_only() -> AsyncIterator[int]:
    """Answer whatever comes first as servers do that hear no HTTP."""

    async def refuse(stream: SocketStream) -> None:
        async with stream:
            with suppress(anyio.EndOfStream, anyio.BrokenResourceError):
                await stream.receive()
                await stream.send(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n")

    async with await anyio.create_tcp_listener(local_host="127.0.0.1") as listener, anyio.create_task_group() as tasks:
        tasks.start_soon(listener.serve, refuse)
        yield listener.extra(SocketAttribute.local_port)
        tasks.cancel_scope.cancel()


@every_client
async def test_a_refused_connection(client: str) -> None:
    """F5."""
    with nobody_there() as url:
        error = await failing(client, url)

    assert (error.cause, error.host, error.detail) == (Cause.REFUSED, url.removeprefix("http://"), "unreachable")


@every_client
async def test_a_name_that_does_not_resolve(client: str) -> None:
    """F5: the name is reserved for that (RFC 6761)."""
    error = await failing(client, "http://nobody.invalid/v1")

    assert (error.cause, error.host) == (Cause.DNS, "nobody.invalid")


@every_client
async def test_tls_to_who_speaks_none(client: str) -> None:
    """F5."""
    async with plain_only() as port:
        error = await failing(client, f"https://127.0.0.1:{port}/v1", Timeouts(connect=5, first_byte=5))

    assert error.cause is Cause.TLS


@every_client
async def test_a_connection_that_is_closed_before_the_answer(client: str) -> None:
    async with listening(b"") as server:
        error = await failing(client, server.url)

    assert (error.cause, error.detail) == (Cause.CLOSED, "unreachable")


@every_client
@pytest.mark.parametrize(
    "said", [b"220 mail.example ESMTP\r\n\r\n", b"\x15\x03\x01\x00\x02\x02\x16", b"SSH-2.0-OpenSSH\r\n\r\n"]
)
async def test_what_is_not_http(client: str, said: bytes) -> None:
    async with listening(said) as server:
        error = await failing(client, server.url)

    assert isinstance(error, UnusableHead)
    assert (error.detail, error.host) == ("invalid-head", server.url.removeprefix("http://"))


@every_client
@pytest.mark.parametrize(
    "fields", [(b"Content-Length: 2", b"Transfer-Encoding: chunked"), (b"Transfer-Encoding: chunked", b"Content-Length: 0")]
)
async def test_two_framings(client: str, fields: tuple[bytes, ...]) -> None:
    """H10: RFC 9112 §6.3."""
    head = b"\r\n".join([b"HTTP/1.1 200 OK", *fields, b"", b""])
    async with listening(head + chunk(b"ok") + chunk(b"")) as server:
        error = await failing(client, server.url)

    assert (type(error), error.detail, error.host) == (UnusableHead, "two-framings", server.url.removeprefix("http://"))


@every_client
async def test_an_answer_that_does_not_come(client: str) -> None:
    with accepting_and_silent() as place:
        error = await failing(client, f"http://{place}/v1", Timeouts(first_byte=0.2))

    assert (type(error), error.cause, error.host) == (UpstreamTimeout, Cause.TIMEOUT, place)


@every_client
async def test_an_answer_that_breaks_off_is_no_unusable_head(client: str) -> None:
    """H10: whatever a parser says of the rest."""
    for rest in (b"", b"zz\r\n", chunk(b"ab")[:-1]):
        async with listening(CHUNKED + chunk(b"x") + rest) as server:
            error = await failing(client, server.url)

        assert error.host == server.url.removeprefix("http://")
        assert type(error) is TruncatedResponse or client == "aiohttp"  # which may look at the body before it gives the head


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("https://api.example:443/v1", "api.example"),
        ("http://api.example:80", "api.example"),
        ("http://127.0.0.1:9/v1/x?y=z", "127.0.0.1:9"),
        ("https://[::1]:8443/v1", "[::1]:8443"),
        ("http://name:sk-secret@api.example/v1", "api.example"),
        ("a group of three", ""),
    ],
)
def test_a_host_is_named_without_what_is_nobodys_business(url: str, host: str) -> None:
    """I4."""
    assert host_in(url) == host


def cert_error() -> ssl.SSLError:
    return ssl.SSLCertVerificationError(1, "certificate verify failed: a secret")


@pytest.mark.parametrize(
    ("raised", "cause"),
    [
        (cert_error(), Cause.CERTIFICATE),
        (ssl.SSLError(1, "wrong version number: a secret"), Cause.TLS),
        (ConnectionResetError(), Cause.CLOSED),
        (ConnectionResetError(104, "reset"), Cause.CLOSED),
        (OSError(113, "no route"), Cause.NETWORK),
        (OSError(101, "no network"), Cause.NETWORK),
        (socket.gaierror(-2, "no name"), Cause.DNS),
        (ValueError("a secret"), Cause.UNKNOWN),
        (ExceptionGroup("both", [ConnectionRefusedError(111, "no"), OSError(111, "no")]), Cause.REFUSED),
    ],
    ids=repr,
)
@pytest.mark.parametrize("is_wrapped", [False, True])
def test_what_led_to_an_exception_says_the_cause(raised: Exception, cause: Cause, is_wrapped: bool) -> None:
    outer = httpx.ConnectError("a secret")
    outer.__cause__ = raised
    error = described(outer if is_wrapped else raised, "api.example")

    assert error.cause is cause
    assert "secret" not in str(error)


def test_what_was_handled_before_says_nothing() -> None:
    """A fallback to another host is made while the first one's exception is handled."""
    second = httpx.ConnectError("the second")
    second.__context__ = ConnectionRefusedError(111, "the first")

    assert described(second, "api.example").cause is Cause.UNKNOWN


UNSPOKEN = {
    "messages of a URL of which nobody says what it speaks": ("/v1/messages", 404, {}, 1),
    "counted tokens there": ("/v1/messages/count_tokens", 404, {}, 1),
    "a path that takes no POST": ("/v1/messages", 405, {}, 1),
    "messages that it refuses": ("/v1/messages", 400, {}, 0),
    "messages that it answers": ("/v1/messages", 200, {}, 0),
    "batches, which are nobody's": ("/v1/messages/batches", 404, {}, 0),
    "chat": ("/v1/chat/completions", 404, {}, 0),
    "a provider, of which it is known": ("/v1/messages", 404, {"provider": "openrouter"}, 0),
    "who is said to speak messages": ("/v1/messages", 404, {"speaks": ("messages",)}, 0),
}


@pytest.mark.parametrize(("path", "status", "members", "lines"), UNSPOKEN.values(), ids=UNSPOKEN)
async def test_who_may_speak_chat_alone_is_told_of_once(
    caplog: pytest.LogCaptureFixture, path: str, status: int, members: dict[str, Any], lines: int
) -> None:
    """Translation §3, F1: with what to say, whether it is awaited or not."""
    transport = httpx.MockTransport(lambda _: httpx.Response(status))
    makes: dict[str, Any] = {"transport": lambda: transport, "sync_transport": lambda: transport}
    upstream = HttpUpstream("http://api.example/v1", **makes, **members)
    request = UpstreamRequest("POST", path.encode(), b"", (), b"{}")

    for _ in range(2):
        await (await upstream.aopen(request)).aclose()
        upstream.open(request).close()

    said = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert len(said) == lines
    assert all(f"api.example answered {status}" in line and "--speaks chat" in line for line in said)


def test_one_line_each_and_none_for_an_app(caplog: pytest.LogCaptureFixture) -> None:
    """F5, I4."""
    caplog.set_level(logging.INFO, "cachemw")
    error = described(ConnectionRefusedError(111, "sk-secret"), "api.example")

    for failure in (error, UpstreamError("an app's"), None, ValueError()):
        log_failure(failure)
    for status in (200, 304, 400, 503):
        log_status("api.example", status)

    said = ["refused", "status 400", "status 503"]
    assert [record.getMessage() for record in caplog.records] == [f"the upstream api.example failed: {why}" for why in said]
