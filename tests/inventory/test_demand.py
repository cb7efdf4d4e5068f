"""How often stored records were asked for, as far as the ledger has it."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from msgspec.structs import replace

from cachemw.inventory.demand import Demand, demand_for, demand_of
from cachemw.ledger.book import book_of
from cachemw.ledger.ledger import Ledger
from cachemw.ledger.reader import LedgerReader
from tests.ledger.test_ledger import HIT, MISS, NOW, AtOnce

ONE, OTHER = "11" * 16, "22" * 16
ASKED = (
    replace(MISS, key=ONE, at=NOW - 100),
    replace(HIT, key=ONE, at=NOW - 50, count=30),
    replace(MISS, key=OTHER, at=NOW - 10, collapsed=True),
    replace(MISS, key=None, at=NOW),
)


@pytest.fixture
def reader(tmp_path: Path) -> Iterator[LedgerReader]:
    with closing(Ledger(tmp_path, AtOnce(), clock=lambda: NOW)) as ledger:
        for report in ASKED:
            ledger(report)
    with closing(LedgerReader(tmp_path)) as made:
        yield made


def test_every_hit_counts_that_an_exchange_stands_for(reader: LedgerReader) -> None:
    assert demand_of(reader, ONE) == Demand(31, 30, NOW - 50, is_least=False)
    assert demand_of(reader, OTHER) == Demand(1, 1, NOW - 10, is_least=False)
    assert demand_of(reader, "33" * 16) == Demand(0, 0, None, is_least=False)


def test_of_several_keys_the_demand_is_all_of_it_since_a_time(reader: LedgerReader) -> None:
    assert demand_for(reader, {ONE, OTHER}) == Demand(32, 31, NOW - 10, is_least=False)
    assert demand_for(reader, {ONE, OTHER}, NOW - 60) == Demand(31, 31, NOW - 10, is_least=False)
    assert demand_for(reader, {OTHER: ()}, NOW - 10) == Demand(1, 1, NOW - 10, is_least=False)
    assert demand_for(reader, (), NOW - 10) == Demand(0, 0, None, is_least=False)


def test_where_the_ledger_has_forgotten_some_it_is_the_least(tmp_path: Path, reader: LedgerReader) -> None:
    with closing(book_of(tmp_path)) as book, book.transact() as connection:
        connection.execute("DELETE FROM exchanges WHERE place = 1")

    known, forgotten = demand_for(reader, {ONE}, NOW - 20), demand_of(reader, ONE)

    assert (known, forgotten) == (Demand(0, 0, None, is_least=False), Demand(30, 30, NOW - 50, is_least=True))
    assert forgotten is not None
    assert forgotten.words == "at least 30 times"
    assert Demand(1, 0, NOW, is_least=False).words == "1 time"


def test_without_a_ledger_nobody_knows(tmp_path: Path) -> None:
    with closing(LedgerReader(tmp_path)) as reader:
        assert demand_of(reader, ONE) is None
        assert demand_for(reader, {ONE}) is None
