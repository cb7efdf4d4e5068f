"""Make a record of an answer that was derived from another record."""

from collections.abc import Sequence
from itertools import accumulate

from msgspec.structs import replace

from cachemw.messages import Headers, Kind, StoredResponse
from cachemw.wire.fields import without

_JSON = b"application/json"
_EVENT_STREAM = b"text/event-stream; charset=utf-8"


def as_document(stored: StoredResponse, kind: Kind, body: bytes) -> StoredResponse:
    """Return a record of one document, derived from one that is `stored`."""
    return replace(stored, kind=kind, headers=_headers(stored, _JSON), body=body, event_ends=(), arrivals=())


def as_stream(stored: StoredResponse, kind: Kind, events: Sequence[bytes], arrivals: tuple[float, ...]) -> StoredResponse:
    """Return a record of a stream with these events, derived from one that is `stored`."""
    headers, body, ends = _headers(stored, _EVENT_STREAM), b"".join(events), tuple(accumulate(map(len, events)))
    return replace(stored, kind=kind, headers=headers, body=body, event_ends=ends, arrivals=arrivals)


def _headers(stored: StoredResponse, content_type: bytes) -> Headers:
    return ((b"content-type", content_type), *without(stored.headers, [b"content-type"]))
