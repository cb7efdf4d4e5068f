"""S3, S4: the completion of a stream is the sum of its deltas."""

import json
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from cachemw.endpoints.chat.transcode import NO_USAGE, OTHER_KIND, derive
from cachemw.messages import Kind, StoredResponse
from tests.endpoints.transcoding import (
    JSON,
    STREAM,
    USAGE,
    WITH_USAGE,
    Members,
    as_json,
    body_of,
    chunk,
    piece,
    record,
    says,
)


def message_of(*deltas: Members) -> Any:
    """Return the message that these deltas are the whole of, or why there is none."""
    answer = as_json(says(*deltas))
    return answer if isinstance(answer, str) else answer["choices"][0]["message"]


def call(index: int, **members: Any) -> Members:
    """Return a delta with one fragment of a tool call."""
    return {"tool_calls": [{"index": index, **members}]}


def function(name: str | None = None, arguments: str = "") -> Members:
    return {"function": {"arguments": arguments} | ({"name": name} if name is not None else {})}


SAID = {"role": "assistant", "content": None}


def test_a_completion_has_what_its_chunks_say() -> None:
    """S4."""
    chunks = [
        chunk(piece(role="assistant", content="", refusal=None), system_fingerprint="fp", service_tier=None, usage=None),
        chunk(piece(content="Hel"), system_fingerprint="fp", service_tier="default", usage=None),
        chunk(piece(content="lo"), system_fingerprint="fp", service_tier="default", usage=None),
        chunk(piece(finish="stop"), system_fingerprint="fp", service_tier="default", usage=None),
        chunk(usage=USAGE, system_fingerprint="fp", service_tier="default"),
    ]

    assert as_json(chunks) == {
        "id": "c",
        "object": "chat.completion",
        "created": 1,
        "model": "m",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "Hello", "refusal": None},
                "finish_reason": "stop",
            }
        ],
        "system_fingerprint": "fp",
        "service_tier": "default",
        "usage": USAGE,
    }


def test_only_what_depends_on_the_kind_changes() -> None:
    """S4: status, proof, time and lifetime are those of the record."""
    recorded = record(body_of(says({"content": "Hi"})), WITH_USAGE)

    derived = derive(recorded, JSON)

    assert isinstance(derived, StoredResponse)
    assert derived.headers == ((b"content-type", b"application/json"), (b"openai-version", b"2020-10-01"))
    assert derived == msgspec.structs.replace(
        recorded, kind=JSON, headers=derived.headers, body=derived.body, event_ends=(), arrivals=()
    )


@pytest.mark.parametrize("kind", [JSON, STREAM, WITH_USAGE, Kind(True, b'{"unknown":1}')])
def test_the_kind_that_was_recorded_is_the_record(kind: Kind) -> None:
    """S2."""
    recorded = record(b"anything", kind)

    assert derive(recorded, kind) is recorded


