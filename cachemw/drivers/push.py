"""Run scripts for a mount that is pushed to: ASGI. Responses are flights, which others can follow."""

import contextlib
import time
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Literal

import anyio
import anyio.to_thread
from msgspec.structs import replace

from cachemw.cache import replay
from cachemw.cache.directives import Abandon
from cachemw.cache.effects import (
    Arrived,
    Claim,
    Claimed,
    Effect,
    Failed,
    Forward,
    Outcome,
    Script,
    Serve,
    Unacceptable,
    Unsatisfiable,
)
from cachemw.cache.live_response import LiveResponse, Relay
from cachemw.cache.lookup import VerifiedRecords
from cachemw.cache.policy import Policy
from cachemw.cache.recording import Terms
from cachemw.cache.replay import DirectOutcome, respond
from cachemw.drivers.hooks import call_hooks
from cachemw.drivers.metering import Meter, MeteredClient
from cachemw.drivers.script_runner import ScriptRunner
from cachemw.endpoints.errors import ErrorShape
from cachemw.errors import UpstreamError
from cachemw.flights.flight import Flight, Reader
from cachemw.flights.pump import Pump
from cachemw.flights.registry import FlightsByLoop, FlightTable, may_join
from cachemw.flights.relay import Client, Relaying, cancel_when, send
from cachemw.limits import Limits
from cachemw.messages import Head, Headers
from cachemw.report import ExchangeReport, Hook
from cachemw.stores.base import Store
from cachemw.stores.guard import AsyncStore
from cachemw.upstreams.push import PushUpstream

Step = Effect | Outcome

_BECAME_OF: Mapping[Abandon | None, Literal["finish", "cancel"]] = {Abandon.FINISH: "finish", Abandon.CANCEL: "cancel"}


