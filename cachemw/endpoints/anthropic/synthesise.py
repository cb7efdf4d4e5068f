"""Make a stream of a message, such that Anthropic's SDKs read the same message from it."""

from collections.abc import Iterator
from itertools import islice
from typing import Any

import msgspec

from cachemw.endpoints.anthropic.aggregate import aggregate_message
from cachemw.endpoints.deriving import JsonObject, Loss, slices_of

_COUNTS = ("input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens", "output_tokens")
_MORE_COUNTS = ("server_tool_use", "output_tokens_details")
_AT_THE_END = ("stop_reason", "stop_sequence", "stop_details")
_BESIDE_THE_END = ("context_management",)
"""What a stream says in its `message_delta`: of the message, and beside it."""


def synthesise_message(message: JsonObject, pieces: int, limit: int, *, slice_chars: int) -> list[JsonObject]:
    """Return the events of a stream, `pieces` at most, its texts in slices of so many characters.

    `limit` is how much work the input of a tool may be.
    """
    content, usage = message.get("content"), message.get("usage")
    if message.get("type") != "message" or not isinstance(content, list) or not isinstance(usage, dict):
        raise Loss
    if type(usage.get("output_tokens")) is not int:
        raise Loss
    events = list(islice(_events(message, content, usage, slice_chars), pieces + 1))
    if len(events) > pieces or aggregate_message(events, limit) != message:
        raise Loss  # too many, or a reader of the stream would put some member together otherwise
    return events


def _events(message: JsonObject, content: list[Any], usage: JsonObject, slice_chars: int) -> Iterator[JsonObject]:
    yield {"type": "message_start", "message": _begun(message, usage)}
    for index, block in enumerate(content):
        if not isinstance(block, dict):
            raise Loss
        start, deltas = _taken_apart(block, slice_chars)
        yield {"type": "content_block_start", "index": index, "content_block": start}
        for delta in deltas:
            yield {"type": "content_block_delta", "index": index, "delta": delta}
        yield {"type": "content_block_stop", "index": index}
    yield _ending(message, usage)
    yield {"type": "message_stop"}


def _begun(message: JsonObject, usage: JsonObject) -> JsonObject:
    """Return the message before anything is said; of its tokens those of the input are known then."""
    unsaid = {name: None for name in _AT_THE_END if name in message}
    begun = {name: value for name, value in message.items() if name not in _BESIDE_THE_END}
    return begun | unsaid | {"content": [], "usage": usage | {"output_tokens": min(1, usage["output_tokens"])}}


def _ending(message: JsonObject, usage: JsonObject) -> JsonObject:
    """Return how it ends: why, and all that it took."""
    counts = {name: usage[name] for name in _COUNTS if name in usage}
    more = {name: usage[name] for name in _MORE_COUNTS if usage.get(name) is not None}
    delta = {name: message[name] for name in _AT_THE_END if name in message}
    beside = {name: message[name] for name in _BESIDE_THE_END if name in message}
    return {"type": "message_delta", "delta": delta, "usage": counts | more} | beside


def _taken_apart(block: JsonObject, slice_chars: int) -> tuple[JsonObject, Iterator[JsonObject]]:
    """Return what a block begins with, and the pieces that follow."""
    match block.get("type"):
        case "text":
            return block | {"text": ""} | _no_citations(block), _of_text(block, slice_chars)
        case "thinking":
            unsigned = {"signature": ""} if "signature" in block else {}
            return block | {"thinking": ""} | unsigned, _of_thinking(block, slice_chars)
        case "tool_use":
            return block | {"input": {}}, _of_input(block, slice_chars)
        case _:
            return _flat(block), iter(())


def _of_text(block: JsonObject, slice_chars: int) -> Iterator[JsonObject]:
    for citation in block.get("citations") or ():
        yield {"type": "citations_delta", "citation": citation}
    for piece in slices_of(_text(block, "text"), slice_chars):
        yield {"type": "text_delta", "text": piece}


def _of_thinking(block: JsonObject, slice_chars: int) -> Iterator[JsonObject]:
    for piece in slices_of(_text(block, "thinking"), slice_chars):
        yield {"type": "thinking_delta", "thinking": piece}
    if signature := block.get("signature"):
        yield {"type": "signature_delta", "signature": signature}


def _of_input(block: JsonObject, slice_chars: int) -> Iterator[JsonObject]:
    """Yield the input as JSON, in pieces of which the first is empty, as Anthropic sends it."""
    whole = block.get("input")
    if not isinstance(whole, dict):
        raise Loss
    for piece in ("", *(slices_of(msgspec.json.encode(whole).decode(), slice_chars) if whole else ())):
        yield {"type": "input_json_delta", "partial_json": piece}


def _no_citations(block: JsonObject) -> JsonObject:
    return {"citations": []} if isinstance(block.get("citations"), list) else {}


def _flat(block: JsonObject) -> JsonObject:
    """Return a block that is said whole: one with parts may come in pieces that nobody here knows."""
    if any(isinstance(value, dict | list) for value in block.values()):
        raise Loss
    return block


def _text(block: JsonObject, name: str) -> str:
    text = block.get(name)
    if not isinstance(text, str):
        raise Loss
    return text
