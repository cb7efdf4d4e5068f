"""Make a whole message of Anthropic's API a chat completion."""

from collections.abc import Sequence
from typing import Any

import msgspec

from cachemw.redaction import redacted_repr
from cachemw.translation.base import Unsayable
from cachemw.translation.chat_to_messages.endings import (
    CREATED,
    CUT_SHORT,
    EMPTY_ANSWER,
    NOT_READ,
    OTHER_BLOCK,
    THOUGHTS,
    SaidBlock,
    StopDetails,
    TokenCounts,
    arguments_of,
    completion_id,
    finish_reason,
    holds_too_much,
    unsayable_ending,
    usage_of,
)
from cachemw.wire.strict_json import UNREADABLE

_NO_MESSAGE = "it is no message"
_NO_OBJECT = "it calls a tool with what is no object"
_BLOCKS = THOUGHTS | {"text", "tool_use"}


class _Message(msgspec.Struct):
    type: str
    id: str = ""
    model: str = ""
    content: list[SaidBlock] = []
    stop_reason: str | None = None
    stop_details: StopDetails | None = None
    usage: TokenCounts | None = None

    __repr__ = redacted_repr


_decoder = msgspec.json.Decoder(_Message)


def completion_of(body: bytes) -> bytes | Unsayable:
    """Return a message as a chat completion, or why there is none that says it."""
    if holds_too_much(body):
        return Unsayable(NOT_READ)
    try:
        message = _decoder.decode(body)
        completion = _completion(message)
    except UNREADABLE:
        return Unsayable(NOT_READ)
    return Unsayable(completion) if isinstance(completion, str) else msgspec.json.encode(completion)


def _completion(message: _Message) -> dict[str, Any] | str:
    """Return the members of a completion, or why there is none."""
    if message.type != "message":
        return _NO_MESSAGE
    reason = finish_reason(message.stop_reason)
    if reason is None:
        return unsayable_ending(message.stop_reason)
    if not all(block.type in _BLOCKS for block in message.content):
        return OTHER_BLOCK
    said = _said(message)
    if isinstance(said, str):
        return said
    completion: dict[str, Any] = {
        "id": completion_id(message.id),
        "object": "chat.completion",
        "created": CREATED,
        "model": message.model,
        "choices": [{"index": 0, "message": said, "logprobs": None, "finish_reason": reason}],
    }
    usage = None if message.usage is None else usage_of(message.usage)
    return completion if usage is None else completion | {"usage": usage}


def _said(message: _Message) -> dict[str, Any] | str:
    """Return the message of a choice, or why there is none."""
    blocks, has_refused = message.content, message.stop_reason == "refusal"
    content = "".join([block.text for block in blocks if block.type == "text"])
    thoughts = "".join([block.thinking for block in blocks if block.type == "thinking"])
    calls = _calls(blocks, message.stop_reason in CUT_SHORT)
    if calls is None:
        return _NO_OBJECT
    if not (content or calls or has_refused or any(block.type in THOUGHTS for block in blocks)):
        return EMPTY_ANSWER
    refusal = message.stop_details.explanation if has_refused and message.stop_details else None
    said: dict[str, Any] = {"role": "assistant", "content": content or None, "refusal": refusal}
    if thoughts:
        said["reasoning_content"] = thoughts
    return {**said, "tool_calls": calls} if calls else said


def _calls(blocks: Sequence[SaidBlock], is_cut: bool) -> list[dict[str, Any]] | None:
    calls: list[dict[str, Any]] = []
    for at, block in enumerate(blocks):
        if block.type != "tool_use":
            continue
        arguments = arguments_of(block.given, may_be_cut=is_cut and at == len(blocks) - 1)
        if arguments is None:
            return None
        function = {"name": block.name, "arguments": arguments}
        calls.append({"id": block.id, "type": "function", "function": function})
    return calls
