"""Run scripts in the thread that asks, which pulls the response: WSGI and the synchronous transports."""

import contextlib
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from cachemw.cache.effects import (
    Account,
    AskPartition,
    AskPlan,
    DeleteRecord,
    Exchange,
    Found,
    FoundMany,
    GetAccount,
    GetOrder,
    Lookup,
    LookupMany,
    Ordered,
    Outcome,
    ReadSecret,
    RunInThread,
    Serve,
    not_kept,
)
from cachemw.cache.live_response import Put, Relay
from cachemw.cache.plans import Planner, in_turn
from cachemw.cache.policy import Policy
from cachemw.cache.sharing import Course
from cachemw.drivers.fitting import fitted
from cachemw.drivers.hooks import call_hooks, name_partition, planned
from cachemw.drivers.metering import Meter, is_traced
from cachemw.drivers.pull import PullExchange, pull_policy
from cachemw.drivers.pull_effects import (
    Close,
    IoEffect,
    IoSteps,
    Open,
    OpenResult,
    Read,
    ReadResult,
    SleepUntil,
    WaitFor,
    WaitResult,
    advance,
)
from cachemw.drivers.recalling import Door, Recaller
from cachemw.drivers.refusing import verified_records
from cachemw.errors import CacheError, StoreError, UpstreamError
from cachemw.flights.pulled import PulledFlight
from cachemw.flights.registry import FlightsByProcess, FlightTable
from cachemw.limits import Limits
from cachemw.messages import Head, Inside, Recipient
from cachemw.report import Hook
from cachemw.stores.base import Store
from cachemw.stores.guard import GuardedStore
from cachemw.upstreams.base import SyncOpener, SyncResponse, UpstreamRequest, sent_as
from cachemw.upstreams.failures import log_failure


class SyncPullDriver:
    """Runs scripts against a store, in any number of threads at once; starts none."""

    def __init__(
        self,
        store: Store,
        policy: Policy,
        limits: Limits,
        hooks: Iterable[Hook],
        recipient: Recipient = Inside.TRANSPORT,
        planner: Planner | None = None,
    ) -> None:
        store, policy = fitted(store, policy)
        self.policy, self.limits, self.hooks = pull_policy(policy), limits, tuple(hooks)
        self.planner, self.is_traced = planner, is_traced(self.hooks)
        self.clock: Callable[[], float] = time.time
        self.store, self.verified = GuardedStore(store, limits), verified_records(limits)
        self.recaller = Recaller(self.store, self.policy, limits, self.hooks, recipient, lambda: self.clock())
        self.flights = FlightsByProcess(flight_of_threads, limits)

    def run(
        self,
        exchange: Exchange,
        opener: SyncOpener,
        request: UpstreamRequest,
        timeout: float | None = None,
        door: Door | None = None,
    ) -> "SyncAnswer":
        """Begin to answer one request, which may have a limit of its own; what it is given goes through the `door`."""
        answer = SyncAnswer(self, exchange, opener, request, timeout, door)
        answer.begin()
        return answer


