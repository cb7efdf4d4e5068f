"""What an HTTP upstream is sent of a request: over real sockets."""

from collections.abc import AsyncIterator

import anyio
import pytest
import uvicorn
from anyio import to_thread

from cachemw.cache.header_rules import HeaderRules
from cachemw.messages import Headers
from cachemw.upstreams import HttpUpstream
from cachemw.upstreams.base import UpstreamRequest
from cachemw.upstreams.connections import KEEPALIVE
from tests.upstreams.raw import Listener, answer, ask, closing, hear_out, listening, outgoing, reaching, read_out

pytestmark = pytest.mark.anyio

SENT = {
    b"accept": b"application/json",
    b"api-key": b"k1",
    b"authorization": b"Bearer sk-alice",
    b"content-type": b"application/json",
    b"content-encoding": b"gzip",
    b"queue_threshold": b"50",
    b"traceparent": b"00-1-2-01",
    b"tracestate": b"a=b",
    b"user-agent": b"client/1",
    b"x-api-key": b"k2",
    b"x-goog-api-key": b"k3",
    b"x-stainless-lang": b"python",
    b"x-cerebras-version-patch": b"2",
    b"openai-organization": b"o1",
    b"anthropic-version": b"v1",
}
KEPT_BACK = (
    b"accept-language baggage cachemw cache-control cookie cookie2 expect forwarded from idempotency-key if-none-match origin"
    b" pragma prefer"
    b" range referer sentry-trace set-cookie via x-forwarded-for x-forwarded-host x-real-ip x-request-id x-secret"
    b" sec-fetch-mode x-http-method-override x-openai-x"
).split()
HOP_BY_HOP = b"keep-alive proxy-authenticate proxy-authorization proxy-connection te trailer upgrade".split()
FRAMING = {b"host", b"content-length", b"accept-encoding"}


async def test_only_what_is_on_the_list_is_forwarded() -> None:
    """I6, H11: the list of the documentation, in the spelling of the client; whatever else a request carries stays here."""
    headers = tuple((name.title(), value) for name, value in SENT.items())
    others = tuple((name, b"x") for name in (*KEPT_BACK, *HOP_BY_HOP))

    async with reaching() as (server, upstream):
        await ask(upstream, headers=(*others, *headers))

    assert {name: value for name, value in server.fields() if name not in FRAMING} == SENT


async def test_a_request_without_header_fields_gets_no_content_type_and_no_accept() -> None:
    async with reaching() as (server, upstream):
        await ask(upstream)

    assert {name for name, _ in server.fields()} == FRAMING | {b"user-agent"}


async def test_the_operator_adds_fields_to_the_list() -> None:
    rules = HeaderRules(forward=frozenset({b"x-team"}))

    async with reaching() as (server, upstream):
        await ask(upstream, headers=((b"X-Team", b"red"), (b"X-Other", b"y")), rules=rules)

    assert server.sent(b"x-team") == [b"red"]
    assert server.sent(b"x-other") == []


@pytest.mark.parametrize("connection", [b"X-Stainless-Lang", b"close, x-stainless-lang", b" ,X-STAINLESS-LANG\t,keep-alive"])
async def test_what_connection_names_is_not_forwarded(connection: bytes) -> None:
    """H11."""
    headers = ((b"Connection", connection), (b"x-stainless-lang", b"python"), (b"x-stainless-os", b"linux"))

    async with reaching() as (server, upstream):
        await ask(upstream, headers=headers)

    assert server.sent(b"x-stainless-lang") == []
    assert server.sent(b"x-stainless-os") == [b"linux"]
    assert b"x-stainless-lang" not in b",".join(server.sent(b"connection")).lower()


async def test_connection_cannot_remove_a_credential() -> None:
    """H11, I1: an authenticated request never becomes one of the server's."""
    headers = ((b"connection", b"authorization"), (b"authorization", b"Bearer sk-alice"))

    async with reaching(api_key="sk-server") as (server, upstream):
        await ask(upstream, headers=headers)

    assert server.sent(b"authorization") == [b"Bearer sk-alice"]


