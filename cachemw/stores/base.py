"""The port of stores: records under indexes, bytes in and bytes out. Thread-safe; every method may block but as said."""

from collections.abc import Iterator
from typing import Protocol

from cachemw.cache.order import Order
from cachemw.errors import ConfigurationError


class Store(Protocol):
    """Where records are kept. Every method but `close` may raise `StoreError`, and nothing else."""

    @property
    def inline_reads(self) -> bool:
        """Whether `get` never waits now, so that an event loop may call it."""

    def secret(self) -> bytes:
        """Return what keeps partitions from being guessed: the same bytes as long as the store lives."""

    def get(self, index: bytes) -> bytes | None:
        """Return the record, or `None` where there is none or its time is over. Writes nothing."""

    def order(self) -> Order:
        """Return where a forward stands that begins now. Writes nothing, and waits where `get` does."""

    def put(self, index: bytes, record: bytes, keep: float | None, order: Order | None = None) -> None:
        """Keep a record, in the place of an earlier one, for `keep` seconds; `None` until it is evicted.

        `order` is what the store said when the forward began that brought the record: it is compared with what is there in
        the transaction that replaces it. Without it, the record comes from no forward and replaces any. Raises `Superseded`,
        `Purged` and `RecordTooLarge` besides.
        """

    def delete(self, index: bytes) -> bool:
        """Purge a record, and say whether there was one. Whatever was asked for before this, of any key, is not kept."""

    def clear(self) -> int:
        """Purge every record, and say how many there were. Nothing is kept that was asked for before this."""

    def discard(self, index: bytes) -> None:
        """Remove what is no record. What is under way is kept all the same."""

    def scan(self) -> Iterator[tuple[bytes, bytes]]:
        """Go through the records there are, oldest first."""

    def close(self) -> None:
        """Let go of everything that is open. May be called twice, and before first use."""


def refuse_limits(*limits: int) -> None:
    """Refuse a store that could hold nothing. Raises `ConfigurationError`."""
    if min(limits) < 1:
        raise ConfigurationError("a store's limits are at least 1")
