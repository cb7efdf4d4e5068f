"""A whole message as a chat completion, and errors as chat clients read them."""

import json
from typing import Any

import openai
import pytest

from cachemw.translation.base import Unsayable
from tests.cassettes import cassette
from tests.translation.talking_to_messages import (
    Members,
    essence,
    message,
    read_by_sdk,
    text,
    thinking,
    tool_use,
    unsayable,
    view,
    whole,
)

REDACTED = {"type": "redacted_thinking", "data": "x"}


def test_a_message_is_a_completion_to_the_byte() -> None:
    said = view().answer(json.dumps(message(text())).encode())

    assert said == (
        b'{"id":"chatcmpl-msg_1","object":"chat.completion","created":0,"model":"claude-x","choices":[{"index":0,'
        b'"message":{"role":"assistant","content":"hello","refusal":null},"logprobs":null,"finish_reason":"stop"}],'
        b'"usage":{"prompt_tokens":3,"completion_tokens":5,"total_tokens":8,'
        b'"prompt_tokens_details":{"cached_tokens":0,"cache_write_tokens":0}}}'
    )


@pytest.mark.parametrize(
    ("stop_reason", "finish_reason"),
    [
        ("end_turn", "stop"),
        ("stop_sequence", "stop"),
        ("max_tokens", "length"),
        ("model_context_window_exceeded", "length"),
        ("tool_use", "tool_calls"),
        ("refusal", "content_filter"),
    ],
)
def test_a_stop_reason_is_a_finish_reason(stop_reason: str, finish_reason: str) -> None:
    assert whole(message(text(), stop_reason=stop_reason))["choices"][0]["finish_reason"] == finish_reason


@pytest.mark.parametrize("stop_reason", ["pause_turn", "compaction", None, "", 1])
def test_an_answer_that_is_not_over_or_over_for_another_reason_is_unsayable(stop_reason: Any) -> None:
    assert unsayable(message(text(), stop_reason=stop_reason))


def test_thinking_text_and_calls_have_their_own_members() -> None:
    said = whole(
        message(thinking("a"), text("x"), thinking("b"), tool_use("c", a=1), text("y"), tool_use("d"), stop_reason="tool_use")
    )

    choice = said["choices"][0]["message"]
    assert (choice["reasoning_content"], choice["content"]) == ("ab", "xy")
    assert choice["tool_calls"] == [
        {"id": "c", "type": "function", "function": {"name": "f", "arguments": '{"a":1}'}},
        {"id": "d", "type": "function", "function": {"name": "f", "arguments": "{}"}},
    ]


def test_arguments_are_compact_and_their_numbers_as_they_were() -> None:
    raw = json.dumps(message(tool_use(a="NUMBER", b=" x "))).replace('"NUMBER"', '1.10, \n\t "c": 123456789012345678901')

    said = view().answer(raw.encode())

    assert isinstance(said, bytes)
    arguments = json.loads(said)["choices"][0]["message"]["tool_calls"][0]["function"]["arguments"]
    assert arguments == '{"a":1.10,"c":123456789012345678901,"b":" x "}'


def test_t5_input_is_the_sum_of_what_was_read_written_and_new() -> None:
    """T5, the other way: they do not overlap at Anthropic's."""
    usage = {
        "input_tokens": 1,
        "cache_creation_input_tokens": 20,
        "cache_read_input_tokens": 300,
        "output_tokens": 4000,
        "output_tokens_details": {"thinking_tokens": 50},
    }

    assert whole(message(text(), usage=usage))["usage"] == {
        "prompt_tokens": 321,
        "completion_tokens": 4000,
        "total_tokens": 4321,
        "prompt_tokens_details": {"cached_tokens": 300, "cache_write_tokens": 20},
        "completion_tokens_details": {"reasoning_tokens": 50},
    }


@pytest.mark.parametrize("usage", [None, {}, {"input_tokens": 1}, {"output_tokens": 1}])
def test_usage_that_is_not_whole_is_not_made_up(usage: Members | None) -> None:
    assert "usage" not in whole(message(text(), usage=usage))


def test_t17_a_call_without_input_has_empty_arguments() -> None:
    """T17."""
    said = whole(message(tool_use(), stop_reason="tool_use"))

    assert said["choices"][0]["message"]["tool_calls"][0]["function"]["arguments"] == "{}"


def test_t18_input_that_may_have_been_cut_is_never_an_empty_object() -> None:
    """T18: a call that was cut before its arguments has none."""
    said = whole(message(tool_use("a"), tool_use("b"), stop_reason="max_tokens"))

    calls = said["choices"][0]["message"]["tool_calls"]
    assert [one["function"]["arguments"] for one in calls] == ["{}", ""]


@pytest.mark.parametrize(
    "content", [[], [text("")], [text(""), thinking("")][:1]], ids=["no block", "an empty text", "one of two"]
)
def test_t23_an_answer_that_says_nothing_is_unsayable(content: list[Members]) -> None:
    """T23."""
    assert unsayable(message(*content))


@pytest.mark.parametrize("block", [thinking(""), REDACTED], ids=["thinking nobody sees", "redacted"])
def test_an_answer_that_was_all_thought_is_one_without_content(block: Members) -> None:
    said = whole(message(block, stop_reason="max_tokens"))

    assert said["choices"][0]["message"] == {"role": "assistant", "content": None, "refusal": None}


