"""What is complete and worth keeping: the judges that see an answer when it is recorded, and again when it is read."""

import json
from typing import Any

import pytest

from cachemw.cache.policy import FINISH_REASONS
from tests.cache.answers import COMPLETION, EVENTS, STREAM, chat
from tests.cassettes import cassette
from tests.endpoints.judging import json_fault, stream_fault

JSON_RECORDINGS = [
    "cerebras_disable_reasoning.json",
    "cerebras_glm_clear_thinking.json",
    "cerebras_glm_reasoning_1.json",
    "cerebras_glm_reasoning_2.json",
    "cerebras_glm_tool_json1.json",
    "cerebras_gptoss_harmony.json",
    "cerebras_qwen_coder_tools_1.json",
    "cerebras_simple_llama.json",
    "openai_nonstream_extra_params.json",
    "openai_nonstream_tools.json",
    "openai_web_search_annotations.json",
]


def fault_of(body: bytes, store_when: frozenset[str] = FINISH_REASONS, **members: Any) -> str | None:
    """Judge the answer to a request with these members."""
    asked = chat(**members)
    return (stream_fault if asked.kind.stream else json_fault)(body, asked, store_when)


def fault_without_done(body: bytes, store_when: frozenset[str] = FINISH_REASONS, **members: Any) -> str | None:
    """Judge a stream that need not come to its `[DONE]`."""
    return stream_fault(body, chat(stream=True, **members), store_when, done=False)


def completion(*choices: dict[str, Any], **members: Any) -> bytes:
    return json.dumps({"choices": choices, **members}).encode()


def choice(index: int = 0, finish_reason: str | None = "stop", **message: Any) -> dict[str, Any]:
    return {"index": index, "message": message or {"content": "Hello"}, "finish_reason": finish_reason}


def stream(*events: dict[str, Any] | bytes) -> bytes:
    """Return a stream of these events and its end; bytes are written as they are."""
    return b"".join(
        event if isinstance(event, bytes) else b"data: %b\n\n" % json.dumps(event).encode() for event in (*events, EVENTS[-1])
    )


def chunk(index: int = 0, finish_reason: str | None = None, **delta: Any) -> dict[str, Any]:
    return {"choices": [{"index": index, "delta": delta, "finish_reason": finish_reason}]}