@pytest.mark.parametrize(
    ("deltas", "message"),
    [
        pytest.param([{"content": "ha"}, {"content": "ha"}], SAID | {"content": "haha"}, id="a text, as often as it is said"),
        pytest.param([{"content": None}, {"content": "a"}, {"content": None}], SAID | {"content": "a"}, id="null keeps"),
        pytest.param([{"content": ""}], SAID | {"content": ""}, id="an empty text is no null"),
        pytest.param([{"refusal": "I "}, {"refusal": "won't"}], SAID | {"refusal": "I won't"}, id="refusal"),
        pytest.param(
            [{"reasoning": "a"}, {"reasoning_content": "x"}, {"reasoning": "b"}, {"reasoning_content": "y"}],
            SAID | {"reasoning": "ab", "reasoning_content": "xy"},
            id="reasoning of both names",
        ),
        pytest.param([{"role": "assistant"}, {"role": "assistant"}], SAID, id="a role in every delta, as OpenRouter has it"),
        pytest.param([{"role": "assistant"}, {"role": ""}], SAID, id="an empty role"),
        pytest.param([{"role": None}], SAID, id="no role"),
        pytest.param([{"role": "tool"}], SAID | {"role": "tool"}, id="another role"),
        pytest.param(
            [{"annotations": [{"n": 1}]}, {"annotations": []}, {"annotations": [{"n": 2}, {"n": 1}]}],
            SAID | {"annotations": [{"n": 1}, {"n": 2}, {"n": 1}]},
            id="entries without an index follow one another",
        ),
        pytest.param(
            [{"details": [{"index": 1, "text": "c"}]}, {"details": [{"index": 0, "text": "a"}, {"index": 1, "text": "d"}]}],
            SAID | {"details": [{"index": 0, "text": "a"}, {"index": 1, "text": "cd"}]},
            id="entries with an index are put together by it",
        ),
        pytest.param(
            [{"new": {"a": {"b": "x"}}}, {"new": {"a": {"c": 1}}}], SAID | {"new": {"a": {"b": "x", "c": 1}}}, id="objects"
        ),
        pytest.param([{"new": "Let"}, {"new": ""}, {"new": " me"}], SAID | {"new": "Let me"}, id="a text of an unknown name"),
        pytest.param(
            [{"content": "Let", "speaker": "narrator"}, {"content": " me", "speaker": "narrator"}, {}],
            SAID | {"content": "Let me", "speaker": "narrator"},
            id="a label of an unknown name, in every delta",
        ),
        pytest.param(
            [{"d": [{"index": 0, "text": text, "voice": "high"}]} for text in ("a", "b")],
            SAID | {"d": [{"index": 0, "text": "ab", "voice": "high"}]},
            id="a label of an unknown name, in every piece of an entry",
        ),
        pytest.param([{"item_id": "a"}] * 2 + [{"item_id": ""}], SAID | {"item_id": "a"}, id="an id of something, again"),
        pytest.param([{"mime_type": "a/b", "mode": "x"}] * 3, SAID | {"mime_type": "a/b", "mode": "x"}, id="a name of a kind"),
        pytest.param([{"n": 1}, {"n": None}, {"n": 1.0}], SAID | {"n": 1}, id="a number again"),
        pytest.param([{"b": True}, {"b": True}], SAID | {"b": True}, id="a truth value again"),
        pytest.param([{"n": 2**70}], SAID | {"n": 2**70}, id="a large integer"),
        pytest.param(
            [{"content": [{"type": "text", "text": "a"}]}], SAID | {"content": [{"type": "text", "text": "a"}]}, id="parts"
        ),
        pytest.param(
            [{"audio": {"id": "a", "data": "x"}}, {"audio": {"id": "a", "data": "y"}}],
            SAID | {"audio": {"id": "a", "data": "xy"}},
            id="an id is not put together",
        ),
        pytest.param(
            [
                {"function_call": {"name": "f", "arguments": ""}},
                {"function_call": {"arguments": "{"}},
                {"function_call": {"arguments": "}"}},
            ],
            SAID | {"function_call": {"name": "f", "arguments": "{}"}},
            id="a call of the older kind",
        ),
    ],
)
def test_a_message_is_the_sum_of_its_deltas(deltas: list[Members], message: Members) -> None:
    """S3."""
    assert message_of(*deltas) == message


@pytest.mark.parametrize(
    ("fragments", "calls"),
    [
        pytest.param(
            [
                call(0, id="a", type="function", **function("f")),
                call(0, **function(arguments='{"x"')),
                call(0, **function(arguments=":1}")),
            ],
            [{"id": "a", "type": "function", **function("f", '{"x":1}')}],
            id="fragments",
        ),
        pytest.param(
            [
                call(1, id="b", type="function", **function("g")),
                call(0, id="a", type="function", **function("f")),
                call(1, **function(arguments="[")),
                {"tool_calls": [{"index": 0, **function(arguments="{")}, {"index": 1, **function(arguments="]")}]},
                call(0, **function(arguments="}")),
            ],
            [{"id": "a", "type": "function", **function("f", "{}")}, {"id": "b", "type": "function", **function("g", "[]")}],
            id="parallel and interleaved",
        ),
        pytest.param(
            [call(0, id="a", type="function", **function("f", "{")), call(0, id="a", type="function", **function("f", "}"))],
            [{"id": "a", "type": "function", **function("f", "{}")}],
            id="with the header in each",
        ),
        pytest.param(
            [call(0, id="a", **function("f", "{")), call(0, id="", **function("", "}"))],
            [{"id": "a", **function("f", "{}")}],
            id="with an empty header",
        ),
        pytest.param(
            [call(0, id="a", type="custom", custom={"name": "c", "input": "x"}), call(0, custom={"input": "x"})],
            [{"id": "a", "type": "custom", "custom": {"name": "c", "input": "xx"}}],
            id="custom",
        ),
        pytest.param(
            [call(0, id="a", new=1, function={"name": "f", "arguments": "{}", "new": {"x": None}})],
            [{"id": "a", "new": 1, "function": {"name": "f", "arguments": "{}", "new": {"x": None}}}],
            id="unknown members",
        ),
        pytest.param(
            [{"tool_calls": [{"id": "a", **function("f", "{}")}]}, {"tool_calls": [{"id": "b", **function("f", "{}")}]}],
            [{"id": "a", **function("f", "{}")}, {"id": "b", **function("f", "{}")}],
            id="whole, without an index",
        ),
        pytest.param([{"tool_calls": [function("f", "{}")]}], [function("f", "{}")], id="the only one, without an index or id"),
        pytest.param(
            [{"tool_calls": [{"index": None, "id": at, **function("f", "{}")}]} for at in "ab"],
            [{"id": at, **function("f", "{}")} for at in "ab"],
            id="whole, with an index that is null",
        ),
        pytest.param([{"tool_calls": []}], [], id="none"),
        pytest.param([{"tool_calls": None}], None, id="null"),
    ],
)
def test_tool_calls_are_put_together_by_their_index_and_lose_it(fragments: list[Members], calls: list[Members]) -> None:
    """S3."""
    assert message_of(*fragments)["tool_calls"] == calls


