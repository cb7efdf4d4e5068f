"""One record of a message, both kinds of it: what Anthropic's SDK reads is the same."""

import json
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cachemw.endpoints import MESSAGES
from cachemw.limits import Work
from cachemw.messages import Kind, StoredResponse
from tests.cassettes import cassette
from tests.endpoints.messages import (
    CITATION,
    CITED,
    HELLO,
    HIDDEN,
    NO_INPUT,
    PING,
    STOP,
    TEXT,
    THINKING,
    TOOL,
    USAGE,
    Members,
    delta,
    derived,
    ending,
    judged,
    message,
    opened,
    read_by_sdk,
    start,
    stopped,
    stream_of,
    told,
)
from tests.endpoints.test_messages_judge import DOCUMENTS, STREAMS, written
from tests.endpoints.transcoding import JSON, STREAM, WITH_USAGE, record

OTHER_KIND = "other-kind"


def as_json(*events: Members | bytes) -> Any:
    """Return the message that is derived from a stream, or why there is none."""
    answer = derived(stream_of(events), stream=True)
    return answer if isinstance(answer, str) else json.loads(answer.body)


def as_stream(body: Any, work: Work = Work()) -> Any:
    """Return the events that are derived from a message, or why there are none."""
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    answer = derived(raw, stream=False, work=work)
    return answer if isinstance(answer, str) else events_in(answer)


def events_in(stored: StoredResponse) -> list[Members]:
    """Return the events of a stream that is as one of Anthropic's is: a name and a line of data each; every end is true."""
    events = [stored.body[start:end] for start, end in pairwise((0, *stored.event_ends))]

    assert b"".join(events) == stored.body
    assert len(stored.arrivals) == len(events)
    assert (b"content-type", b"text/event-stream; charset=utf-8") in stored.headers
    assert all(event.startswith(b"event: ") and event.count(b"\n") == 3 and event.endswith(b"}\n\n") for event in events)
    members = [json.loads(event.partition(b"\ndata: ")[2]) for event in events]
    assert [event[7:].partition(b"\n")[0].decode() for event in events] == [event["type"] for event in members]
    return members


# A message of a stream.


def test_a_message_is_what_the_events_add_up_to() -> None:
    events = (
        start(stop_details=None),
        opened(type="thinking", thinking="", signature=""),
        PING,
        delta(type="thinking_delta", thinking="Let me"),
        delta(type="thinking_delta", thinking=" think."),
        delta(type="signature_delta", signature="c2ln"),
        delta(type="signature_delta", signature="c2lnbmVk"),
        stopped(),
        opened(1, type="text", text="", citations=[]),
        delta(1, type="citations_delta", citation=CITATION),
        delta(1, type="text_delta", text="Hel"),
        delta(1, type="text_delta", text="lo."),
        stopped(1),
        *written(2, "", '{"a": [1, 2.5', ', "é"]}'),
        *written(3, ""),
        opened(4, **HIDDEN),
        stopped(4),
        {
            **ending("tool_use", {"output_tokens": 5, "input_tokens": None}, stop_details={"a": 1}),
            "context_management": {"b": 2},
        },
        STOP,
    )
    call = {"type": "tool_use", "id": "t", "name": "look"}

    assert as_json(*events) == message(
        THINKING,
        {"type": "text", "text": "Hello.", "citations": [CITATION]},
        call | {"input": {"a": [1, 2.5, "é"]}},
        call | {"input": {}},
        HIDDEN,
        stop_reason="tool_use",
        stop_details={"a": 1},
        context_management={"b": 2},
        usage={"input_tokens": 3, "output_tokens": 5},
    )


