"""What the records of a store say they answer: the sketch of each, for who looks for the nearest of them."""

from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from heapq import nlargest
from operator import attrgetter

import msgspec

from cachemw.cache import record as codec
from cachemw.cache.differences import Difference, compare, listed
from cachemw.cache.effects import Wanted
from cachemw.cache.key import SHARED
from cachemw.cache.nearest import NEWEST, SketchIndex
from cachemw.cache.sketch import Sketch, read_sketch, sketch_of_body
from cachemw.errors import RecordError
from cachemw.redaction import redacted_repr
from cachemw.stores.base import Inline, Store


class RecordSketch(msgspec.Struct, frozen=True):
    """A record, without its answer. `sketch` is that of its key, or of the request that it holds, if that says as much.

    `stored_at` is in seconds since the epoch.
    """

    index: bytes
    stored_at: float
    target: str
    sketch: Sketch

    __repr__ = redacted_repr


def recorded(store: Store, is_over: Callable[[], bool] = lambda: False) -> list[RecordSketch]:
    """Return the newest records of a store that have a sketch, or of which one can be made, oldest first.

    Those that were seen before it `is_over`, where there are many. Raises `StoreError`.
    """
    found = nlargest(NEWEST, _recorded(store, is_over), key=attrgetter("stored_at"))
    return found[::-1]


def _recorded(store: Store, is_over: Callable[[], bool]) -> Iterator[RecordSketch]:
    for index, record in _records(store):
        if is_over():
            return
        try:
            read = codec.view(record)
        except RecordError:
            continue
        sketch = sketch_in(read.sketch, read.request)
        if sketch is not None:
            yield RecordSketch(index, read.stored_at, read.target, sketch)


def _records(store: Store) -> Iterator[tuple[bytes, bytes]]:
    """Go through the records, the newest first where there may be many."""
    if store.inline is Inline.ALL:
        yield from store.scan()
        return
    for index in reversed(store.indexes()):
        if (record := store.get(index)) is not None:
            yield index, record


def sketch_in(sketch: bytes | None, request: bytes | None) -> Sketch | None:
    """Return the sketch that a record holds, else that of the request it holds; as of one in a partition that all share."""
    if sketch is not None:
        return read_sketch(sketch)
    return None if request is None else sketch_of_body(request, SHARED, b"")


_UNKNOWN = (None, None)
"""The state of a store that does not say when it has changed."""


class NearestRecords:
    """The records of a store, for who is told which of them is nearest to a request; read anew when there are others."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._read: tuple[object, Sequence[RecordSketch], SketchIndex] = (_UNKNOWN, (), SketchIndex())  # one, for all threads

    def told(self, wanted: Wanted, is_over: Callable[[], bool]) -> str:
        """Return in plain words which record is nearest, and what differs; nothing where none is near. Raises `StoreError`."""
        state = self._store.version(), self._store.count()
        known, found, index = self._read
        if state != known or state == _UNKNOWN:
            found = recorded(self._store, is_over)
            index = SketchIndex(record.sketch for record in found)
            self._read = state, found, index
        return _nearest_told(found, index, wanted)


def _nearest_told(found: Sequence[RecordSketch], index: SketchIndex, wanted: Wanted) -> str:
    if any(record.index == wanted.index for record in found):
        return "the very same request is recorded, and the answer to it cannot be given in the way that is asked for"
    sketches = _sketches(wanted)
    for sketch in sketches:
        place = index.same_for_anybody(sketch) if wanted.is_own and sketch.whole else None
        if place is not None:
            return f"the very same request is recorded as {_called(found[place])} for another caller: its credential differs"
    places = [(place, compare(sketch, index[place])) for sketch in sketches if (place := index.nearest(sketch)) is not None]
    if not places:
        return ""
    place, difference = min(places, key=lambda one: len(one[1].names) + len(one[1].unknown))
    return _told(found[place], difference, wanted) if difference.is_telling else ""


def _sketches(wanted: Wanted) -> list[Sketch]:
    """Return the sketches that a request would have in a record: of its key, and of the request that a record may hold."""
    of_key = None if wanted.sketch is None else read_sketch(wanted.sketch)
    return [*([] if of_key is None else [of_key]), sketch_of_body(wanted.body, SHARED, b"")]


def _told(record: RecordSketch, difference: Difference, wanted: Wanted) -> str:
    called, equal = _called(record), len(difference.equal)
    stored = datetime.fromtimestamp(record.stored_at, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    return (
        f"nearest: {called}, stored {stored}, {equal} of {equal + len(difference.names)} parts equal;"
        f" {_differing(difference, record, wanted)} {called}"
    )


def _differing(difference: Difference, record: RecordSketch, wanted: Wanted) -> str:
    names = difference.names
    if not names:  # the body is the same
        is_elsewhere = record.target != wanted.target
        return f"{'the URL' if is_elsewhere else 'the namespace, the sample, a query or a header field'} differs from"
    absent = [(difference.only_here, "only here"), (difference.only_there, "only there")]
    told = ", ".join(f"{listed(some)} ({where})" for some, where in ((difference.differing, ""), *absent) if some)
    return f"{told.replace(' ()', '')} {'differs' if len(names) == 1 else 'differ'} from"


def _called(record: RecordSketch) -> str:
    return f"{record.index.hex()[:8]}…"
