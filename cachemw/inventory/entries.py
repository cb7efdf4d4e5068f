"""Read what a store holds: an entry for each record, one after another, and never more than a few records at once."""

from collections.abc import Callable, Iterator, Sequence

from cachemw.cache.key import indexes_beside
from cachemw.errors import RecordError
from cachemw.inventory.entry import Entry, RecordPlace, Role, damaged_entry, entry_of
from cachemw.inventory.filters import EVERYTHING, Filter
from cachemw.stores.base import Store

KEY_DIGITS = 32

_AT_ONCE = 16
"""How many records are read in one call: any may have its megabytes."""

Progress = Callable[[int, int], None]
"""Told how many records have been read, and of how many."""


def read_entries(store: Store, now: float, meant: Filter = EVERYTHING, *, progress: Progress | None = None) -> Iterator[Entry]:
    """Yield an entry for each record that a filter may mean, and for those beside it: whether it fits is for others to say.

    Reasons for which answers ended are looked for only where the filter asks for them. Raises `StoreError`.
    """
    places = _places(store, meant)
    for start in range(0, len(places), _AT_ONCE):
        some = places[start : start + _AT_ONCE]
        for place, record in zip(some, _records(store, [place.index for place in some]), strict=True):
            if isinstance(record, RecordError):
                yield damaged_entry(place, 0)
            elif record is not None:
                yield entry_of(place, record, now, with_finish=meant.finish is not None)
        if progress is not None:
            progress(start + len(some), len(places))


def keys_beginning(store: Store, prefix: str, now: float) -> list[str]:
    """Return the keys of which there are answers and that begin so, in the order of the store. Raises `StoreError`."""
    entries = read_entries(store, now, Filter(key=prefix))
    return [entry.key for entry in entries if entry.role is Role.ANSWER and entry.key.startswith(prefix)]


def _places(store: Store, meant: Filter) -> Sequence[RecordPlace]:
    """Return where to look: where keys are meant, nowhere but at these, and beside them."""
    prefix = meant.key or ""
    if len(prefix) == KEY_DIGITS:
        return _beside_each_other((index := bytes.fromhex(prefix), *indexes_beside(index)))
    places = _beside_each_other(store.indexes())
    return [place for place in places if (place.whole or place.index).hex().startswith(prefix)] if prefix else places


def _beside_each_other(indexes: Sequence[bytes]) -> Sequence[RecordPlace]:
    """Return these as places: each knows beside which other it lies, and whether another one lies beside it."""
    there = set(indexes)
    wholes = {beside: index for index in indexes for beside in indexes_beside(index) if beside in there}
    with_beside = set(wholes.values())
    return [RecordPlace(index, wholes.get(index), index in with_beside) for index in indexes]


def _records(store: Store, indexes: Sequence[bytes]) -> Sequence[bytes | RecordError | None]:
    try:
        return store.get_many(indexes)
    except RecordError:  # one of them is none: the others are all the same
        return [_record(store, index) for index in indexes]


def _record(store: Store, index: bytes) -> bytes | RecordError | None:
    try:
        return store.get(index)
    except RecordError as exc:
        return exc