@pytest.mark.parametrize(
    "deltas",
    [
        pytest.param([{"content": "a"}, {"content": ["b"]}], id="a list after a text"),
        pytest.param([{"content": ["b"]}, {"content": "a"}], id="a text after a list"),
        pytest.param([{"x": {"a": 1}}, {"x": 1}], id="a number after an object"),
        pytest.param([{"x": 1}, {"x": True}], id="a truth value after a number"),
        pytest.param([{"new": "ha"}, {"new": "ha"}], id="a label or a text that begins so"),
        pytest.param(
            [{"content": "a", "new": "ha"}, {"content": "b", "new": "ha"}, {"content": "c"}],
            id="a label that ends, or a text that does",
        ),
        pytest.param(
            [{"content": "a", "new": "ha"}] * 2 + [{"content": "c", "new": "ho"}], id="a label that came again, and changed"
        ),
        pytest.param([{"new": "a b"}, {"new": " c"}, {"new": " c"}], id="a label that changed, or a text"),
        pytest.param([{"new": "plan"}, {"new": "answer"}], id="two labels or a word in two pieces"),
        pytest.param([{"new": "a b"}, {"new": "a b c"}], id="the whole so far, or a piece"),
        pytest.param([{"new": {"deep": "ha"}}, {"new": {"deep": "ha"}}], id="a label or a text, deeper"),
        pytest.param([{"n": 1}, {"n": 2}], id="a number that changes"),
        pytest.param([{"item_id": "a b"}, {"item_id": " c"}], id="an id that changes"),
        pytest.param([{"b": True}, {"b": False}], id="a truth value that changes"),
        pytest.param([{"new": [1]}, {"new": [1, 2]}], id="the list so far, or a piece"),
        pytest.param([{"annotations": [{"n": 1}]}, {"annotations": [{"n": 1}]}], id="an entry again, or two alike"),
        pytest.param([{"d": [{"index": 0, "text": "a"}]}, {"d": [{"text": "b"}]}], id="entries with an index, and without"),
        pytest.param([{"d": [{"index": 0, "text": "a"}]}, {"d": [{"index": 0, "type": "t"}]}], id="a type that comes late"),
        pytest.param(
            [{"d": [{"index": 0, "type": "t"}, {"index": 0, "type": "u"}]}, {"d": [{"index": 0, "text": "a"}]}],
            id="an entry of one type or the other",
        ),
        pytest.param([{"d": [{"index": 0, "type": ["t"]}]}], id="a type that is a list"),
        pytest.param([{"content": [{"type": "text", "text": "a"}]}, {"content": ["b"]}], id="a part that is none"),
        pytest.param([call(0, id="a"), call(0, id="b")], id="another id for one call"),
        pytest.param([call(0, **function("f")), call(0, **function("g"))], id="another name for one call"),
        pytest.param(
            [{"tool_calls": [{"id": "a", **function("f", "{")}]}, {"tool_calls": [function(arguments="}")]}], id="a fragment"
        ),
        pytest.param([{"tool_calls": [{"id": "a"}]}, {"tool_calls": [{"id": "a"}]}], id="two calls or one of them twice"),
        pytest.param([{"tool_calls": [{"id": ["a"]}, {"id": ["b"]}]}], id="ids that are none"),
        pytest.param([{"tool_calls": [{"id": "a"}]}, call(0, id="b")], id="an index now and then"),
        pytest.param([{"tool_calls": [{"index": 0}, {"id": "b"}]}], id="an index here and there"),
        pytest.param([{"tool_calls": [{"index": 0}, "b"]}], id="a call that is a text"),
        pytest.param([{"tool_calls": ["a"]}], id="calls that are texts"),
        pytest.param([{"tool_calls": [{"id": "a"}, "b"]}], id="a call that is a text, without an index"),
        pytest.param([{"tool_calls": {"index": 0}}], id="calls that are no list"),
        pytest.param([{"tool_calls": [{"index": "0"}]}], id="an index that is a text"),
        pytest.param([{"tool_calls": [{"index": True}]}], id="an index that is a truth value"),
        pytest.param([{"tool_calls": [{"index": -1}]}], id="a negative index"),
    ],
)
def test_deltas_that_cannot_be_put_together_surely_are_not(deltas: list[Members]) -> None:
    """S4: a completion that may be another is none."""
    assert message_of(*deltas) == OTHER_KIND


