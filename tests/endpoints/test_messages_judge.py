"""Which messages are complete and worth keeping, and how much one says by which an answer begins."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cachemw.cache.policy import FINISH_REASONS
from cachemw.endpoints import MESSAGES
from cachemw.endpoints.base import CUT, Beginning, Saying
from cachemw.gateway.failure_kinds import FailureKind
from cachemw.gateway.failures import of_no_output
from cachemw.limits import Work
from cachemw.messages import Usage
from cachemw.wire.sse import Parser
from tests.cassettes import cassette
from tests.endpoints.messages import (
    CITED,
    HELLO,
    HIDDEN,
    NO_INPUT,
    PING,
    STOP,
    TEXT,
    THINKING,
    TOOL,
    Members,
    delta,
    ending,
    judged,
    message,
    opened,
    start,
    stopped,
    stream_of,
    told,
)

STREAMS = [
    "anthropic_stream_citations.sse",
    "anthropic_stream_max_tokens.sse",
    "anthropic_stream_parallel_tools.sse",
    "anthropic_stream_redacted_thinking.sse",
    "anthropic_stream_thinking.sse",
    "anthropic_stream_tools.sse",
]
DOCUMENTS = ["anthropic_cache_read.json", "anthropic_parallel_tools.json", "anthropic_stop_sequence.json"]
LITTLE = Work(document=2**12)


def json_fault(body: Any, store_when: frozenset[str] = FINISH_REASONS, work: Work = Work()) -> str | None:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return judged(raw, stream=False, store_when=store_when, work=work).fault()


def stream_fault(*events: Members | bytes, store_when: frozenset[str] = FINISH_REASONS, work: Work = Work()) -> str | None:
    return judged(stream_of(events), stream=True, store_when=store_when, work=work).fault()


def server_block(of_type: str) -> Members:
    return {"type": of_type, "id": "s", "name": "web_search", "input": {}}


def written(index: int, *pieces: str) -> tuple[Members, ...]:
    """Return the events of a call with this input."""
    block = {"type": "tool_use", "id": "t", "name": "look", "input": {}}
    deltas = (delta(index, type="input_json_delta", partial_json=piece) for piece in pieces)
    return (opened(index, **block), *deltas, stopped(index))


UNREADABLE = b'data: {"type":"content_block_start","index":1,"content_block":{"type":"text","text":"\xff"}}\n\n'


# Whole messages.


@pytest.mark.parametrize(
    ("body", "fault"),
    [
        pytest.param(message(TEXT), None, id="a text"),
        pytest.param(message(THINKING, TEXT, TOOL, NO_INPUT, stop_reason="tool_use"), None, id="all there is"),
        pytest.param(message(THINKING), None, id="thinking alone"),
        pytest.param(message(THINKING | {"thinking": ""}, stop_reason="max_tokens"), None, id="thinking that is not shown"),
        pytest.param(message(HIDDEN), None, id="thinking that is redacted"),
        pytest.param(message(CITED), None, id="citations"),
        pytest.param(message(NO_INPUT, stop_reason="tool_use"), None, id="a call without arguments"),
        pytest.param(message({"type": "poem", "lines": ["a"]}), None, id="a block that nobody knows"),
        pytest.param(message(TEXT, container=None, error=None, invented=[1]), None, id="members that say nothing"),
        pytest.param(message(), "empty-answer", id="no content"),
        pytest.param(message(TEXT | {"text": ""}), "empty-answer", id="an empty text"),
        pytest.param(message({"type": "poem", "id": "p", "count": 1}), "empty-answer", id="a block that says nothing"),
        pytest.param(message(TEXT, stop_reason=None), "unfinished-answer", id="no stop reason"),
        pytest.param(message(TEXT, container={"id": "c"}), "container", id="a container"),
        *(
            pytest.param(message(TEXT, server_block(of_type)), "server-tool", id=of_type)
            for of_type in ("server_tool_use", "mcp_tool_use", "mcp_tool_result", "web_search_tool_result")
        ),
        pytest.param(message(TOOL | {"input": "{}"}), "broken-input", id="an input that is a text"),
        pytest.param(message({"text": "Hello"}), "broken-block", id="a block without a type"),
        pytest.param(message({"type": 5}), "broken-block", id="a type that is a number"),
        pytest.param(message("Hello"), "unreadable-answer", id="a block that is a text"),
        pytest.param(message(TEXT, stop_reason=5), "unreadable-answer", id="a reason that is a number"),
        pytest.param({"type": "message", "stop_reason": "end_turn"}, "no-message", id="no list of content"),
        pytest.param({"input_tokens": 14}, "no-message", id="something else"),
        pytest.param({"type": "error", "error": {"type": "api_error"}}, "error-answer", id="an error"),
        pytest.param({"error": {"message": "m"}}, "error-answer", id="an error as others say it"),
        pytest.param({"type": "error"}, "error-answer", id="an error that says nothing"),
        pytest.param([], "unreadable-answer", id="a list"),
        pytest.param(b"", "unreadable-answer", id="nothing"),
        pytest.param(b'{"type":"mess', "unreadable-answer", id="half of one"),
        pytest.param(b'{"type":"message","content":' + b"[" * 100_000, "unreadable-answer", id="no bottom"),
    ],
)
def test_a_message_is_kept_if_it_is_whole_and_can_be_repeated(body: Any, fault: str | None) -> None:
    assert json_fault(body) == fault


@pytest.mark.parametrize("reason", ["end_turn", "stop_sequence", "tool_use", "max_tokens"])
def test_a_message_that_came_to_its_end_is_kept_as_the_operator_says_of_chat(reason: str) -> None:
    """`store_when` is in the words of chat; Anthropic's own name will do as well."""
    said = {"end_turn": "stop", "stop_sequence": "stop", "tool_use": "tool_calls", "max_tokens": "length"}[reason]

    for body in (message(TEXT, stop_reason=reason), message(THINKING, TOOL, stop_reason=reason)):
        assert json_fault(body) is None
        assert json_fault(body, FINISH_REASONS - {said}) == f"finish-{reason}"
        assert json_fault(body, frozenset({reason})) is None
    assert stream_fault(start(), *HELLO, ending(reason), STOP) is None
    assert stream_fault(start(), *HELLO, ending(reason), STOP, store_when=FINISH_REASONS - {said}) == f"finish-{reason}"


