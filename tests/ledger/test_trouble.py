"""Trouble of the ledger is nobody else's: requests are answered, and one line says so."""

import logging
import os
import signal
import sqlite3
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from msgspec.structs import replace

from cachemw import DiskStore
from cachemw.httpx import CacheTransport
from cachemw.ledger import ledger as ledgers
from cachemw.ledger.book import LEDGER_PATIENCE
from cachemw.ledger.ledger import Ledger
from cachemw.ledger.schema import LEDGER_FILE
from tests.cache.answers import COMPLETION
from tests.ledger.test_ledger import HIT, MISS, NOW, AtOnce
from tests.stores.scripts import run

LOCKED_SECONDS = float(os.environ.get("TESTS_LOCKED_SECONDS", "1"))
URL = "http://api.example/v1/chat/completions"


def answering(_: httpx.Request) -> httpx.Response:
    return httpx.Response(200, content=COMPLETION, headers={"content-type": "application/json"})


@contextmanager
def client(store: DiskStore) -> Iterator[httpx.Client]:
    with httpx.Client(transport=CacheTransport(httpx.MockTransport(answering), store=store)) as made:
        yield made


def asked(made: Any, number: int) -> Any:
    """Ask for what was asked twice before, and for something new in between."""
    body = {"model": "m", "seed": number % 3 or number, "messages": [{"role": "user", "content": "Name a colour."}]}
    return made.post(URL, json=body)


