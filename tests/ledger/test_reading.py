"""Rows of a ledger, and its tail, read while others write it."""

import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest
from msgspec.structs import replace

from cachemw.errors import BookError, CommandError
from cachemw.ledger import ledger as ledgers
from cachemw.ledger.ledger import Ledger
from cachemw.ledger.reader import LedgerReader
from cachemw.ledger.reading import Tail, drops, last_place, leader_of, not_kept, row_of, rows
from cachemw.ledger.row import Row
from cachemw.ledger.schema import DETAILS, LEDGER_FILE, LEDGER_VERSION
from cachemw.report import ExchangeReport
from tests.ledger.test_ledger import HIT, MISS, NOW, AtOnce
from tests.ledger.test_sums import dropped

Write = Callable[..., None]


@pytest.fixture
def write(tmp_path: Path) -> Iterator[Write]:
    """Have these reports written down in the ledger of the test's directory."""
    with closing(Ledger(tmp_path, AtOnce(), clock=lambda: NOW)) as ledger:

        def write_all(*reports: ExchangeReport) -> None:
            for report in reports:
                ledger(report)

        yield write_all


@pytest.fixture
def reader(tmp_path: Path) -> Iterator[LedgerReader]:
    with closing(LedgerReader(tmp_path)) as made:
        yield made


def named(count: int, start: int = 0) -> list[ExchangeReport]:
    return [replace(MISS, id=f"{number:016}") for number in range(start, start + count)]


def ids(found: list[Row]) -> list[int]:
    return [int(row.id or -1) for row in found]


def test_a_row_is_what_the_ledger_has_of_an_exchange() -> None:
    assert Row.__struct_fields__ == ("place", *DETAILS)


def test_the_newest_exchanges_are_read_first(write: Write, reader: LedgerReader) -> None:
    write(*named(5))

    assert ids(rows(reader, limit=3)) == [4, 3, 2]
    assert ids(rows(reader, limit=3, before=3)) == [1, 0]
    assert rows(reader, limit=3, before=1) == []


def test_only_what_meets_the_condition_is_read(write: Write, reader: LedgerReader) -> None:
    write(MISS, HIT, replace(MISS, client="others"))

    found = rows(reader, ("outcome = ? AND client = ?", ("miss", "evals")))
    assert [(row.outcome, row.client, row.place) for row in found] == [("miss", "evals", 1)]


def test_a_row_says_what_was_reported(write: Write, reader: LedgerReader) -> None:
    write(MISS)

    (row,) = rows(reader)
    assert (row.id, row.at, row.target, row.usage.input_tokens, row.cost) == (MISS.id, NOW, MISS.target, 812, 421_000)
    assert (row.is_bought, row.is_answered_here, row.first_ms, row.total_ms) == (True, False, 210, 911)


@pytest.mark.parametrize(
    "hit", [HIT, replace(HIT, cost=None), replace(HIT, cost=7), replace(HIT, ttl=-3), replace(HIT, count=9)]
)
def test_of_an_answer_from_here_nothing_is_billed(write: Write, reader: LedgerReader, hit: ExchangeReport) -> None:
    """O1"""
    write(hit)

    (row,) = rows(reader)
    assert (row.billed_tokens, row.billed_cost) == ((0, 0), 0)
    assert (row.usage.input_tokens, row.usage.output_tokens, row.saved) == (812, 301, 421_000)


@pytest.mark.parametrize("name", ["0123456789abcdef", "0123", "0123456789ABCDEF", "2"])
def test_an_exchange_is_found_by_its_id_its_beginning_or_its_place(write: Write, reader: LedgerReader, name: str) -> None:
    write(replace(MISS, id="0a23456789abcdef"), MISS)

    found = row_of(reader, name)
    assert found is not None
    assert found.id == MISS.id


@pytest.mark.parametrize("name", ["x", "3", "0124", "'", "%", "9" * 15, "9" * 16, "9" * 30, "²", "", "\ud800"])
def test_what_names_no_exchange_finds_none(write: Write, reader: LedgerReader, name: str) -> None:
    write(MISS)

    assert row_of(reader, name) is None