@pytest.mark.parametrize("reason", ["model_context_window_exceeded", "compaction", "invented", "Other one", ""])
def test_a_message_that_ended_otherwise_is_kept_if_the_operator_names_that(reason: str) -> None:
    fault = f"finish-{reason}" if reason.islower() else "finish-other"

    assert json_fault(message(TEXT, stop_reason=reason)) == fault
    assert stream_fault(start(), *HELLO, ending(reason), STOP) == fault
    assert json_fault(message(TEXT, stop_reason=reason), FINISH_REASONS | {reason}) is None


@pytest.mark.parametrize("reason", ["refusal", "pause_turn"])
def test_what_is_refused_or_is_to_go_on_is_never_kept(reason: str) -> None:
    everything = FINISH_REASONS | {reason}

    assert json_fault(message(TEXT, stop_reason=reason), everything) == f"finish-{reason}"
    assert stream_fault(start(), *HELLO, ending(reason), STOP, store_when=everything) == f"finish-{reason}"


# Streams.


@pytest.mark.parametrize(
    ("events", "fault"),
    [
        pytest.param(told(*HELLO), None, id="a text"),
        pytest.param((PING, start(), PING, opened(), PING, delta(), PING, stopped(), ending(), PING, STOP), None, id="pings"),
        pytest.param(told(*HELLO, *written(1, "", '{"a', '":1}'), *written(2, "")), None, id="calls"),
        pytest.param(told(opened(**TOOL), stopped()), None, id="a call that is whole at once"),
        pytest.param(told(*written(0)), None, id="a call without a piece of input"),
        pytest.param(told(opened(), opened(1), delta(1), stopped(1), delta(), stopped()), None, id="blocks within one another"),
        pytest.param(told(opened(**HIDDEN), stopped()), None, id="redacted thinking"),
        pytest.param(told(opened(type="poem", line="a"), delta(type="poem_delta", line="b"), stopped()), None, id="a poem"),
        pytest.param(told({"type": "invented", "a": 1}, *HELLO), None, id="an event that nobody knows"),
        pytest.param((start(), *HELLO, ending(None), ending(), STOP), None, id="a reason that comes late"),
        pytest.param((start(), *HELLO, ending()), "incomplete", id="no end"),
        pytest.param((), "incomplete", id="nothing"),
        pytest.param((start(), *HELLO, STOP), "unfinished-answer", id="no reason"),
        pytest.param((start(), *HELLO, ending(), ending(None), STOP), "unfinished-answer", id="a reason taken back"),
        pytest.param(told(), "empty-answer", id="no block"),
        pytest.param(told(opened(), delta(type="text_delta", text=""), stopped()), "empty-answer", id="an empty text"),
        pytest.param((start(), *HELLO, start(), ending(), STOP), "second-start", id="another beginning"),
        pytest.param((start(), start(), *HELLO, ending(), STOP), "second-start", id="a beginning twice"),
        pytest.param((*HELLO, ending(), STOP), "no-start", id="no beginning"),
        pytest.param((STOP,), "no-start", id="an end alone"),
        pytest.param((start(content=[TEXT]), *HELLO, ending(), STOP), "broken-block", id="content at the beginning"),
        pytest.param(told(opened(), delta()), "unclosed-block", id="a block without its end"),
        pytest.param(told(opened(1), delta(1), stopped(1)), "broken-block", id="no first block"),
        pytest.param(told(*HELLO, *HELLO), "broken-block", id="an index twice"),
        pytest.param(told(*HELLO, opened(2), delta(2), stopped(2)), "broken-block", id="an index left out"),
        pytest.param(told(*HELLO, delta()), "broken-block", id="more of what has ended"),
        pytest.param(told(*HELLO, stopped()), "broken-block", id="an end twice"),
        pytest.param(told(delta()), "broken-block", id="more of what never began"),
        pytest.param(told({"type": "content_block_start", "index": 0}), "broken-block", id="a beginning of nothing"),
        pytest.param(told(opened(), {"type": "content_block_delta", "index": 0}), "broken-block", id="more of nothing"),
        pytest.param((start(), ending(), *HELLO, STOP), "broken-block", id="a block behind the reason"),
        pytest.param(told(*written(0, '{"a":')), "broken-input", id="an input that is cut"),
        pytest.param(told(*written(0, "[1]")), "broken-input", id="an input that is a list"),
        pytest.param(told(*written(0, "{} {}")), "broken-input", id="two inputs"),
        pytest.param(told(opened(), delta(type="input_json_delta")), "broken-input", id="a piece without input"),
        pytest.param(told(opened(**server_block("server_tool_use")), stopped()), "server-tool", id="a tool of the server's"),
        pytest.param((start(), *HELLO, ending(container={"id": "c"}), STOP), "container", id="a container"),
        pytest.param((start(container={"id": "c"}), *HELLO, ending(), STOP), "container", id="one at the beginning"),
        pytest.param((*told(*HELLO), PING), "event-after-done", id="an event behind the end"),
        pytest.param((*told(*HELLO), b"data: [DONE]\n\n"), "event-after-done", id="another end"),
        pytest.param((start(), {"type": "error", "error": {"type": "overloaded_error"}}), "error-event", id="an error"),
        pytest.param((start(), b"event: error\ndata: overloaded\n\n"), "error-event", id="an error that is a text"),
        pytest.param((start(), b'data: {"type":"error"}\n\n'), "error-event", id="an error without a name"),
        pytest.param((start(), b'data: {"type":"x","error":{"a":1}}\n\n'), "error-event", id="an error as others say it"),
        pytest.param((start(), b"event: ping\ndata: {}\n\n"), "unreadable-event", id="no type"),
        pytest.param((start(), b'event: ping\ndata: {"type":"message_stop"}\n\n'), "unreadable-event", id="another name"),
        pytest.param((start(), b"data: Hello\n\n"), "unreadable-event", id="no JSON"),
        pytest.param((start(), b"data: []\n\n"), "unreadable-event", id="a list"),
        pytest.param((start(), b'data: {"type":"message_delta"}\n\n'), "unreadable-event", id="no delta"),
        pytest.param((b'data: {"type":"message_start"}\n\n',), "unreadable-event", id="no message"),
        pytest.param((start(), opened(True)), "unreadable-event", id="an index that is none"),
        pytest.param((start(), *HELLO, UNREADABLE), "unreadable-event", id="a text that is no UTF-8"),
        pytest.param((start(), *HELLO, UNREADABLE.replace(b"\xff", b"\\ud800")), "unreadable-event", id="half a character"),
    ],
)
def test_a_stream_is_kept_if_it_is_one_whole_message(events: tuple[Any, ...], fault: str | None) -> None:
    assert stream_fault(*events) == fault


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda raw: raw.replace(b"\n", b"\r\n"), id="CRLF"),
        pytest.param(lambda raw: raw.replace(b"\n", b"\r"), id="CR"),
        pytest.param(lambda raw: raw.replace(b"}\n\n", b"}      \n\n"), id="blanks behind"),
        pytest.param(lambda raw: raw.replace(b"}\n\n", b"    }\n\n"), id="blanks within"),
        pytest.param(lambda raw: raw.replace(b": ", b":"), id="no blank behind a colon"),
        pytest.param(lambda raw: raw.replace(b"\n\n", b"\n\n: keep-alive\n\n"), id="comments"),
        pytest.param(lambda raw: b"".join(line for line in raw.splitlines(True) if line[:5] != b"event"), id="no names"),
    ],
)
def test_how_a_stream_is_written_is_no_fault_of_it(change: Any) -> None:
    """And from its last event on, clients hang up."""
    raw = change(stream_of(told(*HELLO, PING)))
    parser = Parser(ends=MESSAGES.ends)
    parser.feed(raw)
    done_at = parser.done_at()

    assert judged(raw, stream=True).fault() is None
    assert done_at is not None
    assert b"message_stop" in raw[done_at:]
    assert b"message_delta" not in raw[done_at:]


