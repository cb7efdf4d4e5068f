"""Run scripts for a mount that is pushed to: ASGI. Responses are flights, which others can follow."""

import contextlib
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from functools import partial
from typing import Any, Literal

import anyio
import anyio.to_thread
from msgspec.structs import replace

from cachemw.cache import replay
from cachemw.cache.directives import Abandon
from cachemw.cache.effects import (
    Claim,
    ClaimResult,
    Declined,
    Effect,
    Exchange,
    Failed,
    Forward,
    Outcome,
    Serve,
    ShownResponse,
    Unacceptable,
    Unsatisfiable,
    resume,
)
from cachemw.cache.live_response import LiveResponse, Relay
from cachemw.cache.plans import Planner
from cachemw.cache.policy import Policy
from cachemw.cache.recording import Terms
from cachemw.cache.replay import DirectOutcome, respond
from cachemw.drivers.effects_async import Later, OwnEffect, at_once, perform
from cachemw.drivers.fitting import fitted
from cachemw.drivers.hooks import call_hooks
from cachemw.drivers.metering import Meter, MeteredClient, is_traced
from cachemw.drivers.recalling import Door, Recaller
from cachemw.drivers.refusing import verified_records
from cachemw.endpoints.errors import ErrorShape
from cachemw.errors import CacheError, UpstreamError
from cachemw.flights.flight import Flight, Reader, State
from cachemw.flights.pump import Pump
from cachemw.flights.registry import FlightsByLoop, may_join
from cachemw.flights.relay import Client, DirectRelay, cancel_when, send
from cachemw.limits import Limits
from cachemw.messages import Head, Inside, Recipient
from cachemw.report import ExchangeReport, Hook
from cachemw.stores.base import Store
from cachemw.stores.guard import AsyncStore
from cachemw.upstreams.push import PushUpstream

Step = Effect | Outcome

_BECAME_OF: Mapping[Abandon | None, Literal["finish", "cancel"]] = {Abandon.FINISH: "finish", Abandon.CANCEL: "cancel"}


