"""S3, S4, S5: the stream of a completion says the whole of it, in the dialect it was recorded in."""

import json
from typing import Any

import msgspec
import pytest

from cachemw.endpoints.chat.transcode import NO_USAGE, OTHER_KIND, derive
from cachemw.messages import Kind, StoredResponse
from tests.endpoints.transcoding import (
    FRAME,
    JSON,
    STREAM,
    TIMES,
    USAGE,
    WITH_USAGE,
    Members,
    as_json,
    as_stream,
    chunk,
    completion,
    ends_of,
    piece,
    record,
)

HELLO: Members = {"role": "assistant", "content": "Hello"}
CALL: Members = {"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}}


def deltas_of(message: Members) -> Any:
    """Return the deltas that a message is sent in, or why it cannot be."""
    chunks = as_stream(completion(message, usage=USAGE), STREAM)
    return chunks if isinstance(chunks, str) else [one["choices"][0]["delta"] for one in chunks]


def test_without_usage_asked_for_there_is_none() -> None:
    """S4, S5: not even null."""
    answer = completion(HELLO, usage=USAGE, system_fingerprint="fp", service_tier=None)
    frame = {"system_fingerprint": "fp", "service_tier": None}

    assert as_stream(answer, STREAM) == [
        chunk(piece(role="assistant", content=""), **frame),
        chunk(piece(content="Hello"), **frame),
        chunk(piece(finish="stop"), **frame),
    ]


def test_with_usage_asked_for_it_comes_last_and_is_null_before() -> None:
    """S4, S5."""
    assert as_stream(completion(HELLO, usage=USAGE), WITH_USAGE) == [
        chunk(piece(role="assistant", content=""), usage=None),
        chunk(piece(content="Hello"), usage=None),
        chunk(piece(finish="stop"), usage=None),
        chunk(usage=USAGE),
    ]


@pytest.mark.parametrize("asked", [STREAM, WITH_USAGE])
def test_the_dialect_of_cerebras_has_usage_on_the_last_finish_and_nothing_is_null(asked: Kind) -> None:
    """S4, S5: asked for or not."""
    answer = completion(HELLO, HELLO, usage=USAGE, time_info=TIMES, moderation={"x": 1})

    chunks = as_stream(answer, asked)

    assert chunks[0] == {**FRAME, "choices": [{"index": 0, "delta": {"role": "assistant", "content": ""}}]}
    assert chunks[2] == {**FRAME, "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
    assert chunks[-1] == chunk(piece(1, "stop"), usage=USAGE, time_info=TIMES, moderation={"x": 1})
    assert not any(name in one for one in chunks[:-1] for name in ("usage", "time_info", "moderation"))


@pytest.mark.parametrize("dialect", [{}, {"time_info": TIMES}])
@pytest.mark.parametrize("usage", [{}, {"usage": None}])
def test_who_asks_for_usage_is_not_answered_without(dialect: Members, usage: Members) -> None:
    """S5."""
    answer = completion(HELLO, **dialect, **usage)

    assert as_stream(answer, WITH_USAGE) == NO_USAGE
    assert as_json(as_stream(answer, STREAM)) == NO_USAGE
    assert len(as_stream(answer, STREAM)) == 3


def test_a_choice_with_a_null_for_its_delta_can_be_had_as_a_stream() -> None:
    """S4."""
    answer = completion(HELLO)
    answer["choices"][0]["delta"] = None

    assert as_stream(answer, STREAM) == [
        chunk(piece(role="assistant", content="")),
        chunk(piece(content="Hello")),
        chunk(piece(finish="stop")),
    ]


def test_only_what_depends_on_the_kind_changes() -> None:
    """S4: status, proof, time and lifetime are those of the record; all of it is there at once."""
    recorded = record(json.dumps(completion(HELLO, usage=USAGE)).encode(), JSON, b"application/json")

    derived = derive(recorded, WITH_USAGE)

    assert isinstance(derived, StoredResponse)
    assert derived.headers == (
        (b"content-type", b"text/event-stream; charset=utf-8"),
        (b"openai-version", b"2020-10-01"),
    )
    assert derived.arrivals == (0.0,) * 5
    assert derived.event_ends == ends_of(derived.body.split(b"\n\n")[at] + b"\n\n" for at in range(5))
    assert recorded == msgspec.structs.replace(
        derived, kind=JSON, headers=recorded.headers, body=recorded.body, event_ends=(), arrivals=()
    )


@pytest.mark.parametrize(
    ("message", "deltas"),
    [
        pytest.param(
            {"content": "c", "refusal": "r", "reasoning_content": "n", "reasoning": "m", "role": "assistant"},
            [
                {"content": "", "refusal": "", "reasoning_content": "", "reasoning": "", "role": "assistant"},
                *({"reasoning": "m"}, {"reasoning_content": "n"}, {"refusal": "r"}, {"content": "c"}, {}),
            ],
            id="texts, in the order they are thought",
        ),
        pytest.param(
            {"role": "assistant", "content": None, "refusal": None},
            [{"role": "assistant", "content": None, "refusal": None}, {}],
            id="null",
        ),
        pytest.param({"role": "assistant", "content": ""}, [{"role": "assistant", "content": ""}, {}], id="empty"),
        pytest.param({"content": "a"}, [{"content": "", "role": "assistant"}, {"content": "a"}, {}], id="a role is added"),
        pytest.param(
            {"role": "assistant", "annotations": [{"n": 1}], "new": "text", "content": ["part"], "audio": {"id": "a"}},
            [{"role": "assistant", "annotations": [{"n": 1}], "new": "text", "content": ["part"], "audio": {"id": "a"}}, {}],
            id="all else at once",
        ),
        pytest.param(
            {"role": "assistant", "tool_calls": [CALL | {"new": 1}, CALL | {"id": "b", "index": 1}]},
            [
                {"role": "assistant"},
                {"tool_calls": [{"index": 0, **CALL, "new": 1, "function": {"name": "f", "arguments": ""}}]},
                {"tool_calls": [{"index": 0, "function": {"arguments": "{}"}}]},
                {"tool_calls": [{"index": 1, **CALL, "id": "b", "function": {"name": "f", "arguments": ""}}]},
                {"tool_calls": [{"index": 1, "function": {"arguments": "{}"}}]},
                {},
            ],
            id="tool calls",
        ),
        pytest.param(
            {"role": "assistant", "tool_calls": [{"type": "custom", "custom": {"name": "c", "input": "i"}}, {"type": "new"}]},
            [
                {"role": "assistant"},
                {"tool_calls": [{"index": 0, "type": "custom", "custom": {"name": "c", "input": ""}}]},
                {"tool_calls": [{"index": 0, "custom": {"input": "i"}}]},
                {"tool_calls": [{"index": 1, "type": "new"}]},
                {},
            ],
            id="tool calls of other types",
        ),
        pytest.param(
            {"role": "assistant", "tool_calls": [{"function": {"arguments": {"a": 1}}}]},
            [{"role": "assistant"}, {"tool_calls": [{"index": 0, "function": {"arguments": {"a": 1}}}]}, {}],
            id="arguments that are no text",
        ),
        pytest.param(
            {"role": "assistant", "tool_calls": [], "function_call": None},
            [{"role": "assistant", "tool_calls": [], "function_call": None}, {}],
            id="no tool calls",
        ),
        pytest.param(
            {"role": "assistant", "function_call": {"name": "f", "arguments": "{}", "new": 1}},
            [
                {"role": "assistant"},
                {"function_call": {"name": "f", "arguments": "", "new": 1}},
                {"function_call": {"arguments": "{}"}},
                {},
            ],
            id="a call of the older kind",
        ),
        pytest.param(
            {"role": "assistant", "function_call": "f"},
            [{"role": "assistant"}, {"function_call": "f"}, {}],
            id="a call of the older kind that is no object",
        ),
    ],
)
def test_a_message_is_opened_then_said(message: Members, deltas: list[Members]) -> None:
    """S3, S4: every member exactly once."""
    assert deltas_of(message) == deltas


def test_what_a_choice_has_beside_its_message_is_said_once() -> None:
    """S3: where the openai SDK looks for it."""
    answer = completion(HELLO, usage=USAGE)
    answer["choices"][0] |= {"logprobs": {"content": [1]}, "reasoning_logprobs": {"content": [2]}, "new": {"a": None}}

    opened, said, finished = [one["choices"][0] for one in as_stream(answer, STREAM)]

    yet_to_come = {"logprobs": None}
    assert opened == piece(
        role="assistant", content="", more=yet_to_come | {"reasoning_logprobs": {"content": [2]}, "new": {"a": None}}
    )
    assert said == piece(content="Hello", more=yet_to_come)
    assert finished == piece(finish="stop", more={"logprobs": {"content": [1]}})


def test_choices_come_one_after_another() -> None:
    """S3: the openai SDK expects the first of each in order."""
    messages = [{"role": "assistant", "content": text} for text in "abc"]

    chunks = as_stream(completion(*messages, usage=USAGE), STREAM)

    assert [one["choices"][0]["index"] for one in chunks] == [0, 0, 0, 1, 1, 1, 2, 2, 2]


def test_moderation_comes_before_usage() -> None:
    """S5: the openai SDK reads usage from the last chunk."""
    verdict = {"input": {"flagged": False}}
    answer = completion(HELLO, usage=USAGE, moderation=verdict)

    assert as_stream(answer, STREAM)[3:] == [chunk(moderation=verdict)]
    assert as_stream(answer, WITH_USAGE)[3:] == [chunk(moderation=verdict, usage=None), chunk(usage=USAGE)]


def test_a_short_member_is_on_every_chunk_and_the_others_on_the_first() -> None:
    """S3, S4."""
    short: Members = {"provider": "p", "n": 2**70, "half": 0.5}
    long: Members = {"citations": ["a"], "x": {"y": 1}, "text": "t" * 257}

    first, *others = as_stream(completion(HELLO, usage=USAGE, **short, **long), WITH_USAGE)

    assert first == chunk(piece(role="assistant", content=""), usage=None, **short, **long)
    assert [one for one in others if one.keys() & long.keys()] == []
    assert all(one | short == one for one in others)


@pytest.mark.parametrize("name", ["content", "refusal", "reasoning", "reasoning_content"])
@pytest.mark.parametrize(
    ("text", "slices"),
    [("a" * 24, 1), ("a" * 25, 2), ("é\U0001f600\u2028" * 8, 1), ("\U0001f600" * 240, 10), ("ab" * 40_000, 510)],
)
def test_a_text_is_cut_into_slices_of_characters(name: str, text: str, slices: int) -> None:
    """S4: of some 24, and never into more than 512."""
    said = [delta[name] for delta in deltas_of({"role": "assistant", name: text}) if delta.get(name)]

    assert "".join(said) == text
    assert len(said) <= min(slices + 2, 512)
    assert len(said) >= slices - 2


def test_a_long_answer_does_not_become_many_times_as_long() -> None:
    """S4."""
    body = json.dumps(completion(HELLO | {"content": "x" * 4_000_000}, usage=USAGE)).encode()

    derived = derive(record(body, JSON), STREAM)

    assert isinstance(derived, StoredResponse)
    assert len(derived.event_ends) <= 512 + 3
    assert len(derived.body) < 1.05 * len(body)


def changed(**members: Any) -> Members:
    """Return a completion with other members."""
    return completion(HELLO, usage=USAGE) | members


def with_choice(**members: Any) -> Members:
    """Return a completion with other members of its choice."""
    return changed(choices=[{"index": 0, "message": HELLO, "finish_reason": "stop", **members}])


def with_message(**members: Any) -> Members:
    """Return a completion with other members of its message."""
    return with_choice(message={**HELLO, **members})


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param([], id="a list"),
        pytest.param("a", id="a text"),
        pytest.param(changed(object="text_completion"), id="another object"),
        pytest.param(changed(object=["chat.completion"]), id="a list of objects"),
        pytest.param(changed(error={"message": "m"}), id="an error"),
        pytest.param(changed(choices=[]), id="no choice"),
        pytest.param(changed(choices=None), id="no list of choices"),
        pytest.param(changed(choices={}), id="choices that are no list"),
        pytest.param(changed(choices=["a"]), id="a choice that is a text"),
        pytest.param(changed(choices=[], time_info=TIMES), id="no choice, with times"),
        pytest.param(changed(obfuscation="x"), id="padding"),
        pytest.param(with_choice(index=1), id="a choice is missing"),
        pytest.param(with_choice(index=None), id="no index"),
        pytest.param(with_choice(index="0"), id="an index that is a text"),
        pytest.param(changed(choices=with_choice()["choices"] * 2), id="one index twice"),
        pytest.param(changed(choices=[*with_choice(index=1)["choices"], *with_choice()["choices"]]), id="out of order"),
        pytest.param(with_choice(message=None), id="no message"),
        pytest.param(with_choice(message="a"), id="a message that is a text"),
        pytest.param(with_choice(delta={"content": "a"}), id="a delta beside the message"),
        pytest.param(with_choice(finish_reason=None), id="unfinished"),
        pytest.param(with_message(tool_calls={"a": 1}), id="calls that are no list"),
        pytest.param(with_message(tool_calls=["a"]), id="a call that is a text"),
        pytest.param(with_message(tool_calls=[CALL | {"index": 1}]), id="an index that is not the call's position"),
        pytest.param(with_message(tool_calls=[CALL, CALL | {"index": 2}]), id="an index behind the call's position"),
        pytest.param(with_message(tool_calls=[CALL | {"index": False}]), id="an index that is false"),
        pytest.param(with_message(token_id=5), id="a token's id"),
        pytest.param(changed(p="abc"), id="padding of others"),
        pytest.param(with_message(new=[{"index": 1}, {"index": 0}]), id="entries that would be sorted"),
        pytest.param(with_message(new=[{"index": 0, "a": "x"}, {"index": 0, "a": "y"}]), id="entries that would be joined"),
        pytest.param(with_message(new=[{"index": 0}, "a"]), id="entries of which some have an index"),
    ],
)
@pytest.mark.parametrize("asked", [STREAM, WITH_USAGE])
def test_what_cannot_be_said_in_pieces_surely_is_not(answer: Any, asked: Kind) -> None:
    """S4: what its reader would put together otherwise is not sent."""
    assert as_stream(answer, asked) == OTHER_KIND


