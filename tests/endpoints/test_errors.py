"""Answers of our own, and what the official SDKs make of them."""

import json
from collections.abc import Callable, Iterator

import cerebras.cloud.sdk
import httpx
import httpx2
import openai
import pytest

from cachemw.endpoints import errors as refusals
from cachemw.errors import TruncatedResponse, UpstreamError, UpstreamTimeout
from cachemw.messages import Head
from cachemw.wire.sse import DONE, Parser
from tests.cache.answers import EVENTS

FAILURES = [
    pytest.param(UpstreamError("refused"), 502, "upstream_unreachable", id="unreachable"),
    pytest.param(UpstreamTimeout("silent"), 504, "upstream_timeout", id="timeout"),
    pytest.param(TruncatedResponse("cut"), 502, "upstream_truncated", id="truncated"),
]
REFUSALS = [
    pytest.param(refusals.invalid_control("ttl", "ttl is wrong"), 400, "invalid_cachemw", False, id="a bad header"),
    pytest.param(refusals.not_cached(), 504, "not_cached", False, id="not cached"),
    pytest.param(refusals.shutting_down(), 503, "shutting_down", True, id="shutting down"),
    *(
        pytest.param(refusals.upstream_failed(failure.values[0]), *failure.values[1:], True, id=failure.id)  # type: ignore[arg-type]
        for failure in FAILURES
    ),
]


# Their shape.


@pytest.mark.parametrize(("answer", "status", "code", "may_be_retried"), REFUSALS)
def test_every_refusal_has_the_shape_of_openais_errors(
    answer: refusals.ErrorResponse, status: int, code: str, may_be_retried: bool
) -> None:
    head, body = answer

    error = json.loads(body)["error"]
    assert (head.status, error["code"]) == (status, code)
    assert list(json.loads(body)) == ["error"]
    assert list(error) == ["message", "type", "param", "code"]
    assert head.headers == (
        (b"content-type", b"application/json"),
        (b"content-length", b"%d" % len(body)),
        *([] if may_be_retried else [(b"x-should-retry", b"false")]),
    )


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
@pytest.mark.parametrize(("answer", "status", "code", "may_be_retried"), REFUSALS)
def test_an_sdk_raises_its_own_error_and_says_ours(
    ask: Ask,
    status_error: type[openai.APIStatusError],
    answer: refusals.ErrorResponse,
    status: int,
    code: str,
    may_be_retried: bool,
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
