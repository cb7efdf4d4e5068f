"""A store around any store: nobody waits for it long, and while it fails it is left alone."""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from typing import Generic, Protocol, TypeVar, runtime_checkable

from cachemw.core import limits
from cachemw.core.breaker import Breaker
from cachemw.errors import StoreError, StoreTimeout
from cachemw.stores.base import Store
from cachemw.stores.memory import MemoryStore

logger = logging.getLogger(__name__)

T = TypeVar("T")


@runtime_checkable
class HasThread(Protocol):
    """A store with a thread of its own for what may take its time."""

    def submit(self, call: Callable[[], T]) -> "Future[T]":
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
        self._reading, self._writing = _Side("read from"), _Side("written to")
        self._thread = store if isinstance(store, HasThread) else None
        self._slots = threading.BoundedSemaphore(limits.STORE_CALLS)
        self._puts: deque[Attempt[None]] = deque()
        self._lock = threading.Lock()
        self._secret: Attempt[bytes] | None = None
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
        self._reading.admit()
        try:
            record = self._store.get(index)
        except Exception as exc:
            self._reading.failed(exc)
            raise _translated(exc) from exc
        self._reading.succeeded()
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

    def begin_secret(self) -> "Attempt[bytes]":
        """Begin to ask for the secret; all who ask at once share one call."""
        with self._lock:
            if self._secret is None:
                self._secret = self._begin(self._reading, self._ask_secret, patience=limits.STORE_OPENING)
            elif not self._secret.may_be_shared:
                self._secret = self._begin(self._reading, self._ask_secret)
            return self._secret

    def begin_get(self, index: bytes) -> "Attempt[bytes | None]":
        return self._begin(self._reading, lambda: self._store.get(index))

    def begin_put(self, index: bytes, record: bytes, keep: float | None) -> "Attempt[None]":
        with self._lock:
            while self._puts and (self._puts[0].is_over or self._puts[0].is_overdue):
                self._puts.popleft().give_up()
        patience = 0.0 if self._reading.keeps_waiting else None  # this request, or one just before it, has waited in vain
        attempt = self._begin(self._writing, lambda: self._store.put(index, record, keep), limits.STORE_PUT, patience=patience)
        self._puts.append(attempt)
        return attempt

    def begin_delete(self, index: bytes) -> "Attempt[bool]":
        return self._begin(self._writing, lambda: self._store.delete(index), limits.STORE_PUT)

    def _ask_secret(self) -> bytes:
        self._known_secret = self._store.secret()
        return self._known_secret

    def _begin(
        self, side: "_Side", call: Callable[[], T], allowance: float = 0.0, *, patience: float | None = None
    ) -> "Attempt[T]":
        side.admit()
        attempt = Attempt(side, call, limits.STORE_PATIENCE if patience is None else patience, allowance)
        try:
            self._start(attempt)
        except (StoreError, RuntimeError) as exc:  # there are systems without another thread to give
            side.failed(exc)
            raise _translated(exc) from exc
        return attempt

    def _start(self, attempt: "Attempt[T]") -> None:
        if self._thread is not None:
            self._thread.submit(attempt.run)
        elif self._slots.acquire(blocking=False):
            attempt.done.add_done_callback(lambda _: self._slots.release())
            threading.Thread(target=attempt.run, name="cachemw-store-call", daemon=True).start()
        else:
            raise StoreTimeout("too many calls hang in the store")


class Attempt(Generic[T]):
    """One call of a store that is made in another thread, and what it counts for. `done` has what came of it.

    Who waits has `patience` seconds; the call may take `allowance`, if that is more.
    """

    def __init__(self, side: "_Side", call: Callable[[], T], patience: float, allowance: float) -> None:
        self.done: Future[T] = Future()
        self.patience = patience
        self._side, self._call = side, call
        self._until = time.monotonic() + max(patience, allowance)
        self._is_counted = False

    @property
    def is_over(self) -> bool:
        return self.done.done()

    @property
    def is_overdue(self) -> bool:
        return time.monotonic() > self._until

    @property
    def may_be_shared(self) -> bool:
        """Whether another caller may wait for it: it is under way, or went well."""
        return self.done.exception() is None if self.is_over else not self.is_overdue

    def run(self) -> None:
        """Make the call; one whose time was over before it could begin is not made."""
        try:
            if self.is_overdue:
                raise StoreTimeout("the store had no time for this call")
            result = self._call()
            del self._call  # and the record with it
        except Exception as exc:  # noqa: BLE001 - a store may be anybody's
            self._count(exc)
            self.done.set_exception(_translated(exc))
        else:
            self._count(StoreTimeout("the store took too long") if self.is_overdue else None)
            self.done.set_result(result)

    def wait(self) -> T:
        """Return what came of it, soon. Raises `StoreTimeout` and `StoreError`."""
        try:
            return self.done.result(self.patience)
        except TimeoutError:
            raise self.given_up() from None

    def given_up(self) -> StoreTimeout:
        """Return what to raise for who waits no more."""
        self.give_up()
        return StoreTimeout("the store did not answer in time")

    def give_up(self) -> None:
        """Count it against the store where its time is over."""
        if self.is_overdue and not self.is_over:
            self._count(StoreTimeout("the store did not answer in time"))

    def _count(self, fault: Exception | None) -> None:
        if self._is_counted:
            return
        self._is_counted = True
        if fault is None:
            self._side.succeeded()
        else:
            self._side.failed(fault)


class _Side:
    """One half of a store, and what is said of it: a line for every change. Full disks are still read from."""

    def __init__(self, done: str) -> None:
        self._done, self._breaker, self._lock = done, Breaker(), threading.Lock()

    @property
    def keeps_waiting(self) -> bool:
        """Whether the last call failed, and the next one is made all the same."""
        return not self._breaker.is_spotless and not self._breaker.is_open

    def admit(self) -> None:
        """Raises `StoreError` while the store is left alone."""
        if not self._breaker.is_open:
            return
        with self._lock:
            if not self._breaker.admits(time.monotonic()):
                raise StoreError(f"the store cannot be {self._done}, and is left alone for now")

    def succeeded(self) -> None:
        if self._breaker.is_spotless:
            return
        with self._lock:
            has_closed = self._breaker.succeeded()
        if has_closed:
            logger.warning("the store can be %s again", self._done)

    def failed(self, fault: Exception) -> None:
        with self._lock:
            has_opened = self._breaker.failed(time.monotonic())
        if has_opened:
            kinds = type(fault).__name__, type(fault.__cause__ or fault).__name__
            logger.warning("the store cannot be %s (%s, %s): it is tried every %g s", self._done, *kinds, limits.STORE_REST)


def _translated(exc: Exception) -> StoreError:
    if isinstance(exc, StoreError):
        return exc
    error = StoreError("the store raised what it may not raise")
    error.__cause__ = exc
    return error
