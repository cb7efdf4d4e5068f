"""When an answer is good enough to be shown, and when it is a failure that nobody need see."""

import json
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cachemw.endpoints import CHAT
from cachemw.endpoints.base import Endpoint
from cachemw.errors import TruncatedResponse, UpstreamTimeout
from cachemw.gateway.commitment import HELD_BYTES, Commitment, Judgement
from cachemw.messages import Head, Headers
from tests.gateway.bouts import ERROR_EVENT, NO_CHOICES, ROLE
from tests.upstream import DONE, EVENT_STREAM, JSON, event

HOLDING, COMMITTED, FAILED = Judgement.HOLDING, Judgement.COMMITTED, Judgement.FAILED


def commitment(
    headers: Headers = EVENT_STREAM, status: int = 200, *, is_stream: bool = True, endpoint: Endpoint | None = CHAT
) -> Commitment:
    return Commitment("openrouter", Head(status, headers), is_stream=is_stream, endpoint=endpoint)


def choice(delta: dict[str, object], reason: str | None = None) -> bytes:
    return event(delta, reason)


COMMITS = {
    "content": choice({"content": "h"}),
    "a tool call": choice({"tool_calls": [{"index": 0, "id": "c", "function": {"name": "f", "arguments": ""}}]}),
    "reasoning": choice({"reasoning": "hm"}),
    "reasoning by another name": choice({"reasoning_content": "hm"}),
    "a refusal": choice({"refusal": "no"}),
    "a finish reason": choice({}, "stop"),
    "the limit of tokens": choice({}, "length"),
    "parts of content": choice({"content": [{"type": "text", "text": "h"}]}),
    "events behind a comment": b": OPENROUTER PROCESSING\n\n" + choice({"content": "h"}),
}

HOLDS = {
    "nothing": b"",
    "blanks": b"\n\n\r\n",
    "a comment": b": OPENROUTER PROCESSING\n\n",
    "a role": ROLE,
    "a role and an empty text": choice({"role": "assistant", "content": ""}),
    "nulls": choice({"content": None, "tool_calls": None, "refusal": None}),
    "no choices yet": b'data: {"id": "c", "choices": [], "prompt_filter_results": []}\n\n',
    "half an event": choice({"content": "h"})[:-1],
    "a retry field": b"retry: 3000\n\n",
}

FAILS = {
    "an error": (ERROR_EVENT, "broken"),
    "an error by its event's name": (
        b'event: error\ndata: {"type":"error","error":{"type":"overloaded_error"}}\n\n',
        "overload",
    ),
    "an error behind a role": (ROLE + ERROR_EVENT, "broken"),
    "an error in a choice": (b'data: {"choices": [{"index": 0, "delta": {}, "error": {"code": 500}}]}\n\n', "broken"),
    "the finish reason of an error": (choice({}, "error"), "broken"),
    "a filter": (choice({}, "content_filter"), "refused"),
    "no JSON": (b"data: <html>\n\n", "broken"),
    "an error that is nothing but its name": (b'event: error\ndata: "overloaded"\n\n', "broken"),
    "another shape": (b'data: [{"error": {"code": 429, "status": "RESOURCE_EXHAUSTED"}}]\n\n', "rate"),
    "a limit of the rate": (b'data: {"error": {"code": 429, "message": "slow down"}}\n\n', "rate"),
}

ENDS = {
    "nothing at all": (b"", "bad-output"),
    "blanks alone": (b"\n\n", "bad-output"),
    "the end without an answer": (ROLE + DONE, "bad-output"),
    "the end alone": (DONE, "bad-output"),
    "a role": (ROLE, "broken"),
    "half an event": (choice({"content": "h"})[:-2], "broken"),
    "a comment": (b": wait\n\n", "broken"),
}

