"""Power cuts: the files of a store as a disk may show them afterwards. What SQLite did not sync may be there or not.

`cache.db-shm` is SQLite's shared memory, and means nothing without a process that has it open: it is left, or gone.
"""

import shutil
import sqlite3
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random

from tests.faults.fault import Fault, Tally
from tests.faults.worker import QUESTIONS, Mount, exit_code, forked, orphans, run_in_a_process, tell

PAGE, SECTOR = 4096, 512
WAL_HEAD, FRAME = 32, 24 + PAGE
DATABASE, WAL, SHARED = "cache.db", "cache.db-wal", "cache.db-shm"
ASKED = 12
"""How many questions are asked after a cut."""

SOON = 3.0
"""How many seconds it may take until the store keeps answers again, on a busy machine; the row says how many it took."""

Files = dict[str, bytes]


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The files of a store whose log was not checkpointed, and its database as the checkpoint would leave it."""

    files: Files
    checkpointed: bytes


def snapshot(scratch: Path, asked: int) -> Snapshot:
    """Return the files that a process leaves which asked so many questions, and then did not close the store."""
    path = scratch / f"{asked} asked"

    def use() -> None:
        mount, random = Mount(path), Random(asked)
        for _ in range(asked):
            mount.ask(random.randrange(QUESTIONS), "on, mode=refresh")

    if exit_code(forked(use)):
        raise RuntimeError("the store was not filled")
    files = {file.name: file.read_bytes() for file in path.iterdir()}
    connection = sqlite3.connect(path / DATABASE)
    connection.execute("PRAGMA wal_checkpoint(FULL)")
    checkpointed = (path / DATABASE).read_bytes()
    connection.close()
    return Snapshot(files, checkpointed)


def _cut(taken: Snapshot, at: int) -> Files:
    """The log ends there."""
    return {**taken.files, WAL: taken.files[WAL][:at]}


def _cut_anywhere(taken: Snapshot, random: Random) -> Files:
    return _cut(taken, random.randrange(len(taken.files[WAL])))


def _zeroed_tail(taken: Snapshot, random: Random) -> Files:
    """The log has its length, but not all that was written."""
    wal = taken.files[WAL]
    return {**taken.files, WAL: wal[: random.randrange(len(wal))].ljust(len(wal), b"\0")}


def _lost_blocks(taken: Snapshot, random: Random) -> Files:
    """Some blocks of the last part of the log were written, others not."""
    wal = taken.files[WAL]
    return {**taken.files, WAL: _mixed(bytes(len(wal)), wal, PAGE, random.randrange(len(wal)), random)}


def _half_checkpointed(taken: Snapshot, random: Random) -> Files:
    """The log is whole, as it is synced first; of the database some blocks were written."""
    unit = random.choice((PAGE, SECTOR))
    return {**taken.files, DATABASE: _mixed(taken.files[DATABASE], taken.checkpointed, unit, 0, random)}


def _reset(taken: Snapshot, random: Random) -> Files:
    """All is in the database, and the log begins anew: its head was not written, nor were its first frames."""
    unwritten = random.randrange(10 * FRAME)
    return {**taken.files, DATABASE: taken.checkpointed, WAL: bytes(unwritten) + taken.files[WAL][unwritten:]}


def _lied_to(taken: Snapshot, random: Random) -> Files:
    """The disk said that it had synced, and had not: the log is lost, and of the database what the checkpoint wrote."""
    return {**_half_checkpointed(taken, random), WAL: _cut_anywhere(taken, random)[WAL]}


def _truncated(taken: Snapshot, random: Random) -> Files:
    """The database's length was not written."""
    return {**taken.files, DATABASE: taken.files[DATABASE][: random.randrange(len(taken.files[DATABASE]))]}


def _emptied(taken: Snapshot, random: Random) -> Files:
    """There are files, and nothing in them."""
    return {**taken.files, **dict.fromkeys(random.choice(((DATABASE,), (WAL,), (DATABASE, WAL), (SHARED, "lock"))), b"")}


