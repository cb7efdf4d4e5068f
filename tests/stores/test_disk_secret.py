"""The secret of a store on disk: one for all who open it, and made only for who asks."""

import errno
import os
from pathlib import Path

import pytest

from cachemw.errors import ConfigurationError, StoreError
from cachemw.stores import DiskStore
from tests.stores.scripts import run_at_once

INDEX, OTHER = bytes(16), bytes([1]) * 16

SECRET = """
import sys
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from cachemw.stores import DiskStore

store = DiskStore(sys.argv[1])
together = Barrier(8)

def ask(_):
    together.wait()
    return store.secret()

print("ready", flush=True)
input()
with ThreadPoolExecutor(8) as pool:
    print(*(secret.hex() for secret in pool.map(ask, range(8))))
store.close()
"""


def test_64_first_callers_agree_on_the_secret(tmp_path: Path) -> None:
    """I1"""
    told = [secret for output in run_at_once(SECRET, 8, tmp_path) for secret in output.split()]

    assert len(told) == 64
    assert len(set(told)) == 1
    assert (tmp_path / "secret").read_bytes().hex() == told[0]
    assert not list(tmp_path.glob(".secret*"))


@pytest.mark.parametrize("length", [16, 32, 33])
def test_a_secret_that_the_environment_gives_is_written_nowhere(
    length: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """E6: 32 bytes are what the store would make itself."""
    monkeypatch.setenv("CACHEMW_SECRET", "s" * length)
    store = DiskStore(tmp_path)

    assert store.secret() == b"s" * length
    store.put(INDEX, b"a record", None)
    store.close()

    assert not list(tmp_path.glob("*secret*"))
    assert not any(b"s" * 16 in path.read_bytes() for path in tmp_path.iterdir())


@pytest.mark.parametrize("length", [1, 15])
def test_a_secret_that_can_be_guessed_is_refused_before_anything_is_opened(
    length: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """F112, E1"""
    monkeypatch.setenv("CACHEMW_SECRET", "a" * length)

    with pytest.raises(ConfigurationError, match=f"CACHEMW_SECRET has {length} bytes, and a secret has at least 16"):
        DiskStore(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_secret_may_be_any_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """F113, E1"""
    given = bytes(range(128, 144))
    monkeypatch.setenv("CACHEMW_SECRET", os.fsdecode(given))

    assert DiskStore(tmp_path).secret() == given


def test_a_secret_that_is_too_long_is_somebody_elses_and_not_used(tmp_path: Path) -> None:
    """I1"""
    (tmp_path / "secret").write_bytes(bytes(33))
    store = DiskStore(tmp_path)

    with pytest.raises(StoreError):
        store.secret()
    store.put(INDEX, b"a record", None)
    assert store.get(INDEX) == b"a record"
    assert (tmp_path / "secret").read_bytes() == bytes(33)
    store.close()


@pytest.mark.parametrize("size", [0, 31])
def test_a_secret_that_was_cut_short_is_made_anew(tmp_path: Path, size: int) -> None:
    """F16, I1"""
    (tmp_path / "secret").write_bytes(bytes(size))
    store, other = DiskStore(tmp_path), DiskStore(tmp_path)

    said = store.secret(), other.secret()

    assert said[0] == said[1] == (tmp_path / "secret").read_bytes()
    assert len(said[0]) == 32
    assert said[0] != bytes(32)


def test_what_a_kill_leaves_of_a_secret_is_used_up(tmp_path: Path) -> None:
    """F17, D10"""
    (tmp_path / ".secret").write_bytes(b"half")

    said = DiskStore(tmp_path).secret()

    assert len(said) == 32
    assert sorted(path.name for path in tmp_path.iterdir()) == ["lock", "secret"]


def test_nothing_is_left_of_a_secret_that_does_not_fit_on_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """F18, D6"""

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(StoreError):
        DiskStore(tmp_path).secret()

    assert [path.name for path in tmp_path.iterdir()] == ["lock"]


def test_a_secret_that_others_could_read_is_made_private(tmp_path: Path) -> None:
    """F19, I7"""
    said = DiskStore(tmp_path).secret()
    (tmp_path / "secret").chmod(0o644)

    assert DiskStore(tmp_path).secret() == said
    assert (tmp_path / "secret").stat().st_mode & 0o777 == 0o600


def test_a_store_that_is_not_asked_for_a_secret_holds_none(tmp_path: Path) -> None:
    """E6"""
    store = DiskStore(tmp_path)

    store.put(INDEX, b"a record", None)
    store.get(OTHER)
    store.close()

    assert not (tmp_path / "secret").exists()
