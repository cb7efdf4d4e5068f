"""Answers of our own, and what the official SDKs make of them."""

import json
from collections.abc import Callable, Iterator

import cerebras.cloud.sdk
import httpx
import httpx2
import openai
import pytest

from cachemw.endpoints import errors as refusals
from cachemw.errors import Cause, KeyMissing, TruncatedResponse, UnusableHead, UpstreamError, UpstreamTimeout
from cachemw.messages import Head, Headers
from cachemw.wire.sse import DONE, Parser
from tests.cache.answers import EVENTS


def broken_off(error: UpstreamError) -> UpstreamError:
    """Return the error of a response that had a head."""
    error.status = 200
    return error


FAILED: list[tuple[UpstreamError, int, str]] = [
    (UpstreamError("refused"), 502, "upstream_unreachable"),
    (UpstreamTimeout("silent"), 504, "upstream_timeout"),
    (TruncatedResponse("cut"), 502, "upstream_truncated"),
    (broken_off(UpstreamError("reset")), 502, "upstream_truncated"),
]
FAILURES = [pytest.param(*row, id=row[-1]) for row in FAILED]
NO_RETRY = (b"x-should-retry", b"false")
ALLOW = (b"allow", b"GET, HEAD, POST")
CHALLENGE = (b"www-authenticate", b"Bearer")
CALLERS = "invalid_request_error"
"""The type of what is the caller's to mend."""

ANSWERS: list[tuple[refusals.ErrorResponse, int, str, str, Headers]] = [
    *((refusals.upstream_failed(error), status, "cachemw_error", code, ()) for error, status, code in FAILED),
    (refusals.upstream_failed(KeyMissing("A_KEY", can_be_sent=True)), 401, CALLERS, "no_key", (CHALLENGE, NO_RETRY)),
    (refusals.invalid_control("ttl", "ttl is wrong"), 400, CALLERS, "invalid_cachemw", (NO_RETRY,)),
    (refusals.not_cached(), 504, "cachemw_error", "not_cached", (NO_RETRY,)),
    (refusals.shutting_down(), 503, "cachemw_error", "shutting_down", ()),
    (refusals.busy(), 503, "cachemw_error", "busy", ()),
    (refusals.malformed(), 400, CALLERS, "invalid_request", (NO_RETRY,)),
    (refusals.invalid_host(), 400, CALLERS, "invalid_host", (NO_RETRY,)),
    (refusals.invalid_path(), 400, CALLERS, "invalid_path", (NO_RETRY,)),
    (refusals.not_found(), 404, CALLERS, "not_found", (NO_RETRY,)),
    (refusals.unknown_host("evil.example"), 403, CALLERS, "unknown_host", (NO_RETRY,)),
    (refusals.foreign_origin(), 403, CALLERS, "foreign_origin", (NO_RETRY,)),
    (refusals.endpoint_not_lent("GET", b"/v1/files", "chat"), 403, CALLERS, "endpoint_not_lent", (NO_RETRY,)),
    (refusals.not_lent(b"/responses", "it keeps", "store"), 403, CALLERS, "endpoint_not_lent", (NO_RETRY,)),
    (refusals.method_not_allowed({"POST", "GET", "HEAD"}), 405, CALLERS, "method_not_allowed", (ALLOW, NO_RETRY)),
    (refusals.unknown_key(), 401, CALLERS, "invalid_api_key", (CHALLENGE, NO_RETRY)),
    (refusals.websocket_refused(), 501, CALLERS, "websocket_not_supported", (NO_RETRY,)),
    (refusals.too_slow(), 408, CALLERS, "request_timeout", ()),
    (refusals.body_too_large(1_000), 413, CALLERS, "request_too_large", (NO_RETRY,)),
    (refusals.unsupported_type(), 415, CALLERS, "unsupported_media_type", (NO_RETRY,)),
    (refusals.head_too_large(), 431, CALLERS, "request_head_too_large", (NO_RETRY,)),
]
REFUSALS = [pytest.param(*row, id=f"{row[1]} {row[3]}") for row in ANSWERS]


