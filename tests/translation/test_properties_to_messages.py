"""What holds for whatever is asked and answered: nothing is raised, and the same is the same to the byte."""

import json
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cachemw.translation.base import Translated, Unsayable, Untranslatable
from cachemw.translation.chat_to_messages import chat_to_messages
from cachemw.translation.claude_rows import ClaudeRow, claude_row
from cachemw.wire.sse import Event
from tests.translation.talking_to_messages import (
    SAMPLED,
    TOOL,
    USER,
    Members,
    call,
    chat,
    chunks_in,
    essence,
    events_of,
    message,
    parsed,
    read_by_sdk,
    read_stream_by_sdk,
    text,
    thinking,
    tool_use,
    translated,
    view,
)

LEAVES = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5)
WORDS = st.sampled_from(
    ["user", "assistant", "tool", "system", "text", "image_url", "file", "function", "message", "error", "{}"]
)
JSON = st.recursive(
    LEAVES | WORDS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3) | WORDS, inner, max_size=3)
)
ROWS = st.sampled_from([SAMPLED, ClaudeRow(), claude_row("claude-sonnet-4-5"), claude_row("claude-opus-5")])

FULL: Members = chat(
    {"role": "system", "content": [{"type": "text", "text": "s"}]},
    {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "https://x", "detail": "low"}}]},
    {"role": "assistant", "content": "t", "refusal": None, "tool_calls": [call()]},
    {"role": "tool", "tool_call_id": "a", "content": "42"},
    {"role": "user", "content": [{"type": "file", "file": {"file_data": "data:application/pdf;base64,AAAA"}}]},
    tools=[TOOL],
    tool_choice={"type": "function", "function": {"name": "f"}},
    response_format={"type": "json_schema", "json_schema": {"name": "n", "schema": {"type": "object"}}},
    stop=["x"],
    temperature=0.5,
    top_p=0.5,
    reasoning_effort="high",
    user="u",
    stream=True,
    stream_options={"include_usage": True},
)
ANSWER = message(thinking(), text(), tool_use(a=1), stop_reason="tool_use", stop_details={"explanation": None})


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return the path to each value within a value."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(place for name, inner in items for place in places(inner, (*path, name)))]


def put(value: Any, path: tuple[Any, ...], other: Any) -> Any:
    """Return a value with another one at a path."""
    if not path:
        return other
    if isinstance(value, dict):
        return {name: put(inner, path[1:], other) if name == path[0] else inner for name, inner in value.items()}
    return [put(inner, path[1:], other) if at == path[0] else inner for at, inner in enumerate(value)]


def at(value: Any, path: tuple[Any, ...]) -> Any:
    """Return the value at a path."""
    for name in path:
        value = value[name]
    return value


def test_the_full_request_can_be_said() -> None:
    assert isinstance(chat_to_messages(FULL, SAMPLED), Translated)


@given(path=st.sampled_from(places(FULL)[1:]), other=JSON, row=ROWS)
def test_any_json_at_any_place_of_a_request_is_translated_or_refused(path: tuple[Any, ...], other: Any, row: ClaudeRow) -> None:
    outcome = chat_to_messages(put(FULL, path, other), row)

    assert isinstance(outcome, Translated | Untranslatable)


@given(members=st.dictionaries(st.sampled_from([*FULL, "n", "seed", "logprobs"]) | st.text(max_size=3), JSON, max_size=6))
def test_any_members_are_translated_or_refused(members: Members) -> None:
    assert isinstance(chat_to_messages(members, SAMPLED), Translated | Untranslatable)


OBJECTS = [path for path in places(FULL) if path and path[-1] not in ("parameters", "properties", "schema")]


@pytest.mark.parametrize("path", [path for path in [(), *OBJECTS] if isinstance(at(FULL, path), dict)], ids=repr)
def test_a_member_that_nobody_knows_is_told_wherever_it_stands(path: tuple[Any, ...]) -> None:
    """§3: no silent loss."""
    outcome = chat_to_messages(put(FULL, path, {**at(FULL, path), "novel": 1}), SAMPLED)

    assert isinstance(outcome, Translated)
    assert [became for name, became in outcome.told if name.endswith("novel")] == ["dropped"]


TEXTS = st.text(min_size=1, max_size=4).filter(lambda one: not one.isspace())
TURNS = st.one_of(
    st.builds(lambda said: [{"role": "user", "content": said}], TEXTS),
    st.builds(lambda said: [{"role": "system", "content": said}], TEXTS),
    st.builds(lambda said: [{"role": "assistant", "content": said}], TEXTS),
    st.builds(
        lambda call_id, said: [
            {"role": "assistant", "content": None, "tool_calls": [call(call_id, json.dumps({"x": said}))]},
            {"role": "tool", "tool_call_id": call_id, "content": said},
        ],
        st.text(max_size=4),
        TEXTS,
    ),
)
REQUESTS = st.builds(
    lambda turns, options: chat(*[one for turn in turns for one in turn], USER, **options),
    st.lists(TURNS, max_size=5),
    st.fixed_dictionaries(
        {}, optional={"temperature": st.floats(0, 1), "stop": TEXTS, "tools": st.just([TOOL]), "seed": st.integers()}
    ),
)