class SyncAnswer:
    """One answer: its `head`, the `report` as known by then, and its body, which is to be read or closed.

    Iterating raises `UpstreamError` where the answer breaks off.
    """

    def __init__(
        self,
        driver: SyncPullDriver,
        exchange: Exchange,
        opener: SyncOpener,
        request: UpstreamRequest,
        timeout: float | None = None,
        door: Door | None = None,
    ) -> None:
        self._driver, self._opener, self._request, self._door = driver, opener, request, door
        self._exchange = PullExchange(exchange, driver.flights.here(), driver.policy, driver.limits, timeout)
        self._response: SyncResponse | None = None
        self._is_over = False
        self._meter = Meter(driver.clock(), exchange.headers if driver.is_traced else ())

    def begin(self) -> None:
        """Find out what the answer is. Raises `UpstreamError` only for a pushed one."""
        try:
            self.outcome: Outcome = self._drive(self._exchange.outcome())
        except BaseException:
            self.close()
            raise
        self._began = time.monotonic()
        if self._door is not None and isinstance(self.outcome, Serve):
            self._door.remember(self.outcome)
        self.report = self.outcome.report
        self.head, self._pieces = self._exchange.answer(self.outcome)
        self._meter.start(self.head)

    def push(self, head: Head) -> Outcome:
        """Say what becomes of an answer that its upstream sends on by itself. While it is being opened."""
        self._meter.give_up_sizes()
        return self._exchange.push(head, self._driver.clock())

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        try:
            step = advance(self._pieces, None)
            while not isinstance(step, bytes):
                step = advance(self._pieces, self._attempt(step))
        except BaseException:
            self.close()
            raise
        self._meter.sent(len(step))
        return step

    def broken(self, error: UpstreamError) -> bytes:
        """Return what its reader is told of an answer that breaks off; nothing where it cannot be."""
        parts = self.outcome.broken(error) if isinstance(self.outcome, Relay) else ()
        return b"".join([part for part in parts if isinstance(part, bytes)])

    def close(self) -> None:
        """End it, wherever it is, and tell the hooks. May be called twice."""
        if self._is_over:
            return
        self._is_over = True
        try:
            self._perform(Close())
        finally:
            report = self._exchange.end()
            if self._driver.hooks:  # else nobody asks how long it took
                call_hooks(self._driver.hooks, self._meter.complete(report))

    def _drive(self, effects: IoSteps) -> Any:
        result = None
        with contextlib.closing(effects):
            while True:
                try:
                    effect = advance(effects, result)
                except StopIteration as stop:
                    return stop.value
                result = self._attempt(effect)

    def _attempt(self, effect: IoEffect) -> Any:
        try:
            return self._perform(effect)
        except CacheError as error:
            if not (isinstance(effect, Read) and effect.within is not None):  # who hurries it takes a timeout for no failure
                log_failure(error)
            return error

    def _perform(self, effect: IoEffect) -> Any:
        driver = self._driver
        match effect:
            case Lookup(index):
                return Found(driver.store.get(index), driver.clock())
            case LookupMany(indexes, to_the_end):
                return FoundMany(driver.store.get_many(indexes, to_the_end=to_the_end), driver.clock())
            case RunInThread(call):
                return call()
            case ReadSecret():
                return driver.store.secret()
            case AskPartition(request):
                return name_partition(driver.policy, request)
            case DeleteRecord(indexes):
                with contextlib.suppress(StoreError):
                    driver.store.discard(*indexes)
            case GetOrder():
                return Ordered(driver.store.order(), driver.clock())
            case GetAccount(wanted):
                return Account(driver.store.account(), driver.store.nearest(wanted))
            case AskPlan():
                return in_turn(planned(driver.planner, effect))
            case Put():
                return self._put(effect)
            case Open(recorded, outbound):
                outgoing = sent_as(self._request, outbound, recorded=recorded)
                self._response = self._opener(outgoing)
                return OpenResult(self._response.head, driver.clock())
            case Read(within):
                assert self._response is not None  # noqa: S101 - it is open
                return ReadResult(self._response.read(within), driver.clock())
            case Close():
                if self._response is not None:
                    self._response.close()
            case WaitFor(flight, seconds):
                return self._wait(flight, seconds)
            case SleepUntil(until):
                time.sleep(max(0.0, self._began + until - time.monotonic()))
        return None

    def _put(self, put: Put) -> str | None:
        try:
            self._driver.store.put(put.index, put.record, put.keep, put.order, put.others, put.waits)
        except StoreError as error:
            return not_kept(error)
        self._driver.store.put_parts(put)
        return None

    def _wait(self, flight: PulledFlight, seconds: float) -> WaitResult:
        began = time.monotonic()
        is_over = flight.closed_to_new.wait(min(seconds, threading.TIMEOUT_MAX))
        return WaitResult(time.monotonic() - began, is_over, self._driver.clock())


def flight_of_threads(table: FlightTable[PulledFlight], course: Course) -> PulledFlight:
    """Make a flight that other threads can wait for."""
    return PulledFlight(course, threading.Event())
