"""Answer requests without `await`: in the thread that asks, and no faster than it reads."""

import contextlib
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from cachemw.core.effects import Discard, Found, GetOrder, Judge, Lookup, Name, Outcome, Script, Secret
from cachemw.core.errands import Await, Came, Close, Errand, Errands, Open, Opened, Pause, Read, Waited, go_on, not_kept
from cachemw.core.policy import Policy
from cachemw.core.pull import Landing
from cachemw.core.pulling import Pulling, pulled
from cachemw.core.report import Hook
from cachemw.core.selection import Verified
from cachemw.core.transfer import Put, Relay
from cachemw.errors import CacheError, StoreError, UpstreamError
from cachemw.foreign import name_partition, tell
from cachemw.landings import Awaited, LandingsByProcess
from cachemw.stores.base import Store
from cachemw.stores.guard import GuardedStore
from cachemw.upstreams.base import Opening, Source


class SyncDriver:
    """Runs scripts against a store, in any number of threads at once; starts none."""

    def __init__(
        self, store: Store, policy: Policy, *, hooks: Iterable[Hook] = (), clock: Callable[[], float] = time.time
    ) -> None:
        self.store, self.policy, self.hooks, self.clock = GuardedStore(store), pulled(policy), tuple(hooks), clock
        self.verified, self.landings = Verified(), LandingsByProcess()

    def run(self, script: Script, opening: Opening, timeout: float | None = None) -> "SyncAnswer":
        """Begin to answer one request, which may have a limit of its own. Raises `UpstreamError` only for a pushed answer."""
        return SyncAnswer(self, script, opening, timeout)


class SyncAnswer:
    """One answer: its `head`, the `report` as known by then, and its body, which is to be read or closed.

    Iterating raises `UpstreamError` where the answer breaks off.
    """

    def __init__(self, driver: SyncDriver, script: Script, opening: Opening, timeout: float | None) -> None:
        self._driver, self._opening = driver, opening
        self._pulling = Pulling(script, driver.landings.here(), driver.policy, timeout)
        self._source: Source | None = None
        self._is_over = False
        try:
            self.outcome: Outcome = self._drive(self._pulling.outcome())
        except BaseException:
            self.close()
            raise
        self._began = time.monotonic()
        self.report = self.outcome.report
        self.head, self._pieces = self._pulling.answer(self.outcome)

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        try:
            step = go_on(self._pieces, None)
            while not isinstance(step, bytes):
                step = go_on(self._pieces, self._attempt(step))
        except BaseException:
            self.close()
            raise
        return step

    def broken(self, error: UpstreamError) -> bytes:
        """Return what its reader is told of an answer that breaks off; nothing where it cannot be."""
        return self.outcome.transfer.broken(error) if isinstance(self.outcome, Relay) else b""

    def close(self) -> None:
        """End it, wherever it is, and tell the hooks. May be called twice."""
        if self._is_over:
            return
        self._is_over = True
        try:
            self._perform(Close())
        finally:
            if (report := self._pulling.over()) is not None:
                tell(self._driver.hooks, report)

    def _drive(self, errands: Errands) -> Any:
        result = None
        with contextlib.closing(errands):
            while True:
                try:
                    errand = go_on(errands, result)
                except StopIteration as stop:
                    return stop.value
                result = self._attempt(errand)

    def _attempt(self, errand: Errand) -> Any:
        try:
            return self._perform(errand)
        except CacheError as error:
            return error

    def _perform(self, errand: Errand) -> Any:
        driver = self._driver
        match errand:
            case Lookup(index):
                return Found(driver.store.get(index), driver.clock())
            case Judge(call):
                return call()
            case Secret():
                return driver.store.secret()
            case Name(request):
                return name_partition(driver.policy, request)
            case Discard(index):
                with contextlib.suppress(StoreError):
                    driver.store.discard(index)
            case GetOrder():
                return driver.store.order()
            case Put():
                return self._put(errand)
            case Open(recorded, rewritten):
                self._source = self._opening.open(recorded, rewritten, lambda head: self._pulling.push(head, driver.clock()))
                return Opened(self._source.head, driver.clock())
            case Read(within):
                assert self._source is not None  # noqa: S101 - it is open
                return Came(self._source.read(within), driver.clock())
            case Close():
                if self._source is not None:
                    self._source.close()
            case Await(landing, seconds):
                return self._wait(landing, seconds)
            case Pause(until):
                time.sleep(max(0.0, self._began + until - time.monotonic()))
        return None

    def _put(self, put: Put) -> str | None:
        try:
            self._driver.store.put(put.index, put.record, put.keep, put.order, put.waits)
        except StoreError as error:
            return not_kept(error)
        return None

    def _wait(self, landing: Landing, seconds: float) -> Waited:
        assert isinstance(landing, Awaited)  # noqa: S101 - the driver's own
        began = time.monotonic()
        is_over = landing.over.wait(min(seconds, threading.TIMEOUT_MAX))
        return Waited(time.monotonic() - began, is_over, self._driver.clock())