@pytest.mark.parametrize(
    ("headers", "api_key", "sent"),
    [
        ((), "sk-server", [b"Bearer sk-server"]),
        (((b"authorization", b"Bearer cachemw"),), "sk-server", [b"Bearer sk-server"]),
        (((b"Authorization", b"bearer CacheMW"),), "sk-server", [b"Bearer sk-server"]),
        (((b"authorization", b"Bearer sk-alice"),), "sk-server", [b"Bearer sk-alice"]),
        (((b"authorization", b"Basic YTpi"),), "sk-server", [b"Basic YTpi"]),
        (((b"authorization", b"Bearer cachemw2"),), "sk-server", [b"Bearer cachemw2"]),
        (((b"x-api-key", b"k"),), "sk-server", []),
        (((b"api-key", b"k"), (b"authorization", b"Bearer cachemw")), "sk-server", []),
        ((), None, []),
        (((b"authorization", b"Bearer cachemw"),), None, []),
        (((b"authorization", b"Bearer sk-alice"),), None, [b"Bearer sk-alice"]),
    ],
)
async def test_the_servers_key_is_for_callers_without_a_credential(
    headers: Headers, api_key: str | None, sent: list[bytes]
) -> None:
    """I1: and any credential passes as it came."""
    async with reaching(api_key=api_key) as (server, upstream):
        await ask(upstream, headers=headers)

    assert server.sent(b"authorization") == sent


@pytest.mark.parametrize(
    ("recorded", "headers", "accepted"),
    [
        (False, ((b"Accept-Encoding", b"gzip, br;q=0.5"),), b"gzip, br;q=0.5"),
        (False, ((b"accept-encoding", b"gzip"), (b"accept-encoding", b"zstd")), b"gzip, zstd"),
        (False, (), b"identity"),
        (True, ((b"accept-encoding", b"gzip"),), b"identity"),
        (True, (), b"identity"),
    ],
)
async def test_what_is_recorded_comes_without_content_coding(recorded: bool, headers: Headers, accepted: bytes) -> None:
    """H9: and else the client's own choice counts, which is none where it said nothing."""
    async with reaching() as (server, upstream):
        await ask(upstream, headers=headers, recorded=recorded)

    assert server.sent(b"accept-encoding") == [accepted]


SPELLED = [
    (b"plain", b"plain"),
    (b"\xc3\xa9", b"\xc3\xa9"),
    (b"\xe2\x82\xac \xf0\x9f\x98\x80", b"\xe2\x82\xac \xf0\x9f\x98\x80"),
    (b"\xe9", b"\xc3\xa9"),
    (b"\xc3\xa9\xff", b"\xc3\x83\xc2\xa9\xc3\xbf"),
    (b"\xed\xa0\x80", b"\xc3\xad\xc2\xa0\xc2\x80"),
]
"""What a field's value is, and what is sent of it: UTF-8 as it is, all else as if it were Latin-1."""


@pytest.mark.parametrize("agent", [b"x", b"\xc3\xa9", b"x\xff"], ids=["plain", "UTF-8", "neither"])
@pytest.mark.parametrize(("value", "sent"), SPELLED)
async def test_what_is_sent_of_a_field_does_not_depend_on_another_one(value: bytes, sent: bytes, agent: bytes) -> None:
    """F77, K10: else a field that is not in the key would change what a keyed one says; with `await` and without."""
    headers = ((b"user-agent", agent), (b"openai-organization", value))

    async with reaching() as (server, upstream):
        await ask(upstream, headers=headers)
        awaited = server.sent(b"openai-organization")
        await to_thread.run_sync(read_out, upstream, outgoing(headers=headers))

    assert awaited == server.sent(b"openai-organization") == [sent]


