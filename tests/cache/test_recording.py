"""Recording: what leaves while an answer comes, and what is kept of it in the end."""

from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cachemw.cache import record as codec
from cachemw.cache import replay
from cachemw.cache.recording import Recording, Terms, head_fault
from cachemw.limits import Limits
from cachemw.messages import Head, Headers, Kind, StoredResponse, Usage
from tests.cache.answers import (
    COMPLETION,
    DONE_EVENT,
    EVENTS,
    JSON_HEAD,
    STREAM,
    STREAM_HEAD,
    TARGET,
    chat,
    cut_in_two,
    key,
    one_by_one,
    record_of,
    recording,
    terms,
    with_headers,
)
from tests.cassettes import cassette

WITH_USAGE = {"stream_options": {"include_usage": True}}

# Recorded streams of chat completion chunks, and what their requests said.
STREAM_RECORDINGS: dict[str, dict[str, Any]] = {
    "azure_stream_router.sse": {},
    "cerebras_glm_stream_1.sse": {},
    "openai_stream_length.sse": {"max_tokens": 1, **WITH_USAGE},
    "openai_stream_logprobs.sse": {"logprobs": True, **WITH_USAGE},
    "openai_stream_n2.sse": {"n": 2, **WITH_USAGE},
    "openai_stream_parallel_tools.sse": WITH_USAGE,
    "openai_stream_refusal.sse": WITH_USAGE,
    "openai_stream_usage.sse": WITH_USAGE,
    "openrouter_stream_annotations.sse": WITH_USAGE,
}

JSON_RECORDINGS = ["cerebras_glm_reasoning_1.json", "openai_nonstream_tools.json"]

# Everything a stream may hold, in one that nobody has: two choices interleaved, all kinds of deltas, members nobody knows.
RICH = b"""\
: processing

data: {"choices":[],"prompt_filter_results":[]}

data:{"choices": [{"index":1,"delta":{"role":"assistant","reasoning":"Hm","x":1},"x":[{}]}],"x":{"y":null}}

: still processing
data: {"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"id":"a","function":{"name":"f","arguments":"{\\"a"}},
data: {"index":1,"id":"b","function":{"name":"g","arguments":""}}]},"logprobs":{"content":[{"token":"\\u00e9"}]}}]}

data: {"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"function":{"arguments":"\\":1}"}}]}}]}

data: {"choices":[{"index":1,"delta":{"refusal":"N\xc3\xb6"},"finish_reason":"stop"}]}

id: 7
data: {"choices":[{"index":0,"delta":{},"finish_reason":"tool_calls"}],"usage":{"total_tokens":1},"time_info":{"x":0.1}}

data: [DONE]

: bye
"""

FORMS = {
    "LF": STREAM,
    "CRLF": STREAM.replace(b"\n", b"\r\n"),
    "CR": STREAM.replace(b"\n", b"\r"),
    "no space": STREAM.replace(b"data: ", b"data:"),
    "rich": RICH,
    "rich, CRLF": RICH.replace(b"\n", b"\r\n"),
}


def stream_terms(**members: Any) -> Terms:
    return terms(stream=True, **members)


def terms_of(form: str) -> Terms:
    return stream_terms(n=2, **WITH_USAGE) if form.startswith("rich") else stream_terms()


@dataclass
class Pass:
    """An answer passed on in chunks, all at one time: what left after each of them."""

    under_way: Recording
    left: list[bytes] = field(default_factory=list)

    def of(self, *chunks: bytes, now: float = 0.0) -> "Pass":
        for chunk in chunks:
            self.under_way.feed(chunk, now)
            self.look()
        return self

    def look(self) -> None:
        """Note what may leave that could not before."""
        self.left.append(bytes(self.under_way.body[len(b"".join(self.left)) : self.under_way.left]))

    @property
    def held(self) -> bytes:
        return bytes(self.under_way.body[self.under_way.left :])


# R1: nothing is kept before it is complete.


BLANK_LINES = {"CRLF": b"\r\n\r", "rich, CRLF": b"\r\n\r", "CR": b"\r\r"}  # where the body ends in a CR, that ends the line


