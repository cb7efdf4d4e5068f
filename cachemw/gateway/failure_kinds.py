"""The kinds of failures of a target, and what each of them leads to: one table."""

from collections.abc import Mapping
from enum import Enum

import msgspec


class FailureKind(Enum):
    """The kinds of failures. The value is the word that clients are told in `tried`."""

    UNREACHABLE = "unreachable"
    SLOW = "slow"
    BROKEN = "broken"
    OVERLOAD = "overload"
    RATE = "rate"
    QUOTA = "quota"
    AUTH = "auth"
    NO_MODEL = "no-model"
    TOO_LARGE = "too-large"
    UNSUPPORTED = "unsupported"
    BAD_OUTPUT = "bad-output"
    REFUSED = "refused"
    BAD_REQUEST = "bad-request"

    __hash__ = object.__hash__  # there is one of each, and every failure looks one up

    @property
    def goes_on(self) -> bool:
        """Say whether another target may be asked in its place."""
        return TREATMENTS[self].goes_on

    @property
    def is_transient(self) -> bool:
        """Say whether the same request may succeed in a while, with nothing changed."""
        return TREATMENTS[self].is_transient


class ScopeKind(Enum):
    """What a failure is about: a key, a key with one model, or a model of a provider with every key."""

    KEY = "key"
    KEY_MODEL = "key-model"
    PROVIDER_MODEL = "provider-model"

    __hash__ = object.__hash__


class SameAgain(Enum):
    """When the same target may be asked the same again: once, and only where no other candidate is ready."""

    NEVER = "never"
    AT_ONCE = "at once, over a new connection"
    IF_QUICK = "if it failed within a second"
    SOON = "after a moment"
    IF_HINTED = "after as long as it says, if that is no more than two seconds"


class Cools(Enum):
    """When failures of a kind cool what they are about. One that comes with a hint does so at once."""

    NEVER = "never"
    AT_ONCE = "at once"
    IN_A_ROW = "three in a row, or at least half of at least five in 30 seconds"
    BY_RATE = "at least half of at least five in 30 seconds"


class Treatment(msgspec.Struct, frozen=True):
    """What a kind of failure leads to. A cooldown takes `first` seconds, twice as long with every strike, and at most `cap`."""

    goes_on: bool
    repeats: SameAgain = SameAgain.NEVER
    cools: Cools = Cools.NEVER
    scope: ScopeKind | None = None
    first: float = 0.0
    cap: float = 0.0
    is_transient: bool = False


_MODEL = ScopeKind.PROVIDER_MODEL

TREATMENTS: Mapping[FailureKind, Treatment] = {
    FailureKind.UNREACHABLE: Treatment(True, SameAgain.AT_ONCE, Cools.AT_ONCE, _MODEL, 5.0, 60.0, is_transient=True),
    FailureKind.SLOW: Treatment(True, SameAgain.NEVER, Cools.BY_RATE, _MODEL, 10.0, 60.0, is_transient=True),
    FailureKind.BROKEN: Treatment(True, SameAgain.IF_QUICK, Cools.IN_A_ROW, _MODEL, 5.0, 60.0, is_transient=True),
    FailureKind.OVERLOAD: Treatment(True, SameAgain.SOON, Cools.AT_ONCE, _MODEL, 5.0, 60.0, is_transient=True),
    FailureKind.RATE: Treatment(True, SameAgain.IF_HINTED, Cools.AT_ONCE, ScopeKind.KEY_MODEL, 5.0, 60.0, is_transient=True),
    FailureKind.QUOTA: Treatment(True, SameAgain.NEVER, Cools.AT_ONCE, ScopeKind.KEY, 300.0, 3600.0),
    FailureKind.AUTH: Treatment(True, SameAgain.NEVER, Cools.AT_ONCE, ScopeKind.KEY, 300.0, 300.0),
    FailureKind.NO_MODEL: Treatment(True, SameAgain.NEVER, Cools.AT_ONCE, _MODEL, 600.0, 600.0),
    FailureKind.TOO_LARGE: Treatment(True),
    FailureKind.UNSUPPORTED: Treatment(True),
    FailureKind.BAD_OUTPUT: Treatment(True, SameAgain.NEVER, Cools.BY_RATE, _MODEL, 5.0, 60.0, is_transient=True),
    FailureKind.REFUSED: Treatment(False),
    FailureKind.BAD_REQUEST: Treatment(False),
}


class Failure(msgspec.Struct, frozen=True):
    """The failure of an attempt: of which kind, and with which status, where there was a response.

    `hint` is in how many seconds the target says that it may be asked again. `scope` is what is cooled, by the treatment of the
    kind; `None`: nothing. Unless it `may_repeat`, the same is never asked of the same target again.
    """

    kind: FailureKind
    status: int | None = None
    hint: float | None = None
    scope: ScopeKind | None = None
    may_repeat: bool = False


_QUICK = 1.0
_LONGEST_WAIT = 2.0
_MOMENT = 0.5


def wait_to_repeat(failure: Failure, took: float) -> float | None:
    """Return after how many seconds the same may be asked of a target that failed so, after `took` seconds; `None`: never."""
    repeats = TREATMENTS[failure.kind].repeats if failure.may_repeat else SameAgain.NEVER
    if failure.hint is not None and failure.hint > _LONGEST_WAIT:
        return None
    if repeats is SameAgain.AT_ONCE or repeats is SameAgain.IF_QUICK and took < _QUICK:
        return failure.hint or 0.0
    if repeats is SameAgain.SOON:
        return failure.hint or _MOMENT
    return failure.hint if repeats is SameAgain.IF_HINTED else None
