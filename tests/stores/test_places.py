"""Where a store may be, and whether there is room."""

import contextlib
from dataclasses import dataclass
from pathlib import Path

import pytest

from cachemw import DiskStore
from cachemw.errors import PlaceRefused, StoreError
from cachemw.stores.disk import files as places

MOUNTINFO = """\
21 1 8:1 / / rw,relatime shared:1 - ext4 /dev/root rw
22 21 0:5 / /home rw,relatime - nfs4 server:/home rw
23 22 0:6 / /home/ann/my\\040disk rw - xfs /dev/sdb1 rw
24 21 0:7 / /mnt/share rw - fuse.sshfs someone@server: rw
25 21 0:8 / /mnt/image rw - fuse.squashfuse image rw
26 21 0:9 / /mnt/twice rw - ext4 /dev/sdc1 rw
27 26 0:10 / /mnt/twice rw - cifs //server/share rw
"""


@pytest.fixture
def _mounted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "mountinfo").write_text(MOUNTINFO)
    monkeypatch.setattr(places, "MOUNTS", tmp_path / "mountinfo")


@pytest.mark.usefixtures("_mounted")
@pytest.mark.parametrize(
    ("directory", "is_refused"),
    [
        ("/var/cache/cachemw", False),
        ("/home/ann/.cache/cachemw", True),
        ("/homes/ann", False),
        ("/home/ann/my disk/cachemw", False),
        ("/mnt/share", True),
        ("/mnt/image/cachemw", False),
        ("/mnt/twice/cachemw", True),
        ("/mnt/share/../image", False),
    ],
)
def test_a_network_file_system_is_refused(directory: str, is_refused: bool) -> None:
    """D5"""
    expected = pytest.raises(PlaceRefused, match="network") if is_refused else contextlib.nullcontext()

    with expected:
        places.refuse_network(Path(directory))


@pytest.mark.parametrize(("place", "kind"), [("/", None), ("/home", "9p")])
def test_the_root_of_a_sandbox_is_no_network_file_system(place: str, kind: str | None) -> None:
    """F15: it is its own, and nobody else writes to it."""
    assert places.file_system(Path("/home/ann/.cache"), {Path(place): "9p"}) == kind


def test_where_nobody_can_tell_nothing_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(places, "MOUNTS", Path("/nowhere"))

    places.refuse_network(Path("/home/ann/.cache"))


@pytest.mark.parametrize("allow_network", [False, True])
def test_a_store_on_a_network_file_system_has_to_be_forced(
    allow_network: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "mountinfo").write_text(MOUNTINFO + f"28 21 0:11 / {tmp_path} rw - nfs server:/ rw\n")
    monkeypatch.setattr(places, "MOUNTS", tmp_path / "mountinfo")
    store = DiskStore(tmp_path / "store", allow_network=allow_network)

    expected = contextlib.nullcontext() if allow_network else pytest.raises(StoreError, match="nfs")

    with expected:
        store.put(bytes(16), b"a record", None)

    assert store.path.exists() is allow_network
    store.close()


@dataclass(frozen=True)
class Disk:
    """A file system, as `os.statvfs` tells of it."""

    f_blocks: int
    f_bavail: int
    f_frsize: int = 4096


GIB_BLOCKS = 2**30 // 4096


@pytest.mark.parametrize(
    ("disk", "size", "says"),
    [
        (Disk(1000 * GIB_BLOCKS, 500 * GIB_BLOCKS), 4_000_000, True),
        (Disk(1000 * GIB_BLOCKS, 20_000), 1_000_000, True),
        (Disk(1000 * GIB_BLOCKS, 20_000), 10_000_000, False),
        (Disk(1000 * GIB_BLOCKS, 16_000), 1, False),
        (Disk(1000, 60), 1, True),  # on a small one a twentieth
        (Disk(1000, 60), 100_000, False),
        (Disk(1000, 40), 1, False),
        (Disk(1000, 0), 1, False),
        (Disk(0, 0), 1, True),  # one that does not tell
    ],
)
def test_a_store_leaves_room_for_everybody_else(
    disk: Disk, size: int, says: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """D6"""
    monkeypatch.setattr("os.statvfs", lambda _: disk)

    assert places.has_room(tmp_path, size) is says


def test_where_there_is_no_room_a_store_is_read_from_and_stores_again_when_there_is(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """D6"""
    store = DiskStore(tmp_path)
    store.put(bytes(16), b"a record", None)

    with monkeypatch.context() as patched:
        patched.setattr("os.statvfs", lambda _: Disk(1000, 0))
        with pytest.raises(StoreError, match="space"):
            store.put(bytes(16), b"another", None)
        assert store.get(bytes(16)) == b"a record"
    store.put(bytes(16), b"another", None)

    assert store.get(bytes(16)) == b"another"
    store.close()
