"""The sketch of a key: a code of each of its parts, by name. It says which parts of two requests differ, and not how.

Codes are of BLAKE2b under a key that is made of the store's secret and of the caller's partition: who has not the secret cannot
search for what they are made of, and nobody can tell by them that two callers sent the same message.
"""

import hashlib
from collections.abc import Iterable, Iterator
from functools import lru_cache

import msgspec

from cachemw.cache.key import Key, code
from cachemw.redaction import redacted_repr

CODE_BYTES = 8

FIRST_PLACES, LAST_PLACES = 8, 56
"""Of a longer list the first and the last elements have a part each; those between them share one."""

LISTS = frozenset({"messages", "tools", "input", "system", "documents"})
"""The members of bodies whose elements are parts of their own, where they are arrays."""

LONGEST_NAME = 32
"""How many characters are kept of the name of a member, which may be anything."""


NAMESPACE, SAMPLE, URL, HEADER = "@namespace", "@sample", "@url", "@header "
"""The names of parts that are not of the body; the last one with that of a header field behind it."""


class SketchPart(msgspec.Struct, frozen=True, gc=False):  # who compares them holds hundreds of thousands
    """One part of what a key is made of: a member of the body, an element as "messages[3]", or what has a name from above."""

    name: str
    code: bytes

    __repr__ = redacted_repr


class Sketch(msgspec.Struct, frozen=True, gc=False):
    """The parts of a key, in order, and codes under the store's secret: of who asks, of the body, of all but who asks.

    One that was made of a body alone has no `whole`.
    """

    caller: bytes
    body: bytes
    whole: bytes
    parts: tuple[SketchPart, ...]

    __repr__ = redacted_repr


class _Encoded(msgspec.Struct, array_like=True, frozen=True):
    caller: bytes
    body: bytes
    whole: bytes
    members: list[tuple[str, bytes, int | None]]  # a name, its codes, and of an array how many elements it has

    __repr__ = redacted_repr


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(_Encoded)
_members = msgspec.json.Decoder(dict[str, msgspec.Raw])
_elements = msgspec.json.Decoder(list[msgspec.Raw])


def sketch_of(key: Key, secret: bytes) -> bytes:
    """Return the sketch of a key, encoded: a few hundred bytes. `secret` is the store's, empty in a shared partition."""
    scheme, partition, namespace, sample, identity, fields, canonical = _unframed(key.parts)
    keyed, common = _keys(secret, partition)
    body = _code(common, canonical)
    members = [
        *((NAMESPACE, _code(keyed, namespace), None),) * bool(namespace),
        *((SAMPLE, _code(keyed, sample), None),) * (sample != b"0"),
        (URL, _code(keyed, identity), None),
        *_header_members(keyed, fields),
        *_body_members(keyed, canonical),
    ]
    whole = _code(common, b"".join((scheme, namespace, b"\0", sample, b"\0", identity, fields, body)))
    return _encoder.encode(_Encoded(_code(common, partition), body, whole, members))


def sketch_of_body(canonical: bytes, partition: bytes, secret: bytes) -> Sketch:
    """Return the sketch of a canonical body that somebody in this partition might send; of where to, nothing is known."""
    keyed, common = _keys(secret, partition)
    return _read(_Encoded(_code(common, partition), _code(common, canonical), b"", list(_body_members(keyed, canonical))))


def read_sketch(encoded: bytes) -> Sketch | None:
    """Return a sketch that was encoded; `None` for what is none."""
    try:
        return _read(_decoder.decode(encoded))
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


def _read(encoded: _Encoded) -> Sketch:
    parts = [part for member in encoded.members for part in _parts(*member)]
    return Sketch(encoded.caller, encoded.body, encoded.whole, tuple(parts))


def _parts(name: str, codes: bytes, count: int | None) -> Iterator[SketchPart]:
    if count is None:
        yield SketchPart(name, codes)
        return
    for start, place in zip(range(0, len(codes), CODE_BYTES), _places(count), strict=False):
        yield SketchPart(f"{name}[{place}]", codes[start : start + CODE_BYTES])


def _places(count: int) -> Iterable[str]:
    """Return what the elements of an array of so many are called that have a part each."""
    if count <= FIRST_PLACES + LAST_PLACES:
        return map(str, range(count))
    first, last = map(str, range(FIRST_PLACES)), map(str, range(count - LAST_PLACES, count))
    return (*first, f"{FIRST_PLACES}..{count - LAST_PLACES - 1}", *last)


def _header_members(keyed: bytes, fields: bytes) -> Iterator[tuple[str, bytes, None]]:
    framed = list(_unframed(fields))
    for name, value in zip(framed[::2], framed[1::2], strict=True):
        yield HEADER + name.decode("latin-1")[:LONGEST_NAME], _code(keyed, value), None


def _body_members(keyed: bytes, canonical: bytes) -> Iterator[tuple[str, bytes, int | None]]:
    try:
        members = _members.decode(canonical)
    except (msgspec.DecodeError, UnicodeDecodeError):  # no canonical body that we made
        yield "body", _code(keyed, canonical), None
        return
    for name, value in members.items():
        kept = name[:LONGEST_NAME]
        elements = _elements.decode(value) if name in LISTS and bytes(value).startswith(b"[") else None
        if elements:
            yield kept, _list_codes(keyed, elements), len(elements)
        else:
            yield kept, _code(keyed, value), None


def _list_codes(keyed: bytes, elements: list[msgspec.Raw]) -> bytes:
    if len(elements) <= FIRST_PLACES + LAST_PLACES:
        return b"".join([_code(keyed, element) for element in elements])
    between = hashlib.blake2b(digest_size=CODE_BYTES, key=keyed)
    for element in elements[FIRST_PLACES:-LAST_PLACES]:
        between.update(len(memoryview(element)).to_bytes(8))
        between.update(element)
    first = [_code(keyed, element) for element in elements[:FIRST_PLACES]]
    last = [_code(keyed, element) for element in elements[-LAST_PLACES:]]
    return b"".join([*first, between.digest(), *last])


def _code(keyed: bytes, value: bytes | msgspec.Raw) -> bytes:
    return hashlib.blake2b(value, digest_size=CODE_BYTES, key=keyed).digest()


@lru_cache(1024)  # one caller asks again and again
def _keys(secret: bytes, partition: bytes) -> tuple[bytes, bytes]:
    """Return the key for the codes of one caller, and the one for those that callers can be compared by."""
    return code(secret, b"sketch", partition), code(secret, b"sketches")


def _unframed(framed: bytes) -> Iterator[bytes]:
    """Yield the parts that `frame` put together."""
    start = 0
    while start < len(framed):
        size = int.from_bytes(framed[start : start + 8])
        start += 8 + size
        yield framed[start - size : start]