@pytest.mark.parametrize("form", FORMS)
def test_a_stream_cut_after_any_byte_is_not_kept_until_its_end_was_seen_whole(form: str) -> None:
    """R1."""
    body, asked = FORMS[form], terms_of(form)
    end = b"[DONE]" + BLANK_LINES.get(form, b"\n\n")

    kept_at = [at for at in range(len(body) + 1) if isinstance(record_of([body[:at]], asked), StoredResponse)]

    assert kept_at == list(range(body.index(end) + len(end), len(body) + 1))


@pytest.mark.parametrize("name", STREAM_RECORDINGS)
def test_a_recorded_stream_cut_after_any_byte_is_not_kept(name: str) -> None:
    """R1."""
    body, asked = cassette(name), stream_terms(**STREAM_RECORDINGS[name])
    under_way = recording(asked)

    kept = [under_way.finish(0.0)]
    for byte in one_by_one(body):
        under_way.feed(byte, 0.0)
        kept.append(under_way.finish(0.0))  # to ask changes nothing: these streams have no CR

    assert set(kept[:-1]) == {"incomplete"}
    assert kept[-1] == record_of([body], asked)
    assert isinstance(kept[-1], StoredResponse)


@pytest.mark.parametrize("name", ["the example", *JSON_RECORDINGS])
def test_json_cut_after_any_byte_is_not_kept(name: str) -> None:
    """R1."""
    body = COMPLETION if name == "the example" else cassette(name).rstrip()

    faults = [record_of([body[:at]], terms()) for at in range(len(body))]

    assert set(faults) == {"unreadable-answer"}
    assert isinstance(record_of([body], terms()), StoredResponse)


@pytest.mark.parametrize(
    ("length", "fault"),
    [
        ((), None),
        ((b"%d",), None),
        ((b"%d0",), "incomplete"),
        ((b"%d", b"%d"), "incomplete"),
        ((b"%d-",), "incomplete"),
    ],
    ids=["none", "equal", "another", "two", "unreadable"],
)
@pytest.mark.parametrize(("head", "body"), [(JSON_HEAD, COMPLETION), (STREAM_HEAD, STREAM)], ids=["JSON", "stream"])
def test_a_body_must_be_as_long_as_its_head_said(head: Head, body: bytes, length: tuple[bytes, ...], fault: str | None) -> None:
    """R1."""
    fields = [(b"content-length", value.replace(b"%d", b"%d" % len(body))) for value in length]

    kept = record_of([body], terms(stream=head is STREAM_HEAD), with_headers(head, *fields))

    assert (kept if isinstance(kept, str) else None) == fault


@pytest.mark.parametrize(
    ("name", "members", "fault"),
    [
        ("groq_stream_error_event.sse", {}, "error-event"),
        ("openai_responses_stream.sse", {}, "incomplete"),
        ("anthropic_stream_thinking.sse", {}, "incomplete"),
        ("anthropic_stream_tools.sse", {}, "incomplete"),
        ("openai_stream_length.sse", {}, "finish-length"),
        ("openai_stream_n2.sse", {}, "missing-choice"),
        ("openai_stream_n2.sse", {"n": 3}, "missing-choice"),
        ("cerebras_glm_stream_1.sse", {"n": 2}, "missing-choice"),
    ],
    ids=[
        "groq: an error under way",
        "openai: the Responses API, without an end",
        "anthropic: no chat completions",
        "anthropic: no chat completions, tools",
        "openai: cut by a limit of the model's own",
        "openai: two choices, one asked for",
        "openai: two choices, three asked for",
        "cerebras: one choice, two asked for",
    ],
)
def test_recorded_streams_that_are_not_kept_say_why(name: str, members: dict[str, Any], fault: str) -> None:
    """R1, R2, R3."""
    assert record_of([cassette(name)], stream_terms(**members)) == fault


# What of it is recorded at all.


