"""The hook: nobody waits for it, whatever becomes of its files."""

import asyncio
import logging
import shutil
import threading
import time
from pathlib import Path

import pytest
from msgspec.structs import replace

from cachemw import DiskStore, MemoryStore
from cachemw.errors import StoreTimeout
from cachemw.ledger.ledger import Ledger
from cachemw.metrics import hook, table
from cachemw.metrics.hook import WAITING, Metrics, metrics_beside
from cachemw.metrics.slots import METRICS_DIRECTORY, WorkerSlot, read_slots
from cachemw.metrics.sums import CountedSums, gauged, summed
from tests.ledger.test_ledger import AtOnce
from tests.metrics.reports import HIT, MISS
from tests.serving import until


def kept(directory: Path) -> CountedSums:
    return summed(sums for sums, _ in read_slots(directory, time.time()))


def requests(directory: Path) -> int:
    return sum(number for labelled, number in kept(directory).counters.items() if labelled[0] == table.REQUESTS.name)


def run(metrics: Metrics, *exchanges: object, times: int = 1) -> None:
    """Let metrics be told of these, between the begin of a server and its end."""

    async def serve() -> None:
        async with metrics.written():
            for _ in range(times):
                for report in exchanges:
                    metrics(report)  # type: ignore[arg-type]

    asyncio.run(serve())


def test_what_was_told_is_written_at_the_end_and_the_next_goes_on_from_there(tmp_path: Path) -> None:
    """O2"""
    run(Metrics(tmp_path), MISS, HIT)
    run(Metrics(tmp_path), replace(HIT, count=10))

    assert requests(tmp_path) == 12
    assert [gauges for _, gauges in read_slots(tmp_path, time.time())] == [None]


def test_it_is_written_while_requests_go_on_with_what_is_the_case_then(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hook, "WRITTEN_EVERY", 0.01)
    metrics = Metrics(tmp_path)
    flights = 1.0
    metrics.sample = lambda: {("cachemw_flights",): flights}

    def alive() -> dict[tuple[str, ...], float]:
        return gauged(gauges for _, gauges in read_slots(tmp_path, time.time()) if gauges is not None)

    async def serve() -> None:
        nonlocal flights
        async with metrics.written():
            metrics(MISS)
            await until(lambda: requests(tmp_path) == 1 and alive() == {("cachemw_flights",): 1.0})
            flights = 2.0
            await until(lambda: alive() == {("cachemw_flights",): 2.0})

    asyncio.run(serve())

    assert alive() == {}


def test_where_nothing_changes_nothing_is_written_and_it_is_seen_to_be_alive(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hook, "WRITTEN_EVERY", 0.001)
    metrics, file = Metrics(tmp_path), tmp_path / METRICS_DIRECTORY / "0.bin"
    touched = threading.Event()

    async def serve() -> None:
        async with metrics.written():
            await until(file.exists)
            first = file.stat().st_ino
            monkeypatch.setattr(WorkerSlot, "touch", lambda _: touched.set())
            monkeypatch.setattr(hook, "TOUCH_SECONDS", 0.0)
            await until(touched.is_set)
            assert file.stat().st_ino == first

    asyncio.run(serve())


def test_what_cannot_be_written_is_told_once_and_is_written_when_it_can_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """O4"""
    monkeypatch.setattr(hook, "WRITTEN_EVERY", 0.001)
    metrics, place = Metrics(tmp_path), tmp_path / METRICS_DIRECTORY
    place.touch()
    tries = 0

    def sample() -> dict[tuple[str, ...], float]:
        nonlocal tries
        tries += 1
        return {}

    metrics.sample = sample

    async def serve() -> None:
        async with metrics.written():
            metrics(MISS)
            await until(lambda: tries > 5)
            place.unlink()
            await until(lambda: requests(tmp_path) == 1)

    with caplog.at_level(logging.WARNING):
        asyncio.run(serve())

    assert ["are not written" in record.getMessage() for record in caplog.records] == [True]


def test_a_store_that_was_removed_does_not_come_back_for_its_metrics_and_they_go_on_where_there_is_one_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """O2"""
    monkeypatch.setattr(hook, "WRITTEN_EVERY", 0.001)
    directory, written = tmp_path / "store", 0
    metrics = Metrics(directory)

    def sample() -> dict[tuple[str, ...], float]:
        nonlocal written
        written += 1
        return {}

    async def some_more() -> None:
        seen = written
        await until(lambda: written > seen + 3)

    async def serve() -> None:
        metrics.sample = sample
        async with metrics.written():
            metrics(MISS)
            await some_more()
            assert not directory.exists()
            directory.mkdir(0o700)
            await until(lambda: requests(directory) == 1)
            shutil.rmtree(directory)
            metrics(MISS)
            await some_more()
            assert not directory.exists()
            directory.mkdir(0o700)
            await until(lambda: requests(directory) == 2)

    asyncio.run(serve())


def test_what_nobody_counts_in_time_is_counted_by_who_brings_more_and_none_is_lost(tmp_path: Path) -> None:
    """O4: a disk that hangs holds the thread that writes."""
    metrics = Metrics(tmp_path)
    for _ in range(3 * WAITING):
        metrics(HIT)
        metrics.note_call("get", 0.0001, None)

    assert len(metrics._exchanges) <= WAITING + 1
    assert len(metrics._calls) <= WAITING + 1
    run(metrics)

    assert requests(tmp_path) == 3 * WAITING
    assert sum(kept(tmp_path).histograms[table.STORE_DURATION.name, "get"][:-1]) == 3 * WAITING


def test_nobody_waits_for_the_thread_that_counts(tmp_path: Path) -> None:
    """O4"""
    metrics = Metrics(tmp_path)

    with metrics._counting:
        for _ in range(WAITING + 5):
            metrics(HIT)

    assert len(metrics._exchanges) == WAITING + 5


def test_threads_that_tell_at_the_same_time_are_all_counted(tmp_path: Path) -> None:
    metrics = Metrics(tmp_path)

    def tell() -> None:
        for _ in range(WAITING):
            metrics(HIT)

    async def serve() -> None:
        async with metrics.written():
            await asyncio.gather(*[asyncio.to_thread(tell) for _ in range(4)])

    asyncio.run(serve())

    assert requests(tmp_path) == 4 * WAITING


def test_calls_of_the_store_are_counted_with_their_faults(tmp_path: Path) -> None:
    metrics = Metrics(tmp_path)
    metrics.note_call("put", 0.2, StoreTimeout("slow"))
    run(metrics)

    assert kept(tmp_path).counters[table.STORE_ERRORS.name, "put", "timeout"] == 1


def test_what_the_ledger_lost_is_counted_and_goes_on(tmp_path: Path) -> None:
    """O4: any view of that time says "at least"."""
    metrics = Metrics(tmp_path)
    metrics.ledger = Ledger(tmp_path, AtOnce())
    metrics.ledger.lost = 3
    run(metrics)
    metrics.ledger.lost = 5
    run(metrics)

    assert kept(tmp_path).counters[table.LEDGER_DROPPED.name,] == 5
    metrics.ledger.close()


@pytest.mark.parametrize(("store", "is_counted"), [(MemoryStore(), False), (DiskStore("/tmp/anywhere"), True)])
def test_only_a_store_in_a_directory_has_metrics_beside_it(store: MemoryStore | DiskStore, is_counted: bool) -> None:
    assert (metrics_beside(store) is not None) is is_counted
