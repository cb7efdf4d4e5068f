"""The tables of flights: those of each event loop or process, and how many bytes they hold together."""

import os
import threading
from collections.abc import Callable
from typing import Any, Generic, Protocol, TypeVar

import anyio
from anyio.lowlevel import RunVar

from cachemw.cache.effects import Claim, Claimed
from cachemw.cache.sharing import Course
from cachemw.flights.pulled import PulledFlight
from cachemw.limits import Limits


class Followed(Protocol):
    """A flight, as far as it is found: by the key's parts themselves, so joining needs equality. Without a course it is not."""

    course: Course | None


F = TypeVar("F", bound=Followed)


class FlightTable(Generic[F]):
    """The flights of one event loop. `held` counts their bytes in memory, `detached` those without readers."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.held = 0
        self.detached = 0
        self._flights: dict[bytes, list[F]] = {}

    @property
    def is_full(self) -> bool:
        """Whether nothing more may be held."""
        return self.held > self.limits.flight_bytes

    @property
    def may_detach(self) -> bool:
        """Whether one more may go on without readers."""
        return self.detached < self.limits.detached

    def claim(self, claim: Claim, is_patient: bool = True) -> F | Claimed:
        """Return the flight to read, or to wait for, or else how the claim went; who is not patient waits for no other.

        What was begun on the other side of a purge is as if it were not there.
        """
        flying = [flight for flight in self._flights.get(claim.course.parts, []) if is_of_now(flight, claim.course)]
        found = [flight for flight in flying if may_join(claim, flight)] or (
            _waited_for(flying, claim.course, self.limits.apart) if is_patient else []
        )
        if not found:
            return Claimed.LEAD if claim.may_lead else Claimed.ALONE
        return found[0] if claim.may_follow else Claimed.ALONE

    def announce(self, flight: F) -> None:
        """Let others join."""
        if flight.course is not None:
            self._flights.setdefault(flight.course.parts, []).append(flight)

    def close(self, flight: F) -> None:
        """Let nobody join any more. May be called twice, and for a flight that was never announced."""
        if flight.course is None:
            return
        flying = self._flights.get(flight.course.parts, [])
        if flight in flying:
            flying.remove(flight)
        if not flying:
            self._flights.pop(flight.course.parts, None)

    def __len__(self) -> int:
        return len(self._flights)


def may_join(claim: Claim, flight: Followed) -> bool:
    """Say whether a claim's request may be answered by a flight itself, and not only by what it leaves in the store."""
    return flight.course is not None and claim.course.may_follow(flight.course)


def is_of_now(flight: Followed, course: Course) -> bool:
    """Say whether no purge lies between them."""
    return flight.course is not None and flight.course.generation == course.generation


def _waited_for(flying: list[F], course: Course, apart: int) -> list[F]:
    """Return the flights that are waited for where none can be boarded: those of another kind.

    Who asks on its own account waits only while there are `apart` of those.
    """
    alike = [flight for flight in flying if flight.course is not None and flight.course.is_apart == course.is_apart]
    return alike if not course.is_apart or len(alike) >= apart else []


class FlightsByLoop(Generic[F]):
    """A `FlightTable` for every event loop."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._table: RunVar[FlightTable[F]] = RunVar(f"cachemw flights {id(self)}")

    def here(self) -> FlightTable[F]:
        """Return the running event loop's."""
        table = self._table.get(None)
        if table is None:
            table = FlightTable(self._limits)
            self._table.set(table)
        return table


class WaitableFlight(PulledFlight):
    """A landing, and the event that says that it is over: a thread's, or an event loop's."""

    def __init__(self, course: Course, over: Any) -> None:
        super().__init__(course)
        self.over = over


class PulledFlightTable:
    """Those of all threads, or of one event loop."""

    def __init__(self, event: Callable[[], Any], limits: Limits) -> None:
        self._event = event
        self._lock = threading.Lock()
        self._table: FlightTable[WaitableFlight] = FlightTable(limits)

    @property
    def is_full(self) -> bool:
        return self._table.is_full

    def claim(self, claim: Claim, after: PulledFlight | None) -> tuple[Claimed | None, PulledFlight | None]:
        after = None if claim.course.is_apart else after
        with self._lock:
            if after is not None and after.successor is not None and is_of_now(after.successor, claim.course):
                return None, after.successor
            found = self._table.claim(claim)
            if isinstance(found, WaitableFlight):
                if after is not None:
                    after.successor = found
                return None, found
            if found is not Claimed.LEAD:
                return found, None
            led = WaitableFlight(claim.course, self._event())
            self._table.announce(led)
            if after is not None:
                after.successor = led
            return found, led

    def land(self, flight: PulledFlight) -> None:
        assert isinstance(flight, WaitableFlight)  # noqa: S101 - it came from here
        with self._lock:
            self._table.close(flight)
        flight.end()
        flight.over.set()

    def weigh(self, more: int) -> None:
        with self._lock:
            self._table.held += more


class PulledFlightsByProcess:
    """Those of each process: in a forked child nothing of its parent's ever lands."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._flights: dict[int, PulledFlightTable] = {}

    def here(self) -> PulledFlightTable:
        """Return this process's."""
        pulled_flights = self._flights.get(os.getpid())
        return pulled_flights or self._flights.setdefault(os.getpid(), PulledFlightTable(threading.Event, self._limits))


class PulledFlightsByLoop:
    """Those of each event loop."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._flights: RunVar[PulledFlightTable] = RunVar(f"cachemw landings {id(self)}")

    def here(self) -> PulledFlightTable:
        """Return the running event loop's."""
        pulled_flights = self._flights.get(None)
        if pulled_flights is None:
            pulled_flights = PulledFlightTable(anyio.Event, self._limits)
            self._flights.set(pulled_flights)
        return pulled_flights
