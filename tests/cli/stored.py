"""Stores to look into from the command line: a record of each sort, and a ledger that knows how often they were asked for."""

from contextlib import closing
from pathlib import Path

from msgspec.structs import replace

from cachemw import DiskStore
from cachemw.ledger.ledger import Ledger
from cachemw.report import ExchangeReport
from tests.inventory.records import INDEX, NOW, RECORDS
from tests.ledger.test_ledger import AtOnce

KEY = INDEX.hex()
MISS = ExchangeReport(at=NOW - 5, fwd="miss", endpoint="chat", target="cerebras/m", model="m", status=200, key=KEY)
HITS = replace(MISS, at=NOW, fwd=None, hit=True, ttl=5, count=30)
EARLIER = replace(HITS, at=NOW - 3 * 86_400, count=7)
OTHER = replace(MISS, key="00" * 16)


def fill(directory: Path) -> None:
    """Make a store that holds a record of each sort."""
    with closing(DiskStore(directory)) as store:
        for index, record in RECORDS.items():
            store.put(index, record, None)


def ask(directory: Path, *reports: ExchangeReport) -> None:
    """Write exchanges into the ledger of a store."""
    with closing(Ledger(directory, AtOnce(), clock=lambda: NOW)) as ledger:
        for report in reports or (EARLIER, MISS, HITS, OTHER):
            ledger(report)


def held(directory: Path) -> set[bytes]:
    """Return the indexes of the records that there are."""
    with closing(DiskStore(directory)) as store:
        return {index for index, _ in store.scan()}


def content(directory: Path) -> dict[str, bytes]:
    """Return every file below a directory, with its bytes."""
    return {str(path.relative_to(directory)): path.read_bytes() for path in directory.rglob("*") if path.is_file()}