@pytest.mark.parametrize(
    "events",
    [
        pytest.param(
            told(opened(type="compaction", content=None), delta(type="compaction_delta", content="a"), stopped()), id="a delta"
        ),
        pytest.param(told(opened(), delta(type="thinking_delta", thinking="a"), stopped()), id="a thought in a text"),
        pytest.param(told(opened(), delta(type="text_delta", text="a", shown=True), stopped()), id="more in a piece"),
        pytest.param(told(opened(), delta(type="text_delta", text=5), stopped()), id="a piece that is a number"),
        pytest.param(told(opened(), delta(type=[], text="a"), stopped()), id="a type that is a list"),
        pytest.param(told(opened(type="text", text=None), delta(), stopped()), id="a text that is null"),
        pytest.param(
            told(opened(type="text", text="", citations=5), delta(type="citations_delta", citation={}), stopped()), id="no list"
        ),
        pytest.param(told(*HELLO, {"type": "invented"}), id="an event that nobody knows"),
        pytest.param(told({**opened(), "more": 1}, delta(), stopped()), id="more in a beginning"),
        pytest.param(told(opened(), {**delta(), "more": 1}, stopped()), id="more beside a piece"),
        pytest.param((start() | {"more": 1}, *HELLO, ending(), STOP), id="more beside the message"),
        pytest.param((start(), *HELLO, ending(), STOP | {"metrics": 1}), id="more at the end"),
        pytest.param((start(), *HELLO, ending() | {"content": []}, STOP), id="content at the end"),
        pytest.param((start(), *HELLO, ending(content=[]), STOP), id="content in the delta"),
        pytest.param((start(), *HELLO, ending(usage=[1]), STOP), id="usage that is a list"),
        pytest.param((start(usage=[1]), *HELLO, ending(), STOP), id="usage that was a list"),
        pytest.param(told(*written(0, '{"a":1,"a":2}')), id="a name twice in an input"),
        pytest.param(told(*written(0, "[1]")), id="an input that is a list"),
        pytest.param((start(), *HELLO, b'data: {"type":"ping","type":"ping"}\n\n', ending(), STOP), id="a name twice"),
        pytest.param((start(), *HELLO, b'event: a\ndata: {"type":"ping"}\n\n', ending(), STOP), id="another name"),
        pytest.param((start(), *HELLO, b"event: \xff\ndata: []\n\n", ending(), STOP), id="no object"),
        pytest.param((start(), *HELLO, {"type": "error", "error": {"a": 1}}, ending(), STOP), id="an error"),
        pytest.param((start(), start(), *HELLO, ending(), STOP), id="a beginning twice"),
        pytest.param((start(content=[TEXT]), *HELLO, ending(), STOP), id="content at the beginning"),
        pytest.param((start(), *HELLO, STOP), id="no reason"),
        pytest.param((start(), *HELLO, {"type": "message_delta", "delta": {}}, STOP), id="a delta without one"),
        pytest.param((start(), *HELLO, ending()), id="no end"),
        pytest.param((STOP,), id="an end alone"),
        pytest.param((), id="nothing"),
        pytest.param(told(opened(), delta()), id="a block without its end"),
        pytest.param(told(*HELLO, delta()), id="more of what has ended"),
        pytest.param(told(*HELLO, stopped()), id="an end twice"),
        pytest.param(told(opened(1), delta(1), stopped(1)), id="no first block"),
        pytest.param(told(opened(False), delta(), stopped()), id="an index that is none"),
        pytest.param(told(delta(-1), *HELLO), id="an index below all"),
        pytest.param(told({"type": "content_block_start", "index": 0}), id="a beginning of nothing"),
    ],
)
def test_what_nobody_knows_how_to_put_together_is_no_message(events: tuple[Members | bytes, ...]) -> None:
    assert as_json(*events) == OTHER_KIND


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda raw: raw.replace(b"\n", b"\r\n"), id="CRLF"),
        pytest.param(lambda raw: raw.replace(b"}\n\n", b"    }   \n\n"), id="blanks"),
        pytest.param(lambda raw: b"".join(line for line in raw.splitlines(True) if line[:5] != b"event"), id="no names"),
    ],
)
def test_how_a_stream_is_written_does_not_matter(change: Any) -> None:
    raw = stream_of(told(*HELLO, *written(1, "", '{"a":1}')))
    plain, other = derived(raw, stream=True), derived(change(raw), stream=True)

    assert isinstance(plain, StoredResponse)
    assert isinstance(other, StoredResponse)
    assert plain.body == other.body
    assert (plain.kind, plain.event_ends, plain.arrivals) == (JSON, (), ())


