"""A response is kept where it is complete, and worth it; and what the first events of one say."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cachemw.cache.policy import FINISH_REASONS
from cachemw.endpoints import RESPONSES
from cachemw.endpoints.base import CUT, ApiCall, Demands, Saying
from cachemw.endpoints.responses.judge import ENDINGS, beginning_of
from cachemw.limits import Work
from cachemw.messages import Usage
from cachemw.wire.sse import DONE, Parser, encode
from tests.cassettes import FOLDER, cassette
from tests.endpoints.responding import (
    HELLO,
    STREAM,
    THOUGHT,
    body_of,
    cut_short,
    function_call,
    json_fault,
    message,
    reasoning,
    response,
    stream_fault,
    text,
    told,
)

NOTHING_ELSE = frozenset({"stop"})
REFUSAL = {"type": "refusal", "refusal": "No."}
WHOLE = told(HELLO)


def never(answer: Any, fault: str) -> tuple[Any, str | None, str | None]:
    """Return the row of an answer that no limit makes better."""
    return answer, fault, fault


# Whole answers: what becomes of each where the caller set no limit, and where it did.
ANSWERS: dict[str, tuple[Any, str | None, str | None]] = {
    "a text": (HELLO, None, None),
    "a refusal": (response(message(REFUSAL)), None, None),
    "a call": (response(function_call()), None, None),
    "a call without arguments": (response(function_call("")), None, None),
    "reasoning and a text": (response(reasoning(), message(text("hello"))), None, None),
    "reasoning that is shown": (response(reasoning("I think")), None, None),
    "reasoning in its content": (response(reasoning(content=[{"type": "reasoning_text", "text": "hm"}])), None, None),
    "reasoning that is hidden, and counted": (response(reasoning(), usage=THOUGHT), None, None),
    "reasoning that is hidden, and not counted": (response(reasoning()), "empty-answer", "empty-answer"),
    "an item nobody knows": (response({"type": "invented"}), None, None),
    "an unnamed item with a text": (response({"x": "hello"}), None, None),
    "without `object`": ({name: value for name, value in HELLO.items() if name != "object"}, None, None),
    "what a tool of the server found": never(
        response({"id": "ws_1", "type": "web_search_call", "status": "completed"}, message(text("x"))), "server-tool"
    ),
    "what one of another server did": never(response({"type": "mcp_call"}, message(text("x"))), "server-tool"),
    "nothing": (response(), "empty-answer", "empty-answer"),
    "no output": (response(output=None), "empty-answer", "empty-answer"),
    "nothing, and thought about": (response(usage=THOUGHT), "empty-answer", "empty-answer"),
    "an empty item": (response({}), "empty-answer", "empty-answer"),
    "an empty message": (response(message()), "empty-answer", "empty-answer"),
    "an empty text": (response(message(text("", logprobs=[{"token": "x"}]))), "empty-answer", "empty-answer"),
    "cut by the limit": (cut_short(message(text("hel"))), "finish-length", None),
    "cut while it thought": (cut_short(reasoning(), usage=THOUGHT), "finish-length", None),
    "cut by a filter": never(cut_short(message(text("hel")), reason="content_filter"), "finish-content_filter"),
    "cut by messages": never(cut_short(message(text("hel")), reason="max_messages"), "finish-max_messages"),
    "steered": never(cut_short(message(text("hel")), reason="steered"), "finish-steered"),
    "cut for a reason in many words": never(cut_short(message(text("hel")), reason="No, sorry!"), "finish-other"),
    "cut, and nobody says why": never(cut_short(message(text("hel")), reason=None), "finish-incomplete"),
    "cut, without details": never(cut_short(message(text("hel")), incomplete_details=None), "finish-incomplete"),
    "queued": never(response(status="queued"), "finish-queued"),
    "in progress": never(response(message(text("hel")), status="in_progress"), "finish-in_progress"),
    "cancelled": never(response(message(text("hel")), status="cancelled"), "finish-cancelled"),
    "no status": never(response(message(text("hel")), status=None), "finish-other"),
    "another object": never(response(message(text("hel")), object="list"), "finish-other"),
    "failed": never(response(status="failed", error={"code": "server_error"}), "error-answer"),
    "failed, and nobody says why": never(response(message(text("hel")), status="failed"), "error-answer"),
    "an error besides": never(HELLO | {"error": {"code": "x"}}, "error-answer"),
    "an error": never({"error": {"message": "no"}}, "error-answer"),
    "an error that is a text": never({"error": "no"}, "error-answer"),
    "a flat error": never({"message": "no", "type": "x", "code": "y"}, "error-answer"),
    "an empty object": never({}, "finish-other"),
    "a list": never([], "unreadable-answer"),
    "output that is none": never(response(output={}), "unreadable-answer"),
    "items that are none": never(response(output=["hello"]), "unreadable-answer"),
    "a status that is none": never(response(status=5), "unreadable-answer"),
    "no JSON": never(b"<html>", "unreadable-answer"),
    "nothing at all": never(b"", "unreadable-answer"),
    "a lone surrogate": never(json.dumps(HELLO).replace("hello", "\\ud800").encode(), "unreadable-answer"),
    "depth": never(b'{"output":[{"x":' + b"[" * 9999 + b"]" * 9999 + b"}]}", "unreadable-answer"),
}


@pytest.mark.parametrize(("answer", "fault", "bounded"), ANSWERS.values(), ids=ANSWERS)
def test_a_whole_answer_is_kept_where_it_is_one(answer: Any, fault: str | None, bounded: str | None) -> None:
    """R2, T25."""
    assert (json_fault(answer), json_fault(answer, bounded=True)) == (fault, bounded)


ENDS = {name: row for name, row in ANSWERS.items() if isinstance(row[0], dict) and row[0].get("status") in ENDINGS.values()}


@pytest.mark.parametrize(("answer", "fault", "bounded"), ENDS.values(), ids=ENDS)
def test_so_is_one_that_a_stream_ends_in(answer: Any, fault: str | None, bounded: str | None) -> None:
    """R2, T25: with the same outcome."""
    body = body_of(told(answer, f"response.{answer['status']}"))
    faults = [stream_fault(body), stream_fault(body, bounded=True)]

    said = {"error-answer": "error-event", "unreadable-answer": "unreadable-event"}
    assert faults == [said.get(str(one), one) for one in (fault, bounded)]


@pytest.mark.parametrize(
    ("answer", "store_when", "fault"),
    [
        (HELLO, NOTHING_ELSE, None),
        (HELLO, frozenset({"length"}), "finish-stop"),
        (cut_short(message(text("hel"))), NOTHING_ELSE, "finish-length"),
        (cut_short(message(text("hel"))), frozenset({"length"}), None),
        (response(message(text("hel")), status="cancelled"), frozenset({"stop", "cancelled"}), "finish-cancelled"),
        (response(message(text("hel")), status=None), frozenset({"stop", "", "other"}), "finish-other"),
        (response(status="queued"), frozenset({"queued"}), "finish-queued"),
    ],
)
def test_the_operator_says_which_of_the_two_reasons_is_good(answer: Any, store_when: frozenset[str], fault: str | None) -> None:
    """R2: and has no say in what is no answer."""
    assert json_fault(answer, bounded=True, store_when=store_when) == fault


# Streams.


def changed(at: int, **members: Any) -> bytes:
    """Return the stream with other members in one event."""
    return body_of([{**event, **members} if index == at else event for index, event in enumerate(WHOLE)])


def with_event(event: Any, at: int = 3) -> bytes:
    """Return the stream with one event more."""
    return body_of([one | {"sequence_number": number} for number, one in enumerate([*WHOLE[:at], event, *WHOLE[at:]])])


ERROR = {"type": "error", "error": {"type": "insufficient_quota", "code": "x", "message": "no", "param": None}}
FLAT_ERROR = {"type": "error", "code": "x", "message": "no", "param": None}
UNNUMBERED = [{name: value for name, value in event.items() if name != "sequence_number"} for event in WHOLE]
FAILED = response(status="failed", output=[], error={"code": "server_error", "message": "no"})

STREAMS: dict[str, tuple[bytes, str | None]] = {
    "whole": (body_of(WHOLE), None),
    "without names": (body_of(WHOLE, named=False), None),
    "without numbers": (body_of(UNNUMBERED), None),
    "with `[DONE]` behind it": (body_of(WHOLE) + encode(DONE), None),
    "with `[DONE]` twice": (body_of(WHOLE) + encode(DONE) * 2, None),
    "with comments": (b": hello\n\n" + body_of(WHOLE[:3]) + b": ping\n\n" + body_of(WHOLE[3:]), None),
    "with CRs": (body_of(WHOLE).replace(b"\n", b"\r\n"), None),
    "a keep-alive": (with_event({"type": "keepalive"}), None),
    "an event that nobody knows": (with_event({"type": "response.invented", "x": [1]}), None),
    "nothing": (b"", "incomplete"),
    "no end": (body_of(WHOLE[:-1]), "incomplete"),
    "`[DONE]` and no end": (body_of(WHOLE[:-1]) + encode(DONE), "incomplete"),
    "`[DONE]` before the end": (body_of(WHOLE[:-1]) + encode(DONE) + body_of(WHOLE[-1:]), "incomplete"),
    "an end that is not whole": (body_of(WHOLE)[:-1], "incomplete"),
    "a second end": (body_of(WHOLE + WHOLE[-1:]), "event-after-done"),
    "more behind it": (body_of([*WHOLE, {"type": "keepalive", "sequence_number": 6}]), "event-after-done"),
    "an error": (with_event(ERROR), "error-event"),
    "a flat error": (with_event(FLAT_ERROR), "error-event"),
    "an error of ours": (body_of(WHOLE[:4]) + encode(b'{"error":{"message":"no"},"status_code":502}'), "error-event"),
    "an error by its name": (body_of(WHOLE[:4]) + encode(b"{}", b"error"), "error-event"),
    "a failure": (body_of([*WHOLE[:5], {"type": "response.failed", "response": FAILED}]), "error-event"),
    "a failure that says completed": (body_of(told(FAILED)), "error-event"),
    "queued": (with_event({"type": "response.queued", "response": HELLO}, 1), "finish-queued"),
    "cancelled": (with_event({"type": "response.cancelled", "response": HELLO}, 1), "finish-cancelled"),
    "a gap": (body_of([*WHOLE[:3], *WHOLE[4:]]), "mixed-events"),
    "one twice": (body_of([*WHOLE[:3], WHOLE[2], *WHOLE[3:]]), "mixed-events"),
    "numbers from 1 on": (body_of([event | {"sequence_number": at} for at, event in enumerate(WHOLE, 1)]), "mixed-events"),
    "two streams": (body_of([*UNNUMBERED[:2], UNNUMBERED[0] | {"response": HELLO | {"id": "resp_2"}}]), "mixed-events"),
    "the end of another": (changed(5, response=HELLO | {"id": "resp_2"}), "mixed-events"),
    "an end without a response": (changed(5, response=None), "unreadable-event"),
    "an end that goes on": (changed(5, response=HELLO | {"status": "in_progress"}), "finish-other"),
    "an end that does not fit": (body_of(told(HELLO, "response.incomplete")), "finish-other"),
    "a number that is none": (changed(2, sequence_number="2"), "unreadable-event"),
    "no type": (body_of(WHOLE[:2]) + encode(b"{}"), "unreadable-event"),
    "a list": (body_of(WHOLE[:2]) + encode(b"[]"), "unreadable-event"),
    "no JSON": (body_of(WHOLE[:2]) + encode(b"{"), "unreadable-event"),
    "depth": (body_of(WHOLE[:2]) + encode(b'{"x":' + b"[" * 9999 + b"]" * 9999 + b"}"), "unreadable-event"),
}


@pytest.mark.parametrize(("body", "fault"), STREAMS.values(), ids=STREAMS)
def test_a_stream_is_kept_where_its_last_event_holds_all_of_it(body: bytes, fault: str | None) -> None:
    """R2, T25."""
    assert stream_fault(body) == fault


def test_what_may_have_been_cut_is_told_from_what_is_bad() -> None:
    """H8: where only the end of the connection says that it is over."""
    assert stream_fault(body_of(WHOLE[:-1])) in CUT
    assert json_fault(json.dumps(HELLO).encode()[:-1]) in CUT
    assert json_fault({}) not in CUT


def test_work_is_bounded() -> None:
    many = response(*[{"type": "x"} for _ in range(200)])

    assert json_fault(many, work=Work(objects=50)) == "too-complex"
    assert stream_fault(body_of(told(many)), work=Work(objects=50)) == "too-complex"


def test_what_an_answer_says_of_itself_is_noted() -> None:
    judge = RESPONSES.judge(ApiCall(RESPONSES, b"{}", STREAM), Demands(FINISH_REASONS), Work())
    for event in Parser(ends=RESPONSES.ends).feed(body_of(WHOLE)):
        judge.see(event)

    assert judge.model == "m-1"
    assert judge.usage is not None
    assert RESPONSES.usage(judge.usage) == Usage(2, 3)


@pytest.mark.parametrize("name", [None, 5, "", "x" * 300, ["m"]])
def test_a_model_that_is_none_is_not_noted(name: Any) -> None:
    judge = RESPONSES.judge(ApiCall(RESPONSES, b"{}", STREAM), Demands(FINISH_REASONS), Work())
    judge.read(json.dumps(HELLO | {"model": name, "usage": None}).encode())

    assert (judge.fault(), judge.model, judge.usage) == (None, None, None)


# The line at which clients hang up.


@pytest.mark.parametrize("ending", ["completed", "incomplete", "failed"])
@pytest.mark.parametrize("named", [True, False], ids=["named", "unnamed"])
@pytest.mark.parametrize("size", [1, 7, 10_000])
def test_a_stream_is_over_at_the_line_that_begins_its_last_event(ending: str, named: bool, size: int) -> None:
    """S2: whatever comes behind it, `[DONE]` too."""
    begun, last = body_of(WHOLE[:5], named=named), body_of([WHOLE[5] | {"type": f"response.{ending}"}], named=named)
    last = last.replace(b'{"type": ', b'{"type":')
    body, parser = begun + last + encode(DONE), Parser(ends=RESPONSES.ends)

    for start in range(0, len(body), size):
        parser.feed(body[start : start + size])
        parser.done_at()

    assert parser.done_at() == len(begun)


@pytest.mark.parametrize("line", [b"event: response.completed_later\n", b"event: response.output_text.done\n", b"data: {}\n"])
def test_no_other_line_is_one(line: bytes) -> None:
    parser = Parser(ends=RESPONSES.ends)
    parser.feed(line)

    assert parser.done_at() is None


# How answers begin.

S, N, E, U = Saying.SOMETHING, Saying.NOTHING, Saying.ERROR, Saying.UNREADABLE
ADDED = "response.output_item.added"
BEGINNINGS: list[tuple[Any, Saying]] = [
    *((event, saying) for event, saying in zip(WHOLE, (N, N, N, N, S, S), strict=True)),
    ({"type": ADDED, "item": reasoning()}, N),
    ({"type": ADDED, "item": function_call("")}, S),
    ({"type": ADDED, "item": None}, N),
    ({"type": "response.output_item.done", "item": reasoning()}, N),
    ({"type": "response.output_item.done", "item": reasoning("hm")}, S),
    ({"type": "response.reasoning_summary_part.added", "part": {"type": "summary_text", "text": ""}}, N),
    ({"type": "response.reasoning_summary_text.delta", "delta": "hm", "obfuscation": "xyz"}, S),
    ({"type": "response.reasoning_text.delta", "delta": "hm"}, S),
    ({"type": "response.refusal.delta", "delta": "No"}, S),
    ({"type": "response.function_call_arguments.delta", "delta": "{"}, S),
    ({"type": "response.output_text.delta", "delta": "", "obfuscation": "xyz"}, N),
    ({"type": "keepalive", "sequence_number": 3}, N),
    ({"type": "response.queued", "response": response(status="queued")}, N),
    ({"type": "response.web_search_call.searching", "item_id": "ws_1", "output_index": 0}, N),
    ({"type": "response.completed", "response": response()}, N),
    ({"type": "response.failed", "response": FAILED}, E),
    ({"type": "response.failed"}, E),
    (ERROR, E),
    (FLAT_ERROR, E),
    ({"error": {"message": "no"}}, E),
    ({}, U),
    ([], U),
    ({"type": ADDED, "item": "hello"}, U),
    ({"type": 5}, U),
]


@pytest.mark.parametrize(("event", "saying"), BEGINNINGS, ids=lambda value: str(value)[:60])
def test_an_event_says_something_or_not(event: Any, saying: Saying) -> None:
    """E9."""
    assert RESPONSES.begins(json.dumps(event).encode(), is_whole=False).saying is saying


@pytest.mark.parametrize(
    ("answer", "saying", "choices", "reasons"),
    [
        (HELLO, S, 1, ("stop",)),
        (response(), N, 0, ("stop",)),
        (response(reasoning()), N, 1, ("stop",)),
        (cut_short(message()), N, 1, ("length",)),
        (cut_short(message(), reason="content_filter"), N, 1, ("content_filter",)),
        (response(status="queued"), S, 0, ("queued",)),  # it is made in the background
        (response(status="in_progress"), S, 0, ("in_progress",)),
        (response(status="cancelled"), N, 0, ("cancelled",)),
        (FAILED, E, 0, ()),
        ({"error": {"message": "no"}}, E, 0, ()),
        ([], U, 0, ()),
    ],
    ids=lambda value: str(value)[:60],
)
def test_a_whole_answer_says_something_or_not(answer: Any, saying: Saying, choices: int, reasons: tuple[str, ...]) -> None:
    """E9."""
    beginning = RESPONSES.begins(json.dumps(answer).encode(), is_whole=True)

    assert (beginning.saying, beginning.choices, beginning.finish_reasons) == (saying, choices, reasons)


def test_what_is_too_much_to_look_at_says_something() -> None:
    raw = json.dumps(response(*[{"type": "x"} for _ in range(200)])).encode()

    assert beginning_of(raw, is_whole=True, work=Work(objects=50)).saying is S


# Whatever comes.

LEAVES = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5)
NAMES = st.sampled_from(sorted({*HELLO, "type", "sequence_number", "response", "item", "delta", "content", "text", "message"}))
KINDS = st.sampled_from(["response.completed", "response.incomplete", "error", "message", "reasoning", "completed", "response"])
VALUES = st.recursive(
    LEAVES | KINDS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=5), max_leaves=12
)


@given(VALUES | st.dictionaries(NAMES, VALUES))
def test_no_answer_makes_it_raise(value: Any) -> None:
    raw = json.dumps(value).encode()

    assert isinstance(json_fault(raw), str | None)
    assert isinstance(stream_fault(body_of(WHOLE[:2]) + encode(raw)), str | None)
    assert isinstance(RESPONSES.begins(raw, is_whole=True).saying, Saying)
    assert isinstance(RESPONSES.begins(raw, is_whole=False).saying, Saying)


@given(st.binary(max_size=60))
def test_no_bytes_make_it_raise(raw: bytes) -> None:
    assert json_fault(raw) is not None
    assert stream_fault(raw) is not None
    assert RESPONSES.begins(raw, is_whole=False).saying in Saying


# Recordings.

RECORDED: dict[str, tuple[str | None, str | None]] = {
    "openai_responses.json": (None, None),
    "openai_responses_background_queued.json": ("finish-queued", "finish-queued"),
    "openai_responses_stream.sse": (None, None),
    "openai_responses_stream_tools.sse": (None, None),
    "openai_responses_stream_incomplete.sse": ("finish-length", None),
    "openai_responses_stream_reasoning.sse": (None, None),
    "openai_responses_stream_error.sse": ("error-event", "error-event"),
}


@pytest.mark.parametrize(("name", "faults"), RECORDED.items(), ids=list(RECORDED))
def test_every_recording_is_judged_as_the_index_says(name: str, faults: tuple[str | None, str | None]) -> None:
    """R2, T25, T26."""
    body, fault_of = cassette(name), stream_fault if name.endswith(".sse") else json_fault

    assert (fault_of(body), fault_of(body, bounded=True)) == faults


def test_no_recording_is_left_out() -> None:
    """A new one gets its row."""
    cassette("INDEX.md")

    found = {path.name for path in FOLDER.glob("openai_responses*") if not path.name.endswith(".meta.json")}
    assert found == set(RECORDED)


@pytest.mark.parametrize(
    "name", ["openai_responses_stream_tools.sse", "openai_responses_stream_reasoning.sse", "openai_responses.json"]
)
def test_no_part_of_a_recording_is_kept_wherever_it_was_cut(name: str) -> None:
    """R2: every byte."""
    body, is_stream = cassette(name), name.endswith(".sse")
    whole = body.rstrip() if not is_stream else body

    if is_stream:
        assert faults_of_prefixes(body) == {"incomplete"}
    else:
        assert {json_fault(whole[:size]) for size in range(len(whole))} == {"unreadable-answer"}


@pytest.mark.parametrize("name", ["openai_responses_stream.sse", "openai_responses_stream_incomplete.sse"])
def test_nor_is_one_that_was_cut_between_events_or_within_one(name: str) -> None:
    """R2."""
    body = cassette(name)
    cuts = [at + more for at in range(0, len(body), 997) for more in (0, 1)]

    assert {stream_fault(body[:at], bounded=True) for at in cuts if at < len(body)} == {"incomplete"}


def faults_of_prefixes(body: bytes) -> set[str | None]:
    """Return the faults of all strict prefixes: what is said of one after each byte, and where it ends there."""
    judge = RESPONSES.judge(ApiCall(RESPONSES, b"{}", STREAM, bounded=True), Demands(FINISH_REASONS), Work())
    parser, faults = Parser(ends=RESPONSES.ends), set()
    for at in range(len(body) - 1):
        for event in parser.feed(body[at : at + 1]):
            judge.see(event)
        faults.add(judge.fault())
        assert at < len(body) - 2 or parser.close() == []  # only a CR at the end would complete one
    return faults
