"""A store around any store: nobody waits for it long, and while it fails it is left alone."""

import os
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from typing import Protocol, TypeVar, runtime_checkable

from cachemw.core import limits
from cachemw.core.order import Order
from cachemw.errors import StoreError
from cachemw.stores.attempts import Attempt, translated
from cachemw.stores.base import Store
from cachemw.stores.calls import Calls
from cachemw.stores.memory import MemoryStore

T = TypeVar("T")


@runtime_checkable
class HasThread(Protocol):
    """A store with a thread of its own for what may take its time."""

    def submit(self, call: Callable[[], T]) -> Future[T]:
        """Do it there, after what was asked before. Raises `StoreError`."""


class GuardedStore:
    """Lets nobody wait longer than `STORE_PATIENCE` seconds for a call, and asks no more while calls fail.

    Raises `StoreError` only, whatever the guarded store raises: it may be anybody's. What is given up on goes on.
    `begin_…` have the call made elsewhere, for who does not want to wait in this thread; the other names are the port's.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self.never_waits = type(store) is MemoryStore  # what is derived from it may
        self._thread = store if isinstance(store, HasThread) else None
        self._calls: dict[int, Calls] = {}
        self._known_secret = b""

    @property
    def inline_reads(self) -> bool:
        try:
            return self.never_waits or self._store.inline_reads
        except Exception:  # noqa: BLE001 - a store may be anybody's
            return False

    @property
    def known_secret(self) -> bytes:
        """The store's secret, empty as long as it has not said it."""
        return self._store.secret() if self.never_waits else self._known_secret

    def secret(self) -> bytes:
        """Return the store's secret; it is asked once."""
        return self.known_secret or self.begin_secret().wait()

    def get(self, index: bytes) -> bytes | None:
        if self.never_waits:
            return self._store.get(index)
        if not self.inline_reads:
            return self.begin_get(index).wait()
        return self._read_inline(lambda: self._get(index))

    def order(self) -> Order:
        if self.never_waits:
            return self._store.order()
        return self._read_inline(self._order) if self.inline_reads else self.begin_order().wait()

    def put(self, index: bytes, record: bytes, keep: float | None, order: Order | None = None, waits: bool = True) -> None:
        if self.never_waits:
            self._store.put(index, record, keep, order)
        else:
            self.begin_put(index, record, keep, order, waits).wait()

    def delete(self, index: bytes) -> bool:
        if self.never_waits:
            return self._store.delete(index)
        return self._here().write(index, lambda: self._store.delete(index), 0).wait()

    def clear(self) -> int:
        return self._store.clear()

    def discard(self, index: bytes) -> None:
        if self.never_waits:
            self._store.discard(index)
        else:
            self.begin_discard(index).wait()

    def scan(self) -> Iterator[tuple[bytes, bytes]]:
        return self._store.scan()

    def close(self) -> None:
        self._store.close()

    def begin_secret(self) -> Attempt[bytes]:
        """Begin to ask for the secret; all who ask at once share one call."""
        calls = self._here()
        with calls.asking:
            if calls.secret is None or not calls.secret.may_be_shared:
                patience = limits.STORE_OPENING if calls.secret is None else limits.STORE_PATIENCE
                calls.secret = calls.read(self._ask_secret, patience)
            return calls.secret

    def begin_get(self, index: bytes) -> Attempt[bytes | None]:
        """Begin to read; a store that could be read inline, were it open, is given the time to open."""
        return self._here().read(lambda: self._get(index), self._reading_patience)

    def begin_order(self) -> Attempt[Order]:
        """Begin to ask for the order, with the patience of `begin_get`."""
        return self._here().read(self._order, self._reading_patience)

    def begin_put(
        self, index: bytes, record: bytes, keep: float | None, order: Order | None = None, waits: bool = True
    ) -> Attempt[None]:
        """Begin to write; who does not wait gives it up at once, and it goes on."""
        attempt = self._here().write(index, lambda: self._store.put(index, record, keep, order), len(record))
        attempt.patience *= waits
        return attempt

    def begin_discard(self, index: bytes) -> Attempt[None]:
        return self._here().write(index, lambda: self._store.discard(index), 0)

    @property
    def _reading_patience(self) -> float:
        return limits.STORE_PATIENCE if self._thread is None else limits.STORE_OPENING

    def _read_inline(self, call: Callable[[], T]) -> T:
        reading = self._here().reading
        reading.admit()
        try:
            read = call()
        except Exception as exc:
            reading.failed(exc)
            raise translated(exc) from exc
        reading.succeeded()
        return read

    def _order(self) -> Order:
        order: object = self._store.order()
        if isinstance(order, Order):
            return order
        raise StoreError("what the store gave is no order")

    def _get(self, index: bytes) -> bytes | None:
        record: object = self._store.get(index)
        if record is None or isinstance(record, bytes):
            return record
        raise StoreError("what the store gave is no record")

    def _ask_secret(self) -> bytes:
        secret: object = self._store.secret()
        if not isinstance(secret, bytes) or not secret:
            raise StoreError("what the store gave is no secret")
        self._known_secret = secret
        return secret

    def _here(self) -> Calls:
        pid = os.getpid()
        calls = self._calls.get(pid)
        return calls or self._calls.setdefault(pid, Calls(None if self._thread is None else self._thread.submit))
