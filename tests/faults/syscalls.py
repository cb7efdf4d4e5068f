"""Every write, sync and opening of a store's files fails once, as on a disk that is full or breaks: strace has it fail."""

import ctypes
import itertools
import os
import re
import secrets
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random

from tests.faults.fault import ALL, Fault, Tally
from tests.faults.worker import (
    KEPT,
    QUESTIONS,
    Mount,
    exit_code,
    forked,
    orphans,
    packed,
    run_in_a_process,
    tell,
    truth_of,
    unpacked,
)

FULL_OR_BROKEN = (
    *("pwrite64", "write", "openat", "mkdir", "mkdirat", "ftruncate", "fallocate", "link", "linkat"),
    *("rename", "renameat", "renameat2", "fdatasync", "fsync"),
)
BROKEN = ("pread64", "read", "unlink", "unlinkat", "flock", "fcntl", "chmod", "fchmodat", "fchmod", "statfs")
DRAFT = ".secret-00"
FILES = ("", *KEPT, "cache.db-journal", DRAFT, ".secret")
ASKED = [number for number in range(QUESTIONS) if len(truth_of(number)) < 12_000][:8]
LARGE = next(number for number in range(QUESTIONS) if len(truth_of(number)) > 60_000)
SOON = 5.0
"""How many seconds it may take until a process that opens the store afterwards keeps answers."""

YAMA = Path("/proc/sys/kernel/yama/ptrace_scope")
_SET_PTRACER, _ANYBODY = 0x59616D61, -1
_CALL = re.compile(r"^(\d+) +(\w+)\(", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Point:
    """The call that fails: in each thread that comes so far, the one of this number."""

    call: str
    error: str
    number: int


def workload(path: Path) -> Tally:
    """Use a fresh store: fill it, close it, which ends its log, and use it again."""
    tally = Tally()
    for control, numbers in (("on", (*ASKED, LARGE)), ("on", ASKED[::3]), ("on, mode=refresh", (LARGE, *ASKED[::3]))):
        mount = Mount(path)
        for number in numbers:
            tally += mount.judged(number, control)
        mount.store.close()
    return tally


def watched(path: Path, log: Path, point: Point | None) -> Tally:
    """Do the workload in a process of its own, watched from its first call; say what came of it."""
    (ready, go), (reading, writing) = os.pipe(), os.pipe()
    pid = forked(lambda: _work(path, ready, writing))
    os.close(writing)
    strace = subprocess.Popen(_command(path, log, point, pid), stderr=subprocess.PIPE, text=True)
    assert strace.stderr is not None
    attached = strace.stderr.readline()
    os.write(go, b".")
    with open(reading) as told:
        said = told.read()
    ended = exit_code(pid)
    strace.communicate()
    os.close(ready)
    os.close(go)
    if " attached" not in attached:
        raise OSError(attached)
    return unpacked(said) if ended == 0 else Tally(failed=1, examples=(f"the process ended with {ended}",))


def _work(path: Path, ready: int, writing: int) -> None:
    """Be the process that is watched, as soon as it is."""
    ctypes.CDLL(None).prctl(_SET_PTRACER, ctypes.c_long(_ANYBODY))
    vars(secrets)["token_hex"] = lambda _: DRAFT[-2:]  # strace wants to know the names of files
    os.read(ready, 1)
    os.write(writing, packed(workload(path)).encode())


def _command(path: Path, log: Path, point: Point | None, pid: int) -> list[str]:
    paths = [word for name in FILES for word in ("-P", str(path / name).rstrip("/"))]
    calls = ",".join(f"?{call}" for call in (*FULL_OR_BROKEN, *BROKEN))  # no machine has them all
    inject = [] if point is None else ["-e", f"inject={point.call}:error={point.error}:when={point.number}"]
    return ["strace", "-f", "-p", str(pid), "-o", str(log), *paths, "-e", f"trace={calls}", *inject]


def points(scratch: Path) -> list[Point]:
    """Return every place where the workload can fail. Raises `OSError` where it cannot be watched."""
    log = scratch / "log"
    tally = watched(scratch / "dry", log, None)
    if tally != Tally():
        raise RuntimeError(f"the workload does not work: {tally}")
    threads = Counter(_CALL.findall(log.read_text()))
    most = {call: max(count for (_, other), count in threads.items() if other == call) for _, call in threads}
    return [
        Point(call, error, number)
        for calls, errors in ((FULL_OR_BROKEN, ("ENOSPC", "EIO")), (BROKEN, ("EIO",)))
        for call in calls
        for error in errors
        for number in range(1, most.get(call, 0) + 1)
    ]


def _tried(scratch: Path, point: Point) -> tuple[Tally, int, bool]:
    """Have a call fail, then read in another process what is there; say how many calls failed, and whether all is lost."""
    path, log = scratch / "store", scratch / "log"
    tally = Tally(trials=1) + watched(path, log, point)
    failures = log.read_text().count("(INJECTED)")
    mount = Mount(path)
    tally += mount.records() + mount.replays((*ASKED, LARGE))
    tally += mount.until_kept(SOON)[0]
    mount.store.close()
    left, is_lost = orphans(path), any(path.glob("*.corrupt-*"))
    tally += Tally(leaks=len(left), examples=tuple(map(str, left)))
    shutil.rmtree(path)
    return tally if tally.is_clean else Tally(examples=(str(point),)) + tally, failures, is_lost


def main(trials: int) -> None:
    """Have so many calls fail, evenly spread over all, or each of them."""
    tally, failures, losses = Tally(), 0, 0
    with tempfile.TemporaryDirectory() as scratch:
        every = points(Path(scratch))
        for point in every if trials == ALL else _some(every, trials):
            tried, failed, is_lost = _tried(Path(scratch), point)
            tally, failures, losses = tally + tried, failures + failed, losses + is_lost
    tell(tally + Tally(note=f"of {len(every):,} places; {failures:,} calls failed, {losses} databases were set aside"))


def _some(every: list[Point], count: int) -> Iterator[Point]:
    """Choose so many, of every call and error in turn."""
    random = Random(count)
    kinds = [list(points) for _, points in itertools.groupby(every, lambda point: (point.call, point.error))]
    for points in kinds:
        random.shuffle(points)
    turns = itertools.chain.from_iterable(itertools.zip_longest(*kinds))
    return itertools.islice((point for point in turns if point is not None), count)


def why_not() -> str | None:
    """Try it."""
    if shutil.which("strace") is None:
        return "there is no strace"
    if YAMA.exists() and int(YAMA.read_text()) > 1 and os.geteuid():
        return "only root may trace"
    with tempfile.TemporaryDirectory() as scratch:
        tried = subprocess.run(["strace", "-o", f"{scratch}/log", "-e", "inject=mkdir:error=EIO", "true"], capture_output=True)
    return "strace may not trace" if tried.returncode else None


FAULTS = (
    Fault(
        "each write, sync and open fails once",
        "strace has every such call of a short run over a fresh store fail with ENOSPC and with EIO",
        small=60,
        large=ALL,
        run=lambda trials: run_in_a_process("tests.faults.syscalls", trials),
        why_not=why_not,
    ),
)

if __name__ == "__main__":
    main(int(sys.argv[1]))