@pytest.mark.parametrize(
    "events",
    [
        pytest.param((start(), opened(type="x", a=[[]] * 500), delta(), stopped(), ending(), STOP), id="a block"),
        pytest.param(told(*written(0, '{"a":' + json.dumps([[]] * 500) + "}")), id="an input"),
    ],
)
def test_what_is_too_much_work_is_not_kept(events: tuple[Members, ...]) -> None:
    assert stream_fault(*events) is None
    assert stream_fault(*events, work=LITTLE) == "too-complex"
    assert json_fault(message(*[TEXT] * 50), work=Work(objects=40)) == "too-complex"


def test_what_an_answer_took_is_what_it_says_last() -> None:
    """A later number that is null takes nothing back."""
    first = {"input_tokens": 3, "cache_read_input_tokens": 4, "output_tokens": 1}
    last = {"input_tokens": None, "cache_creation_input_tokens": 2, "output_tokens": 5}

    judge = judged(stream_of((start(usage=first), *HELLO, ending(usage=last), STOP)), stream=True)

    assert judge.model == "claude-1"
    assert judge.usage is not None
    assert MESSAGES.usage(judge.usage) == Usage(input_tokens=9, output_tokens=5, cached_tokens=4, cache_write_tokens=2)


@pytest.mark.parametrize("members", [{"model": 5, "usage": 5}, {"model": "m" * 1_000, "usage": None}, {"model": None}], ids=str)
def test_what_an_answer_does_not_say_is_not_made_up(members: Members) -> None:
    streamed = judged(stream_of((start(**{"usage": None, **members}), *HELLO, ending(usage=[1]), STOP)), stream=True)
    whole = judged(json.dumps(message(TEXT, **{"usage": None, **members})).encode(), stream=False)

    for judge in (streamed, whole):
        assert (judge.fault(), judge.model, judge.usage) == (None, None, None)


