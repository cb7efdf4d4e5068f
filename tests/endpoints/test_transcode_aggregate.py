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
            [{"annotations": [{"n": 1}]}, {"annotations": []}, {"annotations": [{"n": 1}, {"n": 2}]}],
            SAID | {"annotations": [{"n": 1}, {"n": 1}, {"n": 2}]},
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
        pytest.param([{"new": "ab"}, {"new": ""}, {"new": "cd"}], SAID | {"new": "abcd"}, id="a text of an unknown name"),
        pytest.param([{"n": 1}, {"n": 2.5}], SAID | {"n": 2.5}, id="a number is not added"),
        pytest.param([{"b": True}, {"b": False}], SAID | {"b": False}, id="a truth value"),
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
        pytest.param([{"channel": "final"}, {"channel": "final"}], id="a label or a text that begins so"),
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
        (["a", "b"], "b"),
        (["a", ""], "a"),
        ([1, 2], 2),
        ([2, 0], 0),
        ([True, False], False),
        ([None, None], None),
        ([{"a": 1, "b": 1}, {}, {"a": 2, "c": {"d": 1}}, {"c": {"e": 1}}], {"a": 2, "b": 1, "c": {"d": 1, "e": 1}}),
        ([[1], [1, 2], []], [1, 2]),
        ([["a"], None], ["a"]),
        ([5, [1]], [1]),
        (["a", [1]], [1]),
        ([[1], "a"], "a"),
        ([[1], {"a": 1}], {"a": 1}),
        ([{"a": 1}, [1]], [1]),
        ([{"a": [1]}, {"a": 5}, {"a": [2]}], {"a": [2]}),
    ],
)
@pytest.mark.parametrize("level", ["completion", "choice"])
def test_what_is_no_delta_holds_as_it_was_told_last(told: list[Any], holds: Any, level: str) -> None:
    """S3: a member nobody knows, of a completion or of a choice; what is told anew takes nothing away."""
    in_choice = level == "choice"
    chunks = [chunk(piece(more={"new": value} if in_choice else {}), **({} if in_choice else {"new": value})) for value in told]

    answer = as_json([*chunks, *says({"content": "a"})])

    assert (answer["choices"][0] if in_choice else answer)["new"] == holds


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
def test_what_is_no_chunk_is_no_part_of_the_answer(kind_of_object: Any) -> None:
    """S4: Azure puts the verdict on the prompt before the answer, as the openai SDK knows."""
    verdict = {"id": "", "object": kind_of_object, "model": "", "choices": [], "prompt_filter_results": [1]}
    late = {"object": kind_of_object, "choices": [{"index": 0, "content_filter_offsets": {}, "delta": {}}]}

    assert as_json([verdict, *says({"content": "a"}), late]) == as_json(says({"content": "a"}))


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
        pytest.param({"choices": [{"index": 0, "delta": {}, "message": {"content": "a"}}]}, id="a message beside the delta"),
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
        pytest.param(lambda body: body.replace(b"data: [DONE]\n\n", b""), id="no end"),
        pytest.param(lambda body: body + b"data: {}\n\n", id="more after the end"),
        pytest.param(lambda body: b"data: [DONE]\n\n" + body, id="two ends"),
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
