"""Read what a store holds: an entry for each record, one after another, and never more than a few records at once."""

from collections.abc import Callable, Iterator, Mapping, Sequence

from cachemw.cache.key import indexes_beside
from cachemw.errors import RecordError
from cachemw.inventory.entry import Entry, damaged_entry, entry_of
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
    indexes = _indexes(store, meant)
    wholes = _wholes(indexes)
    for start in range(0, len(indexes), _AT_ONCE):
        some = indexes[start : start + _AT_ONCE]
        for index, record in zip(some, _records(store, some), strict=True):
            if isinstance(record, RecordError):
                yield damaged_entry(index, 0, wholes.get(index))
            elif record is not None:
                yield entry_of(index, record, now, whole=wholes.get(index), with_finish=meant.finish is not None)
        if progress is not None:
            progress(start + len(some), len(indexes))


def _indexes(store: Store, meant: Filter) -> Sequence[bytes]:
    """Return the indexes to look under: where one key is meant, no others."""
    if meant.key is None or len(meant.key) < KEY_DIGITS:
        return store.indexes()
    index = bytes.fromhex(meant.key)
    return index, *indexes_beside(index)


def _wholes(indexes: Sequence[bytes]) -> Mapping[bytes, bytes]:
    """Return the index of the key for each of these that lies beside one."""
    there = set(indexes)
    return {beside: index for index in indexes for beside in indexes_beside(index) if beside in there}


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
