"""The ledger: what is written down of exchanges, and that nobody waits for it."""

import asyncio
import logging
import os
import sqlite3
import stat
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import closing
from pathlib import Path
from typing import Any, TypeVar

import pytest
from msgspec.structs import replace

from cachemw import DiskStore, FileStore, MemoryStore, Policy, Store
from cachemw.errors import StoreError
from cachemw.ledger import ledger as ledgers
from cachemw.ledger.book import book_of
from cachemw.ledger.ledger import BATCH, QUEUED, RING, SURPLUS, Ledger, ledger_beside
from cachemw.ledger.schema import LEDGER_FILE
from cachemw.messages import Usage
from cachemw.report import ExchangeReport

T = TypeVar("T")

NOW = 1_796_000_000.0
MINUTE = int(NOW) // 60
DAY = 1440
MISS = ExchangeReport(
    id="0123456789abcdef",
    at=NOW,
    fwd="miss",
    fwd_status=200,
    key="7c5d8f6f",
    endpoint="chat",
    target="cerebras/gpt-oss-120b",
    route="auto",
    client="evals",
    model="auto",
    answered_model="gpt-oss-120b",
    status=200,
    usage=Usage(812, 301, 100, 20, 5),
    cost=421_000,
    cost_basis="priced",
    bytes_in=900,
    bytes_out=2000,
    first_byte=0.21,
    total=0.911,
    attempts=1,
    namespace="night",
    stored=True,
    kept_for=172_800.0,
    sketch=b"sketch",
)
HIT = replace(
    MISS,
    fwd=None,
    fwd_status=None,
    hit=True,
    ttl=50,
    cost=0,
    saved=421_000,
    cost_basis=None,
    attempts=0,
    total=0.0002,
    stored=None,
    kept_for=None,
    sketch=None,
    took=0.9,
)


class ByHand:
    """Has calls made when the test says so, as a thread that is busy until then."""

    def __init__(self) -> None:
        self.calls: list[Callable[[], Any]] = []
        self.later: list[Callable[[], object]] = []
        self.is_closed = False

    def submit(self, call: Callable[[], T], /) -> Future[T]:
        if self.is_closed:
            raise StoreError("the store is closed")
        done: Future[T] = Future()
        self.calls.append(lambda: done.set_result(call()))
        return done

    def submit_later(self, call: Callable[[], object], seconds: float, /) -> None:
        if seconds <= ledgers.GATHERED:
            self.submit(call)
        else:
            self.later.append(call)

    def pass_time(self) -> None:
        """Let it be time for what was to be done later."""
        self.calls, self.later = [*self.calls, *self.later], []

    def work(self) -> int:
        """Make the calls that wait, and those that these bring."""
        count = 0
        while self.calls:
            self.calls.pop(0)()
            count += 1
        return count


class AtOnce:
    """Makes calls in the thread that asks for them, but for those that are to be made much later."""

    def submit(self, call: Callable[[], T], /) -> Future[T]:
        done: Future[T] = Future()
        done.set_result(call())
        return done

    def submit_later(self, call: Callable[[], object], seconds: float, /) -> None:
        if seconds <= ledgers.GATHERED:
            call()


@pytest.fixture
def hand() -> ByHand:
    return ByHand()


@pytest.fixture
def ledger(tmp_path: Path, hand: ByHand) -> Iterator[Ledger]:
    made = Ledger(tmp_path, hand, clock=lambda: NOW)
    yield made
    hand.is_closed = True
    made.close()


def found(directory: Path, query: str) -> list[tuple[Any, ...]]:
    with closing(book_of(directory)) as book:
        return book.rows(query)


def test_an_exchange_is_written_down_whole_and_in_the_sums(ledger: Ledger, hand: ByHand, tmp_path: Path) -> None:
    """E12"""
    ledger(MISS)
    hand.work()

    (row,) = found(tmp_path, "SELECT * FROM minutes")
    assert list(row[:7]) == [MINUTE, "evals", "auto", "cerebras/gpt-oss-120b", "auto", "chat", "miss"]
    assert row[7:13] == (1, 812, 301, 100, 421_000, 0)
    assert list(row[13:]) == [0, 0, 0, 0, *(int(power == 10) for power in range(20))]
    ((_, *details),) = found(tmp_path, "SELECT * FROM exchanges")
    assert details == [
        *("0123456789abcdef", int(NOW * 1000), os.getpid(), "miss", None, "7c5d8f6f"),
        *("evals", "auto", "cerebras/gpt-oss-120b", "auto", "gpt-oss-120b", "chat", "night", 200, "miss", 200),
        *(1, 172_800_000, 900, 2000, 812, 301, 100, 20, 5, 421_000, "priced", 0, None, 210, 911, None, 1, 1, b"sketch"),
    ]