@given(members=REQUESTS, row=ROWS)
def test_the_same_request_is_the_same_bytes_in_whatever_order_its_members_came(members: Members, row: ClaudeRow) -> None:
    """T9, as far as it is the request's: the key is made of these bytes."""
    once, again = chat_to_messages(members, row), chat_to_messages(dict(reversed(members.items())), row)

    assert isinstance(once, Translated)
    assert isinstance(again, Translated)
    assert (once.body, once.told, once.view) == (again.body, again.told, again.view)


@given(members=REQUESTS, row=ROWS)
def test_turns_alternate_and_every_text_arrives(members: Members, row: ClaudeRow) -> None:
    outcome = chat_to_messages(members, row)

    assert isinstance(outcome, Translated)
    body = json.loads(outcome.body)
    roles = [turn["role"] for turn in body["messages"]]
    assert all(one != next_one for one, next_one in pairwise(roles))
    assert roles.count("system") == 0 or row.system_within
    assert sorted(_texts(body)) == sorted(one["content"] for one in members["messages"] if one["content"])


def _texts(body: Members) -> list[str]:
    said: list[str] = [block["text"] for block in body.get("system", [])]
    for turn in body["messages"]:
        blocks = [{"text": turn["content"]}] if isinstance(turn["content"], str) else turn["content"]
        said += [str(block.get("text", block.get("content"))) for block in blocks if block.get("type") != "tool_use"]
    return said


@given(path=st.sampled_from(places(ANSWER)), other=JSON)
def test_any_json_at_any_place_of_an_answer_is_said_or_not(path: tuple[Any, ...], other: Any) -> None:
    said = view().answer(json.dumps(put(ANSWER, path, other)).encode())

    assert isinstance(said, Unsayable) or read_by_sdk(said).object == "chat.completion"


EVENTS = events_of(ANSWER)


@given(path=st.sampled_from(places(EVENTS)[1:]), other=JSON)
def test_any_json_at_any_place_of_a_stream_ends_well_or_is_a_fault(path: tuple[Any, ...], other: Any) -> None:
    events = put(EVENTS, path, other)
    raw = [Event(b"", json.dumps(event).encode(), 0, 0) for event in events]

    stream, translator = translated(raw)

    assert (translator.fault is None) == stream.endswith(b"data: [DONE]\n\n")


@given(body=st.binary(max_size=40))
def test_any_bytes_are_no_answer_and_some_error(body: bytes) -> None:
    assert isinstance(view().answer(body), Unsayable)
    assert json.loads(view().error(500, body))["error"]["type"]


@given(body=JSON.map(lambda value: json.dumps(value).encode()), status=st.integers(400, 599))
def test_any_json_is_some_error(body: bytes, status: int) -> None:
    error = json.loads(view().error(status, body))["error"]

    assert set(error) == {"message", "type", "param", "code"}
    assert isinstance(error["message"], str)
    assert error["message"]


BLOCKS = st.lists(
    st.builds(text, st.text(max_size=6))
    | st.builds(thinking, st.text(max_size=6))
    | st.just({"type": "redacted_thinking", "data": "x"})
    | st.builds(
        lambda call_id, value: tool_use(call_id, **value),
        st.text(min_size=1, max_size=3),
        st.dictionaries(st.text(max_size=2), LEAVES, max_size=2),
    ),
    max_size=4,
)
REASONS = st.sampled_from(["end_turn", "stop_sequence", "max_tokens", "tool_use", "refusal", "model_context_window_exceeded"])
COUNTS = st.fixed_dictionaries(
    {"input_tokens": st.integers(0, 99), "output_tokens": st.integers(0, 99)},
    optional={"cache_read_input_tokens": st.none() | st.integers(0, 99), "cache_creation_input_tokens": st.integers(0, 99)},
)


@given(blocks=BLOCKS, reason=REASONS, usage=COUNTS, pieces=st.integers(1, 4))
def test_json_and_stream_of_one_message_say_the_same_completion(
    blocks: list[Members], reason: str, usage: Members, pieces: int
) -> None:
    """T5, T17, T18, T23: in both kinds, and nothing in neither."""
    answer = message(*blocks, stop_reason=reason, usage=usage)

    said = view().answer(json.dumps(answer).encode())
    stream, translator = translated(parsed(events_of(answer, pieces)))

    if isinstance(said, Unsayable):
        assert translator.fault == said.why
    else:
        assert translator.fault is None
        assert essence(read_by_sdk(said)) == essence(read_stream_by_sdk(stream))


@given(blocks=BLOCKS, reason=REASONS)
def test_t9_the_same_record_is_translated_to_the_same_bytes(blocks: list[Members], reason: str) -> None:
    """T9."""
    answer = message(*blocks, stop_reason=reason)
    raw, events = json.dumps(answer).encode(), parsed(events_of(answer))

    assert view().answer(raw) == view().answer(raw)
    assert translated(events)[0] == translated(events)[0]


@pytest.mark.parametrize("include_usage", [True, False])
def test_only_who_asks_for_usage_has_a_chunk_of_it(include_usage: bool) -> None:
    chunks = chunks_in(translated(parsed(EVENTS), include_usage=include_usage)[0])

    assert [not chunk["choices"] for chunk in chunks].count(True) == include_usage
    assert all(("usage" in chunk) == include_usage for chunk in chunks)
