"""The store on disk, shared: by processes, across forks, and within the descriptors there are."""

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from cachemw.errors import StoreError
from cachemw.stores import DiskStore
from tests.stores.planting import locked, rows
from tests.stores.scripts import run, run_at_once

INDEX, OTHER = bytes(16), bytes([1]) * 16
PROCESSES = THREADS = 8
OPERATIONS = int(os.environ.get("TESTS_STORE_OPERATIONS", "2000"))
"""How many operations the crowd does together."""

CROWD = """
import sys
from concurrent.futures import ThreadPoolExecutor
from random import Random
from threading import Barrier
from cachemw.stores import DiskStore

store = DiskStore(sys.argv[1])
threads, turns = int(sys.argv[2]), int(sys.argv[3])
together = Barrier(threads)

def use(number):
    random = Random(number)
    together.wait()
    for turn in range(turns):
        index = bytes([random.randrange(40)]) * 16
        step = random.choice(("put", "put", "get", "get", "get", "delete", "scan" if turn % 50 == 0 else "get"))
        if step == "put":
            store.put(index, index * random.randrange(1, 2000), 60.0)
        elif step == "delete":
            store.delete(index)
        else:
            for read, record in store.scan() if step == "scan" else [(index, store.get(index) or b"")]:
                assert record == read * (len(record) // 16)

print("ready", flush=True)
input()
with ThreadPoolExecutor(threads) as pool:
    list(pool.map(use, range(threads)))
store.close()
"""


def test_a_crowd_opens_one_fresh_directory_at_once_and_uses_it(tmp_path: Path) -> None:
    """D2"""
    turns = OPERATIONS // (PROCESSES * THREADS)

    run_at_once(CROWD, PROCESSES, tmp_path / "store", THREADS, turns)

    assert rows(tmp_path / "store", "PRAGMA integrity_check") == [("ok",)]


FORKING = """
import os, sys
from cachemw.stores import DiskStore, Inline

PARENTS, CHILDS, LATER = (bytes([number]) * 16 for number in range(3))
(from_child, to_parent), (from_parent, to_child) = os.pipe(), os.pipe()

def child():
    assert store.inline is Inline.NONE
    assert store.get(PARENTS) == b"the parent's"
    store.put(CHILDS, b"the child's", None)
    os.write(to_parent, b".")
    os.read(from_parent, 1)
    store.put(LATER, b"the child's", None)
    assert store.inline is Inline.READS and store.get(LATER) == b"the child's"
    os.write(to_parent, b".")
    os.read(from_parent, 1)
    store.close()

store = DiskStore(sys.argv[1])
store.put(PARENTS, b"the parent's", None)
pid = os.fork()
if pid == 0:
    child()
    os._exit(0)
os.read(from_child, 1)
assert store.get(PARENTS) == b"the parent's"
assert store.get(CHILDS) == b"the child's"
store.close()  # what the child has open must not suffer by it
os.write(to_child, b".")
os.read(from_child, 1)
assert store.get(LATER) == b"the child's"
os.write(to_child, b".")
assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
store.close()
"""


def test_a_store_that_is_open_goes_through_a_fork(tmp_path: Path) -> None:
    """D3"""
    run(FORKING, tmp_path)

    assert rows(tmp_path, "PRAGMA integrity_check") == [("ok",)]
    assert len(rows(tmp_path, "SELECT key FROM Cache")) == 3


FORKING_UNDER_WAY = """
import contextlib, os, sys, threading
from cachemw.errors import StoreError
from cachemw.stores import DiskStore

store, is_over = DiskStore(sys.argv[1]), threading.Event()

def use():
    while not is_over.is_set():
        with contextlib.suppress(StoreError):  # closed, at the moment of a fork
            store.put(bytes(16), bytes(50_000), None)
            store.get(bytes(16))

threads = [threading.Thread(target=use) for _ in range(3)]
for thread in threads:
    thread.start()
children = []
for number in range(1, 11):
    pid = os.fork()
    if pid == 0:
        store.put(bytes([number]) * 16, b"a child's", None)
        assert store.get(bytes([number]) * 16) == b"a child's"
        os._exit(0)
    children.append(pid)
assert [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in children] == [0] * 10
is_over.set()
for thread in threads:
    thread.join()
assert [store.get(bytes([number]) * 16) for number in range(1, 11)] == [b"a child's"] * 10
store.close()
"""


def test_a_store_that_is_being_used_goes_through_forks(tmp_path: Path) -> None:
    """D3"""
    run(FORKING_UNDER_WAY, tmp_path)

    assert rows(tmp_path, "PRAGMA integrity_check") == [("ok",)]


FORKING_WITH_CALLS_QUEUED = """
import os, sys, threading
from cachemw import Limits
from cachemw.stores import DiskStore
from cachemw.stores.guard import GuardedStore

disk = DiskStore(sys.argv[1])
store, gate = GuardedStore(disk, Limits(store_patience=5.0)), threading.Event()
disk.put(bytes(16), b"a record", None)
disk.submit(gate.wait)
puts = [store.begin_put(bytes([number]) * 16, b"a record", None, waits=True) for number in range(1, 5)]
threading.Timer(0.02, gate.set).start()
pid = os.fork()
store.put(bytes([9]) * 16, b"a record", None)
if pid == 0:
    os._exit(0)
assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
assert all(put.is_over for put in puts)
assert store.get(bytes([9]) * 16) == b"a record"
disk.close()
"""