class PushExchange:
    """One request under way. A flight that it leads ends inside of it, whoever reads that."""

    def __init__(
        self, driver: "PushDriver", exchange: Exchange, upstream: PushUpstream, client: Client, door: Door | None
    ) -> None:
        self._driver, self._script, self._upstream, self._client = driver, exchange.script, upstream, client
        self._door = door
        self._led: Flight | None = None
        self._led_before: list[Flight] = []  # what they brought was of no use
        self._flight: Flight | None = None  # the one that it reads
        self._reader: Reader | None = None
        self._relay: Relay | None = None
        self._report = exchange.report
        self._raised: Exception | None = None  # by an app, before it showed anything
        self._patient_until: float | None = None
        self._is_patient = True
        self._was_left = False
        self._abandoned: Abandon | None = None

    async def run(self) -> None:
        """Answer: at once where that is possible, else with the client being watched. Raises what a wrapped app raises."""
        step = await self._advance()
        if isinstance(step, Claim) and self._driver.flights.here().is_alone(step):
            step = await self._advance(ClaimResult.ALONE)  # nothing to wait for: nobody need be watched
        rest = await self._run_watched(step) if takes_its_time(step) else step
        if isinstance(rest, Forward):
            rest = await self._relay_alone(rest)
        if rest is not None:
            with contextlib.suppress(OSError):  # the client left, as ASGI 2.4 says it
                await self._respond(rest)

    async def _advance(self, result: Any = None) -> Step:
        """Go on with a result, or a failure, until there is a claim, a forward or an outcome."""
        driver, step = self._driver, resume(self._script, result)
        while isinstance(step, OwnEffect):
            try:
                result = at_once(step, driver.store.guarded, driver.clock, driver.planner)
                if result is Later.LATER:
                    result = await perform(step, driver.store, driver.policy, driver.clock, driver.planner)
            except CacheError as error:
                result = error
            step = resume(self._script, result)
        return step

    async def _run_watched(self, step: Step) -> Forward | None:
        """Answer, but for a `Forward` that is to be relayed to this client alone: return that."""
        alone: Forward | None = None
        escaped: Exception | None = None
        self._table = self._driver.flights.here()
        async with anyio.create_task_group() as self._tasks:
            try:
                try:
                    alone = await self._go_on_until_left(step)
                except Exception as exc:  # noqa: BLE001 - raised again below: from in here it would arrive in a group
                    escaped = exc
                self._leave()
                for led in self._all_led:
                    await led.wait_until_done()
            except BaseException:  # told to stop, and not by the client
                for led in self._all_led:
                    led.cancel_when_unread()
                self._leave()
                raise
            self._tasks.cancel_scope.cancel()
        if escaped := self._apps_own() or escaped:
            raise escaped
        return alone

    @property
    def report(self) -> ExchangeReport:
        """The report of it, as far as is known."""
        report = self._report if self._relay is None else self._relay.early_report
        if self._abandoned is Abandon.CANCEL:
            report = replace(report, stored=None if report.collapsed else False)
            response = None if self._flight is None else self._flight.response
            report = report if response is None else response.billed_report(report)
        elif self._flight is not None:
            report = self._flight.final_report(report)
        if not self._was_left:
            return report
        return replace(report, details=("client-left", *report.details), abandoned=_BECAME_OF.get(self._abandoned))

    async def _go_on_until_left(self, step: Step) -> Forward | None:
        alone: Forward | None = None
        with anyio.CancelScope() as here:
            self._tasks.start_soon(cancel_when, self._client.left, here)
            try:
                alone = await self._go_on(step)
            except OSError:  # the client left, as ASGI 2.4 says it
                self._was_left = True
        self._was_left = self._was_left or here.cancelled_caught
        return alone

    async def _go_on(self, step: Step) -> Forward | None:
        while True:
            match step:
                case Claim():
                    step = await self._claim(step)
                case Forward(terms=None):
                    return step
                case Forward():
                    step = await self._lead(step)
                case _:
                    await self._respond(step)
                    return None

    @property
    def _all_led(self) -> list[Flight]:
        return self._led_before if self._led is None else [*self._led_before, self._led]

    async def _claim(self, claim: Claim) -> Step:
        self._report, self._raised = claim.report, None  # by one that failed before: not this one's
        if self._led is not None:  # what it brought was of no use
            self._led_before.append(self._led)
            self._led = None
        claimed, flight = self._table.claim(claim, is_patient=self._is_patient)
        if claimed is ClaimResult.LEAD:
            self._led = flight
        if flight is None or claimed is not None:
            return await self._advance(claimed)
        self._report = replace(claim.report, collapsed=True, stored=None)
        if may_join(claim, flight):
            return await self._join(flight, claim.on_abandon)
        return await self._wait_for(flight, claim)

    async def _wait_for(self, flight: Flight, claim: Claim) -> Step:
        """Wait for a response of another kind, to be had when it is whole. However many are waited for, patience is one."""
        self._patient_until = self._patient_until or anyio.current_time() + self._driver.policy.patience
        with anyio.CancelScope(deadline=self._patient_until) as patience:
            await flight.closed_to_new.wait()
        if patience.cancelled_caught:
            self._is_patient = False
            return await self._claim(claim)
        if flight.failed_unseen is not None:
            return await self._failed(flight, flight.failed_unseen)
        return await self._advance(ClaimResult.RELEASED if flight.state is State.RELEASED else ClaimResult.OVER)

    async def _failed(self, flight: Flight, error: UpstreamError) -> Step:
        self._raised = None if isinstance(flight.failure, UpstreamError) else flight.failure
        return await self._advance(error)

    async def _lead(self, forward: Forward) -> Step:
        self._report = forward.report
        return await self._join(self._forward(forward), forward.on_abandon)

    def _forward(self, forward: Forward | Serve) -> Flight:
        """Forward for the flight that was claimed; where a fresh answer is wanted none was, and nobody joins it."""
        led = self._led = self._led or Flight(self._table)
        pump = Pump(led, agreed(forward), self._driver.store, self._driver.clock)
        outbound = forward.outbound
        bids = outbound.bids
        led.begin(self._upstream.stop_notice, is_contested=bids is not None and len(bids.asked) > 1)
        self._tasks.start_soon(pump.run, self._upstream.in_flight(led.ending.wait, outbound))
        return led

    async def _join(self, flight: Flight, on_abandon: Abandon) -> Step:
        self._flight, self._reader = flight, flight.join(on_abandon)
        try:
            shown = await flight.shown()
        except UpstreamError as error:
            self._leave_flight()
            self._flight = None
            return await self._failed(flight, error)
        if shown is None:
            return await self._advance(ClaimResult.RELEASED)
        leader = None if flight is self._led or flight.course is None else flight.course.sender
        return await self._offer(flight, ShownResponse(shown, self._driver.clock(), leader))

    async def _offer(self, flight: Flight, shown: ShownResponse) -> Step:
        """Let the script look at what is shown; what it does not want, because it is another's, is left."""
        step = await self._advance(shown)
        if isinstance(step, Claim):
            self._leave_flight()
            self._flight = None
        return step

    async def _respond(self, outcome: Step) -> None:
        match outcome:
            case Relay():
                assert self._flight is not None  # noqa: S101 - it has shown this
                assert self._reader is not None  # noqa: S101
                self._relay = outcome
                await self._flight.read(self._reader, outcome, self._client)
            case Serve():
                await self._serve(outcome)
            case Unsatisfiable() | Failed() | Declined() | Unacceptable():
                self._report = outcome.report
                if self._raised is None:
                    await deliver(outcome, self._client, self._driver.policy.max_replay)

    async def _serve(self, outcome: Serve) -> None:
        self._report, self._raised = outcome.report, None
        self._leave_flight()
        self._flight = None
        if outcome.revalidate is not None and self._table.may_detach:
            self._flight = self._forward(outcome)  # what becomes of it is in the report, too
            self._flight.detach()
            self._report = replace(outcome.report, attempts=1)
        else:
            self._release()
        if self._door is not None:
            self._door.remember(outcome)
        await deliver(outcome, self._client, self._driver.policy.max_replay)

    def _leave(self) -> None:
        abandoned = self._leave_flight()
        if self._was_left and abandoned is not None:
            self._abandoned = abandoned
        self._release()

    def _leave_flight(self) -> Abandon | None:
        if self._flight is None or self._reader is None:
            return None
        reader, self._reader = self._reader, None
        return self._flight.leave(reader)

    def _release(self) -> None:
        """Give up a claim that was never begun: the store had the answer, or nobody wants it any more."""
        if self._led is not None and self._led.state is State.CLAIMED:
            self._led.end(None)
            self._led = None

    async def _relay_alone(self, forward: Forward) -> Step | None:
        """Pass the upstream's response on; where none begins, return what the script says instead."""
        relay = DirectRelay(self._client, not self._upstream.hears_client, partial(self._begin_relay, forward.shape))
        try:
            await relay.run(self._upstream.alone(forward.outbound))
        except UpstreamError as error:
            return await self._advance(error)
        finally:
            self._report = relay.report(forward.report)
        return relay.instead

    def _begin_relay(self, shape: ErrorShape, head: Head) -> Step:
        return resume(self._script, ShownResponse(LiveResponse(head, shape=shape), self._driver.clock()))

    def _apps_own(self) -> Exception | None:
        """Return what the app raised, for who is outside of us to see: as itself."""
        raised = self._raised if self._led is None else self._led.failure or self._led.late_error
        return None if isinstance(raised, UpstreamError) else raised


