"""Answers as the official SDKs put them together, of whichever kind and dialect: what a client reads in the end."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import anthropic
import httpx2
import openai
from openai.lib.streaming.chat import ChatCompletionStreamState

Members = dict[str, Any]

_ENDS = {
    "stop": "end",
    "end_turn": "end",
    "stop_sequence": "end",
    "length": "length",
    "max_tokens": "length",
    "tool_calls": "tools",
    "tool_use": "tools",
    "content_filter": "refusal",
    "refusal": "refusal",
}


@dataclass(frozen=True, slots=True)
class Said:
    """The content of an answer. `usage`: the tokens of the whole input, of what was cached of it, and of the output."""

    model: str
    text: str
    thinking: str
    tools: tuple[tuple[str, str, Any], ...]
    stop: str
    usage: tuple[int, int, int]


def read(endpoint: str, body: bytes, *, is_stream: bool) -> Any:
    """Return what the SDK of an endpoint reads in an answer."""
    return READERS[endpoint](body, is_stream)


def raised(endpoint: str, body: bytes, *, is_stream: bool, status: int = 200, headers: Mapping[str, str] | None = None) -> Any:
    """Return the error that the SDK of an endpoint raises of an answer. Raises `AssertionError` where it reads one."""
    try:
        said = READERS[endpoint](body, is_stream, status, headers or {})
    except (openai.APIError, anthropic.APIError) as error:
        return error
    raise AssertionError(f"it reads {said}")


Answer = tuple[bytes, bool, int, Mapping[str, str]]


def _openai(body: bytes, is_stream: bool, status: int, headers: Mapping[str, str]) -> openai.OpenAI:
    return openai.OpenAI(
        api_key="k", base_url="https://api.example/v1", max_retries=0, http_client=_http(body, is_stream, status, headers)
    )


def _http(body: bytes, is_stream: bool, status: int, headers: Mapping[str, str]) -> httpx2.Client:
    content_type = "text/event-stream" if is_stream and status == 200 else "application/json"
    fields = {**headers, "content-type": content_type}
    return httpx2.Client(transport=httpx2.MockTransport(lambda _: httpx2.Response(status, headers=fields, content=body)))


def _chat(body: bytes, is_stream: bool, status: int = 200, headers: Mapping[str, str] = {}) -> Said:
    with _openai(body, is_stream, status, headers) as client:
        if not is_stream:
            return _of_completion(client.chat.completions.create(model="m", messages=[]).model_dump())
        state: ChatCompletionStreamState[None] = ChatCompletionStreamState()
        model = ""
        for chunk in client.chat.completions.create(model="m", messages=[], stream=True):
            for choice in chunk.choices:
                choice.delta.__dict__.pop("annotations", None)  # two of them, and the accumulator raises
                (choice.delta.__pydantic_extra__ or {}).pop("annotations", None)
            state.handle_chunk(chunk)
            model = model or chunk.model  # of which the accumulator takes the first, though Azure's router names none there
        return _of_completion({**state.current_completion_snapshot.model_dump(), "model": model})


def _of_completion(completion: Members) -> Said:
    [choice] = completion["choices"]
    message, usage = choice["message"], completion.get("usage") or {}
    refusal = message.get("refusal") or ""
    calls = message.get("tool_calls") or ()
    return Said(
        model=completion["model"],
        text=(message.get("content") or "") + refusal,
        thinking=message.get("reasoning_content") or message.get("reasoning") or "",
        tools=tuple((one["id"], one["function"]["name"], json.loads(one["function"]["arguments"] or "{}")) for one in calls),
        stop="refusal" if refusal else _ENDS[choice["finish_reason"]],
        usage=(
            usage.get("prompt_tokens", 0),
            (usage.get("prompt_tokens_details") or {}).get("cached_tokens") or 0,
            usage.get("completion_tokens", 0),
        ),
    )


def _messages(body: bytes, is_stream: bool, status: int = 200, headers: Mapping[str, str] = {}) -> Said:
    http = _http(body, is_stream, status, headers)
    asked: Any = {"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}]}
    with anthropic.Anthropic(api_key="k", base_url="https://api.example", max_retries=0, http_client=http) as client:
        if not is_stream:
            return _of_message(client.messages.create(**asked).to_dict())
        with client.messages.stream(**asked) as stream:
            return _of_message(stream.get_final_message().to_dict())


def _of_message(message: Members) -> Said:
    blocks, usage = message["content"], message["usage"]
    cached, written = (usage.get(f"cache_{name}_input_tokens") or 0 for name in ("read", "creation"))
    return Said(
        model=message["model"],
        text="".join(block["text"] for block in blocks if block["type"] == "text"),
        thinking="".join(block["thinking"] for block in blocks if block["type"] == "thinking"),
        tools=tuple((block["id"], block["name"], block["input"]) for block in blocks if block["type"] == "tool_use"),
        stop=_ENDS[message["stop_reason"]],
        usage=(usage["input_tokens"] + cached + written, cached, usage["output_tokens"]),
    )


def _responses(body: bytes, is_stream: bool, status: int = 200, headers: Mapping[str, str] = {}) -> Any:
    with _openai(body, is_stream, status, headers) as client:
        if not is_stream:
            return _of_response(client.responses.create(model="m", input="hi").model_dump(exclude_none=True))
        with client.responses.stream(model="m", input="hi") as stream:
            *_, last = stream
        return _of_response(last.response.model_dump(exclude_none=True))  # type: ignore[union-attr]


def _of_response(response: Members) -> Members:
    """Return a response without what the SDK adds to those of streams."""
    if isinstance(response, list):
        return [_of_response(one) for one in response]
    if not isinstance(response, dict):
        return response
    return {name: _of_response(value) for name, value in response.items() if name not in ("parsed", "parsed_arguments")}


def _completions(body: bytes, is_stream: bool, status: int = 200, headers: Mapping[str, str] = {}) -> Any:
    with _openai(body, is_stream, status, headers) as client:
        if not is_stream:
            whole = client.completions.create(model="m", prompt="hi")
            return [(choice.text, choice.finish_reason) for choice in whole.choices]
        texts: dict[int, tuple[str, str | None]] = {}
        for chunk in client.completions.create(model="m", prompt="hi", stream=True):
            for choice in chunk.choices:
                text, reason = texts.get(choice.index, ("", None))
                texts[choice.index] = (text + choice.text, choice.finish_reason or reason)
        return [texts[index] for index in sorted(texts)]


READERS: Mapping[str, Callable[..., Any]] = {
    "chat": _chat,
    "messages": _messages,
    "responses": _responses,
    "completions": _completions,
}
