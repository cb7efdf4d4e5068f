"""The entry of a record in an inventory: what the record says of itself, without its answer. Pure."""

import math
from enum import Enum

import msgspec

from cachemw.messages import Usage
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
    and `body_size` those of its answer. Of a record that `is_damaged`, or that no recording comes to, nothing else is known.
    `stored_at` is in seconds since the epoch, `lifetime` and `took` in seconds. `finish` are the reasons for which the answer
    ended, `None` where nobody has looked for them.
    """

    index: bytes
    key: str
    size: int
    role: Role = Role.ANSWER
    is_damaged: bool = False
    is_stream: bool = False
    body_size: int = 0
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
    def provider(self) -> str:
        """The name of a provider, where the target is one's; that of a URL, or of an app, is all of it."""
        return self.target if "://" in self.target else self.target.partition("/")[0]

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