THE = {"type": "reasoning.text", "text": "The", "format": "unknown", "index": 0}
USER = {"type": "reasoning.text", "text": " user", "format": "unknown", "index": 0}
SIGNED = {"type": "reasoning.text", "signature": "s", "format": "anthropic-claude-v1", "index": 0}
SUMMARY = {"type": "reasoning.summary", "summary": "S1", "format": "openai-responses-v1", "index": 0}
SECRET = {"type": "reasoning.encrypted", "data": "QUJD", "id": "rs_1", "format": "openai-responses-v1", "index": 0}


@pytest.mark.parametrize(
    ("pieces", "entries"),
    [
        pytest.param([[THE], [USER]], [THE | {"text": "The user"}], id="of one type, in pieces"),
        pytest.param([[THE], [THE]], [THE | {"text": "TheThe"}], id="two pieces alike"),
        pytest.param([[THE], [SIGNED]], [SIGNED | {"text": "The"}], id="the last format and signature hold"),
        pytest.param([[SUMMARY], [SUMMARY | {"summary": "S2"}], [SECRET]], [SUMMARY | {"summary": "S1S2"}, SECRET], id="two"),
        pytest.param([[SECRET], [SUMMARY, SECRET | {"data": "Rg=="}]], [SECRET | {"data": "QUJDRg=="}, SUMMARY], id="in turn"),
        pytest.param([[SECRET | {"id": None}], [SECRET | {"data": "", "id": "rs_2"}]], [SECRET | {"id": "rs_2"}], id="an id"),
        pytest.param(
            [[THE | {"index": 1}], [USER], [THE | {"index": 1}]], [USER, THE | {"index": 1, "text": "TheThe"}], id="two indexes"
        ),
        pytest.param([[THE], [{"index": 0, "text": "!"}]], [THE | {"text": "The!"}], id="a piece without its type"),
        pytest.param([[{"text": "a"}], [{"text": "b"}]], [{"text": "a"}, {"text": "b"}], id="no index: never merged"),
        pytest.param(
            [[{"index": None, "text": "a"}], [{"index": None, "text": "b"}]],
            [{"index": None, "text": "a"}, {"index": None, "text": "b"}],
            id="a null index is none",
        ),
    ],
)
@pytest.mark.parametrize("name", ["reasoning_details", "invented"])
def test_entries_are_put_together_by_their_type_and_index(name: str, pieces: list[Any], entries: list[Any]) -> None:
    """S3: OpenRouter's `reasoning_details`, and the like."""
    assert message_of(*({name: piece} for piece in pieces))[name] == entries


THOUGHT = {"type": "thinking", "thinking": [{"type": "text", "text": "Okay"}]}
LINK = {"type": "reference", "reference_ids": [1]}
BOTH = {"type": "thinking", "thinking": [{"type": "text", "text": "OkayOkay"}]}


@pytest.mark.parametrize(
    ("pieces", "content"),
    [
        pytest.param(["", [THOUGHT], [THOUGHT], "A", "nd"], [BOTH, {"type": "text", "text": "And"}], id="first thought"),
        pytest.param(["A", [THOUGHT], [THOUGHT]], [{"type": "text", "text": "A"}, BOTH], id="then thought"),
        pytest.param([[{"type": "text", "text": "A"}], "", "B"], [{"type": "text", "text": "AB"}], id="text in parts"),
        pytest.param([[LINK], [LINK], "A"], [LINK, LINK, {"type": "text", "text": "A"}], id="others are whole"),
        pytest.param([[THOUGHT, LINK], [THOUGHT], [THOUGHT]], [THOUGHT, LINK, BOTH], id="runs"),
        pytest.param([[THOUGHT, THOUGHT]], [THOUGHT, THOUGHT], id="two in one piece are two"),
        pytest.param([[], [THOUGHT]], [THOUGHT], id="an empty list first"),
        pytest.param([[]], [], id="an empty list"),
    ],
)
def test_content_may_be_parts_and_a_run_of_one_type_is_one(pieces: list[Any], content: list[Any]) -> None:
    """S3: as Mistral's models think."""
    assert message_of(*({"content": piece} for piece in pieces))["content"] == content


def test_a_label_is_the_last_one_and_what_counts_tokens_is_left_out() -> None:
    """S3: Groq's channel; Together's token ids; Mistral's index."""
    deltas = [{"channel": name, "token_id": at, "index": 0} for at, name in enumerate(["analysis", "analysis", "final"])]

    assert message_of(*deltas, {"content": "a"}) == SAID | {"channel": "final", "content": "a"}


