"""Sum up what the minutes of a ledger have: requests, tokens, money and time, by what they are told apart by."""

from collections.abc import Iterable, Sequence
from enum import StrEnum
from functools import reduce

import msgspec
from msgspec.structs import replace

from cachemw.ledger.reader import LedgerReader
from cachemw.ledger.schema import ANSWERED_HERE, BOUGHT, ENDLESS, LATENCIES, NOT_WRITTEN, listed, quoted
from cachemw.redaction import redacted_repr

_DAY, _HOUR = 24 * 60, 60
_MINUTES_KNOWN = 2 * _DAY
_COUNTS = {
    "hit": "hits",
    "stale": "stale",
    "collapsed": "collapsed",
    "miss": "misses",
    "refresh": "refreshes",
    "bypass": "bypasses",
    "not_cached": "not_cached",
    "refused": "refused",
    "passed": "passed",
}
"""The count of each outcome, by the field of `Sums` that it is in."""


class SumsBy(StrEnum):
    """What figures are told apart by; days and hours are those of UTC."""

    CLIENT = "client"
    TARGET = "target"
    MODEL = "model"
    ROUTE = "route"
    ENDPOINT = "endpoint"
    OUTCOME = "outcome"
    DAY = "day"
    HOUR = "hour"


By = SumsBy | int
"""What figures are told apart by, or by spans of so many minutes."""

_LENGTHS = {SumsBy.DAY: _DAY, SumsBy.HOUR: _HOUR}


class Sums(msgspec.Struct, frozen=True):
    """What is known of the exchanges that have one name: counts, also by outcome, tokens, nano-dollars, milliseconds.

    `input_tokens`, `output_tokens` and the `cached_tokens` of the provider are those that upstreams were asked for and bill;
    the saved ones are of answers from here. `unpriced` are answers of which nobody knows the cost, `least` those that may have
    cost more, `estimated` those whose cost is by their sizes or by a list of prices, `dropped` exchanges that the ledger could
    not write. Where it `is_incomplete`, some of those may be of this name.
    """

    name: str
    requests: int = 0
    hits: int = 0
    stale: int = 0
    collapsed: int = 0
    misses: int = 0
    refreshes: int = 0
    bypasses: int = 0
    not_cached: int = 0
    refused: int = 0
    passed: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0
    saved_input_tokens: int = 0
    saved_output_tokens: int = 0
    spent: int = 0
    saved: int = 0
    ms_saved: int = 0
    unpriced: int = 0
    least: int = 0
    estimated: int = 0
    dropped: int = 0
    is_incomplete: bool = False

    __repr__ = redacted_repr

    @property
    def answered_here(self) -> int:
        """How many were answered without an upstream being asked for them."""
        return self.hits + self.stale + self.collapsed

    @property
    def tokens(self) -> int:
        """The tokens that are billed."""
        return self.input_tokens + self.output_tokens

    @property
    def saved_tokens(self) -> int:
        """The tokens of answers from here."""
        return self.saved_input_tokens + self.saved_output_tokens

    @property
    def is_least(self) -> bool:
        """Say whether more may have been spent."""
        return bool(self.unpriced or self.least or self.dropped or self.is_incomplete)


class Use(msgspec.Struct, frozen=True):
    """The tokens of answers that nobody has put a price on: bought ones, of which there are `count`, or those from here."""

    name: str
    target: str
    model: str
    is_bought: bool
    count: int
    input_tokens: int
    output_tokens: int
    cached_tokens: int

    __repr__ = redacted_repr


_COUNTED = tuple(name for name in Sums.__struct_fields__ if name not in ("name", "is_incomplete"))
_SUMMED = ("count", "input_tokens", "output_tokens", "cached_tokens", "spent", "saved", "ms_saved")
_DOUBTS = ("unpriced", "at_least", "estimated")
_SUMS_BY = (
    f"SELECT {{by}}, outcome, {listed(f'sum({column})' for column in (*_SUMMED, *_DOUBTS))}"  # noqa: S608 - of constants
    " FROM minutes WHERE minute >= ? AND minute < ? GROUP BY 1, 2"
)
_LATENCIES_OF = (
    f"SELECT outcome, {listed(f'sum({bucket})' for bucket in LATENCIES)}"  # noqa: S608 - of constants
    " FROM minutes WHERE minute >= ? AND minute < ? GROUP BY 1"
)
_USES_BY = (
    f"SELECT {{by}}, target, model, outcome IN ({quoted(BOUGHT)}), sum(count),"  # noqa: S608
    " sum(input_tokens), sum(output_tokens), sum(cached_tokens) FROM minutes WHERE minute >= ? AND minute < ?"
    f" AND (unpriced = count OR saved = 0 AND outcome IN ({quoted(ANSWERED_HERE)}))"
    " GROUP BY 1, 2, 3, 4"
)


