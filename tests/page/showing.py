"""The page of a directory, for tests."""

import datetime
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import httpx

from cachemw.gateway.price_tables import PriceTables
from cachemw.ledger.reader import LedgerReader
from cachemw.page.admission import PageRules
from cachemw.page.shelf import Shelf
from cachemw.page.shell import Shell
from cachemw.stores import DiskStore

TOKEN = "a-token-of-thirty-two-characters"


@contextmanager
def shell_of(
    directory: Path, *, clock: Callable[[], float] = time.time, is_ending: Callable[[], bool] = lambda: False
) -> Iterator[Shell]:
    """Give the shell of the page of a directory."""
    tables = PriceTables(datetime.date(2026, 11, 30))
    with closing(DiskStore(directory)) as store, closing(LedgerReader(directory)) as reader:
        yield Shell(directory, PageRules(TOKEN), reader, tables, store, Shelf(store), 10**9, clock, is_ending)


def asking(url: str) -> httpx.Client:
    """Return a client that brings the token, as scripts do."""
    return httpx.Client(base_url=url, headers={"authorization": f"Bearer {TOKEN}"}, trust_env=False, timeout=10)
