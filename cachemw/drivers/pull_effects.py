"""The effects that a pulled exchange asks of its driver, each with its result or its failure."""

from collections.abc import Generator
from typing import Any

import msgspec

from cachemw.cache.effects import (
    AskPartition,
    AskPlan,
    DeleteRecord,
    GetAccount,
    GetOrder,
    Lookup,
    LookupMany,
    ReadSecret,
    RunInThread,
)
from cachemw.cache.live_response import Put
from cachemw.cache.plans import Outbound
from cachemw.errors import CacheError
from cachemw.flights.pulled import PulledFlight
from cachemw.messages import Head
from cachemw.redaction import redacted_repr


class Open(msgspec.Struct, frozen=True):
    """Begin the upstream's answer: sent `OpenResult`, or thrown `UpstreamError`. What is `recorded` comes without coding."""

    recorded: bool
    outbound: Outbound

    __repr__ = redacted_repr


class OpenResult(msgspec.Struct, frozen=True):
    """Its head, and the time: seconds since the epoch."""

    head: Head
    now: float


class Read(msgspec.Struct, frozen=True):
    """Read on: sent `ReadResult`, or thrown `UpstreamError`. Who can stop waiting does so after `within` seconds."""

    within: float | None


class ReadResult(msgspec.Struct, frozen=True):
    """A chunk, `None` at the end, and the time: seconds since the epoch. `is_late`: nothing came `within` those seconds."""

    chunk: bytes | None
    now: float
    is_late: bool = False

    __repr__ = redacted_repr


class Close(msgspec.Struct, frozen=True):
    """End the upstream's answer, wherever it is. May come twice, and before there is one."""


class WaitFor(msgspec.Struct, frozen=True):
    """Wait so many seconds for the flight of another request: sent `WaitResult`."""

    flight: PulledFlight
    seconds: float


class WaitResult(msgspec.Struct, frozen=True):
    """The seconds that the wait took, whether the flight is over, and the time: seconds since the epoch."""

    seconds: float
    is_over: bool
    now: float


class SleepUntil(msgspec.Struct, frozen=True):
    """Wait until so many seconds after the answer began."""

    until: float


# A `Put` is sent why a client cannot rely on it, `None` where it can.
IoEffect = (
    Lookup
    | LookupMany
    | RunInThread
    | ReadSecret
    | AskPartition
    | DeleteRecord
    | GetOrder
    | GetAccount
    | AskPlan
    | Open
    | Read
    | Close
    | Put
    | WaitFor
    | SleepUntil
)
IoSteps = Generator[IoEffect, Any, Any]
Pieces = Generator[IoEffect | bytes, Any, None]


def attempt(effect: IoEffect) -> IoSteps:
    """Ask for one thing; return what was sent, or the failure."""
    try:
        return (yield effect)
    except CacheError as error:
        return error


def advance(steps: Generator[Any, Any, Any], result: Any) -> Any:
    """Send a result, or throw a failure; return what is asked for next."""
    return steps.throw(result) if isinstance(result, CacheError) else steps.send(result)
