"""The entry of a record in an inventory: what the record says of itself, without its answer. Pure."""

import math
from enum import Enum

import msgspec

from cachemw.cache import record as codec
from cachemw.cache.lookup import is_sound
from cachemw.cache.parts import is_batch, whole_of, without_batch
from cachemw.errors import RecordError
from cachemw.inventory.finish import finish_reasons
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
    and `body_bytes` those of its answer. Of a record that `is_damaged`, or that no recording comes to, nothing else is known.
    `stored_at` is in seconds since the epoch, `lifetime` and `took` in seconds. `finish` are the reasons for which the answer
    ended, `None` where nobody has looked for them.
    """

    index: bytes
    key: str
    size: int
    role: Role = Role.ANSWER
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


def entry_of(index: bytes, record: bytes, now: float, *, whole: bytes | None = None, with_finish: bool = False) -> Entry:
    """Return the entry of what lies under an index; `whole` is that of the key beside whose record it lies."""
    stored = sound(record, now)
    if stored is None:
        return damaged_entry(index, len(record), whole)
    return _entry(index, len(record), stored, whole, finish_reasons(stored) if with_finish else None)


def damaged_entry(index: bytes, size: int, whole: bytes | None = None) -> Entry:
    """Return the entry of what is no record that can be read."""
    role = Role.ANSWER if whole is None else Role.BESIDE
    return Entry(index=index, key=(whole or index).hex(), size=size, role=role, is_damaged=True)


def sound(record: bytes, now: float) -> StoredResponse | None:
    """Return what a record holds; `None` for one that is damaged, or that no recording comes to."""
    try:
        stored = codec.decode(record)
    except RecordError:
        return None
    bare = msgspec.structs.replace(stored, headers=without_batch(stored.headers))  # that field is ours, and no fault
    return stored if is_sound(bare, now) else None


def _entry(index: bytes, size: int, stored: StoredResponse, whole: bytes | None, finish: tuple[str, ...] | None) -> Entry:
    role, key = _role_and_key(index, stored, whole)
    return Entry(
        index=index,
        key=key.hex(),
        size=size,
        role=role,
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


def _role_and_key(index: bytes, stored: StoredResponse, whole: bytes | None) -> tuple[Role, bytes]:
    named = whole_of(stored.headers)
    if named is not None:
        return Role.PART, named
    if is_batch(stored.headers):
        return Role.BATCH, whole or index
    return (Role.ANSWER, index) if whole is None else (Role.BESIDE, whole)
