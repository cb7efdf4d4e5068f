"""Purges, as the ledger has them: which keys people removed, so that their next misses can be told from evictions."""

from collections.abc import Iterable
from contextlib import closing
from pathlib import Path

from cachemw.errors import BookError
from cachemw.ledger.schema import book_of

EVERY_KEY = ""
"""Stands for all keys there were."""

_KEPT = 10_000


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
