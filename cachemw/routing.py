"""The values of routing: what is made of a request on its way to one of several targets, and who of them answered."""

import msgspec

from cachemw.messages import Head, Usage
from cachemw.money import Cost
from cachemw.redaction import redacted_repr


class Rewrite(msgspec.Struct, frozen=True, cache_hash=True):
    """The changes to the body of a request on its way to a target.

    `model` goes in the place of the caller's; `None`: that stays. `set` are members that are sent with this JSON, whatever the
    caller says; those in `drop` are not sent.
    """

    model: str | None = None
    set: tuple[tuple[str, bytes], ...] = ()
    drop: frozenset[str] = frozenset()

    __repr__ = redacted_repr

    @property
    def is_nothing(self) -> bool:
        """Say whether the body is sent as it came."""
        return self.model is None and not self.set and not self.drop


NO_REWRITE = Rewrite()


class Tried(msgspec.Struct, frozen=True):
    """A target that was asked in vain, or was not asked because it is `cooling` for so many seconds; `why` is a failure's word.

    `status` is that of its response, where it gave one.
    """

    name: str
    why: str
    status: int | None = None
    cooling: float | None = None

    __repr__ = redacted_repr


class Bill:
    """The cost of one routed answer. Open until that has ended, then settled, once."""

    __slots__ = ("cost", "usage")

    def __init__(self) -> None:
        self.cost: Cost | None = None
        """What all attempts cost together; `None`: unknown."""
        self.usage: Usage | None = None
        """What the answer says it took."""


class Routed(msgspec.Struct, frozen=True):
    """The one of several targets that answered, by its position in the plan's bids, and what went before.

    `attempts` is how many were asked, itself included. `is_exhausted`: everybody who was asked failed in a way in which
    another one might not have, and what is shown is an error.
    """

    position: int
    attempts: int
    tried: tuple[Tried, ...]
    bill: Bill
    is_exhausted: bool = False

    __repr__ = redacted_repr


class RoutedHead(Head, frozen=True, kw_only=True):
    """The head of an answer that one of several targets gave."""

    routed: Routed

    __repr__ = redacted_repr
