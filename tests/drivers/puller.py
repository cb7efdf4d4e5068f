"""A driver of pulled exchanges without any I/O: chunks from a list, a store in a dictionary, and the effects written down."""

import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from msgspec.structs import replace

from cachemw.cache.classify import OptedIn, classify, unfinished
from cachemw.cache.directives import Directives
from cachemw.cache.effects import Claim, ClaimResult, DeleteRecord, Found, GetOrder, Lookup, Ordered, Outcome
from cachemw.cache.exchange import exchange
from cachemw.cache.live_response import Put
from cachemw.cache.lookup import VerifiedRecords
from cachemw.cache.policy import Policy
from cachemw.cache.sharing import Course
from cachemw.drivers.pull import PullExchange, pull_policy
from cachemw.drivers.pull_effects import (
    Close,
    IoEffect,
    Open,
    OpenResult,
    Read,
    ReadResult,
    SleepUntil,
    WaitFor,
    WaitResult,
    advance,
)
from cachemw.endpoints import CHAT
from cachemw.errors import CacheError, UpstreamError
from cachemw.flights.pulled import PulledFlight
from cachemw.limits import Limits
from cachemw.messages import Head, Request, Unread
from tests.cache.answers import JSON_HEAD, ORDER
from tests.cache.world import NOW

LATE = object()
"""Of an upstream: nothing comes within the time that was allowed."""

Part = bytes | UpstreamError | object


def flight_for(course: Course) -> PulledFlight:
    """Return a flight that nobody really waits for."""
    return PulledFlight(course, threading.Event())


@dataclass
class Flights:
    """Flights of one request after another: what is led is there to be waited for until it is closed."""

    is_full: bool = False
    held: int = 0
    open: list[PulledFlight] = field(default_factory=list)
    closed: list[PulledFlight] = field(default_factory=list)

    def claim(self, claim: Claim, after: PulledFlight | None) -> tuple[ClaimResult | None, PulledFlight | None]:
        if self.open:
            return None, self.open[0]
        if not claim.may_lead:
            return ClaimResult.ALONE, None
        return ClaimResult.LEAD, flight_for(claim.course)

    def close(self, flight: PulledFlight) -> None:
        self.closed.append(flight)

    def weigh(self, more: int) -> None:
        self.held += more


@dataclass
class Puller:
    """One request, and what lies around it."""

    parts: Iterable[Part] = ()
    head: Head | UpstreamError = JSON_HEAD
    records: dict[bytes, bytes] = field(default_factory=dict)
    flights: Flights = field(default_factory=Flights)
    put_fault: str | None = None
    waits: list[Callable[[PulledFlight], WaitResult]] = field(default_factory=list)
    ticks: float = 0.0  # seconds between two chunks
    while_opening: Callable[[PullExchange], None] | None = None
    timeout: float | None = None  # this very request's own
    effects: list[IoEffect] = field(default_factory=list)

    def begin(self, asked: Request, policy: Policy | None = None, is_too_large: bool = False) -> "Puller":
        """Go on until it is known what the answer is."""
        policy, limits = pull_policy(policy or Policy()), Limits()
        classified = unfinished(classify(asked.method, asked.path, asked.headers, policy))
        assert isinstance(classified, OptedIn)
        assert isinstance(classified.asked, Directives)
        asked = replace(asked, body=Unread.TOO_LARGE) if is_too_large else asked
        script = exchange(CHAT, asked, classified.asked, policy, limits, VerifiedRecords(limits))
        self._now, self._upstream = NOW, iter(self.parts)
        self.exchange = PullExchange(script, self.flights, policy, limits, self.timeout)
        self.outcome: Outcome = self._driven(self.exchange.outcome())
        self.said, self.pieces = self.exchange.answer(self.outcome)
        return self

    def read(self) -> bytes | None:
        """Return the next piece, `None` at the end. Raises `UpstreamError`."""
        try:
            step = advance(self.pieces, None)
            while not isinstance(step, bytes):
                step = advance(self.pieces, self._attempt(step))
        except StopIteration:
            return None
        return step

    def rest(self) -> bytes:
        """Return all that there is still to read."""
        return b"".join(iter(self.read, None))

    @property
    def cache_status(self) -> str:
        [value] = [value for name, value in self.said.headers if name == b"cache-status"]
        head, quote, tail = value.decode().removeprefix("cachemw; ").partition('key="')
        return head + "key" + tail.partition('"')[2] if quote else head

    def asked_for(self, kind: type) -> int:
        """Return how often this was asked of the driver."""
        return sum(isinstance(effect, kind) for effect in self.effects)

    def _driven(self, effects: Any) -> Any:
        result = None
        try:
            while True:
                result = self._attempt(advance(effects, result))
        except StopIteration as stop:
            return stop.value
        finally:
            effects.close()

    def _attempt(self, effect: IoEffect) -> Any:
        self.effects.append(effect)
        return self._perform(effect)

    def _perform(self, effect: IoEffect) -> Any:
        match effect:
            case Lookup(index):
                return Found(self.records.get(index), self._now)
            case GetOrder():
                return Ordered(ORDER, self._now)
            case DeleteRecord(indexes):
                for index in indexes:
                    self.records.pop(index, None)
                return None
            case Open():
                if self.while_opening is not None:
                    self.while_opening(self.exchange)
                return OpenResult(self.head, self._now) if isinstance(self.head, Head) else self.head
            case Read():
                return self._came()
            case Put(index, record):
                self.records |= {} if self.put_fault else {index: record}
                return self.put_fault
            case WaitFor(flight):
                return self.waits.pop(0)(flight)
            case Close() | SleepUntil():
                return None
        raise AssertionError(f"an effect nobody knows: {effect}")

    def _came(self) -> ReadResult | CacheError:
        part = next(self._upstream, None)
        self._now += self.ticks
        if isinstance(part, CacheError):
            return part
        if part is LATE:
            return ReadResult(None, self._now, is_late=True)
        assert part is None or isinstance(part, bytes)
        return ReadResult(part, self._now)