# A stream of a message.


def test_a_stream_is_the_message_in_the_order_in_which_anthropic_sends_it() -> None:
    body = message(THINKING, CITED, TOOL, NO_INPUT, HIDDEN, stop_reason="tool_use", context_management={"a": 1})

    events = as_stream(body)

    first, *between, last, stop = events
    assert first == start(usage=USAGE | {"output_tokens": 1})
    assert last == {
        "type": "message_delta",
        "delta": {"stop_reason": "tool_use", "stop_sequence": None},
        "usage": USAGE,
        "context_management": {"a": 1},
    }
    assert stop == STOP
    assert between == [
        opened(type="thinking", thinking="", signature=""),
        delta(type="thinking_delta", thinking="Let me think."),
        delta(type="signature_delta", signature="c2lnbmVk"),
        stopped(),
        opened(1, type="text", text="", citations=[]),
        *(delta(1, type="citations_delta", citation=one) for one in CITED["citations"]),
        delta(1, type="text_delta", text="Hello."),
        stopped(1),
        opened(2, **{**TOOL, "input": {}}),
        delta(2, type="input_json_delta", partial_json=""),
        delta(2, type="input_json_delta", partial_json='{"at":[1,2.5,"é"],"on":n'),
        delta(2, type="input_json_delta", partial_json="ull}"),
        stopped(2),
        opened(3, **NO_INPUT),
        delta(3, type="input_json_delta", partial_json=""),
        stopped(3),
        opened(4, **HIDDEN),
        stopped(4),
    ]


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(message({"type": "poem", "lines": ["a"]}), id="a block of parts that nobody knows"),
        pytest.param(message({"type": "server_tool_use", "input": {}}), id="a server's call"),
        pytest.param(message("Hello"), id="a block that is a text"),
        pytest.param(message(TEXT | {"text": None}), id="a text that is null"),
        pytest.param(message(THINKING | {"signature": None}), id="a signature that is null"),
        pytest.param(message(TOOL | {"input": "{}"}), id="an input that is a text"),
        pytest.param(message(CITED | {"citations": [5]}), id="a citation that is none"),
        pytest.param(message(TEXT, usage=None), id="no usage"),
        pytest.param(message(TEXT, usage={"output_tokens": None}), id="no tokens"),
        pytest.param(message(TEXT, stop_reason=None), id="no reason"),
        pytest.param(message(TEXT, content="Hello"), id="content that is a text"),
        pytest.param(message(TEXT, type="completion"), id="another type"),
        pytest.param(message(TEXT, error={"a": 1}), id="an error"),
        pytest.param(b'{"type":"message","type":"message"}', id="a name twice"),
        pytest.param(b"[]", id="a list"),
        pytest.param(b'{"a":' + b"[" * 10_000, id="no bottom"),
    ],
)
def test_what_a_stream_cannot_say_is_no_stream(body: Any) -> None:
    assert as_stream(body) == OTHER_KIND


def test_a_stream_has_a_limited_number_of_pieces() -> None:
    body = message(*[TEXT] * 100)

    assert len(as_stream(body, Work(pieces=303))) == 303
    assert as_stream(body, Work(pieces=302)) == OTHER_KIND
    assert len(as_stream(message(TEXT | {"text": "a" * 10**6}))) < 600


def test_a_kind_with_options_is_nobody_s() -> None:
    stored = record(json.dumps(message(TEXT)).encode(), JSON, b"application/json")

    assert MESSAGES.derive(stored, WITH_USAGE, Work()) == OTHER_KIND
    assert MESSAGES.derive(stored, JSON, Work()) is stored


def test_what_was_derived_is_the_same_record_otherwise() -> None:
    stored = record(json.dumps(message(TEXT)).encode(), JSON, b"application/json")

    answer = MESSAGES.derive(stored, STREAM, Work())

    assert isinstance(answer, StoredResponse)
    assert (answer.proof, answer.stored_at, answer.lifetime) == (stored.proof, stored.stored_at, stored.lifetime)
    assert (b"openai-version", b"2020-10-01") in answer.headers
    assert judged(answer.body, stream=True).fault() is None


