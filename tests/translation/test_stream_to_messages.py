"""A stream of Anthropic's API as one of chat completion chunks: in order, whole, or a fault."""

import json
from typing import Any

import pytest

from cachemw.wire.sse import Event, Parser, encode
from tests.cassettes import FOLDER, cassette
from tests.translation.talking_to_messages import (
    Members,
    chunks_in,
    essence,
    events_of,
    message,
    parsed,
    read_stream_by_sdk,
    text,
    thinking,
    tool_use,
    translated,
    view,
)

RECORDINGS = sorted(path.name for path in FOLDER.glob("anthropic_stream_*.sse")) or ["anthropic_stream_tools.sse"]
UNSAYABLE = frozenset({"anthropic_stream_code_execution.sse"})

START: Members = {"type": "message_start", "message": message()}
STOP: Members = {"type": "message_stop"}
PING: Members = {"type": "ping"}


def begin(index: int = 0, block: Members | None = None) -> Members:
    return {"type": "content_block_start", "index": index, "content_block": block or text("")}


def add(index: int = 0, **delta: Any) -> Members:
    return {"type": "content_block_delta", "index": index, "delta": delta or {"type": "text_delta", "text": "x"}}


def close(index: int = 0) -> Members:
    return {"type": "content_block_stop", "index": index}


def over(stop_reason: str | None = "end_turn", **usage: int) -> Members:
    return {"type": "message_delta", "delta": {"stop_reason": stop_reason, "stop_sequence": None}, "usage": usage}


def json_piece(piece: str, index: int = 0) -> Members:
    return add(index, type="input_json_delta", partial_json=piece)


SOUND = [START, begin(), add(), close(), over(output_tokens=7), STOP]


def deltas(*events: Members) -> list[Members]:
    """Return the deltas of the chunks that have choices."""
    return [chunk["choices"][0]["delta"] for chunk in chunks_in(translated(parsed(events))[0]) if chunk["choices"]]


def fault(*events: Members) -> str:
    stream, translator = translated(parsed(events))
    assert b"[DONE]" not in stream
    assert translator.fault is not None
    return translator.fault


def test_a_stream_is_one_of_chunks_to_the_byte() -> None:
    head = b'data: {"id":"chatcmpl-msg_1","object":"chat.completion.chunk","created":0,"model":"claude-x","choices":['

    stream, _ = translated(parsed(SOUND), include_usage=False)

    assert stream == (
        head
        + b'{"index":0,"delta":{"role":"assistant","content":""},"logprobs":null,"finish_reason":null}]}\n\n'
        + head
        + b'{"index":0,"delta":{"content":"x"},"logprobs":null,"finish_reason":null}]}\n\n'
        + head
        + b'{"index":0,"delta":{},"logprobs":null,"finish_reason":"stop"}]}\n\n'
        + b"data: [DONE]\n\n"
    )


def test_a_chunk_is_sent_as_soon_as_its_event_is_there() -> None:
    translator = view().stream(None)

    sent = [translator.feed(event).count(b"data: ") for event in parsed(SOUND)]

    assert sent == [1, 0, 1, 0, 0, 3]


def test_usage_is_in_a_chunk_of_its_own_and_what_came_last_holds() -> None:
    """T4, T5, the other way."""
    last = chunks_in(
        translated(parsed([*SOUND[:-1], over(None, input_tokens=4, cache_read_input_tokens=2, output_tokens=9), STOP]))[0]
    )[-1]

    assert last["choices"] == []
    assert last["usage"] == {
        "prompt_tokens": 6,
        "completion_tokens": 9,
        "total_tokens": 15,
        "prompt_tokens_details": {"cached_tokens": 2, "cache_write_tokens": 0},
    }


def test_usage_that_is_not_known_is_not_made_up() -> None:
    start = {"type": "message_start", "message": {"id": "m", "model": "c"}}

    chunks = chunks_in(translated(parsed([start, *SOUND[1:]]))[0])

    assert all(chunk["usage"] is None for chunk in chunks)


def test_thinking_is_reasoning_content_and_its_signature_is_dropped() -> None:
    assert deltas(*events_of(message(thinking("ab"), text("x")), 2)) == [
        {"role": "assistant", "content": ""},
        {"reasoning_content": "a"},
        {"reasoning_content": "b"},
        {"content": "x"},
        {},
    ]