@pytest.mark.parametrize("indexes", [(0, 0), (None, None), (0, 1), (None, 1), (0, None)])
def test_of_tool_calls_the_position_counts(indexes: tuple[int | None, int | None]) -> None:
    """S3: Ollama has 0 on each, Writer has null: who reads JSON goes by the order."""
    calls = [CALL | {"id": name, "index": index} for name, index in zip("ab", indexes, strict=True)]

    deltas = deltas_of({"role": "assistant", "tool_calls": calls})

    headers = [call for delta in deltas for call in delta.get("tool_calls", ()) if "id" in call]
    assert [(call["index"], call["id"]) for call in headers] == [(0, "a"), (1, "b")]


@pytest.mark.parametrize("delta", [{}, {"content": ""}, {"role": "assistant", "content": "", "tool_calls": []}])
def test_an_empty_delta_beside_the_message_says_nothing(delta: Members) -> None:
    """S4: Perplexity has one."""
    assert as_stream(with_choice(delta=delta)) == as_stream(with_choice())


def test_entries_of_two_types_under_one_index_come_whole() -> None:
    """S3: OpenAI's reasoning over OpenRouter has a summary and what is encrypted."""
    entries = [{"type": "summary", "summary": "S", "index": 0}, {"type": "encrypted", "data": "QQ==", "index": 0}]
    message = {"role": "assistant", "content": "a", "reasoning_details": entries}

    chunks = as_stream(completion(message, usage=USAGE))

    assert [one["choices"][0]["delta"]["reasoning_details"] for one in chunks[:1]] == [entries]
    assert as_json(chunks)["choices"][0]["message"] == message


@pytest.mark.parametrize("more", [{"object": None}, {"object": "chat.completion"}])
def test_a_completion_need_not_say_that_it_is_one(more: Members) -> None:
    """S4."""
    assert as_stream(changed(**more), STREAM)[0]["object"] == "chat.completion.chunk"


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[" * 100_000, b'{"x":"\xff"}', b'{"x":1e999}', b"NaN", b'{"x":"\\ud800"}', b"{}{}"]
)
def test_what_is_no_json_makes_no_stream(body: bytes) -> None:
    """S4: whatever is stored, nothing is raised."""
    assert derive(record(body, JSON), WITH_USAGE) == OTHER_KIND
