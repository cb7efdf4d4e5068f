"""The state of one routed request: who is asked next, who has failed and how, and what is shown when all have."""

import math
from collections import deque
from collections.abc import Callable

import msgspec

from cachemw.cache.plans import AskedBid, AskedBids
from cachemw.endpoints.errors import LONGEST_RETRY
from cachemw.errors import UpstreamError, UpstreamTimeout
from cachemw.gateway.commitment import Commitment
from cachemw.gateway.failure_kinds import Failure, FailureKind, wait_to_repeat
from cachemw.gateway.needs import hides_reasoning
from cachemw.limits import Timeouts
from cachemw.messages import Head, Headers
from cachemw.redaction import redacted_repr
from cachemw.routing import Bill, Routed, Tried
from cachemw.wire.fields import end_to_end, without

NO_RETRY = ((b"x-should-retry", b"false"),)

_RETRY_FIELDS = (b"retry-after", b"retry-after-ms", b"x-should-retry")
_QUICK = 1.0


class Attempted(msgspec.Struct, frozen=True):
    """What came of an attempt, at which time. It is sound unless it has a `failure`; without either there was none made.

    `error` is what the upstream raised, or why what came cannot be shown. `has_ended`: all of its body is held.
    """

    asked: AskedBid
    began: float
    ended: float
    head: Head | None = None
    commitment: Commitment | None = None
    failure: Failure | None = None
    error: UpstreamError | None = None
    has_ended: bool = False

    __repr__ = redacted_repr

    @property
    def held(self) -> tuple[bytes, ...]:
        """Return what has come of its body."""
        return () if self.commitment is None else self.commitment.held


class Shown(msgspec.Struct, frozen=True):
    """What the client is shown: of an attempt that is `under_way` the rest is read on; of another, `body` is all there is."""

    asked: AskedBid
    head: Head
    body: tuple[bytes, ...] = ()
    under_way: Attempted | None = None
    is_exhausted: bool = False

    __repr__ = redacted_repr