DOCUMENTS = {
    "a completion": (b'{"choices": [{"index": 0, "message": {"content": "h"}, "finish_reason": "stop"}]}', None),
    "an empty text": (b'{"choices": [{"index": 0, "message": {"content": ""}, "finish_reason": "stop"}]}', None),
    "blanks before it": (b'\n \n{"choices": [{"index": 0, "message": {"content": "h"}}]}', None),
    "no choices": (NO_CHOICES, "bad-output"),
    "nothing": (b"", "bad-output"),
    "blanks alone": (b" \n ", "bad-output"),
    "an empty object": (b"{}", "bad-output"),
    "an error": (b'{"error": {"message": "no", "code": 502}}', "broken"),
    "a choice that a filter holds back": (
        b'{"choices": [{"index": 0, "message": {"content": null}, "finish_reason": "content_filter"}]}',
        "refused",
    ),
    "half a document": (b'{"choices": [{"index": 0', "broken"),
    "a page": (b"<html>busy</html>", "broken"),
}


@pytest.mark.parametrize("data", COMMITS.values(), ids=COMMITS)
def test_a_stream_is_shown_from_its_first_substantive_event_on(data: bytes) -> None:
    judged = commitment()

    assert judged.feed(ROLE) is HOLDING
    assert judged.feed(data) is COMMITTED
    assert b"".join(judged.held) == ROLE + data


@pytest.mark.parametrize("data", HOLDS.values(), ids=HOLDS)
def test_what_says_nothing_yet_is_held(data: bytes) -> None:
    assert commitment().feed(data) is HOLDING


@pytest.mark.parametrize(("data", "word"), FAILS.values(), ids=FAILS)
def test_a_stream_that_begins_with_an_error_is_a_failure(data: bytes, word: str) -> None:
    """G1: before its first substantive event nobody has seen anything of it."""
    judged = commitment()

    assert judged.feed(data) is FAILED
    assert judged.failure is not None
    assert judged.failure.kind.value == word


@pytest.mark.parametrize(("data", "word"), ENDS.values(), ids=ENDS)
def test_a_stream_that_ends_before_it_has_begun_is_a_failure(data: bytes, word: str) -> None:
    """G1, G21."""
    judged = commitment()
    judged.feed(data)

    assert judged.end() is FAILED
    assert judged.failure is not None
    assert judged.failure.kind.value == word


@pytest.mark.parametrize(("data", "word"), DOCUMENTS.values(), ids=DOCUMENTS)
def test_a_document_is_judged_when_it_is_whole(data: bytes, word: str | None) -> None:
    """G21: a 200 without choices, with an error, or with nothing in it, is a failed attempt."""
    judged = commitment(JSON, is_stream=False)

    assert judged.feed(data) is HOLDING
    assert judged.end() is (COMMITTED if word is None else FAILED)
    assert (judged.failure and judged.failure.kind.value) == word


@pytest.mark.parametrize("headers", [EVENT_STREAM, JSON])
def test_what_is_too_large_to_be_held_is_shown(headers: Headers) -> None:
    judged = commitment(headers)

    assert judged.feed(b" " * (HELD_BYTES - 1)) is HOLDING
    assert judged.feed(b" ") is COMMITTED


@pytest.mark.parametrize(
    ("status", "headers"),
    [
        (200, ((b"content-type", b"text/event-stream"), (b"content-encoding", b"gzip"))),
        (200, ((b"content-type", b"text/plain"),)),
        (200, ((b"content-type", b"audio/mpeg"),)),
        (204, ()),
    ],
)
def test_what_cannot_be_looked_into_is_shown_at_its_head(status: int, headers: Headers) -> None:
    assert commitment(headers, status).judgement is COMMITTED


@pytest.mark.parametrize("is_stream", [True, False])
def test_an_answer_that_does_not_say_what_it_is_is_taken_for_what_was_asked_for(is_stream: bool) -> None:
    judged = commitment((), is_stream=is_stream)

    assert judged.is_json is not is_stream


def test_a_document_is_read_as_one_though_events_were_asked_for() -> None:
    judged = commitment(JSON, is_stream=True)
    judged.feed(NO_CHOICES)

    assert judged.end() is FAILED


