"""What the script asks of its driver, and what it may end in. Values only."""

from collections.abc import Generator
from enum import Enum
from typing import Any

import msgspec

from cachemw.core.directives import InvalidControl
from cachemw.core.messages import Head, Kind, Request, StoredResponse
from cachemw.core.relay import Relay
from cachemw.core.report import ExchangeReport
from cachemw.errors import UpstreamError


class Secret(msgspec.Struct, frozen=True):
    """Get the store's secret: sent `bytes`, or thrown `StoreError`."""


class Name(msgspec.Struct, frozen=True):
    """Ask the operator's function for the partition's name: sent `bytes | None`, or thrown `PartitionError`."""

    request: Request


class Lookup(msgspec.Struct, frozen=True):
    """Read a record: sent `Found`, or thrown `StoreError`."""

    index: bytes


class Found(msgspec.Struct, frozen=True):
    """What a lookup found, and the time: seconds since the epoch."""

    record: bytes | None
    now: float


class Discard(msgspec.Struct, frozen=True):
    """Remove a record that is none: sent `None`; failing to is no matter."""

    index: bytes


class Claim(msgspec.Struct, frozen=True):
    """Be the one that forwards, or wait for the one that does: sent a `Claimed`. Without `may_lead` only wait."""

    parts: bytes
    kind: Kind
    may_lead: bool


class Claimed(Enum):
    """How a claim went."""

    LEAD = "the others wait for this one"
    FOLLOWED = "another led, and has landed, or patience ran out"
    ALONE = "nobody leads, and this one may not"


class Forward(msgspec.Struct, frozen=True):
    """Send the request on: sent `Arrived`, or thrown `UpstreamError`. `recorded`: ask for no content coding."""

    recorded: bool


class Arrived(msgspec.Struct, frozen=True):
    """The head of the upstream's response, and the time it came: seconds since the epoch."""

    head: Head
    now: float


Effect = Secret | Name | Lookup | Discard | Claim | Forward


class Serve(msgspec.Struct, frozen=True):
    """Answer with a stored response; `now` is when that was decided."""

    stored: StoredResponse
    report: ExchangeReport
    now: float


class Unsatisfiable(msgspec.Struct, frozen=True):
    """Only the store might have answered, and cannot: 504."""

    report: ExchangeReport


class Failed(msgspec.Struct, frozen=True):
    """The upstream gave no head: 502 or 504. `report` is `None` where the client did not opt in."""

    report: ExchangeReport | None
    error: UpstreamError


class Unacceptable(msgspec.Struct, frozen=True):
    """The request's control header cannot be obeyed: 400."""

    report: ExchangeReport
    invalid: InvalidControl


Outcome = Serve | Relay | Unsatisfiable | Failed | Unacceptable
Script = Generator[Effect, Any, Outcome]
