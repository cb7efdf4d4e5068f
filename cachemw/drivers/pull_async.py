"""Run scripts in the task that asks, which pulls the response: the asynchronous transports."""

import time
from collections.abc import AsyncIterator, Callable, Iterable
from typing import Any

import anyio

from cachemw.cache.effects import Exchange, Outcome, Serve
from cachemw.cache.live_response import Put
from cachemw.cache.plans import Planner
from cachemw.cache.policy import Policy
from cachemw.cache.sharing import Course
from cachemw.drivers.effects_async import perform
from cachemw.drivers.fitting import fitted
from cachemw.drivers.hooks import call_hooks
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
from cachemw.errors import CacheError
from cachemw.flights.pulled import PulledFlight
from cachemw.flights.registry import FlightsByLoop, FlightTable
from cachemw.limits import Limits
from cachemw.messages import Inside, Recipient
from cachemw.report import Hook
from cachemw.stores.base import Store
from cachemw.stores.guard import AsyncStore
from cachemw.upstreams.base import AsyncOpener, AsyncResponse, UpstreamRequest, sent_as
from cachemw.upstreams.failures import log_failure


class AsyncPullDriver:
    """Runs scripts against a store, any number of them at once, in any number of event loops; starts no task."""

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
        self.store, self.verified = AsyncStore(store, limits), verified_records(limits)
        self.recaller = Recaller(self.store.guarded, self.policy, limits, self.hooks, recipient, lambda: self.clock())
        self.flights = FlightsByLoop(flight_of_loop, limits)

    async def run(
        self,
        exchange: Exchange,
        opener: AsyncOpener,
        request: UpstreamRequest,
        timeout: float | None = None,
        door: Door | None = None,
    ) -> "AsyncAnswer":
        """Begin to answer one request, which may have a limit of its own; what it is given goes through the `door`."""
        answer = AsyncAnswer(self, exchange, opener, request, timeout, door)
        await answer.begin()
        return answer


class AsyncAnswer:
    """One answer: its `head`, the `report` as known by then, and its body, which is to be read or closed.

    Iterating raises `UpstreamError` where the answer breaks off.
    """

    def __init__(
        self,
        driver: AsyncPullDriver,
        exchange: Exchange,
        opener: AsyncOpener,
        request: UpstreamRequest,
        timeout: float | None = None,
        door: Door | None = None,
    ) -> None:
        self._driver, self._opener, self._request, self._door = driver, opener, request, door
        self._exchange = PullExchange(exchange, driver.flights.here(), driver.policy, driver.limits, timeout)
        self._response: AsyncResponse | None = None
        self._is_over = False
        self._meter = Meter(driver.clock(), exchange.headers if driver.is_traced else ())

    async def begin(self) -> None:
        """Find out what the answer is."""
        try:
            self.outcome: Outcome = await self._drive(self._exchange.outcome())
        except BaseException:
            await self.aclose()
            raise
        self._began = anyio.current_time()
        if self._door is not None and isinstance(self.outcome, Serve):
            self._door.remember(self.outcome)
        self.report = self.outcome.report
        self.head, self._pieces = self._exchange.answer(self.outcome)
        self._meter.start(self.head)

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        try:
            step = advance(self._pieces, None)
            while not isinstance(step, bytes):
                step = advance(self._pieces, await self._attempt(step))
        except StopIteration:
            await self.aclose()
            raise StopAsyncIteration from None
        except BaseException:
            await self.aclose()
            raise
        self._meter.sent(len(step))
        return step

    async def aclose(self) -> None:
        """End it, wherever it is, and tell the hooks. May be called twice."""
        if self._is_over:
            return
        self._is_over = True
        try:
            await self._perform(Close())
        finally:
            report = self._exchange.end()
            if self._driver.hooks:  # else nobody asks how long it took
                call_hooks(self._driver.hooks, self._meter.complete(report))

    async def _drive(self, effects: IoSteps) -> Any:
        result = None
        try:
            while True:
                result = await self._attempt(advance(effects, result))
        except StopIteration as stop:
            return stop.value
        finally:
            effects.close()

    async def _attempt(self, effect: IoEffect) -> Any:
        try:
            return await self._perform(effect)
        except CacheError as error:
            log_failure(error)
            return error

    async def _perform(self, effect: IoEffect) -> Any:
        driver = self._driver
        match effect:
            case Put():
                return await driver.store.put(effect)
            case Open(recorded, outbound):
                outgoing = sent_as(self._request, outbound, recorded=recorded)
                self._response = await self._opener(outgoing)
                return OpenResult(self._response.head, driver.clock())
            case Read(within):
                return await self._read(within)
            case Close():
                if self._response is not None:
                    with anyio.CancelScope(shield=True):
                        await self._response.aclose()
            case WaitFor(flight, seconds):
                return await self._wait(flight, seconds)
            case SleepUntil(until):
                await anyio.sleep_until(self._began + until)
            case _:
                return await perform(effect, driver.store, driver.policy, driver.clock, driver.planner)
        return None

    async def _read(self, within: float | None) -> ReadResult:
        assert self._response is not None  # noqa: S101 - it is open
        if within is None:
            return ReadResult(await self._response.read(), self._driver.clock())
        with anyio.move_on_after(within):
            return ReadResult(await self._response.read(), self._driver.clock())
        return ReadResult(None, self._driver.clock(), is_late=True)

    async def _wait(self, flight: PulledFlight, seconds: float) -> WaitResult:
        began = anyio.current_time()
        with anyio.move_on_after(seconds) as patience:
            await flight.closed_to_new.wait()
        return WaitResult(anyio.current_time() - began, not patience.cancelled_caught, self._driver.clock())


def flight_of_loop(table: FlightTable[PulledFlight], course: Course) -> PulledFlight:
    """Make a flight that other tasks of the loop can wait for."""
    return PulledFlight(course, anyio.Event())
