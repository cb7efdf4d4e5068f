"""How attempts fail: each provider's errors in its own dialect and in another's, statuses alone, and what upstreams raise."""

import itertools
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cachemw.errors import Cause, KeyMissing, TruncatedResponse, UnusableHead, UpstreamError, UpstreamTimeout
from cachemw.gateway.dialects import PROVIDER_DIALECTS
from cachemw.gateway.error_words import BODY_LIMIT
from cachemw.gateway.failure_kinds import TREATMENTS, Cools, SameAgain
from cachemw.gateway.failures import (
    Failure,
    FailureKind,
    ScopeKind,
    of_error,
    of_no_output,
    of_object,
    of_response,
    wait_to_repeat,
)
from tests.cassettes import cassette
from tests.gateway.provider_errors import OF_KIND, PROVIDER_ERRORS, ProviderError

K = FailureKind


def named(row: ProviderError) -> str:
    return f"{row.provider}-{row.status}-{row.kind.value}"


def taken(row: ProviderError, provider: str | None) -> Failure | None:
    return of_response(provider, row.status, row.headers, row.content)


@pytest.mark.parametrize("row", PROVIDER_ERRORS, ids=named)
def test_an_error_is_what_its_provider_means_by_it(row: ProviderError) -> None:
    """G12, G15, G21, G22: status, header fields and body, to kind, scope and hint."""
    failure = taken(row, row.provider)

    assert failure is not None
    assert (failure.kind, failure.scope, failure.hint) == (row.kind, row.cooled, row.hint)


def test_every_provider_has_rows() -> None:
    assert {row.provider for row in PROVIDER_ERRORS} == {*PROVIDER_DIALECTS, "cerebras", "openai"}


OWN_WORDS = {
    ("groq", 429, K.QUOTA),
    ("groq", 403, K.NO_MODEL),
    ("gemini", 429, K.QUOTA),
    ("gemini", 400, K.AUTH),
    ("gemini", 400, K.QUOTA),
    ("deepinfra", 403, K.QUOTA),
    ("mistral", 503, K.OVERLOAD),
    ("xai", 403, K.QUOTA),
    ("xai", 400, K.UNSUPPORTED),
    ("openrouter", 403, K.QUOTA),
    ("openrouter", 403, K.REFUSED),
    ("openrouter", 404, K.UNSUPPORTED),
    ("openrouter", 503, K.UNSUPPORTED),
    ("anthropic", 400, K.QUOTA),
}
"""What only the provider means by it."""


@pytest.mark.parametrize(
    "row", [row for row in PROVIDER_ERRORS if (row.provider, row.status, row.kind) not in OWN_WORDS], ids=named
)
def test_an_error_is_recognised_where_another_provider_answers_in_that_shape(row: ProviderError) -> None:
    for provider in (None, "local", "deepinfra"):
        failure = taken(row, provider)

        assert failure is not None
        assert failure.kind is row.kind


SAYING_NOTHING = (
    *(b"", b"<html><body>Bad Gateway: insufficient_quota</body></html>", b"null", b"[]", b"[[]]", b'"x"', b"{}", b"\xff"),
    *(
        b'{"error": null}',
        b'{"error": [1, "insufficient_quota"]}',
        b'{"error": {"code": null, "type": 7.5, "message": [1]}}',
        b"{" * 60_000,
        b"[" * 60_000,
    ),
    json.dumps({"error": {"code": "insufficient_quota", "message": "x" * BODY_LIMIT}}).encode(),
)


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        *(
            (status, K.BROKEN)
            for status in (300, 307, 403, 408, 409, 425, 500, 501, 502, 504, 520, 521, 522, 523, 524, 530, 599)
        ),
        *((status, K.OVERLOAD) for status in (498, 503, 529)),
        (401, K.AUTH),
        *((status, K.NO_MODEL) for status in (404, 410)),
        *((status, K.BAD_REQUEST) for status in (400, 405, 406, 411, 415, 418, 422, 431, 451, 499)),
        *((402, K.QUOTA), (413, K.TOO_LARGE), (429, K.RATE)),
    ],
)
def test_what_says_nothing_goes_by_its_status(status: int, kind: FailureKind) -> None:
    expected = Failure(kind, status, None, OF_KIND.get(kind), TREATMENTS[kind].repeats is not SameAgain.NEVER)

    for provider, body in itertools.product((None, *PROVIDER_DIALECTS), SAYING_NOTHING):
        assert of_response(provider, status, (), body) == expected, (provider, body[:40])


