"""One exchange whose response is pulled by its reader, in mounts that start no thread and no task.

What is to be done is yielded: two drivers do it, one with `await` and one without. JSON is read whole inside the call, so
identical requests can wait for it and share it. Streams are not awaited: one thread may open two before it reads either.
"""

import dataclasses
from collections.abc import Iterable

from msgspec.structs import replace

from cachemw.cache import replay
from cachemw.cache.effects import Claim, ClaimResult, Effect, Exchange, Failed, Forward, Outcome, Serve, ShownResponse, resume
from cachemw.cache.live_response import LiveResponse, Part, Relay, begin
from cachemw.cache.policy import Policy
from cachemw.cache.recording import Terms
from cachemw.cache.replay import DirectOutcome, respond
from cachemw.drivers.pull_effects import Close, IoSteps, Open, Pieces, Read, ReadResult, SleepUntil, WaitFor, attempt
from cachemw.errors import TruncatedResponse, UpstreamError, UpstreamTimeout
from cachemw.flights.pulled import PulledFlight, PulledFlights, PulledResponse
from cachemw.limits import Limits
from cachemw.messages import Head
from cachemw.report import ExchangeReport


def pull_policy(policy: Policy) -> Policy:
    """Return what an operator allows where nobody reads on for a reader that left, and nobody fetches anew meanwhile."""
    return dataclasses.replace(policy, on_abandon="cancel", stale_while_revalidate=0.0)


class PullExchange:
    """First `outcome`, then `answer`, and `end` when its reader asks for no more, in any case.

    `timeout`: how many seconds this very request may wait for an answer, where it has a limit of its own.
    """

    def __init__(
        self, exchange: Exchange, flights: PulledFlights, policy: Policy, limits: Limits, timeout: float | None = None
    ) -> None:
        self._script, self._flights, self._policy, self._limits = exchange.script, flights, policy, limits
        self._timeout = timeout
        self._waited = 0.0
        self._led: PulledFlight | None = None
        self._awaited: PulledFlight | None = None
        self._pull: PulledResponse | None = None
        self._forward: Forward | None = None
        self._report = exchange.report  # of an exchange that is stopped before its outcome is known
        self._pushed: Outcome | None = None
        self._outcome: Outcome | None = None
        self._patience = policy.patience
        self._held = 0
        self._has_broken = False  # what was pushed

    def outcome(self) -> IoSteps:
        """Find out what the answer is; its head may be sent then. Returns an `Outcome`."""
        try:
            step = resume(self._script, None)
            while isinstance(step, Effect):
                result = yield from self._perform(step)
                step = self._pushed or resume(self._script, result)
            if isinstance(step, Relay) and step.comes_whole:
                step = yield from self._whole_or_failed(step)
            if not isinstance(step, Relay):
                yield Close()
            self._outcome = step
            return step
        finally:
            self._close_when_known()

    def _whole_or_failed(self, relay: Relay) -> IoSteps:
        """Read all of a document that is translated: its head is known no sooner."""
        pull = self._pull
        try:
            while pull is not None and not pull.has_ended:
                pull.take(relay)
                yield from self._read_on(pull)
        except UpstreamError as error:
            return Failed(relay.report, error, relay.errors)
        return relay

    def push(self, head: Head, now: float) -> Outcome:
        """Say what becomes of a response that is not to be pulled: its app writes it. While it is being opened."""
        assert self._forward is not None  # noqa: S101 - it is being opened
        terms = self._forward.terms
        faults = () if terms is None else ("not-iterated",)
        if terms is not None:
            terms.refuse(*faults)
        outcome = resume(self._script, ShownResponse(LiveResponse(head, None, faults, self._forward.shape), now))
        assert not isinstance(outcome, Effect)  # noqa: S101 - a script ends with a response
        self._pushed = outcome
        return outcome

    def answer(self, outcome: Outcome) -> tuple[Head, Pieces]:
        """Return the head and the pieces to send; those raise `UpstreamError` where the upstream breaks off."""
        if isinstance(outcome, Relay) and outcome.comes_whole:
            while not outcome.has_had_all:
                outcome.take()
            head, *pieces = outcome.finish()
            assert isinstance(head, Head)  # noqa: S101 - nothing of it has left
            return head, _bytes_of(pieces)
        if isinstance(outcome, Relay):
            return outcome.head, self._relayed(outcome)
        return _direct_answer(outcome, self._policy.max_replay)

    def _relayed(self, relay: Relay) -> Pieces:
        """Pass the upstream's response on, as far as its reader asks."""
        pull = self._pull or _whole(relay.response)
        while True:
            before = -1
            while before < relay.at:
                before, piece = relay.at, pull.take(relay)
                if piece:
                    yield piece
            if pull.has_ended:
                break
            yield from self._read_on(pull)
        yield from _bytes_of(relay.finish())
        if relay.is_cut:
            raise TruncatedResponse("the upstream's answer cannot be said in this API")

    def end(self) -> ExchangeReport:
        """Return what came of it, now that its reader asks for no more."""
        self._weigh(0)
        self._close_flight()
        outcome, pull = self._outcome or self._pushed, self._pull
        if outcome is None:
            return _left(self._report, is_stored=False)
        if not isinstance(outcome, Relay):
            return outcome.report
        has_had_all = outcome.has_had_all and (pull is None or pull.has_ended or pull.has_failed)
        return outcome.report if has_had_all or self._has_broken else _left(outcome.report, outcome.response.is_stored)

    def _perform(self, effect: Effect) -> IoSteps:
        match effect:
            case Claim():
                return (yield from self._claim(effect))
            case Forward():
                return (yield from self._forward_to_upstream(effect))
            case _:
                return (yield from attempt(effect))

    def _claim(self, claim: Claim) -> IoSteps:
        self._report = claim.report
        if self._pull is not None:  # what came is of no use
            yield Close()
            self._close_flight()
            self._pull = None
        if self._waited == self._timeout:
            return _timed_out()
        if claim.course.kind.stream or self._patience <= 0:
            return ClaimResult.ALONE
        claimed, flight = self._flights.claim(claim, self._awaited)
        if flight is None:
            return claimed
        if claimed is ClaimResult.LEAD:
            self._led = flight
            return claimed
        self._awaited, self._report = flight, replace(claim.report, collapsed=True, stored=None)
        return (yield from self._wait_for(flight, claim))

    def _wait_for(self, flight: PulledFlight, claim: Claim) -> IoSteps:
        """Wait for a flight. All waits share one patience; an answer that its reader had alone is the last one waited for."""
        seconds = self._patience if self._timeout is None else min(self._patience, self._timeout - self._waited)
        waited = yield WaitFor(flight, seconds)
        if waited.is_over:
            self._patience, self._waited = self._patience - waited.seconds, self._waited + waited.seconds
            result = flight.result(claim.course, waited.now)
            if result is ClaimResult.OVER:
                self._patience = 0.0
            return result
        if seconds < self._patience and self._timeout is not None:
            self._waited = self._timeout
            return _timed_out()
        self._patience = 0.0
        return ClaimResult.ALONE

    def _forward_to_upstream(self, forward: Forward) -> IoSteps:
        """Open a response, and read on until something of it may be shown."""
        self._forward, self._report = forward, forward.report
        try:
            opened = yield Open(forward.terms is not None or forward.is_read, forward.outbound)
            if not isinstance(self._pushed, Relay | None):
                return None
            pull, now = self._opened(opened.head, opened.now), opened.now
            while pull.is_held:
                now = yield from self._read_on(pull)
        except UpstreamError as error:
            if isinstance(self._pushed, Relay):
                self._has_broken = True
                self._pushed.response.fail(error)
                raise
            if self._led is not None and not (self._timeout is not None and isinstance(error, UpstreamTimeout)):
                self._led.fail(error)  # a limit of this request's own is nobody else's
            return error
        return ShownResponse(pull.response, now)

    def _opened(self, head: Head, now: float) -> PulledResponse:
        assert self._forward is not None  # noqa: S101 - it has been opened
        response = (
            self._pushed.response if isinstance(self._pushed, Relay) else begin(head, _terms_for(self._forward, head), now)
        )
        is_awaited = self._led is not None and self._pushed is None
        json_hold = self._limits.json_hold if is_awaited else None
        pull = self._pull = PulledResponse(response, self._policy.max_record_bytes, json_hold)
        if self._led is not None:
            self._led.begin(pull)
        return pull

    def _read_on(self, pull: PulledResponse) -> IoSteps:
        try:
            result = yield from _read(pull.end_within)
            if result.is_late:
                pull.release()
                pull.end(None)
            elif result.chunk is not None:
                pull.feed(result.chunk, result.now, self._flights.is_full)
            else:
                put = pull.response.finish(result.now)
                pull.end(None if put is None else (yield put))
        except UpstreamError as error:
            pull.fail(error)
            yield Close()
            raise
        self._weigh(0 if pull.has_ended else pull.response.held)
        if self._outcome is not None:
            self._close_when_known()
        if pull.has_ended:
            yield Close()
        return result.now

    def _close_when_known(self) -> None:
        """Close the flight, unless its response is shown as it comes and may yet be found in the store."""
        if self._pull is None or not self._pull.may_still_be_stored:
            self._close_flight()

    def _close_flight(self) -> None:
        led, self._led = self._led, None
        if led is not None:
            led.end()
            self._flights.close(led)

    def _weigh(self, held: int) -> None:
        if held != self._held:
            self._flights.weigh(held - self._held)
            self._held = held