def test_a_beginning_that_several_ids_have_is_refused(write: Write, reader: LedgerReader) -> None:
    write(MISS, replace(MISS, id="0123456789abcdeg"))

    with pytest.raises(CommandError, match="several exchanges"):
        row_of(reader, "0123")


def test_a_collapsed_exchange_has_read_the_nearest_one_that_asked(write: Write, reader: LedgerReader) -> None:
    reads = replace(MISS, collapsed=True)
    write(MISS, reads, replace(MISS, key="other"), replace(reads, key="lonely"))

    assert [leader_of(reader, row) for row in rows(reader)] == [None, None, 1, None]


def test_answers_that_were_not_kept_are_counted_by_why(write: Write, reader: LedgerReader) -> None:
    unkept = replace(MISS, stored=False, details=("finish-length", "second-choice"))
    old = replace(unkept, at=NOW - 100)
    write(unkept, unkept, old, replace(MISS, stored=True), replace(unkept, fwd="bypass"), replace(unkept, details=("not-200",)))

    assert list(not_kept(reader, NOW - 50).items()) == [("finish-length", 2), ("not-200", 1)]
    assert not_kept(reader)["finish-length"] == 3


def test_exchanges_that_were_dropped_are_counted_by_their_time(
    tmp_path: Path, reader: LedgerReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    """G1"""
    dropped(tmp_path, 7, monkeypatch)

    assert (drops(reader), drops(reader, NOW - 60), drops(reader, NOW + 60)) == (7, 7, 0)


def test_a_tail_has_each_exchange_once_and_in_order(write: Write, reader: LedgerReader) -> None:
    write(*named(2))
    tail = Tail(reader)
    assert tail.rows(10) == []

    write(*named(5, 2))
    assert ids(tail.rows(3)) == [2, 3, 4]
    assert ids(tail.rows(3)) == [5, 6]
    assert tail.rows(3) == []


def test_a_tail_can_begin_at_a_place(write: Write, reader: LedgerReader) -> None:
    write(*named(5))

    assert ids(Tail(reader, after=3).rows(10)) == [3, 4]


def test_a_tail_passes_over_what_does_not_meet_its_condition(write: Write, reader: LedgerReader) -> None:
    tail = Tail(reader, ("outcome = 'hit'", ()))
    write(*named(3))
    assert tail.rows(2) == []

    write(HIT, MISS, HIT, HIT)
    assert (len(tail.rows(2)), len(tail.rows(2)), tail.rows(2), tail.place) == (2, 1, [], 7)


def test_a_tail_waits_for_a_ledger_that_is_not_there_yet(tmp_path: Path) -> None:
    with closing(LedgerReader(tmp_path / "store")) as reader:
        tail = Tail(reader)
        assert tail.rows(10) == []
        (tmp_path / "store").mkdir(0o700)
        (tmp_path / "store" / LEDGER_FILE).touch()
        assert tail.rows(10) == []

        with closing(Ledger(tmp_path / "store", AtOnce())) as ledger:
            for report in named(3):
                ledger(report)
        assert ids(tail.rows(10)) == [0, 1, 2]


@pytest.mark.parametrize("is_seen_gone", [False, True])
@pytest.mark.parametrize("before", [1, 8])
def test_a_tail_goes_on_with_a_ledger_that_takes_anothers_place(tmp_path: Path, before: int, is_seen_gone: bool) -> None:
    """Whether the new one has fewer rows than were seen of the old one, or more."""
    place = tmp_path / "store"
    with closing(LedgerReader(place)) as reader:
        with closing(Ledger(place, AtOnce())) as ledger:
            for report in named(before):
                ledger(report)
        tail = Tail(reader)
        shutil.rmtree(place)
        if is_seen_gone:
            assert tail.rows(10) == []

        with closing(Ledger(place, AtOnce())) as ledger:
            for report in named(3, 50):
                ledger(report)
        assert ids(tail.rows(10)) == [50, 51, 52]
        assert tail.rows(10) == []


def test_a_tail_that_begins_at_a_place_of_an_earlier_ledger_has_all_of_this_one(write: Write, reader: LedgerReader) -> None:
    """As a page has it that was open all the while."""
    write(*named(3))

    assert ids(Tail(reader, after=500).rows(10)) == [0, 1, 2]


def test_a_tail_goes_on_when_the_oldest_have_gone(write: Write, reader: LedgerReader, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledgers, "RING", 20)
    monkeypatch.setattr(ledgers, "SURPLUS", 5)
    tail, seen = Tail(reader), list[int]()

    for start in range(0, 60, 6):
        write(*named(6, start))
        seen += ids(tail.rows(100))

    assert seen == list(range(60))
    assert len(rows(reader, limit=100)) <= 25


def test_a_tail_repeats_nothing_after_an_error(write: Write, reader: LedgerReader) -> None:
    write(*named(3))
    tail = Tail(reader)
    with pytest.raises(BookError):
        reader.query("SELECT nonsense")

    write(*named(1, 3))
    assert ids(tail.rows(10)) == [3]


def test_nothing_is_made_where_no_ledger_is(tmp_path: Path) -> None:
    with closing(LedgerReader(tmp_path / "nowhere")) as reader:
        assert (rows(reader), last_place(reader), row_of(reader, "1"), drops(reader)) == ([], 0, None, 0)

    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("version", "words"),
    [
        (0, "another program's"),
        (LEDGER_VERSION + 1, f"of version {LEDGER_VERSION + 1}, which a newer cachemw writes"),
        (LEDGER_VERSION - 1, f"of version {LEDGER_VERSION - 1}, which an older cachemw writes"),
    ],
)
def test_a_ledger_of_another_version_is_refused_in_words(tmp_path: Path, version: int, words: str) -> None:
    with closing(sqlite3.connect(tmp_path / LEDGER_FILE)) as other:
        other.execute("CREATE TABLE exchanges (place)")
        other.execute(f"PRAGMA user_version = {version}")

    with closing(LedgerReader(tmp_path)) as reader, pytest.raises(BookError, match=words):
        rows(reader)