def test_a_name_that_cannot_be_read_names_nothing() -> None:
    whole = json.dumps(message(TEXT)).encode().replace(b"claude-1", b"claude-\xff")

    assert judged(whole, stream=False).model is None


# Recordings.


@pytest.mark.parametrize("name", [*STREAMS, *DOCUMENTS])
def test_recorded_messages_are_kept(name: str) -> None:
    judge = judged(cassette(name), stream=name.endswith(".sse"))

    assert judge.fault() is None
    assert judge.model is not None
    assert judge.model.startswith("claude-")
    assert judge.usage is not None
    usage = MESSAGES.usage(judge.usage)
    assert usage is not None
    assert usage.input_tokens
    assert usage.output_tokens


@pytest.mark.parametrize(
    ("name", "fault"),
    [
        ("anthropic_stream_code_execution.sse", "server-tool"),
        ("anthropic_count_tokens.json", "no-message"),
        ("anthropic_error_400_context.json", "error-answer"),
        ("anthropic_error_401_stream.json", "error-answer"),
    ],
)
def test_recordings_that_are_no_messages_or_cannot_be_repeated_are_not_kept(name: str, fault: str) -> None:
    assert judged(cassette(name), stream=name.endswith(".sse")).fault() == fault


def test_recorded_errors_are_not_kept() -> None:
    errors = json.loads(cassette("anthropic_error_bodies.json"))

    assert errors
    for error in errors:
        assert json_fault(error["body"]) == "error-answer"
        assert stream_fault(start(), *HELLO, error["body"]) == "error-event"


