"""Read exchanges out of a ledger: the newest, those that are new, and one by its name."""

from collections.abc import Sequence

from cachemw.errors import CommandError
from cachemw.ledger.reader import LedgerReader
from cachemw.ledger.row import Row
from cachemw.ledger.schema import DETAILS, ENDLESS, KEEPABLE, MISSES, NOT_WRITTEN, listed, quoted

Condition = tuple[str, Sequence[object]]
"""What rows are looked for: an expression of SQL over the columns of `exchanges`, and the values of its question marks."""

EVERY: Condition = ("1", ())
"""The condition that every row meets."""

ANY_MISS: Condition = (f"outcome IN ({quoted(MISSES)})", ())
"""The condition that the exchanges meet of which nothing in the store was the answer."""

_COLUMNS = listed(("place", *DETAILS))
_ROWS = f"SELECT {_COLUMNS} FROM exchanges WHERE place < ? AND ({{}}) ORDER BY place DESC LIMIT ?"  # noqa: S608 - of constants
_ROWS_AFTER = f"SELECT {_COLUMNS} FROM exchanges WHERE place > ? AND place <= ? AND ({{}}) ORDER BY place LIMIT ?"  # noqa: S608
_LAST_PLACE = "SELECT max(place) FROM exchanges"
_LEADER = (
    "SELECT place FROM exchanges WHERE place BETWEEN ?1 - ?2 AND ?1 + ?2 AND key = ?3"  # noqa: S608 - of constants
    f" AND outcome IN ({quoted(KEEPABLE)}) ORDER BY abs(place - ?1) LIMIT 1"
)
_NOT_KEPT = (
    f"SELECT detail, sum(count) FROM exchanges WHERE stored = 0 AND outcome IN ({quoted(KEEPABLE)}) AND at_ms >= ?"  # noqa: S608
    " GROUP BY 1 ORDER BY 2 DESC, 1"
)
_DROPS = "SELECT sum(count) FROM minutes WHERE outcome = ? AND minute >= ?"
_ID_CHARACTERS = 16
_NEARBY = 500
"""How many exchanges may end between one and the one whose answer it read."""


def rows(reader: LedgerReader, where: Condition = EVERY, *, limit: int = 50, before: int | None = None) -> list[Row]:
    """Return the newest exchanges that meet a condition, newest first, `before` a place. Raises `BookError`."""
    values = (ENDLESS if before is None else before, *where[1], min(limit, ENDLESS))
    return [Row(*found) for found in reader.query(_ROWS.format(where[0]), values)]


def row_of(reader: LedgerReader, name: str) -> Row | None:
    """Return the exchange of an id, of the beginning of one, or of a place; `None` where there is none.

    Raises `CommandError` for a beginning that several have.
    """
    if not name.isascii() or not 0 < len(name) <= _ID_CHARACTERS:
        return None
    if name.isdigit() and len(name) < _ID_CHARACTERS and not name.startswith("0"):  # no id begins so before the year 2248
        found = rows(reader, ("place = ?", (int(name),)), limit=1)
    else:
        found = rows(reader, ("substr(id, 1, ?) = ?", (len(name), name.lower())), limit=2)
    if len(found) > 1:
        raise CommandError(f"several exchanges have an id that begins with {name!r}: give more of it")
    return found[0] if found else None


def last_place(reader: LedgerReader) -> int:
    """Return the place of the newest exchange; 0 where there is none. Raises `BookError`."""
    found = reader.query(_LAST_PLACE)
    return (found[0][0] or 0) if found else 0


def leader_of(reader: LedgerReader, row: Row) -> int | None:
    """Return the place of the exchange whose answer a collapsed one read, as far as the ledger has it. Raises `BookError`."""
    found = reader.query(_LEADER, (row.place, _NEARBY, row.key)) if row.outcome == "collapsed" and row.key else []
    return found[0][0] if found else None


def drops(reader: LedgerReader, since: float | None = None) -> int:
    """Return how many exchanges could not be written down: views of that span say "at least". Raises `BookError`."""
    found = reader.query(_DROPS, (NOT_WRITTEN, 0 if since is None else int(since) // 60))
    return (found[0][0] or 0) if found else 0


def not_kept(reader: LedgerReader, since: float | None = None) -> dict[str, int]:
    """Return how many answers were not kept, by the detail that says why, as far as exchanges are kept one by one.

    Raises `BookError`.
    """
    found = reader.query(_NOT_KEPT, (0 if since is None else int(since * 1000),))
    return {detail or "": count for detail, count in found}


class Tail:
    """The exchanges that come, each once, in order: those after a place, and all of a ledger that takes another's."""

    def __init__(self, reader: LedgerReader, where: Condition = EVERY, *, after: int | None = None) -> None:
        self._reader, self._where = reader, where
        last = last_place(reader)
        self.place = last if after is None else after
        self._openings = reader.openings

    def rows(self, limit: int) -> list[Row]:
        """Return the next ones, oldest first; none where there are none yet. Raises `BookError`."""
        last = last_place(self._reader)
        if self._reader.openings != self._openings or last < self.place:
            self._openings, self.place = self._reader.openings, 0
        if last == self.place:
            return []
        values = (self.place, last, *self._where[1], limit)
        found = [Row(*row) for row in self._reader.query(_ROWS_AFTER.format(self._where[0]), values)]
        self.place = found[-1].place if len(found) == limit else last
        return found
