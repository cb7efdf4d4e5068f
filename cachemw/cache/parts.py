"""The parts of a stored answer to many inputs, one for each: their records, and that of the batch in which they came.

A part names its whole, and is of use only while the record of its batch lies beside that: what removes the whole removes the
batch (rulings F6).
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from functools import partial

import msgspec
import xxhash

from cachemw.cache import record as codec
from cachemw.cache.key import Key, frame, index_of_batch, part_keys
from cachemw.cache.order import Order
from cachemw.cache.recording import Terms
from cachemw.endpoints.embeddings.parts import RawVector, bodies_of, divide
from cachemw.endpoints.embeddings.request import is_vector
from cachemw.errors import RecordError
from cachemw.messages import Headers, StoredResponse
from cachemw.redaction import redacted_repr
from cachemw.wire.strict_json import UNREADABLE

Records = Callable[[], Iterator[tuple[bytes, bytes]]]
"""Gives records, each with its index; to make them takes a while."""

_BATCH = b"cachemw-batch"
"""The field of a part's record, and of a batch's, that says which batch it is: no answer has one of this name that is kept."""

_JSON_FIELD = (b"content-type", b"application/json")
_LONGEST_COUNT = 9


class StoredPart(msgspec.Struct, frozen=True):
    """The vector of one input, as it came; the index of its `whole`; its batch, and how many `times` the input stood in it."""

    vector: RawVector
    whole: bytes
    batch: bytes
    times: int

    __repr__ = redacted_repr


class Batch(msgspec.Struct, frozen=True):
    """What the parts of an answer have in common: its name, of how many inputs it was, and the record with what it took."""

    name: bytes
    inputs: int
    record: StoredResponse

    __repr__ = redacted_repr


class KnownParts(msgspec.Struct, frozen=True):
    """The parts whose usage is known: their vectors, by the bodies that ask for each alone; their model; their usage together.

    `inputs` are the bodies for all inputs of the request, in its order.
    """

    inputs: tuple[bytes, ...]
    vectors: Mapping[bytes, RawVector]
    model: str
    usage: bytes

    __repr__ = redacted_repr


def records_of_parts(terms: Terms, stored: StoredResponse) -> Records | None:
    """Return the records of the parts of an answer that is kept; `None` where it is not divided."""
    return partial(_records, terms, stored) if terms.call.divides else None


def _records(terms: Terms, stored: StoredResponse) -> Iterator[tuple[bytes, bytes]]:
    """Yield first the batch, then each part: without its batch no part is of use, nor with another's."""
    bodies, divided = bodies_of(terms.call.canonical), divide(stored.body)
    if divided is None or len(divided.vectors) != len(bodies):
        return
    whole, name = terms.key.index, _name_of(terms, stored)
    common = msgspec.structs.replace(stored, request=None, model=divided.model, usage=None, took=None)
    field = (_BATCH, b"%s %d" % (name.hex().encode(), len(bodies)))
    batch = msgspec.structs.replace(common, headers=(_JSON_FIELD, field), body=divided.usage, usage=stored.usage)
    yield index_of_batch(whole), codec.encode(batch)
    vectors, times = dict(zip(bodies, divided.vectors, strict=True)), Counter(bodies)
    for body, key in zip(vectors, part_keys(terms.key, terms.call.canonical, vectors), strict=True):
        field = (_BATCH, b"%s %s %d" % (name.hex().encode(), whole.hex().encode(), times[body]))
        request = body if terms.keep_request else None
        one = msgspec.structs.replace(
            common, headers=(_JSON_FIELD, field), body=vectors[body], proof=key.proof, request=request
        )
        yield key.index, codec.encode(one)


def _name_of(terms: Terms, stored: StoredResponse) -> bytes:
    """Return 16 bytes that no other answer to the same request has."""
    began = terms.order.began if isinstance(terms.order, Order) else 0
    return xxhash.xxh3_128_digest(frame((stored.proof, b"%d" % began, repr(stored.stored_at).encode())))


def read_part(record: bytes, key: Key) -> StoredPart | None:
    """Return the part of a record; `None` for one that is none, or another's."""
    try:
        stored = codec.view(record)
    except RecordError:
        return None
    words = _words_in(stored.headers)
    if stored.proof != key.proof or len(words) != 3 or not _is_whole_vector(stored.body):
        return None
    times = _count(words[2])
    try:
        return None if times is None else StoredPart(stored.body, bytes.fromhex(words[1].decode()), words[0], times)
    except ValueError:
        return None


def read_batch(record: bytes) -> Batch | None:
    """Return the batch of a record; `None` for one that is none."""
    try:
        stored = codec.decode(record)
    except RecordError:
        return None
    words = _words_in(stored.headers)
    if len(words) != 2 or not _is_json(stored.body):
        return None
    inputs = _count(words[1])
    return None if inputs is None else Batch(words[0], inputs, stored)


def whole_of(headers: Headers) -> bytes | None:
    """Return the index of the whole that the record of a part with these fields names; `None` for any other record."""
    words = _words_in(headers)
    try:
        return bytes.fromhex(words[1].decode()) if len(words) == 3 else None
    except ValueError:
        return None


def without_batch(headers: Headers) -> Headers:
    """Return the fields of a record without ours, which no answer has."""
    return tuple([field for field in headers if field[0] != _BATCH])


def is_batch(headers: Headers) -> bool:
    """Say whether a record with these fields is what the parts of an answer have in common."""
    return len(_words_in(headers)) == 2


def _count(word: bytes) -> int | None:
    """Return how many a record says there are: who can write to a store can have it say anything."""
    return int(word) if word.isdigit() and len(word) <= _LONGEST_COUNT and int(word) else None


def _is_whole_vector(body: RawVector) -> bool:
    return is_vector(body) and _is_json(body)


def _is_json(body: RawVector) -> bool:
    """Say whether a body is one text of JSON: an answer is made of it as it is."""
    try:
        msgspec.json.decode(body, type=msgspec.Raw)
    except UNREADABLE:
        return False
    return True


def _words_in(headers: Headers) -> list[bytes]:
    """Return the words of the field that we wrote."""
    return b" ".join([value for name, value in headers if name == _BATCH]).split(b" ")
