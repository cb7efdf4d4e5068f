"""Why a request was not answered from the store: the reasons there are, in the order in which they are looked for. Pure.

Names of parts only, never what they hold. Times are in milliseconds since the epoch, as in the ledger.
"""

from collections.abc import Iterable, Sequence
from typing import ClassVar

import msgspec

from cachemw.cache.differences import Difference, listed, shown
from cachemw.cache.sketch import HEADER, NAMESPACE, SAMPLE, URL
from cachemw.formats import lasting
from cachemw.ledger.meanings import meaning_of
from cachemw.ledger.row import Row
from cachemw.ledger.schema import MISSES
from cachemw.redaction import redacted_repr

_WAS = "was-"
_UNUSABLE = frozenset(
    "bad-record key-mismatch no-usage other-dialect other-kind partial-unfit store-slow store-unreadable".split()
)
"""The details of misses that say themselves why what is stored did not answer."""


class Expired(msgspec.Struct, frozen=True):
    """The time of its record was over, since `since_ms`, where that is known."""

    word: ClassVar[str] = "expired"
    since_ms: int | None = None

    __repr__ = redacted_repr


class Evicted(msgspec.Struct, frozen=True):
    """Its record was there at `seen_ms`, and was gone though nobody purged it: the store made room, or a route asked anew.

    Not `is_certain`: for how long it was to be kept is not known any more.
    """

    word: ClassVar[str] = "evicted"
    seen_ms: int
    is_certain: bool = True

    __repr__ = redacted_repr


class PurgedBefore(msgspec.Struct, frozen=True):
    """Its record was removed by a purge."""

    word: ClassVar[str] = "purged"
    purged_ms: int

    __repr__ = redacted_repr


class Unkept(msgspec.Struct, frozen=True):
    """The last answer to it was not kept, for this `detail`; `id` is of that exchange, where it is known."""

    word: ClassVar[str] = "not kept"
    detail: str
    id: str | None = None

    __repr__ = redacted_repr


class Unusable(msgspec.Struct, frozen=True):
    """What was stored could not answer, or could not be read: this `detail` says why."""

    word: ClassVar[str] = "unusable"
    detail: str

    __repr__ = redacted_repr


class OtherCaller(msgspec.Struct, frozen=True):
    """The very same was stored for another caller, whose code or name is `client`."""

    word: ClassVar[str] = "other-caller"
    client: str = ""

    __repr__ = redacted_repr


class OtherCircumstance(msgspec.Struct, frozen=True):
    """The same body was stored, in another namespace, for another URL, or with another header field: what differs."""

    names: tuple[str, ...]

    __repr__ = redacted_repr

    @property
    def word(self) -> str:
        """The first that differs."""
        first = min(self.names, key=lambda name: _FIRST.get(name, len(_FIRST)))
        return _OTHERS.get(first) or f"header {first.removeprefix(HEADER)}"


class OtherFields(msgspec.Struct, frozen=True):
    """Something similar is stored, from which it differs in these parts."""

    word: ClassVar[str] = "field"
    names: tuple[str, ...]

    __repr__ = redacted_repr


class NeverStored(msgspec.Struct, frozen=True):
    """Nothing like it was stored."""

    word: ClassVar[str] = "new"

    __repr__ = redacted_repr


class Unsketched(msgspec.Struct, frozen=True):
    """Nobody can say: no sketch was made of it, for what its `detail` says, if it has one."""

    word: ClassVar[str] = "unknown"
    detail: str | None = None

    __repr__ = redacted_repr


class NoMiss(msgspec.Struct, frozen=True):
    """It was no miss, but what `outcome` says, for this `detail`. `of` is the place of the exchange whose answer it read."""

    outcome: str
    detail: str | None = None
    of: int | None = None

    __repr__ = redacted_repr

    @property
    def word(self) -> str:
        """The outcome."""
        return self.outcome


Reason = (
    Expired
    | Evicted
    | PurgedBefore
    | Unkept
    | Unusable
    | OtherCaller
    | OtherCircumstance
    | OtherFields
    | NeverStored
    | Unsketched
    | NoMiss
)

_OTHERS = {NAMESPACE: "other-namespace", SAMPLE: "other-sample", URL: "other-url"}
_FIRST = {name: place for place, name in enumerate(_OTHERS)}
"""Which of several circumstances is the reason: the first of these."""

Purge = tuple[int, str]
"""A purge: when, and of which key, empty for all of them."""


def is_miss(row: Row) -> bool:
    """Say whether an exchange found nothing in the store that answers it."""
    return row.outcome in MISSES