# Their shape.


@pytest.mark.parametrize(("answer", "status", "kind", "code", "more"), REFUSALS)
def test_every_refusal_has_the_shape_of_openais_errors(
    answer: refusals.ErrorResponse, status: int, kind: str, code: str, more: Headers
) -> None:
    head, body = answer

    error = json.loads(body)["error"]
    assert (head.status, error["type"], error["code"]) == (status, kind, code)
    assert list(json.loads(body)) == ["error"]
    assert list(error) == ["message", "type", "param", "code"]
    assert head.headers == ((b"content-type", b"application/json"), (b"content-length", b"%d" % len(body)), *more)


def test_a_bad_header_is_the_callers_mistake_and_the_member_is_named() -> None:
    """E7."""
    _, body = refusals.invalid_control("ttl", "ttl has a value that cannot be used")

    assert json.loads(body)["error"] == {
        "message": "ttl has a value that cannot be used",
        "type": "invalid_request_error",
        "param": "ttl",
        "code": "invalid_cachemw",
    }


@pytest.mark.parametrize(("error", "status", "code"), FAILURES)
def test_what_the_upstream_said_of_itself_is_not_told(error: UpstreamError, status: int, code: str) -> None:
    """I4: exceptions may hold a URL, or more."""
    _, body = refusals.upstream_failed(error)

    assert str(error).encode() not in body


def at_host(error: UpstreamError, cause: Cause = Cause.UNKNOWN) -> UpstreamError:
    error.host, error.cause = "api.example:8443", cause
    return error


@pytest.mark.parametrize(
    ("error", "words"),
    [
        *((at_host(UpstreamError("no"), cause), cause.sentence) for cause in Cause),
        (at_host(UpstreamTimeout("no")), "did not answer in time"),
        (at_host(broken_off(UpstreamError("no"))), "broke off its answer before it was complete"),
        (at_host(UnusableHead("it is odd")), "answered with a head that cannot be passed on: it is odd"),
    ],
    ids=str,
)
def test_people_are_told_which_host_failed_and_of_what(error: UpstreamError, words: str) -> None:
    """H10, F5."""
    _, body = refusals.upstream_failed(error)

    assert json.loads(body)["error"]["message"] == f"the upstream api.example:8443 {words}"


def test_a_wrapped_app_has_no_host() -> None:
    _, body = refusals.upstream_failed(TruncatedResponse("cut"))

    assert json.loads(body)["error"]["message"] == "the upstream broke off its answer before it was complete"


def test_what_a_caller_wrote_cannot_break_out_of_the_answer() -> None:
    _, body = refusals.invalid_control("cachemw", 'no dictionary: "}\r\n\x00\u2028')

    assert json.loads(body)["error"]["message"] == 'no dictionary: "}\r\n\x00\u2028'


# A stream that broke off.


@pytest.mark.parametrize(("error", "status", "code"), FAILURES)
def test_a_broken_stream_ends_in_one_event_and_no_end_is_made_up(error: UpstreamError, status: int, code: str) -> None:
    """H10."""
    [event] = Parser().feed(refusals.broken_stream(error, at_boundary=True))

    told = json.loads(event.data)
    assert (event.name, told["error"]["code"], told["status_code"]) == (b"", code, status)
    assert told["error"] == json.loads(refusals.upstream_failed(error)[1])["error"]
    assert event.data != DONE


@pytest.mark.parametrize("cut", [b"data: {", b"data: {}\n", b"data", b": half a comm", b"data: {}\r", b"data: {}\r\n"])
def test_it_is_an_event_of_its_own_wherever_the_stream_was_cut(cut: bytes) -> None:
    """H10."""
    events = Parser().feed(cut + refusals.broken_stream(UpstreamError("reset"), at_boundary=False))

    assert json.loads(events[-1].data)["error"]["code"] == "upstream_unreachable"


# The SDKs.


