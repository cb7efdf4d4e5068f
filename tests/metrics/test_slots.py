"""The files of workers: taken when free, gone on with, and read while they are replaced."""

import errno
import fcntl
import logging
import os
import shutil
import stat
import time
from pathlib import Path

import pytest

from cachemw.errors import PlaceRefused
from cachemw.metrics import slots
from cachemw.metrics.slots import ALIVE_SECONDS, METRICS_DIRECTORY, WorkerSlot, boot, read_slots
from cachemw.metrics.sums import CountedSums, SlotRecord, encode

ONE, MANY = CountedSums({("cachemw_stored_total",): 1}), CountedSums({("cachemw_stored_total",): 40})


def written(directory: Path, sums: CountedSums, gauges: dict[tuple[str, ...], float] | None = None) -> WorkerSlot:
    """Return a slot that was taken, and in which this was written."""
    slot = WorkerSlot(directory)
    slot.take()
    slot.write(encode(SlotRecord(slot.boot, sums, gauges or {})))
    return slot


def found(directory: Path) -> list[CountedSums]:
    return [sums for sums, _ in read_slots(directory, time.time())]


def test_workers_that_run_at_a_time_have_files_of_their_own_which_are_this_users_alone(tmp_path: Path) -> None:
    slots = [written(tmp_path, ONE), written(tmp_path, MANY)]

    assert found(tmp_path) == [ONE, MANY]
    files = sorted((tmp_path / METRICS_DIRECTORY).iterdir())
    assert [file.name for file in files] == ["0.bin", "0.lock", "1.bin", "1.lock"]
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}
    assert stat.S_IMODE((tmp_path / METRICS_DIRECTORY).stat().st_mode) == 0o700
    for slot in slots:
        slot.release()
        slot.release()


def test_the_next_worker_takes_the_first_free_slot_and_goes_on_from_there(tmp_path: Path) -> None:
    """O2"""
    first, second = written(tmp_path, ONE), written(tmp_path, MANY)
    first.release()

    following = WorkerSlot(tmp_path)

    assert following.take() == ONE
    assert following.take() is None  # it has it
    second.release()
    following.release()


def test_the_files_are_never_more_than_the_workers_that_ran_at_a_time(tmp_path: Path) -> None:
    for _ in range(20):
        pair = [written(tmp_path, ONE), written(tmp_path, ONE)]
        for slot in pair:
            slot.release()

    assert len(found(tmp_path)) == 2


@pytest.mark.parametrize("damage", [b"", b"not metrics", encode(SlotRecord(boot(), MANY))[:-1]])
def test_a_damaged_file_is_begun_anew_and_one_line_says_so(
    tmp_path: Path, damage: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    written(tmp_path, MANY).release()
    (tmp_path / METRICS_DIRECTORY / "0.bin").write_bytes(damage)
    assert found(tmp_path) == []
    slot = WorkerSlot(tmp_path)

    with caplog.at_level(logging.WARNING):
        assert slot.take() == CountedSums()

    assert ["are counted from 0 again" in record.getMessage() for record in caplog.records] == [True]
    slot.release()


def test_what_was_counted_before_the_machine_started_is_let_go_of(tmp_path: Path) -> None:
    """O2: the last of it may be lost, and Prometheus adds all of a counter again that falls a little."""
    slot = WorkerSlot(tmp_path)
    slot.take()
    slot.write(encode(SlotRecord("another start", MANY)))
    slot.release()

    assert found(tmp_path) == []
    assert slot.take() == CountedSums()
    slot.release()


def test_where_the_system_does_not_say_when_it_started_counters_go_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slots, "_BOOT", tmp_path / "there is none")
    written(tmp_path, MANY).release()
    slot = WorkerSlot(tmp_path)

    assert boot() == ""
    assert slot.take() == MANY
    slot.release()


def test_the_gauges_of_a_worker_count_while_it_is_alive(tmp_path: Path) -> None:
    slot = written(tmp_path, ONE, {("cachemw_flights",): 3.0})
    now = time.time()

    assert [gauges for _, gauges in read_slots(tmp_path, now)] == [{("cachemw_flights",): 3.0}]
    assert [gauges for _, gauges in read_slots(tmp_path, now + ALIVE_SECONDS + 1)] == [None]

    slot.touch()
    assert [gauges for _, gauges in read_slots(tmp_path, now + ALIVE_SECONDS - 1)] == [{("cachemw_flights",): 3.0}]
    slot.release()


def test_a_worker_whose_files_were_taken_away_takes_a_slot_anew_and_two_never_share_one(tmp_path: Path) -> None:
    slot = written(tmp_path, ONE)
    shutil.rmtree(tmp_path / METRICS_DIRECTORY)
    other = WorkerSlot(tmp_path)

    assert other.take() == CountedSums()
    assert slot.take() == CountedSums()
    slot.write(encode(SlotRecord(slot.boot, MANY)))
    other.write(encode(SlotRecord(other.boot, ONE)))

    assert found(tmp_path) == [ONE, MANY]
    slot.release()
    other.release()


def test_a_reader_needs_no_directory_and_changes_nothing(tmp_path: Path) -> None:
    assert found(tmp_path) == []
    assert found(tmp_path / "nowhere") == []
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_is_full_leaves_what_was_there_and_no_draft(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    slot = written(tmp_path, ONE)

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(Path, "rename", full)
        with pytest.raises(OSError, match="No space left"):
            slot.write(encode(SlotRecord(slot.boot, MANY)))

    assert found(tmp_path) == [ONE]
    assert sorted(file.name for file in (tmp_path / METRICS_DIRECTORY).iterdir()) == ["0.bin", "0.lock"]
    slot.release()


def test_a_link_in_the_place_of_a_file_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / METRICS_DIRECTORY).mkdir()
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_bytes(encode(SlotRecord(boot(), MANY)))
    (tmp_path / METRICS_DIRECTORY / "0.lock").symlink_to(elsewhere)
    (tmp_path / METRICS_DIRECTORY / "0.bin").symlink_to(elsewhere)

    assert found(tmp_path) == []
    with pytest.raises(OSError, match="symbolic"):
        WorkerSlot(tmp_path).take()


def test_there_is_an_end_to_slots(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slots, "SLOTS", 1)
    slot = written(tmp_path, ONE)

    with pytest.raises(OSError, match="slots are taken"):
        WorkerSlot(tmp_path).take()
    slot.release()


def test_a_system_without_locks_is_an_error_and_leaves_nothing_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    before = set(os.listdir("/proc/self/fd"))
    monkeypatch.setattr(fcntl, "flock", refuse)

    with pytest.raises(OSError, match="No locks"):
        WorkerSlot(tmp_path).take()
    assert set(os.listdir("/proc/self/fd")) <= before


def test_nothing_is_kept_where_the_store_cannot_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(OSError, match="no home directory"):
        WorkerSlot(Path("relative")).take()

    monkeypatch.setattr("cachemw.stores.disk.files.file_system", lambda *_: "nfs4")
    with pytest.raises(PlaceRefused):
        WorkerSlot(tmp_path).take()
