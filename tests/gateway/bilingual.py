"""Ask one question in either dialect, and read the answers as the official SDKs do."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import httpx

from cachemw.simulator import Simulator
from tests.gateway.crossroads import MESSAGES, Crossroads, Passage
from tests.translation import messages_reading as claude
from tests.translation import talking_to_messages as chat

LIMIT = 32_000
"""The tokens that an answer may have: it must be said in one dialect, and is said in the other so that the key is one."""

PATHS = {"chat": "/chat/completions", "messages": "/messages"}
OTHER = {"chat": "messages", "messages": "chat"}
SPEAKERS = {"chat": "cerebras", "messages": "anthropic"}
"""For each dialect a provider that speaks it alone."""

TARGETS = {dialect: f"{provider}/m" for dialect, provider in SPEAKERS.items()}
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
TOOLS: dict[str, list[Any]] = {
    "chat": [{"type": "function", "function": {"name": "weather", "parameters": SCHEMA}}],
    "messages": [{"name": "weather", "input_schema": SCHEMA}],
}
FIELDS: dict[str, dict[str, str]] = {"chat": {}, "messages": {"anthropic-version": "2023-06-01"}}


@dataclass(frozen=True)
class Words:
    """What an SDK reads in an answer: its text, its tools and their arguments, why it ends, and what it took."""

    text: str
    tools: tuple[tuple[str, str, Any], ...]
    ends: str
    tokens: tuple[int, int] | None


_ENDS = {"stop": "end", "end_turn": "end", "tool_calls": "tools", "tool_use": "tools", "length": "limit", "max_tokens": "limit"}


def words_of(body: bytes, dialect: str) -> Words:
    """Return what the SDK of this dialect reads in an answer, a document or a stream, that is whole and sound."""
    is_document = body.lstrip().startswith(b"{")
    return (_chat_words if dialect == "chat" else _claude_words)(body, is_document)


def _chat_words(body: bytes, is_document: bool) -> Words:
    completion = chat.read_by_sdk(body) if is_document else chat.read_stream_by_sdk(body)
    (choice,) = completion.choices
    calls: list[Any] = choice.message.tool_calls or []
    tools = tuple((call.id, call.function.name, json.loads(call.function.arguments)) for call in calls)
    usage = completion.usage
    tokens = None if usage is None else (usage.prompt_tokens, usage.completion_tokens)
    return Words(choice.message.content or "", tools, _ENDS[choice.finish_reason], tokens)


def _claude_words(body: bytes, is_document: bool) -> Words:
    message = claude.read_json_by_sdk(body) if is_document else claude.read_by_sdk(body)
    text = "".join(block.text for block in message.content if block.type == "text")
    tools = tuple((block.id, block.name, block.input) for block in message.content if block.type == "tool_use")
    assert message.stop_reason is not None
    return Words(text, tools, _ENDS[message.stop_reason], (message.usage.input_tokens, message.usage.output_tokens))


def said_by(passage: Passage) -> Words:
    """Return what a provider said, in its own dialect."""
    return words_of(passage.said, "messages" if passage.path.endswith("/messages") else "chat")


def ask_in(here: Crossroads, dialect: str, headers: Mapping[str, str] | None = None, **members: Any) -> httpx.Response:
    """Ask in a dialect, and read the answer whole; members are added to the usual ones, of which `None` ones are left out."""
    usual: dict[str, Any] = {"model": "auto", "messages": MESSAGES}
    usual |= {"max_tokens": LIMIT} if dialect == "messages" else {"max_completion_tokens": LIMIT}
    if dialect == "chat" and members.get("stream"):
        usual["stream_options"] = {"include_usage": True}
    body = {name: value for name, value in (usual | members).items() if value is not None}
    fields = FIELDS[dialect] | dict(headers or {})
    return here.client.post(f"{here.url}/v1{PATHS[dialect]}", json=body, headers=fields)


def results_of(words: Words, dialect: str) -> list[Any]:
    """Return the messages that tell what tools were called, and that each has said that the sun shines."""
    if dialect == "chat":
        calls = [
            {"id": name, "type": "function", "function": {"name": f, "arguments": json.dumps(given)}}
            for name, f, given in words.tools
        ]
        results = [{"role": "tool", "tool_call_id": name, "content": "The sun shines."} for name, _, _ in words.tools]
        return [{"role": "assistant", "content": words.text or None, "tool_calls": calls}, *results]
    said = [{"type": "text", "text": words.text}] if words.text else []
    uses = [{"type": "tool_use", "id": name, "name": tool, "input": given} for name, tool, given in words.tools]
    told = [{"type": "tool_result", "tool_use_id": name, "content": "The sun shines."} for name, _, _ in words.tools]
    return [{"role": "assistant", "content": [*said, *uses]}, {"role": "user", "content": told}]


def both_speakers(**fail: str) -> dict[str, Simulator]:
    """Return a provider of each dialect; a dialect's fails as is said of it."""
    return {provider: Simulator(dialect=provider, fail=fail.get(spoken, "")) for spoken, provider in SPEAKERS.items()}


def error_in(response: httpx.Response, dialect: str) -> Any:
    """Return the error of a response, which has to be in the shape of this dialect."""
    said = response.json()
    if dialect == "messages":
        assert said["type"] == "error"
        assert set(said["error"]) >= {"type", "message"}
    else:
        assert "type" not in said
        assert set(said["error"]) >= {"type", "message", "param", "code"}
    return said["error"]
