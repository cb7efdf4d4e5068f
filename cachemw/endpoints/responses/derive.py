"""Derive one kind of a response from the kind that was recorded."""

import msgspec

from cachemw.endpoints.deriving import (
    OTHER_KIND,
    PADDING,
    Loss,
    as_document,
    as_stream,
    events_in,
    read_answer,
    slice_length,
    typed_event,
)
from cachemw.endpoints.responses.judge import ENDINGS
from cachemw.endpoints.responses.synthesise import synthesise
from cachemw.limits import Work
from cachemw.messages import Kind, StoredResponse
from cachemw.wire import sse
from cachemw.wire.strict_json import UNREADABLE


class _Options(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The stream options that we know how to meet."""

    include_obfuscation: bool = True


_options = msgspec.json.Decoder(_Options)


def derive(stored: StoredResponse, kind: Kind, work: Work = Work()) -> StoredResponse | str:
    """Return the stored response in another kind, or the `detail` that says why it cannot be had without loss."""
    if stored.kind == kind:
        return stored
    try:
        _understood(stored.kind)
        asked = _understood(kind)
        if not kind.stream:
            return _as_json(stored, kind, work)
        return _adapted(stored, kind, asked, work) if stored.kind.stream else _synthesised(stored, kind, work)
    except Loss as exc:
        return exc.detail
    except RecursionError:  # JSON that is nested too deeply to be taken apart
        return OTHER_KIND


def _understood(kind: Kind) -> _Options:
    if not kind.stream and kind.options != b"{}":
        raise Loss
    try:
        return _options.decode(kind.options)
    except UNREADABLE:
        raise Loss from None


def _as_json(stored: StoredResponse, kind: Kind, work: Work) -> StoredResponse:
    """Return the response that the last event holds; other events say its items, and encrypt their reasoning, otherwise."""
    last = next((event for event in reversed(events_in(stored.body)) if not sse.is_done(event.data)), None)
    members = {} if last is None else read_answer(last.data, work.answer)
    kind_of_event, response = members.get("type"), members.get("response")
    if not isinstance(kind_of_event, str) or kind_of_event not in ENDINGS or not isinstance(response, dict):
        raise Loss
    return as_document(stored, kind, msgspec.json.encode(response))


def _synthesised(stored: StoredResponse, kind: Kind, work: Work) -> StoredResponse:
    events = synthesise(read_answer(stored.body, work.answer), work.pieces, slice_length(stored.body))
    return as_stream(stored, kind, list(map(typed_event, events)), (0.0,) * len(events))


def _adapted(stored: StoredResponse, kind: Kind, asked: _Options, work: Work) -> StoredResponse:
    """Return the stream, where that was asked for without what only hides how long events are; others keep their bytes."""
    events = events_in(stored.body)
    if len(events) != len(stored.arrivals):
        raise Loss
    wanted = [stored.body[event.start : event.end] for event in events]
    if not asked.include_obfuscation:
        wanted = [_unpadded(event, as_recorded, work) for event, as_recorded in zip(events, wanted, strict=True)]
    return as_stream(stored, kind, wanted, stored.arrivals)


def _unpadded(event: sse.Event, as_recorded: bytes, work: Work) -> bytes:
    if sse.is_done(event.data):
        return as_recorded
    members = read_answer(event.data, work.answer)
    if PADDING not in members:
        return as_recorded
    del members[PADDING]
    return sse.encode(msgspec.json.encode(members), event.name)
