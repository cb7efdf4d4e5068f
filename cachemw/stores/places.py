"""Where a store may be, and whether there is room."""

import os
from pathlib import Path

from cachemw.core import limits

MOUNTS = Path("/proc/self/mountinfo")

ROOT = Path("/")

NETWORK = frozenset(
    "nfs nfs4 cifs smb3 smbfs ncpfs 9p afs ceph glusterfs lustre gpfs beegfs coda ocfs2 gfs2 fuse.sshfs fuse.s3fs fuse.gcsfuse"
    " fuse.rclone fuse.glusterfs fuse.ceph fuse.ceph-fuse fuse.juicefs fuse.davfs fuse.smbnetfs fuse.nfs".split()
)
"""File systems that other machines write to as well: SQLite's locks do not hold there, nor is its log's index shared."""


def refuse_network(directory: Path) -> None:
    """Raise `OSError` for a directory on a network file system; where nobody can tell, there is none."""
    kind = file_system(directory, _mounts())
    if kind in NETWORK:
        raise OSError(f"{directory} is on a network file system ({kind}), where SQLite loses data: choose another, or force it")


def file_system(directory: Path, mounts: dict[Path, str]) -> str | None:
    """Return the kind of the file system that a directory is on, or is going to be."""
    real = directory.resolve()
    place = next((place for place in (real, *real.parents) if place in mounts), ROOT)
    kind = mounts.get(place)
    return None if place == ROOT and kind == "9p" else kind  # a sandbox's own, which nobody else writes to


def _mounts() -> dict[Path, str]:
    """Return what is mounted where; the last of those in one place is the one that shows (proc(5))."""
    try:
        lines = MOUNTS.read_text(errors="surrogateescape").splitlines()
    except OSError:
        return {}
    parted = (line.partition(" - ") for line in lines)
    return {Path(_unescaped(before.split()[4])): after.split()[0] for before, _, after in parted}


def _unescaped(path: str) -> str:
    for code in ("040", "011", "012", "134"):
        path = path.replace(f"\\{code}", chr(int(code, 8)))
    return path


def has_room(directory: Path, size_bytes: int) -> bool:
    """Say whether so much can be written, twice, and enough is left for everybody else."""
    disk = os.statvfs(directory)
    floor = min(limits.FREE_SPACE, disk.f_blocks * disk.f_frsize // 20)
    return disk.f_blocks == 0 or disk.f_bavail * disk.f_frsize - 2 * size_bytes >= floor
