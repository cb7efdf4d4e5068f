"""Workers that share a store are killed at random moments; what they leave is read to the last record."""

import gc
import itertools
import os
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from random import Random

from cachemw.errors import StoreError
from tests.faults.fault import Fault, Tally
from tests.faults.truth import answer_to
from tests.faults.worker import QUESTIONS, Mount, body_of, exit_code, forked, orphans, run_in_a_process, tell, truths

WORKERS = 4
ROUNDS = (4, 12)
"""How many kills there are in a fresh directory before all is read, and then before it is read again."""

LONGEST_WAIT = 0.06
YOUNG_WAIT = 0.01  # in a fresh directory: it is being made then
SOON = 3.0
"""How many seconds the first answer may take after a kill, on a busy machine; the row says how many it took."""

CONTROLS = ("on", "on, mode=refresh", "on, ttl=5", "on, mode=read", "off")
WEIGHTS = (40, 50, 5, 3, 2)


class Report:
    """A pipe to the parent: one byte for every answer, a line for what was wrong with it."""

    def __init__(self) -> None:
        self._reading, self._writing = os.pipe()

    def add(self, tally: Tally) -> None:
        """Tell of one answer."""
        kind = "w" if tally.wrong else "f" if tally.failed else "."
        os.write(self._writing, kind.encode() + "; ".join(tally.examples).encode()[:2000] + b"\n")

    def read(self) -> tuple[Tally, int]:
        """Return what was told until the end of every worker, and of how many answers."""
        os.close(self._writing)
        with open(self._reading, errors="replace") as told:
            lines = told.read().splitlines()
        wrong, failed = ([line[1:] for line in lines if line[:1] == kind] for kind in "wf")
        return Tally(wrong=len(wrong), failed=len(failed), examples=(*wrong, *failed)[:5]), len(lines)


class Workers:
    """Processes that use one directory."""

    def __init__(self, path: Path, count: int, random: Random) -> None:
        self._path, self._random, self._report = path, random, Report()
        self._wait = LONGEST_WAIT if path.exists() else YOUNG_WAIT
        self._pids = [self._start() for _ in range(count)]
        self._tally = Tally()

    def kill_one(self, *, replace: bool) -> None:
        """Kill one of them at a random moment; `replace`: start another."""
        time.sleep(self._random.uniform(0, self._wait))
        pid = self._pids.pop(self._random.randrange(len(self._pids)))
        os.kill(pid, signal.SIGKILL)
        ended = exit_code(pid)
        self._tally += Tally(trials=1)
        if ended != -signal.SIGKILL:
            self._tally += Tally(failed=1, examples=(f"a worker ended by itself: {ended}",))
        if replace:
            self._pids.append(self._start())

    def told(self) -> tuple[Tally, int]:
        """Return what came of it, and how many answers there were."""
        tally, answers = self._report.read()
        return self._tally + tally, answers

    def _start(self) -> int:
        seed = self._random.random()
        return forked(lambda: _work(self._path, Random(seed), self._report))


def _work(path: Path, random: Random, report: Report) -> None:
    """Ask and ask, until killed."""
    mount = Mount(path)
    while True:
        (control,) = random.choices(CONTROLS, WEIGHTS)
        report.add(mount.judged(random.randrange(QUESTIONS), control))
        with suppress(StoreError):
            if random.random() < 0.02:
                mount.store.delete(next(mount.store.scan(), (bytes(16), b""))[0])
            elif random.random() < 0.001:
                mount.store.clear()


def _round(path: Path, kills: int, random: Random) -> tuple[Tally, int]:
    """Return what came of so many kills, and how many answers there were."""
    workers = Workers(path, min(WORKERS, kills), random)
    for left in range(kills, 0, -1):
        workers.kill_one(replace=left > WORKERS)
    return workers.told()


def _read_all(path: Path) -> tuple[Tally, float]:
    """Read what was left; return how many seconds it took to open, too."""
    mount, began = Mount(path), time.monotonic()
    tally = mount.judged(0)
    seconds = time.monotonic() - began
    tally += (records := mount.records())
    tally += (replays := mount.replays())
    mount.store.close()
    if records.note != replays.note:
        tally += Tally(failed=1, examples=(f"{records.note} records answer {replays.note} questions",))
    if seconds > SOON:
        tally += Tally(failed=1, examples=(f"{seconds:.1f} s to open",))
    left = orphans(path)
    aside = [file.name for file in path.iterdir() if ".corrupt-" in file.name]
    return tally + Tally(failed=len(aside), leaks=len(left), examples=(*map(str, left), *aside)), seconds


def main(trials: int) -> None:
    """Kill so many workers."""
    random, tally, answers, reads, slowest = Random(trials), Tally(), 0, 0, 0.0
    _warm_up()
    with tempfile.TemporaryDirectory() as scratch:
        for number, kills in enumerate(_rounds(trials)):
            path = Path(scratch, str(number // len(ROUNDS)))
            killed, answered = _round(path, kills, random)
            read, seconds = _read_all(path)
            tally, answers, reads = tally + killed + read, answers + answered, reads + int(read.note or 0)
            slowest = max(slowest, seconds)
    note = f"{answers:,} answers, {reads:,} records read; opened again within {slowest * 1000:.0f} ms"
    tell(tally + Tally(note=note))


def _rounds(kills: int) -> Iterator[int]:
    for most in itertools.cycle(ROUNDS):
        if kills <= 0:
            return
        yield min(most, kills)
        kills -= most


def _warm_up() -> None:
    """Have every answer ready: what is forked then has it too."""
    for number in range(QUESTIONS):
        answer_to(body_of(number))
    truths()
    gc.freeze()


FAULTS = (
    Fault(
        "SIGKILL during writes",
        "4 processes share a directory and are killed at random moments; then every record is read",
        small=50,
        large=1000,
        run=lambda trials: run_in_a_process("tests.faults.kills", trials),
    ),
)

if __name__ == "__main__":
    main(int(sys.argv[1]))
