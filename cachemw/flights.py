"""Responses in progress: the flights of each event loop, and what they take together."""

from typing import Generic, Protocol, TypeVar

from anyio.lowlevel import RunVar

from cachemw.core import limits
from cachemw.core.effects import Claim, Claimed
from cachemw.core.sharing import Course


class Joinable(Protocol):
    """A flight, as far as it is found: by the key's parts themselves, so joining needs equality. Without a course it is not."""

    course: Course | None


F = TypeVar("F", bound=Joinable)


class Traffic(Generic[F]):
    """The flights of one event loop. `held` counts their bytes in memory, `detached` those without readers."""

    def __init__(self) -> None:
        self.held = 0
        self.detached = 0
        self._flights: dict[bytes, list[F]] = {}

    @property
    def is_full(self) -> bool:
        """Whether nothing more may be held."""
        return self.held > limits.FLIGHT_BYTES

    @property
    def may_detach(self) -> bool:
        """Whether one more may go on without readers."""
        return self.detached < limits.DETACHED

    def claim(self, claim: Claim, is_patient: bool = True) -> F | Claimed:
        """Return the flight to read, or to wait for, or else how the claim went; who is not patient waits for no other.

        What was begun on the other side of a purge is as if it were not there.
        """
        flying = [flight for flight in self._flights.get(claim.course.parts, []) if is_of_now(flight, claim.course)]
        found = [flight for flight in flying if may_board(claim, flight)] or (
            _waited_for(flying, claim.course) if is_patient else []
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


def may_board(claim: Claim, flight: Joinable) -> bool:
    """Say whether a claim's request may be answered by a flight itself, and not only by what it leaves in the store."""
    return flight.course is not None and claim.course.may_follow(flight.course)


def is_of_now(flight: Joinable, course: Course) -> bool:
    """Say whether no purge lies between them."""
    return flight.course is not None and flight.course.generation == course.generation


def _waited_for(flying: list[F], course: Course) -> list[F]:
    """Return the flights that are waited for where none can be boarded: those of another kind.

    Who asks on its own account waits only while there are many of those.
    """
    alike = [flight for flight in flying if flight.course is not None and flight.course.is_apart == course.is_apart]
    return alike if not course.is_apart or len(alike) >= limits.APART else []


class Flights(Generic[F]):
    """A `Traffic` for every event loop."""

    def __init__(self) -> None:
        self._traffic: RunVar[Traffic[F]] = RunVar(f"cachemw flights {id(self)}")

    def here(self) -> Traffic[F]:
        """Return the running event loop's."""
        traffic = self._traffic.get(None)
        if traffic is None:
            traffic = Traffic()
            self._traffic.set(traffic)
        return traffic