def test_a_text_beside_the_delta_comes_in_pieces() -> None:
    """S4: Together and Hugging Face say each piece twice; a piece is never told for the whole."""
    chunks = [chunk(piece(content=text, more={"text": text, "seed": None})) for text in ("1", ",", ",", " 2", "")]

    (choice,) = as_json([*chunks, *says()])["choices"]

    assert (choice["text"], choice["message"]["content"]) == ("1,, 2", "1,, 2")


@pytest.mark.parametrize(
    ("texts", "holds"),
    [
        (["1", ", 2"], "1, 2"),
        (["<call>", " f()"], "<call> f()"),
        (["1", "1, 2"], OTHER_KIND),
        (["1", "1"], OTHER_KIND),
        (["plan", "answer"], OTHER_KIND),
        (["1", 2], OTHER_KIND),
    ],
    ids=repr,
)
def test_a_text_beside_the_delta_is_in_pieces_where_it_can_be_nothing_else(texts: list[str], holds: Any) -> None:
    """S4: it may be all that there is so far, or a word for what this piece is."""
    pieces = [chunk(piece(content=content, more={"text": text})) for content, text in zip(("1", ", 2"), texts, strict=True)]

    answer = as_json([*pieces, chunk(piece(finish="stop"), usage=USAGE)])

    assert (answer if answer == OTHER_KIND else answer["choices"][0]["text"]) == holds


@pytest.mark.parametrize("padding", ["", "abc", "abcdefghijklmnopqrstuvwxyz012", "abcdefghijklmnopqrstuvwxyzABC", "abdef"])
def test_padding_of_others_is_no_part_of_the_answer(padding: str) -> None:
    """S3: Mistral's, and Cloudflare's."""
    assert "p" not in as_json([chunk(piece(content="a"), p=padding), *says()])


def test_what_is_not_padding_is_told() -> None:
    """S3."""
    assert as_json([chunk(piece(content="a"), p="other"), *says()])["p"] == "other"


def test_a_whole_message_beside_the_deltas_must_say_the_same() -> None:
    """S4: Perplexity says what there is by now beside each piece."""
    chunks = [
        chunk(piece(content=text, more={"message": {"role": "assistant", "content": so_far}}))
        for text, so_far in (("a", "a"), ("b", "ab"))
    ]

    assert as_json([*chunks, *says()])["choices"][0]["message"] == SAID | {"content": "ab"}
    assert as_json([*chunks, *says({"content": "c"})]) == OTHER_KIND


def test_choices_are_interleaved_and_come_out_in_order() -> None:
    """S3: n = 3."""
    chunks = [
        chunk(piece(0, content="a"), piece(2, content="x")),
        chunk(piece(1, content="m")),
        chunk(piece(2, content="y")),
        chunk(piece(0, content="b")),
        chunk(piece(2, "stop"), usage=USAGE),
        chunk(piece(1, "length"), piece(0, "stop")),
    ]

    answer = as_json(chunks)

    told = [(one["index"], one["message"]["content"], one["finish_reason"]) for one in answer["choices"]]
    assert told == [(0, "ab", "stop"), (1, "m", "length"), (2, "xy", "stop")]


def test_log_probabilities_follow_one_another() -> None:
    """S3: those of content, refusal and reasoning; null changes nothing."""
    chunks = [
        chunk(piece(content="", more={"logprobs": {"content": [], "refusal": None}})),
        chunk(piece(content="a", more={"logprobs": {"content": [{"token": "a", "logprob": -1.5}], "refusal": None}})),
        chunk(
            piece(content="a", more={"logprobs": {"content": [{"token": "a", "logprob": -1.5}]}, "reasoning_logprobs": None})
        ),
        chunk(piece(refusal="b", more={"logprobs": {"refusal": [{"token": "b"}]}, "reasoning_logprobs": {"content": [1]}})),
        chunk(piece(finish="stop", more={"logprobs": None, "reasoning_logprobs": {"content": [2]}}), usage=USAGE),
    ]

    (choice,) = as_json(chunks)["choices"]

    token = {"token": "a", "logprob": -1.5}
    assert choice["logprobs"] == {"content": [token, token], "refusal": [{"token": "b"}]}
    assert choice["reasoning_logprobs"] == {"content": [1, 2]}


def test_log_probabilities_that_were_never_told_are_null() -> None:
    """S3."""
    (choice,) = as_json([chunk(piece(content="a", finish="stop", more={"logprobs": None}), usage=USAGE)])["choices"]

    assert choice == {"index": 0, "message": SAID | {"content": "a"}, "finish_reason": "stop", "logprobs": None}