def reason_in_row(row: Row) -> Reason | None:
    """Return what an exchange says of itself; `None` where others have to be looked at."""
    detail = row.detail or ""
    if not is_miss(row):
        return NoMiss(row.outcome, row.detail)
    if row.fwd == "stale":
        return Expired()
    if detail in _UNUSABLE:
        return Unusable(detail)
    return Unkept(detail.removeprefix(_WAS)) if detail.startswith(_WAS) else None


def reason_before(earlier: Iterable[Row], purges: Sequence[Purge], asked_ms: int) -> Reason | None:
    """Return what became of the last record of a key, by the exchanges of that key, newest first; `None` where none is told of.

    `purges` are those of this key, and of all.
    """
    refused: Unkept | None = None
    seen_ms: int | None = None
    for row in earlier:
        if row.ended_ms > asked_ms:  # it came later, and was written down before; or it was under way still
            continue
        if row.outcome in ("hit", "stale"):
            seen_ms = seen_ms or row.at_ms
        elif row.stored:
            return _became(row.ended_ms, max(seen_ms or 0, row.ended_ms), row.kept_ms, purges, asked_ms)
        elif row.stored == 0 and seen_ms is None and row.detail is not None:
            if row.fwd != "request":  # then there may have been a record that was not asked for
                return Unkept(row.detail, row.id)
            refused = refused or Unkept(row.detail, row.id)
    if seen_ms is not None:
        return _purged(purges, seen_ms, asked_ms) or Evicted(seen_ms, is_certain=False)
    return refused


def _became(kept_at_ms: int, seen_ms: int, kept_ms: int | None, purges: Sequence[Purge], asked_ms: int) -> Reason:
    purged = _purged(purges, seen_ms, asked_ms)
    if purged is not None:
        return purged
    if kept_ms is not None and kept_at_ms + kept_ms <= asked_ms:
        return Expired(kept_at_ms + kept_ms)
    return Evicted(seen_ms)


def _purged(purges: Sequence[Purge], seen_ms: int, asked_ms: int) -> PurgedBefore | None:
    times = [at_ms for at_ms, _ in purges if seen_ms <= at_ms <= asked_ms]
    return PurgedBefore(max(times)) if times else None


def reason_by(difference: Difference | None) -> Reason:
    """Return why a request was not answered that differs so from the nearest one that was stored."""
    if difference is None or not difference.is_telling:
        return NeverStored()
    if difference.circumstances and difference.circumstances == difference.names:
        return OtherCircumstance(difference.names)
    return OtherFields(difference.names or difference.unknown)


def sentence(reason: Reason, asked_ms: int) -> str:
    """Return a reason in plain words; times are told as how long before the request they were."""
    match reason:
        case Expired(since_ms):
            return "the time of its record was over" + ("" if since_ms is None else f", since {_before(since_ms, asked_ms)}")
        case Evicted(seen_ms, is_certain):
            gone = "the store had made room, or a refresh on a route had removed it"
            why = gone if is_certain else f"its time was over, {gone}"
            return f"its record was there {_before(seen_ms, asked_ms)}, and was gone: {why}"
        case PurgedBefore(purged_ms):
            return f"its record was purged {_before(purged_ms, asked_ms)}"
        case Unkept(detail):
            return f"the last answer to it was not kept: {_told(detail)}"
        case Unusable(detail):
            return f"what is stored could not answer: {_told(detail)}"
        case OtherCaller(client):
            whose = f" ({shown(client)})" if client else ""
            return f"the very same was stored for another caller{whose}: each has answers of its own"
        case OtherCircumstance(names):
            return f"the same body was stored, and this one differs in {listed(names)}"
        case OtherFields(names):
            return f"something similar was stored, and this one differs in {listed(names)}"
        case NeverStored():
            return "nothing like it was stored"
        case Unsketched(detail):
            why = "Policy(sketch=False), or the store had no secret to give" if detail is None else _told(detail)
            return f"nobody can say: no sketch was made of it ({why})"
        case NoMiss(outcome, detail, of):
            more = (f"; it read #{of}" if of else "") + (f" ({_told(detail)})" if detail else "")
            return f"it was no miss: {_OUTCOMES.get(outcome, outcome)}{more}"


_OUTCOMES = {
    "hit": "the answer came from the store",
    "stored": "a record answers it now",
    "stale": "a stale answer came from the store",
    "collapsed": "the answer is that of another identical request, which was under way",
    "refresh": "a fresh answer was asked for, so the store was not looked at, or what it had was too old",
    "bypass": "its answer could not be cached",
    "refused": "nobody was asked",
    "passed": "it did not opt in (`Cachemw: on`)",
}


def _told(detail: str) -> str:
    meaning = meaning_of(detail).removeprefix("not kept: ")
    return detail if meaning == detail else f"{detail}: {meaning}"


def _before(then_ms: int, asked_ms: int) -> str:
    return f"{lasting(max(0, asked_ms - then_ms) / 1000)} before"
