"""Accounts: one contract, kept by a file that processes share and by memory."""

import logging
import multiprocessing
import os
import sqlite3
import stat
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cachemw.cache.plans import Closed
from cachemw.errors import BookError
from cachemw.gateway.accounts import ACCOUNTS_FILE, LAPSE, Accounts, FileAccounts, MemoryAccounts, Treasurer
from cachemw.gateway.budgets import Reservation, begin_of
from cachemw.gateway.routes import ClientEntry, RequestLimit, SpendingLimit

NOW = 1_796_000_000.0
DAY = 86_400
LIMIT = SpendingLimit(100, "day")
BRIEF = SpendingLimit(100, "minute")
RATE = RequestLimit(3, "minute")
CLIENT = ClientEntry("evals", budget=LIMIT, rate=RATE)


@pytest.fixture(params=["file", "memory"])
def accounts(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Accounts]:
    made: Accounts = FileAccounts(tmp_path / "store") if request.param == "file" else MemoryAccounts()
    with closing(made):
        yield made


def reserved(
    accounts: Accounts, nano: int, *, client: str = "evals", limit: SpendingLimit = LIMIT, now: float = NOW
) -> Reservation:
    made = accounts.reserve(client, limit, nano, now)
    assert made is not None
    return made


def test_what_is_reserved_is_taken_and_what_is_settled_is_spent(accounts: Accounts) -> None:
    """E10"""
    made = reserved(accounts, 60)
    assert accounts.taken("evals", LIMIT, NOW) == 60

    accounts.settle(made, 7)

    assert accounts.taken("evals", LIMIT, NOW) == 7


def test_what_is_settled_twice_is_spent_once(accounts: Accounts) -> None:
    made = reserved(accounts, 60)
    accounts.settle(made, 7)
    accounts.settle(made, 7)
    accounts.settle(made, None)

    assert accounts.taken("evals", LIMIT, NOW) == 7


def test_what_nobody_knows_the_cost_of_is_spent_as_it_was_reserved(accounts: Accounts) -> None:
    accounts.settle(reserved(accounts, 60), None)

    assert accounts.taken("evals", LIMIT, NOW) == 60


def test_a_budget_is_passed_by_no_more_than_one_reservation(accounts: Accounts) -> None:
    """G20"""
    assert [accounts.reserve("evals", LIMIT, 60, NOW) is not None for _ in range(4)] == [True, True, False, False]
    assert accounts.taken("evals", LIMIT, NOW) == 120


def test_what_is_given_back_can_be_reserved_again(accounts: Accounts) -> None:
    made = reserved(accounts, 100)
    assert accounts.reserve("evals", LIMIT, 1, NOW) is None

    accounts.settle(made, 0)

    assert accounts.reserve("evals", LIMIT, 1, NOW) is not None


def test_a_new_period_begins_with_nothing_taken(accounts: Accounts) -> None:
    accounts.settle(reserved(accounts, 100), 100)
    assert accounts.reserve("evals", LIMIT, 1, NOW) is None

    assert accounts.reserve("evals", LIMIT, 1, NOW + DAY) is not None
    assert accounts.taken("evals", LIMIT, NOW + DAY) == 1


def test_what_was_reserved_before_a_period_is_not_spent_in_it(accounts: Accounts) -> None:
    yesterday = reserved(accounts, 100)
    accounts.settle(reserved(accounts, 30, now=NOW + DAY), 20)

    accounts.settle(yesterday, 90)

    assert accounts.taken("evals", LIMIT, NOW + DAY) == 20


def test_a_clock_that_was_ahead_and_is_set_right_gives_no_budget_anew(tmp_path: Path) -> None:
    """E10."""
    with closing(FileAccounts(tmp_path / "store")) as accounts:
        accounts.settle(reserved(accounts, 100), 100)
        accounts.settle(reserved(accounts, 5, now=NOW + 2 * DAY), 5)

        assert accounts.reserve("evals", LIMIT, 1, NOW) is None
        accounts.settle(reserved(accounts, 5, now=NOW + 40 * DAY), 5)
        assert accounts.taken("evals", LIMIT, NOW) == 0  # what nobody will ask for is not kept for ever


def test_a_budget_in_all_has_no_new_period(accounts: Accounts) -> None:
    limit = SpendingLimit(100, "total")
    accounts.settle(reserved(accounts, 100, limit=limit), None)

    assert accounts.reserve("evals", limit, 1, NOW + 400 * DAY) is None


def test_clients_and_periods_have_accounts_of_their_own(accounts: Accounts) -> None:
    accounts.settle(reserved(accounts, 100), None)

    assert accounts.taken("other", LIMIT, NOW) == 0
    assert accounts.taken("evals", SpendingLimit(100, "hour"), NOW) == 0