class Upstream:
    """Gives one answer to whatever it is asked, and counts."""

    def __init__(self, head: Head, body: bytes) -> None:
        self.asked = 0
        self._head, self._body = head, body

    def httpx(self, _: httpx.Request) -> httpx.Response:
        self.asked += 1
        return httpx.Response(self._head.status, headers=list(self._head.headers), content=self._body)

    def httpx2(self, _: httpx2.Request) -> httpx2.Response:
        self.asked += 1
        return httpx2.Response(self._head.status, headers=list(self._head.headers), content=self._body)


def ask_with_openai(upstream: Upstream, stream: bool = False, max_retries: int = 0) -> object:
    http_client = httpx2.Client(transport=httpx2.MockTransport(upstream.httpx2))
    with openai.OpenAI(base_url="https://api.example/v1", api_key="k", max_retries=max_retries, http_client=http_client) as sdk:
        answer = sdk.chat.completions.create(model="m", messages=[{"role": "user", "content": "Hi"}], stream=stream)
        return list(answer) if isinstance(answer, Iterator) else answer


def ask_with_cerebras(upstream: Upstream, stream: bool = False, max_retries: int = 0) -> object:
    http_client = httpx.Client(transport=httpx.MockTransport(upstream.httpx))
    with cerebras.cloud.sdk.Cerebras(
        base_url="https://api.example",
        api_key="k",
        max_retries=max_retries,
        http_client=http_client,
        warm_tcp_connection=False,
    ) as sdk:
        answer = sdk.chat.completions.create(model="m", messages=[{"role": "user", "content": "Hi"}], stream=stream)
        return list(answer) if isinstance(answer, Iterator) else answer


sdks = pytest.mark.parametrize(
    ("ask", "status_error"),
    [
        pytest.param(ask_with_openai, openai.APIStatusError, id="openai"),
        pytest.param(ask_with_cerebras, cerebras.cloud.sdk.APIStatusError, id="cerebras"),
    ],
)
Ask = Callable[..., object]


@sdks
@pytest.mark.parametrize(("answer", "status"), [pytest.param(*row.values[:2], id=row.id) for row in REFUSALS])
def test_an_sdk_raises_its_own_error_and_says_ours(
    ask: Ask, status_error: type[openai.APIStatusError], answer: refusals.ErrorResponse, status: int
) -> None:
    """E4."""
    with pytest.raises(status_error) as raised:
        ask(Upstream(*answer))

    body = json.loads(answer[1])
    assert raised.value.status_code == status
    assert raised.value.body in (body, body["error"])
    assert body["error"]["message"] in str(raised.value)


@sdks
@pytest.mark.parametrize("answer", [refusals.invalid_control("ttl", "no"), refusals.not_cached()], ids=["400", "504"])
def test_an_sdk_does_not_ask_again_for_what_will_not_change(
    ask: Ask, status_error: type[openai.APIStatusError], answer: refusals.ErrorResponse
) -> None:
    upstream = Upstream(*answer)

    with pytest.raises(status_error):
        ask(upstream, max_retries=2)

    assert upstream.asked == 1


@pytest.mark.parametrize(("error", "status", "code"), FAILURES)
def test_the_openai_sdk_raises_at_a_broken_stream(error: UpstreamError, status: int, code: str) -> None:
    """H10."""
    body = EVENTS[0] + refusals.broken_stream(error, at_boundary=True)

    with pytest.raises(openai.APIError) as raised:
        ask_with_openai(Upstream(Head(200, ((b"content-type", b"text/event-stream"),)), body), stream=True)

    assert (raised.value.code, raised.value.type) == (code, "cachemw_error")


@pytest.mark.parametrize(("error", "status", "code"), FAILURES)
def test_the_cerebras_sdk_raises_at_a_broken_stream_and_knows_its_status(error: UpstreamError, status: int, code: str) -> None:
    """H10: without `status_code` it would say 200."""
    body = EVENTS[0] + refusals.broken_stream(error, at_boundary=True)

    with pytest.raises(cerebras.cloud.sdk.APIStatusError) as raised:
        ask_with_cerebras(Upstream(Head(200, ((b"content-type", b"text/event-stream"),)), body), stream=True)

    assert raised.value.status_code == status
    assert code in str(raised.value.body)