@pytest.mark.parametrize("status", [525, 526])
def test_a_certificate_is_no_weather(status: int) -> None:
    assert of_response("openai", status, (), b"") == Failure(K.UNREACHABLE, status, 300.0, ScopeKind.PROVIDER_MODEL, True)


@pytest.mark.parametrize(
    "body",
    [
        *(b"", b"{", b"[]", b"null", b'{"choices": [{"message": {"content": "insufficient_quota"}}]}'),
        b'{"choices": [{"message": {"content": null}, "finish_reason": "stop"}], "error": null}',
        b'{"type": "message_start", "message": {"type": "message"}}',
    ],
)
def test_a_success_without_an_error_is_no_failure(body: bytes) -> None:
    assert of_response("openrouter", 200, (), body) is None
    assert of_object("openrouter", body) is None


def test_an_error_in_an_event_is_one_as_bytes_and_as_an_object() -> None:
    """G21: a 200 with an error in it is a failed attempt."""
    event = {"error": {"message": "Slow down", "type": "requests", "code": "rate_limit_exceeded"}}

    assert of_object(None, json.dumps(event).encode()) == of_object(None, event)
    assert of_object(None, event) == of_object(None, event["error"])
    assert of_object(None, event) == Failure(K.RATE, None, None, ScopeKind.KEY_MODEL, True)


def test_an_error_of_which_nothing_is_known_is_broken() -> None:
    for error in ({"error": "oh"}, {"error": {"message": "oh"}}, {"type": "error"}, [{"error": {"code": "?"}}]):
        assert of_object(None, error) == Failure(K.BROKEN, None, None, ScopeKind.PROVIDER_MODEL, True)


def test_the_hints_of_a_response_hold_for_the_error_in_it() -> None:
    event = {"error": {"code": 429, "message": "Limited"}}

    assert of_object(None, event, headers=((b"Retry-After", b"7"),)) == Failure(K.RATE, 429, 7.0, ScopeKind.KEY_MODEL, True)


@pytest.mark.parametrize(
    "echo",
    [
        *("Your credit balance is too low", "Incorrect API key provided", "The model x does not exist", "Invalid model: x"),
        *("You have reached your specified API usage limits", "API key not valid", "insufficient balance", "spending limit"),
        *("insufficient_quota", "invalid_api_key", "overloaded", "Model busy, retry later"),
    ],
)
def test_the_words_of_a_client_in_a_message_cool_nothing(echo: str) -> None:
    """E7: nobody cools a key for others by a request of which the error quotes a part."""
    messages = (f"Invalid value: '{echo}'", f"messages.0:\n{echo}")
    for provider, message in itertools.product((None, *PROVIDER_DIALECTS), messages):
        failure = of_response(provider, 400, (), json.dumps(wrap(message)).encode())

        assert failure is not None
        assert failure.scope is None


def wrap(message: str) -> dict[str, Any]:
    return {"error": {"message": message, "type": "invalid_request_error", "param": message, "code": None}}


QUOTA_ROWS = [row for row in PROVIDER_ERRORS if row.kind is K.QUOTA]


@pytest.mark.parametrize("row", QUOTA_ROWS, ids=named)
def test_a_spent_quota_is_never_asked_the_same_again(row: ProviderError) -> None:
    """G15: whatever the status; the key is cooled, and only what is counted by the day for a model cools no more than that."""
    failure = taken(row, row.provider)

    assert failure is not None
    assert wait_to_repeat(failure, 0.0) is None
    assert failure.scope in (ScopeKind.KEY, row.scope)
    assert {429, 402, 403, 400} == {row.status for row in QUOTA_ROWS}


@pytest.mark.parametrize("row", [row for row in PROVIDER_ERRORS if row.kind is K.TOO_LARGE], ids=named)
def test_what_is_too_large_for_this_target_goes_on_and_cools_nothing(row: ProviderError) -> None:
    """G22: and is never repeated unchanged."""
    failure = of_response(row.provider, row.status, (*row.headers, (b"retry-after", b"1")), row.content)

    assert failure == Failure(K.TOO_LARGE, row.status)
    assert failure.kind.goes_on
    assert wait_to_repeat(failure, 0.0) is None


