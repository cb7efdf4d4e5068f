"""Calls of a store in other threads: queued, bounded in time, and refused while the store fails."""

import concurrent.futures
import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from typing import Any, Generic, TypeVar

from cachemw.errors import RecordError, RecordRefused, StoreError, StoreTimeout
from cachemw.limits import Limits
from cachemw.stores.base import Submit


class CircuitBreaker:
    """Closed, everything is asked. Open, after `store_faults` failures in a row, one call in a while, to see.

    It rests for `store_first_rest` seconds, and twice as long after each call that fails again, `store_rest` at most: many
    troubles are over at once, and others last for days. Times are seconds on any clock that never goes back.
    """

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._failures = 0
        self._rest = limits.store_first_rest
        self._tries_at = 0.0

    @property
    def is_open(self) -> bool:
        return self._failures >= self._limits.store_faults

    def admits(self, now: float) -> bool:
        """Say whether a call may be made; it is the one that tries, where the breaker is open."""
        if not self.is_open:
            return True
        if now < self._tries_at:
            return False
        self._tries_at = now + self._rest
        self._rest = min(2 * self._rest, self._limits.store_rest)
        return True

    def succeeded(self) -> bool:
        """Take note of a call that went well; say whether that closes the breaker."""
        was_open, self._failures, self._rest = self.is_open, 0, self._limits.store_first_rest
        return was_open

    def failed(self, now: float) -> bool:
        """Take note of one that did not; say whether that opens the breaker."""
        was_open = self.is_open
        self._failures += 1
        self._tries_at = now + self._rest
        return self.is_open and not was_open


logger = logging.getLogger(__name__)

T = TypeVar("T")


class StoreCall(Generic[T]):
    """One call of a store that is made in another thread, and what it counts for. `done` has what came of it.

    Who asked waits for `patience` seconds; to read for nobody is of no use, to write is.
    """

    def __init__(self, calls: "CallQueue", side: "Side", call: Callable[[], T], patience: float) -> None:
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
        """Say whether it has been running for too long."""
        return time.monotonic() - self._started > self._calls.limits.store_call

    @property
    def may_be_shared(self) -> bool:
        """Say whether another caller may wait for it: it is under way, or went well."""
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
        """Say that nothing came of it. A record that it does not take, or that was changed, is no fault of the store's."""
        self.count(None if isinstance(exc, RecordRefused | RecordError) else exc)
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
        return self._started - self._began > self._calls.limits.store_call and not self._side.is_well


class Side:
    """One half of a store, and what is said of it: a line for every change. Full disks are still read from."""

    def __init__(self, done: str, limits: Limits, *, is_read: bool) -> None:
        self.is_read = is_read
        self._done, self._breaker, self._lock = done, CircuitBreaker(limits), threading.Lock()
        self.is_well = True
        """Whether the last call went well."""

    @property
    def is_left_alone(self) -> bool:
        """Say whether nothing is asked for now."""
        return self._breaker.is_open

    def admit(self) -> None:
        """Raises `StoreError` while the store is left alone."""
        if not self._breaker.is_open:
            return
        with self._lock:
            if not self._breaker.admits(time.monotonic()):
                raise StoreError(f"the store cannot be {self._done}, and is left alone for now")

    def succeeded(self) -> None:
        if self.is_well:
            return
        with self._lock:
            has_closed = self._breaker.succeeded()
            self.is_well = True
        if has_closed:
            logger.warning("the store can be %s again", self._done)

    def failed(self, fault: BaseException) -> None:
        with self._lock:
            has_opened = self._breaker.failed(time.monotonic())
            self.is_well = False
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


