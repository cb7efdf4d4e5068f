"""The demand for stored records: how often keys were asked for, as far as the ledger has it."""

from collections.abc import Container

import msgspec

from cachemw.ledger.reader import LedgerReader
from cachemw.ledger.schema import ANSWERED_HERE, quoted
from cachemw.redaction import redacted_repr

_SUMS = f"sum(count), sum((outcome IN ({quoted(ANSWERED_HERE)})) * count), max(at_ms)"
_BY_KEY = f"SELECT key, {_SUMS} FROM exchanges WHERE at_ms >= ? AND key IS NOT NULL GROUP BY key"  # noqa: S608 - of constants
_OF_KEY = f"SELECT key, {_SUMS} FROM exchanges WHERE at_ms >= ? AND key = ? GROUP BY key"  # noqa: S608 - of constants
_FIRST = "SELECT place, at_ms FROM exchanges ORDER BY place LIMIT 1"


class Demand(msgspec.Struct, frozen=True):
    """How often keys were asked for, how often of these they were answered here, and when last, in seconds since the epoch.

    It may have been more where that `is_least`: the ledger keeps so many exchanges one by one, and no more.
    """

    asked: int
    answered_here: int
    last_at: float | None
    is_least: bool

    __repr__ = redacted_repr

    @property
    def words(self) -> str:
        """How often, in words."""
        return f"{'at least ' if self.is_least else ''}{self.asked:,} time{'' if self.asked == 1 else 's'}"


def demand_for(reader: LedgerReader, keys: Container[str], since: float = 0.0) -> Demand | None:
    """Return how often any of these keys was asked for since a time; `None` where there is no ledger. Raises `BookError`."""
    return _summed(reader, [row for row in reader.query(_BY_KEY, (_ms(since),)) if row[0] in keys], since)


def demand_of(reader: LedgerReader, key: str) -> Demand | None:
    """Return how often a key was asked for; `None` where there is no ledger. Raises `BookError`."""
    return _summed(reader, reader.query(_OF_KEY, (0, key)), 0.0)


def _summed(reader: LedgerReader, rows: list[tuple[str, int, int, int]], since: float) -> Demand | None:
    first = reader.query(_FIRST)
    if not first:
        return None
    last = max((at_ms / 1000 for *_, at_ms in rows), default=None)
    has_forgotten = first[0][0] > 1 and first[0][1] >= _ms(since)
    return Demand(sum(row[1] for row in rows), sum(row[2] for row in rows), last, has_forgotten)


def _ms(seconds: float) -> int:
    return int(seconds * 1000)
