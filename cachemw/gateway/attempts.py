"""Ask bids one after the other: what is to be done is yielded, for two performers, one with `await` and one without."""

import math
from collections.abc import Callable, Generator
from enum import Enum
from typing import Any

import msgspec

from cachemw.cache.plans import AskedBid
from cachemw.errors import Cause, UpstreamError, UpstreamTimeout
from cachemw.gateway.bout import Attempted, Bout, Shown
from cachemw.gateway.commitment import Commitment, Judgement
from cachemw.gateway.failure_kinds import Failure
from cachemw.gateway.failures import of_error
from cachemw.messages import Head
from cachemw.redaction import redacted_repr

JSON_HOLD = 10.0
"""The seconds after its first byte for which the last candidate's JSON is held (E9); it is shown when more of it comes then."""


class Late(Enum):
    """The result of a wait in which nothing came. A read that was broken off so cannot be taken up again."""

    LATE = "late"


LATE = Late.LATE


class StepResult(msgspec.Struct, frozen=True):
    """The result of a step, and the time."""

    value: Any
    now: float

    __repr__ = redacted_repr


class Reserve(msgspec.Struct, frozen=True):
    """See that the caller can pay for an attempt: sent `None`, or the `UpstreamError` that says why not."""

    asked: AskedBid


class OpenBid(msgspec.Struct, frozen=True):
    """Ask: sent the `Head`, an `UpstreamError`, or `LATE` where neither came `until` then. `is_anew`: the same attempt."""

    asked: AskedBid
    until: float
    is_anew: bool = False


class ReadBid(msgspec.Struct, frozen=True):
    """Read on: sent a chunk, `None` at the end, an `UpstreamError`, or `LATE` where nothing came `until` then."""

    until: float


class DropBid(msgspec.Struct, frozen=True):
    """Close what is open, if anything is."""


class TellDesk(msgspec.Struct, frozen=True):
    """Tell of a failure: sent for how many seconds its target is cooled by it, `None` where it is not."""

    asked: AskedBid
    failure: Failure


class AskRepeat(msgspec.Struct, frozen=True):
    """Ask whether this target may be asked the same again: sent a `bool`."""

    asked: AskedBid


class PauseUntil(msgspec.Struct, frozen=True):
    """Wait until then."""

    until: float


AttemptStep = Reserve | OpenBid | ReadBid | DropBid | TellDesk | AskRepeat | PauseUntil
Attempt = Generator[AttemptStep, Any, Attempted]
Steps = Generator[AttemptStep, Any, Shown]


def in_turn(bout: Bout) -> Steps:
    """Ask one after the other, and return what is shown. Raises `UpstreamError` where nobody gave a response."""
    return (yield from _ask_on(bout, bout.take()))


def after_failure(bout: Bout, asked: AskedBid, now: float) -> Steps:
    """Go on where all have failed, this one last and noted: ask it again, or show an error."""
    return (yield from _ask_on(bout, (yield from _next(bout, asked, now))))


def _ask_on(bout: Bout, asked: AskedBid | None) -> Steps:
    attempted = None
    while asked is not None:
        patience = math.inf if bout.is_at_last else bout.patience(asked)
        attempted = yield from attempt(bout, asked, patience, lambda: bout.is_at_last)
        if attempted.failure is None and attempted.head is not None:
            return bout.sound(attempted)
        if attempted.failure is None:
            return _unpaid(bout, attempted)
        told = yield TellDesk(asked, attempted.failure)
        if attempted.head is not None and attempted.error is None and bout.stops_at(attempted):
            return bout.sound(attempted)
        bout.note(attempted, told.value)
        if bout.stops_at(attempted):
            break
        asked = yield from _next(bout, asked, told.now)
    return bout.exhausted(attempted)


def _unpaid(bout: Bout, attempted: Attempted) -> Shown:
    """Show what there is when the caller cannot pay for another attempt. Raises what says so, if it is the first."""
    if not bout.attempts and attempted.error is not None:
        raise attempted.error
    return bout.exhausted()


def _next(bout: Bout, failed: AskedBid, now: float) -> Generator[AttemptStep, StepResult, AskedBid | None]:
    """Return whom to ask after a failure: the next, else the same again, else nobody."""
    following = bout.take()
    if following is not None:
        yield DropBid()
        return following
    wait = bout.wait_to_repeat()
    if wait is None or now + wait >= bout.latest or not (yield AskRepeat(failed)).value:
        return None
    bout.note_repeat()
    yield DropBid()
    if wait:
        yield PauseUntil(now + wait)
    return failed


def attempt(bout: Bout, asked: AskedBid, patience: float, is_last: Callable[[], bool]) -> Attempt:
    """Ask one, and hold its answer until it is known to be good, or to be none. It has `patience` seconds to begin one.

    JSON of one that `is_last` is shown before it is whole, where that takes long.
    """
    reserved = yield Reserve(asked)
    began = reserved.now
    if reserved.value is not None:
        return Attempted(asked, began, began, error=reserved.value)
    bout.attempts += 1
    until = min(bout.latest, began + patience)
    opened = yield OpenBid(asked, until)
    if _was_closed(opened.value) and bout.may_reopen(asked, opened.now - began):
        opened = yield OpenBid(asked, until, is_anew=True)
    if not isinstance(opened.value, Head):
        error = _error_of(bout, asked, opened)
        return Attempted(asked, began, opened.now, failure=of_error(error), error=error)
    return (yield from _judged(bout, asked, opened, began, until, is_last))


def _judged(
    bout: Bout, asked: AskedBid, opened: StepResult, began: float, until: float, is_last: Callable[[], bool]
) -> Attempt:
    head, now = opened.value, opened.now
    provider = asked.bid.target.recipient.provider
    commitment = Commitment(
        *(provider, head),
        is_stream=bout.bids.is_stream,
        endpoint=asked.endpoint,
        is_translated=asked.translated is not None,
    )
    if bout.is_pinned and not commitment.is_refusal:
        return Attempted(asked, began, now, head, commitment)
    first_byte, has_ended = math.inf, False
    while commitment.judgement is Judgement.HOLDING:
        came = yield ReadBid(min(until, now + bout.timeouts.idle))
        now = came.now
        if isinstance(came.value, bytes):
            commitment.feed(came.value)
            first_byte = min(first_byte, now if commitment.has_content else math.inf)
            if commitment.is_json and now - first_byte >= JSON_HOLD and is_last():
                commitment.release()
        elif came.value is None:
            has_ended = True
            commitment.end()
        else:
            commitment.cut(_error_of(bout, asked, came))
    return Attempted(asked, began, now, head, commitment, commitment.failure, commitment.error, has_ended)


def _was_closed(value: Any) -> bool:
    return isinstance(value, UpstreamError) and value.cause is Cause.CLOSED and value.status is None


def _error_of(bout: Bout, asked: AskedBid, came: StepResult) -> UpstreamError:
    """Return the error of an attempt that broke off, or fell silent. Raises the one of a request whose time is up."""
    if came.value is not LATE:
        assert isinstance(came.value, UpstreamError)  # noqa: S101 - nothing else is sent
        return came.value
    if came.now >= bout.latest:
        raise bout.too_late(asked)
    return UpstreamTimeout("it began no answer in time, and another one is asked")
