"""The desk of a routed request: where its attempts get their upstreams, say how they ended, and have their cost counted."""

import re
import time
from functools import lru_cache
from typing import Protocol

from cachemw.cache.plans import AskedBid
from cachemw.endpoints import CHAT
from cachemw.errors import UpstreamError, UpstreamTimeout
from cachemw.gateway.bout import Attempted, Bout, Shown
from cachemw.gateway.commitment import Commitment, Judgement
from cachemw.gateway.failure_kinds import Failure
from cachemw.gateway.failures import of_error
from cachemw.gateway.health import GONE, Gone, Good
from cachemw.messages import header_values
from cachemw.routing import Bill, RoutedHead
from cachemw.upstreams.base import AsyncUpstream, SyncUpstream, UpstreamRequest

_COUNTS_RETRIES = b"x-stainless-retry-count"  # the SDKs' own, from their first try on
_REACH = 64
"""The bytes of a line that say that a stream ends, and more."""

_SOON = 0.1


class Watch(Protocol):
    """Sees the bytes of an answer that is shown, and settles its `bill` at the end."""

    @property
    def bill(self) -> Bill:
        """Its bill, open until the end."""

    def feed(self, chunk: bytes) -> None:
        """See what has come."""

    def end(self, complete: bool) -> None:
        """Settle the bill. Not `complete`: it broke off, or its reader left."""


class Desk(Protocol):
    """What a gateway does for the attempts of one request; every one that has `begun` is `ended`, once."""

    def is_callers(self, asked: AskedBid) -> bool:
        """Say whether the caller's own credential is sent there."""

    def begun(self, asked: AskedBid) -> None:
        """Note that it is being asked."""

    def ended(self, asked: AskedBid, result: Good | Failure | Gone) -> float | None:
        """Note how that ended. Return for how many seconds it is not asked now; `None`: it may be."""

    def may_repeat(self, asked: AskedBid) -> bool:
        """Say whether it may be asked the same again, within what there is for such attempts, and count it."""

    def watch(self, asked: AskedBid, unsettled: tuple[AskedBid, ...]) -> Watch:
        """Watch the answer of one; the cost of attempts at the `unsettled` will never be known."""


class SyncDesk(Desk, Protocol):
    """A desk for threads."""

    def contact(self, asked: AskedBid) -> SyncUpstream:
        """Return the upstream of its provider."""

    def reserve(self, asked: AskedBid) -> None:
        """Reserve what an attempt may cost. Raises `UpstreamError` where the caller cannot pay it."""


class AsyncDesk(Desk, Protocol):
    """A desk for event loops."""

    def contact(self, asked: AskedBid) -> AsyncUpstream:
        """Return the upstream of its provider."""

    async def areserve(self, asked: AskedBid) -> None:
        """Reserve what an attempt may cost. Raises `UpstreamError` where the caller cannot pay it."""


def bout_of(request: UpstreamRequest, desk: Desk, now: float) -> Bout:
    """Return the state of a request with bids, before anybody is asked."""
    assert request.bids is not None  # noqa: S101 - others are not a gateway's
    is_insistent = bool(header_values(request.headers, _COUNTS_RETRIES))
    return Bout(request.bids, now, request.timeouts, desk.is_callers, is_insistent=is_insistent)


class RoutedAnswer:
    """Follows what is shown to its end, and then tells the desk and the watch, once.

    `waits_since`, by the clock of this machine, is set by who reads it, before each read.
    """

    def __init__(self, desk: Desk, bout: Bout, shown: Shown) -> None:
        self._desk, self._asked, self._open = desk, shown.asked, shown.under_way
        self._watch = desk.watch(shown.asked, tuple(bout.unsettled))
        routed = bout.routed(shown.asked, self._watch.bill, is_exhausted=shown.is_exhausted)
        self.head = RoutedHead(shown.head.status, shown.head.headers, shown.head.delimited, routed=routed)
        self._idle = bout.timeouts.idle
        self._shown_at = self.waits_since = time.monotonic()
        self._first_token = None if self._open is None else self._open.ended - self._open.began
        endpoint = shown.asked.endpoint or CHAT
        self._ends = None if endpoint.ends is None else _line_of(endpoint.ends)
        self._tail = b""
        self._has_said_all = False
        """Whether what was read has the line at which clients hang up."""
        self._is_over = False
        self._judging = None if self._open is None else self._open.commitment
        if self._judging is not None and self._judging.judgement is not Judgement.HOLDING:
            self._judging.forget()
            self._judging = None

    def feed(self, chunk: bytes) -> None:
        """See what is given to the client."""
        self._watch.feed(chunk)
        if self._ends is not None and not self._has_said_all:
            self._has_said_all = self._ends.search(self._tail + chunk) is not None
            self._tail = (self._tail + chunk)[-_REACH:]
        if self._judging is not None:
            self._judge_on(self._judging, chunk)

    def _judge_on(self, commitment: Commitment, chunk: bytes) -> None:
        """Look at what comes of an answer that is shown before it is known to be good: nobody else could have answered."""
        if commitment.feed(chunk) is not Judgement.HOLDING:
            self._note_judged()
            commitment.forget()

    def end(self) -> None:
        """Note that it has ended by itself."""
        if self._judging is not None:
            self._judging.end()
            self._note_judged()
        self._finish(None, complete=True)

    def fail(self, error: UpstreamError) -> None:
        """Note that it broke off."""
        self._finish(of_error(error), complete=False)

    def leave(self) -> None:
        """Note that its reader wants no more: it has had the last event, or has left, or it has waited in vain."""
        if self._has_said_all:
            self._finish(None, complete=True)
        elif time.monotonic() - self.waits_since > self._idle - _SOON:
            self.fail(UpstreamTimeout("it fell silent"))
        else:
            self._finish(GONE, complete=False)

    def _note_judged(self) -> None:
        self._judging = None
        now = time.monotonic()
        self._first_token = (self._first_token or 0.0) + now - self._shown_at
        self._shown_at = now

    def _finish(self, result: Failure | Gone | None, *, complete: bool) -> None:
        if self._is_over:
            return
        self._is_over = True
        self._watch.end(complete)
        if self._open is not None and self._open.failure is None:
            self._desk.ended(self._asked, result or self._judged(self._open))

    def _judged(self, attempted: Attempted) -> Good | Failure:
        commitment = attempted.commitment
        if commitment is not None and commitment.failure is not None:
            return commitment.failure  # it was shown all the same (G21)
        return Good(self._first_token, self._rate(attempted))

    def _rate(self, attempted: Attempted) -> float | None:
        """Return the tokens a second of an answer that came bit by bit."""
        usage, took = self._watch.bill.usage, time.monotonic() - self._shown_at
        if attempted.has_ended or usage is None or not usage.output_tokens or took <= 0.0:
            return None
        return usage.output_tokens / took


@lru_cache(16)
def _line_of(ends: re.Pattern[bytes]) -> re.Pattern[bytes]:
    """Return what finds the line at which clients hang up, anywhere in a stream."""
    return re.compile(rb"^(?:" + ends.pattern + rb")", re.MULTILINE)
