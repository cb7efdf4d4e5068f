"""Derive one kind of a message from the kind that was recorded."""

import msgspec

from cachemw.endpoints.anthropic.aggregate import aggregate_message
from cachemw.endpoints.anthropic.synthesise import synthesise_message
from cachemw.endpoints.deriving import (
    OTHER_KIND,
    JsonObject,
    Loss,
    as_document,
    as_stream,
    events_in,
    slice_length,
    typed_event,
)
from cachemw.errors import Unreadable
from cachemw.limits import Work
from cachemw.messages import Kind, StoredResponse
from cachemw.wire.sse import Event
from cachemw.wire.strict_json import parse

_NO_OPTIONS = Kind(stream=False).options


def derive_message(stored: StoredResponse, kind: Kind, work: Work = Work()) -> StoredResponse | str:
    """Return the stored response in another kind, or the `detail` that says why it cannot be had without loss."""
    if stored.kind == kind:
        return stored
    if stored.kind.options != _NO_OPTIONS or kind.options != _NO_OPTIONS:
        return OTHER_KIND
    try:
        return _streamed(stored, kind, work) if kind.stream else _put_together(stored, kind, work)
    except Loss as exc:
        return exc.detail


def _put_together(stored: StoredResponse, kind: Kind, work: Work) -> StoredResponse:
    events = [_event(event, work.answer) for event in events_in(stored.body)]
    return as_document(stored, kind, msgspec.json.encode(aggregate_message(events, work.answer)))


def _streamed(stored: StoredResponse, kind: Kind, work: Work) -> StoredResponse:
    message = _read(stored.body, work.answer)
    said = synthesise_message(message, work.pieces, work.answer, slice_chars=slice_length(stored.body))
    events = list(map(typed_event, said))
    return as_stream(stored, kind, events, [0.0] * len(events))


def _event(event: Event, limit: int) -> JsonObject:
    """Return an event's members; its name says its type once more, where it has one."""
    members = _read(event.data, limit)
    if event.name and members.get("type") != event.name.decode("utf-8", "replace"):
        raise Loss
    return members


def _read(raw: bytes, limit: int) -> JsonObject:
    """Read a JSON object that is no error, and can be read in one way only."""
    try:
        value = parse(raw, limit)
    except Unreadable:
        raise Loss from None
    if not isinstance(value, dict) or value.get("error"):
        raise Loss
    return value
