"""Record ↔ bytes: magic, version, checksum, then MessagePack. Never pickle.

    "CMW" | version, 1 byte | xxh3-64 of the payload, 8 bytes, big endian | payload

Records of every released version stay readable or are refused by their version: `tests/data/records`.
"""

import struct
from typing import Annotated

import msgspec
import xxhash

from cachemw.errors import RecordError
from cachemw.messages import Kind, StoredResponse, Usage
from cachemw.redaction import redacted_repr

MAGIC = b"CMW"
VERSION = 2

_HEAD = struct.Struct(">3sB8s")
RECORD_HEAD_BYTES = _HEAD.size


_ALWAYS = 4  # of what an answer took this many numbers are written, the others where they are known
_Counts = Annotated[tuple[int | None, ...], msgspec.Meta(min_length=_ALWAYS, max_length=len(Usage.__struct_fields__))]


class _Payload(msgspec.Struct, array_like=True, forbid_unknown_fields=True):
    status: int
    headers: tuple[tuple[bytes, bytes], ...]
    body: bytes
    event_ends: bytes
    arrivals: bytes
    stream: bool
    options: bytes
    proof: bytes
    stored_at: float
    lifetime: float
    request: bytes | None
    endpoint: str
    target: str
    model: str | None
    usage: _Counts | None
    took: float | None
    sketch: bytes | None = None

    __repr__ = redacted_repr


class _TranslatedPayload(_Payload, array_like=True, forbid_unknown_fields=True):
    """That of an answer to a request that was translated; of every other one the bytes are as they have always been."""

    asked_endpoint: str = ""


class RecordView(_TranslatedPayload, array_like=True, forbid_unknown_fields=True):
    """What a record says, its body as a view of the record: of many there are megabytes, and to copy each takes longer."""

    body: memoryview  # type: ignore[assignment]

    __repr__ = redacted_repr


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(_TranslatedPayload)
_view_decoder = msgspec.msgpack.Decoder(RecordView)


def encode(stored: StoredResponse) -> bytes:
    """Return the record of a stored response."""
    members = (
        stored.status,
        stored.headers,
        stored.body,
        struct.pack(f"<{len(stored.event_ends)}Q", *stored.event_ends),
        struct.pack(f"<{len(stored.arrivals)}d", *stored.arrivals),
        stored.kind.stream,
        stored.kind.options,
        stored.proof,
        stored.stored_at,
        stored.lifetime,
        stored.request,
        stored.endpoint,
        stored.target,
        stored.model,
        _counts(stored.usage),
        stored.took,
        stored.sketch,
    )
    asked = stored.asked_endpoint
    payload = _encoder.encode(_TranslatedPayload(*members, asked) if asked else _Payload(*members))
    return _HEAD.pack(MAGIC, VERSION, checksum(payload)) + payload


def decode(record: bytes) -> StoredResponse:
    """Return the stored response of a record. Raises `RecordError` for bytes that are not one, whole, of this version."""
    try:
        read = _decoder.decode(_payload_of(record))
        ends, arrivals = _numbers("Q", read.event_ends), _numbers("d", read.arrivals)
    except (msgspec.DecodeError, UnicodeDecodeError, struct.error) as exc:
        raise RecordError("not a record's payload") from exc
    kind = Kind(read.stream, read.options)
    return StoredResponse(
        read.status,
        read.headers,
        read.body,
        ends,
        arrivals,
        kind,
        read.proof,
        read.stored_at,
        read.lifetime,
        read.endpoint,
        read.request,
        read.target,
        read.model,
        None if read.usage is None else Usage(*read.usage),
        read.took,
        read.sketch,
        read.asked_endpoint,
    )


def view(record: bytes) -> RecordView:
    """Return what a record says. Raises `RecordError` as `decode` does."""
    try:
        return _view_decoder.decode(_payload_of(record))
    except (msgspec.DecodeError, UnicodeDecodeError) as exc:
        raise RecordError("not a record's payload") from exc


def _payload_of(record: bytes) -> memoryview:
    if len(record) < _HEAD.size:
        raise RecordError("too short for a record")
    magic, version, said = _HEAD.unpack_from(record)
    if magic != MAGIC or version != VERSION:
        raise RecordError("not a record of this version")
    payload = memoryview(record)[_HEAD.size :]
    if xxhash.xxh3_64_digest(payload) != said:
        raise RecordError("damaged: its checksum differs")
    return payload


def checksum(payload: bytes | memoryview) -> bytes:
    """Return the xxh3-64 of a payload: against bit rot, not against anyone."""
    return xxhash.xxh3_64_digest(payload)


def _counts(usage: Usage | None) -> tuple[int | None, ...] | None:
    if usage is None:
        return None
    counts = msgspec.structs.astuple(usage)
    while len(counts) > _ALWAYS and counts[-1] is None:
        counts = counts[:-1]
    return counts


def _numbers(form: str, packed: bytes) -> tuple[int, ...]:
    return struct.unpack(f"<{len(packed) // 8}{form}", packed) if packed else ()
