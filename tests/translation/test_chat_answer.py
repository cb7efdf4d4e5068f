"""A chat upstream's answers as messages: the rows of translation.md §4 by number, read by Anthropic's own SDK."""

import json
from typing import Any

import anthropic
import pytest

from cachemw.messages import Usage
from cachemw.translation.base import Unsayable
from cachemw.translation.chat_rows import chat_row
from cachemw.translation.signatures import is_our_signature, signature_of
from tests.translation.messages_reading import (
    ASKED,
    blocks_of,
    check_nesting,
    chunk,
    client_for,
    events_of,
    message_in,
    read_by_sdk,
    read_json_by_sdk,
    said_by,
    sse,
    streamed,
    translated,
    view_of,
)

FINISHED = chunk({}, "stop")
CALLED = chunk({}, "tool_calls")


def calls(*fragments: tuple[int | None, str | None, str | None, str | None]) -> dict[str, Any]:
    """Return a delta with fragments of calls: index, id, name, arguments."""
    return {
        "tool_calls": [
            {
                **({} if index is None else {"index": index}),
                **({} if call_id is None else {"id": call_id, "type": "function"}),
                "function": {} | ({"name": name} if name else {}) | ({} if arguments is None else {"arguments": arguments}),
            }
            for index, call_id, name, arguments in fragments
        ]
    }


def text(value: str) -> dict[str, Any]:
    return {"type": "text", "text": value}


def thinking(value: str) -> dict[str, Any]:
    return {"type": "thinking", "thinking": value, "signature": signature_of(value)}


def tool_use(call_id: str, name: str, **arguments: Any) -> dict[str, Any]:
    return {"type": "tool_use", "id": call_id, "name": name, "input": arguments}


FIRST, SECOND = tool_use("a", "f", x={"y": 1}), tool_use("b", "g", z=2)