def test_what_is_no_database_is_refused(tmp_path: Path) -> None:
    (tmp_path / LEDGER_FILE).write_bytes(b"x" * 5000)

    with closing(LedgerReader(tmp_path)) as reader, pytest.raises(BookError, match="cannot be read"):
        rows(reader)


def test_who_reads_waits_for_nobody_who_writes_and_cannot_write(write: Write, reader: LedgerReader, tmp_path: Path) -> None:
    write(MISS)
    with closing(sqlite3.connect(tmp_path / LEDGER_FILE, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        other.execute("DELETE FROM exchanges")

        assert len(rows(reader)) == 1
        with pytest.raises(BookError, match="readonly"):
            reader.query("DELETE FROM exchanges")


_WRITER = """
import sys
from pathlib import Path
from msgspec.structs import replace
from cachemw.ledger import book
from cachemw.ledger.ledger import Ledger
from tests.ledger.test_ledger import MISS, AtOnce

book.LEDGER_PATIENCE = 30.0  # of two that only write, one waits most of the time
ledger = Ledger(Path(sys.argv[1]), AtOnce())
for number in range(int(sys.argv[2])):
    ledger(replace(MISS, id=f"{sys.argv[3]}{number:015}"))
ledger.close()
"""


def test_a_tail_misses_nothing_of_two_processes_that_write(tmp_path: Path, reader: LedgerReader) -> None:
    count, seen = 300, list[str | None]()
    tail = Tail(reader)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    commands = [[sys.executable, "-c", _WRITER, str(tmp_path), str(count), name] for name in "ab"]
    with ExitStack() as running:
        writers = [running.enter_context(subprocess.Popen(command, env=environment)) for command in commands]
        while any(writer.poll() is None for writer in writers):
            seen += [row.id for row in tail.rows(50)]
    while found := tail.rows(50):
        seen += [row.id for row in found]

    assert [writer.returncode for writer in writers] == [0, 0]
    assert len(seen) == len(set(seen)) == 2 * count
