"""What the script asks of its driver, and what it may end in. Values only."""

from collections.abc import Generator
from dataclasses import dataclass
from enum import Enum
from typing import Any

from cachemw.core.directives import InvalidControl
from cachemw.core.messages import Head, Kind, Request, StoredResponse
from cachemw.core.relay import Relay
from cachemw.core.report import ExchangeReport
from cachemw.errors import UpstreamError


@dataclass(frozen=True, slots=True)
class Secret:
    """Get the store's secret: sent `bytes`, or thrown `StoreError`."""


@dataclass(frozen=True, slots=True)
class Name:
    """Ask the operator's function for the partition's name: sent `bytes | None`, or thrown `PartitionError`."""

    request: Request


@dataclass(frozen=True, slots=True)
class Lookup:
    """Read a record: sent `Found`, or thrown `StoreError`."""

    index: bytes


@dataclass(frozen=True, slots=True)
class Found:
    """What a lookup found, and the time: seconds since the epoch."""

    record: bytes | None
    now: float


@dataclass(frozen=True, slots=True)
class Discard:
    """Remove a record that is none: sent `None`; failing to is no matter."""

    index: bytes


@dataclass(frozen=True, slots=True)
class Claim:
    """Be the one that forwards, or wait for the one that does: sent a `Claimed`. Without `may_lead` only wait."""

    parts: bytes
    kind: Kind
    may_lead: bool


class Claimed(Enum):
    """How a claim went."""

    LEAD = "the others wait for this one"
    FOLLOWED = "another led, and has landed, or patience ran out"
    ALONE = "nobody leads, and this one may not"


@dataclass(frozen=True, slots=True)
class Forward:
    """Send the request on: sent `Arrived`, or thrown `UpstreamError`. `recorded`: ask for no content coding."""

    recorded: bool


@dataclass(frozen=True, slots=True)
class Arrived:
    """The head of the upstream's response, and the time it came: seconds since the epoch."""

    head: Head
    now: float


Effect = Secret | Name | Lookup | Discard | Claim | Forward


@dataclass(frozen=True, slots=True)
class Serve:
    """Answer with a stored response; `now` is when that was decided."""

    stored: StoredResponse
    report: ExchangeReport
    now: float


@dataclass(frozen=True, slots=True)
class Unsatisfiable:
    """Only the store might have answered, and cannot: 504."""

    report: ExchangeReport


@dataclass(frozen=True, slots=True)
class Failed:
    """The upstream gave no head: 502 or 504. `report` is `None` where the client did not opt in."""

    report: ExchangeReport | None
    error: UpstreamError


@dataclass(frozen=True, slots=True)
class Unacceptable:
    """The request's control header cannot be obeyed: 400."""

    report: ExchangeReport
    invalid: InvalidControl


Outcome = Serve | Relay | Unsatisfiable | Failed | Unacceptable
Script = Generator[Effect, Any, Outcome]