def test_a_policy_ends_a_plan_and_so_does_a_bad_request() -> None:
    """G23: what else fails may be asked of another target."""
    assert {kind for kind in FailureKind if not kind.goes_on} == {K.REFUSED, K.BAD_REQUEST}


def test_what_somebody_has_to_change_first_is_not_transient() -> None:
    """G24: so that a client is told not to retry where nothing else failed."""
    lasting = {K.QUOTA, K.AUTH, K.NO_MODEL, K.TOO_LARGE, K.UNSUPPORTED, K.REFUSED, K.BAD_REQUEST}

    assert {kind for kind in FailureKind if not kind.is_transient} == lasting


@pytest.mark.parametrize(
    ("reasons", "kind"),
    [
        *(((), K.BAD_OUTPUT), (("stop",), K.BAD_OUTPUT), ((None, 7), K.BAD_OUTPUT), (("length",), K.BAD_OUTPUT)),
        *((("content_filter",), K.REFUSED), (("SAFETY",), K.REFUSED), (("stop", "PROHIBITED_CONTENT"), K.REFUSED)),
    ],
)
def test_an_answer_with_nothing_in_it_is_bad_or_was_withheld(reasons: tuple[object, ...], kind: FailureKind) -> None:
    """G21: a 200 without anything in it is a failed attempt."""
    assert of_no_output(reasons) == Failure(kind, 200, None, OF_KIND.get(kind))


def caused(cause: Cause) -> UpstreamError:
    error = UpstreamError("it failed")
    error.cause = cause
    return error


def broken_off(error: UpstreamError) -> UpstreamError:
    error.status = 200
    return error


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        *((caused(cause), K.UNREACHABLE) for cause in Cause if cause not in (Cause.REQUEST, Cause.TIMEOUT)),
        (caused(Cause.REQUEST), K.BAD_REQUEST),
        (UpstreamTimeout("slow"), K.SLOW),
        (TruncatedResponse("cut"), K.BROKEN),
        (UnusableHead("two lengths"), K.BROKEN),
        (broken_off(caused(Cause.CLOSED)), K.BROKEN),
        (broken_off(UpstreamTimeout("stalled")), K.SLOW),
        (KeyMissing("SOME_KEY", can_be_sent=False), K.AUTH),
    ],
)
def test_what_an_upstream_raises_is_a_failure(error: UpstreamError, kind: FailureKind) -> None:
    """G6: DNS, a refused connection, a reset and TLS move on as a 5xx does."""
    failure = of_error(error)

    assert (failure.kind, failure.status, failure.scope) == (kind, error.status, OF_KIND.get(kind))
    assert failure.kind.goes_on is (kind is not K.BAD_REQUEST)


@pytest.mark.parametrize(
    ("kind", "hint", "took", "wait"),
    [
        *((K.UNREACHABLE, None, 30.0, 0.0), (K.BROKEN, None, 0.9, 0.0), (K.BROKEN, None, 1.0, None)),
        *((K.OVERLOAD, None, 9.0, 0.5), (K.OVERLOAD, 1.0, 9.0, 1.0), (K.OVERLOAD, 3.0, 0.1, None)),
        *((K.RATE, None, 0.1, None), (K.RATE, 2.0, 9.0, 2.0), (K.RATE, 2.1, 0.1, None), (K.BROKEN, 5.0, 0.1, None)),
        *((kind, None, 0.1, None) for kind in (K.SLOW, K.QUOTA, K.AUTH, K.NO_MODEL, K.TOO_LARGE, K.BAD_OUTPUT, K.REFUSED)),
    ],
)
def test_the_same_is_asked_again_after_a_wait_or_never(
    kind: FailureKind, hint: float | None, took: float, wait: float | None
) -> None:
    assert wait_to_repeat(Failure(kind, None, hint, may_repeat=True), took) == wait
    assert wait_to_repeat(Failure(kind, None, hint, may_repeat=False), took) is None


def test_who_says_that_nobody_should_retry_is_not_asked_the_same_again() -> None:
    busy = of_response(None, 503, ((b"X-Should-Retry", b"false"),), b"")
    told = of_response(None, 503, ((b"x-should-retry", b"true"),), b"")

    assert busy is not None
    assert told is not None
    assert (busy.may_repeat, told.may_repeat) == (False, True)


