"""Responses in progress: the flights of each event loop, and what they take together."""

from typing import Generic, Protocol, TypeVar

from anyio.lowlevel import RunVar

from cachemw.core import limits
from cachemw.core.effects import Claim, Claimed
from cachemw.core.messages import Kind


class Joinable(Protocol):
    """A flight, as far as it is found: by the key's parts themselves, so joining needs equality."""

    parts: bytes
    kind: Kind


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
        """Return the flight to read, or to wait for, or else how the claim went; who is not patient waits for no other kind."""
        flying = self._flights.get(claim.parts, [])
        own = [flight for flight in flying if flight.kind == claim.kind]
        found = own or (flying if is_patient else [])
        if not found:
            return Claimed.LEAD if claim.may_lead else Claimed.ALONE
        return found[0] if claim.may_follow else Claimed.ALONE

    def announce(self, flight: F) -> None:
        """Let others join."""
        self._flights.setdefault(flight.parts, []).append(flight)

    def close(self, flight: F) -> None:
        """Let nobody join any more. May be called twice, and for a flight that was never announced."""
        flying = self._flights.get(flight.parts, [])
        if flight in flying:
            flying.remove(flight)
        if not flying:
            self._flights.pop(flight.parts, None)

    def __len__(self) -> int:
        return len(self._flights)


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
