"""Whatever is asked and answered: nothing escapes, nothing is lost silently, and both kinds of an answer are one message."""

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from cachemw.translation.base import Translated, Unsayable, Untranslatable
from cachemw.translation.chat_rows import ChatRow
from cachemw.translation.messages_to_chat import messages_to_chat
from tests.translation.messages_reading import (
    ASKED,
    check_nesting,
    chunk,
    message_in,
    read_json_by_sdk,
    said_by,
    sse,
    streamed,
    view_of,
)
from tests.translation.test_chat_answer import completion
from tests.translation.test_chat_request import MEMBERS, MESSAGES

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
ROW = ChatRow(text_only=False, reasoning="reasoning", efforts=frozenset({"none", "low", "high"}), names_stop=True, user=True)
REQUESTS = [{**ASKED, **asked} for _, asked, *_ in (*MESSAGES.values(), *MEMBERS.values())]
TEXT = st.text(st.characters(codec="utf-8"), min_size=1, max_size=8)


def places_in(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return the paths to all that is in a value."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(place for name, child in inner for place in places_in(child, (*path, name)))]


def put_at(value: Any, path: tuple[Any, ...], new: Any) -> Any:
    """Return a value with another one at a place in it."""
    if not path:
        return new
    copied = dict(value) if isinstance(value, dict) else list(value)
    copied[path[0]] = put_at(value[path[0]], path[1:], new)
    return copied


@given(st.data())
def test_whatever_stands_anywhere_in_a_request_is_said_or_refused(data: st.DataObject) -> None:
    request = data.draw(st.sampled_from(REQUESTS))
    place = data.draw(st.sampled_from(places_in(request)[1:]))

    result = messages_to_chat(put_at(request, place, data.draw(JSON)), data.draw(st.sampled_from([ROW, ChatRow()])))

    assert isinstance(result, Translated | Untranslatable)
    if isinstance(result, Translated):
        json.loads(result.body)


@given(st.dictionaries(st.sampled_from([*ASKED, "system", "tools", "thinking", "x"]) | st.text(max_size=9), JSON))
def test_whatever_a_request_is_it_is_said_or_refused(members: dict[str, Any]) -> None:
    assert isinstance(messages_to_chat(members, ROW), Translated | Untranslatable)


def plain_requests() -> st.SearchStrategy[dict[str, Any]]:
    """Return requests all of which a chat can say."""
    block = st.builds(lambda text: {"type": "text", "text": text}, TEXT)
    blocks = st.lists(block, min_size=1, max_size=3)
    turn = st.builds(lambda content: {"role": "user", "content": content}, TEXT | blocks)
    optional: dict[str, st.SearchStrategy[Any]] = {
        "system": TEXT | blocks,
        "temperature": st.floats(0, 1),
        "top_p": st.floats(0, 1),
        "stop_sequences": st.lists(TEXT, max_size=4),
        "stream": st.booleans(),
        "metadata": st.fixed_dictionaries({"user_id": TEXT}),
        "thinking": st.sampled_from([{"type": "adaptive"}, {"type": "disabled"}]),
        "tools": st.just([{"name": "f", "input_schema": {"type": "object"}, "cache_control": {"type": "ephemeral"}}]),
        "tool_choice": st.sampled_from([{"type": "auto"}, {"type": "none"}]),
    }
    due = {"model": TEXT, "max_tokens": st.integers(1, 10**6), "messages": st.lists(turn, min_size=1, max_size=4)}
    return st.fixed_dictionaries(due, optional=optional)


@given(plain_requests())
def test_nothing_is_told_of_a_request_that_can_be_said(request: dict[str, Any]) -> None:
    result = messages_to_chat(request, ROW)

    assert isinstance(result, Translated)
    assert result.told == ()
    texts = [turn["content"] for turn in request["messages"]]
    said = [message["content"] for message in json.loads(result.body)["messages"] if message["role"] == "user"]
    assert [_joined(content) for content in said] == [_joined(content) for content in texts]


def _joined(content: Any) -> str:
    return content if isinstance(content, str) else "".join(block["text"] for block in content)


@given(plain_requests(), st.text(st.sampled_from("abc_"), min_size=1, max_size=9), JSON)
def test_a_member_that_nobody_knows_is_told_and_not_sent(request: dict[str, Any], name: str, value: Any) -> None:
    result = messages_to_chat({**request, f"x{name}": value}, ROW)

    assert isinstance(result, Translated)
    assert f"x{name}" not in json.loads(result.body)
    assert result.told == (() if value is None else ((f"x{name}", "dropped"),))


ARGUMENTS = st.dictionaries(TEXT, st.integers(-9, 9) | TEXT, max_size=2)
CALLS = st.lists(st.tuples(TEXT, ARGUMENTS), max_size=3)


def pieces_of(text: str, size: int) -> list[str]:
    return [text[at : at + size] for at in range(0, len(text), size)]


@given(
    st.data(), st.text(TEXT, max_size=0) | TEXT, st.just("") | TEXT, CALLS, st.sampled_from(["stop", "length", "tool_calls"])
)
def test_both_kinds_of_an_answer_are_one_message(
    data: st.DataObject, reasoning: str, content: str, asked: list[tuple[str, dict[str, Any]]], finish: str
) -> None:
    """T1: the fragments of all calls interleave in any way."""
    calls = [(f"call_{at}", name, json.dumps(arguments)) for at, (name, arguments) in enumerate(asked)]
    whole = [{"id": own, "function": {"name": name, "arguments": arguments}} for own, name, arguments in calls]
    heads = [(at, {"id": own, "function": {"name": name, "arguments": ""}}) for at, (own, name, _) in enumerate(calls)]
    size = data.draw(st.integers(1, 5))
    queues = [[(at, {"function": {"arguments": part}}) for part in pieces_of(call[2], size)] for at, call in enumerate(calls)]
    chunks = [
        *(chunk({"reasoning": part}) for part in pieces_of(reasoning, size)),
        *(chunk({"content": part}) for part in pieces_of(content, size)),
        *(chunk({"tool_calls": [{"index": at, **fragment}]}) for at, fragment in heads),
    ]
    while left := [queue for queue in queues if queue]:
        at, fragment = data.draw(st.sampled_from(left)).pop(0)
        chunks.append(chunk({"tool_calls": [{"index": at, **fragment}]}))

    answer = view_of().answer(completion({"reasoning": reasoning, "content": content, "tool_calls": whole}, finish))

    body = sse(*chunks, chunk({}, finish))
    if isinstance(answer, Unsayable):
        assert streamed(view_of(), body)[1] == answer.why
        assert (reasoning, content, calls) == ("", "", [])
    else:
        assert message_in(body).model_dump() == read_json_by_sdk(answer).model_dump()


DELTAS = st.fixed_dictionaries(
    {},
    optional={
        "content": st.none() | TEXT | st.just(""),
        "reasoning": st.none() | TEXT,
        "refusal": TEXT,
        "tool_calls": st.lists(
            st.fixed_dictionaries(
                {},
                optional={
                    "index": st.integers(0, 2),
                    "id": st.sampled_from(["a", "b", "c"]),
                    "function": st.fixed_dictionaries(
                        {}, optional={"name": st.just("f"), "arguments": st.sampled_from(["", "{", "}", "{}"])}
                    ),
                },
            ),
            max_size=3,
        ),
    },
)


@given(st.lists(DELTAS, max_size=6))
def test_whatever_the_chunks_do_the_blocks_stand_one_after_another(deltas: list[dict[str, Any]]) -> None:
    """T1, T2."""
    events, fault = streamed(view_of(), sse(*map(chunk, deltas), chunk({}, "tool_calls")))

    if fault is None:
        said = said_by(events)
        check_nesting(said)
        texts = "".join(delta.get("content") or "" for delta in deltas) + "".join(delta.get("refusal", "") for delta in deltas)
        got = [event["delta"]["text"] for event in said if event.get("delta", {}).get("type") == "text_delta"]
        assert sorted("".join(got)) == sorted(texts)
        arguments = [call.get("function", {}).get("arguments", "") for delta in deltas for call in delta.get("tool_calls", ())]
        passed = [event["delta"]["partial_json"] for event in said if event.get("delta", {}).get("type") == "input_json_delta"]
        assert sorted("".join(passed)) == sorted("".join(arguments))
    else:
        assert b"message_stop" not in events


@given(st.data())
def test_whatever_stands_anywhere_in_an_answer_nothing_escapes(data: st.DataObject) -> None:
    call = {"index": 0, "id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    usage = {"prompt_tokens": 1, "completion_tokens": 1}
    part = chunk({"content": "Hi", "reasoning": "hm", "refusal": "no", "tool_calls": [call]}, "stop", usage=usage)
    whole = json.loads(completion({"content": "Hi", "reasoning": "hm", "tool_calls": [call]}, "stop", usage=usage))
    new = data.draw(JSON)

    one = put_at(part, data.draw(st.sampled_from(places_in(part))), new)
    other = put_at(whole, data.draw(st.sampled_from(places_in(whole))), new)

    events, fault = streamed(view_of(), sse(one))
    assert (fault is None) == (b"message_stop" in events)
    assert isinstance(view_of().answer(json.dumps(other).encode()), bytes | Unsayable)


@given(st.integers(400, 599), st.binary(max_size=30) | JSON.map(lambda value: json.dumps(value).encode()))
def test_whatever_an_error_is_it_reads_as_one_of_anthropics(status: int, body: bytes) -> None:
    said = json.loads(view_of().error(status, body))

    assert said["type"] == "error"
    assert said["error"]["type"]
    assert said["error"]["message"]