@pytest.mark.parametrize(
    ("report", "unpriced", "least", "estimated"),
    [
        (replace(MISS, cost=None, cost_basis=None), 1, 0, 0),
        (replace(MISS, cost=None, cost_basis=None, status=429), 0, 0, 0),
        (replace(MISS, cost=None, cost_basis=None, status=None), 0, 0, 0),
        (replace(MISS, opted_in=False, fwd=None, cost=None, cost_basis=None), 1, 0, 0),
        (replace(MISS, cost=0), 0, 0, 0),
        (replace(MISS, cost_at_least=True), 0, 1, 0),
        (replace(MISS, cost_basis="estimated"), 0, 0, 1),
        (replace(HIT, cost=None), 0, 0, 0),
        (replace(MISS, collapsed=True, cost=None), 0, 0, 0),
    ],
)
def test_what_is_not_known_of_a_cost_is_counted(
    ledger: Ledger, hand: ByHand, tmp_path: Path, report: ExchangeReport, unpriced: int, least: int, estimated: int
) -> None:
    """G17, G18, G19: unknown is not 0, a lower bound is one, and an estimate is one."""
    ledger(report)
    hand.work()

    assert found(tmp_path, "SELECT unpriced, at_least, estimated FROM minutes") == [(unpriced, least, estimated)]


def test_a_report_that_speaks_for_many_hits_weighs_as_many(ledger: Ledger, hand: ByHand, tmp_path: Path) -> None:
    """B2: there is no other sampling."""
    ledger(replace(HIT, count=40))
    ledger(HIT)
    hand.work()

    query = "SELECT outcome, count, input_tokens, spent, saved, ms_saved, below_1_ms FROM minutes"
    assert found(tmp_path, query) == [("hit", 41, 41 * 812, 0, 41 * 421_000, 41 * 899, 41)]
    assert found(tmp_path, "SELECT count, took_ms FROM exchanges") == [(40, 900), (1, 900)]


def test_a_model_that_nobody_knows_has_no_sums_of_its_own(ledger: Ledger, hand: ByHand, tmp_path: Path) -> None:
    """Else everybody could fill the ledger with names."""
    for number in range(3):
        ledger(replace(MISS, model=f"no-such-{number}", status=404))
    hand.work()

    assert found(tmp_path, "SELECT model, count FROM minutes") == [("", 3)]


@pytest.mark.parametrize(
    "report",
    [
        ExchangeReport(),
        replace(MISS, model="x" * 10_000, client="\ud800", target="\x00"),
        replace(MISS, usage=Usage(2**60, 2**60, 2**60, 2**60, 2**60), cost=2**60, saved=2**60),
        replace(MISS, total=1e9, first_byte=0.0),
    ],
)
def test_whatever_is_reported_can_be_written(ledger: Ledger, hand: ByHand, tmp_path: Path, report: ExchangeReport) -> None:
    for _ in range(3):
        ledger(report)
    hand.work()

    ((count, spent),) = found(tmp_path, "SELECT sum(count), sum(spent) FROM minutes")
    assert count == 3
    assert spent < 2**60


def test_the_ledger_holds_nothing_of_what_was_said(tmp_path: Path) -> None:
    """The names of its columns: none for a body, a header field, an address or a credential."""
    ledger = Ledger(tmp_path, AtOnce())
    ledger(MISS)
    ledger.close()

    columns = {row[1] for table in ("minutes", "exchanges") for row in found(tmp_path, f"PRAGMA table_info({table})")}
    assert not any(word in column for column in columns for word in ("body", "header", "message", "address", "credential"))
    assert stat.S_IMODE((tmp_path / LEDGER_FILE).stat().st_mode) == 0o600


def test_reports_are_written_in_batches_between_which_others_have_their_turn(
    ledger: Ledger, hand: ByHand, tmp_path: Path
) -> None:
    for _ in range(2 * BATCH + 1):
        ledger(MISS)
    assert len(hand.calls) == 1

    assert hand.work() == 3
    assert found(tmp_path, "SELECT count(*) FROM exchanges") == [(2 * BATCH + 1,)]


def test_who_wants_the_store_waits_for_no_ledger(tmp_path: Path) -> None:
    with closing(DiskStore(tmp_path / "store")) as store:
        ledger = ledger_beside(store, Policy())
        assert ledger is not None
        store.put(b"0" * 16, b"a record", None)
        began = time.monotonic()
        for number in range(20):
            ledger(MISS)
            store.put(number.to_bytes(16), b"a record", None)
        took = time.monotonic() - began

        assert took < 20 * ledgers.GATHERED / 2  # none of them has waited for it


