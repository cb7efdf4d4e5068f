"""One fresh directory that many open at once: threads, processes that were spawned, and processes that were forked."""

import sqlite3
import subprocess
import tempfile
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from tests.faults.fault import Fault, Tally
from tests.faults.worker import KEPT
from tests.stores.scripts import run, run_at_once
from tests.stores.test_disk_processes import CROWD, FORKING_UNDER_WAY

PROCESSES = THREADS = 8
FIRST_OPENERS = 32
FEW, MANY = 2_000, 10_000
"""How many operations a crowd does together: in CI, and when there is time."""

FORKED_CROWD = """
import os, runpy, sys
from cachemw.stores import DiskStore

crowd, processes, is_open = sys.argv.pop(), int(sys.argv.pop()), sys.argv.pop() == "open"
(waiting, to_parent), (begun, to_children) = os.pipe(), os.pipe()

def input():
    os.write(to_parent, b".")
    os.read(begun, 1)

if is_open:
    store = DiskStore(sys.argv[1])
    store.put(bytes([41]) * 16, bytes([41]) * 16, 60.0)
children = []
for _ in range(processes):
    pid = os.fork()
    if pid == 0:
        exec(crowd)
        os._exit(0)
    children.append(pid)
for _ in children:
    os.read(waiting, 1)
os.write(to_children, b"." * processes)
codes = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in children]
assert codes == [0] * processes, codes
if is_open:
    assert store.get(bytes([41]) * 16) == bytes([41]) * 16
    store.close()
"""
"""Has the crowd be children of one process, which may have the store open; each waits in `input()` for the others."""

FIRST = """
from cachemw.stores import DiskStore

store = DiskStore(sys.argv[1])
print("ready", flush=True)
input()
secret = store.secret()
store.put(bytes(15) + bytes([os.getpid() % 256]), secret, 60.0)
assert all(record == secret for _, record in store.scan())
store.close()
"""
"""Each opens it for the first time, and all have one secret."""


def open_at_once(trials: int) -> Tally:
    """Each trial is one fresh directory for every way to come to it."""
    tally, operations = Tally(), FEW if trials <= FAULTS[0].small else MANY
    turns = operations // (PROCESSES * THREADS)
    for _ in range(trials):
        tally += sum((_tried(name, way, turns) for name, way in WAYS.items()), Tally(trials=1))
    opened = PROCESSES * THREADS * 3 + FIRST_OPENERS
    return tally + Tally(note=f"{opened} openers and {3 * turns * PROCESSES * THREADS:,} operations in each")


def _spawned(path: Path, turns: int) -> None:
    run_at_once(CROWD, PROCESSES, path, THREADS, turns)


def _forked(path: Path, turns: int) -> None:
    run(FORKED_CROWD, path, THREADS, turns, "closed", PROCESSES, CROWD)


def _forked_while_open(path: Path, turns: int) -> None:
    run(FORKED_CROWD, path, THREADS, turns, "open", PROCESSES, CROWD)


def _first(path: Path, turns: int) -> None:
    run(FORKED_CROWD, path, "closed", FIRST_OPENERS, FIRST)


def _forked_under_way(path: Path, turns: int) -> None:
    run(FORKING_UNDER_WAY, path)


WAYS: dict[str, Callable[[Path, int], None]] = {
    "spawned": _spawned,
    "forked": _forked,
    "forked from one that has it open": _forked_while_open,
    f"{FIRST_OPENERS} open it first": _first,
    "forked from one that uses it": _forked_under_way,
}


def _tried(name: str, way: Callable[[Path, int], None], turns: int) -> Tally:
    """Have them come; then look whether the database is sound, and nothing lies about."""
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory, "store")
        try:
            way(path, turns)
        except (AssertionError, subprocess.TimeoutExpired) as exc:  # what one of them complained of, or it hangs
            return Tally(failed=1, examples=(f"{name}: {str(exc)[-1500:]}",))
        with closing(sqlite3.connect(path / "cache.db")) as database:
            ((integrity,),) = database.execute("PRAGMA integrity_check").fetchall()
        strange = {file.name for file in path.iterdir()} - set(KEPT)
    wrong = () if integrity == "ok" else (f"{name}: {integrity}",)
    left = (f"{name}: {sorted(strange)} are left",) if strange else ()
    return Tally(wrong=len(wrong), leaks=len(strange), examples=(*wrong, *left))


FAULTS: tuple[Fault, ...] = (
    Fault("8 x 8 openers", "threads, fork and spawn; 32 first openers; parents that have it open", 3, 20, open_at_once),
)