# What a client reads.


@pytest.mark.parametrize("name", STREAMS)
def test_a_recorded_stream_is_read_the_same_in_every_kind(name: str) -> None:
    """T10: thinking and its signature, too. The SDK's own accumulator is the judge."""
    raw = cassette(name)
    document = derived(raw, stream=True)
    assert isinstance(document, StoredResponse)
    again = derived(document.body, stream=False)
    assert isinstance(again, StoredResponse)

    recorded = read_by_sdk(raw, STREAM)

    assert recorded["content"]
    assert read_by_sdk(document.body, JSON) == recorded
    assert read_by_sdk(again.body, STREAM) == recorded
    assert judged(document.body, stream=False).fault() is None
    assert judged(again.body, stream=True).fault() is None
    assert events_in(again)


@pytest.mark.parametrize("name", DOCUMENTS)
def test_a_recorded_document_is_read_the_same_in_every_kind(name: str) -> None:
    raw = cassette(name)
    streamed = derived(raw, stream=False)
    assert isinstance(streamed, StoredResponse)

    assert read_by_sdk(streamed.body, STREAM) == read_by_sdk(raw, JSON)
    assert as_json(streamed.body) == json.loads(raw)
    assert judged(streamed.body, stream=True).fault() is None


def test_a_recording_with_tools_of_the_server_has_no_other_kind() -> None:
    assert derived(cassette("anthropic_stream_code_execution.sse"), stream=True) == OTHER_KIND


INPUTS = st.dictionaries(
    st.text(max_size=4),
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=40),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
        max_leaves=5,
    ),
    max_size=3,
)
SAID = st.text(min_size=1, max_size=80)
BLOCKS = st.lists(
    st.builds(lambda text: TEXT | {"text": text}, SAID)
    | st.builds(lambda text, count: CITED | {"text": text, "citations": [CITATION] * count}, SAID, st.integers(0, 3))
    | st.builds(lambda text, signature: THINKING | {"thinking": text, "signature": signature}, SAID, st.text(max_size=60))
    | st.builds(lambda value: TOOL | {"input": value}, INPUTS)
    | st.just(HIDDEN),
    min_size=1,
    max_size=4,
)


@settings(max_examples=50)  # a client takes its time to be made
@given(BLOCKS)
def test_every_message_is_the_same_after_it_was_a_stream(blocks: list[Members]) -> None:
    body = message(*blocks)
    streamed = derived(json.dumps(body).encode(), stream=False)
    assert isinstance(streamed, StoredResponse)

    assert judged(streamed.body, stream=True).fault() is None
    assert as_json(streamed.body) == body
    assert read_by_sdk(streamed.body, STREAM) == read_by_sdk(json.dumps(body).encode(), JSON)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=4) | st.sampled_from([TEXT, TOOL, THINKING, CITED, USAGE]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["type", "text", "input", "usage", "content", "citations", "output_tokens"]), inner, max_size=3
        )
    ),
    max_leaves=6,
)


@given(VALUES, VALUES, st.lists(VALUES, max_size=3))
def test_anything_is_derived_or_said_to_have_no_other_kind(document: Any, usage: Any, content: list[Any]) -> None:
    for body in (document, message(*content, usage=usage), message(content=document)):
        assert as_stream(body) == OTHER_KIND or as_json(stream_of(as_stream(body))) == body
    events = [opened(), {"type": "content_block_delta", "index": 0, "delta": usage}, stopped()]
    assert as_json(*told(*events)) == OTHER_KIND or isinstance(usage, dict)
    assert derived(json.dumps(document).encode(), stream=True) == OTHER_KIND


def test_what_a_stream_does_not_say_at_its_end_is_as_it_was() -> None:
    end = {"type": "message_delta", "delta": {"stop_reason": "end_turn"}}

    assert as_json(start(), *HELLO, end, STOP)["usage"] == start()["message"]["usage"]


def test_a_stream_as_it_was_recorded_is_its_own_kind() -> None:
    stored = record(stream_of(told(*HELLO)), Kind(stream=True))

    assert MESSAGES.derive(stored, STREAM, Work()) is stored
