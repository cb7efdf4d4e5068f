"""Explain why a request was not answered from the store: by the ledger, and by the records where there is no ledger."""

from collections.abc import Callable, Sequence
from contextlib import suppress

import msgspec
from msgspec.structs import replace

from cachemw.cache import record as codec
from cachemw.cache.differences import Difference, compare
from cachemw.cache.freshness import is_fresh
from cachemw.cache.key import index_beside
from cachemw.cache.sketch import Sketch, read_sketch
from cachemw.errors import CommandError, RecordError
from cachemw.ledger.candidates import Candidate, Candidates, Differences, add_records, candidates_of, sketched_rows
from cachemw.ledger.changes import Change, changes_between
from cachemw.ledger.habits import Habit, habit_of
from cachemw.ledger.purges import purges_of
from cachemw.ledger.reader import LedgerReader
from cachemw.ledger.reading import leader_of, rows
from cachemw.ledger.reasons import (
    Expired,
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
from cachemw.ledger.schema import ENDLESS
from cachemw.messages import Kind, StoredResponse
from cachemw.redaction import redacted_repr
from cachemw.stores.base import Store
from cachemw.stores.recorded import recorded, sketch_in

STORED_NOW = "stored"
"""The outcome of a question that the store answers now."""

_HISTORY = 1000
"""How many exchanges of one key are looked at."""


class Neighbour(msgspec.Struct, frozen=True):
    """The nearest of what was stored, and in what a request differs from it.

    `changes` has the values, where both requests were kept; `None` where they were not.
    """

    candidate: Candidate
    difference: Difference
    changes: tuple[Change, ...] | None = None

    __repr__ = redacted_repr


class Explanation(msgspec.Struct, frozen=True):
    """Why a request was not answered from the store, or would not be now.

    `asked_ms` is when, in milliseconds since the epoch; `row` is its exchange, where it is about one. `is_stored`: the store
    would answer it now.
    """

    key: str | None
    asked_ms: int
    reason: Reason
    is_stored: bool = False
    row: Row | None = None
    nearest: Neighbour | None = None
    habit: Habit | None = None

    __repr__ = redacted_repr


class Explainer:
    """Explains by one ledger, and by the store beside it. `clock` says the time, in seconds since the epoch.

    Its methods raise `BookError`, `StoreError`, and `CommandError` where nothing is known of what was asked for.
    """

    def __init__(self, reader: LedgerReader, store: Store, clock: Callable[[], float]) -> None:
        self._reader, self._store, self._clock = reader, store, clock

    def of_row(self, row: Row, against: str | None = None) -> Explanation:
        """Explain an exchange, by what was stored when it came; or say in what it differs from that of the key `against`."""
        explained = Explanation(row.key, row.at_ms, Unsketched(), self._is_stored(row.key), row)
        sketch = None if row.sketch is None else read_sketch(row.sketch)
        if against is not None:
            return self._compared(explained, sketch, against)
        said = reason_in_row(row)
        if isinstance(said, NoMiss):
            return replace(explained, reason=replace(said, of=leader_of(self._reader, row)))
        earlier = said or self._reason_before(row.key, row.place, row.at_ms)
        if earlier is not None or sketch is None:
            return replace(explained, reason=earlier or Unsketched(row.detail))
        return self._by_sketch(explained, sketch, row.place)

    def of_key(self, key: str, against: str | None = None) -> Explanation:
        """Explain why a key has no answer now, if it has none."""
        now = self._clock()
        explained = Explanation(key, int(now * 1000), NoMiss(STORED_NOW))
        if against is not None:
            return self._compared(replace(explained, is_stored=self._is_stored(key)), self._sketch_of(key), against)
        stored = self._stored(key)
        if stored is not None and is_fresh(stored, now):
            return replace(explained, is_stored=True)
        if stored is not None:
            return replace(explained, reason=Expired(int((stored.stored_at + stored.lifetime) * 1000)))
        if (earlier := self._reason_before(key, ENDLESS, explained.asked_ms)) is not None:
            return replace(explained, reason=earlier)
        sketch = self._sketch_of(key)
        if sketch is None:
            raise CommandError(f"no record has the key {key}, and the ledger knows nothing of it")
        return self._by_sketch(explained, sketch, ENDLESS)

    def of_request(self, sketches: Sequence[Sketch], body: bytes) -> Explanation:
        """Explain what becomes of a body that is asked for now: `sketches` are those it would have, each for another caller."""
        explained = Explanation(None, int(self._clock() * 1000), NoMiss(STORED_NOW))
        callers = frozenset(sketch.caller for sketch in sketches)
        candidates, differences = candidates_of(sketched_rows(self._reader, ENDLESS), callers)
        same = _same_body(candidates, sketches)
        if same is None:  # to read all records takes a while
            add_records(candidates, recorded(self._store))
            same = _same_body(candidates, sketches)
        if same is not None:
            return replace(self.of_key(same.key), nearest=Neighbour(same, Difference()))
        return self._by_nearest(explained, sketches, candidates, differences, body)

    def _compared(self, explained: Explanation, sketch: Sketch | None, against: str) -> Explanation:
        other = self._sketch_of(against)
        if sketch is None or other is None:
            unknown = against if other is None else explained.key
            raise CommandError(f"there is no sketch of {unknown}, so nobody can say in what the two differ")
        if sketch.caller != other.caller and sketch.body != other.body:
            raise CommandError("the two are of different callers, whose requests cannot be compared part by part")
        candidate = Candidate(against, int((stored.stored_at if (stored := self._stored(against)) else 0) * 1000))
        if sketch.caller != other.caller:
            return replace(explained, reason=OtherCaller(), nearest=Neighbour(candidate, Difference()))
        difference = compare(sketch, other)
        reason = OtherFields(difference.names) if difference.names else explained.reason
        changes = self._changes(explained.key, candidate.key, None)
        return replace(explained, reason=reason, nearest=Neighbour(candidate, difference, changes))

    def _by_sketch(self, explained: Explanation, sketch: Sketch, before: int) -> Explanation:
        """Explain by what was stored before; by the records where the ledger says nothing."""
        found = sketched_rows(self._reader, before)
        known = candidates_of(found, frozenset({sketch.caller}))
        if not found:
            others = [one for one in recorded(self._store) if one.index.hex() != explained.key]
            add_records(known[0], [one for one in others if one.stored_at * 1000 <= explained.asked_ms])
        return self._by_nearest(explained, [sketch], *known)

    def _by_nearest(
        self,
        explained: Explanation,
        sketches: Sequence[Sketch],
        candidates: Candidates,
        differences: Differences,
        body: bytes | None = None,
    ) -> Explanation:
        """Explain by the nearest candidate of one of these sketches."""
        for sketch in sketches:
            if (other := candidates.same_for_another(sketch)) is not None:
                return replace(explained, reason=OtherCaller(other.client), nearest=Neighbour(other, Difference()))
        found = [(*nearest, sketch) for sketch in sketches if (nearest := candidates.nearest(sketch)) is not None]
        if not found:
            return replace(explained, reason=NeverStored())
        candidate, difference, sketch = min(found, key=lambda one: len(one[1].names))
        reason = reason_by(difference)
        if isinstance(reason, NeverStored):
            return replace(explained, reason=reason)
        neighbour = Neighbour(candidate, difference, self._changes(explained.key, candidate.key, body))
        habit = habit_of(difference, differences.get(sketch.caller, ()))
        return replace(explained, reason=reason, nearest=neighbour, habit=habit)

    def _reason_before(self, key: str | None, place: int, asked_ms: int) -> Reason | None:
        if key is None:
            return None
        earlier = rows(self._reader, ("key = ?", (key,)), limit=_HISTORY, before=place)
        return reason_before(earlier, purges_of(self._reader, key), asked_ms)

    def _is_stored(self, key: str | None) -> bool:
        stored = None if key is None else self._stored(key)
        return stored is not None and is_fresh(stored, self._clock())

    def _stored(self, key: str) -> StoredResponse | None:
        """Return what is stored under a key, in either kind."""
        index = bytes.fromhex(key)
        for place in (index, index_beside(index, Kind(stream=False)), index_beside(index, Kind(stream=True))):
            with suppress(RecordError):
                if (record := self._store.get(place)) is not None:
                    return codec.decode(record)
        return None

    def _sketch_of(self, key: str) -> Sketch | None:
        found = rows(self._reader, ("key = ? AND sketch IS NOT NULL", (key,)), limit=1)
        if found and found[0].sketch is not None:
            return read_sketch(found[0].sketch)
        stored = self._stored(key)
        return None if stored is None else sketch_in(stored.sketch, stored.request)

    def _changes(self, here: str | None, there: str, body: bytes | None) -> tuple[Change, ...] | None:
        """Return what differs in the two requests, where both are kept; of one that is asked about, its own body."""
        ours = self._request(here) if body is None else body
        theirs = self._request(there)
        return None if ours is None or theirs is None else changes_between(theirs, ours)

    def _request(self, key: str | None) -> bytes | None:
        stored = None if key is None else self._stored(key)
        return None if stored is None else stored.request


def _same_body(candidates: Candidates, sketches: Sequence[Sketch]) -> Candidate | None:
    return next((found for sketch in sketches if (found := candidates.same_body(sketch)) is not None), None)
