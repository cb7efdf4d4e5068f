"""The tables of what is in progress, pushed or pulled: who leads, who follows, and how many bytes all hold together."""

import os
import threading
from collections.abc import Callable
from typing import Any, Generic, Protocol, TypeVar
from weakref import WeakKeyDictionary

from anyio.lowlevel import RunVar

from cachemw.cache.effects import Claim, ClaimResult
from cachemw.cache.sharing import Course
from cachemw.limits import Limits


class AnyFlight(Protocol):
    """A flight as its table knows it: what it can be followed for, if it can, and the event that nobody can join any more."""

    course: Course | None
    closed_to_new: Any


F = TypeVar("F", bound=AnyFlight)


class FlightTable(Generic[F]):
    """The flights of one event loop, or of all threads, found by the key's parts: joining needs equality. Thread-safe.

    `held` counts their bytes in memory, `detached` those without readers.
    """

    def __init__(self, make_flight: Callable[["FlightTable[F]", Course], F], limits: Limits) -> None:
        self.limits = limits
        self.held = 0
        self.detached = 0
        self._make_flight = make_flight
        self._lock = threading.Lock()
        self._flights: dict[bytes, list[F]] = {}
        self._successors: WeakKeyDictionary[F, F] = WeakKeyDictionary()

    @property
    def is_full(self) -> bool:
        """Say whether nothing more may be held."""
        return self.held > self.limits.flight_bytes

    @property
    def may_detach(self) -> bool:
        """Say whether one more may go on without readers."""
        return self.detached < self.limits.detached

    def is_alone(self, claim: Claim) -> bool:
        """Say whether a claim has nothing to follow now, and may not lead."""
        with self._lock:
            return _is_alone(claim, self._find(claim, is_patient=True))

    def claim(self, claim: Claim, after: F | None = None, *, is_patient: bool = True) -> tuple[ClaimResult | None, F | None]:
        """Return how the claim went, with the flight that it leads; or `None`, and the flight to read or to wait for.

        Who is not patient waits for none of another kind. `after` was waited for before, in vain: all who did are to wait
        for one and the same, though that may be over by the time that the last of them asks.
        """
        after = None if claim.course.is_apart else after
        with self._lock:
            if (successor := self._successor(after, claim.course)) is not None:
                return None, successor
            found = self._find(claim, is_patient)
            if _is_alone(claim, found):
                return ClaimResult.ALONE, None
            flight = self._lead(claim.course) if found is None else found
            if after is not None:
                self._successors[after] = flight
            return ClaimResult.LEAD if found is None else None, flight

    def close(self, flight: F) -> None:
        """Let nobody join any more. May be called twice, and for a flight that was never to be found."""
        with self._lock:
            if flight.course is not None:
                self._remove(flight, flight.course.parts)
        flight.closed_to_new.set()

    def weigh(self, more: int) -> None:
        """Count so many bytes more, or less."""
        with self._lock:
            self.held += more

    def __len__(self) -> int:
        return len(self._flights)

    def _successor(self, after: F | None, course: Course) -> F | None:
        successor = None if after is None else self._successors.get(after)
        return successor if successor is not None and _is_of_now(successor, course) else None

    def _find(self, claim: Claim, is_patient: bool) -> F | None:
        """Return the flight to join, or else to wait for. One from the other side of a purge is as if it were not there."""
        here = [flight for flight in self._flights.get(claim.course.parts, []) if _is_of_now(flight, claim.course)]
        joinable = [flight for flight in here if may_join(claim, flight)]
        found = joinable or (_waited_for(here, claim.course, self.limits.apart) if is_patient else [])
        return found[0] if found else None

    def _lead(self, course: Course) -> F:
        flight = self._make_flight(self, course)
        self._flights.setdefault(course.parts, []).append(flight)
        return flight

    def _remove(self, flight: F, parts: bytes) -> None:
        here = self._flights.get(parts, [])
        if flight in here:
            here.remove(flight)
        if not here:
            self._flights.pop(parts, None)


def may_join(claim: Claim, flight: AnyFlight) -> bool:
    """Say whether a claim's request may be answered by a flight itself, and not only by what it leaves in the store."""
    return flight.course is not None and claim.course.may_follow(flight.course)


def _is_alone(claim: Claim, found: AnyFlight | None) -> bool:
    return not (claim.may_lead if found is None else claim.may_follow)


def _is_of_now(flight: AnyFlight, course: Course) -> bool:
    """Say whether no purge lies between them."""
    return flight.course is not None and flight.course.generation == course.generation


def _waited_for(here: list[F], course: Course, apart: int) -> list[F]:
    """Return the flights that are waited for where none can be joined: those of another kind.

    Who asks on its own account waits only while there are `apart` of those.
    """
    alike = [flight for flight in here if flight.course is not None and flight.course.is_apart == course.is_apart]
    return alike if not course.is_apart or len(alike) >= apart else []


class FlightsByLoop(Generic[F]):
    """A table for every event loop."""

    def __init__(self, make_flight: Callable[[FlightTable[F], Course], F], limits: Limits) -> None:
        self._make_flight, self._limits = make_flight, limits
        self._table: RunVar[FlightTable[F]] = RunVar(f"cachemw flights {id(self)}")

    def here(self) -> FlightTable[F]:
        """Return the running event loop's."""
        table = self._table.get(None)
        if table is None:
            table = FlightTable(self._make_flight, self._limits)
            self._table.set(table)
        return table


class FlightsByProcess(Generic[F]):
    """A table for every process: in a forked child nothing of its parent's ever ends."""

    def __init__(self, make_flight: Callable[[FlightTable[F], Course], F], limits: Limits) -> None:
        self._make_flight, self._limits = make_flight, limits
        self._tables: dict[int, FlightTable[F]] = {}

    def here(self) -> FlightTable[F]:
        """Return this process's."""
        table = self._tables.get(os.getpid())
        return self._tables.setdefault(os.getpid(), FlightTable(self._make_flight, self._limits)) if table is None else table
