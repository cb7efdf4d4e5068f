"""The checked-in keys of `tests/data/translated_keys.json`: what every row makes of one request in the other dialect.

As a program it writes them anew, which is due when a translation changes: then whatever was stored is asked for again.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cachemw.endpoints import CHAT, MESSAGES
from cachemw.endpoints.base import Endpoint
from cachemw.messages import HttpRecipient, HttpTarget, Request
from cachemw.upstreams.providers import PROVIDERS
from tests.cache.golden_calls import key_of, translated

FILE = Path(__file__).parents[1] / "data" / "translated_keys.json"

CHAT_MODELS = (
    *("cerebras/gpt-oss-120b", "cerebras/zai-glm-4.7", "cerebras/llama3.1-8b", "cerebras/qwen-3.8-27b", "cerebras/gemma-4-31b"),
    *("openai/gpt-4o", "openai/gpt-5-nano", "gemini/gemini-3-pro", "mistral/mistral-large", "groq/openai/gpt-oss-120b"),
    *("groq/kimi-k2", "deepinfra/llama-4", "xai/grok-5", "/m", "/gpt-oss-120b", "/qwen-3"),
)
"""A model of every row that chat upstreams have, by provider; before the slash is none where it is any URL."""

CLAUDES = (
    *("claude-fable-5", "claude-mythos-5-2", "claude-mythos-preview", "claude-opus-5-5", "claude-opus-5", "claude-opus-4-7"),
    *("claude-sonnet-5-5", "claude-sonnet-5", "claude-opus-4-6", "claude-haiku-4-5", "claude-opus-4-1", "claude-opus-4-0"),
    *("claude-sonnet-4", "claude-sonnet-3-7", "claude-3-5-haiku", "claude-3-opus", "claude-later-9", "somebody-elses"),
)
"""A model of every row that Claudes have."""

_SCHEMA = {"type": "object", "properties": {"path": {"type": "string"}}, "required": ["path"]}
MESSAGES_BODY: dict[str, Any] = {
    "max_tokens": 50_000,
    "system": [
        {"type": "text", "text": "Be short.", "cache_control": {"type": "ephemeral"}},
        {"type": "text", "text": "Be kind."},
    ],
    "messages": [
        {"role": "user", "content": "What is in a.txt?"},
        {
            "role": "assistant",
            "content": [
                {"type": "thinking", "thinking": "I read it.", "signature": "EqQB"},
                {"type": "text", "text": "I look."},
                {"type": "tool_use", "id": "toolu_1", "name": "Read", "input": {"path": "a.txt"}},
            ],
        },
        {
            "role": "user",
            "content": [{"type": "tool_result", "tool_use_id": "toolu_1", "content": "é"}, {"type": "text", "text": "So?"}],
        },
    ],
    "tools": [{"name": "Read", "description": "Read a file.", "input_schema": _SCHEMA}],
    "tool_choice": {"type": "auto", "disable_parallel_tool_use": True},
    "thinking": {"type": "enabled", "budget_tokens": 2048},
    "stop_sequences": ["END"],
    "temperature": 1,
    "metadata": {"user_id": "u-1"},
    "stream": True,
}
CHAT_BODY: dict[str, Any] = {
    "messages": [
        {"role": "system", "content": "Be short."},
        {"role": "developer", "content": "Be kind."},
        {"role": "user", "content": "What is in a.txt?"},
        {
            "role": "assistant",
            "content": "I look.",
            "tool_calls": [{"id": "call_1", "type": "function", "function": {"name": "Read", "arguments": '{"path":"a.txt"}'}}],
        },
        {"role": "tool", "tool_call_id": "call_1", "content": "é"},
        {"role": "user", "content": "So?"},
    ],
    "tools": [{"type": "function", "function": {"name": "Read", "description": "Read a file.", "parameters": _SCHEMA}}],
    "parallel_tool_calls": False,
    "reasoning_effort": "low",
    "stop": "END",
    "user": "u-1",
    "stream": True,
    "stream_options": {"include_usage": True},
}


def vectors() -> dict[str, dict[str, Any]]:
    loaded: dict[str, dict[str, Any]] = json.loads(FILE.read_text(encoding="utf-8"))
    return loaded


def again() -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield what becomes of the requests today, by model."""
    for name in CHAT_MODELS:
        provider, _, model = name.partition("/")
        yield name, _vector(MESSAGES, {**MESSAGES_BODY, "model": model}, provider, "chat")
    for model in CLAUDES:
        yield f"anthropic/{model}", _vector(CHAT, {**CHAT_BODY, "model": model}, "anthropic", "messages")


def _vector(endpoint: Endpoint, body: dict[str, Any], provider: str, spoken: str) -> dict[str, Any]:
    row = PROVIDERS.get(provider)
    recipient = HttpRecipient(provider or None, frozenset() if row is None else row.bookkeeping, speaks=frozenset({spoken}))
    path = f"/v1{endpoint.paths[0].removeprefix('/v1')}"
    target = HttpTarget("https://api.example:443" + path, recipient)
    request = Request("POST", path, ((b"content-type", b"application/json"),), json.dumps(body).encode(), target)
    sent = translated(endpoint, request)
    assert sent is not None
    key = key_of(sent.endpoint, sent.request)
    told = [f"{member}={became}" for member, became in sent.presentation.told]
    return {"sent": json.loads(sent.body), "told": told, "index": key.index.hex(), "proof": key.proof.hex()}


if __name__ == "__main__":
    lines = [f"{json.dumps(name)}: {json.dumps(vector, ensure_ascii=False)}" for name, vector in again()]
    FILE.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")
