"""The port of stores: records under indexes, bytes in and bytes out. Thread-safe; every method may block but as said."""

import math
import os
from collections.abc import Callable, Hashable, Iterator, Sequence
from concurrent.futures import Future
from enum import Enum
from pathlib import Path
from typing import Protocol, TypeVar

from cachemw.cache import record as codec
from cachemw.cache.lookup import are_times_sound
from cachemw.cache.order import ALONE, Order, Others
from cachemw.errors import ConfigurationError, RecordError, StoreError

T = TypeVar("T")


class Inline(Enum):
    """The calls of a store that never wait now, so that an event loop may make them itself."""

    NONE = "none"
    READS = "get, order and version"
    ALL = "all"


class Submit(Protocol):
    """Has calls made elsewhere, one after another."""

    def __call__(self, call: Callable[[], T], /) -> Future[T]:
        """Have a call made after those before it, and do not wait. Raises `StoreError`."""


class Store(Protocol):
    """A place where records are kept. Every method but `close` may raise `StoreError`, and nothing else.

    A store inherits from this: what it does not define is then as it stands here.
    """

    @property
    def place(self) -> str:
        """The place of the records, as people are told of it."""
        return type(self).__name__

    @property
    def inline(self) -> Inline:
        """The calls that never wait now."""
        return Inline.NONE

    @property
    def submit(self) -> Submit | None:
        """The thread of its own in which the store works; `None` where it works in its callers'."""
        return None

    @property
    def keeps_requests(self) -> bool:
        """Say whether its records hold their requests, whatever the policy says."""
        return False

    @property
    def keeps_secret(self) -> bool:
        """Say whether it has a secret; without one, callers cannot be told apart by their credentials."""
        return True

    @property
    def keeps_parts(self) -> bool:
        """Say whether the parts of an answer to many inputs are put, too, each as a record."""
        return True

    def exists(self) -> bool:
        """Say whether there is such a store already: the first call makes it."""
        return True

    def read_only(self) -> "Store":
        """Return the store as who only replays has it: no byte in its place is changed, and none need be writable.

        To close this store closes that one. Raises `ConfigurationError` where there is nothing to read.
        """
        return self

    def count(self) -> int | None:
        """Return how many records there are, `None` where that takes long to say. Waits where `get` does."""
        return None

    def secret(self) -> bytes:
        """Return what keeps partitions from being guessed: the same bytes as long as the store lives."""

    def get(self, index: bytes) -> bytes | None:
        """Return the record, or `None` where there is none or its time is over. Writes nothing.

        Raises `RecordError` where what is there is not the record that was put, and says where that is.
        """

    def get_many(self, indexes: Sequence[bytes]) -> Sequence[bytes | None]:
        """Return what `get` returns for each of these, all at once: for some stores that is less work."""
        return [self.get(index) for index in indexes]

    def order(self) -> Order:
        """Return where a forward stands that begins now. Writes nothing, and waits where `get` does."""

    def version(self) -> Hashable | None:
        """Return another value whenever anything has been changed since, by any process. Waits where `get` does.

        What another process changes may go unnoticed for a millisecond. That the time of a record is over is no change. `None`
        where the store cannot say, or no cheaper than by a `get`.
        """
        return None

    def put(self, index: bytes, record: bytes, keep: float | None, order: Order | None = None, others: Others = ALONE) -> None:
        """Keep a record, in the place of an earlier one, for `keep` seconds; `None` until it is evicted.

        `order` is what the store said when the forward began that brought the record: it is compared with what is there, and
        with the `others` of its key, in the transaction that replaces it. Without it, the record comes from no forward and
        replaces any. Raises `Superseded`, `Purged` and `RecordTooLarge` besides.
        """

    def delete(self, *indexes: bytes) -> bool:
        """Purge the records of a key, at once, and say whether there was one.

        Whatever was asked for before this, of any key, is not kept.
        """

    def purge(self, stored_before: float) -> int:
        """Purge the records of what was stored before this time, as `delete` does each; return how many there were.

        Damaged ones stay: nobody knows of when they are.
        """
        return sum(self.delete(index) for index, record in self.scan() if stored_at(record, stored_before) < stored_before)

    def clear(self) -> int:
        """Purge every record, and say how many there were. Nothing is kept that was asked for before this."""

    def discard(self, *indexes: bytes) -> None:
        """Remove what is no record, and those beside it, at once. What is under way is kept all the same."""

    def scan(self) -> Iterator[tuple[bytes, bytes]]:
        """Go through the records there are."""

    def indexes(self) -> Sequence[bytes]:
        """Return the indexes under which something lies, be it damaged, or its time over."""
        return [index for index, _ in self.scan()]

    def size(self) -> int:
        """Return how many bytes it takes, about."""

    def close(self) -> None:
        """Let go of everything that is open. May be called twice, and before first use."""


def stored_at(record: bytes, now: float) -> float:
    """Return when a record's response was stored; infinity for what is damaged, or cannot have been stored then."""
    try:
        stored = codec.decode(record)
    except RecordError:
        return math.inf
    return stored.stored_at if are_times_sound(stored, now) else math.inf


def absolute(path: str | os.PathLike[str]) -> Path:
    """Return where the path leads now, with `~` and `$VARIABLES` in it expanded, wherever the process goes later."""
    return Path(os.path.abspath(os.path.expandvars(os.path.expanduser(path))))


def refuse_nothing(directory: Path, found: Path) -> None:
    """Refuse to replay from a directory in which this is not found. Raises `ConfigurationError`."""
    if not found.exists():
        missing = "there is no such directory" if not directory.is_dir() else f"it has no {found.name}"
        raise ConfigurationError(
            f"nothing can be replayed from {directory}: {missing}; record there first, or start where that path is right"
        )


def account_of(store: Store) -> str:
    """Return what people are told of what a store holds, for who looked there in vain."""
    try:
        count = store.count()
    except StoreError as exc:
        return f"the store in {store.place} cannot be read: {exc}"
    if count is None:
        return f"the store is {store.place}"
    return f"the store in {store.place} holds {records(count)}, and none answers this request"


def records(count: int) -> str:
    """Return how many records there are, in words."""
    return f"{count:,} record{'' if count == 1 else 's'}"


def refuse_limits(*limits: int) -> None:
    """Refuse a store that could hold nothing. Raises `ConfigurationError`."""
    if min(limits) < 1:
        raise ConfigurationError("a store's limits are at least 1")