@pytest.mark.parametrize(
    ("told", "holds"),
    [
        ([None, "a", None], "a"),
        (["a", ""], "a"),
        (["", "a"], "a"),
        ([2, 2], 2),
        ([None, None], None),
        ([{"a": 1, "b": 1}, {}, {"a": 1, "c": {"d": 1}}, {"c": {"e": 1}}], {"a": 1, "b": 1, "c": {"d": 1, "e": 1}}),
        ([[1, 2], []], [1, 2]),
        ([["a"], None], ["a"]),
        ([[], "a"], "a"),
    ],
)
@pytest.mark.parametrize("level", ["completion", "choice"])
def test_what_is_no_delta_may_be_told_again_and_more_of_it(told: list[Any], holds: Any, level: str) -> None:
    """S3: a member nobody knows, of a completion or of a choice; what is told anew takes nothing away."""
    answer = as_json([*telling("new", told, level), *says({"content": "a"})])

    assert (answer["choices"][0] if level == "choice" else answer)["new"] == holds


def telling(name: str, told: list[Any], level: str) -> list[Members]:
    """Return chunks of which each tells another value of a member, beside the delta or beside the choices."""
    if level == "choice":
        return [chunk(piece(more={name: value})) for value in told]
    return [chunk(piece(), **{name: value}) for value in told]


@pytest.mark.parametrize(
    "told",
    [
        ["a", "b"],
        [1, 2],
        [2, 0],
        [True, False],
        [{"a": 1}, {"a": 2}],
        [5, [1]],
        ["a", [1]],
        [[1], "a"],
        [[1], {"a": 1}],
        [[1], [2]],
        [[1], [1, 2]],
        [[1], [1]],
    ],
    ids=repr,
)
@pytest.mark.parametrize("level", ["completion", "choice"])
def test_what_is_no_delta_and_changes_is_not_told(told: list[Any], level: str) -> None:
    """S4: it may be pieces, or of this chunk alone; the last of them is not the whole."""
    assert as_json([*telling("new", told, level), *says({"content": "a"})]) == OTHER_KIND


@pytest.mark.parametrize("level", ["completion", "choice"])
def test_a_text_that_comes_again_is_a_label_where_all_chunks_have_it(level: str) -> None:
    """S4: as they have the model; of a piece that comes again only some have it."""
    others = chunk(piece(finish="stop"), usage=USAGE), chunk(piece(content="a", finish="stop"), usage=USAGE)
    always = [telling("new", ["a"], level)[0] | {"usage": USAGE} for _ in range(3)]
    always[-1]["choices"] = [always[-1]["choices"][0] | {"finish_reason": "stop"}]

    answer = as_json(always)

    assert (answer["choices"][0] if level == "choice" else answer)["new"] == "a"
    for other in others:
        assert as_json([*telling("new", ["a", "a"], level), other]) == OTHER_KIND
    assert as_json([*telling("new", ["a", "a", ""], level), others[0]]) == OTHER_KIND


@pytest.mark.parametrize(
    ("name", "told", "level", "holds"),
    [
        ("id", ["a", "b"], "completion", "b"),
        ("created", [1, 2], "completion", 2),
        ("service_tier", [None, "auto", "default"], "completion", "default"),
        ("citations", [["a"], ["a", "b"], ["a", "b"], []], "completion", ["a", "b"]),
        ("timings", [{"n": 1, "m": 1}, {"n": 2}], "completion", {"n": 2, "m": 1}),
        ("native_finish_reason", [None, "", "STOP"], "choice", "STOP"),
        ("stop_reason", [None, 128_009], "choice", 128_009),
    ],
)
def test_what_is_known_to_drift_holds_as_it_was_told_last(name: str, told: list[Any], level: str, holds: Any) -> None:
    """S3: xAI has another id on every chunk."""
    plain = [{"choices": one["choices"]} for one in says({"content": "a"})[:-1]]
    end = {"choices": [piece(finish="stop")], "usage": USAGE}
    answer = as_json([*plain, *telling(name, told, level), end])

    assert (answer["choices"][0] if level == "choice" else answer)[name] == holds


def test_a_list_that_does_not_go_on_may_be_a_piece() -> None:
    """S4: token ids come in pieces, citations are said again and again."""
    assert as_json([chunk(piece(more={"ids": [1]})), chunk(piece(more={"ids": [2]})), *says({"content": "a"})]) == OTHER_KIND


def test_what_the_server_counts_is_not_added_up_but_the_last_of_it() -> None:
    """S4: some upstreams count on every chunk."""
    chunks = [chunk(piece(content="a"), usage={"total_tokens": 1, "x": 1}), chunk(piece(finish="stop"), usage=USAGE)]

    assert as_json([*chunks, chunk(moderation={"flagged": False}, usage=None)]) | {"choices": []} == {
        **chunk(object="chat.completion"),
        "usage": USAGE,
        "moderation": {"flagged": False},
    }