def test_a_call_is_numbered_among_the_calls_alone() -> None:
    """§3.3: the index is the ordinal of tool blocks."""
    said = deltas(*events_of(message(text("x"), tool_use("a", k=1), text("y"), tool_use("b", k=2), stop_reason="tool_use"), 1))

    calls = [delta["tool_calls"][0] for delta in said if "tool_calls" in delta]
    assert calls == [
        {"index": 0, "id": "a", "type": "function", "function": {"name": "f", "arguments": ""}},
        {"index": 0, "function": {"arguments": '{"k": 1}'}},
        {"index": 1, "id": "b", "type": "function", "function": {"name": "f", "arguments": ""}},
        {"index": 1, "function": {"arguments": '{"k": 2}'}},
    ]


@pytest.mark.parametrize("pieces", [[], [""], ["", ""]], ids=["no piece", "an empty one", "two"])
def test_t17_a_call_without_any_arguments_ends_with_an_empty_object(pieces: list[str]) -> None:
    """T17."""
    made = [START, begin(block=tool_use()), *map(json_piece, pieces), close(), over("tool_use"), STOP]

    arguments = [delta["tool_calls"][0]["function"]["arguments"] for delta in deltas(*made) if "tool_calls" in delta]

    assert arguments == ["", "{}"]


@pytest.mark.parametrize("stop_reason", ["max_tokens", "model_context_window_exceeded"])
def test_t18_arguments_that_were_cut_are_as_they_came(stop_reason: str) -> None:
    """T18: never `{}`, never repaired."""
    nothing = [START, begin(block=tool_use()), close(), over(stop_reason), STOP]
    half = [START, begin(block=tool_use()), json_piece('{"a": "b'), close(), over(stop_reason), STOP]

    for events, expected in ((nothing, [""]), (half, ["", '{"a": "b'])):
        said = deltas(*events)
        assert [delta["tool_calls"][0]["function"]["arguments"] for delta in said if "tool_calls" in delta] == expected


def test_only_the_last_call_can_have_been_cut() -> None:
    made = [START, begin(block=tool_use("a")), close(), begin(1, tool_use("b")), close(1), over("max_tokens"), STOP]

    assert [delta["tool_calls"][0]["function"]["arguments"] for delta in deltas(*made) if "tool_calls" in delta] == [
        "",
        "{}",
        "",
    ]


def test_what_a_block_begins_with_is_said() -> None:
    made = [START, begin(block=text("a")), add(), close(), begin(1, tool_use(k=1)), close(1), over("tool_use"), STOP]

    assert deltas(*made)[1:5] == [
        {"content": "a"},
        {"content": "x"},
        {"tool_calls": [{"index": 0, "id": "toolu_1", "type": "function", "function": {"name": "f", "arguments": ""}}]},
        {"tool_calls": [{"index": 0, "function": {"arguments": '{"k":1}'}}]},
    ]


def test_events_that_nobody_knows_are_passed_over() -> None:
    assert translated(parsed([START, {"type": "news", "index": 9}, *SOUND[1:]]))[0] == translated(parsed(SOUND))[0]


def test_a_ping_keeps_the_connection_of_a_chat_client_awake_until_the_end() -> None:
    """A model that thinks for minutes sends nothing else; a comment is what SSE has for it, and says nothing."""
    whole, comment = translated(parsed(SOUND))[0], b": ping\n\n"

    said = translated(parsed([PING, START, PING, *SOUND[1:], PING]))[0]

    assert said.count(comment) == 2
    assert said.replace(comment, b"") == whole


def test_a_ping_of_ours_is_a_comment() -> None:
    translator = view().stream(None)

    assert translator.ping == b": ping\n\n"
    assert Parser().feed(translator.ping) == []


def test_a_refusal_is_said_with_its_explanation() -> None:
    ending = {"type": "message_delta", "delta": {"stop_reason": "refusal", "stop_details": {"explanation": "no"}}}

    chunks = chunks_in(translated(parsed([START, ending, STOP]), include_usage=False)[0])

    assert [chunk["choices"][0]["delta"] for chunk in chunks] == [{"role": "assistant", "content": ""}, {"refusal": "no"}, {}]
    assert chunks[-1]["choices"][0]["finish_reason"] == "content_filter"


