"""The entry of a record in an inventory: what the record says of itself, without its answer. Pure."""

import math
from enum import Enum

import msgspec

from cachemw.cache import record as codec
from cachemw.cache.lookup import is_sound
from cachemw.cache.parts import is_batch, whole_of, without_batch
from cachemw.errors import RecordError
from cachemw.inventory.answers import finish_reasons
from cachemw.messages import StoredResponse, Usage
from cachemw.redaction import redacted_repr


class Role(Enum):
    """What a record is to its key, as people are told of it."""

    ANSWER = "answer"
    BESIDE = "other kind"  # of an answer that cannot be had from the one under the key's own index
    PART = "part"  # of an answer to many inputs
    BATCH = "batch"  # what such parts have in common


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of one record.

    It lies under `index`; `key` is the one under which people are told of it, in hexadecimal, `size` the bytes that it takes,
    and `body_bytes` those of its answer. It `has_others` where more is stored under its key. Of a record that `is_damaged`, or
    that no recording comes to, nothing else is known. `stored_at` is in seconds since the epoch, `lifetime` and `took` in
    seconds. `finish` are the reasons for which the answer ended, `None` where nobody has looked for them.
    """

    index: bytes
    key: str
    size: int
    role: Role = Role.ANSWER
    has_others: bool = False
    is_damaged: bool = False
    is_stream: bool = False
    body_bytes: int = 0
    endpoint: str = ""
    asked_endpoint: str = ""
    target: str = ""
    model: str | None = None
    usage: Usage | None = None
    took: float | None = None
    stored_at: float | None = None
    lifetime: float = 0.0
    has_request: bool = False
    finish: tuple[str, ...] | None = None

    __repr__ = redacted_repr

    @property
    def asked_model(self) -> str | None:
        """The model that was asked for, where the target is a provider's."""
        return None if "://" in self.target else self.target.partition("/")[2] or None

    def age(self, now: float) -> float | None:
        """Return for how many seconds it has been stored; `None` where that is not known."""
        return None if self.stored_at is None else max(0.0, now - self.stored_at)

    def is_fresh(self, now: float) -> bool:
        """Say whether it answers by itself, as `cachemw.cache.freshness` has it of a stored response."""
        age = self.age(now)
        return age is not None and math.floor(age) < self.lifetime

    def is_stale(self, now: float) -> bool:
        """Say whether it is sound, and its lifetime is over."""
        return not self.is_damaged and not self.is_fresh(now)


class RecordPlace(msgspec.Struct, frozen=True):
    """The place of a record: its index, that of the key beside whose record it lies, and whether something lies beside it."""

    index: bytes
    whole: bytes | None = None
    has_beside: bool = False

    __repr__ = redacted_repr


def entry_of(place: RecordPlace, record: bytes, now: float, *, with_finish: bool = False) -> Entry:
    """Return the entry of what lies in a place."""
    stored = sound(record, now)
    if stored is None:
        return damaged_entry(place, len(record))
    return _entry(place, len(record), stored, finish_reasons(stored) if with_finish else None)


def damaged_entry(place: RecordPlace, size: int) -> Entry:
    """Return the entry of what is no record that can be read."""
    role, key = (Role.ANSWER, place.index) if place.whole is None else (Role.BESIDE, place.whole)
    has_others = place.has_beside or role is Role.BESIDE
    return Entry(index=place.index, key=key.hex(), size=size, role=role, has_others=has_others, is_damaged=True)


def sound(record: bytes, now: float) -> StoredResponse | None:
    """Return what a record holds; `None` for one that is damaged, or that no recording comes to."""
    try:
        stored = codec.decode(record)
    except RecordError:
        return None
    bare = without_batch(stored.headers)  # that field is ours, and no fault
    looked_at = stored if len(bare) == len(stored.headers) else msgspec.structs.replace(stored, headers=bare)
    return stored if is_sound(looked_at, now) else None


def _entry(place: RecordPlace, size: int, stored: StoredResponse, finish: tuple[str, ...] | None) -> Entry:
    role, key = _role_and_key(place, stored)
    return Entry(
        index=place.index,
        key=key.hex(),
        size=size,
        role=role,
        has_others=place.has_beside or role is not Role.ANSWER,
        is_stream=stored.kind.stream,
        body_bytes=len(stored.body),
        endpoint=stored.endpoint,
        asked_endpoint=stored.asked_endpoint,
        target=stored.target,
        model=stored.model,
        usage=stored.usage,
        took=stored.took,
        stored_at=stored.stored_at,
        lifetime=stored.lifetime,
        has_request=stored.request is not None,
        finish=finish,
    )


def _role_and_key(place: RecordPlace, stored: StoredResponse) -> tuple[Role, bytes]:
    named = whole_of(stored.headers)
    if named is not None:
        return Role.PART, named
    if is_batch(stored.headers):
        return Role.BATCH, place.whole or place.index
    return (Role.ANSWER, place.index) if place.whole is None else (Role.BESIDE, place.whole)
