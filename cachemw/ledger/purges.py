"""Purges, as the ledger has them: which keys people removed, so that their next misses can be told from evictions."""

from collections.abc import Iterable
from contextlib import closing
from pathlib import Path

from cachemw.errors import BookError
from cachemw.ledger.book import book_of
from cachemw.ledger.reader import LedgerReader
from cachemw.ledger.reasons import Purge

EVERY_KEY = ""
"""Stands for all keys there were."""

_KEPT = 10_000
_OF_KEY = "SELECT at_ms, key FROM purges WHERE key IN (?, ?)"


def note_purges(directory: Path, keys: Iterable[str], at: float) -> None:
    """Note in the ledger of a store that these keys, in hexadecimal, were removed; where it cannot be written, nothing is."""
    with closing(book_of(directory)) as book:
        if not book.path.exists():
            return
        try:
            with book.transact() as connection:
                connection.executemany("INSERT INTO purges VALUES (?, ?)", [(int(at * 1000), key) for key in keys])
                connection.execute("DELETE FROM purges WHERE rowid <= (SELECT max(rowid) FROM purges) - ?", (_KEPT,))
        except BookError:  # nothing depends on it but words
            return


def purges_of(reader: LedgerReader, key: str) -> list[Purge]:
    """Return the purges of a key, and those of all keys. Raises `BookError`."""
    return [(at_ms, purged) for at_ms, purged in reader.query(_OF_KEY, (EVERY_KEY, key))]
