"""Divide requests for embeddings and their answers into parts, one for each input, and make an answer of parts.

No vector is decoded: the text of each is cut out as it came.
"""

from collections.abc import Sequence

import msgspec

from cachemw.endpoints.base import RawMembers
from cachemw.endpoints.embeddings.request import is_vector
from cachemw.redaction import redacted_repr
from cachemw.wire.strict_json import UNREADABLE

_INPUT = "input"
_FIRST_OF_TOKENS = tuple(b"-0123456789")


RawVector = bytes | memoryview
"""The text of a vector, as it came."""


class Divided(msgspec.Struct, frozen=True):
    """An answer in parts: the texts of its vectors in the order of their inputs, its model, and the JSON of what it took."""

    vectors: tuple[RawVector, ...]
    model: str
    usage: bytes

    __repr__ = redacted_repr


_members_decoder = msgspec.json.Decoder(RawMembers)
_inputs_decoder = msgspec.json.Decoder(list[msgspec.Raw])


def bodies_of(canonical: bytes) -> tuple[bytes, ...]:
    """Return, for each input of a request in canonical form that divides, the canonical form of the request for it alone.

    So a text and a list of nothing but that text are one part; tokens are one input, and never a list of texts.
    """
    members = _members_decoder.decode(canonical)
    inputs = _inputs_in(members[_INPUT])
    before, after = (b"".join(_listed(members, is_before=is_before)) for is_before in (True, False))
    return tuple([b'{%b"input":%b%b}' % (before, one, after) for one in inputs])


def _listed(members: RawMembers, *, is_before: bool) -> list[bytes]:
    names = [name for name in members if (name < _INPUT if is_before else name > _INPUT)]
    written = [msgspec.json.encode(name) + b":" + bytes(members[name]) for name in names]
    return [one + b"," for one in written] if is_before else [b"," + one for one in written]


def _inputs_in(given: msgspec.Raw) -> list[bytes]:
    raw = bytes(given)
    inputs = [bytes(one) for one in _inputs_decoder.decode(raw)] if raw.startswith(b"[") else [raw]
    return [raw] if inputs[0][0] in _FIRST_OF_TOKENS else inputs


def body_for(body: bytes, places: Sequence[int]) -> bytes:
    """Return the body of a request, with several inputs, as it asks for those at these places only: all else as it came."""
    members = _members_decoder.decode(body)
    inputs = _inputs_in(members[_INPUT])
    members[_INPUT] = msgspec.Raw(b"[" + b",".join([inputs[place] for place in places]) + b"]")
    return msgspec.json.encode(members)


class _Entry(msgspec.Struct, forbid_unknown_fields=True):
    object: str
    index: int
    embedding: msgspec.Raw

    __repr__ = redacted_repr


class _Answer(msgspec.Struct, forbid_unknown_fields=True):
    object: str
    data: list[_Entry]
    model: str
    usage: msgspec.Raw

    __repr__ = redacted_repr


_answer_decoder = msgspec.json.Decoder(_Answer)


def divide(body: bytes) -> Divided | None:
    """Return an answer in parts; `None` where it says more than an answer of parts could, or lacks one."""
    try:
        answer = _answer_decoder.decode(body)
    except UNREADABLE:
        return None
    if (answer.object, {entry.object for entry in answer.data}) != ("list", {"embedding"}):
        return None
    entries = sorted(answer.data, key=lambda entry: entry.index)
    vectors = tuple([bytes(entry.embedding) for entry in entries])
    if [entry.index for entry in entries] != list(range(len(entries))) or not all(map(is_vector, vectors)):
        return None
    return Divided(vectors, answer.model, bytes(answer.usage))


def assemble(parts: Divided) -> bytes:
    """Return the answer that has these parts, in this order. It is megabytes: each is copied once."""
    pieces: list[RawVector] = [b'{"object":"list","data":[']
    for index, vector in enumerate(parts.vectors):
        pieces += (b',{"object":"embedding","index":%d,"embedding":' % index, vector, b"}")
    pieces[1] = pieces[1][1:]  # no comma before the first
    return b"".join((*pieces, b'],"model":', msgspec.json.encode(parts.model), b',"usage":', parts.usage, b"}"))


def usage_together(usages: list[tuple[bytes, int]]) -> bytes | None:
    """Return what several answers took together, each so many times; `None` where that cannot be said exactly.

    Counts add up, in whatever members they are; of anything else nobody knows what it would be.
    """
    if len(usages) == 1 and usages[0][1] == 1:
        return usages[0][0]
    try:
        counts = [_times(msgspec.json.decode(raw), times) for raw, times in usages]
        total = counts[0]
        for other in counts[1:]:
            total = _sum(total, other)
    except (_InexactError, *UNREADABLE):
        return None
    return msgspec.json.encode(total)


class _InexactError(Exception):
    """There is something besides counts."""


def _times(value: object, times: int) -> object:
    if isinstance(value, dict):
        return {name: _times(inner, times) for name, inner in value.items()}
    if type(value) is not int or not 0 <= value * times < 2**53:
        raise _InexactError
    return value * times


def _sum(one: object, other: object) -> object:
    if isinstance(one, dict) and isinstance(other, dict) and one.keys() == other.keys():
        return {name: _sum(value, other[name]) for name, value in one.items()}
    if type(one) is int and type(other) is int:
        return one + other
    raise _InexactError
