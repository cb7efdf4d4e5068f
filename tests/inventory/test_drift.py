"""Answers to one request are compared by what they say: noise is no drift, and another order of arguments is nothing at all."""

import json
from typing import Any

import pytest

from cachemw.inventory.drift import Gist, Likeness, compared, gist_of, is_settled


def chat(
    content: str | None = "Blue.", finish: str = "stop", calls: list[tuple[str, str]] | None = None, **members: Any
) -> bytes:
    tools = [{"id": "x", "type": "function", "function": {"name": name, "arguments": made}} for name, made in calls or ()]
    message = {"role": "assistant", "content": content, **({"tool_calls": tools} if tools else {})}
    return json.dumps(
        {"model": "m", "choices": [{"index": 0, "message": message, "finish_reason": finish}], **members}
    ).encode()


def gist(*args: Any, **members: Any) -> Gist:
    found = gist_of("chat", chat(*args, **members))
    assert found is not None
    return found


GISTS: list[tuple[str, dict[str, Any], Gist]] = [
    (
        "completions",
        {"choices": [{"index": 1, "text": "b", "finish_reason": "length"}, {"index": 0, "text": "a", "finish_reason": "stop"}]},
        Gist(("stop", "length"), (), "a\nb"),
    ),
    (
        "messages",
        {
            "model": "claude",
            "stop_reason": "tool_use",
            "content": [
                {"type": "thinking", "thinking": "hm"},
                {"type": "text", "text": "Let me see."},
                {"type": "tool_use", "name": "look", "input": {"b": 1, "a": 2}},
            ],
        },
        Gist(("tool_use",), (("look", b'{"a":2,"b":1}'),), "Let me see.", "claude"),
    ),
    (
        "responses",
        {
            "model": "gpt-5",
            "status": "incomplete",
            "incomplete_details": {"reason": "max_output_tokens"},
            "output": [
                {"type": "reasoning", "summary": []},
                {"type": "message", "content": [{"type": "output_text", "text": "Blue"}]},
                {"type": "function_call", "name": "look", "arguments": '{"a": 1}'},
            ],
        },
        Gist(("incomplete", "max_output_tokens"), (("look", b'{"a":1}'),), "Blue", "gpt-5"),
    ),
]


@pytest.mark.parametrize(("endpoint", "answer", "expected"), GISTS)
def test_the_gist_of_an_answer_is_what_it_says_at_every_endpoint_that_writes(
    endpoint: str, answer: dict[str, Any], expected: Gist
) -> None:
    assert gist_of(endpoint, json.dumps(answer).encode()) == expected


@pytest.mark.parametrize(
    ("endpoint", "body"),
    [("chat", b"{}"), ("chat", b"[]"), ("chat", b"data: x"), ("chat", b'{"choices": 1}'), ("embeddings", b'{"data": []}')],
)
def test_what_is_no_answer_has_no_gist(endpoint: str, body: bytes) -> None:
    assert gist_of(endpoint, body) is None


LIKENESSES = [
    (gist("Blue."), Likeness.EQUAL, False),
    (gist("  Blue.\n"), Likeness.BLANKS, False),
    (gist("Green."), Likeness.WORDS, True),
    (gist("Blue.", finish="length"), Likeness.FINISH, True),
    (gist("Blue.", calls=[("look", "{}")]), Likeness.CALLS, True),
]


@pytest.mark.parametrize(("new", "likeness", "has_drifted"), LIKENESSES)
def test_where_an_answer_is_always_the_same_any_other_is_drift(new: Gist, likeness: Likeness, has_drifted: bool) -> None:
    found = compared(gist("Blue."), [new])

    assert (found.likeness, found.has_drifted) == (likeness, has_drifted)


def test_arguments_of_tools_are_json_and_not_text() -> None:
    old = gist(None, "tool_calls", [("look", '{"a": 1, "b": [2.0]}')])

    same = compared(old, [gist(None, "tool_calls", [("look", '{"b":[2.0],"a":1}')])])
    other = compared(old, [gist(None, "tool_calls", [("look", '{"b":[3.0],"a":1}')])])

    assert (same.likeness, other.likeness) == (Likeness.EQUAL, Likeness.CALLS)


ONE = "The sky is blue because air scatters short waves of light more than long ones."
TWO = "Air scatters short waves of light more than long ones, and so the sky is blue."
OTHER = "I am sorry, and I cannot help with that request today, whatever you may ask of me."
NOISE: list[tuple[Gist, list[Gist], bool]] = [
    (gist(ONE), [gist(ONE), gist(TWO)], False),
    (gist(ONE), [gist(TWO), gist(ONE)], False),
    (gist(OTHER), [gist(ONE), gist(ONE)], True),
    (gist(OTHER), [gist(ONE), gist(f"{ONE} Yes.")], True),
    (gist(ONE), [gist(TWO), gist(OTHER)], False),
    (gist(ONE, "stop"), [gist(ONE, "length"), gist(ONE, "stop")], False),
    (gist(ONE, "stop"), [gist(ONE, "length"), gist(TWO, "length")], True),
    (gist(ONE), [gist(ONE, calls=[("look", "{}")]), gist(ONE)], False),
    (gist(ONE), [gist(ONE, calls=[("look", "{}")]), gist(TWO, calls=[("look", "{}")])], True),
]


@pytest.mark.parametrize(("old", "new", "has_drifted"), NOISE)
def test_where_answers_vary_it_is_drift_only_beyond_what_they_vary_by_themselves(
    old: Gist, new: list[Gist], has_drifted: bool
) -> None:
    assert compared(old, new).has_drifted is has_drifted


def test_an_alias_that_means_another_model_is_told_though_the_text_is_equal() -> None:
    old = gist(ONE, model="m-0801", system_fingerprint="fp_1")

    found = compared(old, [gist(ONE, model="m-1101", system_fingerprint="fp_2")])

    assert (found.likeness, found.has_drifted) == (Likeness.EQUAL, False)
    assert (found.model, found.fingerprint) == (("m-0801", "m-1101"), ("fp_1", "fp_2"))


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b'{"temperature": 0}', True),
        (b'{"temperature": 0.0}', True),
        (b'{"temperature": 0.7}', False),
        (b'{"temperature": false}', False),
        (b'{"seed": 7}', False),
        (b"{", False),
    ],
)
def test_an_answer_is_the_same_every_time_where_the_temperature_is_nought(body: bytes, expected: bool) -> None:
    assert is_settled(body) is expected