async def test_fields_go_in_the_order_of_the_client_and_none_for_another() -> None:
    """H11, K10: those that come twice, in two spellings; with `await` and without."""
    headers = ((b"OpenAI-Beta", b"b"), (b"x-stainless-os", b"x"), (b"openai-beta", b"a"), (b"traceparent", b"t"))
    expected = [(name.lower(), value) for name, value in headers]

    async with reaching() as (server, upstream):
        await ask(upstream, headers=headers)
        awaited = server.fields()
        await to_thread.run_sync(read_out, upstream, outgoing(headers=headers))

    for fields in (awaited, server.fields()):
        assert [field for field in fields if field in expected] == expected


async def test_cookies_are_nobodys() -> None:
    """I1: not forwarded, passed back as they are, and never sent with another request."""
    cookies = [b"Set-Cookie: session=alice; Path=/", b"Set-Cookie: b=2; Path=/"]

    async with reaching(answer(b"{}", *cookies)) as (server, upstream):
        first = await ask(upstream, headers=((b"cookie", b"session=alice"),))
        await ask(upstream)

    assert first.head is not None
    assert [value for name, value in first.head.headers if name.lower() == b"set-cookie"] == [line[12:] for line in cookies]
    assert all(b"cookie" not in request.lower() for request in server.requests)


@pytest.mark.parametrize(
    "status", [b"301 Moved", b"302 Found", b"303 See Other", b"307 Temporary Redirect", b"308 Permanent Redirect"]
)
async def test_redirects_are_passed_and_not_followed(status: bytes) -> None:
    """I6."""
    async with listening() as elsewhere:
        redirect = answer(b"over there", b"Location: " + elsewhere.url.encode() + b"/", status=status)
        async with reaching(redirect, api_key="sk-server") as (server, upstream):
            heard = await ask(upstream)

    assert heard.head is not None
    assert heard.head.status == int(status[:3])
    assert (heard.body, heard.is_over) == (b"over there", True)
    assert (len(server.requests), elsewhere.requests) == (1, [])


async def test_the_environment_names_no_way_to_the_upstream(monkeypatch: pytest.MonkeyPatch) -> None:
    """I6: no proxy, no credentials of a .netrc."""
    async with listening() as proxy, listening() as server:
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy", "HTTPS_PROXY"):
            monkeypatch.setenv(name, proxy.url)
        monkeypatch.setenv("NO_PROXY", "")
        monkeypatch.setenv("no_proxy", "")
        async with closing(HttpUpstream(server.url)) as upstream:
            await ask(upstream)

    assert (len(server.requests), proxy.requests) == (1, [])


async def test_a_body_is_sent_piece_by_piece_and_in_the_length_the_client_gave() -> None:
    """S6."""
    more = anyio.Event()

    async def pieces() -> AsyncIterator[bytes]:
        yield b"half "
        await more.wait()
        yield b"and half"

    async with reaching() as (server, upstream):
        request = UpstreamRequest("POST", b"/files", b"", ((b"content-length", b"13"),), pieces())
        listener = Listener()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(hear_out, upstream, request, listener)
            await anyio.wait_all_tasks_blocked()
            more.set()

    assert listener.is_over
    assert server.requests[0].endswith(b"\r\n\r\nhalf and half")
    assert server.sent(b"content-length") == [b"13"]
    assert server.sent(b"transfer-encoding") == []


async def test_a_body_of_unknown_length_is_chunked() -> None:
    async def pieces() -> AsyncIterator[bytes]:
        yield b"some"

    async with reaching() as (server, upstream):
        request = UpstreamRequest("POST", b"/files", b"", (), pieces())
        await hear_out(upstream, request, Listener())

    assert server.sent(b"transfer-encoding") == [b"chunked"]
    assert server.requests[0].endswith(b"4\r\nsome\r\n0\r\n\r\n")


def test_an_idle_connection_is_given_up_before_a_server_closes_it() -> None:
    """F39: who asks in that moment has no answer; Node closes its own as soon as uvicorn."""
    assert uvicorn.Config("app").timeout_keep_alive > KEEPALIVE
