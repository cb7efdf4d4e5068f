"""The calls of a store that are under way in other threads: its own one, or one of ours for each call."""

import concurrent.futures
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from typing import Any, TypeVar

from cachemw.core import limits
from cachemw.errors import StoreError, StoreTimeout
from cachemw.stores.attempts import Attempt, Side, translated

T = TypeVar("T")

Submit = Callable[[Callable[[], None]], Future[None]]


class Calls:
    """What one process has under way in a store: in a forked child nothing of its parent's is, and no lock is held.

    `submit` has a call made in the store's own thread. Without it each is made in a daemon thread, `STORE_CALLS` at once.
    """

    def __init__(self, submit: Submit | None) -> None:
        self.reading, self.writing = Side("read from", is_read=True), Side("written to", is_read=False)
        self.secret: Attempt[bytes] | None = None
        self.asking = threading.Lock()
        self._submit = submit
        self._lock = threading.Lock()
        self._running: dict[Attempt[Any], None] = {}  # in the order they were started; those that hang are not in it
        self._waiting: deque[Attempt[Any]] = deque()
        self._threads = self._lost = self._given_up = self._held = 0
        self._writes: dict[bytes, Attempt[Any]] = {}

    def read(self, call: Callable[[], T], patience: float) -> Attempt[T]:
        """Begin to read. Raises `StoreError` where the store is left alone, or hangs."""
        return self._begin(self.reading, call, patience, 0)

    def write(self, index: bytes, call: Callable[[], T], size_bytes: int) -> Attempt[T]:
        """Begin to write, after what was begun for the same index. Raises `StoreError` as `read` does."""
        before = self._writes.get(index)
        if before is not None and self._submit is None:
            call = partial(_after, before, call)
        attempt = self._begin(self.writing, call, limits.STORE_PATIENCE, size_bytes)
        self._writes[index] = attempt
        attempt.done.add_done_callback(lambda _: self._forget(index, attempt))
        return attempt

    def started(self, attempt: Attempt[Any]) -> None:
        """Take note that it runs."""
        with self._lock:
            self._running[attempt] = None

    def given_up(self, attempt: Attempt[Any]) -> bool:
        """Take note that nobody waits for it any more; say whether it is under way."""
        with self._lock:
            if attempt.is_over or attempt.was_given_up:
                return not attempt.is_over
            attempt.was_given_up = True
            self._given_up += 1
            return True

    def _begin(self, side: Side, call: Callable[[], T], patience: float, size_bytes: int) -> Attempt[T]:
        side.admit()
        attempt = Attempt(self, side, call, patience)
        try:
            self._take_in(attempt, side, size_bytes)
            self._start(attempt)
        except (StoreError, RuntimeError) as exc:  # there are systems without another thread to give
            attempt.fail(exc)
            raise translated(exc) from exc
        return attempt

    def _take_in(self, attempt: Attempt[Any], side: Side, size_bytes: int) -> None:
        with self._lock:
            self._count_hanging()
            is_hopeless = self._lost >= (limits.STORE_CALLS if self._submit is None else 1)
            if is_hopeless or self._held + size_bytes > limits.STORE_QUEUE_BYTES:
                raise StoreTimeout("the store hangs, or does not keep up")
            if self._given_up and not (side.is_read and self._submit is None):
                attempt.patience = 0.0  # somebody has waited in vain already, for what is still in the way
            self._held += size_bytes
            attempt.done.add_done_callback(lambda _: self._over(attempt, size_bytes))

    def _start(self, attempt: Attempt[Any]) -> None:
        if self._submit is not None:
            self._submit(attempt.run)
        elif self._takes_a_thread(attempt):
            try:
                threading.Thread(target=self._work, args=(attempt,), name="cachemw-store-call", daemon=True).start()
            except RuntimeError:
                with self._lock:
                    self._threads -= 1
                raise

    def _takes_a_thread(self, attempt: Attempt[Any]) -> bool:
        with self._lock:
            if self._threads >= limits.STORE_CALLS:
                self._waiting.append(attempt)
                return False
            self._threads += 1
            return True

    def _work(self, attempt: Attempt[Any]) -> None:
        following: Attempt[Any] | None = attempt
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

    def _over(self, attempt: Attempt[Any], size_bytes: int) -> None:
        with self._lock:
            self._running.pop(attempt, None)
            self._lost -= attempt.is_lost
            self._given_up -= attempt.was_given_up
            self._held -= size_bytes

    def _forget(self, index: bytes, attempt: Attempt[Any]) -> None:
        if self._writes.get(index) is attempt:
            del self._writes[index]


def _after(before: Attempt[Any], call: Callable[[], T]) -> T:
    concurrent.futures.wait([before.done])
    return call()
