"""Remove records from a store: those of the keys that a filter means, with all else that is stored under these."""

from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path

import msgspec

from cachemw.cache.key import indexes_beside
from cachemw.inventory.entries import Progress, read_entries
from cachemw.inventory.entry import Entry, Role
from cachemw.inventory.filters import Filter
from cachemw.ledger.purges import EVERY_KEY, note_purges
from cachemw.redaction import redacted_repr
from cachemw.stores.base import Store

_AT_ONCE = 100
"""How many keys go in one transaction: a proxy that writes to the store waits for no more."""


class Removal(msgspec.Struct, frozen=True):
    """What a purge takes: how many `records`, of how many bytes, and when the `oldest` was stored.

    `places` are the indexes that go with each key, which is in hexadecimal. Where `is_all`, all goes that there is, be it
    under no key.
    """

    places: dict[str, tuple[bytes, ...]]
    records: int
    size: int
    oldest: float | None
    is_all: bool = False

    __repr__ = redacted_repr


def planned(store: Store, meant: Filter, now: float, *, progress: Progress | None = None) -> Removal:
    """Return what a purge of the records that fit takes, and change nothing; of everything where no filter is given.

    A key goes whole: with one of its records go the one of the other kind, and its parts. Raises `StoreError`.
    """
    fitting: set[str] = set()
    found: dict[str, list[Entry]] = {}
    for entry in read_entries(store, now, meant, progress=progress):
        fits = meant.fits(entry, now)
        if fits:
            fitting.add(entry.key)
        if fits or entry.has_others:
            found.setdefault(entry.key, []).append(entry)
    removal = _removal({key: entries for key, entries in found.items() if key in fitting})
    if not meant.is_empty:
        return removal
    count = store.count()  # of what nobody can read, too
    return msgspec.structs.replace(removal, records=removal.records if count is None else count, is_all=True)


def remove(store: Store, removal: Removal, now: float, *, progress: Progress | None = None) -> int:
    """Purge what was planned, note that in the ledger beside the store, and return how many records there were.

    Whatever was asked for before this, of any key, is not kept. Raises `StoreError`.
    """
    if removal.is_all:
        return remove_all(store, now)
    if not removal.places:
        store.delete()  # what is under way is not kept all the same
    places, done = iter(removal.places.items()), 0
    while some := dict(islice(places, _AT_ONCE)):
        store.delete(*(index for indexes in some.values() for index in indexes))
        note_purges(Path(store.place), some, now)
        done += len(some)
        if progress is not None:
            progress(done, len(removal.places))
    return removal.records


def remove_all(store: Store, now: float) -> int:
    """Purge everything, note that, and return how many records there were. Raises `StoreError`."""
    count = store.clear()
    note_purges(Path(store.place), (EVERY_KEY,), now)
    return count


def _removal(found: Mapping[str, Iterable[Entry]]) -> Removal:
    entries = [entry for some in found.values() for entry in some]
    stored = [entry.stored_at for entry in entries if entry.stored_at is not None]
    places = {key: tuple(dict.fromkeys(_places(some))) for key, some in found.items()}
    return Removal(places, len(entries), sum(entry.size for entry in entries), min(stored, default=None))


def _places(entries: Iterable[Entry]) -> Iterator[bytes]:
    """Yield where these lie, and every place beside the answers: one may be put there meanwhile."""
    for entry in entries:
        yield entry.index
        if entry.role is Role.ANSWER:
            yield from indexes_beside(entry.index)
