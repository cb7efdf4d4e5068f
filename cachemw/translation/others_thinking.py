"""Leave out of a history what no Anthropic model takes back: thinking that others signed, in Anthropic's own dialect. Pure."""

import base64
import binascii
from collections.abc import Iterator

import msgspec

from cachemw.endpoints.base import RawMembers
from cachemw.redaction import redacted_repr
from cachemw.translation.base import Changes
from cachemw.translation.signatures import is_our_signature
from cachemw.wire.strict_json import UNREADABLE

DROPPED: Changes = (("messages.thinking", "dropped"),)
"""What is told where some was left out."""

_SHORTEST = 32
_FIRST_FIELDS = (0x0A, 0x12)  # the first or the second field of a protocol buffer, with so many bytes


class _Block(msgspec.Struct):
    type: str | None = None
    signature: str | None = None

    __repr__ = redacted_repr


_body_decoder = msgspec.json.Decoder(RawMembers)
_messages_decoder = msgspec.json.Decoder(list[RawMembers])
_blocks_decoder = msgspec.json.Decoder(list[msgspec.Raw])
_block_decoder = msgspec.json.Decoder(_Block)


def takes_only_own(provider: str | None, model: str | None) -> bool:
    """Say whether an upstream that speaks Messages checks who signed the thinking: Anthropic's models do, wherever they are."""
    return provider == "anthropic" or "claude" in (model or "").lower()


def is_claudes_signature(signature: str) -> bool:
    """Say whether an Anthropic model may have signed so: theirs are protocol buffers in base64; those of others are not."""
    if is_our_signature(signature):
        return False
    try:
        signed = base64.b64decode(signature.encode("ascii"), validate=True)
    except (binascii.Error, ValueError):
        return False
    return len(signed) >= _SHORTEST and signed[0] in _FIRST_FIELDS


def without_others_thinking(body: bytes) -> bytes | None:
    """Return the body of a request without the thinking that others signed; `None` where there is none, or it cannot be read.

    All else keeps its bytes. A turn in which nothing else was said is left out.
    """
    try:
        members = _body_decoder.decode(body)
        before = _messages_decoder.decode(members["messages"])
        after = [message for message in map(_own, before) if message is not None]
    except (*UNREADABLE, KeyError):
        return None
    if len(after) == len(before) and all(one is other for one, other in zip(before, after, strict=True)):
        return None
    return msgspec.json.encode({**members, "messages": after})


def _own(message: RawMembers) -> RawMembers | None:
    """Return the same message where nothing is left out of it; `None` where nothing is left of it."""
    content = message.get("content")
    if content is None or not bytes(content).startswith(b"["):
        return message
    blocks = _blocks_decoder.decode(content)
    kept = list(_own_blocks(blocks))
    if len(kept) == len(blocks):
        return message
    return {**message, "content": msgspec.Raw(msgspec.json.encode(kept))} if kept else None


def _own_blocks(blocks: list[msgspec.Raw]) -> Iterator[msgspec.Raw]:
    for raw in blocks:
        block = _block_decoder.decode(raw) if b"thinking" in bytes(raw) else None
        is_others = block is not None and block.type == "thinking" and not is_claudes_signature(block.signature or "")
        if not is_others:
            yield raw