def _terms_for(forward: Forward, head: Head) -> Terms | None:
    return forward.terms if forward.bidding is None else forward.bidding.terms_for(head)


def _timed_out() -> UpstreamTimeout:
    return UpstreamTimeout("what another request asked for did not come in this one's time")


def _read(within: float | None) -> IoSteps:
    """Read on. Who does not await can stop waiting for the end behind a `[DONE]` by a timeout only."""
    try:
        return (yield Read(within))
    except UpstreamTimeout:
        if within is None:
            raise
        return ReadResult(None, 0.0, is_late=True)


def _direct_answer(outcome: DirectOutcome, longest: float) -> tuple[Head, Pieces]:
    """Return head and pieces of an outcome that needs no upstream any more; a stored response at the pace asked for."""
    if isinstance(outcome, Serve) and outcome.speed:
        return replay.head(outcome.stored, outcome.report, outcome.now), _paced(outcome, longest)
    head, *pieces = respond(outcome)
    assert isinstance(head, Head)  # noqa: S101
    return head, _bytes_of(pieces)


def _bytes_of(parts: Iterable[Part]) -> Pieces:
    yield from [part for part in parts if isinstance(part, bytes)]


def _paced(outcome: Serve, longest: float) -> Pieces:
    for due, piece in replay.paced(outcome.stored, outcome.speed, longest):
        yield SleepUntil(due)
        yield piece


def _whole(response: LiveResponse) -> PulledResponse:
    """Return a response that another request has read whole."""
    pull = PulledResponse(response, 0, None)
    pull.has_ended = True
    return pull


def _left(report: ExchangeReport, is_stored: bool) -> ExchangeReport:
    return replace(report, stored=None if report.collapsed else is_stored, details=("client-left", *report.details))