@pytest.mark.parametrize(
    ("head", "stream", "fault"),
    [
        pytest.param(JSON_HEAD, False, None, id="JSON"),
        pytest.param(STREAM_HEAD, True, None, id="a stream"),
        pytest.param(STREAM_HEAD, False, "content-type", id="a stream for JSON"),
        pytest.param(JSON_HEAD, True, "content-type", id="JSON for a stream"),
        pytest.param(Head(200, ((b"Content-Type", b"Application/JSON; charset=utf-8"),)), False, None, id="another case"),
        pytest.param(Head(200, ((b"content-type", b"text/event-stream;charset=utf-8"),)), True, None, id="a charset"),
        pytest.param(Head(200, ((b"content-type", b"text/html"),)), False, "content-type", id="HTML"),
        pytest.param(Head(200, ((b"content-type", b"application/json-seq"),)), False, "content-type", id="a longer name"),
        pytest.param(Head(200, ()), False, "content-type", id="no type"),
        pytest.param(with_headers(JSON_HEAD, *JSON_HEAD.headers), False, "content-type", id="two types"),
        pytest.param(with_headers(JSON_HEAD, (b"content-encoding", b"gzip")), False, "encoded-answer", id="gzip"),
        pytest.param(with_headers(JSON_HEAD, (b"content-encoding", b" Identity")), False, None, id="identity"),
        *[
            pytest.param(Head(status, JSON_HEAD.headers), False, "not-200", id=str(status))
            for status in (201, 204, 206, 301, 302, 307, 400, 401, 404, 408, 422, 429, 500, 502, 503, 504)
        ],
    ],
)
def test_only_a_200_of_the_kind_that_was_asked_for_is_recorded(head: Head, stream: bool, fault: str | None) -> None:
    """R2."""
    assert head_fault(head, stream) == fault


# S6, S9, P2: streams leave as they come.


def test_an_event_leaves_before_the_next_is_read_but_for_the_end() -> None:
    """S6, P2: whoever sees the end may hang up, and the record is put before that."""
    passed = Pass(recording(stream_terms())).of(*EVENTS)

    assert passed.left == [*EVENTS[:-1], b""]
    assert passed.held == DONE_EVENT
    assert passed.under_way.hold_seconds == Limits().done_hold


def test_what_comes_together_with_the_end_leaves_without_it() -> None:
    """P2."""
    passed = Pass(recording(stream_terms())).of(STREAM, b": bye\n\n")

    assert passed.left == [STREAM.removesuffix(DONE_EVENT), b""]
    assert passed.held == DONE_EVENT + b": bye\n\n"


@pytest.mark.parametrize("at", range(len(b"data: [DONE]")))
def test_an_end_that_comes_in_two_does_not_leave_whole(at: int) -> None:
    """P2: what has left is no end to anyone."""
    passed = Pass(recording(stream_terms())).of(*EVENTS[:-1], DONE_EVENT[:at], DONE_EVENT[at:])

    assert passed.left[-2:] == [DONE_EVENT[:at], b""]
    assert passed.held == DONE_EVENT[at:]


@pytest.mark.parametrize("form", FORMS)
def test_a_stream_cut_anywhere_is_the_same_record_and_leaves_the_same(form: str) -> None:
    """S8, S9: comments and spacing included."""
    body, asked = FORMS[form], terms_of(form)
    whole = record_of([body], asked)
    assert isinstance(whole, StoredResponse)

    for chunks in ([body], one_by_one(body), *cut_in_two(body)):
        passed = Pass(recording(asked)).of(*chunks)

        assert passed.under_way.finish(0.0) == whole
        assert b"".join(passed.left) + passed.held == body == whole.body


@settings(deadline=None, max_examples=200)
@given(st.sampled_from(sorted(FORMS)), st.lists(st.integers(0, len(FORMS["rich, CRLF"])), max_size=12))
def test_however_often_it_is_cut(form: str, cuts: list[int]) -> None:
    """S8, S9."""
    body, asked = FORMS[form], terms_of(form)
    inside = sorted(min(cut, len(body)) for cut in cuts)
    chunks = [body[start:end] for start, end in zip([0, *inside], [*inside, len(body)], strict=True)]

    passed = Pass(recording(asked)).of(*chunks)

    assert passed.under_way.finish(0.0) == record_of([body], asked)
    assert b"".join(passed.left) + passed.held == body


@pytest.mark.parametrize("name", STREAM_RECORDINGS)
def test_a_recorded_stream_is_replayed_byte_for_byte(name: str) -> None:
    """S2, S3, S9: by way of a record."""
    body, asked = cassette(name), stream_terms(**STREAM_RECORDINGS[name])
    passed = Pass(recording(asked)).of(*(body[at : at + 100] for at in range(0, len(body), 100)))
    kept = passed.under_way.finish(0.0)
    assert isinstance(kept, StoredResponse)

    replayed = b"".join(replay.pieces(codec.decode(codec.encode(kept))))

    assert replayed == body == b"".join(passed.left) + passed.held


