"""What real chat upstreams answered, as messages that Anthropic's own SDK reads."""

import json
from typing import Any

import pytest
from anthropic.types import Message

from cachemw.endpoints.chat import CHAT
from cachemw.limits import Work
from cachemw.messages import Kind, StoredResponse
from tests.cassettes import cassette
from tests.translation.messages_reading import (
    blocks_of,
    check_nesting,
    events_of,
    message_in,
    read_json_by_sdk,
    said_by,
    streamed,
    view_of,
)

DOCUMENTS = (
    "cerebras_simple_llama cerebras_glm_reasoning_1 cerebras_glm_reasoning_2 cerebras_disable_reasoning"
    " cerebras_gptoss_harmony cerebras_qwen_coder_tools_1 cerebras_glm_clear_thinking cerebras_glm_tool_json1"
    " openai_nonstream_extra_params openai_nonstream_tools openai_web_search_annotations"
).split()
STREAMS = (
    "cerebras_glm_stream_1 openai_stream_usage openai_stream_parallel_tools openai_stream_refusal openai_stream_logprobs"
    " openai_stream_length openrouter_stream_annotations azure_stream_router"
).split()
REASONS = {"stop": "end_turn", "length": "max_tokens", "tool_calls": "tool_use"}


def whole_of(stream: bytes) -> dict[str, Any]:
    """Return the answer that a recorded stream says, put together here by the plainest means."""
    message: dict[str, Any] = {"calls": {}}
    answer: dict[str, Any] = {"message": message}
    for event in events_of(stream)[:-1]:
        chunk = json.loads(event.data)
        answer.update({name: chunk[name] for name in ("id", "model", "usage") if chunk.get(name)})
        for choice in chunk["choices"]:
            answer["finish_reason"] = choice.get("finish_reason") or answer.get("finish_reason")
            for name in ("reasoning", "reasoning_content", "content", "refusal"):
                message[name] = message.get(name, "") + (choice["delta"].get(name) or "")
            for call in choice["delta"].get("tool_calls", ()):
                known = message["calls"].setdefault(call["index"], {"function": {"arguments": ""}})
                known["id"] = call.get("id") or known["id"]
                known["function"]["name"] = call["function"].get("name") or known["function"]["name"]
                known["function"]["arguments"] += call["function"].get("arguments") or ""
    message["tool_calls"] = [message["calls"][index] for index in sorted(message["calls"])]
    return answer


def check(message: Message, answer: dict[str, Any]) -> None:
    """Hold that a message says what a chat answer does."""
    said, blocks = answer["message"], blocks_of(message)
    assert "".join(block["thinking"] for block in blocks if block["type"] == "thinking") == (
        said.get("reasoning") or said.get("reasoning_content") or ""
    )
    texts = (said.get("content") or "") + (said.get("refusal") or "")
    assert "".join(block["text"] for block in blocks if block["type"] == "text") == texts
    assert [(block["id"], block["name"], block["input"]) for block in blocks if block["type"] == "tool_use"] == [
        (call["id"], call["function"]["name"], json.loads(call["function"]["arguments"]))
        for call in said.get("tool_calls") or ()
    ]
    assert message.stop_reason == ("refusal" if said.get("refusal") else REASONS[answer["finish_reason"]])
    assert (message.id, message.model) == (f"msg_{answer['id']}", answer["model"])
    check_usage(message, answer.get("usage") or {})


def check_usage(message: Message, usage: dict[str, Any]) -> None:
    ours = message.usage
    cached = (usage.get("prompt_tokens_details") or {}).get("cached_tokens", 0)
    assert ours.cache_read_input_tokens == cached
    assert ours.input_tokens == usage.get("prompt_tokens", 0) - cached
    assert ours.output_tokens == usage.get("completion_tokens", 0)
    if (details := usage.get("completion_tokens_details") or {}).get("reasoning_tokens") is not None:
        assert ours.output_tokens_details is not None
        assert ours.output_tokens_details.thinking_tokens == details["reasoning_tokens"]


@pytest.mark.parametrize("name", DOCUMENTS)
def test_a_recorded_document_reads_as_the_message_that_it_is(name: str) -> None:
    """T5, T19, T23."""
    body = cassette(f"{name}.json")

    answer = view_of().answer(body)

    assert isinstance(answer, bytes)
    recorded = json.loads(body)
    check(read_json_by_sdk(answer), {**recorded, **recorded["choices"][0]})


@pytest.mark.parametrize("name", STREAMS)
def test_a_recorded_stream_reads_as_the_message_that_it_is(name: str) -> None:
    """T4, T5, T19, T21, T23."""
    body = cassette(f"{name}.sse")

    check(message_in(body), whole_of(body))


@pytest.mark.parametrize("name", STREAMS)
def test_a_recorded_stream_that_is_cut_never_ends_as_a_message(name: str) -> None:
    """T7."""
    events = events_of(cassette(f"{name}.sse"))

    for count in range(len(events)):
        translator = view_of().stream(None)
        said = b"".join([translator.feed(event) for event in events[:count]])

        assert b"message_stop" not in said
        if not any(b'"finish_reason":"' in event.data.replace(b" ", b"") for event in events[:count]):
            assert translator.end() == b""
            assert translator.fault


@pytest.mark.parametrize("name", ["openai_stream_n2", "groq_stream_error_event"])
def test_a_recorded_stream_that_is_no_message_is_a_fault(name: str) -> None:
    events, fault = streamed(view_of(), cassette(f"{name}.sse"))

    assert fault
    assert b"message_stop" not in events


@pytest.mark.parametrize("name", STREAMS)
def test_a_recorded_stream_translated_twice_is_the_same_bytes(name: str) -> None:
    """T9."""
    body = cassette(f"{name}.sse")

    first, second = (streamed(view_of(), body) for _ in range(2))

    assert first == second
    check_nesting(said_by(first[0]))


@pytest.mark.parametrize("name", DOCUMENTS)
def test_a_recorded_document_and_the_stream_made_of_it_are_one_message(name: str) -> None:
    body = cassette(f"{name}.json")
    response = StoredResponse(200, ((b"content-type", b"application/json"),), body, (), (), Kind(False), b"", 0, 0, "chat")

    stream = CHAT.derive(response, Kind(True, b'{"include_usage":true}'), Work())

    assert isinstance(stream, StoredResponse), stream
    answer = view_of().answer(body)
    assert isinstance(answer, bytes)
    assert message_in(stream.body).model_dump() == read_json_by_sdk(answer).model_dump()


@pytest.mark.parametrize("name", ["openai_error_404", "openai_error_400_role", "openai_error_401", "openai_error_400_context"])
def test_a_recorded_error_keeps_its_words(name: str) -> None:
    body = cassette(f"{name}.json")

    said = json.loads(view_of().error(400, body))

    assert said["error"] == {"type": "invalid_request_error", "message": json.loads(body)["error"]["message"]}


def test_every_recorded_error_of_cerebras_keeps_its_words() -> None:
    for error in json.loads(cassette("cerebras_error_bodies.json")):
        body = error["body"]

        said = json.loads(
            view_of().error(error["status"], body.encode() if isinstance(body, str) else json.dumps(body).encode())
        )

        words = body if isinstance(body, str) else (body.get("error") or body).get("message") or body.get("detail")
        assert said["error"]["message"] == (words or "the upstream answered 404 and said no more")
