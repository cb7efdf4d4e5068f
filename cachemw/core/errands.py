"""What a pulled exchange asks of its driver: one at a time, and each with its result or its failure."""

from collections.abc import Generator
from typing import Any

import msgspec

from cachemw.core.discreet import sizes_only
from cachemw.core.effects import Discard, GetOrder, Judge, Lookup, Name, Secret
from cachemw.core.messages import Head, Headers
from cachemw.core.pull import Landing
from cachemw.core.report import STORE_SLOW
from cachemw.core.transfer import Put
from cachemw.errors import CacheError, RecordRefused, StoreError, StoreTimeout


class Open(msgspec.Struct, frozen=True):
    """Begin the upstream's answer: sent `Opened`, or thrown `UpstreamError`. What may be `recorded` comes without coding.

    An HTTP upstream is sent the `rewritten` fields in the place of the caller's.
    """

    recorded: bool
    rewritten: Headers

    __repr__ = sizes_only


class Opened(msgspec.Struct, frozen=True):
    """Its head, and the time: seconds since the epoch."""

    head: Head
    now: float


class Read(msgspec.Struct, frozen=True):
    """Read on: sent `Came`, or thrown `UpstreamError`. Who can stop waiting does so after `within` seconds."""

    within: float | None


class Came(msgspec.Struct, frozen=True):
    """A chunk, `None` at the end, and the time: seconds since the epoch. `is_late`: nothing came `within` those seconds."""

    chunk: bytes | None
    now: float
    is_late: bool = False

    __repr__ = sizes_only


class Close(msgspec.Struct, frozen=True):
    """End the upstream's answer, wherever it is. May come twice, and before there is one."""


class Await(msgspec.Struct, frozen=True):
    """Wait so many seconds for what another request reads: sent `Waited`."""

    landing: Landing
    seconds: float


class Waited(msgspec.Struct, frozen=True):
    """How many seconds that took, whether it is over, and the time: seconds since the epoch."""

    seconds: float
    is_over: bool
    now: float


class Pause(msgspec.Struct, frozen=True):
    """Wait until so many seconds after the answer began."""

    until: float


# A `Put` is sent why a client cannot rely on it, `None` where it can.
Errand = Lookup | Judge | Secret | Name | Discard | GetOrder | Open | Read | Close | Put | Await | Pause
Errands = Generator[Errand, Any, Any]
Pieces = Generator[Errand | bytes, Any, None]


def attempt(errand: Errand) -> Errands:
    """Ask for one thing; return what was sent, or the failure."""
    try:
        return (yield errand)
    except CacheError as error:
        return error


def go_on(steps: Generator[Any, Any, Any], result: Any) -> Any:
    """Send a result, or throw a failure; return what is asked for next."""
    return steps.throw(result) if isinstance(result, CacheError) else steps.send(result)


def not_kept(error: StoreError) -> str:
    """Say why a client cannot rely on a record that a store did not take in time, or at all."""
    if isinstance(error, RecordRefused):
        return error.detail
    return STORE_SLOW if isinstance(error, StoreTimeout) else "store-failed"
