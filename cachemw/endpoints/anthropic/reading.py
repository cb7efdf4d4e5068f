"""Read the events of a message's stream, and whole messages, as far as they are judged."""

from typing import Any

import msgspec

from cachemw.endpoints.base import RawMembers
from cachemw.endpoints.judging import holds_text, refuse_many_objects, value_in
from cachemw.limits import Work
from cachemw.redaction import redacted_repr
from cachemw.wire.strict_json import NULL, UNREADABLE

_SILENT = frozenset({"type", "id", "name", "index", "cache_control", "citations"})
_FROM_SERVER = ("server_", "mcp_")


class MessageEvent(msgspec.Struct):
    """An event of a stream: only what is judged."""

    type: str = ""
    index: int | None = None
    message: RawMembers | None = None
    content_block: RawMembers | None = None
    delta: RawMembers | None = None
    usage: msgspec.Raw = NULL
    error: msgspec.Raw = NULL

    __repr__ = redacted_repr


class WholeMessage(msgspec.Struct):
    """A message, or an error: only what is judged."""

    type: str = ""
    content: list[RawMembers] | None = None
    stop_reason: str | None = None
    container: msgspec.Raw = NULL
    model: msgspec.Raw = NULL
    usage: msgspec.Raw = NULL
    error: msgspec.Raw = NULL

    __repr__ = redacted_repr


_event_decoder = msgspec.json.Decoder(MessageEvent)
_message_decoder = msgspec.json.Decoder(WholeMessage)
_object_decoder = msgspec.json.Decoder(RawMembers)


def read_event(raw: bytes, work: Work) -> MessageEvent:
    """Return what an event says. Raises one of `UNREADABLE`, or `Unreadable` where it is too much work."""
    refuse_many_objects(raw, work)
    return _event_decoder.decode(raw)


def read_message(raw: bytes, work: Work) -> WholeMessage:
    """Return what a document says. Raises one of `UNREADABLE`, or `Unreadable` where it is too much work."""
    refuse_many_objects(raw, work)
    return _message_decoder.decode(raw)


def members_in(raw: bytes | msgspec.Raw) -> RawMembers | None:
    """Return the members of an object; `None` of what is none."""
    try:
        return _object_decoder.decode(raw)
    except UNREADABLE:
        return None


def text_in(members: RawMembers, name: str, work: Work) -> str | None:
    """Return a member that is a text; `None` for one that is absent, or anything else."""
    value = member_in(members, name, work)
    return value if isinstance(value, str) else None


def member_in(members: RawMembers, name: str, work: Work) -> Any:
    """Return the value of a member, `None` for an absent one. Raises as `read_event` does."""
    return value_in(members[name], work) if name in members else None


def is_error(said: MessageEvent | WholeMessage, work: Work) -> bool:
    """Say whether an event, or a document, says that there is no answer."""
    return said.type == "error" or said.error != NULL and bool(value_in(said.error, work))


def is_from_server(block_type: str) -> bool:
    """Say whether a block of this type tells of a tool that the provider ran."""
    return block_type.startswith(_FROM_SERVER) or block_type.endswith("_tool_result")


def says_something(block: RawMembers, work: Work) -> bool:
    """Say whether a block, or a piece of one, is more than empty; the call of a tool always is.

    All of it is read, for one part may be unreadable.
    """
    values = {name: value_in(part, work) for name, part in block.items()}
    return values.get("type") == "tool_use" or holds_text(values, _SILENT)
