"""A store around any store: nobody waits for it long, and while it fails it is left alone."""

import os
import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from typing import Protocol, TypeVar, runtime_checkable

from cachemw.core import limits
from cachemw.errors import StoreError, StoreTimeout
from cachemw.stores.attempts import Attempt, Side, translated
from cachemw.stores.base import Store
from cachemw.stores.memory import MemoryStore

T = TypeVar("T")


@runtime_checkable
class HasThread(Protocol):
    """A store with a thread of its own for what may take its time."""

    def submit(self, call: Callable[[], T]) -> Future[T]:
        """Do it there, after what was asked before. Raises `StoreError`."""


class GuardedStore:
    """Gives every call `STORE_PATIENCE` seconds, and asks no more while calls fail. Raises `StoreError` only.

    `begin_…` have the call made elsewhere, for who does not want to wait in this thread; the rest of the names are the
    port's. What the guarded store raises, whatever it is, is a `StoreError` here: it may be anybody's. What is given up on
    goes on, in a daemon thread that keeps no process from ending; a put has `STORE_PUT` seconds in all.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self.never_waits = type(store) is MemoryStore  # what is derived from it may
        self._thread = store if isinstance(store, HasThread) else None
        self._watches: dict[int, _Watch] = {}
        self._known_secret = b""

    @property
    def inline_reads(self) -> bool:
        return self.never_waits or self._store.inline_reads

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
        if not self._store.inline_reads:
            return self.begin_get(index).wait()
        reading = self._here().reading
        reading.admit()
        try:
            record = self._store.get(index)
        except Exception as exc:
            reading.failed(exc)
            raise translated(exc) from exc
        reading.succeeded()
        return record

    def put(self, index: bytes, record: bytes, keep: float | None) -> None:
        if self.never_waits:
            self._store.put(index, record, keep)
        else:
            self.begin_put(index, record, keep).wait()

    def delete(self, index: bytes) -> bool:
        return self._store.delete(index) if self.never_waits else self.begin_delete(index).wait()

    def scan(self) -> Iterator[tuple[bytes, bytes]]:
        return self._store.scan()

    def close(self) -> None:
        self._store.close()

    def begin_secret(self) -> Attempt[bytes]:
        """Begin to ask for the secret; all who ask at once share one call."""
        watch = self._here()
        with watch.lock:
            if watch.secret is None:
                watch.secret = self._begin(watch.reading, self._ask_secret, patience=limits.STORE_OPENING)
            elif not watch.secret.may_be_shared:
                watch.secret = self._begin(watch.reading, self._ask_secret)
            return watch.secret

    def begin_get(self, index: bytes) -> Attempt[bytes | None]:
        return self._begin(self._here().reading, lambda: self._store.get(index))

    def begin_put(self, index: bytes, record: bytes, keep: float | None) -> Attempt[None]:
        watch = self._here()
        patience = 0.0 if watch.keeps_waiting() else None
        attempt = self._begin(watch.writing, lambda: self._store.put(index, record, keep), limits.STORE_PUT, patience=patience)
        watch.puts.append(attempt)
        return attempt

    def begin_delete(self, index: bytes) -> Attempt[bool]:
        return self._begin(self._here().writing, lambda: self._store.delete(index), limits.STORE_PUT)

    def _ask_secret(self) -> bytes:
        self._known_secret = self._store.secret()
        return self._known_secret

    def _begin(self, side: Side, call: Callable[[], T], allowance: float = 0.0, *, patience: float | None = None) -> Attempt[T]:
        side.admit()
        attempt = Attempt(side, call, limits.STORE_PATIENCE if patience is None else patience, allowance)
        try:
            self._start(attempt)
        except (StoreError, RuntimeError) as exc:  # there are systems without another thread to give
            side.failed(exc)
            raise translated(exc) from exc
        return attempt

    def _start(self, attempt: Attempt[T]) -> None:
        if self._thread is not None:
            self._thread.submit(attempt.run)
        elif (slots := self._here().slots).acquire(blocking=False):
            attempt.done.add_done_callback(lambda _: slots.release())
            threading.Thread(target=attempt.run, name="cachemw-store-call", daemon=True).start()
        else:
            raise StoreTimeout("too many calls hang in the store")

    def _here(self) -> "_Watch":
        pid = os.getpid()
        return self._watches.get(pid) or self._watches.setdefault(pid, _Watch())


class _Watch:
    """What one process knows of a store: nothing of its parent's is under way in a forked child, and no lock is held."""

    def __init__(self) -> None:
        self.reading, self.writing = Side("read from"), Side("written to")
        self.slots = threading.BoundedSemaphore(limits.STORE_CALLS)
        self.puts: deque[Attempt[None]] = deque()
        self.secret: Attempt[bytes] | None = None
        self.lock = threading.Lock()

    def keeps_waiting(self) -> bool:
        """Say whether a request that comes to store something has waited in vain, or would."""
        with self.lock:
            while self.puts and (self.puts[0].is_over or self.puts[0].is_overdue):
                self.puts.popleft().give_up()
            return self.reading.keeps_waiting or any(put.was_given_up for put in self.puts)
