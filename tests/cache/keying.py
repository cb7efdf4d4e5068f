"""Chat requests, and what becomes of them on the way to a key."""

import json
from typing import Any

from cachemw.cache.header_rules import HeaderRules
from cachemw.cache.key import ANONYMOUS, Key, fingerprint
from cachemw.endpoints import CHAT
from cachemw.endpoints.base import ApiCall, Bypass, Place
from cachemw.endpoints.chat.request import BOOKKEEPING, SHAPE, read_chat
from cachemw.messages import AppTarget, Headers, HttpRecipient, HttpTarget, Request, Target

JSON: Headers = ((b"content-type", b"application/json"),)
UPSTREAM = HttpTarget("https://api.example:443/v1/chat/completions", HttpRecipient(bookkeeping=BOOKKEEPING))
APP = AppTarget("support-bot", b"", b"/v1/chat/completions", b"/v1/chat/completions", b"")
NO_RULES = HeaderRules()

LEFT_OUT_AROUND_AN_APP = SHAPE.named(Place.TRANSPORT)
LEFT_OUT_OVER_HTTP = LEFT_OUT_AROUND_AN_APP | BOOKKEEPING
"""Where the provider is one that is known to take all of it so."""


def body_of(**members: Any) -> bytes:
    """Return a chat body; `members` override the usual ones, in their place."""
    usual = {"model": "llama3.1-8b", "messages": [{"role": "user", "content": "hello"}]}
    return json.dumps(usual | members).encode()


def asking(body: bytes, target: Target = UPSTREAM, headers: Headers = JSON) -> Request:
    return Request("POST", "/v1/chat/completions", headers, body, target)


def chat_of(body: bytes, target: Target = UPSTREAM) -> ApiCall:
    chat = read_chat(CHAT, asking(body, target))
    assert isinstance(chat, ApiCall), chat
    return chat


def form_of(body: bytes, target: Target = UPSTREAM) -> bytes:
    """Return the canonical form of a body."""
    return chat_of(body, target).canonical


def reason_of(body: bytes, headers: Headers = JSON) -> str:
    """Return why a request is not cached."""
    bypass = read_chat(CHAT, asking(body, UPSTREAM, headers))
    assert isinstance(bypass, Bypass), bypass
    return bypass.detail


def key_of(
    body: bytes,
    target: Target = UPSTREAM,
    headers: Headers = JSON,
    partition: bytes = ANONYMOUS,
    namespace: str | None = None,
    sample: int = 0,
) -> Key:
    """Return the key of a request."""
    canonical = form_of(body, target)
    return fingerprint(asking(body, target, headers), canonical, partition, namespace, sample, NO_RULES)


RICH: dict[str, Any] = {
    "model": "llama3.1-8b",
    "messages": [
        {"role": "system", "content": "Be brief.", "name": "rules"},
        {
            "role": "user",
            "name": "ada",
            "content": [
                {"type": "text", "text": "What is this?"},
                {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo=", "detail": "low"}},
            ],
        },
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [
                {"id": "call_1", "type": "function", "function": {"name": "look", "arguments": '{"at": 1}'}},
                {"id": "call_2", "type": "function", "function": {"name": "smell", "arguments": "{}"}},
            ],
        },
        {"role": "tool", "tool_call_id": "call_1", "content": "a cat"},
        {"role": "tool", "tool_call_id": "call_2", "content": [{"type": "text", "text": "fish"}]},
    ],
    "tools": [
        {
            "type": "function",
            "function": {
                "name": "look",
                "description": "Look at it",
                "strict": True,
                "parameters": {
                    "type": "object",
                    "properties": {
                        "at": {"type": "integer", "minimum": 1},
                        "as": {"type": "string", "enum": ["cat", "dog"]},
                    },
                    "required": ["at", "as"],
                },
            },
        },
        {"type": "function", "function": {"name": "smell", "description": "Smell it"}},
    ],
    "tool_choice": {
        "type": "function",
        "function": {"name": "look", "strict": True},
        "allowed_tools": {"mode": "auto", "tools": []},
    },
    "response_format": {
        "type": "json_schema",
        "json_schema": {
            "name": "animal",
            "strict": True,
            "schema": {
                "type": "object",
                "properties": {"kind": {"type": "string", "title": "Kind"}, "age": {"type": "integer"}},
            },
        },
    },
    "functions": [{"name": "old", "parameters": {"type": "object", "properties": {}}}],
    "function_call": {"name": "old", "because": "old"},
    "logit_bias": {"15": -100, "7": 5},
    "prediction": {"type": "content", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]},
    "moderation": {"model": "omni", "policy": "strict"},
    "model_parameters": {"b": 1, "a": {"d": 1, "c": 2}},
    "invented": {"y": {"d": 1, "c": 2}, "x": ["one", "two"]},
    "modalities": ["text", "smell"],
    "stop": ["END", "STOP"],
    "seed": 12345678901234567890123,
    "temperature": 0.5,
}
"""A request with every object and array that a chat completion knows, and one it does not."""