@pytest.mark.parametrize("name", STREAMS)
def test_no_beginning_of_a_recorded_stream_is_kept(name: str) -> None:
    """Every byte of two, every event of the others: the SDK would take a cut one for whole."""
    raw = cassette(name)
    every_byte = name in ("anthropic_stream_citations.sse", "anthropic_stream_max_tokens.sse")
    ends = range(len(raw)) if every_byte else [event.start for event in Parser().feed(raw)]

    faults = {judged(raw[:end], stream=True).fault() for end in ends}

    assert faults == {"incomplete"}
    assert faults <= CUT


@pytest.mark.parametrize("name", DOCUMENTS)
def test_no_beginning_of_a_recorded_document_is_kept(name: str) -> None:
    raw = cassette(name)

    faults = {judged(raw[:end], stream=False).fault() for end in range(len(raw))}

    assert faults == {"unreadable-answer"}
    assert faults <= CUT


@pytest.mark.parametrize("name", STREAMS)
def test_two_streams_that_a_proxy_made_one_are_not_kept(name: str) -> None:
    """Seen behind proxies: a beginning twice, one within another answer, and one answer behind another."""
    raw = cassette(name)
    events = [raw[event.start : event.end] for event in Parser().feed(raw)]

    for at in range(1, len(events) - 1):
        spliced = b"".join((*events[:at], events[0], *events[at:]))
        assert judged(spliced, stream=True).fault() == "second-start"
    assert judged(raw + raw, stream=True).fault() == "event-after-done"


# How an answer begins.

SAYS_NOTHING = Beginning(Saying.NOTHING, 1)
SAYS_SOMETHING = Beginning(Saying.SOMETHING, 1)