def test_requests_are_counted_until_there_are_enough(accounts: Accounts) -> None:
    assert [accounts.count("evals", RATE, NOW) for _ in range(5)] == [True, True, True, False, False]
    assert accounts.count("other", RATE, NOW)
    assert accounts.count("evals", RATE, begin_of("minute", NOW) + 60)


@pytest.mark.parametrize("nano", [-5, 0, 2**80])
def test_absurd_amounts_harm_no_account(accounts: Accounts, nano: int) -> None:
    accounts.settle(reserved(accounts, nano), nano)

    assert 0 <= accounts.taken("evals", LIMIT, NOW) <= 2**53


@settings(max_examples=50)
@given(st.lists(st.tuples(st.integers(0, 50), st.none() | st.integers(0, 50), st.integers(0, 3)), max_size=30))
def test_memory_and_file_keep_the_same_accounts(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[int, int | None, int]]
) -> None:
    """G20, E10: whatever is reserved and settled, in any order, over minutes."""
    memory = MemoryAccounts()
    with closing(FileAccounts(tmp_path_factory.mktemp("store", numbered=True) / "a")) as file:
        open_ones: list[tuple[Reservation, Reservation]] = []
        now = NOW
        for nano, cost, later in steps:
            now += later * 20
            mine, theirs = memory.reserve("c", BRIEF, nano, now), file.reserve("c", BRIEF, nano, now)
            assert (mine is None) == (theirs is None)
            if mine and theirs:
                open_ones.append((mine, theirs))
            if cost is not None and open_ones:
                one, other = open_ones.pop(cost % len(open_ones))
                memory.settle(one, min(cost, one.nano))
                file.settle(other, min(cost, other.nano))
            assert memory.taken("c", BRIEF, now) == file.taken("c", BRIEF, now)
            assert memory.taken("c", BRIEF, now) < BRIEF.nano + 50


def test_threads_cannot_pass_a_budget_together(accounts: Accounts) -> None:
    """G20"""
    together = threading.Barrier(8)

    def spend(_: int) -> int:
        together.wait()
        return sum(accounts.reserve("evals", LIMIT, 9, NOW) is not None for _ in range(10))

    with ThreadPoolExecutor(8) as pool:
        granted = sum(pool.map(spend, range(8)))

    assert granted == 12
    assert LIMIT.nano <= accounts.taken("evals", LIMIT, NOW) < LIMIT.nano + 9


def _spend(directory: str) -> int:
    with closing(FileAccounts(Path(directory))) as accounts:
        return sum(accounts.reserve("evals", LIMIT, 9, NOW) is not None for _ in range(10))


def test_processes_cannot_pass_a_budget_together(tmp_path: Path) -> None:
    """G20"""
    with multiprocessing.get_context("spawn").Pool(3) as pool:
        granted = sum(pool.map(_spend, [str(tmp_path / "store")] * 3))

    assert granted == 12


def test_a_reservation_left_by_a_crash_stays_spent(tmp_path: Path) -> None:
    """E10: one that lapses is booked as estimated, and not released; who comes too late to settle it changes nothing."""
    limit = SpendingLimit(100, "total")
    with closing(FileAccounts(tmp_path)) as crashed:
        left = reserved(crashed, 100, limit=limit)
    with closing(FileAccounts(tmp_path)) as accounts:
        assert accounts.reserve("evals", limit, 1, NOW + LAPSE + 1) is None
        accounts.settle(left, 1)

        assert accounts.taken("evals", limit, NOW) == 100
        assert accounts._book.rows("SELECT count(*) FROM reserved") == [(0,)]


def test_the_file_is_this_users_alone(tmp_path: Path) -> None:
    with closing(FileAccounts(tmp_path / "store")) as accounts:
        reserved(accounts, 1)

        files = sorted((tmp_path / "store").iterdir())
        assert {file.name for file in files} >= {ACCOUNTS_FILE}
        assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}


def test_before_anything_is_reserved_there_is_no_file(tmp_path: Path) -> None:
    accounts = FileAccounts(tmp_path)

    assert accounts.taken("evals", LIMIT, NOW) == 0
    accounts.close()
    accounts.close()
    assert list(tmp_path.iterdir()) == []


def test_accounts_that_are_closed_are_not_opened_again(tmp_path: Path) -> None:
    accounts = FileAccounts(tmp_path)
    accounts.close()

    with pytest.raises(BookError):
        accounts.reserve("evals", LIMIT, 1, NOW)