def test_a_fork_waits_for_nobody_who_waits_for_it(tmp_path: Path) -> None:
    """F68, D3: calls that are queued go on where they were begun."""
    run(FORKING_WITH_CALLS_QUEUED, tmp_path)

    assert rows(tmp_path, "PRAGMA integrity_check") == [("ok",)]


FORKING_UNDER_A_LOCK = """
import os, sys, time
from cachemw.stores import DiskStore
from cachemw.stores.guard import GuardedStore

class Enduring(DiskStore):
    write_timeout = 20.0

store = GuardedStore(Enduring(sys.argv[1]))
puts = [store.begin_put(bytes([number]) * 16, b"a record", None, waits=True) for number in range(3)]
time.sleep(0.2)
began = time.monotonic()
pid = os.fork()
if pid == 0:
    os._exit(0)
assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
assert all(put.is_over for put in puts)
print(time.monotonic() - began)
"""


def test_a_fork_does_not_wait_as_long_as_another_process_writes(tmp_path: Path) -> None:
    """F69, P4: an event loop may be what forks."""
    store = DiskStore(tmp_path)
    store.put(INDEX, b"a record", None)
    store.close()

    with locked(tmp_path, "IMMEDIATE"):
        seconds = float(run(FORKING_UNDER_A_LOCK, tmp_path))

    assert seconds < 10


FORKING_IN_MEMORY = """
import os, signal, threading
from cachemw.stores import MemoryStore

store, is_over = MemoryStore(), threading.Event()

def use():
    while not is_over.is_set():
        store.put(bytes(16), b"a record", None)

threads = [threading.Thread(target=use) for _ in range(3)]
for thread in threads:
    thread.start()
for _ in range(10):
    pid = os.fork()
    if pid == 0:
        signal.alarm(5)
        store.put(bytes([1]) * 16, b"a child's", None)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
is_over.set()
for thread in threads:
    thread.join()
"""


def test_a_store_in_memory_that_is_being_used_goes_through_forks() -> None:
    """F76, D3: a lock that another thread held would be held in the child for ever."""
    run(FORKING_IN_MEMORY)


OPENING = """
import sys
from cachemw.stores import DiskStore

store = DiskStore(sys.argv[1])
print(store.get(bytes(16)))
store.close()
"""


def test_two_stores_on_one_directory_do_not_unlock_each_other(tmp_path: Path) -> None:
    """D3: closing any descriptor of a file drops the process's locks on it, and the log goes with the last lock."""
    first, second = DiskStore(tmp_path), DiskStore(tmp_path)
    first.put(OTHER, b"a record", None)
    second.put(OTHER, b"a record", None)
    run(OPENING, tmp_path)

    first.put(INDEX, b"seen", None)

    assert run(OPENING, tmp_path) == "b'seen'\n"
    first.close()
    second.close()


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_a_store_is_shared_with_the_processes_of_multiprocessing(method: str, tmp_path: Path) -> None:
    """D3"""
    script = tmp_path / "script.py"
    script.write_text(MULTIPROCESSING)

    run(f"import runpy; runpy.run_path({str(script)!r}, run_name='__main__')", tmp_path / "store", method)


MULTIPROCESSING = """
import multiprocessing, sys
from cachemw.stores import DiskStore

def child(path):
    store = DiskStore(path)
    assert store.get(bytes(16)) == b"the parent's"
    store.put(bytes([1]) * 16, b"the child's", None)
    store.close()

if __name__ == "__main__":
    store = DiskStore(sys.argv[1])
    store.put(bytes(16), b"the parent's", None)
    process = multiprocessing.get_context(sys.argv[2]).Process(target=child, args=(sys.argv[1],))
    process.start()
    process.join()
    assert process.exitcode == 0
    assert store.get(bytes([1]) * 16) == b"the child's"
    store.close()
"""


def _descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def test_descriptors_are_flat_and_back_at_the_baseline_when_closed(tmp_path: Path) -> None:
    """D4: diskcache alone opens a connection for every thread there ever was."""
    if not Path("/proc/self/fd").is_dir():
        pytest.skip("this system does not tell which files a process has open")
    baseline = _descriptors()
    store = DiskStore(tmp_path)

    def use(number: int) -> None:
        store.put(number.to_bytes(16), b"a record", None)
        for turn in range(100):
            store.get((turn % 2).to_bytes(16))

    use(0)
    opened = _descriptors()
    seen = set()
    for number in range(0, 200, 2):
        with ThreadPoolExecutor(2) as threads:  # new ones every time
            list(threads.map(use, (number, number + 1)))
        seen.add(_descriptors())
    store.close()

    assert seen == {opened}
    assert _descriptors() == baseline


def test_descriptors_do_not_add_up_over_openings(tmp_path: Path) -> None:
    """D4"""
    if not Path("/proc/self/fd").is_dir():
        pytest.skip("this system does not tell which files a process has open")
    (tmp_path / "broken").mkdir(mode=0o700)
    (tmp_path / "broken" / "cache.db").mkdir()
    sound, broken = DiskStore(tmp_path / "sound"), DiskStore(tmp_path / "broken")
    baseline = _descriptors()

    for _ in range(10):
        sound.get(INDEX)
        with pytest.raises(StoreError):
            broken.get(INDEX)
        sound.close()
        broken.close()

    assert _descriptors() == baseline