@pytest.mark.parametrize("count", range(len(SOUND)))
def test_t7_a_stream_that_ends_early_is_a_fault_and_never_done(count: int) -> None:
    """T7, the other way: whoever reads on is told, and no finish reason came before."""
    stream, translator = translated(parsed(SOUND[:count]))

    assert translator.fault is not None
    assert b"[DONE]" not in stream
    assert b'"finish_reason":"' not in stream


@pytest.mark.parametrize("name", RECORDINGS)
def test_a_recording_cut_behind_any_event_is_a_fault(name: str) -> None:
    events = Parser(ends=None).feed(cassette(name))
    whole = next(at for at, event in enumerate(events) if b'"message_stop"' in event.data)

    for count in range(whole + 1):
        stream, translator = translated(events[:count])
        assert translator.fault is not None
        assert b"[DONE]" not in stream


@pytest.mark.parametrize("name", [name for name in RECORDINGS if name not in UNSAYABLE])
def test_a_recording_is_read_by_the_sdk_as_it_was_said(name: str) -> None:
    """Text, reasoning, calls, why it is over and what it took, as our own sum of the events has them."""
    recorded = cassette(name)

    stream, translator = translated(Parser(ends=None).feed(recorded))

    assert translator.fault is None
    assert essence(read_stream_by_sdk(stream)) == _summed(recorded)


def test_what_providers_tools_did_is_a_fault() -> None:
    """T22."""
    stream, translator = translated(Parser(ends=None).feed(cassette("anthropic_stream_code_execution.sse")))

    assert translator.fault is not None
    assert b"[DONE]" not in stream


def _summed(recorded: bytes) -> Members:
    """Return what the events of a stream come to, read by hand."""
    events = [json.loads(line[6:]) for line in recorded.splitlines() if line.startswith(b"data: ")]
    blocks: dict[int, Members] = {}
    usage: Members = {}
    said: Members = {}
    for event in events:
        match event["type"]:
            case "message_start":
                said = {"id": "chatcmpl-" + event["message"]["id"], "model": event["message"]["model"]}
                usage |= event["message"]["usage"]
            case "content_block_start":
                blocks[event["index"]] = {**event["content_block"], "input": ""}
            case "content_block_delta":
                for name in ("text", "thinking", "partial_json"):
                    member = "input" if name == "partial_json" else name
                    blocks[event["index"]][member] = blocks[event["index"]].get(member, "") + event["delta"].get(name, "")
            case "message_delta":
                usage |= event["usage"]
                reason = event["delta"]["stop_reason"]
    prompt = sum(usage.get(name) or 0 for name in ("input_tokens", "cache_read_input_tokens", "cache_creation_input_tokens"))
    details = {
        "cached_tokens": usage.get("cache_read_input_tokens") or 0,
        "cache_write_tokens": usage.get("cache_creation_input_tokens") or 0,
    }
    return {
        **said,
        "content": "".join(one["text"] for one in blocks.values() if one["type"] == "text") or None,
        "refusal": None,
        "reasoning": "".join(one["thinking"] for one in blocks.values() if one["type"] == "thinking") or None,
        "calls": [
            (one["id"], one["name"], json.loads(one["input"] or "{}")) for one in blocks.values() if one["type"] == "tool_use"
        ],
        "finish_reason": {"end_turn": "stop", "max_tokens": "length", "tool_use": "tool_calls"}[reason],
        "usage": {
            "prompt_tokens": prompt,
            "completion_tokens": usage["output_tokens"],
            "total_tokens": prompt + usage["output_tokens"],
            "prompt_tokens_details": details,
        },
    }


ERROR: Members = {"type": "error", "error": {"type": "overloaded_error", "message": "secret"}}


def test_an_error_event_is_a_fault_that_names_its_type_and_nothing_of_it() -> None:
    assert fault(START, ERROR) == "the upstream broke off its answer with an error: overloaded_error"
    assert (
        fault(START, {"type": "error", "error": {"type": "Some Secret"}}) == "the upstream broke off its answer with an error"
    )
    assert fault(START, {"type": "error"}) == "the upstream broke off its answer with an error"


