"""The answers that were stored, each by its sketch: as far back as the ledger goes, or as there are records."""

from collections.abc import Iterable, Mapping, Sequence

import msgspec

from cachemw.cache.differences import Difference, compare
from cachemw.cache.nearest import NEWEST, SketchIndex
from cachemw.cache.sketch import Sketch, read_sketch
from cachemw.ledger.reader import LedgerReader
from cachemw.ledger.schema import MISSES
from cachemw.redaction import redacted_repr
from cachemw.stores.recorded import RecordSketch

HABITUAL = 250
"""How many of a caller's last misses are compared with what was stored before each."""

Differences = Mapping[bytes, list[Difference]]
"""In what requests differed from the nearest of what was stored, by the codes of their callers."""

_SKETCHED = (
    "SELECT at_ms + coalesce(total_ms, 0), id, key, client, coalesce(stored, 0), outcome, sketch FROM exchanges"
    " WHERE sketch IS NOT NULL AND place < ? ORDER BY place DESC LIMIT ?"
)


class Candidate(msgspec.Struct, frozen=True):
    """An answer that was stored: its key, when, in milliseconds since the epoch, for which client, and in which exchange."""

    key: str
    stored_ms: int
    client: str = ""
    id: str | None = None

    __repr__ = redacted_repr


class SketchedRow(msgspec.Struct, frozen=True):
    """An exchange of which the ledger has a sketch: a miss, whoever's forward it read, or a refresh."""

    candidate: Candidate
    sketch: Sketch
    is_stored: bool
    is_miss: bool

    __repr__ = redacted_repr


class Candidates:
    """Answers that were stored, found by their sketches."""

    def __init__(self) -> None:
        self._index, self._found = SketchIndex(), list[Candidate]()
        self.keys = set[str]()

    def add(self, sketch: Sketch, candidate: Candidate) -> None:
        """Take in one that was stored after all others."""
        self._index.add(sketch)
        self._found.append(candidate)
        self.keys.add(candidate.key)

    def nearest(self, sketch: Sketch) -> tuple[Candidate, Difference] | None:
        """Return the one that differs the least, and in what; `None` where none shares anything."""
        place = self._index.nearest(sketch)
        return None if place is None else (self._found[place], compare(sketch, self._index[place]))

    def same_for_another(self, sketch: Sketch) -> Candidate | None:
        """Return the one that is the same in all but its caller; `None` where there is none."""
        place = self._index.same_for_anybody(sketch) if sketch.whole else None
        is_anothers = place is not None and self._index[place].caller != sketch.caller
        return self._found[place] if place is not None and is_anothers else None

    def same_body(self, sketch: Sketch) -> Candidate | None:
        """Return the last one of this body, whoever asked for it, and where; `None` where there is none."""
        place = self._index.same_body(sketch.body)
        return None if place is None else self._found[place]


def sketched_rows(reader: LedgerReader, before: int) -> list[SketchedRow]:
    """Return the newest exchanges before this place of which there is a sketch, oldest first. Raises `BookError`."""
    found = reader.query(_SKETCHED, (before, NEWEST))
    return [
        SketchedRow(Candidate(key or "", at_ms, client, id_), sketch, bool(stored), outcome in MISSES)
        for at_ms, id_, key, client, stored, outcome, encoded in reversed(found)
        if (sketch := read_sketch(encoded)) is not None
    ]


def candidates_of(found: Sequence[SketchedRow], callers: frozenset[bytes]) -> tuple[Candidates, Differences]:
    """Return the answers that were stored, and in what the last misses of each caller differed from what was stored before."""
    candidates, differences = Candidates(), {caller: list[Difference]() for caller in callers}
    habitual = frozenset(place for caller in callers for place in _misses_of(found, caller)[-HABITUAL:])
    for place, row in enumerate(found):
        if place in habitual and (nearest := candidates.nearest(row.sketch)) is not None:
            differences[row.sketch.caller].append(nearest[1])
        if row.is_stored:
            candidates.add(row.sketch, row.candidate)
    return candidates, differences


def _misses_of(found: Sequence[SketchedRow], caller: bytes) -> list[int]:
    return [place for place, row in enumerate(found) if row.is_miss and row.sketch.caller == caller]


def add_records(candidates: Candidates, records: Iterable[RecordSketch]) -> None:
    """Take in what these records hold, as far as it is not known yet."""
    for record in records:
        if (key := record.index.hex()) not in candidates.keys:
            candidates.add(record.sketch, Candidate(key, int(record.stored_at * 1000)))