@contextmanager
def locked(directory: Path) -> Iterator[None]:
    """Hold the ledger as another process does that writes to it and does not end."""
    with closing(sqlite3.connect(directory / LEDGER_FILE, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        yield
        other.execute("ROLLBACK")


@contextmanager
def made_a_directory(directory: Path) -> Iterator[None]:
    (directory / LEDGER_FILE).unlink()
    (directory / LEDGER_FILE).mkdir()
    yield


@contextmanager
def overwritten(directory: Path) -> Iterator[None]:
    (directory / LEDGER_FILE).write_bytes(b"not a database " * 400)
    yield


@pytest.mark.parametrize("trouble", [locked, made_a_directory, overwritten])
def test_a_ledger_in_trouble_is_one_line_and_no_request_fails(
    trouble: Callable[[Path], Any], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """O4"""
    with closing(DiskStore(tmp_path / "store")) as store:
        with client(store) as made:
            asked(made, 1)
        with trouble(store.path), client(store) as made:
            until, statuses = time.monotonic() + LOCKED_SECONDS, list[int]()
            while time.monotonic() < until or len(statuses) < 20:
                statuses.append(asked(made, len(statuses)).status_code)

    assert set(statuses) == {200}
    assert [record.name for record in caplog.records if record.levelno >= logging.WARNING] == ["cachemw.ledger.ledger"]


def test_what_came_while_it_was_locked_is_written_when_it_is_free(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """O4"""
    monkeypatch.setattr(ledgers, "TRY_AGAIN", 0.0)
    with closing(DiskStore(tmp_path / "store")) as store, client(store) as made:
        asked(made, 1)
        _until(lambda: _count(store.path) == 1)
        with locked(store.path):
            for number in range(2, 10):
                asked(made, number)
        asked(made, 10)
        _until(lambda: _count(store.path) == 10)


KILLED = """
    import os, sys, time
    import httpx
    from cachemw import DiskStore
    from tests.ledger.test_trouble import asked, client

    with client(DiskStore(sys.argv[1])) as made:
        for number in range(10_000):
            asked(made, number)
            print(number, flush=True)
"""


def test_a_process_that_is_killed_loses_its_last_moment_alone(tmp_path: Path) -> None:
    """O4: what is in the sums and what is there one by one are the same exchanges, also with two who write."""
    command = [sys.executable, "-c", textwrap.dedent(KILLED), str(tmp_path / "store")]
    workers = [subprocess.Popen(command, stdout=subprocess.PIPE) for _ in range(2)]
    _until(lambda: _count(tmp_path / "store") > 50)
    counted_before = _count(tmp_path / "store")
    for worker in workers:
        worker.send_signal(signal.SIGKILL)
    told = sum(len(worker.communicate()[0].splitlines()) for worker in workers)

    (by_minutes, one_by_one) = _count(tmp_path / "store"), _count(tmp_path / "store", "exchanges")
    assert counted_before <= by_minutes == one_by_one <= told + 2
    with closing(Ledger(tmp_path / "store", AtOnce())) as ledger:
        ledger(MISS)
    assert _count(tmp_path / "store") == by_minutes + 1


@pytest.mark.parametrize("jump", [-300, -1, 40 * 365])
def test_a_clock_that_jumps_loses_nothing(jump: int, tmp_path: Path) -> None:
    """Else one wrong moment of it would take a year's sums away."""
    now = NOW
    ledger = Ledger(tmp_path, AtOnce(), clock=lambda: now)
    ledger(replace(MISS, at=NOW))
    now = NOW + jump * 86_400
    ledger(replace(HIT, at=now))
    now = NOW + 2 * ledgers._UPKEEP_SECONDS
    ledger(replace(MISS, at=now))
    ledger.close()

    assert _count(tmp_path) == 3


def _count(directory: Path, table: str = "minutes") -> int:
    path = directory / LEDGER_FILE
    if not path.exists():
        return 0
    with closing(sqlite3.connect(path, timeout=20)) as database:
        is_made = database.execute("SELECT 1 FROM sqlite_master WHERE name = ?", (table,)).fetchone()
        ((count,),) = database.execute(f"SELECT coalesce(sum(count), 0) FROM {table}") if is_made else [(0,)]
    return int(count)


def _until(holds: Callable[[], bool], within: float = 20.0) -> None:
    until = time.monotonic() + within
    while not holds():
        assert time.monotonic() < until
        time.sleep(0.01)


def test_who_ends_waits_a_moment_for_another_that_writes(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path, AtOnce())
    ledger(MISS)
    with closing(sqlite3.connect(tmp_path / LEDGER_FILE, isolation_level=None, check_same_thread=False)) as other:
        other.execute("BEGIN IMMEDIATE")
        timer = threading.Timer(2 * LEDGER_PATIENCE, other.execute, ("ROLLBACK",))
        timer.start()
        ledger(MISS)

        ledger.close()
        timer.join()

    assert _count(tmp_path) == 2


FORK = """
import faulthandler, os, sys
from pathlib import Path
import httpx
from cachemw import DiskStore
from cachemw.httpx import CacheTransport
from cachemw.ledger.book import book_of
from tests.ledger.test_trouble import answering, asked

faulthandler.dump_traceback_later(20, exit=True)
directories = [Path(sys.argv[1], str(number)) for number in range(8)]
for directory in directories:
    transport = CacheTransport(httpx.MockTransport(answering), store=DiskStore(directory))
    client = httpx.Client(transport=transport, headers={"cachemw": "on"})
    for _ in range(3):
        asked(client, 1)
child = os.fork()
if not child:
    os._exit(0)
os.waitpid(child, 0)
print([book_of(directory).rows("SELECT total(count) FROM exchanges") for directory in directories] == [[(3.0,)]] * 8)
"""


def test_who_forks_right_after_a_hit_does_not_hang_and_what_was_counted_is_written(tmp_path: Path) -> None:
    """G1: the store's thread ends what it began before the fork, with locks that nobody may hold by then."""
    assert run(FORK, tmp_path) == "True\n"


NEVER_CLOSED = """
import asyncio, sys
import httpx
from cachemw import DiskStore
from cachemw.httpx import AsyncCacheTransport
from tests.ledger.test_trouble import answering, asked

async def ask():
    transport = AsyncCacheTransport(httpx.MockTransport(answering), store=DiskStore(sys.argv[1]))
    client = httpx.AsyncClient(transport=transport, headers={"cachemw": "on"})
    for _ in range(9):
        await asked(client, 1)

asyncio.run(ask())
"""


def test_a_script_that_closes_nothing_loses_no_hit(tmp_path: Path) -> None:
    """G1: its event loop ends before the second does in which hits are counted."""
    run(NEVER_CLOSED, tmp_path / "store")

    assert _count(tmp_path / "store") == 9