def span_start(now: float, seconds: float) -> float:
    """Return when the span of the last so many seconds begins: with a whole hour where only hours are known."""
    seconds = min(seconds, now)  # all time there is
    return (now - seconds) // 3600 * 3600 if seconds > _MINUTES_KNOWN * 60 else now - seconds


def sums(reader: LedgerReader, by: By, since: float | None = None, until: float | None = None) -> list[Sums]:
    """Return the sums by name, the dearest first, and spans of time in order. Raises `BookError`.

    `since` and `until` are in seconds since the epoch, and count by the minute. A name is empty where there is none; that of a
    span of time is the number of seconds at which it begins.
    """
    found: dict[str, Sums] = {}
    for name, outcome, *numbers in reader.query(_SUMS_BY.format(by=_name(by)), _span(since, until)):
        summed = _of_outcome(str(name), outcome, numbers)
        found[summed.name] = _added(found[summed.name], summed) if summed.name in found else summed
    has_drops = _length(by) is None and any(summed.dropped for summed in found.values())
    return in_order((replace(summed, is_incomplete=has_drops) for summed in found.values()), by)


def in_order(found: Iterable[Sums], by: By) -> list[Sums]:
    """Return the dearest first, and spans of time in order."""
    if _length(by) is not None:
        return sorted(found, key=lambda summed: int(summed.name))
    return sorted(found, key=lambda summed: (-summed.spent, -summed.requests, summed.name))


def uses(reader: LedgerReader, by: By, since: float | None = None, until: float | None = None) -> list[Use]:
    """Return what there is by name, target and model whose cost, or whose saving, the ledger does not know."""
    query = _USES_BY.format(by=_name(by))
    return [Use(str(name), *row) for name, *row in reader.query(query, _span(since, until))]


def filled(found: Iterable[Sums], step: int, since: float, until: float) -> list[Sums]:
    """Return sums by spans of `step` minutes with those in which nothing was, in order."""
    by_name = {summed.name: summed for summed in found}
    begins = range(int(since) // (step * 60) * step * 60, int(until) + 1, step * 60)
    return [by_name.get(str(begin)) or Sums(str(begin)) for begin in begins]


def latencies(reader: LedgerReader, since: float | None = None, until: float | None = None) -> dict[str, tuple[int, ...]]:
    """Return by outcome how many exchanges ended within the bounds of each of the `LATENCIES`. Raises `BookError`."""
    return {row[0]: row[1:] for row in reader.query(_LATENCIES_OF, _span(since, until)) if row[0] != NOT_WRITTEN}


def in_all(every: Iterable[Sums], name: str = "in all") -> Sums:
    """Return the sum of all of these."""
    return reduce(_added, every, Sums(name))


def quantile(counts: Sequence[int], share: float) -> float | None:
    """Return the milliseconds within which this share of exchanges ended, by their `latencies`; `None` where there are none.

    Within a bucket they are taken to be spread evenly; what is in the last one took at least that.
    """
    rank, below = sum(counts) * share, 0
    for power, count in enumerate(counts):
        if count and below + count >= rank:
            lower, upper = (2 ** (power - 1) if power else 0), 2 ** min(power, len(counts) - 2)
            return float(lower + (upper - lower) * (rank - below) / count)
        below += count
    return None


def _length(by: By) -> int | None:
    return by if isinstance(by, int) else _LENGTHS.get(by)


def _name(by: By) -> str:
    """Return the expression of SQL whose values are the names."""
    length = _length(by)
    return str(by) if length is None else f"minute / {length} * {length * 60}"


def _span(since: float | None, until: float | None) -> tuple[int, int]:
    """Return the first minute of a span, and the first after it."""
    return 0 if since is None else int(since) // 60, ENDLESS if until is None else int(until) // 60 + 1


def _of_outcome(name: str, outcome: str, numbers: Sequence[int]) -> Sums:
    """Return the sums of what has one outcome."""
    count, asked, written, cached, spent, saved, ms_saved, unpriced, least, estimated = numbers
    if outcome not in _COUNTS:
        return Sums(name, dropped=count)
    summed = Sums(name, count, spent=spent, saved=saved, ms_saved=ms_saved, unpriced=unpriced, least=least, estimated=estimated)
    told = {_COUNTS[outcome]: count}
    if outcome in BOUGHT:
        return replace(summed, input_tokens=asked, output_tokens=written, cached_tokens=cached, **told)
    if outcome in ANSWERED_HERE:
        return replace(summed, saved_input_tokens=asked, saved_output_tokens=written, **told)
    return replace(summed, **told)


def _added(one: Sums, other: Sums) -> Sums:
    numbers = {name: getattr(one, name) + getattr(other, name) for name in _COUNTED}
    return replace(one, is_incomplete=one.is_incomplete or other.is_incomplete, **numbers)