def test_the_table_has_a_row_for_every_kind() -> None:
    assert list(TREATMENTS) == list(FailureKind)
    for kind, treatment in TREATMENTS.items():
        assert (treatment.cools is Cools.NEVER) == (treatment.scope is None), kind
        assert (treatment.scope is None) == (treatment.first == 0.0), kind
        assert treatment.first <= treatment.cap, kind
        assert treatment.scope is OF_KIND.get(kind), kind


HEADERS = st.lists(
    st.tuples(
        st.sampled_from([b"retry-after", b"Retry-After-Ms", b"x-ratelimit-remaining-a", b"x-ratelimit-reset-a", b"date"]),
        st.binary(max_size=40) | st.sampled_from([b"0", b"-1", b"1e9", b"nan", b"1764500000", b"6m0s", b"9" * 400]),
    ),
    max_size=4,
)
WORDS = st.sampled_from(
    ["error", "code", "message", "type", "status", "detail", "details", "retryDelay", "choices", "metadata"]
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | st.sampled_from(["1e9s", "5s", "error"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS | st.text(max_size=5), inner, max_size=4),
    max_leaves=12,
)


@given(
    provider=st.sampled_from([None, "local", *PROVIDER_DIALECTS]),
    status=st.integers(100, 999),
    headers=HEADERS,
    body=st.binary(max_size=200) | JSON.map(lambda value: json.dumps(value).encode()),
    now=st.none() | st.floats(0, 4e9),
)
def test_whatever_comes_is_some_failure_or_none(
    provider: str | None, status: int, headers: list[tuple[bytes, bytes]], body: bytes, now: float | None
) -> None:
    for failure in (
        of_response(provider, status, tuple(headers), body, now=now),
        of_object(provider, body, headers=tuple(headers), now=now),
    ):
        assert failure is None or failure.hint is None or 0.0 < failure.hint <= 86_400.0
        assert failure is None or failure.scope is not None or failure.hint is None
    if not 200 <= status < 300:
        assert of_response(provider, status, tuple(headers), body) is not None


@given(JSON)
def test_whatever_is_read_already_is_some_failure_or_none(document: Any) -> None:
    assert isinstance(of_object("gemini", document), Failure | None)


RECORDED = {
    "openai_error_400_context.json": ("openai", 400, K.TOO_LARGE),
    "openai_error_400_role.json": ("openai", 400, K.UNSUPPORTED),
    "openai_error_401.json": ("openai", 401, K.AUTH),
    "openai_error_404.json": ("openai", 404, K.NO_MODEL),
    "anthropic_error_400_context.json": ("anthropic", 400, K.TOO_LARGE),
    "anthropic_error_401_stream.json": ("anthropic", 401, K.AUTH),
}


@pytest.mark.parametrize("name", RECORDED)
def test_a_recorded_error_is_recognised(name: str) -> None:
    provider, status, kind = RECORDED[name]
    failure = of_response(provider, status, (), cassette(name))

    assert failure is not None
    assert failure.kind is kind


QUOTED = {
    "cerebras": [
        *(K.NO_MODEL, K.RATE, K.UNSUPPORTED, K.UNSUPPORTED, K.AUTH, K.QUOTA, K.AUTH, K.NO_MODEL, K.OVERLOAD, K.QUOTA),
    ],
    "anthropic": [K.OVERLOAD, K.OVERLOAD, K.OVERLOAD, K.RATE, K.RATE, K.BAD_REQUEST, K.BAD_REQUEST],
}


@pytest.mark.parametrize("provider", QUOTED)
def test_the_errors_that_people_quote_are_recognised(provider: str) -> None:
    errors = json.loads(cassette(f"{provider}_error_bodies.json"))
    found = []
    for error in errors:
        fields = tuple((name.encode(), value.encode()) for name, value in error.get("headers", {}).items())
        failure = of_response(provider, error["status"], fields, json.dumps(error["body"]).encode())
        found.append(None if failure is None else failure.kind)

    assert found == QUOTED[provider]


def test_a_recorded_error_within_a_stream_is_recognised() -> None:
    """G21: a 200 with an error in it is a failed attempt."""
    event = cassette("groq_stream_error_event.sse").rpartition(b"event: error\ndata: ")[2].strip()

    assert of_object("groq", event) == Failure(K.BAD_OUTPUT, 400, None, ScopeKind.PROVIDER_MODEL)