@pytest.mark.parametrize(
    ("event", "beginning"),
    [
        pytest.param(start(), SAYS_NOTHING, id="the start"),
        pytest.param(PING, SAYS_NOTHING, id="a ping"),
        pytest.param(opened(), SAYS_NOTHING, id="an empty text"),
        pytest.param(opened(type="thinking", thinking="", signature=""), SAYS_NOTHING, id="empty thinking"),
        pytest.param(delta(type="text_delta", text=""), SAYS_NOTHING, id="an empty piece"),
        pytest.param(delta(), SAYS_SOMETHING, id="a piece"),
        pytest.param(delta(type="thinking_delta", thinking="Hm"), SAYS_SOMETHING, id="a thought"),
        pytest.param(opened(**HIDDEN), SAYS_SOMETHING, id="a hidden thought"),
        pytest.param(opened(**NO_INPUT), SAYS_SOMETHING, id="a call"),
        pytest.param(ending(), Beginning(Saying.NOTHING, 1, ("end_turn",)), id="an end"),
        pytest.param(ending("refusal"), Beginning(Saying.NOTHING, 1, ("refusal",)), id="a refusal"),
        pytest.param(STOP, SAYS_NOTHING, id="the stop"),
        pytest.param({"type": "error", "error": {}}, Beginning(Saying.ERROR), id="an error"),
        pytest.param({"error": {"message": "m"}}, Beginning(Saying.ERROR), id="another's error"),
        pytest.param({"choices": []}, Beginning(Saying.UNREADABLE), id="another API's event"),
        pytest.param([], Beginning(Saying.UNREADABLE), id="a list"),
        pytest.param(opened(type="x", a=[[]] * 70_000), Beginning(Saying.SOMETHING), id="more than can be looked at"),
    ],
)
def test_an_event_says_how_much_there_is_of_an_answer(event: Any, beginning: Beginning) -> None:
    assert MESSAGES.begins(json.dumps(event).encode(), is_whole=False) == beginning


@pytest.mark.parametrize(
    ("body", "beginning"),
    [
        pytest.param(message(TEXT), Beginning(Saying.SOMETHING, 1, ("end_turn",)), id="a text"),
        pytest.param(message(NO_INPUT, stop_reason="tool_use"), Beginning(Saying.SOMETHING, 1, ("tool_use",)), id="a call"),
        pytest.param(message(), Beginning(Saying.NOTHING, 1, ("end_turn",)), id="nothing"),
        pytest.param(message(stop_reason="refusal"), Beginning(Saying.NOTHING, 1, ("refusal",)), id="a refusal"),
        pytest.param({"type": "error", "error": {"type": "api_error"}}, Beginning(Saying.ERROR), id="an error"),
        pytest.param({"status": "ok"}, Beginning(Saying.UNREADABLE), id="something else"),
        pytest.param("Hello", Beginning(Saying.UNREADABLE), id="a text that is all"),
    ],
)
def test_a_document_says_how_much_there_is_of_an_answer(body: Any, beginning: Beginning) -> None:
    assert MESSAGES.begins(json.dumps(body).encode(), is_whole=True) == beginning


def test_a_refusal_without_a_word_is_one_to_the_gateway() -> None:
    refused = MESSAGES.begins(json.dumps(ending("refusal")).encode(), is_whole=False)

    assert of_no_output(refused.finish_reasons).kind is FailureKind.REFUSED


# Properties.

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=4) | st.sampled_from(["text", "tool_use", "end_turn", ""]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["type", "text", "input", "usage", "stop_reason", "partial_json", "content", "a"]),
            inner,
            max_size=3,
        )
    ),
    max_leaves=6,
)
TYPES = ["message_start", "content_block_start", "content_block_delta", "content_block_stop", "message_delta", "message_stop"]
EVENTS = st.fixed_dictionaries(
    {"type": st.sampled_from([*TYPES, "ping", "error", "x"])},
    optional={"index": st.integers(-1, 2) | VALUES, **dict.fromkeys(("message", "content_block", "delta", "usage"), VALUES)},
)


@given(st.lists(EVENTS | st.sampled_from([start(), *HELLO, ending(), STOP]), max_size=9), VALUES | st.just(message(TEXT)))
def test_any_answer_is_judged(events: list[Any], document: Any) -> None:
    fault = stream_fault(*events)
    kept_or_not = {json_fault(document), json_fault({"type": "message", "content": document})}

    assert fault is not None or {"message_start", "message_stop"} <= {event["type"] for event in events}
    assert None not in kept_or_not or document == message(TEXT)
    for event in events:
        assert isinstance(MESSAGES.begins(json.dumps(event).encode(), is_whole=False), Beginning)


@given(st.binary(max_size=40) | st.text(max_size=20).map(str.encode))
def test_any_bytes_are_judged(raw: bytes) -> None:
    assert json_fault(raw) is not None
    assert stream_fault(start(), b"data: " + raw + b"\n\n") is not None
    assert MESSAGES.begins(raw, is_whole=True).saying is not Saying.SOMETHING
