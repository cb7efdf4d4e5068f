"""Answer a request that takes its time: its client is watched, and flights are led or followed."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Literal

import anyio

from cachemw.async_relay import Client, cancel_when, send
from cachemw.async_script import Performing
from cachemw.core import replay
from cachemw.core.conclusion import Concluded, conclude
from cachemw.core.directives import Abandon
from cachemw.core.effects import (
    Arrived,
    Claim,
    Claimed,
    Effect,
    Failed,
    Forward,
    Outcome,
    Serve,
    Unacceptable,
    Unsatisfiable,
)
from cachemw.core.messages import Headers
from cachemw.core.recording import Terms
from cachemw.core.report import ExchangeReport
from cachemw.core.transfer import Relay
from cachemw.errors import UpstreamError
from cachemw.flight import Flight, Seat
from cachemw.flights import Traffic, may_board
from cachemw.pump import Pump
from cachemw.upstreams.base import Forwarding

Step = Effect | Outcome

_BECAME_OF: Mapping[Abandon | None, Literal["finish", "cancel"]] = {Abandon.FINISH: "finish", Abandon.CANCEL: "cancel"}


class Flying:
    """One request under way. The flight it leads ends inside of it, whoever reads it."""

    def __init__(self, script: Performing, traffic: Traffic[Flight], forwarding: Forwarding, client: Client) -> None:
        self._script, self._traffic, self._forwarding, self._client = script, traffic, forwarding, client
        self._tasks = anyio.create_task_group()
        self._led: Flight | None = None
        self._flight: Flight | None = None  # the one it has a seat in
        self._seat: Seat | None = None
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
                    await self._led.see_through()
            except BaseException:  # told to stop, and not by the client
                if self._led is not None:
                    self._led.doom()
                self._leave()
                raise
            self._tasks.cancel_scope.cancel()
        if escaped := self._apps_own() or escaped:
            raise escaped
        return alone

    @property
    def report(self) -> ExchangeReport | None:
        """What came of it."""
        said = self._report if self._relay is None else self._relay.said
        if said is None:
            return None
        if self._abandoned is Abandon.CANCEL:
            said = replace(said, stored=None if said.collapsed else False)
        elif self._flight is not None:
            said = self._flight.settled(said)
        if not self._was_left:
            return said
        return replace(said, details=("client-left", *said.details), abandoned=_BECAME_OF.get(self._abandoned))

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
        self._report, self._raised = claim.said, None  # by one that failed before: not this one's
        flight = self._traffic.claim(claim, self._is_patient)
        if flight is Claimed.LEAD:
            self._led = Flight(self._traffic, claim.course)
            self._traffic.announce(self._led)
        if isinstance(flight, Claimed):
            return await self._script.advance(flight)
        self._report = replace(claim.said, collapsed=True, stored=None)
        if may_board(claim, flight):
            return await self._board(flight, claim.on_abandon)
        return await self._await_landing(flight, claim)

    async def _await_landing(self, flight: Flight, claim: Claim) -> Step:
        """What cannot be read along with can be had when it is whole. However many flights are waited for, patience is one."""
        self._patient_until = self._patient_until or anyio.current_time() + self._script.policy.patience
        with anyio.CancelScope(deadline=self._patient_until) as patience:
            await flight.shut.wait()
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
        self._report = forward.said
        return await self._board(self._begin(terms, forward.rewritten), forward.on_abandon)

    def _begin(self, terms: Terms, rewritten: Headers) -> Flight:
        """Begin the flight that was claimed; one for a request that wants a fresh answer was not, and nobody joins it."""
        led = self._led = self._led or Flight(self._traffic)
        pump = Pump(led, terms, self._script.store, self._script.clock)
        led.begin(self._forwarding.notice)
        self._tasks.start_soon(pump.run, self._forwarding.in_flight(led.ending.wait, rewritten))
        return led

    async def _board(self, flight: Flight, on_abandon: Abandon) -> Step:
        self._flight, self._seat = flight, flight.board(on_abandon)
        try:
            shown = await flight.shown()
        except UpstreamError as error:
            self._leave_seat()
            self._flight = None
            return await self._failed(flight, error)
        if shown is None:
            return await self._script.advance(Claimed.RELEASED)
        leader = None if flight is self._led or flight.course is None else flight.course.sender
        return await self._go_ashore(flight, Arrived(shown, self._script.clock(), leader))

    async def _go_ashore(self, flight: Flight, arrived: Arrived) -> Step:
        """Let the script look at what is shown; what it does not want, because it is another's, is left."""
        step = await self._script.advance(arrived)
        if isinstance(step, Claim):
            self._leave_seat()
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
        self._leave_seat()
        self._flight = None
        if outcome.anew is not None and self._traffic.may_detach:
            self._flight = self._begin(outcome.anew, outcome.rewritten)  # what becomes of it is in the report, too
            self._flight.detach()
        else:
            self._release()
        await deliver(outcome, self._client, self._script.policy.max_replay)

    def _leave(self) -> None:
        abandoned = self._leave_seat()
        if self._was_left and abandoned is not None:
            self._abandoned = abandoned
        self._release()

    def _leave_seat(self) -> Abandon | None:
        if self._flight is None or self._seat is None:
            return None
        seat, self._seat = self._seat, None
        return self._flight.leave(seat)

    def _release(self) -> None:
        """Give up a claim that was never begun: the store had the answer, or nobody wants it any more."""
        if self._led is not None and not self._led.has_begun:
            self._led.end(None)
            self._led = None

    def _apps_own(self) -> Exception | None:
        """Return what the app raised, for who is outside of us to see: as itself."""
        raised = self._raised if self._led is None else self._led.failure or self._led.afterwards
        return None if isinstance(raised, UpstreamError) else raised


def takes_its_time(outcome: Step) -> bool:
    """Say whether an answer from the store is sent at a pace, or has something to be done meanwhile."""
    return isinstance(outcome, Serve) and (outcome.speed > 0 or outcome.anew is not None)


async def deliver(outcome: Concluded, client: Client, longest: float) -> None:
    """Send an answer that needs no upstream any more; a stored one at the pace that was asked for."""
    if not isinstance(outcome, Serve) or not outcome.speed:
        await send(client, conclude(outcome), last=True)
        return
    began = anyio.current_time()
    await client.start(replay.head(outcome.stored, outcome.report, outcome.now))
    for due, piece in replay.paced(outcome.stored, outcome.speed, longest):
        await anyio.sleep_until(began + due)
        await client.write(piece, True)
    await client.write(b"", False)