def agreed(forward: Forward | Serve) -> Callable[[Head], Terms]:
    """Return how the terms are told on which an answer is kept, by its head."""

    def terms_for(head: Head) -> Terms:
        one = forward.revalidate if isinstance(forward, Serve) else forward.terms
        terms = one if forward.bidding is None else forward.bidding.terms_for(head)
        assert terms is not None  # noqa: S101 - else it is relayed, and there is no flight
        return terms

    return terms_for


def takes_its_time(step: Step) -> bool:
    """Say whether a client is watched meanwhile: where it waits, or is sent a stored response at a pace."""
    match step:
        case Forward():
            return step.terms is not None
        case Serve():
            return step.speed > 0 or step.revalidate is not None
        case _:
            return isinstance(step, Claim)


def deliver(outcome: DirectOutcome, client: Client, longest: float) -> Awaitable[None]:
    """Send an outcome that needs no upstream any more; a stored response at the pace that was asked for."""
    if isinstance(outcome, Serve) and outcome.speed:
        return _paced(outcome, client, longest)
    return send(client, respond(outcome), last=True)


async def _paced(outcome: Serve, client: Client, longest: float) -> None:
    began = anyio.current_time()
    await client.start(replay.head(outcome.stored, outcome.report, outcome.now))
    for due, piece in replay.paced(outcome.stored, outcome.speed, longest):
        await anyio.sleep_until(began + due)
        await client.write(piece, True)
    await client.write(b"", False)


class PushDriver:
    """Runs scripts against a store, any number of them at once."""

    def __init__(
        self,
        store: Store,
        policy: Policy,
        limits: Limits,
        hooks: Iterable[Hook],
        recipient: Recipient = Inside.APP,
        planner: Planner | None = None,
    ) -> None:
        store, policy = fitted(store, policy)
        self.policy, self.limits, self.hooks = policy, limits, tuple(hooks)
        self.planner, self.is_traced = planner, is_traced(self.hooks)
        self.clock: Callable[[], float] = time.time
        self.store, self.verified = AsyncStore(store, limits), verified_records(limits)
        self.recaller = Recaller(self.store.guarded, policy, limits, self.hooks, recipient, lambda: self.clock())
        self.flights: FlightsByLoop[Flight] = FlightsByLoop(Flight, limits)

    async def run(self, exchange: Exchange, upstream: PushUpstream, client: Client, door: Door | None = None) -> None:
        """Answer one request; what it is given goes through the `door`. Raises only what a wrapped app raises."""
        if not self.hooks:
            await PushExchange(self, exchange, upstream, client, door).run()
            return
        meter = Meter(self.clock(), exchange.headers if self.is_traced else ())
        under_way = PushExchange(self, exchange, upstream, MeteredClient(client, meter), door)
        try:
            await under_way.run()
        finally:
            call_hooks(self.hooks, meter.complete(under_way.report))
