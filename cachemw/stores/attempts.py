"""One call of a store at a time: how long who asked waits for it, and what it counts for."""

import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import TYPE_CHECKING, Generic, TypeVar

from cachemw.core import limits
from cachemw.core.breaker import Breaker
from cachemw.errors import RecordRefused, StoreError, StoreTimeout

if TYPE_CHECKING:
    from cachemw.stores.calls import Calls

logger = logging.getLogger(__name__)

T = TypeVar("T")


class Attempt(Generic[T]):
    """One call of a store that is made in another thread, and what it counts for. `done` has what came of it.

    Who asked waits for `patience` seconds; to read for nobody is of no use, to write is.
    """

    def __init__(self, calls: "Calls", side: "Side", call: Callable[[], T], patience: float) -> None:
        self.done: Future[T] = Future()
        self.patience = patience
        self.was_given_up = self.is_lost = False
        self._calls, self._side, self._call = calls, side, call
        self._began, self._started = time.monotonic(), 0.0
        self._is_counted = False

    @property
    def is_over(self) -> bool:
        return self.done.done()

    @property
    def hangs(self) -> bool:
        """Whether it has been running for too long."""
        return time.monotonic() - self._started > limits.STORE_CALL

    @property
    def may_be_shared(self) -> bool:
        """Whether another caller may wait for it: it is under way, or went well."""
        return self.done.exception() is None if self.is_over else not self.was_given_up

    def run(self) -> None:
        """Make the call, if that is still of use."""
        self._started = time.monotonic()
        self._calls.started(self)
        try:
            if self._is_useless:
                self._is_counted = True
                raise StoreTimeout("the store had no time for this call")
            result = self._call()
            del self._call  # and the record with it
        except BaseException as exc:  # noqa: BLE001 - a store may be anybody's
            self.fail(exc)
        else:
            self.count(StoreTimeout("the store took too long") if self.hangs else None)
            self.done.set_result(result)

    def fail(self, exc: BaseException) -> None:
        """Say that nothing came of it. A record that it does not take is no fault of the store's."""
        self.count(None if isinstance(exc, RecordRefused) else exc)
        self.done.set_exception(translated(exc))

    def wait(self) -> T:
        """Return what came of it, soon. Raises `StoreTimeout` and `StoreError`."""
        try:
            return self.done.result(self.patience)
        except TimeoutError:
            raise self.give_up() from None

    def give_up(self) -> StoreTimeout:
        """Return what to raise for who waits no more."""
        if self._calls.given_up(self) and self._side.is_read:
            self.count(StoreTimeout("the store did not answer in time"))
        return StoreTimeout("the store did not answer in time")

    def count(self, fault: BaseException | None) -> None:
        """Let it count for or against the store, once."""
        if self._is_counted:
            return
        self._is_counted = True
        if fault is None:
            self._side.succeeded()
        else:
            self._side.failed(fault)

    @property
    def _is_useless(self) -> bool:
        """Behind a lock writes queue up, each for a second of its own; behind others that go well they come in their turn."""
        if self._side.is_read:
            return self.was_given_up
        return self._started - self._began > limits.STORE_CALL and not self._side.is_well


class Side:
    """One half of a store, and what is said of it: a line for every change. Full disks are still read from."""

    def __init__(self, done: str, *, is_read: bool) -> None:
        self.is_read = is_read
        self._done, self._breaker, self._lock = done, Breaker(), threading.Lock()

    @property
    def is_well(self) -> bool:
        """Whether the last call went well."""
        return self._breaker.is_spotless

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

    def failed(self, fault: BaseException) -> None:
        with self._lock:
            has_opened = self._breaker.failed(time.monotonic())
        if has_opened:
            why = fault if isinstance(fault, StoreError) else type(fault).__name__  # what others say may be anything
            logger.warning("the store cannot be %s, and is tried now and then: %s", self._done, why)


def translated(exc: BaseException) -> StoreError:
    """Return what a store raised as what it may raise."""
    if isinstance(exc, StoreError):
        return exc
    error = StoreError(f"the store raised {type(exc).__name__}, which it may not")
    error.__cause__ = exc
    return error