def test_accounts_that_were_taken_away_are_begun_anew(tmp_path: Path) -> None:
    with closing(FileAccounts(tmp_path)) as accounts:
        reserved(accounts, 100)
        for file in tmp_path.iterdir():
            file.unlink()

        assert accounts.taken("evals", LIMIT, NOW) == 0
        assert accounts.reserve("evals", LIMIT, 1, NOW) is not None


@pytest.mark.parametrize("content", [b"no database", b"x" * 5000])
def test_what_is_no_database_is_not_written_over(tmp_path: Path, content: bytes) -> None:
    (tmp_path / ACCOUNTS_FILE).write_bytes(content)
    with closing(FileAccounts(tmp_path)) as accounts, pytest.raises(BookError):
        accounts.reserve("evals", LIMIT, 1, NOW)

    assert (tmp_path / ACCOUNTS_FILE).read_bytes() == content


@pytest.mark.parametrize("statement", ["PRAGMA user_version = 7", "CREATE TABLE mine (a)"])
def test_another_programs_database_is_refused(tmp_path: Path, statement: str) -> None:
    with closing(sqlite3.connect(tmp_path / ACCOUNTS_FILE)) as theirs:
        theirs.execute(statement)
        theirs.commit()
    with closing(FileAccounts(tmp_path)) as accounts, pytest.raises(BookError, match="another"):
        accounts.reserve("evals", LIMIT, 1, NOW)


def test_a_child_has_the_accounts_of_its_parent(tmp_path: Path) -> None:
    accounts = FileAccounts(tmp_path)
    reserved(accounts, 60)

    child = os.fork()
    if child == 0:
        os._exit(0 if accounts.taken("evals", LIMIT, NOW) == 60 and accounts.reserve("evals", LIMIT, 60, NOW) else 1)

    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert accounts.taken("evals", LIMIT, NOW) == 120
    accounts.close()


# The treasurer.


class Broken(MemoryAccounts):
    """Accounts that cannot be read or written as long as they are broken."""

    is_broken = True

    def reserve(self, client: str, limit: SpendingLimit, nano: int, now: float) -> Reservation | None:
        self._break()
        return super().reserve(client, limit, nano, now)

    def settle(self, reservation: Reservation, nano: int | None) -> None:
        self._break()
        super().settle(reservation, nano)

    def count(self, client: str, limit: RequestLimit, now: float) -> bool:
        self._break()
        return super().count(client, limit, now)

    def _break(self) -> None:
        if self.is_broken:
            raise BookError("it cannot be read or written: disk I/O error")


def code_of(found: object) -> str:
    assert isinstance(found, Closed)
    return found.refusal.code


def test_who_has_no_limit_has_no_account() -> None:
    accounts = MemoryAccounts()
    treasurer = Treasurer(accounts, "refuse")
    free = ClientEntry("free")

    assert treasurer.reserve(free, "a/b", None, NOW) is None
    assert treasurer.count(free, NOW) is None


def test_who_has_a_limit_is_let_through_until_it_is_reached() -> None:
    treasurer = Treasurer(MemoryAccounts(), "refuse")

    made = treasurer.reserve(CLIENT, "a/b", 100, NOW)
    assert isinstance(made, Reservation)
    assert code_of(treasurer.reserve(CLIENT, "a/b", 1, NOW)) == "budget_exceeded"
    treasurer.settle(made, 5)
    assert isinstance(treasurer.reserve(CLIENT, "a/b", 1, NOW), Reservation)
    assert code_of(treasurer.reserve(CLIENT, "a/b", None, NOW)) == "no_cost_bound"
    assert [treasurer.count(CLIENT, NOW) for _ in range(3)] == [None] * 3
    assert code_of(treasurer.count(CLIENT, NOW)) == "rate_limited"


@pytest.mark.parametrize("on_error", ["refuse", "allow"])
def test_accounts_that_fail_refuse_or_allow_and_are_told_of_once(
    on_error: Literal["refuse", "allow"], caplog: pytest.LogCaptureFixture
) -> None:
    """E10"""
    caplog.set_level(logging.WARNING)
    accounts = Broken()
    treasurer = Treasurer(accounts, on_error)
    lost = Reservation(1, "evals", "day", begin_of("day", NOW), 5)

    found = [treasurer.reserve(CLIENT, "a/b", 1, NOW), treasurer.count(CLIENT, NOW)]
    treasurer.settle(lost, 1)
    assert [code_of(each) if each else None for each in found] == [None if on_error == "allow" else "account_unavailable"] * 2
    assert len(caplog.records) == 1

    accounts.is_broken = False
    assert isinstance(treasurer.reserve(CLIENT, "a/b", 1, NOW), Reservation)
    assert treasurer.count(CLIENT, NOW) is None
    accounts.is_broken = True
    treasurer.count(CLIENT, NOW)
    assert len(caplog.records) == 2