@pytest.mark.parametrize("recorded", [STREAM, WITH_USAGE])
@pytest.mark.parametrize("more", [{}, {"usage": None}])
def test_a_record_without_usage_does_not_answer_who_is_due_it(recorded: Kind, more: Members) -> None:
    """S5: a JSON caller always is."""
    assert as_json([chunk(piece(content="a", finish="stop"), **more)], recorded) == NO_USAGE


def test_padding_is_no_part_of_the_answer() -> None:
    """S3: it hides the lengths of chunks, of which there are none left."""
    assert "obfuscation" not in as_json([chunk(obfuscation="xyz"), *says({"content": "a"})])


@pytest.mark.parametrize("kind_of_object", ["", "chat.completion.filter", 1, ["chat.completion.chunk"]])
def test_what_is_no_chunk_is_no_part_of_the_answer_but_told_beside_it(kind_of_object: Any) -> None:
    """S3, S4: Azure puts the verdict on the prompt before the answer; of its own JSON it is a member."""
    verdict = {"id": "", "object": kind_of_object, "created": 0, "model": "", "choices": [], "prompt_filter_results": [1]}
    safe = {"hate": {"filtered": False, "severity": "safe"}}
    late = {
        "object": kind_of_object,
        "choices": [
            {
                "index": 0,
                "content_filter_offsets": {"check_offset": at},
                "content_filter_results": safe,
                "delta": {},
                "finish_reason": None,
            }
            for at in (44, 45)
        ],
    }

    answer, plain = as_json([verdict, *says({"content": "a"}), late]), as_json(says({"content": "a"}))

    (choice,) = plain.pop("choices")
    assert answer == plain | {"prompt_filter_results": [1], "choices": [choice | {"content_filter_results": safe}]}


def test_the_last_word_of_perplexity_has_the_whole_message_and_an_empty_delta() -> None:
    """S4: in an object of its own, with usage and the finish."""
    done = {"object": "chat.completion.done", "usage": USAGE, "search_results": [{"title": "t"}]} | {
        "choices": [
            {
                "index": 0,
                "delta": {"role": "assistant", "content": ""},
                "finish_reason": "stop",
                "message": SAID | {"content": "ab"},
            }
        ]
    }

    answer = as_json([chunk(piece(content="a")), chunk(piece(content="b")), done])

    assert answer["choices"] == [{"index": 0, "message": SAID | {"content": "ab"}, "finish_reason": "stop"}]
    assert (answer["usage"], answer["search_results"]) == (USAGE, [{"title": "t"}])


def test_what_is_no_chunk_must_not_say_a_part_of_it() -> None:
    """S4."""
    other = chunk(piece(content="b"), object="other")

    assert as_json([*says({"content": "a"}), other]) == OTHER_KIND


@pytest.mark.parametrize("more", [{}, {"object": None}])
def test_a_chunk_need_not_say_that_it_is_one(more: Members) -> None:
    """S4."""
    answer = as_json([{"choices": [piece(content="a", finish="stop")], "usage": USAGE, **more}])

    assert answer["object"] == "chat.completion"
    assert answer["choices"][0]["message"] == SAID | {"content": "a"}


@pytest.mark.parametrize("delta", [{}, {"delta": None}, {"delta": {}}])
def test_a_choice_that_says_nothing_has_null_for_its_content(delta: Members) -> None:
    """S4: nothing else is made up."""
    assert as_json([{"choices": [{"index": 0, "finish_reason": "stop", **delta}], "usage": USAGE}]) == {
        "choices": [{"index": 0, "finish_reason": "stop", "message": SAID}],
        "usage": USAGE,
        "object": "chat.completion",
    }


@pytest.mark.parametrize(
    "broken",
    [
        pytest.param({"choices": {}}, id="choices that are no list"),
        pytest.param({"choices": ["a"]}, id="a choice that is a text"),
        pytest.param({"choices": [{"delta": {}}]}, id="a choice without an index"),
        pytest.param({"choices": [{"index": None, "delta": {}}]}, id="an index that is null"),
        pytest.param({"choices": [{"index": -1, "delta": {}}]}, id="a negative index"),
        pytest.param({"choices": [{"index": 0, "delta": "a"}]}, id="a delta that is a text"),
        pytest.param({"choices": [{"index": 0, "delta": {}, "message": {"content": "b"}}]}, id="another message beside it"),
        pytest.param({"choices": [{"index": 0, "delta": {}, "message": "a"}]}, id="a message that is a text"),
        pytest.param({"object": "x", "choices": [{"index": 0, "x": 1}, {"index": 0, "x": 2}]}, id="a verdict that changes"),
        pytest.param({"object": "x", "choices": [{"x": 1}]}, id="a verdict on no choice"),
        pytest.param({"choices": [{"index": 0, "logprobs": {"content": [1]}}, {"index": 0, "logprobs": []}]}, id="logprobs"),
        pytest.param({"choices": [{"index": 1, "delta": {"content": "a"}}]}, id="a choice that is not finished"),
        pytest.param({"choices": [], "error": {"message": "m"}}, id="an error"),
    ],
)
def test_a_malformed_chunk_makes_no_completion(broken: Members) -> None:
    """S4."""
    assert as_json([broken, *says({"content": "a"})]) == OTHER_KIND


