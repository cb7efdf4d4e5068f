"""A driver of pulled exchanges without any I/O: chunks from a list, a store in a dictionary, and the errands written down."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from msgspec.structs import replace

from cachemw.core.directives import Directives
from cachemw.core.effects import Claim, Claimed, Discard, Found, GetOrder, Lookup, Outcome
from cachemw.core.errands import Await, Came, Close, Errand, Open, Opened, Pause, Read, Waited, go_on
from cachemw.core.exchange import exchange
from cachemw.core.intake import take_in, unfinished
from cachemw.core.messages import Head, Request, Unread
from cachemw.core.policy import Policy
from cachemw.core.pull import Landing
from cachemw.core.pulling import Pulling, pulled
from cachemw.core.selection import Verified
from cachemw.core.transfer import Put
from cachemw.errors import CacheError, UpstreamError
from tests.core.answers import JSON_HEAD, ORDER
from tests.core.world import NOW

LATE = object()
"""Of an upstream: nothing comes within the time that was allowed."""

Part = bytes | UpstreamError | object


@dataclass
class Runway:
    """Landings of one request after another: what is led is there to be waited for until it has landed."""

    is_full: bool = False
    held: int = 0
    flying: list[Landing] = field(default_factory=list)
    landed: list[Landing] = field(default_factory=list)

    def claim(self, claim: Claim, after: Landing | None) -> tuple[Claimed | None, Landing | None]:
        if self.flying:
            return None, self.flying[0]
        if not claim.may_lead:
            return Claimed.ALONE, None
        return Claimed.LEAD, Landing(claim.course)

    def land(self, landing: Landing) -> None:
        landing.end()
        self.landed.append(landing)

    def weigh(self, more: int) -> None:
        self.held += more


@dataclass
class Puller:
    """One request, and what lies around it."""

    parts: Iterable[Part] = ()
    head: Head | UpstreamError = JSON_HEAD
    records: dict[bytes, bytes] = field(default_factory=dict)
    runway: Runway = field(default_factory=Runway)
    put_fault: str | None = None
    waits: list[Callable[[Landing], Waited]] = field(default_factory=list)
    ticks: float = 0.0  # seconds between two chunks
    while_opening: Callable[[Pulling], None] | None = None
    timeout: float | None = None  # this very request's own
    errands: list[Errand] = field(default_factory=list)

    def begin(self, asked: Request, policy: Policy | None = None, is_too_large: bool = False) -> "Puller":
        """Go on until it is known what the answer is."""
        policy = pulled(policy or Policy())
        taken_in = unfinished(take_in(asked.method, asked.path, asked.headers, policy))
        assert isinstance(taken_in, Directives)
        asked = replace(asked, body=Unread.TOO_LARGE) if is_too_large else asked
        script = exchange(asked, taken_in, policy, Verified())
        self._now, self._upstream = NOW, iter(self.parts)
        self.pulling = Pulling(script, self.runway, policy, self.timeout)
        self.outcome: Outcome = self._driven(self.pulling.outcome())
        self.said, self.pieces = self.pulling.answer(self.outcome)
        return self

    def read(self) -> bytes | None:
        """Return the next piece, `None` at the end. Raises `UpstreamError`."""
        try:
            step = go_on(self.pieces, None)
            while not isinstance(step, bytes):
                step = go_on(self.pieces, self._attempt(step))
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
        return sum(isinstance(errand, kind) for errand in self.errands)

    def _driven(self, errands: Any) -> Any:
        result = None
        try:
            while True:
                result = self._attempt(go_on(errands, result))
        except StopIteration as stop:
            return stop.value
        finally:
            errands.close()

    def _attempt(self, errand: Errand) -> Any:
        self.errands.append(errand)
        return self._perform(errand)

    def _perform(self, errand: Errand) -> Any:
        match errand:
            case Lookup(index):
                return Found(self.records.get(index), self._now)
            case GetOrder():
                return ORDER
            case Discard(index):
                return self.records.pop(index, None)
            case Open():
                if self.while_opening is not None:
                    self.while_opening(self.pulling)
                return Opened(self.head, self._now) if isinstance(self.head, Head) else self.head
            case Read():
                return self._came()
            case Put(index, record):
                self.records |= {} if self.put_fault else {index: record}
                return self.put_fault
            case Await(landing):
                return self.waits.pop(0)(landing)
            case Close() | Pause():
                return None
        raise AssertionError(f"an errand nobody knows: {errand}")

    def _came(self) -> Came | CacheError:
        part = next(self._upstream, None)
        self._now += self.ticks
        if isinstance(part, CacheError):
            return part
        if part is LATE:
            return Came(None, self._now, is_late=True)
        assert part is None or isinstance(part, bytes)
        return Came(part, self._now)
