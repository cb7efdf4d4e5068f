"""A response that its one reader pulls: nothing is read before that reader asks, but JSON, which is read whole."""

import math
from typing import Any, Protocol

from cachemw.cache.effects import Claim, ClaimResult, ShownResponse
from cachemw.cache.live_response import LiveResponse, Relay
from cachemw.cache.sharing import Course
from cachemw.errors import UpstreamError


class PulledResponse:
    """A response as far as its reader has pulled it. Call `feed` for every chunk, then `end`, or `fail`.

    With a `json_hold`, JSON that others wait for is read whole before anything of it is shown, be it kept or not, for then
    they can have it too; unless that takes longer after its first byte.
    """

    def __init__(self, response: LiveResponse, limit_bytes: int, json_hold: float | None) -> None:
        self.response = response
        self.has_ended = self.has_failed = False
        self._limit_bytes = limit_bytes
        self._json_hold = None if response.is_stream else json_hold
        self._release_at = math.inf  # when what is held back is let go

    @property
    def is_held(self) -> bool:
        """Say whether more is read before anything is shown."""
        return not self.has_ended and (self._json_hold is not None or not self.response.is_open)

    @property
    def may_still_be_stored(self) -> bool:
        """Say whether JSON that leaves as it comes may be found in the store at its end, by requests that wait for it."""
        return self.response.is_recorded and not (self.response.is_stream or self.has_ended or self.has_failed or self.is_held)

    @property
    def end_within(self) -> float | None:
        """Return how many seconds the end may take that comes behind a stream's `[DONE]`; `None` before that."""
        return self.response.hold_seconds if self.response.is_stream else None

    def feed(self, chunk: bytes, now: float, is_full: bool) -> None:
        """Take in what has come; `is_full`: all answers together hold too much."""
        self.response.feed(chunk, now)
        if over_limit := self.response.over_limit(self._limit_bytes, is_full):
            self.response.drop(over_limit)
            self._json_hold = None
        hold_seconds = self.response.hold_seconds if self._json_hold is None else self._json_hold
        if hold_seconds is None:
            self._release_at = math.inf
        elif now >= self._release_at:
            self.release()
        else:
            self._release_at = min(self._release_at, now + hold_seconds)

    def release(self) -> None:
        """Let go what was held back: its end does not come in time."""
        self._json_hold, self._release_at = None, math.inf
        self.response.release_held()

    def end(self, fault: str | None) -> None:
        """Note that all of it has come. `fault` says why a record of it was not stored; `None`: it was, or there is none."""
        self.response.close(fault)
        self.has_ended = True

    def fail(self, error: UpstreamError) -> None:
        """Note that the upstream broke off."""
        error.status = self.response.head.status
        self.response.fail(error)
        self.has_failed = True

    def take(self, relay: Relay) -> bytes:
        """Return what its reader may have now and has not yet; nothing where more must be read first."""
        piece = b"".join([part for part in relay.take() if isinstance(part, bytes)])
        if not (self.has_ended or self.response.is_recorded):
            self.response.forget(relay.at)
        return piece


class PulledFlight:
    """JSON that one request reads whole, while others wait for it; `course` is what it can be followed for.

    `closed_to_new` is the event that it is over, a thread's or an event loop's: nobody reads along with a pulled one.
    """

    def __init__(self, course: Course, closed_to_new: Any) -> None:
        self.course: Course | None = course
        self.closed_to_new = closed_to_new
        self._pull: PulledResponse | None = None
        self._shared: LiveResponse | None = None
        self._failure: UpstreamError | None = None

    def begin(self, pull: PulledResponse) -> None:
        """Note that there is a response."""
        self._pull = pull

    def fail(self, error: UpstreamError) -> None:
        """Note that it failed before anything of it was shown."""
        self._failure = error

    def end(self) -> None:
        """Let those who wait have what came: what is not whole any more, or not yet, its reader has alone."""
        if self._pull is not None and self._pull.has_ended and self._pull.response.is_whole:
            self._shared = self._pull.response
        elif self._pull is not None and self._pull.is_held:
            self._pull = None  # its request was stopped before it knew

    def result(self, course: Course, now: float) -> ShownResponse | ClaimResult | UpstreamError:
        """Return what a claim for this course has of it, now that it is over."""
        if self._failure is not None:
            return self._failure
        if self._pull is None:
            return ClaimResult.RELEASED
        if self._shared is None or self.course is None or not course.may_follow(self.course):
            return ClaimResult.OVER
        return ShownResponse(self._shared, now, self.course.sender)


class PulledFlights(Protocol):
    """The table of pulled flights, `FlightTable`, as far as one exchange uses it."""

    @property
    def is_full(self) -> bool:
        """Say whether nothing more may be held."""

    def claim(self, claim: Claim, after: PulledFlight | None) -> tuple[ClaimResult | None, PulledFlight | None]:
        """Return how the claim went, with the flight that it leads; or `None`, and the flight to wait for."""

    def close(self, flight: PulledFlight) -> None:
        """Let nobody else wait for it, and those go on who do."""

    def weigh(self, more: int) -> None:
        """Count so many bytes more, or less."""
