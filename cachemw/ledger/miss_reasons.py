"""Say of many exchanges, one after another, why each was not answered from the store: by those that came before it."""

from collections import Counter, defaultdict, deque

import msgspec

from cachemw.cache.differences import Difference
from cachemw.cache.sketch import Sketch, read_sketch
from cachemw.ledger.candidates import Candidate, Candidates
from cachemw.ledger.purges import purges_of
from cachemw.ledger.reader import LedgerReader
from cachemw.ledger.reading import ANY_MISS, leader_of, rows
from cachemw.ledger.reasons import (
    NeverStored,
    NoMiss,
    OtherCaller,
    OtherFields,
    Reason,
    Unsketched,
    reason_before,
    reason_by,
    reason_in_row,
)
from cachemw.ledger.row import Row
from cachemw.redaction import redacted_repr

LOOKED_BACK = 2_000
"""How many exchanges before one are looked at that has not been asked for the reason: what came before is not known here."""

FIELDS = "fields"
"""The word for a miss that differs in several parts from what is stored."""

_REMEMBERED = 10_000
"""How many stored answers are compared with; beyond that it begins anew with the newest."""

_OF_ONE_KEY = 20


class ToldReason(msgspec.Struct, frozen=True):
    """A reason, and the key of the `nearest` of what was stored, where it differs from that.

    `read` is the place of the exchange whose answer it read.
    """

    reason: Reason
    nearest: str | None = None
    read: int | None = None

    __repr__ = redacted_repr


class MissReasons:
    """The reasons of exchanges, asked for in the order of their places. All that came between them is read, too."""

    def __init__(self, reader: LedgerReader) -> None:
        self._reader = reader
        self._forget()

    def of(self, row: Row) -> ToldReason:
        """Return why an exchange was not answered from the store, by what came before it. Raises `BookError`."""
        if row.place <= self._place or self._stored >= _REMEMBERED:  # it is another ledger's, or there are too many
            self._forget()
        self.catch_up(row.place)
        sketch = None if row.sketch is None else read_sketch(row.sketch)
        told = self._told(row, sketch)
        self._note(row, sketch)
        return told

    def catch_up(self, place: int) -> None:
        """Read what came before a place, as far as it is not known yet. Raises `BookError`."""
        if place > self._place + 1:
            between = rows(self._reader, ("place > ?", (self._place,)), limit=LOOKED_BACK, before=place)
            for other in reversed(between):
                self._note(other, None if other.sketch is None or not other.stored else read_sketch(other.sketch))

    def _forget(self) -> None:
        self._place = self._stored = 0
        self._candidates = Candidates()
        self._earlier: defaultdict[str, deque[Row]] = defaultdict(lambda: deque(maxlen=_OF_ONE_KEY))

    def _note(self, row: Row, sketch: Sketch | None) -> None:
        self._place = row.place
        if row.key is None:
            return
        self._earlier[row.key].appendleft(row)
        if row.stored and sketch is not None:
            self._stored += 1
            self._candidates.add(sketch, Candidate(row.key, row.ended_ms, row.client, row.id))

    def _told(self, row: Row, sketch: Sketch | None) -> ToldReason:
        said = reason_in_row(row)
        if said is not None:
            return ToldReason(said, read=leader_of(self._reader, row) if isinstance(said, NoMiss) else None)
        earlier = None if row.key is None else self._became(row.key, row.at_ms)
        if earlier is not None or sketch is None:
            return ToldReason(earlier or Unsketched())
        return self._by_sketch(sketch)

    def _became(self, key: str, asked_ms: int) -> Reason | None:
        earlier = self._earlier.get(key)
        return None if earlier is None else reason_before(earlier, purges_of(self._reader, key), asked_ms)

    def _by_sketch(self, sketch: Sketch) -> ToldReason:
        other = self._candidates.same_for_another(sketch)
        if other is not None:
            return ToldReason(OtherCaller(other.client), other.key)
        nearest: tuple[Candidate, Difference] | None = self._candidates.nearest(sketch)
        if nearest is None:
            return ToldReason(NeverStored())
        reason = reason_by(nearest[1])
        return ToldReason(reason, None if isinstance(reason, NeverStored) else nearest[0].key)


class ReasonCounts(msgspec.Struct, frozen=True):
    """How often each reason was that of a miss, the most frequent first, of the newest `looked_at` of a span.

    `parts` are those that differed where nothing else did, by name.
    """

    looked_at: int
    reasons: dict[str, int]
    parts: dict[str, int]

    __repr__ = redacted_repr


def count_reasons(reader: LedgerReader, since: float | None = None, *, most: int = 250) -> ReasonCounts:
    """Count why the newest misses of a span were not answered from the store; at `most` so many. Raises `BookError`."""
    start = 0 if since is None else int(since * 1000)
    found = rows(reader, (f"{ANY_MISS[0]} AND at_ms >= ?", (start,)), limit=most)
    counts, parts, reasons = Counter[str](), Counter[str](), MissReasons(reader)
    for row in reversed(found):
        reason = reasons.of(row).reason
        counts[FIELDS if isinstance(reason, OtherFields) and len(reason.names) > 1 else reason.word] += row.count
        if isinstance(reason, OtherFields) and len(reason.names) == 1:
            parts[reason.names[0]] += row.count
    return ReasonCounts(counts.total(), dict(counts.most_common()), dict(parts.most_common()))
