"""The store's directory and files are this user's alone: else somebody else chooses the secret, or reads what is stored."""

import contextlib
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from cachemw.errors import StoreError
from cachemw.stores import DiskStore

INDEX = bytes(16)
NOBODY = 65534
FILES = ("cache.db", "cache.db-wal", "cache.db-shm", "cache.db-journal", "lock")


def _give_away(path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can give a file to somebody else")
    os.chown(path, NOBODY, NOBODY)


def _mode(path: Path) -> int:
    return path.stat().st_mode & 0o7777


def test_a_directory_of_another_user_is_refused(store: DiskStore) -> None:
    """F100, I7: he could put any database and any secret there."""
    store.path.mkdir(mode=0o700)
    _give_away(store.path)

    with pytest.raises(StoreError, match=f"belongs to the user {NOBODY}"):
        store.put(INDEX, b"a record", None)
    with pytest.raises(StoreError, match=f"belongs to the user {NOBODY}"):
        store.secret()
    assert list(store.path.iterdir()) == []


def test_whose_a_directory_is_goes_by_the_effective_user(store: DiskStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """F100, I7"""
    store.put(INDEX, b"a record", None)
    store.close()
    monkeypatch.setattr("os.geteuid", lambda: NOBODY)

    with pytest.raises(StoreError, match="belongs to the user"):
        store.get(INDEX)


@pytest.mark.parametrize("of_another", [True, False], ids=["another's", "own"])
def test_a_directory_on_the_way_is_this_users_or_roots(of_another: bool, tmp_path: Path) -> None:
    """F100, I7: its owner could rename the store's and make another."""
    (tmp_path / "way").mkdir(mode=0o755)
    if of_another:
        _give_away(tmp_path / "way")
    store = DiskStore(tmp_path / "way" / "store")

    if of_another:
        with pytest.raises(StoreError, match="on the way"):
            store.put(INDEX, b"a record", None)
    else:
        store.put(INDEX, b"a record", None)
    store.close()


def test_a_directory_that_is_a_link_is_refused_and_what_it_leads_to_left_alone(store: DiskStore, tmp_path: Path) -> None:
    """F101, I7"""
    (tmp_path / "mine").mkdir(mode=0o755)
    store.path.symlink_to(tmp_path / "mine")

    with pytest.raises(StoreError, match="is a symbolic link"):
        store.put(INDEX, b"a record", None)

    assert _mode(tmp_path / "mine") == 0o755
    assert list((tmp_path / "mine").iterdir()) == []


def test_a_link_on_the_way_is_followed(tmp_path: Path) -> None:
    """A home, or /var, may be one."""
    (tmp_path / "real").mkdir(mode=0o755)
    (tmp_path / "link").symlink_to("real/../real")
    store = DiskStore(tmp_path / "link" / "store")

    store.put(INDEX, b"a record", None)

    assert store.get(INDEX) == b"a record"
    store.close()


@pytest.mark.parametrize(("group", "is_taken"), [("own", True), ("another", False)])
def test_a_group_that_has_no_other_user_is_nobody_else(group: str, is_taken: bool, tmp_path: Path) -> None:
    """F102, I7: under a umask of 002 every checkout is its group's to write to, and that group is often its user's own."""
    (tmp_path / "way").mkdir()
    (tmp_path / "way").chmod(0o775)
    if group == "another" or os.getegid() != os.geteuid():
        if os.geteuid() != 0:
            pytest.skip("only root can give a file to another group")
        os.chown(tmp_path / "way", -1, NOBODY if group == "another" else os.getegid())
    store = DiskStore(tmp_path / "way" / "store")

    with contextlib.nullcontext() if is_taken else pytest.raises(StoreError, match="may be written to by others"):
        store.put(INDEX, b"a record", None)
    store.close()


@pytest.mark.parametrize(("mode", "is_taken"), [(0o777, False), (0o1777, True), (0o755, True)], ids=str)
@pytest.mark.parametrize("is_behind_a_link", [False, True], ids=["straight", "link"])
def test_a_directory_on_the_way_that_others_may_write_to_is_refused(
    mode: int, is_taken: bool, is_behind_a_link: bool, tmp_path: Path
) -> None:
    """F102, I7: but for one like /tmp, where nobody may rename what is another's."""
    (tmp_path / "way" / "to").mkdir(parents=True)
    (tmp_path / "way").chmod(mode)
    (tmp_path / "link").symlink_to(tmp_path / "way" / "to")
    store = DiskStore((tmp_path / "link" if is_behind_a_link else tmp_path / "way" / "to") / "store")

    if is_taken:
        store.put(INDEX, b"a record", None)
    else:
        with pytest.raises(StoreError, match="may be written to by others"):
            store.put(INDEX, b"a record", None)
        with pytest.raises(StoreError, match="may be written to by others"):
            store.secret()
    store.close()


@pytest.mark.parametrize("name", ["secret", ".secret", "lock"])
def test_a_secret_is_not_read_from_or_written_to_behind_a_link(name: str, store: DiskStore, tmp_path: Path) -> None:
    """F103, E1, I7: whose mode was changed too, be it root's."""
    (tmp_path / "known").write_bytes(bytes(32))
    (tmp_path / "known").chmod(0o644)
    store.path.mkdir(mode=0o700)
    (store.path / name).symlink_to(tmp_path / "known")

    with pytest.raises(StoreError, match="is a symbolic link"):
        store.secret()

    assert (_mode(tmp_path / "known"), (tmp_path / "known").read_bytes()) == (0o644, bytes(32))


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir])
def test_a_secret_that_is_no_file_is_refused_at_once(make: Callable[[Path], None], store: DiskStore) -> None:
    """F103, I7: who opens a pipe waits for who writes to it."""
    store.path.mkdir(mode=0o700)
    make(store.path / "secret")

    with pytest.raises(StoreError, match="secret"):
        store.secret()


@pytest.mark.parametrize("name", ["secret", ".secret", "lock"])
def test_a_secret_of_another_user_is_refused(name: str, store: DiskStore) -> None:
    """F104, E1, I7: he knows it."""
    store.path.mkdir(mode=0o700)
    (store.path / name).write_bytes(bytes(32))
    _give_away(store.path / name)

    with pytest.raises(StoreError, match=f"belongs to the user {NOBODY}"):
        store.secret()


@pytest.mark.parametrize("name", FILES)
def test_a_database_of_another_user_is_refused(name: str, store: DiskStore) -> None:
    """F104, I7: he has it open, and reads whatever is stored; out of a log of his SQLite would take records."""
    store.path.mkdir(mode=0o700)
    (store.path / name).touch()
    _give_away(store.path / name)

    with pytest.raises(StoreError, match=f"belongs to the user {NOBODY}"):
        store.put(INDEX, b"a record", None)


@pytest.mark.parametrize("name", FILES)
def test_a_file_that_is_a_link_is_refused(name: str, store: DiskStore, tmp_path: Path) -> None:
    """F7, I7"""
    (tmp_path / "mine").touch(0o644)
    store.path.mkdir(mode=0o700)
    (store.path / name).symlink_to(tmp_path / "mine")

    with pytest.raises(StoreError):
        store.put(INDEX, b"a record", None)

    assert _mode(tmp_path / "mine") == 0o644