@pytest.mark.parametrize("status", [302, 400, 429, 500])
def test_a_status_that_is_no_success_is_judged_with_its_body(status: int) -> None:
    judged = commitment(JSON, status)

    assert judged.feed(b'{"error": {"message": "no", ') is HOLDING
    assert judged.feed(b'"type": "x"}}') is HOLDING
    assert judged.end() is FAILED
    assert judged.failure is not None
    assert judged.failure.status == status
    assert judged.error is None


def test_of_an_error_of_a_megabyte_no_more_is_read_than_may_be_held() -> None:
    judged = commitment(JSON, 500)

    assert judged.feed(b"x" * HELD_BYTES) is FAILED


def test_an_error_that_breaks_off_is_judged_by_its_status() -> None:
    judged = commitment(JSON, 429)
    judged.feed(b'{"error"')

    assert judged.cut(TruncatedResponse("cut")) is FAILED
    assert judged.failure is not None
    assert judged.failure.kind.value == "rate"
    assert judged.error is None


def test_an_answer_that_breaks_off_before_it_has_begun_cannot_be_shown() -> None:
    judged = commitment()
    judged.feed(ROLE)
    error = UpstreamTimeout("silence")

    assert judged.cut(error) is FAILED
    assert judged.failure is not None
    assert judged.failure.kind.value == "slow"
    assert judged.error is error


def test_an_event_that_only_the_end_of_the_stream_completes_counts() -> None:
    judged = commitment()

    assert judged.feed(choice({"content": "h"}).replace(b"\n\n", b"\r\r")) is HOLDING
    assert judged.end() is COMMITTED


def test_what_is_known_to_be_a_failure_is_not_released() -> None:
    judged = commitment()
    judged.feed(ERROR_EVENT)
    judged.release()

    assert judged.end() is FAILED


OTHERS: dict[str, tuple[Headers, Sequence[bytes]]] = {
    "embeddings": (JSON, [b'{"object": "list", "data": []}']),
    "a list": (JSON, [b"[]"]),
    "an event of another API": (EVENT_STREAM, [b'event: message_start\ndata: {"type": "message_start"}\n\n']),
}


@pytest.mark.parametrize(("headers", "chunks"), OTHERS.values(), ids=OTHERS)
def test_of_other_endpoints_nothing_is_expected_but_that_there_is_no_error(headers: Headers, chunks: Sequence[bytes]) -> None:
    judged = commitment(headers, endpoint=None)
    for chunk in chunks:
        judged.feed(chunk)

    assert judged.end() is COMMITTED


def test_an_error_is_one_at_every_endpoint() -> None:
    judged = commitment(JSON, endpoint=None)
    judged.feed(b'{"error": {"message": "no"}}')

    assert judged.end() is FAILED


STREAMS = [b"".join([ROLE, data]) for data in (*COMMITS.values(), *(fails for fails, _ in FAILS.values()))]


@given(st.sampled_from(STREAMS), st.data())
def test_it_does_not_matter_where_a_stream_is_cut_into_chunks(stream: bytes, data: st.DataObject) -> None:
    whole, pieces = commitment(), commitment()
    cuts = sorted(data.draw(st.sets(st.integers(1, len(stream) - 1), max_size=8)))

    whole.feed(stream)
    for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        pieces.feed(stream[start:end])

    assert pieces.judgement is whole.judgement
    assert pieces.failure == whole.failure
    assert b"".join(pieces.held) == stream


@given(
    st.sampled_from([EVENT_STREAM, JSON, ()]),
    st.sampled_from([200, 201, 302, 400, 404, 429, 500, 599]),
    st.lists(st.one_of(st.binary(max_size=200), st.sampled_from(STREAMS), st.just(json.dumps({"error": 1}).encode()))),
    st.booleans(),
)
def test_whatever_comes_is_decided_in_the_end(headers: Headers, status: int, chunks: list[bytes], is_stream: bool) -> None:
    judged = commitment(headers, status, is_stream=is_stream)
    for chunk in chunks:
        judged.feed(chunk)

    assert judged.end() is not HOLDING
    assert (judged.failure is not None) is (judged.judgement is FAILED)