class Bout:
    """Keeps who was asked for one request. `is_callers` says to whom the caller's own credential is sent.

    `is_insistent`: the client tries again by itself. All is over at `latest`. Times are in seconds, by any one clock.
    """

    def __init__(
        self,
        bids: AskedBids,
        began: float,
        timeouts: Timeouts,
        is_callers: Callable[[AskedBid], bool],
        *,
        is_insistent: bool = False,
    ) -> None:
        self.bids, self.plan, self.timeouts = bids, bids.plan, timeouts
        self._is_insistent = is_insistent
        self.attempts = 0
        self.tried: list[Tried] = []
        self.unsettled: list[AskedBid] = []
        """Those whose attempts may have cost something that nobody will say."""
        self._is_callers = is_callers
        self._waiting = deque(bids.asked)
        self._failed: list[tuple[Attempted, float | None]] = []
        self._is_reopened = False
        self._is_repeated = bids.plan.route is None  # who named one target is answered as by that alone
        deadline = math.inf if self.plan.deadline is None else self.plan.deadline
        self.latest = began + min(deadline, timeouts.total)
        self._is_deadline = deadline <= timeouts.total

    @property
    def is_pinned(self) -> bool:
        """Say whether nothing else could answer, however long it takes: then nothing is held."""
        return len(self.bids.asked) == 1 and self.plan.deadline is None and self.bids.in_reserve is None

    @property
    def is_at_last(self) -> bool:
        """Say whether nothing is left but who is asked now, who is therefore waited for (G5)."""
        return not self._waiting and self.bids.in_reserve != "fresh"

    @property
    def following(self) -> AskedBid | None:
        """Return whom to ask next, without taking it out; `None`: nobody is left."""
        return self._waiting[0] if self._waiting else None

    def take(self) -> AskedBid | None:
        """Return whom to ask next."""
        return self._waiting.popleft() if self._waiting else None

    def close(self) -> None:
        """Ask nobody any more: the caller cannot pay for it, or must not."""
        self._waiting.clear()
        self._is_repeated = True

    def patience(self, asked: AskedBid) -> float:
        """Return how many seconds a candidate has that is not the last (G4; E9: where nothing is to be seen it has longer)."""
        provider, model = asked.bid.target.recipient.provider, asked.bid.name.partition("/")[2]
        is_seen = self.bids.is_stream and not hides_reasoning(provider, model)
        return self.plan.first_token if is_seen else self.plan.answer

    def may_reopen(self, asked: AskedBid, took: float) -> bool:
        """Say, once, whether a connection that was closed before any byte is opened anew: it may have been an old one (E8).

        Never for a body that is passed on as it comes: a part of it may be gone.
        """
        may, self._is_reopened = asked.body is not None and not self._is_reopened and took < _QUICK, True
        return may

    def stops_at(self, attempted: Attempted) -> bool:
        """Say whether nobody else is asked after this failure: another one would say the same, or must not be asked."""
        assert attempted.failure is not None  # noqa: S101 - it failed
        kind = attempted.failure.kind
        if kind is FailureKind.REFUSED:
            return self.plan.on_refusal == "stop"  # G23
        return not kind.goes_on or kind is FailureKind.AUTH and self._is_callers(attempted.asked)

    def note(self, attempted: Attempted, cooling: float | None) -> None:
        """Note a failure after which somebody else may be asked; its target is `cooling` for so many seconds."""
        failure = attempted.failure
        assert failure is not None  # noqa: S101 - it failed
        self._failed.append((attempted, cooling))
        self.tried.append(Tried(attempted.asked.bid.name, failure.kind.value, failure.status, cooling))
        if failure.kind is FailureKind.SLOW or attempted.head is not None and attempted.head.status < 300:
            self.unsettled.append(attempted.asked)

    def lose(self, asked: AskedBid) -> None:
        """Note one that was given up for a faster one."""
        self.tried.append(Tried(asked.bid.name, "lost"))
        self.unsettled.append(asked)

    def wait_to_repeat(self) -> float | None:
        """Return in how many seconds the last who failed may be asked the same again, once, as nobody else is left (E8)."""
        attempted, cooling = self._failed[-1]
        assert attempted.failure is not None  # noqa: S101 - it failed
        is_cooled = attempted.failure.kind is FailureKind.BROKEN and cooling is not None
        is_helped = self._is_insistent or self.bids.in_reserve == "fresh"  # G24: not twice by each
        if self._is_repeated or is_cooled or is_helped:
            return None
        return wait_to_repeat(attempted.failure, attempted.ended - attempted.began)

    def note_repeat(self) -> None:
        """Note that one is asked again."""
        self._is_repeated = True

    def sound(self, attempted: Attempted) -> Shown:
        """Show an answer, or a failure that nobody else is asked after, as it is."""
        assert attempted.head is not None  # noqa: S101 - there is something to show
        return Shown(attempted.asked, attempted.head, attempted.held, attempted)

    def exhausted(self, still_open: Attempted | None = None) -> Shown:
        """Show the first target's own error when all have failed. Raises its `UpstreamError` where nobody gave a response."""
        failed = sorted([attempted for attempted, _ in self._failed], key=self._place_of)
        answered = [one for one in failed if one.head is not None and one.error is None]
        first = next((one for one in answered if one.head and one.head.status >= 400), next(iter(answered), None))
        if first is None or first.head is None:
            raise self._said(failed[0])
        if first is still_open:
            return Shown(first.asked, _advised(first.head, self._advice()), first.held, first, is_exhausted=True)
        head = _kept(first.head, sum(map(len, first.held)), self._advice())
        return Shown(first.asked, head, first.held, is_exhausted=True)

    def too_late(self, asked: AskedBid) -> UpstreamError:
        """Return the error of an answer that did not begin in its time, while this one was asked."""
        error = UpstreamTimeout("no answer began in the time that there was for it")
        error.host = asked.bid.target.place
        error.advice = NO_RETRY if self._is_deadline else ()
        self.tried.append(Tried(asked.bid.name, "deadline"))
        error.routed = self.routed(asked, Bill(), is_exhausted=True)
        return error

    def routed(self, asked: AskedBid, bill: Bill, *, is_exhausted: bool = False) -> Routed:
        """Return what is told of who answered, and of what went before; whom the plan left out is not among it."""
        return Routed(asked.position, self.attempts, tuple(self.tried), bill, is_exhausted)

    def _place_of(self, attempted: Attempted) -> int:
        return self.bids.asked.index(attempted.asked)

    def _said(self, attempted: Attempted) -> UpstreamError:
        error = attempted.error
        assert error is not None  # noqa: S101 - it gave no response
        error.host = error.host or attempted.asked.bid.target.place
        error.advice = self._advice()
        error.routed = self.routed(attempted.asked, Bill(), is_exhausted=True)
        return error

    def _advice(self) -> Headers:
        """Tell when to try again: at the soonest end of all cooldowns, where everybody has one; or that it is no use (G24)."""
        ends = [*(cooling for _, cooling in self._failed), *(tried.cooling for tried in self.plan.tried)]
        soonest = None if None in ends else min(end for end in ends if end is not None)
        if not any(map(_may_pass, self._failed)) or soonest is not None and soonest > LONGEST_RETRY:
            return NO_RETRY
        return () if soonest is None else ((b"retry-after", b"%d" % max(1, math.ceil(soonest))),)


def _may_pass(failed: tuple[Attempted, float | None]) -> bool:
    failure = failed[0].failure
    return failure is not None and failure.kind.is_transient


def _advised(head: Head, advice: Headers) -> Head:
    return Head(head.status, (*without(head.headers, _RETRY_FIELDS), *advice), head.delimited)


def _kept(head: Head, size: int, advice: Headers) -> Head:
    """Return the head of a body that is shown as far as it was held."""
    fields = without(end_to_end(head.headers), (*_RETRY_FIELDS, b"content-length"))
    return Head(head.status, (*fields, (b"content-length", b"%d" % size), *advice))