class CallQueue:
    """The calls that one process has under way in a store: in a forked child nothing of its parent's is, and no lock is held.

    `submit` has a call made in the store's own thread. Without it each is made in a daemon thread, `store_calls` at once.
    """

    def __init__(self, submit: Submit | None, limits: Limits) -> None:
        self.limits = limits
        self.reading, self.writing = Side("read from", limits, is_read=True), Side("written to", limits, is_read=False)
        self.secret: StoreCall[bytes] | None = None
        self.asking = threading.Lock()
        self._submit = submit
        self._lock = threading.Lock()
        self._running: dict[StoreCall[Any], None] = {}  # in the order they were started; those that hang are not in it
        self._waiting: deque[StoreCall[Any]] = deque()
        self._threads = self._lost = self._given_up = self._held = 0
        self._writes: dict[bytes, StoreCall[Any]] = {}

    def read(self, call: Callable[[], T], patience: float) -> StoreCall[T]:
        """Begin to read. Raises `StoreError` where the store is left alone, or hangs."""
        return self._begin(self.reading, call, patience, 0)

    def write(self, index: bytes, call: Callable[[], T], size_bytes: int) -> StoreCall[T]:
        """Begin to write, after what was begun for the same index. Raises `StoreError` as `read` does."""
        before = self._writes.get(index)
        if before is not None and self._submit is None:
            call = partial(_after, before, call)
        attempt = self._begin(self.writing, call, self.limits.store_patience, size_bytes)
        self._writes[index] = attempt
        attempt.done.add_done_callback(lambda _: self._forget(index, attempt))
        return attempt

    def started(self, attempt: StoreCall[Any]) -> None:
        """Take note that it runs."""
        with self._lock:
            self._running[attempt] = None

    def given_up(self, attempt: StoreCall[Any]) -> bool:
        """Take note that nobody waits for it any more; say whether it is under way."""
        with self._lock:
            if attempt.is_over or attempt.was_given_up:
                return not attempt.is_over
            attempt.was_given_up = True
            self._given_up += 1
            return True

    def _begin(self, side: Side, call: Callable[[], T], patience: float, size_bytes: int) -> StoreCall[T]:
        side.admit()
        attempt = StoreCall(self, side, call, patience)
        try:
            self._take_in(attempt, side, size_bytes)
            self._start(attempt)
        except (StoreError, RuntimeError) as exc:  # there are systems without another thread to give
            attempt.fail(exc)
            raise translated(exc) from exc
        return attempt

    def _take_in(self, attempt: StoreCall[Any], side: Side, size_bytes: int) -> None:
        with self._lock:
            self._count_hanging()
            is_hopeless = self._lost >= (self.limits.store_calls if self._submit is None else 1)
            if is_hopeless or self._held + size_bytes > self.limits.store_queue_bytes:
                raise StoreTimeout("the store hangs, or does not keep up")
            if self._given_up and not (side.is_read and self._submit is None):
                attempt.patience = 0.0  # somebody has waited in vain already, for what is still in the way
            self._held += size_bytes
            attempt.done.add_done_callback(lambda _: self._over(attempt, size_bytes))

    def _start(self, attempt: StoreCall[Any]) -> None:
        if self._submit is not None:
            self._submit(attempt.run)
        elif self._takes_a_thread(attempt):
            try:
                threading.Thread(target=self._work, args=(attempt,), name="cachemw-store-call", daemon=True).start()
            except RuntimeError:
                with self._lock:
                    self._threads -= 1
                raise

    def _takes_a_thread(self, attempt: StoreCall[Any]) -> bool:
        with self._lock:
            if self._threads >= self.limits.store_calls:
                self._waiting.append(attempt)
                return False
            self._threads += 1
            return True

    def _work(self, attempt: StoreCall[Any]) -> None:
        following: StoreCall[Any] | None = attempt
        while following is not None:
            following.run()
            with self._lock:
                following = self._waiting.popleft() if self._waiting else None
                self._threads -= following is None

    def _count_hanging(self) -> None:
        while self._running and (first := next(iter(self._running))).hangs:
            del self._running[first]
            first.is_lost = True
            self._lost += 1
            first.count(StoreTimeout("the store hangs"))

    def _over(self, attempt: StoreCall[Any], size_bytes: int) -> None:
        with self._lock:
            self._running.pop(attempt, None)
            self._lost -= attempt.is_lost
            self._given_up -= attempt.was_given_up
            self._held -= size_bytes

    def _forget(self, index: bytes, attempt: StoreCall[Any]) -> None:
        if self._writes.get(index) is attempt:
            del self._writes[index]


def _after(before: StoreCall[Any], call: Callable[[], T]) -> T:
    concurrent.futures.wait([before.done])
    return call()