def test_an_error_without_the_name_of_its_event_is_one() -> None:
    translator = view().stream(None)

    assert translator.feed(Event(b"", json.dumps(ERROR).encode(), 0, 0)) == b""
    assert translator.fault == fault(START, ERROR)


def test_an_event_of_too_many_objects_is_not_read() -> None:
    translator = view().stream(None)

    assert translator.feed(Event(b"", b'{"type":"ping","x":[' + b",".join([b"{}"] * 2**18) + b"]}", 0, 0)) == b""
    assert translator.fault is not None


def test_an_event_by_the_name_of_an_error_is_one_whatever_it_holds() -> None:
    stream, translator = translated(Parser(ends=None).feed(encode(b"gone", b"error")))

    assert (stream, translator.fault) == (b"", "the upstream broke off its answer with an error")


FAULTS: dict[str, list[Members]] = {
    "no beginning": SOUND[1:],
    "two beginnings": [START, *SOUND],
    "a beginning with content": [{"type": "message_start", "message": message(text())}],
    "two blocks at once": [START, begin(), begin(1), close(1), close(), over(), STOP],
    "a block left out": [START, begin(1), close(1), over(), STOP],
    "a piece of no block": [START, add(), over(), STOP],
    "a piece of another block": [START, begin(), add(1), close(), over(), STOP],
    "a piece of a closed block": [START, begin(), add(), close(), add(), over(), STOP],
    "the end of no block": [START, close(), over(), STOP],
    "a block left open": [START, begin(), add(), over(), STOP],
    "a piece of another type": [START, begin(), json_piece("{}"), close(), over(), STOP],
    "a piece that nobody knows": [START, begin(), add(type="new_delta"), close(), over(), STOP],
    "a block that chat has no words for": [START, begin(block={"type": "server_tool_use", "id": "x"}), close(), over(), STOP],
    "no stop reason": [START, begin(), add(), close(), STOP],
    "a stop reason of null": [START, begin(), add(), close(), over(None), STOP],
    "a turn that is not over": [START, begin(), add(), close(), over("pause_turn"), STOP],
    "T23: nothing said": [START, over(), STOP],
    "T23: an empty text": [START, begin(), close(), over(), STOP],
    "a beginning without a message": [{"type": "message_start"}],
    "an input that is no object": [START, begin(block={**tool_use(), "input": 1}), close(), over("tool_use"), STOP],
    "a block before the first": [START, begin(-1), add(), close(), over(), STOP],
    "a block of another number": [START, begin(5), add(), close(), over(), STOP],
}


@pytest.mark.parametrize("row", FAULTS)
def test_what_is_not_in_order_is_a_fault(row: str) -> None:
    assert fault(*FAULTS[row])


@pytest.mark.parametrize(
    "raw", [b"", b"{", b"[]", b"null", b"[DONE]", b'{"type":1}', b"\xff", b'{"type":"x","index":' + b"[" * 10**5]
)
def test_an_event_that_cannot_be_read_is_a_fault(raw: bytes) -> None:
    translator = view().stream(None)

    assert translator.feed(Event(b"", raw, 0, 0)) == b""
    assert translator.fault is not None


def test_nothing_is_said_behind_a_fault() -> None:
    translator = view().stream(None)
    translator.feed(Event(b"", b"{", 0, 0))

    assert b"".join(map(translator.feed, parsed(SOUND))) + translator.end() == b""


@pytest.mark.parametrize("more", [[], [over()], [STOP], [begin(1)]], ids=["nothing", "an ending", "an end", "a block"])
def test_the_end_is_said_with_the_last_event_and_nothing_behind_it(more: list[Members]) -> None:
    """S6: an upstream may wait for its client to hang up at it."""
    translator = view().stream(None)

    said = [translator.feed(event) for event in parsed([*SOUND, *more])]

    assert said[len(SOUND) - 1].endswith(b"data: [DONE]\n\n")
    assert said[len(SOUND) :] == [b""] * len(more)
    assert (translator.end(), translator.fault) == (b"", None)