def _misdirected(taken: Snapshot, random: Random) -> Files:
    """The last checkpoint wrote some blocks in the places of others."""
    database = bytearray(taken.checkpointed)
    places = range(PAGE, len(database) - PAGE + 1, PAGE)
    for _ in range(random.randint(1, len(places) // 10)):
        to, source = random.choices(places, k=2)
        database[to : to + PAGE] = taken.checkpointed[source : source + PAGE]
    return {**taken.files, DATABASE: bytes(database), WAL: b""}


KINDS: tuple[Callable[[Snapshot, Random], Files], ...] = (
    *(_cut_anywhere, _cut_anywhere, _zeroed_tail, _lost_blocks, _half_checkpointed),
    *(_reset, _lied_to, _truncated, _emptied, _misdirected),
)
LYING = (_lied_to.__name__, _truncated.__name__, _emptied.__name__, _misdirected.__name__)
"""What no disk does that syncs when it is told to: records may be damaged then, and must not be shown."""


def _mixed(old: bytes, new: bytes, unit: int, start: int, random: Random) -> bytes:
    """Return the new bytes, of which some blocks were not written: those have what was there, or nothing but zeros."""
    mixed, share, lost = bytearray(new), random.random(), random.choice((old, b""))
    for at in range(start - start % unit, len(new), unit):
        if new[at : at + unit] != old[at : at + unit] and random.random() < share:
            mixed[at : at + unit] = lost[at : at + unit].ljust(len(new[at : at + unit]), b"\0")
    return bytes(mixed)


def _cuts(snapshots: list[Snapshot], trials: int, random: Random) -> Iterator[tuple[str, Files]]:
    """Cut the shortest log at every frame, or at as many as half of the trials allow; then do what else may come."""
    first = min(snapshots, key=lambda taken: len(taken.files[WAL]))
    frames = range(WAL_HEAD, len(first.files[WAL]) + 1, FRAME)
    count = min(len(frames), -(-trials // 2))
    for number in range(count):
        at = frames[number * len(frames) // count]
        yield f"cut at {at}", _cut(first, at)
    for number in range(trials - count):
        kind = KINDS[number % len(KINDS)]
        yield kind.__name__, kind(random.choice(snapshots), random)


def _tried(path: Path, kind: str, files: Files, random: Random) -> tuple[Tally, float]:
    """Say what a store says of such files, and how many seconds went by until it kept what is new."""
    path.mkdir(mode=0o700)
    for name, content in files.items():
        if name != SHARED or random.random() < 0.5:
            (path / name).write_bytes(content)
            (path / name).chmod(0o600)
    mount, began = Mount(path), time.monotonic()
    tally = sum((mount.judged(number) for number in random.sample(range(QUESTIONS), ASKED)), Tally(trials=1))
    seconds = time.monotonic() - began
    tally += mount.replays() if kind in LYING else mount.records()
    kept, more = mount.until_kept(SOON - seconds)
    mount.store.close()
    left = orphans(path)
    tally += kept + Tally(leaks=len(left), examples=tuple(map(str, left)))
    if not tally.is_clean:
        tally = Tally(examples=(kind,)) + tally
    return tally, seconds + more


def main(trials: int) -> None:
    """Cut the power so often."""
    random, tally, reads, slowest = Random(trials), Tally(), 0, 0.0
    with tempfile.TemporaryDirectory() as scratch:
        snapshots = [snapshot(Path(scratch), asked) for asked in (40, 250, 300, 400)]
        for number, (kind, files) in enumerate(_cuts(snapshots, trials, random)):
            path = Path(scratch, str(number))
            tried, seconds = _tried(path, kind, files, random)
            tally, reads, slowest = tally + tried, reads + int(tried.note or 0), max(slowest, seconds)
            shutil.rmtree(path)
    tell(tally + Tally(note=f"{reads:,} records read; kept answers again within {slowest * 1000:.0f} ms"))


FAULTS = (
    Fault(
        "simulated power cut",
        "the log is cut at every frame and anywhere, its pages and the database's are lost or zeroed, files are emptied",
        small=100,
        large=1000,
        run=lambda trials: run_in_a_process("tests.faults.power", trials),
    ),
)

if __name__ == "__main__":
    main(int(sys.argv[1]))