STREAMS: dict[str, tuple[list[dict[str, Any]], list[dict[str, Any]], str]] = {
    "text": ([chunk({"content": "Hel"}), chunk({"content": "lo"}), FINISHED], [text("Hello")], "end_turn"),
    "cut by the limit": ([chunk({"content": "Hel"}), chunk({}, "length")], [text("Hel")], "max_tokens"),
    "filtered": ([chunk({"content": "Hel"}), chunk({}, "content_filter")], [text("Hel")], "refusal"),
    "filtered before it began": ([chunk({"content": ""}), chunk({}, "content_filter")], [], "refusal"),
    "thought until the limit": ([chunk({}), chunk({}, "length")], [], "max_tokens"),
    "T1: two calls interleaved": (
        [
            chunk(calls((0, "a", "f", ""))),
            chunk(calls((1, "b", "g", ""))),
            chunk(calls((0, None, None, '{"x":{"y":'))),
            chunk(calls((1, None, None, '{"z":'))),
            chunk(calls((0, None, None, "1}}"), (1, None, None, "2}"))),
            CALLED,
        ],
        [FIRST, SECOND],
        "tool_use",
    ),
    "T1: three calls, the last first": (
        [
            chunk(calls((2, "c", "h", "{}"))),
            chunk(calls((1, "b", "g", '{"z":2}'))),
            chunk(calls((0, "a", "f", '{"x":{"y":1}}'))),
            CALLED,
        ],
        [tool_use("c", "h"), FIRST, SECOND],
        "tool_use",
    ),
    "T2: text after a call": (
        [chunk(calls((0, "a", "f", '{"x":{"y":1}}'))), chunk({"content": "so"}), CALLED],
        [FIRST, text("so")],
        "tool_use",
    ),
    "T2: a line between two calls": (
        [
            chunk(calls((0, "a", "f", '{"x":{"y":1}}'))),
            chunk({"content": "\n"}),
            chunk(calls((1, "b", "g", '{"z":2}'))),
            CALLED,
        ],
        [FIRST, text("\n"), SECOND],
        "tool_use",
    ),
    "T2: text after two calls": (
        [chunk(calls((0, "a", "f", '{"x":{"y":1}}'), (1, "b", "g", '{"z":2}'))), chunk({"content": "so"}), CALLED],
        [FIRST, SECOND, text("so")],
        "tool_use",
    ),
    "T3: a call that finishes as text": (
        [chunk({"content": "I look"}), chunk(calls((0, "a", "f", '{"x":{"y":1}}'))), FINISHED],
        [text("I look"), FIRST],
        "tool_use",
    ),
    "T6: the reason twice": (
        [chunk(calls((0, "a", "f", '{"x":{"y":1}}'))), CALLED, chunk({}, "tool_calls", usage={"prompt_tokens": 1})],
        [FIRST],
        "tool_use",
    ),
    "T6: a chunk behind the reason": (
        [chunk({"content": "Hi"}), chunk({}, "stop"), chunk({"content": ""})],
        [text("Hi")],
        "end_turn",
    ),
    "T6: content on the finish chunk": (
        [chunk({"content": "Hel"}), chunk({"content": "lo"}, "stop")],
        [text("Hello")],
        "end_turn",
    ),
    "T17: a call without arguments": ([chunk(calls((0, "a", "f", ""))), CALLED], [tool_use("a", "f")], "tool_use"),
    "T17: a call with no arguments": ([chunk(calls((0, "a", "f", None))), CALLED], [tool_use("a", "f")], "tool_use"),
    "T19: reasoning, as Cerebras calls it": (
        [chunk({"reasoning": "h"}), chunk({"reasoning": "m"}), chunk({"content": "Hi"}), FINISHED],
        [thinking("hm"), text("Hi")],
        "end_turn",
    ),
    "T19: reasoning, as DeepSeek calls it": (
        [chunk({"reasoning_content": "hm", "content": None}), chunk({"content": "Hi"}), FINISHED],
        [thinking("hm"), text("Hi")],
        "end_turn",
    ),
    "reasoning by both names": (
        [chunk({"reasoning_content": "hm", "reasoning": "hm"}), chunk({"content": "Hi"}), FINISHED],
        [thinking("hm"), text("Hi")],
        "end_turn",
    ),
    "reasoning between texts": (
        [chunk({"content": "a"}), chunk({"reasoning": "b"}), chunk({"content": "c"}), FINISHED],
        [text("a"), thinking("b"), text("c")],
        "end_turn",
    ),
    "reasoning and text in one chunk": (
        [chunk({"content": "Hi", "reasoning": "hm"}, "stop")],
        [thinking("hm"), text("Hi")],
        "end_turn",
    ),
    "T21: a call in one chunk": (
        [chunk(calls((0, "a", "f", '{"x":{"y":1}}')), "tool_calls")],
        [FIRST],
        "tool_use",
    ),
    "T23: content that is null": (
        [chunk({"role": "assistant", "content": None}), chunk(calls((0, "a", "f", '{"x":{"y":1}}'))), CALLED],
        [FIRST],
        "tool_use",
    ),
    "a refusal": (
        [chunk({"refusal": "I c"}), chunk({"refusal": "an't"}), FINISHED],
        [text("I can't")],
        "refusal",
    ),
    "a refusal after text": (
        [chunk({"content": "Hm. "}), chunk({"refusal": "No."}), FINISHED],
        [text("Hm. "), text("No.")],
        "refusal",
    ),
    "calls without an index": (
        [chunk(calls((None, "a", "f", '{"x":{"y":1}}'), (None, "b", "g", '{"z":2}'))), CALLED],
        [FIRST, SECOND],
        "tool_use",
    ),
    "calls that are all number 0": (
        [chunk(calls((0, "a", "f", '{"x":{"y":1}}'))), chunk(calls((0, "b", "g", '{"z":2}'))), CALLED],
        [FIRST, SECOND],
        "tool_use",
    ),
    "a call whose id comes again": (
        [chunk(calls((0, "a", "f", '{"x":'))), chunk(calls((None, "a", "f", '{"y":1}}'))), CALLED],
        [FIRST],
        "tool_use",
    ),
    "a name after the id": (
        [chunk(calls((0, "a", None, None))), chunk(calls((0, None, "f", '{"x":{"y":1}}'))), CALLED],
        [FIRST],
        "tool_use",
    ),
    "calls without an id or an index": (
        [
            chunk(calls((None, None, "f", '{"x":'), (None, None, "g", '{"z":'))),
            chunk(calls((None, None, None, '{"y":1}}'), (None, None, None, "2}"))),
            CALLED,
        ],
        [{**FIRST, "id": "toolu_chatcmpl-1_0"}, {**SECOND, "id": "toolu_chatcmpl-1_1"}],
        "tool_use",
    ),
    "a name after the next call": (
        [chunk(calls((0, "a", None, None), (1, "b", "g", '{"z":2}'))), chunk(calls((0, None, "f", '{"x":{"y":1}}'))), CALLED],
        [FIRST, SECOND],
        "tool_use",
    ),
    "a call without an id": (
        [chunk(calls((0, None, "f", '{"x":{"y":1}}'))), CALLED],
        [{**FIRST, "id": "toolu_chatcmpl-1_0"}],
        "tool_use",
    ),
    "content in parts": (
        [
            chunk({"content": [{"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}]}),
            chunk({"content": [{"type": "text", "text": "H"}, {"type": "text", "text": "i"}]}),
            FINISHED,
        ],
        [thinking("hm"), text("Hi")],
        "end_turn",
    ),
    "a filter's words first": (
        [{"choices": [], "id": "", "model": "", "prompt_filter_results": []}, chunk({"content": "Hi"}), FINISHED],
        [text("Hi")],
        "end_turn",
    ),
}


@pytest.mark.parametrize(("chunks", "blocks", "reason"), STREAMS.values(), ids=STREAMS)
def test_a_stream_reads_as_the_message_that_it_is(
    chunks: list[dict[str, Any]], blocks: list[dict[str, Any]], reason: str
) -> None:
    """T1, T2, T3, T6, T17, T19, T21, T23."""
    message = message_in(sse(*chunks))

    assert blocks_of(message) == blocks
    assert message.stop_reason == reason
    assert (message.id, message.model) == ("msg_chatcmpl-1", "m")


@pytest.mark.parametrize(("chunks", "blocks", "reason"), STREAMS.values(), ids=STREAMS)
def test_all_thinking_is_signed_before_its_block_ends(
    chunks: list[dict[str, Any]], blocks: list[dict[str, Any]], reason: str
) -> None:
    """T8."""
    said = said_by(streamed(view_of(), sse(*chunks))[0])

    started = [event["index"] for event in said if event.get("content_block", {}).get("type") == "thinking"]
    last = [[event for event in said if event.get("index") == index][-2]["delta"] for index in started]
    assert len(started) == sum(block["type"] == "thinking" for block in blocks)
    assert all(delta["type"] == "signature_delta" and is_our_signature(delta["signature"]) for delta in last)


USAGE = {
    "prompt_tokens": 100,
    "completion_tokens": 20,
    "total_tokens": 120,
    "prompt_tokens_details": {"cached_tokens": 60, "cache_write_tokens": 10},
    "completion_tokens_details": {"reasoning_tokens": 5},
}
SAID = {"choices": [], "id": "chatcmpl-1", "usage": USAGE}
HI = chunk({"content": "Hi"})
USAGE_STREAMS = {
    "T4: after the finish chunk": [HI, FINISHED, SAID],
    "T4: on the finish chunk": [HI, chunk({}, "stop", usage=USAGE)],
    "T5: with an empty chunk behind it": [HI, FINISHED, SAID, {"choices": [], "usage": None}],
    "with every chunk": [chunk({"content": "Hi"}, usage={"prompt_tokens": 1, "completion_tokens": 1}), FINISHED, SAID],
    "as Groq says it": [HI, {**FINISHED, "x_groq": {"id": "r", "usage": USAGE}}],
    "with a text of Groq's name": [{**HI, "x_groq": "x"}, {**FINISHED, "usage": USAGE, "x_groq": None}],
}


@pytest.mark.parametrize("chunks", USAGE_STREAMS.values(), ids=USAGE_STREAMS)
def test_the_parts_of_the_input_add_up_in_a_stream(chunks: list[dict[str, Any]]) -> None:
    """T4, T5."""
    check_usage(message_in(sse(*chunks)))


def test_the_parts_of_the_input_add_up_in_a_document() -> None:
    """T5."""
    answer = view_of().answer(completion({"content": "Hi"}, "stop", usage=USAGE))

    assert isinstance(answer, bytes)
    check_usage(read_json_by_sdk(answer))


def check_usage(message: anthropic.types.Message) -> None:
    usage = message.usage
    assert (usage.input_tokens, usage.cache_read_input_tokens, usage.cache_creation_input_tokens) == (30, 60, 10)
    assert usage.output_tokens == 20
    assert usage.output_tokens_details is not None
    assert usage.output_tokens_details.thinking_tokens == 5


def test_a_hit_says_what_went_in_at_once() -> None:
    """T24."""
    events, _ = streamed(view_of(), sse(HI, FINISHED), Usage(100, 20, 60, 5, 10))

    start = said_by(events)[0]["message"]["usage"]
    assert start == {
        "input_tokens": 30,
        "cache_creation_input_tokens": 10,
        "cache_read_input_tokens": 60,
        "output_tokens": 0,
    }
    check_usage(read_by_sdk(events))


def test_what_nobody_counted_is_nothing() -> None:
    usage = message_in(sse(HI, FINISHED)).usage

    assert (usage.input_tokens, usage.output_tokens, usage.output_tokens_details) == (0, 0, None)


FAULTS: dict[str, list[dict[str, Any]]] = {
    "T7: no reason": [HI],
    "T7: a reason that is null": [HI, chunk({}, None)],
    "T23: nothing": [chunk({"role": "assistant", "content": ""}), FINISHED],
    "T23: calls that are none": [chunk({}, "tool_calls")],
    "no chunk": [],
    "an error": [HI, {"error": {"message": "overloaded", "code": 503}}, FINISHED],
    "an error beside a choice": [HI, {**chunk({}, "error"), "error": {"message": "x"}}],
    "an error in a choice": [HI, chunk({}, None, error={"message": "x"}), FINISHED],
    "an error that is a reason": [HI, chunk({}, "error")],
    "a flat error": [HI, {"message": "x", "type": "too_many_requests_error", "code": "queue_exceeded"}, FINISHED],
    "what is no chunk": [HI, {}, FINISHED],
    "what is too much to read": [HI, {**chunk({}), "x": [0] * 70_000}, FINISHED],
    "another choice": [HI, chunk({"content": "x"}, None, index=1), FINISHED],
    "a text that is a number": [HI, chunk({"content": 1}), FINISHED],
    "reasoning that is an object": [HI, chunk({"reasoning": {}}), FINISHED],
    "choices that are none": [HI, {"choices": {}}, FINISHED],
    "a call without a name": [chunk(calls((0, "a", None, "{}"))), CALLED],
    "a call that goes on after text": [
        chunk(calls((0, "a", "f", '{"x":'))),
        chunk({"content": "so"}),
        chunk(calls((0, None, None, "1}"))),
        CALLED,
    ],
    "an image": [chunk({"content": "Hi", "images": [{"type": "image_url"}]}), FINISHED],
    "a sound": [chunk({"audio": {"id": "a"}}), FINISHED],
    "a call of the old kind": [chunk({"function_call": {"name": "f", "arguments": "{}"}}), chunk({}, "function_call")],
    "a part that nobody knows": [chunk({"content": [{"type": "reference"}]}), FINISHED],
    "a reason that nobody knows": [HI, chunk({}, "done")],
}


@pytest.mark.parametrize("chunks", FAULTS.values(), ids=FAULTS)
def test_what_is_no_message_never_ends_as_one(chunks: list[dict[str, Any]]) -> None:
    """T7, T23."""
    for done in (True, False):
        events, fault = streamed(view_of(), sse(*chunks, done=done))

        assert fault
        assert b"message_stop" not in events
        assert b"message_delta" not in events


@pytest.mark.parametrize(
    "body",
    [
        sse(HI, done=False) + b'event: error\ndata: {"error":{"message":"x"}}\n\n',
        sse(HI, done=False) + b"data: {\n\n",
        sse(HI, done=False) + b'data: "x"\n\n',
        sse(HI, done=False) + b"data: \xff\n\n",
        sse(HI, done=False) + b"data: " + b"[" * 100_000 + b"\n\n",
        sse(HI, done=False) + b'event: vendor\ndata: {"choices":[]}\n\n',
    ],
    ids=["an error event", "no JSON", "no object", "no text", "a deep one", "an event of another name"],
)
def test_an_event_that_is_no_chunk_is_a_fault(body: bytes) -> None:
    translator = view_of().stream(None)

    for event in events_of(body):
        said = translator.feed(event)

    assert translator.fault
    assert (said, translator.end()) == (b"", b"")


def test_the_end_is_said_with_the_last_line_and_nothing_behind_it() -> None:
    """S6: an upstream may wait for its client to hang up at it."""
    translator = view_of().stream(None)

    said = [translator.feed(event) for event in events_of(sse(HI, FINISHED) + sse(HI))]

    assert b"message_stop" in said[2]
    assert (said[3:], translator.end(), translator.fault) == ([b"", b""], b"", None)
    assert message_in(sse(HI, FINISHED) + sse(HI)) == message_in(sse(HI, FINISHED))


def test_a_stream_without_its_last_line_that_has_ended_well_is_whole() -> None:
    events, fault = streamed(view_of(), sse(HI, FINISHED, done=False))

    assert fault is None
    check_nesting(said_by(events))


def test_the_last_line_may_come_twice() -> None:
    assert streamed(view_of(), sse(HI, FINISHED) + b"data: [DONE]\n\n")[1] is None


def test_a_message_begins_with_the_first_chunk_of_an_answer() -> None:
    translator = view_of().stream(None)
    first, second = events_of(sse(chunk({"role": "assistant", "content": ""}), HI, done=False))

    assert [event["type"] for event in said_by(translator.feed(first))] == ["message_start"]
    assert [event["type"] for event in said_by(translator.feed(second))] == ["content_block_start", "content_block_delta"]


def test_the_first_call_is_said_as_it_comes() -> None:
    translator = view_of().stream(None)
    chunks = [chunk(calls((0, "a", "f", ""))), chunk(calls((0, None, None, '{"x"'))), chunk(calls((1, "b", "g", "{}")))]

    said = [said_by(translator.feed(event)) for event in events_of(sse(*chunks, done=False))]

    assert [len(events) for events in said] == [2, 1, 0]


def test_arguments_that_were_cut_pass_as_they_are() -> None:
    """T18."""
    body = sse(chunk(calls((0, "a", "f", '{"x": [1, '))), chunk({}, "length"))

    events, fault = streamed(view_of(), body)

    said = [event["delta"]["partial_json"] for event in said_by(events) if event["type"] == "content_block_delta"]
    assert (fault, said) == (None, ['{"x": [1, '])


def completion(message: dict[str, Any], finish: str | None, *, usage: Any = None, **choice: Any) -> bytes:
    """Return a whole answer of a chat upstream."""
    message = {"role": "assistant", **message}
    choices = [{"index": 0, "message": message, "finish_reason": finish, **choice}]
    body = {"id": "chatcmpl-1", "object": "chat.completion", "model": "m", "choices": choices, "usage": usage}
    return json.dumps(body).encode()


def whole(name: str, arguments: Any, call_id: str = "a") -> dict[str, Any]:
    return {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}


DOCUMENTS: dict[str, tuple[dict[str, Any], str, list[dict[str, Any]], str]] = {
    "text": ({"content": "Hi"}, "stop", [text("Hi")], "end_turn"),
    "all of it": (
        {"tool_calls": [whole("f", '{"x": {"y": 1}}'), whole("g", '{"z":2}', "b")], "content": "Hi", "reasoning": "hm"},
        "tool_calls",
        [thinking("hm"), text("Hi"), FIRST, SECOND],
        "tool_use",
    ),
    "T3: a call that finishes as text": (
        {"content": "Hi", "tool_calls": [whole("f", '{"x":{"y":1}}')]},
        "stop",
        [text("Hi"), FIRST],
        "tool_use",
    ),
    "T17: no arguments": ({"tool_calls": [whole("f", "")]}, "tool_calls", [tool_use("a", "f")], "tool_use"),
    "T17: arguments that are null": ({"tool_calls": [whole("f", None)]}, "tool_calls", [tool_use("a", "f")], "tool_use"),
    "T19: reasoning_content": ({"content": "Hi", "reasoning_content": "hm"}, "stop", [thinking("hm"), text("Hi")], "end_turn"),
    "T23: content that is null": (
        {"content": None, "tool_calls": [whole("f", "{}")]},
        "stop",
        [tool_use("a", "f")],
        "tool_use",
    ),
    "a refusal": ({"content": None, "refusal": "No."}, "stop", [text("No.")], "refusal"),
    "filtered": ({"content": ""}, "content_filter", [], "refusal"),
    "cut by the limit": ({"content": "H", "tool_calls": []}, "length", [text("H")], "max_tokens"),
    "no calls": ({"content": "H", "tool_calls": None, "images": [], "audio": None}, "stop", [text("H")], "end_turn"),
}


@pytest.mark.parametrize(("message", "finish", "blocks", "reason"), DOCUMENTS.values(), ids=DOCUMENTS)
def test_a_document_reads_as_the_message_that_it_is(
    message: dict[str, Any], finish: str, blocks: list[dict[str, Any]], reason: str
) -> None:
    """T3, T17, T19, T23."""
    answer = view_of().answer(completion(message, finish))

    assert isinstance(answer, bytes)
    read = read_json_by_sdk(answer)
    assert blocks_of(read) == blocks
    assert (read.stop_reason, read.id, read.model) == (reason, "msg_chatcmpl-1", "m")


UNSAYABLE: dict[str, bytes] = {
    "T7: no reason": completion({"content": "Hi"}, None),
    "T18: arguments that were cut": completion({"tool_calls": [whole("f", '{"x": ')]}, "length"),
    "T18: arguments that are a list": completion({"tool_calls": [whole("f", "[1]")]}, "tool_calls"),
    "T18: arguments that name one twice": completion({"tool_calls": [whole("f", '{"x":1,"x":2}')]}, "tool_calls"),
    "T18: arguments that are deep": completion({"tool_calls": [whole("f", '{"x":' * 5_000)]}, "tool_calls"),
    "T23: nothing": completion({"content": ""}, "stop"),
    "a call without a name": completion({"tool_calls": [whole("", "{}")]}, "tool_calls"),
    "another choice": completion({"content": "Hi"}, "stop", index=1),
    "an error": b'{"error":{"message":"x"}}',
    "an error beside an answer": completion({"content": "Hi"}, "stop").replace(b'"id":', b'"error":"x","id":'),
    "a flat error": b'{"message":"x","type":"y","code":"z"}',
    "no choice": b'{"choices":[],"usage":{}}',
    "two choices": b'{"choices":[{"message":{"content":"a"},"finish_reason":"stop"},{"message":{"content":"a"}}]}',
    "no message": b'{"choices":[{"index":0,"finish_reason":"stop"}]}',
    "a list": b"[]",
    "no JSON": b"<html>",
    "nothing at all": b"",
    "a number too large": b'{"choices":[{"index":1e999}]}',
    "what is too much to read": completion({"content": "Hi", "x": [0] * 300_000}, "stop"),
    "an image": completion({"content": "Hi", "images": [{}]}, "stop"),
}


@pytest.mark.parametrize("body", UNSAYABLE.values(), ids=UNSAYABLE)
def test_a_document_that_is_no_message_cannot_be_said(body: bytes) -> None:
    """T7, T18, T23."""
    answer = view_of().answer(body)

    assert isinstance(answer, Unsayable)
    assert answer.why


STOPS: dict[str, tuple[dict[str, Any], str, str | None]] = {
    "vLLM": ({"stop_reason": "END"}, "stop_sequence", "END"),
    "SGLang": ({"matched_stop": "END"}, "stop_sequence", "END"),
    "a token": ({"stop_reason": 128_009}, "end_turn", None),
    "null": ({"stop_reason": None}, "end_turn", None),
    "another text": ({"stop_reason": "eos"}, "end_turn", None),
    "nothing": ({}, "end_turn", None),
}


@pytest.mark.parametrize(("choice", "reason", "stop"), STOPS.values(), ids=STOPS)
def test_a_stop_sequence_is_said_where_the_upstream_says_it(choice: dict[str, Any], reason: str, stop: str | None) -> None:
    view = view_of(stop_sequences=["END", "."])

    answer = view.answer(completion({"content": "Hi"}, "stop", **choice))
    events, _ = streamed(view, sse(HI, chunk({}, "stop", **choice)))

    assert isinstance(answer, bytes)
    for message in (read_json_by_sdk(answer), read_by_sdk(events)):
        assert (message.stop_reason, message.stop_sequence) == (reason, stop)


def test_a_name_that_was_too_long_comes_back_as_it_was() -> None:
    name = "n" * 70
    view = view_of(tools=[{"name": name, "input_schema": {}}])
    sent = f"{'n' * 55}_85069ddf"

    answer = view.answer(completion({"tool_calls": [whole(sent, "{}")]}, "tool_calls"))
    events, _ = streamed(view, sse(chunk(calls((0, "a", sent, "{}"))), CALLED))

    assert isinstance(answer, bytes)
    assert blocks_of(read_json_by_sdk(answer)) == blocks_of(read_by_sdk(events)) == [tool_use("a", name)]


def test_the_numbers_of_arguments_are_as_the_model_said_them() -> None:
    answer = view_of().answer(completion({"tool_calls": [whole("f", '{"x": 1.0, "y": 12345678901234567890123}')]}, "stop"))

    assert isinstance(answer, bytes)
    assert b'"input":{"x": 1.0, "y": 12345678901234567890123}' in answer


@pytest.mark.parametrize(("chunks", "_blocks", "_reason"), STREAMS.values(), ids=STREAMS)
def test_a_record_translated_twice_is_the_same_bytes(chunks: list[dict[str, Any]], _blocks: Any, _reason: Any) -> None:
    """T9."""
    body = sse(*chunks)

    assert streamed(view_of(), body) == streamed(view_of(), body)


def test_the_second_turn_of_an_agent_says_the_first_as_the_upstream_did() -> None:
    """T9, T20."""
    events, _ = streamed(view_of(), sse(chunk({"reasoning": "hm"}), chunk(calls((0, "a", "f", '{"x":{"y":1}}'))), CALLED))
    message = read_by_sdk(events)
    sent = {"role": "assistant", "content": [block.model_dump(exclude_unset=True) for block in message.content]}
    result = {"type": "tool_result", "tool_use_id": "a", "content": "r"}
    history = [ASKED["messages"][0], sent, {"role": "user", "content": [result]}]

    said = translated({"messages": history}, chat_row("cerebras", "gpt-oss-120b"))

    assert json.loads(said.body)["messages"][1] == {
        "role": "assistant",
        "content": None,
        "reasoning": "hm",
        "tool_calls": [whole("f", '{"x":{"y":1}}')],
    }
    assert said.told == ()


def test_a_ping_is_nothing_to_the_sdk() -> None:
    view = view_of()
    events, _ = streamed(view, sse(HI, FINISHED))
    ping = view.stream(None).ping

    assert blocks_of(read_by_sdk(events.replace(b"event: content_block_start", ping + b"event: content_block_start"))) == [
        text("Hi")
    ]


ERRORS: dict[str, tuple[int, bytes, str, str]] = {
    "OpenAI": (401, b'{"error":{"message":"bad key","type":"x","code":"y"}}', "authentication_error", "bad key"),
    "Cerebras": (429, b'{"message":"slow down","type":"t","param":"p","code":"c"}', "rate_limit_error", "slow down"),
    "detail": (403, b'{"detail":"Not authenticated"}', "permission_error", "Not authenticated"),
    "details": (422, b'{"detail":[{"loc":[],"msg":"field required"}]}', "invalid_request_error", "field required"),
    "Gemini": (404, b'[{"error":{"code":404,"message":"no model"}}]', "not_found_error", "no model"),
    "Anthropic": (529, b'{"type":"error","error":{"type":"t","message":"busy"}}', "overloaded_error", "busy"),
    "a text in an error": (400, b'{"error":"no"}', "invalid_request_error", "no"),
    "a page": (502, b"<html><head><title>502 Bad\n Gateway</title></head>x</html>", "api_error", "502 Bad Gateway"),
    "a page without a title": (503, b"<h1>Away</h1><p>Later</p>", "overloaded_error", "Away Later"),
    "a text": (504, b"error code: 1010", "timeout_error", "error code: 1010"),
    "a JSON text": (500, b'"no"', "api_error", "no"),
    "nothing": (413, b"", "request_too_large", "the upstream answered 413 and said no more"),
    "nothing that it says": (402, b'{"error":{"code":1}}', "billing_error", "the upstream answered 402 and said no more"),
    "bytes": (500, b"\xff", "api_error", "\ufffd"),
    "brackets": (500, b"<" * 100_000, "api_error", "<" * 4_000),
    "a deep one": (500, b"[" * 100_000, "api_error", "[" * 4_000),
    "a long one": (400, b'{"message":"' + b"x" * 9_000 + b'"}', "invalid_request_error", "x" * 4_000),
}


@pytest.mark.parametrize(("status", "body", "kind", "message"), ERRORS.values(), ids=ERRORS)
def test_an_error_reads_as_one_of_anthropics(status: int, body: bytes, kind: str, message: str) -> None:
    said = view_of().error(status, body)

    with client_for(said, "application/json", status) as client, pytest.raises(anthropic.APIStatusError) as raised:
        client.messages.create(**ASKED)
    assert raised.value.status_code == status
    assert raised.value.body == {"type": "error", "error": {"type": kind, "message": message}}


@pytest.mark.parametrize("request_id", ["req_1", None, 1, "x" * 300])
def test_an_error_keeps_the_id_of_its_request(request_id: Any) -> None:
    said = json.loads(view_of().error(500, json.dumps({"message": "x", "request_id": request_id}).encode()))

    assert said.get("request_id") == (request_id if request_id == "req_1" else None)


def test_what_is_ours_says_nothing_of_what_was_said() -> None:
    view = view_of(tools=[{"name": "secret", "input_schema": {}}], stop_sequences=["secret"])

    assert "secret" not in repr(view)
