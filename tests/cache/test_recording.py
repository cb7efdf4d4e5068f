"""What is kept of a response in the end: nothing before it is complete, and then every byte of it."""

from itertools import accumulate
from typing import Any

import pytest

from cachemw.cache import record as codec
from cachemw.cache import replay
from cachemw.cache.recording import Terms, head_fault
from cachemw.messages import Head, Kind, StoredResponse, Usage
from tests.cache.answers import (
    COMPLETION,
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


# R1: nothing is kept before it is complete.


WHOLE_EVENTS = {"CRLF": b"\r\n\r", "rich, CRLF": b"\r\n\r", "CR": b"\r\r"}  # where the body ends in a CR, that ends the line


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("delimited", [True, False])
def test_a_stream_cut_after_any_byte_is_not_kept_until_its_end_was_seen_whole(form: str, delimited: bool) -> None:
    """R1: a body that ended by itself needs no blank line behind `[DONE]`; where the connection ended, that may be a cut."""
    body, asked = FORMS[form], terms_of(form)
    end = b"[DONE]" + (b"" if delimited else WHOLE_EVENTS.get(form, b"\n\n"))
    head = Head(200, STREAM_HEAD.headers, delimited)

    kept_at = [at for at in range(len(body) + 1) if isinstance(record_of([body[:at]], asked, head), StoredResponse)]

    assert kept_at == list(range(body.index(end) + len(end), len(body) + 1))


@pytest.mark.parametrize("done", [b"data: [DONE]", b"data: [DONE]\n", b"data: [DONE] \n\n", b"data: [DONE]\n\n" * 2])
def test_however_done_is_written_all_of_it_is_kept(done: bytes) -> None:
    """R1, S2: and it is an event, with its arrival; it is read as whole again."""
    body = STREAM.removesuffix(EVENTS[-1]) + done

    kept = record_of(one_by_one(body), stream_terms())

    assert isinstance(kept, StoredResponse)
    assert b"".join(replay.pieces(kept)) == body
    assert kept.event_ends[-1] == len(body)
    assert b"".join(piece for _, piece in replay.paced(kept, 1, 10)) == body


@pytest.mark.parametrize("delimited", [True, False])
def test_a_stream_without_done_is_kept_only_where_it_need_not_come_and_the_body_ended_by_itself(delimited: bool) -> None:
    """R1: before that every byte of it has left as it came."""
    body, head = STREAM.removesuffix(EVENTS[-1]), Head(200, STREAM_HEAD.headers, delimited)
    under_way = recording(stream_terms(done=False), head)

    under_way.feed(body, 0.0)
    kept = under_way.finish(0.0)

    assert (under_way.left, under_way.hold_seconds) == (len(body), None)
    assert isinstance(kept, StoredResponse) if delimited else kept == "incomplete"
    assert record_of([body], stream_terms(), head) == "incomplete"
    assert record_of([body], stream_terms(done=False), with_headers(STREAM_HEAD, (b"content-length", b"9999"))) == "incomplete"


@pytest.mark.parametrize("name", STREAM_RECORDINGS)
def test_a_recorded_stream_cut_after_any_byte_is_not_kept(name: str) -> None:
    """R1."""
    body, asked = cassette(name), stream_terms(**STREAM_RECORDINGS[name])
    under_way = recording(asked)

    done = body.index(b"[DONE]") + len(b"[DONE]")
    kept = [under_way.finish(0.0)]
    for byte in one_by_one(body[: done - 1]):
        under_way.feed(byte, 0.0)
        kept.append(under_way.finish(0.0))  # to ask changes nothing: these streams have no CR

    assert set(kept) == {"incomplete"}
    under_way.feed(body[done - 1 :], 0.0)
    assert under_way.finish(0.0) == record_of([body], asked)
    assert all(isinstance(record_of([body[:at]], asked), StoredResponse) for at in range(done, len(body) + 1))


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


@pytest.mark.parametrize("form", FORMS)
def test_a_stream_cut_anywhere_is_the_same_record(form: str) -> None:
    """S8, S9: comments and spacing included."""
    body, asked = FORMS[form], terms_of(form)
    whole = record_of([body], asked)
    assert isinstance(whole, StoredResponse)

    assert whole.body == body
    for chunks in (one_by_one(body), *cut_in_two(body)):
        assert record_of(chunks, asked) == whole


@pytest.mark.parametrize("name", ["all at once", *STREAM_RECORDINGS])
def test_a_recorded_stream_is_replayed_byte_for_byte(name: str) -> None:
    """S2, S3: reasoning, tool calls in fragments, logprobs, a refusal, usage, and what nobody knows."""
    body, asked = (cassette(name), STREAM_RECORDINGS[name]) if name in STREAM_RECORDINGS else (RICH, {"n": 2, **WITH_USAGE})
    kept = record_of([body[at : at + 100] for at in range(0, len(body), 100)], stream_terms(**asked))
    assert isinstance(kept, StoredResponse)

    assert b"".join(replay.pieces(codec.decode(codec.encode(kept)))) == body


# The limit.


@pytest.mark.parametrize(("body", "members"), [(COMPLETION, {}), (STREAM, {"stream": True})], ids=["JSON", "stream"])
def test_an_answer_of_just_the_limit_is_kept(body: bytes, members: dict[str, Any]) -> None:
    """D7."""
    assert isinstance(record_of([body], terms(limit_bytes=len(body), **members)), StoredResponse)
    assert record_of([body], terms(limit_bytes=len(body) - 1, **members)) == "record-too-large"


# What a record is.


def test_a_record_of_a_stream_says_where_its_events_end_and_when_they_came() -> None:
    under_way = recording(stream_terms())

    for at, event in enumerate(EVENTS):
        under_way.feed(event, 1.5 * at)
    kept = under_way.finish(9.0)

    assert kept == StoredResponse(
        status=200,
        headers=((b"content-type", b"text/event-stream"),),
        body=STREAM,
        event_ends=tuple(accumulate(map(len, EVENTS))),
        arrivals=(0.0, 1.5, 3.0, 4.5),
        kind=Kind(stream=True),
        proof=key(chat(stream=True)).proof,
        stored_at=9.0,
        lifetime=60.0,
        endpoint="chat",
        request=None,
        target=TARGET.url,
        took=9.0,
    )


def test_a_record_of_json_is_as_old_as_its_last_byte_and_has_only_fields_that_are_listed() -> None:
    """I5."""
    listed, others = (b"OpenAI-Version", b"2020-10-01"), ((b"Set-Cookie", b"a=b"), (b"x-request-id", b"r1"))
    under_way = recording(terms(keep_request=True), with_headers(JSON_HEAD, *others, listed))
    under_way.feed(COMPLETION, 5.0)

    kept = under_way.finish(7.0)

    asked = chat()
    assert kept == StoredResponse(
        status=200,
        headers=((b"content-type", b"application/json"), (b"openai-version", b"2020-10-01")),
        body=COMPLETION,
        event_ends=(),
        arrivals=(),
        kind=Kind(stream=False),
        proof=key(asked).proof,
        stored_at=7.0,
        lifetime=60.0,
        endpoint="chat",
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