HELLO, STOP = chunk(content="Hello"), chunk(finish_reason="stop")
ENDED_BY_ERROR = {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop", "error": {"message": "m"}}]}  # OpenRouter's
TOOL_CALL = {"index": 0, "id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}


# Completions.


@pytest.mark.parametrize(
    ("body", "fault"),
    [
        pytest.param(COMPLETION, None, id="complete"),
        pytest.param(completion(choice(content=None, refusal="No.")), None, id="a refusal"),
        pytest.param(completion(choice(content=None, tool_calls=[TOOL_CALL])), None, id="tool calls"),
        pytest.param(completion(choice(content=None, function_call={"name": "f"})), None, id="a function call"),
        pytest.param(completion(choice(content=[{"type": "text", "text": "Hello"}])), None, id="content in parts"),
        pytest.param(completion(choice(), error=None), None, id="an error that is none"),
        pytest.param(completion(choice(), error={}), None, id="an empty error"),
        pytest.param(completion(choice(), error=False), None, id="an error that is false"),
        pytest.param(completion(choice(), message="m", type="t", invented=[1]), None, id="members nobody knows"),
        pytest.param(b"  " + COMPLETION + b"\r\n\n", None, id="blanks around it"),
        pytest.param(completion(choice(content="a" * 200 * 1024)), None, id="a long one"),
        pytest.param(completion(), "missing-choice", id="no choices"),
        pytest.param(b'{"choices":null}', "missing-choice", id="null choices"),
        pytest.param(b"{}", "missing-choice", id="nothing in it"),
        pytest.param(completion(choice(), choice(1)), "missing-choice", id="a choice too many"),
        pytest.param(completion(choice(1)), "missing-choice", id="another choice"),
        pytest.param(completion(choice(-1)), "missing-choice", id="a choice before the first"),
        pytest.param(completion(choice(content="")), "empty-choice", id="empty content"),
        pytest.param(completion(choice(content=None, refusal=None)), "empty-choice", id="null content"),
        pytest.param(completion(choice(content=None, tool_calls=[])), "empty-choice", id="an empty list of tool calls"),
        pytest.param(completion(choice(content=None, annotations=[{"title": "t"}])), "empty-choice", id="annotations alone"),
        pytest.param(completion(choice(content=[{"type": "text", "text": ""}])), "empty-choice", id="a part that is empty"),
        pytest.param(completion({"index": 0, "finish_reason": "stop"}), "empty-choice", id="no message"),
        pytest.param(completion(choice(finish_reason=None)), "unfinished-choice", id="no finish reason"),
        pytest.param(completion(choice(), error={"message": "m"}), "error-answer", id="an error beside a choice"),
        pytest.param(completion(choice() | {"error": {"message": "m"}}), "error-answer", id="an error within a choice"),
        pytest.param(completion(choice() | {"error": None}), None, id="no error within a choice"),
        pytest.param(b'{"error":{"message":"m"}}', "error-answer", id="an error"),
        pytest.param(b'{"error":"m"}', "error-answer", id="an error of one word"),
        pytest.param(b'{"message":"m","type":"t","param":null,"code":"c"}', "error-answer", id="the error of Cerebras"),
        pytest.param(b'{"message":"m","status_code":500}', "error-answer", id="its short form"),
        pytest.param(b'{"message":"m","type":"t"}', "error-answer", id="an error of a type alone"),
        pytest.param(b'{"message":"m","code":"c"}', "error-answer", id="an error of a code alone"),
        pytest.param(b'{"message":"m","object":"ping"}', "missing-choice", id="a message that is no error"),
        pytest.param(b'{"message":1,"code":"c"}', "missing-choice", id="no message"),
        pytest.param(b"<html>Bad gateway</html>", "unreadable-answer", id="HTML"),
        pytest.param(b"", "unreadable-answer", id="nothing"),
        pytest.param(b"null", "unreadable-answer", id="null"),
        pytest.param(b"[]", "unreadable-answer", id="a list"),
        pytest.param(COMPLETION[:-1], "unreadable-answer", id="cut"),
        pytest.param(COMPLETION + COMPLETION, "unreadable-answer", id="two"),
        pytest.param(b'{"choices":[{"message":"Hello","finish_reason":"stop"}]}', "unreadable-answer", id="no schema of ours"),
        pytest.param(b'{"choices":[{"finish_reason":1}]}', "unreadable-answer", id="a finish reason that is a number"),
        pytest.param(COMPLETION.replace(b"Hello", b"\xff"), "unreadable-answer", id="not UTF-8"),
        pytest.param(b'{"error":' + b"[" * 100_000, "unreadable-answer", id="too deep"),
    ],
)
def test_a_completion_is_kept_only_if_every_choice_says_something(body: bytes, fault: str | None) -> None:
    """R2."""
    assert fault_of(body) == fault


@pytest.mark.parametrize("name", JSON_RECORDINGS)
def test_recorded_completions_may_be_kept(name: str) -> None:
    assert fault_of(cassette(name)) is None


@pytest.mark.parametrize("name", ["400_context", "400_role", "401", "404"])
def test_recorded_errors_may_not_whatever_their_status_says(name: str) -> None:
    """R2."""
    assert fault_of(cassette(f"openai_error_{name}.json")) == "error-answer"


def test_nor_any_error_that_cerebras_is_known_for() -> None:
    """R2: some have no form at all."""
    bodies = [error["body"] for error in json.loads(cassette("cerebras_error_bodies.json"))]

    faults = {fault_of(json.dumps(body).encode()) for body in bodies}

    assert faults == {"error-answer", "missing-choice", "unreadable-answer"}


# Streams.


@pytest.mark.parametrize(
    ("body", "fault"),
    [
        pytest.param(STREAM, None, id="complete"),
        pytest.param(stream(chunk(content="Hello", finish_reason="stop")), None, id="all in one"),
        pytest.param(stream(HELLO, STOP, chunk()), None, id="a chunk after the last"),
        pytest.param(stream({"choices": []}, HELLO, STOP, {"choices": [], "usage": {}}), None, id="chunks without choices"),
        pytest.param(stream({"invented": 1}, HELLO, STOP), None, id="an event nobody knows"),
        pytest.param(stream({"message": "m", "object": "ping"}, HELLO, STOP), None, id="a message that is no error"),
        pytest.param(stream(HELLO, {"choices": [{"finish_reason": "stop"}]}), None, id="a finish without a delta"),
        pytest.param(stream(HELLO, {"choices": [{"delta": None, "finish_reason": "stop"}]}), None, id="a null delta"),
        pytest.param(stream(b": processing\n\n", HELLO, STOP, b": bye\n\n") + b": bye\n\n", None, id="comments"),
        pytest.param(stream(chunk(refusal="No."), STOP), None, id="a refusal"),
        pytest.param(stream(chunk(tool_calls=[TOOL_CALL]), STOP), None, id="tool calls"),
        pytest.param(stream(chunk(function_call={"name": "f"}), STOP), None, id="a function call"),
        pytest.param(stream({**HELLO, "error": None}, STOP), None, id="an error that is none"),
        pytest.param(STREAM.replace(b"\n", b"\r\n"), None, id="CRLF"),
        pytest.param(STREAM.replace(b"\n", b"\r"), None, id="CR"),
        pytest.param(b"", "incomplete", id="nothing"),
        pytest.param(b"".join(EVENTS[:-1]), "incomplete", id="no end"),
        pytest.param(STREAM[:-1], None, id="an end without its blank line"),
        pytest.param(STREAM[:-2], None, id="an end without its line end"),
        pytest.param(STREAM[:-3], "incomplete", id="half an end"),
        pytest.param(STREAM[:-2] + b" \n", None, id="an end with a blank, and no blank line"),
        pytest.param(STREAM[:-2] + b" \t\n\n", None, id="an end with blanks"),
        pytest.param(STREAM[:-2] + b"\r", None, id="an end and a CR"),
        pytest.param(STREAM[:-2] + b"\ndata: x\n", "incomplete", id="an end that goes on"),
        pytest.param(stream(), "missing-choice", id="nothing but the end"),
        pytest.param(stream(chunk(1, "stop", content="Hello")), "missing-choice", id="another choice"),
        pytest.param(stream(HELLO, STOP, chunk(1, "stop")), "missing-choice", id="a choice too many"),
        pytest.param(stream(chunk(role="assistant"), STOP), "empty-choice", id="nothing said"),
        pytest.param(stream(chunk(content=""), STOP), "empty-choice", id="empty content"),
        pytest.param(stream(HELLO), "unfinished-choice", id="no finish reason"),
        pytest.param(stream(HELLO, STOP, {"error": {"message": "m"}}), "error-event", id="an error"),
        pytest.param(stream(HELLO, {**STOP, "error": {"message": "m"}}), "error-event", id="an error beside a choice"),
        pytest.param(stream(HELLO, ENDED_BY_ERROR), "error-event", id="an error within a choice"),
        pytest.param(stream(HELLO, STOP, {"message": "m", "code": "c"}), "error-event", id="the error of Cerebras"),
        pytest.param(stream(HELLO, STOP, b"event: error\ndata: {}\n\n"), "error-event", id="an event named error"),
        pytest.param(stream(HELLO, STOP, b"data: oops\n\n"), "unreadable-event", id="not JSON"),
        pytest.param(stream(HELLO, STOP, b"data:\n\n"), "unreadable-event", id="no data"),
        pytest.param(stream(HELLO, STOP, b"data: [1]\n\n"), "unreadable-event", id="a list"),
        pytest.param(stream(HELLO, STOP, b"data: [DONE] not\n\n"), "unreadable-event", id="an end that is none"),
        pytest.param(stream(HELLO, STOP) + EVENTS[1], "event-after-done", id="an event after the end"),
        pytest.param(stream(HELLO, STOP) + EVENTS[-1], None, id="two ends"),
        pytest.param(stream(HELLO, STOP) + EVENTS[-1][:-1], None, id="two ends, and no blank line"),
        pytest.param(stream(HELLO, STOP) + EVENTS[-1] + EVENTS[1], "event-after-done", id="an event after two ends"),
        pytest.param(stream(b"data: oops\n\n") + EVENTS[1], "unreadable-event", id="the first fault is told"),
    ],
)
def test_a_stream_is_kept_only_if_it_came_to_its_end_and_every_choice_too(body: bytes, fault: str | None) -> None:
    """R1, R2."""
    assert fault_of(body, stream=True) == fault


# What says something.

LABELS = {"role": "assistant", "id": "m", "name": "n", "type": "t", "index": 0, "token_id": 7, "channel": "final"}
SAYING: list[dict[str, Any]] = [
    {"reasoning": "Well"},
    {"reasoning_content": "Well"},
    {"reasoning_details": [{"type": "reasoning.text", "text": "Well", "index": 0}]},
    {"reasoning_details": [{"type": "reasoning.encrypted", "data": "QUJD", "id": "rs_1", "index": 0}]},
    {"thinking": "Well"},
    {"thinking_blocks": [{"type": "thinking", "thinking": "Well", "signature": "s"}]},
    {"images": [{"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}, "index": 0}]},
    {"audio": {"id": "a", "data": "AAAA", "expires_at": 1}},
    {"invented": {"deep": [{"er": "x"}]}},
    {"content": [{"type": "thinking", "thinking": [{"type": "text", "text": "Well"}]}]},
]
SILENT: list[dict[str, Any]] = [
    LABELS,
    {"reasoning": "", "reasoning_details": [], "images": None},
    {"reasoning_details": [{"type": "reasoning.text", "text": "", "format": "unknown", "index": 0}]},
    {"images": []},
    {"audio": None},
    {"provider_specific_fields": {"refusal": None, "citations": []}},
    {"annotations": [{"type": "url_citation", "url_citation": {"title": "t"}}]},
    {"invented": 5, "switched": True, "none": {}},
]


@pytest.mark.parametrize("kind", [{"stream": False}, {"stream": True}], ids=["JSON", "stream"])
@pytest.mark.parametrize(
    ("message", "fault"), [*((one, None) for one in SAYING), *((one, "empty-choice") for one in SILENT)], ids=repr
)
def test_whatever_says_something_makes_an_answer(kind: dict[str, Any], message: dict[str, Any], fault: str | None) -> None:
    """R2: reasoning, pictures and what nobody knows; but not what only says of which kind the others are."""
    message = {"content": "", "refusal": None} | message
    body = stream(chunk(**message), STOP) if kind["stream"] else completion(choice(**message))

    assert fault_of(body, **kind) == fault


THOUGHT = {"completion_tokens": 4, "completion_tokens_details": {"reasoning_tokens": 4}}


@pytest.mark.parametrize("kind", [{"stream": False}, {"stream": True}], ids=["JSON", "stream"])
@pytest.mark.parametrize(
    ("reason", "usage", "members", "fault"),
    [
        ("length", THOUGHT, {"max_completion_tokens": 4}, None),
        ("length", THOUGHT, {}, "finish-length"),
        ("stop", THOUGHT, {}, None),
        ("stop", {"completion_tokens": 4, "reasoning_tokens": 4}, {}, None),
        ("tool_calls", THOUGHT, {}, "empty-choice"),
        ("stop", {"completion_tokens": 4}, {}, "empty-choice"),
        ("stop", {"completion_tokens_details": {"reasoning_tokens": 0}}, {}, "empty-choice"),
        ("stop", {"completion_tokens_details": {"reasoning_tokens": "4"}}, {}, "empty-choice"),
        ("stop", None, {}, "empty-choice"),
        ("length", None, {"max_tokens": 4}, "empty-choice"),
    ],
)
def test_reasoning_that_nobody_sees_is_an_answer_where_it_is_counted(
    kind: dict[str, Any], reason: str, usage: Any, members: dict[str, Any], fault: str | None
) -> None:
    """R2: the caller's whole budget may have gone there, and the next call would spend it again."""
    silent: dict[str, Any] = {"content": "", "refusal": None, "annotations": []}
    used = {"choices": [], "usage": usage}
    body = (
        stream(chunk(**silent), chunk(finish_reason=reason), used)
        if kind["stream"]
        else completion(choice(finish_reason=reason, **silent), usage=usage)
    )

    assert fault_of(body, **kind, **members) == fault


# Streams without `[DONE]`.

USED = {"choices": [], "usage": {"total_tokens": 1}}
WITHOUT_DONE = stream(HELLO, STOP, USED).removesuffix(EVENTS[-1])
DUE: dict[str, Any] = {"stream_options": {"include_usage": True}}


def test_a_stream_may_do_without_done_where_the_operator_says_so() -> None:
    """R1: every choice finished, usage that was due came, and it ended by itself; where it may, `[DONE]` is no fault."""
    assert fault_of(WITHOUT_DONE, stream=True, **DUE) == "incomplete"
    assert fault_without_done(WITHOUT_DONE, **DUE) is None
    assert fault_without_done(stream(HELLO, STOP, USED), **DUE) is None
    assert fault_without_done(WITHOUT_DONE.replace(b"\n", b"\r\n"), **DUE) is None
    assert fault_without_done(WITHOUT_DONE.replace(b"\n", b"\r"), **DUE) is None
    assert fault_without_done(WITHOUT_DONE + b": bye\n\n", **DUE) is None


@pytest.mark.parametrize("line_end", [b"\n", b"\r\n", b"\r"], ids=["LF", "CRLF", "CR"])
def test_without_done_a_stream_cut_after_any_byte_is_not_kept(line_end: bytes) -> None:
    """R1: before its usage it is not whole; within an event it was cut, whatever its framing says."""
    body = WITHOUT_DONE.replace(b"\n", line_end)

    kept_at = [at for at in range(len(body)) if fault_without_done(body[:at], **DUE) is None]
    kept_at_unasked = [at for at in range(len(body)) if fault_without_done(body[:at]) is None]

    finished = body.index(b'data: {"choices": [], "usage"')
    assert [at for at in kept_at if at < len(body) - len(line_end)] == []
    assert set(kept_at_unasked) - set(kept_at) <= {finished, finished - len(line_end) + 1}


@pytest.mark.parametrize(
    ("body", "members", "fault"),
    [
        pytest.param(WITHOUT_DONE, {"n": 2, **DUE}, "missing-choice", id="one choice of two"),
        pytest.param(stream(HELLO).removesuffix(EVENTS[-1]), {}, "unfinished-choice", id="not finished"),
        pytest.param(stream(HELLO, chunk(finish_reason="")).removesuffix(EVENTS[-1]), {}, "unfinished-choice", id="emptily"),
        pytest.param(stream(HELLO, STOP).removesuffix(EVENTS[-1]), DUE, "no-usage", id="without its usage"),
        pytest.param(stream(HELLO, chunk(finish_reason="length")).removesuffix(EVENTS[-1]), {}, "finish-length", id="length"),
        pytest.param(b"", {}, "missing-choice", id="nothing"),
    ],
)
def test_without_done_all_else_must_be_there(body: bytes, members: dict[str, Any], fault: str) -> None:
    """R1, R2, R3."""
    assert fault_without_done(body, FINISH_REASONS | {""}, **members) == fault


# Several choices.


@pytest.mark.parametrize(
    ("choices", "fault"),
    [
        pytest.param([choice(), choice(1)], None, id="both"),
        pytest.param([choice(1), choice()], None, id="both, in another order"),
        pytest.param([choice()], "missing-choice", id="one"),
        pytest.param([choice(), choice()], "missing-choice", id="one twice"),
        pytest.param([choice(), choice(2)], "missing-choice", id="the third instead of the second"),
        pytest.param([choice(), choice(1), choice(1)], "missing-choice", id="one too often"),
        pytest.param([choice(), choice(1, None)], "unfinished-choice", id="one unfinished"),
        pytest.param([choice(), choice(1, content="")], "empty-choice", id="one empty"),
        pytest.param([choice(), choice(1, "content_filter")], "finish-content_filter", id="one filtered"),
    ],
)
def test_all_the_choices_asked_for_must_be_there(choices: list[dict[str, Any]], fault: str | None) -> None:
    """R1."""
    assert fault_of(completion(*choices), n=2) == fault


@pytest.mark.parametrize(
    ("events", "fault"),
    [
        pytest.param([HELLO, chunk(1, content="Hi"), STOP, chunk(1, "stop")], None, id="both, interleaved"),
        pytest.param([chunk(1, "stop", content="Hi"), HELLO, STOP], None, id="both, in another order"),
        pytest.param([HELLO, STOP], "missing-choice", id="one"),
        pytest.param([HELLO, STOP, chunk(2, "stop", content="Hi")], "missing-choice", id="the third instead of the second"),
        pytest.param([HELLO, chunk(1, content="Hi"), STOP], "unfinished-choice", id="one unfinished"),
        pytest.param([HELLO, STOP, chunk(1, "stop")], "empty-choice", id="one empty"),
    ],
)
def test_all_the_choices_asked_for_must_have_come_to_their_end(events: list[dict[str, Any]], fault: str | None) -> None:
    """R1."""
    assert fault_of(stream(*events), n=2, stream=True) == fault


# Finish reasons.


@pytest.mark.parametrize("kind", [{"stream": False}, {"stream": True}], ids=["JSON", "stream"])
@pytest.mark.parametrize(
    ("reason", "members", "fault"),
    [
        ("stop", {}, None),
        ("tool_calls", {}, None),
        ("function_call", {}, None),
        ("length", {}, "finish-length"),
        ("length", {"max_tokens": None, "max_completion_tokens": None}, "finish-length"),
        ("length", {"max_tokens": 5}, None),
        ("length", {"max_completion_tokens": 5}, None),
        ("length", {"min_tokens": 5}, "finish-length"),
        ("content_filter", {}, "finish-content_filter"),
        ("content_filter", {"max_tokens": 5}, "finish-content_filter"),
        ("error", {}, "finish-error"),
        ("Stop", {}, "finish-other"),
        ('a"b; stored', {}, "finish-other"),
        ("x" * 33, {}, "finish-other"),
        ("", {}, "unfinished-choice"),
    ],
)
def test_the_finish_reason_decides_and_is_told(
    kind: dict[str, Any], reason: str, members: dict[str, Any], fault: str | None
) -> None:
    """R3: `length` counts only where the caller bounded the answer; a word of the upstream's cannot say more than it is."""
    body = stream(HELLO, chunk(finish_reason=reason)) if kind["stream"] else completion(choice(finish_reason=reason))

    assert fault_of(body, **kind, **members) == fault


@pytest.mark.parametrize(
    ("store_when", "reason", "fault"),
    [
        ({"stop"}, "stop", None),
        ({"stop"}, "tool_calls", "finish-tool_calls"),
        ({"stop"}, "length", "finish-length"),
        ({"done"}, "done", None),
        (set(), "stop", "finish-stop"),
    ],
)
def test_the_operator_says_which_finish_reasons_may_be_stored(store_when: set[str], reason: str, fault: str | None) -> None:
    """R3."""
    assert fault_of(completion(choice(finish_reason=reason)), frozenset(store_when), max_tokens=5) == fault


@pytest.mark.parametrize("kind", [{"stream": False}, {"stream": True}], ids=["JSON", "stream"])
def test_an_upstream_that_gives_no_reason_can_be_stored_in_both_kinds(kind: dict[str, Any]) -> None:
    """R3: where the operator says so, by an empty one; none at all is still unfinished."""
    for reason, fault in (("", None), ("stop", "finish-stop"), (None, "unfinished-choice")):
        body = stream(HELLO, chunk(finish_reason=reason)) if kind["stream"] else completion(choice(finish_reason=reason))
        assert fault_of(body, frozenset({""}), **kind) == fault
    placeholders = stream(chunk(finish_reason="", content="Hello"), STOP, chunk(finish_reason=""))
    assert fault_of(placeholders, stream=True) is None


# Usage.


@pytest.mark.parametrize(
    ("events", "fault"),
    [
        pytest.param([HELLO, STOP, {"choices": [], "usage": {"total_tokens": 1}}], None, id="in a chunk of its own"),
        pytest.param([HELLO, {**STOP, "usage": {"total_tokens": 1}}], None, id="with the finish reason"),
        pytest.param([HELLO, STOP], "no-usage", id="not at all"),
        pytest.param([{**HELLO, "usage": None}, {**STOP, "usage": None}], "no-usage", id="null"),
    ],
)
def test_a_stream_that_is_due_its_usage_has_it(events: list[dict[str, Any]], fault: str | None) -> None:
    """S5."""
    assert fault_of(stream(*events), stream=True, stream_options={"include_usage": True}) == fault
    assert fault_of(stream(*events), stream=True, stream_options={"include_usage": False}) is None