def test_what_nobody_hurries_is_written_soon(tmp_path: Path) -> None:
    with closing(DiskStore(tmp_path / "store")) as store:
        ledger = ledger_beside(store, Policy())
        assert ledger is not None
        for _ in range(3):
            ledger(MISS)
        until = time.monotonic() + 10
        while not found(tmp_path / "store", "SELECT 1 FROM exchanges") and time.monotonic() < until:
            time.sleep(0.01)

        assert found(tmp_path / "store", "SELECT count(*) FROM exchanges") == [(3,)]


def test_what_cannot_wait_is_dropped_and_counted(ledger: Ledger, hand: ByHand, tmp_path: Path) -> None:
    """So that any view whose span has drops can say so."""
    for _ in range(QUEUED):
        ledger(MISS)
    ledger(replace(HIT, count=7))
    ledger(MISS)
    hand.work()

    assert found(tmp_path, "SELECT outcome, sum(count) FROM minutes GROUP BY 1") == [("dropped", 8), ("miss", QUEUED)]
    assert found(tmp_path, "SELECT count(*) FROM exchanges") == [(QUEUED,)]


def test_a_ledger_that_cannot_be_written_is_one_line_and_keeps_what_it_has(
    ledger: Ledger, hand: ByHand, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """O4"""
    caplog.set_level(logging.WARNING)
    with closing(sqlite3.connect(tmp_path / LEDGER_FILE, isolation_level=None)) as other:
        other.execute("PRAGMA journal_mode = WAL")
        other.execute("BEGIN IMMEDIATE")
        for number in range(3):
            ledger(replace(MISS, id=str(number)))
            hand.work()
            hand.pass_time()
        other.execute("ROLLBACK")
    hand.work()

    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert found(tmp_path, "SELECT id FROM exchanges") == [("0",), ("1",), ("2",)]


def test_a_ledger_that_cannot_be_written_is_not_tried_with_every_report(ledger: Ledger, hand: ByHand, tmp_path: Path) -> None:
    """The store's own thread would have nothing else to do."""
    (tmp_path / LEDGER_FILE).write_bytes(b"x" * 5000)
    for _ in range(9):
        ledger(MISS)
        hand.work()

    assert (len(hand.calls), len(hand.later)) == (0, 1)


def test_the_oldest_exchanges_go_where_there_are_too_many(
    ledger: Ledger, hand: ByHand, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert (RING, SURPLUS) == (100_000, 1_000)
    monkeypatch.setattr(ledgers, "RING", 20)
    monkeypatch.setattr(ledgers, "SURPLUS", 5)

    for number in range(60):
        ledger(replace(MISS, id=str(number)))
        hand.work()

    kept = [int(number) for (number,) in found(tmp_path, "SELECT id FROM exchanges ORDER BY place")]
    assert kept == list(range(kept[0], 60))
    assert 20 <= len(kept) <= 25
    assert found(tmp_path, "SELECT sum(count) FROM minutes") == [(60,)]


def test_minutes_become_hours_after_two_days_and_are_forgotten_after_a_year(tmp_path: Path) -> None:
    now = NOW
    ledger = Ledger(tmp_path, AtOnce(), clock=lambda: now)
    for days in (400, 3, 2.9, 1, 0):
        for minutes in (0, 1, 61):
            ledger(replace(MISS, at=NOW - days * 86_400 + minutes * 60))
            ledger(replace(HIT, at=NOW - days * 86_400 + minutes * 60))
    now = NOW + 2 * ledgers._UPKEEP_SECONDS
    ledger(replace(MISS, at=NOW))
    ledger.close()

    rows = found(tmp_path, "SELECT minute, outcome, count, spent FROM minutes")
    assert min(minute for minute, *_ in rows) > MINUTE - 366 * DAY
    assert all(minute % 60 == 0 for minute, *_ in rows if minute < MINUTE - 2 * DAY - 60)
    assert sum(count for _, _, count, _ in rows) == 4 * 6 + 1
    assert sum(spent for *_, spent in rows) == 421_000 * (4 * 3 + 1)
    assert len(rows) < 4 * 6 + 1


def test_two_workers_write_one_ledger(tmp_path: Path) -> None:
    """E12"""
    one, other = Ledger(tmp_path, AtOnce()), Ledger(tmp_path, AtOnce())
    for _ in range(5):
        one(MISS)
        other(MISS)
    one.close()
    other.close()

    assert found(tmp_path, "SELECT count, spent FROM minutes") == [(10, 4_210_000)]
    assert found(tmp_path, "SELECT count(*) FROM exchanges") == [(10,)]


def test_the_ledger_of_a_store_is_written_by_that_stores_thread(tmp_path: Path) -> None:
    with closing(DiskStore(tmp_path / "store")) as store:
        ledger = ledger_beside(store, Policy())
        assert ledger is not None
        ledger(MISS)
        ledger.close()
        ledger.close()
        store.clear()

    assert found(tmp_path / "store", "SELECT count FROM minutes") == [(1,)]


@pytest.mark.parametrize(
    ("store", "policy"),
    [
        (MemoryStore(), Policy()),
        (FileStore("somewhere"), Policy(partition="shared")),
        (DiskStore("somewhere"), Policy(default="on, mode=replay")),
    ],
    ids=["in memory", "of files", "only replayed"],
)
def test_where_nothing_is_written_there_is_no_ledger(store: Store, policy: Policy) -> None:
    """G1"""
    assert ledger_beside(store, policy) is None


def test_a_ledger_that_is_closed_after_its_store_loses_the_last_rows_alone(tmp_path: Path) -> None:
    store = DiskStore(tmp_path / "store")
    ledger = ledger_beside(store, Policy())
    assert ledger is not None
    store.close()

    ledger.close()


def test_a_child_writes_what_is_its_own(tmp_path: Path) -> None:
    with closing(DiskStore(tmp_path / "store")) as store:
        store.get(b"0" * 16)
        ledger = ledger_beside(store, Policy())
        assert ledger is not None

        async def fork() -> int:
            ledger(replace(MISS, id="parent"))  # it waits, when the process forks
            if child := os.fork():
                return child
            ledger(replace(MISS, id="child"))
            ledger.close()
            store.close()
            os._exit(0)

        child = asyncio.run(fork())
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        ledger.close()

    assert found(tmp_path / "store", "SELECT id FROM exchanges ORDER BY id") == [("child",), ("parent",)]


def test_what_comes_after_the_end_is_not_written(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    ledger = Ledger(tmp_path, AtOnce())
    ledger(MISS)
    ledger.close()

    ledger(MISS)

    assert found(tmp_path, "SELECT count FROM minutes") == [(1,)]
    assert caplog.records == []


def test_for_what_merely_passes_no_file_is_made(tmp_path: Path, hand: ByHand) -> None:
    """D6: it is counted with the first exchange that makes one."""
    ledger = Ledger(tmp_path / "store", hand)
    passed = replace(MISS, opted_in=False, route=None)

    ledger(passed)
    before = [*hand.calls]
    ledger(MISS)
    hand.work()

    assert before == []
    assert found(tmp_path / "store", "SELECT outcome, count FROM minutes ORDER BY 1") == [("miss", 1), ("passed", 1)]


def test_a_ledger_of_what_merely_passed_ends_without_a_file(tmp_path: Path) -> None:
    """D6"""
    ledger = Ledger(tmp_path / "store", AtOnce())

    ledger(replace(MISS, opted_in=False, route=None))
    ledger.close()

    assert not (tmp_path / "store").exists()


def test_a_store_that_was_removed_does_not_come_back_for_its_ledger(tmp_path: Path, hand: ByHand) -> None:
    """Who removes a directory is not to find a part of it again a moment later."""
    directory = tmp_path / "store"
    directory.mkdir(mode=0o700)
    ledger = Ledger(directory, hand)
    ledger(MISS)
    directory.rmdir()

    hand.work()

    assert not directory.exists()


def test_a_store_that_is_closed_leaves_no_file_open(tmp_path: Path) -> None:
    """Its file system may be taken away then."""
    store = DiskStore(tmp_path / "store")
    ledger = ledger_beside(store, Policy())
    assert ledger is not None
    store.put(b"0" * 16, b"a record", None)
    ledger(MISS)

    store.close()

    open_files = [os.readlink(link) for link in Path("/proc/self/fd").iterdir() if link.is_symlink()]
    assert [name for name in open_files if name.startswith(str(tmp_path))] == []
    assert found(tmp_path / "store", "SELECT count FROM minutes") == [(1,)]


@pytest.mark.parametrize(
    ("endpoint", "status", "target"),
    [
        ("chat", 200, "https://api.example/team/v1/chat/completions"),
        ("chat", 404, "https://api.example"),
        (None, 200, "https://api.example"),
        (None, None, "https://api.example"),
    ],
)
def test_the_paths_that_clients_make_up_have_no_sums_of_their_own(
    endpoint: str | None, status: int | None, target: str, ledger: Ledger, hand: ByHand, tmp_path: Path
) -> None:
    """O3: nor is the name of a file written down that somebody looks for."""
    url = "https://api.example/team/v1/chat/completions"
    ledger(replace(MISS, endpoint=endpoint, status=status, target=url))
    hand.work()

    assert found(tmp_path, "SELECT target FROM minutes") == [(target,)]
    assert found(tmp_path, "SELECT target FROM exchanges") == [(target,)]
