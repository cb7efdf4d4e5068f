"""The shelf: what the page knows of the records of a store, read anew when that is some time ago."""

import threading
import time
from collections.abc import Sequence

from cachemw.inventory.entries import read_entries
from cachemw.inventory.entry import Entry
from cachemw.inventory.filters import EVERYTHING, Filter
from cachemw.stores import Store

FRESH_SECONDS = 2.0
"""For so long what was read is taken to be what there is."""

PATIENCE = 10
"""What took long to read is taken to be so for that many times as long."""


class Shelf:
    """The entries of one store's records, for any thread. Nothing is read twice at once."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._lock = threading.Lock()
        self._entries: Sequence[Entry] = ()
        self._until = 0.0

    def entries(self, meant: Filter, now: float) -> Sequence[Entry]:
        """Return the entries that fit, the newest first; none where there is no store. Raises `StoreError`."""
        if not self._store.exists():
            return ()
        every = list(read_entries(self._store.read_only(), now, meant)) if meant.finish else self._every(now)
        return [entry for entry in every if meant.fits(entry, now)]

    def forget(self) -> None:
        """Read anew at once: something was removed."""
        self._until = 0.0

    def _every(self, now: float) -> Sequence[Entry]:
        with self._lock:
            began = time.monotonic()
            if began >= self._until:
                found = read_entries(self._store.read_only(), now, EVERYTHING)
                self._entries = sorted(found, key=lambda entry: -(entry.stored_at or 0))
                ended = time.monotonic()
                self._until = ended + max(FRESH_SECONDS, PATIENCE * (ended - began))
            return self._entries
