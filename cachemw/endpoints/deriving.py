"""Give a record in another kind, or refuse what would lose something: the tools that all endpoints share."""

from collections.abc import Sequence
from itertools import accumulate
from typing import Any

import msgspec

from cachemw.errors import CacheError
from cachemw.messages import Headers, Kind, StoredResponse
from cachemw.wire.fields import without
from cachemw.wire.sse import Event, Parser, encode
from cachemw.wire.strict_json import UNREADABLE, is_too_complex

OTHER_KIND = "other-kind"

JsonObject = dict[str, Any]
"""The members of a JSON object, in their order."""

PADDING = "obfuscation"
"""A chunk's member of random length, so that the lengths of what is sent tell nothing."""

JSON = b"application/json"
EVENT_STREAM = b"text/event-stream; charset=utf-8"

SLICE_CHARS = 24
SLICES = 512
"""Into how many slices a text is cut at most: each costs a frame, and a long answer must not become ten times as long."""


class Loss(CacheError):
    """Something of the answer would be lost or made up; `detail` is what the report says. It never leaves the endpoints."""

    def __init__(self, detail: str = OTHER_KIND) -> None:
        super().__init__(detail)
        self.detail = detail


def read_answer(raw: bytes, limit: int) -> JsonObject:
    """Read a JSON object that is no error: integers exact, other numbers binary64."""
    if is_too_complex(raw, limit):
        raise Loss
    try:
        value = msgspec.json.decode(raw)
    except UNREADABLE:
        raise Loss from None
    if not isinstance(value, dict) or value.get("error"):
        raise Loss
    return value


def events_in(body: bytes) -> list[Event]:
    """Return all the events of a stream, those behind its end among them."""
    parser = Parser(ends=None)
    return [*parser.feed(body), *parser.end()]


def typed_event(members: JsonObject) -> bytes:
    """Return an event whose name says its type once more."""
    return encode(msgspec.json.encode(members), members["type"].encode())


def slice_length(body: bytes) -> int:
    """Return into how long slices the texts of an answer are cut: a character is a byte of it at least."""
    return max(SLICE_CHARS, -(-len(body) // SLICES))


def slices_of(text: str, slice_chars: int) -> list[str]:
    """Cut a text between code points."""
    return [text[start : start + slice_chars] for start in range(0, len(text), slice_chars)]


def as_document(stored: StoredResponse, kind: Kind, body: bytes) -> StoredResponse:
    """Return a record with this document as its body."""
    return msgspec.structs.replace(stored, kind=kind, headers=_headers(stored, JSON), body=body, event_ends=(), arrivals=())


def as_stream(stored: StoredResponse, kind: Kind, events: Sequence[bytes], arrivals: Sequence[float]) -> StoredResponse:
    """Return a record with these events as its body, which came so many seconds after the beginning."""
    ends = tuple(accumulate(map(len, events)))
    return msgspec.structs.replace(
        stored,
        kind=kind,
        headers=_headers(stored, EVENT_STREAM),
        body=b"".join(events),
        event_ends=ends,
        arrivals=tuple(arrivals),
    )


def _headers(stored: StoredResponse, content_type: bytes) -> Headers:
    return ((b"content-type", content_type), *without(stored.headers, [b"content-type"]))
