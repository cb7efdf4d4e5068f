"""The default store as who only replays has it: nothing in its directory changes, whatever state it is in."""

import contextlib
import os
import re
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cachemw import ConfigurationError, DiskStore, FileStore, StoreError
from cachemw.errors import RecordRefused
from tests.stores.planting import rows
from tests.stores.test_files import snapshot

ONE, TWO = b"1" * 16, b"2" * 16
ROOT = Path(__file__).parents[2]


@pytest.fixture
def recorded(tmp_path: Path) -> Iterator[DiskStore]:
    """A store with a record, closed."""
    store = DiskStore(tmp_path / "cassette")
    store.put(ONE, b"first", None)
    store.secret()
    store.close()
    yield store
    store.close()


def test_who_only_replays_changes_no_byte(recorded: DiskStore) -> None:
    """F3: nor leaves a file beside."""
    before = snapshot(recorded.path)
    store = recorded.read_only()

    got = store.get(ONE), store.get(TWO), store.count(), list(store.scan()), store.secret(), store.size() > 0
    store.discard(ONE)
    for change in (lambda: store.put(TWO, b"second", None), lambda: store.delete(ONE), store.clear, lambda: store.purge(1e12)):
        with pytest.raises(RecordRefused, match="only replayed"):
            change()
    store.close()
    store.close()

    assert got == (b"first", None, 1, [(ONE, b"first")], recorded.secret(), True)
    assert store.get(ONE) == b"first"
    assert snapshot(recorded.path) == before


def test_it_is_closed_with_the_store_it_is_of(recorded: DiskStore) -> None:
    store = recorded.read_only()
    store.get(ONE)

    recorded.close()

    assert store._connection is None
    assert recorded.read_only() is store


@pytest.mark.parametrize("made", ["nothing", "the directory"])
def test_there_has_to_be_something_to_replay(made: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """F3: it is not made, and the absolute path is named."""
    monkeypatch.chdir(tmp_path)
    if made != "nothing":
        (tmp_path / "cassette").mkdir()
    before = snapshot(tmp_path)

    with pytest.raises(ConfigurationError, match=re.escape(str(tmp_path / "cassette"))):
        DiskStore("cassette").read_only()

    assert snapshot(tmp_path) == before


def test_what_is_written_meanwhile_is_found(recorded: DiskStore) -> None:
    """C6: a database that is opened as one that does not change is opened anew when it has."""
    store = recorded.read_only()
    got = [store.get(TWO)]

    recorded.put(TWO, b"in the log", None)
    got.append(store.get(TWO))
    recorded.put(TWO, b"in the log, too", None)
    got.append(store.get(TWO))
    DiskStore.close(recorded)
    got.append(store.get(TWO))

    assert got == [None, b"in the log", b"in the log, too", b"in the log, too"]


KILLED = """
import os, sys
from cachemw import DiskStore
store = DiskStore(sys.argv[1])
store.put(b"2" * 16, b"second", None)
os._exit(1)
"""


@pytest.mark.parametrize("left", ["both", "the log"])
def test_the_log_of_a_writer_that_was_killed_is_read_and_stays(left: str, recorded: DiskStore) -> None:
    """F3: whichever of the files were committed."""
    subprocess.run([sys.executable, "-c", KILLED, str(recorded.path)], cwd=ROOT, timeout=30, check=False)
    if left == "the log":
        (recorded.path / "cache.db-shm").unlink()
    before = snapshot(recorded.path)
    store = recorded.read_only()

    got = store.get(ONE), store.get(TWO)
    store.close()

    assert (recorded.path / "cache.db-wal").stat().st_size > 0
    assert got == (b"first", b"second")
    assert snapshot(recorded.path) == before


def rows_of_another(path: Path) -> None:
    path.unlink()
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("CREATE TABLE Cache (key, value)")


def linked(path: Path) -> None:
    path.rename(path.with_name("elsewhere"))
    path.symlink_to("elsewhere")


def replaced_by_a_directory(path: Path) -> None:
    path.unlink()
    path.mkdir()


FOREIGN: dict[str, Any] = {
    "no database": lambda path: path.write_bytes(b"no database, but a text that is long enough" * 99),
    "another program's": rows_of_another,
    "a link": linked,
    "a directory": replaced_by_a_directory,
    "gone": lambda path: path.unlink(),
    "empty": lambda path: path.write_bytes(b""),
}


@pytest.mark.parametrize("damage", FOREIGN.values(), ids=FOREIGN.keys())
def test_what_is_no_store_is_named_and_left_as_it_is(damage: Any, recorded: DiskStore) -> None:
    """F3: and not set aside, as where something is to be kept."""
    store = recorded.read_only()
    damage(recorded.path / "cache.db")
    before = snapshot(recorded.path)

    with pytest.raises(StoreError, match=re.escape(str(recorded.path / "cache.db"))):
        store.get(ONE)

    assert snapshot(recorded.path) == before


def test_a_row_that_is_none_of_ours_is_no_record(recorded: DiskStore) -> None:
    """I3."""
    rows(recorded.path, "UPDATE Cache SET mode = 4")

    assert recorded.read_only().get(ONE) is None


def test_a_secret_is_not_made_nor_its_mode_changed(recorded: DiskStore) -> None:
    (recorded.path / "secret").unlink()
    store, before = DiskStore(recorded.path).read_only(), snapshot(recorded.path)

    with pytest.raises(StoreError, match="secret"):
        store.secret()

    assert snapshot(recorded.path) == before


REPLAYING = """
import os, sys
from cachemw import DiskStore, FileStore
os.setgid(65534), os.setuid(65534)
store = (FileStore if sys.argv[2] == "files" else DiskStore)(sys.argv[1]).read_only()
print(store.get(b"1" * 16), os.access(sys.argv[1], os.W_OK))
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
@pytest.mark.parametrize("kind", ["disk", "files"])
def test_another_user_can_replay_what_nobody_may_write_to(kind: str, recorded: DiskStore) -> None:
    """F3: as in a container that has the checkout mounted, read only."""
    with tempfile.TemporaryDirectory() as directory:
        copy = Path(directory) / "cassette"
        shutil.copytree(recorded.path, copy)
        FileStore(copy).put(ONE, b"first", None)
        for path in (Path(directory), copy, *copy.iterdir()):
            path.chmod(0o555 if path.is_dir() else 0o444)
        before = snapshot(Path(directory))

        command = [sys.executable, "-c", REPLAYING, str(copy), kind]
        ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=30, check=False)

        assert (ran.stdout, ran.stderr) == ("b'first' False\n", "")
        assert snapshot(Path(directory)) == before