class PushExchange:
    """One request under way. The flight it leads ends inside of it, whoever reads it."""

    def __init__(self, script: ScriptRunner, table: FlightTable[Flight], upstream: PushUpstream, client: Client) -> None:
        self._script, self._table, self._upstream, self._client = script, table, upstream, client
        self._tasks = anyio.create_task_group()
        self._led: Flight | None = None
        self._flight: Flight | None = None  # the one it has a seat in
        self._seat: Reader | None = None
        self._relay: Relay | None = None
        self._report: ExchangeReport | None = None
        self._raised: Exception | None = None  # by an app, before it showed anything
        self._patient_until: float | None = None
        self._is_patient = True
        self._was_left = False
        self._abandoned: Abandon | None = None

    async def run(self, step: Step) -> Forward | None:
        """Answer; return the `Forward` that is to be relayed to this client alone. Raises what a wrapped app raises."""
        alone: Forward | None = None
        escaped: Exception | None = None
        async with self._tasks:
            try:
                try:
                    alone = await self._watched(step)
                except Exception as exc:  # noqa: BLE001 - raised again below: from in here it would arrive in a group
                    escaped = exc
                self._leave()
                if self._led is not None:
                    await self._led.wait_until_done()
            except BaseException:  # told to stop, and not by the client
                if self._led is not None:
                    self._led.cancel_when_unread()
                self._leave()
                raise
            self._tasks.cancel_scope.cancel()
        if escaped := self._apps_own() or escaped:
            raise escaped
        return alone

    @property
    def report(self) -> ExchangeReport | None:
        """What came of it."""
        report = self._report if self._relay is None else self._relay.early_report
        if report is None:
            return None
        if self._abandoned is Abandon.CANCEL:
            report = replace(report, stored=None if report.collapsed else False)
        elif self._flight is not None:
            report = self._flight.final_report(report)
        if not self._was_left:
            return report
        return replace(report, details=("client-left", *report.details), abandoned=_BECAME_OF.get(self._abandoned))

    async def _watched(self, step: Step) -> Forward | None:
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
                case Forward(terms=Terms() as terms):
                    step = await self._lead(step, terms)
                case _:
                    await self._conclude(step)
                    return None

    async def _claim(self, claim: Claim) -> Step:
        self._report, self._raised = claim.report, None  # by one that failed before: not this one's
        flight = self._table.claim(claim, self._is_patient)
        if flight is Claimed.LEAD:
            self._led = Flight(self._table, claim.course)
            self._table.announce(self._led)
        if isinstance(flight, Claimed):
            return await self._script.advance(flight)
        self._report = replace(claim.report, collapsed=True, stored=None)
        if may_join(claim, flight):
            return await self._join(flight, claim.on_abandon)
        return await self._await_landing(flight, claim)

    async def _await_landing(self, flight: Flight, claim: Claim) -> Step:
        """What cannot be read along with can be had when it is whole. However many flights are waited for, patience is one."""
        self._patient_until = self._patient_until or anyio.current_time() + self._script.policy.patience
        with anyio.CancelScope(deadline=self._patient_until) as patience:
            await flight.closed_to_new.wait()
        if patience.cancelled_caught:
            self._is_patient = False
            return await self._claim(claim)
        if flight.failed_unseen is not None:
            return await self._failed(flight, flight.failed_unseen)
        return await self._script.advance(Claimed.LANDED if flight.has_begun else Claimed.RELEASED)

    async def _failed(self, flight: Flight, error: UpstreamError) -> Step:
        self._raised = None if isinstance(flight.failure, UpstreamError) else flight.failure
        return await self._script.advance(error)

    async def _lead(self, forward: Forward, terms: Terms) -> Step:
        self._report = forward.report
        return await self._join(self._begin(terms, forward.rewritten), forward.on_abandon)

    def _begin(self, terms: Terms, rewritten: Headers) -> Flight:
        """Begin the flight that was claimed; one for a request that wants a fresh answer was not, and nobody joins it."""
        led = self._led = self._led or Flight(self._table)
        pump = Pump(led, terms, self._script.store, self._script.clock)
        led.begin(self._upstream.stop_notice)
        self._tasks.start_soon(pump.run, self._upstream.in_flight(led.ending.wait, rewritten))
        return led

    async def _join(self, flight: Flight, on_abandon: Abandon) -> Step:
        self._flight, self._seat = flight, flight.join(on_abandon)
        try:
            shown = await flight.shown()
        except UpstreamError as error:
            self._leave_flight()
            self._flight = None
            return await self._failed(flight, error)
        if shown is None:
            return await self._script.advance(Claimed.RELEASED)
        leader = None if flight is self._led or flight.course is None else flight.course.sender
        return await self._offer(flight, Arrived(shown, self._script.clock(), leader))

    async def _offer(self, flight: Flight, arrived: Arrived) -> Step:
        """Let the script look at what is shown; what it does not want, because it is another's, is left."""
        step = await self._script.advance(arrived)
        if isinstance(step, Claim):
            self._leave_flight()
            self._flight = None
        return step

    async def _conclude(self, outcome: Step) -> None:
        match outcome:
            case Relay():
                assert self._flight is not None  # noqa: S101 - it has shown this
                assert self._seat is not None  # noqa: S101
                self._relay = outcome
                await self._flight.read(self._seat, outcome, self._client)
            case Serve():
                await self._serve(outcome)
            case Unsatisfiable() | Failed() | Unacceptable():
                self._report = outcome.report
                if self._raised is None:
                    await deliver(outcome, self._client, self._script.policy.max_replay)

    async def _serve(self, outcome: Serve) -> None:
        self._report, self._raised = outcome.report, None
        self._leave_flight()
        self._flight = None
        if outcome.revalidate is not None and self._table.may_detach:
            self._flight = self._begin(outcome.revalidate, outcome.rewritten)  # what becomes of it is in the report, too
            self._flight.detach()
        else:
            self._release()
        await deliver(outcome, self._client, self._script.policy.max_replay)

    def _leave(self) -> None:
        abandoned = self._leave_flight()
        if self._was_left and abandoned is not None:
            self._abandoned = abandoned
        self._release()

    def _leave_flight(self) -> Abandon | None:
        if self._flight is None or self._seat is None:
            return None
        reader, self._seat = self._seat, None
        return self._flight.leave(reader)

    def _release(self) -> None:
        """Give up a claim that was never begun: the store had the answer, or nobody wants it any more."""
        if self._led is not None and not self._led.has_begun:
            self._led.end(None)
            self._led = None

    def _apps_own(self) -> Exception | None:
        """Return what the app raised, for who is outside of us to see: as itself."""
        raised = self._raised if self._led is None else self._led.failure or self._led.late_error
        return None if isinstance(raised, UpstreamError) else raised


