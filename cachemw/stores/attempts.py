"""One call of a store at a time: how long who asked waits for it, and what it counts for."""

import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Generic, TypeVar

from cachemw.core.breaker import Breaker
from cachemw.errors import StoreError, StoreTimeout

logger = logging.getLogger(__name__)

T = TypeVar("T")


class Attempt(Generic[T]):
    """One call of a store that is made in another thread, and what it counts for. `done` has what came of it.

    Who waits has `patience` seconds; the call may take `allowance`, if that is more.
    """

    def __init__(self, side: "Side", call: Callable[[], T], patience: float, allowance: float) -> None:
        self.done: Future[T] = Future()
        self.patience = patience
        self.was_given_up = False
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
            self.done.set_exception(translated(exc))
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
        self.was_given_up = True
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


class Side:
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
            logger.warning("the store cannot be %s (%s, %s): it is tried now and then", self._done, *kinds)


def translated(exc: Exception) -> StoreError:
    if isinstance(exc, StoreError):
        return exc
    error = StoreError("the store raised what it may not raise")
    error.__cause__ = exc
    return error