def test_nothing_of_a_stream_is_lost() -> None:
    """S3: reasoning, tool calls in fragments, logprobs, a refusal, usage, and what nobody knows."""
    kept = record_of([RICH], stream_terms(n=2, **WITH_USAGE))
    assert isinstance(kept, StoredResponse)

    assert b"".join(replay.pieces(codec.decode(codec.encode(kept)))) == RICH


def test_an_incomplete_stream_leaves_as_it_came() -> None:
    """S9."""
    passed = Pass(recording(stream_terms())).of(EVENTS[0], b"data: {}\n\ndata: oops")

    assert passed.under_way.finish(0.0) == "incomplete"
    assert b"".join(passed.left) == EVENTS[0] + b"data: {}\n\ndata: oops"
    assert passed.held == b""


# JSON is held.


def test_json_is_held_until_it_is_complete() -> None:
    passed = Pass(recording(terms())).of(*one_by_one(COMPLETION))

    assert set(passed.left) == {b""}
    assert isinstance(passed.under_way.finish(0.0), StoredResponse)
    assert passed.held == COMPLETION


def test_json_is_held_for_ten_seconds_from_its_first_byte_and_then_leaves_as_it_comes() -> None:
    """Blanks that keep a connection alive are of use only to whom they reach."""
    passed = Pass(recording(terms())).of(b"  ").of(b" \n")

    held_for = passed.under_way.hold_seconds
    passed.under_way.release_held()
    passed.look()
    passed.of(b"\n").of(COMPLETION[:9]).of(COMPLETION[9:])

    assert held_for == Limits().json_hold
    assert passed.left == [b"", b"", b"   \n", b"\n", COMPLETION[:9], COMPLETION[9:]]
    assert passed.under_way.hold_seconds is None


def test_json_that_left_late_is_kept_all_the_same() -> None:
    passed = Pass(recording(terms())).of(b" ")
    passed.under_way.release_held()
    passed.of(COMPLETION, now=60.0)

    kept = passed.under_way.finish(60.0)

    assert isinstance(kept, StoredResponse)
    assert kept.body == b" " + COMPLETION
    assert passed.under_way.dropped is None


def test_where_nothing_is_held_nothing_waits() -> None:
    assert recording(terms()).hold_seconds is None
    assert Pass(recording(stream_terms())).of(EVENTS[0]).under_way.hold_seconds is None


# The limit.


@pytest.mark.parametrize(("body", "members"), [(COMPLETION, {}), (STREAM, {"stream": True})], ids=["JSON", "stream"])
def test_an_answer_of_just_the_limit_is_kept(body: bytes, members: dict[str, Any]) -> None:
    """D7."""
    assert isinstance(record_of([body], terms(limit_bytes=len(body), **members)), StoredResponse)
    assert record_of([body], terms(limit_bytes=len(body) - 1, **members)) == "record-too-large"


@pytest.mark.parametrize(("body", "members"), [(COMPLETION, {}), (STREAM, {"stream": True})], ids=["JSON", "stream"])
def test_beyond_the_limit_it_is_given_up_at_once_and_nothing_is_lost(body: bytes, members: dict[str, Any]) -> None:
    """S6, D7: what is given up is still to be passed on."""
    under_way = recording(terms(limit_bytes=20, **members))

    under_way.feed(body[:20], 0.0)
    before = under_way.dropped
    under_way.feed(body[20:30], 0.0)

    assert (before, under_way.dropped) == (None, "record-too-large")
    assert under_way.body == body[:30]


def test_json_that_left_late_is_given_up_beyond_the_limit_too() -> None:
    """D7."""
    under_way = recording(terms(limit_bytes=20))
    under_way.feed(COMPLETION[:20], 0.0)
    under_way.release_held()

    under_way.feed(COMPLETION[20:], 11.0)

    assert under_way.dropped == "record-too-large"
    assert under_way.left == len(COMPLETION)


def test_a_stream_whose_end_does_not_come_is_given_up() -> None:
    """P2: what was held may have been no end at all."""
    passed = Pass(recording(stream_terms())).of(STREAM)

    passed.under_way.release_held()

    assert passed.under_way.dropped == "no-end"
    assert passed.under_way.body == STREAM


# What a record is.


