"""The page of a directory, for tests."""

import datetime
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import httpx

from cachemw.gateway.price_tables import PriceTables
from cachemw.ledger.ledger import Ledger
from cachemw.ledger.reader import LedgerReader
from cachemw.ledger.reading import rows
from cachemw.page.admission import PageRules
from cachemw.page.shelf import Shelf
from cachemw.page.shell import Shell
from cachemw.report import ExchangeReport
from cachemw.stores import DiskStore
from tests.page.scenery import WhenClosed

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


def some_key(directory: Path) -> str:
    """Return a key that was asked for, and is stored."""
    with closing(LedgerReader(directory)) as reader:
        (row,) = rows(reader, ("outcome = 'hit' AND endpoint = 'chat'", ()), limit=1)
    assert row.key is not None
    return row.key


HIT = ExchangeReport(hit=True, ttl=5, endpoint="chat", model="gpt-oss-120b", status=200)


def add(directory: Path, count: int, **members: str) -> None:
    """Write exchanges down, as a proxy does."""
    with closing(Ledger(directory, WhenClosed())) as ledger:
        for _ in range(count):
            told = {
                "hit": True,
                "ttl": 5,
                "endpoint": "chat",
                "model": "gpt-oss-120b",
                "status": 200,
                "at": time.time(),
                **members,
            }
            ledger(ExchangeReport(**told))  # type: ignore[arg-type]