def test_a_refusal_is_said_with_its_explanation_and_may_have_no_content() -> None:
    said = whole(message(stop_reason="refusal", stop_details={"type": "refusal", "explanation": "no", "category": None}))

    assert said["choices"][0]["message"] == {"role": "assistant", "content": None, "refusal": "no"}


@pytest.mark.parametrize(
    "kind", ["server_tool_use", "web_search_tool_result", "mcp_tool_use", "container_upload", "compaction", "new"]
)
def test_t22_what_chat_has_no_words_for_is_unsayable(kind: str) -> None:
    """T22: never a 200 that leaves something out."""
    assert unsayable(message(text(), {"type": kind, "id": "x"}))


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"{",
        b"null",
        b'{"type":"message"}',
        b'{"type":"error","error":{"type":"api_error"}}',
        b"\xff",
        b'{"type":"message","content":' + b"[" * 10**5,
    ],
)
def test_what_is_no_message_is_unsayable(body: bytes) -> None:
    assert isinstance(view().answer(body), Unsayable)


def test_input_that_is_no_object_is_unsayable() -> None:
    assert unsayable(message({**tool_use(), "input": [1]}))


def test_a_message_of_too_many_objects_is_not_read() -> None:
    body = b'{"type":"message","content":[' + b",".join([b'{"type":"text"}'] * 2**17) + b"]}"

    assert isinstance(view().answer(body), Unsayable)


def test_why_an_answer_is_unsayable_holds_nothing_of_it() -> None:
    assert "secret" not in unsayable(message({"type": "secret", "text": "secret"}))


def test_a_recorded_message_is_read_by_the_sdk() -> None:
    said = view().answer(cassette("anthropic_parallel_tools.json"))

    assert isinstance(said, bytes)
    read = essence(read_by_sdk(said))
    assert [name for _, name, _ in read["calls"]] == ["weather", "best_language_to_learn"]
    assert [arguments for _, _, arguments in read["calls"]] == [{"latitude": "52.5200", "longitude": "13.4050"}, {}]
    assert read["finish_reason"] == "tool_calls"
    assert read["usage"]["total_tokens"] == 799


def test_what_was_read_from_the_cache_counts_as_input() -> None:
    said = view().answer(cassette("anthropic_cache_read.json"))

    assert isinstance(said, bytes)
    usage = json.loads(said)["usage"]
    assert (usage["prompt_tokens"], usage["prompt_tokens_details"]["cached_tokens"]) == (7361, 7351)


def test_a_stop_sequence_is_a_stop() -> None:
    said = view().answer(cassette("anthropic_stop_sequence.json"))

    assert isinstance(said, bytes)
    assert json.loads(said)["choices"][0]["finish_reason"] == "stop"


# A row is: the status, the body, and the message and the type that a chat client reads.
ERRORS: dict[str, tuple[int, bytes, str, str]] = {
    "Anthropic's": (
        529,
        b'{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"},"request_id":"r"}',
        "Overloaded",
        "overloaded_error",
    ),
    "OpenAI's": (400, b'{"error":{"message":"m","type":"t","code":"c","param":null}}', "m", "t"),
    "flat": (429, b'{"message":"m","type":"t"}', "m", "rate_limit_error"),
    "a detail": (403, b'{"detail":"Not authenticated"}', "Not authenticated", "permission_error"),
    "a text as an error": (500, b'{"error":"m"}', "m", "api_error"),
    "a page": (502, b"<html>Bad Gateway</html>\n", "<html>Bad Gateway</html>", "api_error"),
    "nothing": (404, b"", "the upstream answered with status 404", "not_found_error"),
    "no object": (413, b"[]", "the upstream answered with status 413", "request_too_large"),
    "odd members": (401, b'{"error":{"type":[],"message":1}}', "the upstream answered with status 401", "authentication_error"),
}


@pytest.mark.parametrize("row", ERRORS)
def test_an_error_is_one_of_chat_whichever_shape_it_came_in(row: str) -> None:
    status, body, said, kind = ERRORS[row]

    error = json.loads(view().error(status, body))["error"]

    assert error == {"message": said, "type": kind, "param": None, "code": kind}


def test_a_long_page_is_cut() -> None:
    assert len(view().error(502, b"x" * 10**6)) < 10_000


@pytest.mark.parametrize("name", ["anthropic_error_400_context.json", "anthropic_error_401_stream.json"])
def test_a_recorded_error_is_read_by_the_sdk(name: str) -> None:
    recorded = cassette(name)

    error = json.loads(view().error(400, recorded))

    read = openai.APIError("", request=None, body=error["error"])  # type: ignore[arg-type]
    assert read.type == read.code == json.loads(recorded)["error"]["type"]
    assert error["error"]["message"] == json.loads(recorded)["error"]["message"]


def test_every_error_body_that_was_quoted_is_read() -> None:
    for one in json.loads(cassette("anthropic_error_bodies.json")):
        error = json.loads(view().error(one["status"], json.dumps(one["body"]).encode()))["error"]

        assert (error["message"], error["type"]) == (one["body"]["error"]["message"], one["body"]["error"]["type"])