def test_a_record_of_a_stream_says_where_its_events_end_and_when_they_came() -> None:
    under_way = recording(stream_terms())

    for at, event in enumerate(EVENTS):
        under_way.feed(event, 1.5 * at)
    kept = under_way.finish(9.0)

    asked = chat(stream=True)
    assert kept == StoredResponse(
        status=200,
        headers=((b"content-type", b"text/event-stream"),),
        body=STREAM,
        event_ends=tuple(accumulate(map(len, EVENTS))),
        arrivals=(0.0, 1.5, 3.0, 4.5),
        kind=Kind(stream=True),
        proof=key(asked).proof,
        stored_at=9.0,
        lifetime=60.0,
        request=None,
        target=TARGET.url,
        took=9.0,
    )


def test_a_record_of_json_is_as_old_as_its_last_byte() -> None:
    under_way = recording(terms(keep_request=True))
    under_way.feed(COMPLETION, 5.0)

    kept = under_way.finish(7.0)

    asked = chat()
    assert kept == StoredResponse(
        status=200,
        headers=((b"content-type", b"application/json"),),
        body=COMPLETION,
        event_ends=(),
        arrivals=(),
        kind=Kind(stream=False),
        proof=key(asked).proof,
        stored_at=7.0,
        lifetime=60.0,
        request=asked.canonical,
        target=TARGET.url,
        took=7.0,
    )


def test_a_record_names_the_model_that_answered_and_what_that_took() -> None:
    """Record 2: as the answer says; where it says it in another shape, nothing is guessed."""
    usage = b'{"prompt_tokens":812,"completion_tokens":301,"prompt_tokens_details":{"cached_tokens":128},"extra":[]}'
    json_body = COMPLETION[:-1] + b',"model":"gpt-oss-120b","usage":' + usage + b"}"
    stream = b"".join((*EVENTS[:-1], b'data: {"choices":[],"model":"m","usage":' + usage + b"}\n\n", EVENTS[-1]))

    for body, of, model in ((json_body, terms(), "gpt-oss-120b"), (stream, terms(stream=True), "m")):
        kept = record_of([body], of)
        assert isinstance(kept, StoredResponse)
        assert (kept.model, kept.usage) == (model, Usage(812, 301, 128, None))
    odd = record_of([COMPLETION[:-1] + b',"model":7,"usage":{"prompt_tokens":"many"}}'], terms())
    assert isinstance(odd, StoredResponse)
    assert (odd.model, odd.usage) == (None, None)


def test_a_clock_that_is_set_back_does_not_make_an_event_come_before_its_head() -> None:
    under_way = recording(stream_terms())
    under_way.feed(STREAM, -5.0)

    kept = under_way.finish(-5.0)

    assert isinstance(kept, StoredResponse)
    assert set(kept.arrivals) == {0.0}


NEVER_STORED: Headers = tuple(
    (name, b"x")
    for name in (
        b"date set-cookie server via age vary etag expires cache-control cache-status cachemw retry-after cf-ray alt-svc"
        b" x-request-id request-id inference-id openai-organization openai-processing-ms x-ratelimit-limit-requests"
        b" x-ratelimit-remaining-tokens connection keep-alive transfer-encoding trailer upgrade te proxy-authenticate"
        b" content-encoding strict-transport-security access-control-allow-origin x-invented"
    ).split()
)


@pytest.mark.parametrize(("head", "body"), [(JSON_HEAD, COMPLETION), (STREAM_HEAD, STREAM)], ids=["JSON", "stream"])
def test_only_the_listed_fields_are_stored(head: Head, body: bytes) -> None:
    """I5."""
    fields = ((b"Content-Language", b"en"), (b"OpenAI-Version", b"2020-10-01"), (b"content-length", b"%d" % len(body)))
    whole = with_headers(head, *fields, *NEVER_STORED)

    kept = record_of([body], terms(stream=head is STREAM_HEAD), whole)

    assert isinstance(kept, StoredResponse)
    assert kept.headers == (*head.headers, (b"content-language", b"en"), (b"openai-version", b"2020-10-01"))


def test_a_listed_field_that_is_for_this_connection_only_is_not_stored() -> None:
    """I5, H11."""
    head = with_headers(JSON_HEAD, (b"openai-version", b"1"), (b"Connection", b"close, OpenAI-Version"))

    kept = record_of([COMPLETION], terms(), head)

    assert isinstance(kept, StoredResponse)
    assert kept.headers == JSON_HEAD.headers