def takes_its_time(outcome: Step) -> bool:
    """Say whether an answer from the store is sent at a pace, or has something to be done meanwhile."""
    return isinstance(outcome, Serve) and (outcome.speed > 0 or outcome.revalidate is not None)


async def deliver(outcome: DirectOutcome, client: Client, longest: float) -> None:
    """Send an answer that needs no upstream any more; a stored one at the pace that was asked for."""
    if not isinstance(outcome, Serve) or not outcome.speed:
        await send(client, respond(outcome), last=True)
        return
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
        *,
        limits: Limits = Limits(),
        hooks: Iterable[Hook] = (),
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.policy, self.limits, self.hooks, self.clock = policy, limits, tuple(hooks), clock
        self.store, self.verified = AsyncStore(store, limits), VerifiedRecords(limits)
        self.flights: FlightsByLoop[Flight] = FlightsByLoop(limits)

    async def run(self, script: Script, upstream: PushUpstream, client: Client) -> None:
        """Answer one request. Raises only what a wrapped app raises."""
        runner = ScriptRunner(script, self.store, self.policy, self.clock)
        if not self.hooks:
            await _Run(self, runner, upstream, client).answer()
            return
        meter = Meter(self.clock())
        run = _Run(self, runner, upstream, MeteredClient(client, meter))
        try:
            await run.answer()
        finally:
            if run.report is not None:
                call_hooks(self.hooks, meter.complete(run.report))


class _Run:
    """One request under way."""

    def __init__(self, driver: PushDriver, script: ScriptRunner, upstream: PushUpstream, client: Client) -> None:
        self.report: ExchangeReport | None = None
        self._script, self._upstream, self._client = script, upstream, client
        self._flights = driver.flights

    async def answer(self) -> None:
        """Answer at once where that is possible; else with the client being watched."""
        step = await self._script.advance()
        if isinstance(step, Claim) and self._flights.here().claim(step) is Claimed.ALONE:
            step = await self._script.advance(Claimed.ALONE)  # nothing to wait for: nobody need be watched
        alone: Forward | None = None
        if isinstance(step, Forward) and step.terms is None:
            alone = step
        elif isinstance(step, Claim | Forward) or takes_its_time(step):
            alone = await self._fly(step)
        else:
            await self._conclude(step)
        if alone is not None:
            await self._relay(alone)

    async def _fly(self, step: Step) -> Forward | None:
        flying = PushExchange(self._script, self._flights.here(), self._upstream, self._client)
        try:
            return await flying.run(step)
        finally:
            self.report = flying.report

    async def _relay(self, forward: Forward) -> None:
        """Pass the upstream's answer on; where none begins, the script says what is said instead."""
        relaying = Relaying(self._client, not self._upstream.hears_client, partial(self._arrived, forward.shape))
        try:
            await relaying.run(self._upstream.alone(forward.rewritten))
        except UpstreamError as error:
            await self._conclude(await self._script.advance(error))
        else:
            if relaying.instead is not None:
                await self._conclude(relaying.instead)
        finally:
            self.report = relaying.report(forward.report) or self.report

    def _arrived(self, shape: ErrorShape, head: Head) -> Step:
        return self._script.resume(Arrived(LiveResponse(head, shape=shape), self._script.clock()))

    async def _conclude(self, outcome: Step) -> None:
        """Send an answer that needs no upstream any more."""
        assert isinstance(outcome, DirectOutcome)  # noqa: S101
        self.report = outcome.report
        with contextlib.suppress(OSError):  # the client left, as ASGI 2.4 says it
            await deliver(outcome, self._client, self._script.policy.max_replay)