@pytest.mark.parametrize(
    "spoil",
    [
        pytest.param(lambda body: b"", id="nothing"),
        pytest.param(lambda body: b"data: [DONE]\n\n", id="no chunk"),
        pytest.param(lambda body: body[: body.index(b"data: ", 1)], id="no finish"),
        pytest.param(lambda body: body + b"data: {}\n\n", id="more after the end"),
        pytest.param(lambda body: b"data: [DONE]\n\n" + body, id="an end before it"),
        pytest.param(lambda body: b"data: [1]\n\n" + body, id="no object"),
        pytest.param(lambda body: b"data: {\n\n" + body, id="no JSON"),
        pytest.param(lambda body: b'data: {"x":"\xff"}\n\n' + body, id="no UTF-8"),
        pytest.param(lambda body: b"data: " + b"[" * 100_000 + b"\n\n" + body, id="nested without end"),
        pytest.param(lambda body: b"event: error\n" + body, id="an event of another name"),
        pytest.param(lambda body: b'data: {"choices":[]}\n\ndata: [DONE]\n\n', id="no choices"),
    ],
)
def test_a_malformed_stream_makes_no_completion(spoil: Any) -> None:
    """S4: whatever is stored, nothing is raised."""
    assert derive(record(spoil(body_of(says({"content": "a"}))), WITH_USAGE), JSON) in (OTHER_KIND, NO_USAGE)


@pytest.mark.parametrize("depth", [10, 450, 700, 950])
def test_however_deeply_a_delta_is_nested_nothing_is_raised(depth: int) -> None:
    """S4."""
    nested = b'{"x":' * depth + b"1" + b"}" * depth
    body = b'data: {"choices":[{"index":0,"delta":%b}]}\n\n' % nested + body_of(says({"content": "a"}))

    derived = derive(record(body, WITH_USAGE), JSON)

    assert derived == OTHER_KIND or isinstance(derived, StoredResponse) and nested[1:-1] in derived.body


@pytest.mark.parametrize(
    "reform",
    [
        pytest.param(lambda plain: plain, id="as upstreams send them"),
        pytest.param(lambda plain: b"\xef\xbb\xbf: hello\n" + plain, id="a mark and a comment"),
        pytest.param(lambda plain: plain.replace(b"\n", b"\r\n"), id="CRLF"),
        pytest.param(lambda plain: plain.replace(b"\n\n", b"\r\n\n"), id="CRLF and LF"),
        pytest.param(lambda plain: plain.replace(b', "created"', b',\ndata: "created"'), id="data on two lines"),
        pytest.param(lambda plain: plain.replace(b', "created"', b',\rdata: "created"'), id="data on two lines, by a CR"),
        pytest.param(lambda plain: plain.replace(b"data: ", b"data:"), id="no space"),
        pytest.param(lambda plain: plain.replace(b"\n\n", b"\nid: 7\n\n"), id="an id"),
        pytest.param(lambda plain: b"event: message\n" + plain, id="a name that is the default's"),
        pytest.param(lambda plain: plain.removesuffix(b"data: [DONE]\n\n"), id="no end"),
        pytest.param(lambda plain: plain[:-1], id="an end without its blank line"),
        pytest.param(lambda plain: plain[:-2], id="an end without its line end"),
        pytest.param(lambda plain: plain[:-2] + b" \n\n", id="an end with a blank"),
        pytest.param(lambda plain: plain + b"data: [DONE]\n\n", id="two ends"),
    ],
)
def test_the_form_of_the_events_does_not_matter(reform: Callable[[bytes], bytes]) -> None:
    """S8."""
    derived = derive(record(reform(body_of(says({"content": "a\u2028é"}))), WITH_USAGE), JSON)

    assert isinstance(derived, StoredResponse)
    assert json.loads(derived.body)["choices"][0]["message"] == SAID | {"content": "a\u2028é"}


def test_a_million_small_pieces_are_joined_once() -> None:
    """S4: the time it takes is that of the bytes, not of their square."""
    chunks = [chunk(piece(content="ab"))] * 20_000

    answer = as_json([*chunks, *says()])

    assert answer["choices"][0]["message"]["content"] == "ab" * 20_000
