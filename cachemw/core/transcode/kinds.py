"""From the kind that was recorded to the kind that is asked for."""

from collections.abc import Sequence
from itertools import accumulate

import msgspec

from cachemw.core import sse
from cachemw.core.headers import without
from cachemw.core.messages import Headers, Kind, StoredResponse
from cachemw.core.transcode.adapt import adapt
from cachemw.core.transcode.aggregate import aggregate
from cachemw.core.transcode.loss import NO_USAGE, OTHER_KIND, Loss
from cachemw.core.transcode.reading import read_object, read_stream
from cachemw.core.transcode.synthesise import synthesise

JSON = b"application/json"
EVENT_STREAM = b"text/event-stream; charset=utf-8"

SLICE_CHARS = 24
SLICES = 512
"""Into how many slices a text is cut at most: each costs a frame, and a long answer must not become ten times as long."""


class Options(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The stream options that we know how to meet."""

    include_usage: bool = False
    include_obfuscation: bool = True


_options = msgspec.json.Decoder(Options)


def derive(stored: StoredResponse, kind: Kind) -> StoredResponse | str:
    """Return the stored response in another kind, or the `detail` that says why it cannot be had without loss."""
    if stored.kind == kind:
        return stored
    try:
        _understood(stored.kind)
        asked = _understood(kind)
        if not kind.stream:
            return _as_json(stored, kind)
        return _adapted(stored, kind, asked) if stored.kind.stream else _synthesised(stored, kind, asked)
    except Loss as exc:
        return exc.detail
    except RecursionError:  # JSON that is nested too deeply to be taken apart
        return OTHER_KIND


def _understood(kind: Kind) -> Options:
    if not kind.stream and kind.options != b"{}":
        raise Loss
    try:
        return _options.decode(kind.options)
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise Loss from None


def _as_json(stored: StoredResponse, kind: Kind) -> StoredResponse:
    completion = aggregate(members for _, members in read_stream(stored.body, stored.event_ends).chunks)
    if completion.get("usage") is None:
        raise Loss(NO_USAGE)
    headers, body = _headers(stored, JSON), msgspec.json.encode(completion)
    return msgspec.structs.replace(stored, kind=kind, headers=headers, body=body, event_ends=(), arrivals=())


def _synthesised(stored: StoredResponse, kind: Kind, asked: Options) -> StoredResponse:
    slice_chars = max(SLICE_CHARS, -(-len(stored.body) // SLICES))  # a character is a byte of it at least
    chunks = synthesise(read_object(stored.body), include_usage=asked.include_usage, slice_chars=slice_chars)
    lines = (*map(msgspec.json.encode, chunks), sse.DONE)
    return _as_stream(stored, kind, [sse.encode(line) for line in lines], (0.0,) * len(lines))


def _adapted(stored: StoredResponse, kind: Kind, asked: Options) -> StoredResponse:
    events = adapt(stored, include_usage=asked.include_usage, include_obfuscation=asked.include_obfuscation)
    return _as_stream(stored, kind, [event for event, _ in events], tuple(arrival for _, arrival in events))


def _as_stream(stored: StoredResponse, kind: Kind, events: Sequence[bytes], arrivals: tuple[float, ...]) -> StoredResponse:
    headers, body, ends = _headers(stored, EVENT_STREAM), b"".join(events), tuple(accumulate(map(len, events)))
    return msgspec.structs.replace(stored, kind=kind, headers=headers, body=body, event_ends=ends, arrivals=arrivals)


def _headers(stored: StoredResponse, content_type: bytes) -> Headers:
    return ((b"content-type", content_type), *without(stored.headers, [b"content-type"]))
