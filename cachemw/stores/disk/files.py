"""Files that are nobody else's, and the store's secret among them. Whatever the umask: directories 0700, files 0600.

Who may put a file into the directory can choose the secret, and who may put another directory in its place can read all
that is stored: so both are this user's alone before anything in there is opened.
"""

import contextlib
import fcntl
import os
import secrets
import stat
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from diskcache.core import DBNAME

from cachemw.errors import ConfigurationError, PlaceRefused

SECRET_BYTES = 32
SECRET_FILE = "secret"  # noqa: S105
SECRET_VARIABLE = "CACHEMW_SECRET"  # noqa: S105
SHORTEST_SECRET = 16
"""Bytes of a secret that is given: a shorter one can be guessed by who sees what was made with it."""

LOCK_FILE = "lock"
OURS = {DBNAME, LOCK_FILE}
"""The files in the directory of every store of ours."""

MAY_BE_OURS = {*OURS, SECRET_FILE, f".{SECRET_FILE}"}

LOCK_WAIT = 3.0
CLOSING_WAIT = 1.0


def prepare_directory(path: Path) -> None:
    """Make the directory, and make it ours alone. Raises `OSError`, also for one that others use for something else."""
    _make(path)
    _refuse_foreign_way(path)
    found = path.lstat()
    if stat.S_ISLNK(found.st_mode):
        raise OSError(f"{path} is a symbolic link: name the directory that it leads to")
    _refuse_foreign(path, found)
    if stat.S_IMODE(found.st_mode) == 0o700:
        return
    names = {found.name for found in path.iterdir()}
    if not (names >= OURS or all(name in MAY_BE_OURS or name.startswith(DBNAME) for name in names)):
        raise OSError(f"{path} is open to others and holds other files: the store needs a directory of its own")
    path.chmod(0o700)  # it is no link, and nobody else can put one there


def _make(path: Path) -> None:
    if not path.parent.exists():
        _make(path.parent)
    path.mkdir(mode=0o700, exist_ok=True)


def _refuse_foreign_way(path: Path) -> None:
    """Raise `OSError` where somebody else could put another directory in the place of this one, or of one on the way to it."""
    for step in reversed(path.parents):
        found = step.lstat()
        if found.st_uid not in (0, os.geteuid()):
            raise OSError(f"{step}, on the way to {path}, belongs to the user {found.st_uid}: choose another directory")
        if stat.S_ISLNK(found.st_mode):
            _refuse_foreign_way(step.parent / step.readlink() / path.name)
        elif _may_be_renamed_in(found):
            raise OSError(f"{step}, on the way to {path}, may be written to by others: choose another directory, or chmod go-w")


def _may_be_renamed_in(found: os.stat_result) -> bool:
    """Say whether others may rename what is in a directory: who may write to it may, unless it is sticky.

    A group that has the number of its only user is nobody else, and its umask is 002: so checkouts are.
    """
    is_own_group = found.st_gid == os.getegid() == os.geteuid()
    others = stat.S_IWOTH if is_own_group else stat.S_IWOTH | stat.S_IWGRP
    return bool(found.st_mode & others) and not found.st_mode & stat.S_ISVTX


def _refuse_foreign(path: Path, found: os.stat_result) -> None:
    """Raise `OSError` for what is neither a directory nor a file of this user's own."""
    if not (stat.S_ISREG(found.st_mode) or stat.S_ISDIR(found.st_mode)):
        raise OSError(f"{path} is not a file: remove it, or choose another directory")
    if found.st_uid != os.geteuid():
        raise OSError(
            f"{path} belongs to the user {found.st_uid}, not to {os.geteuid()}: choose another directory, or chown it"
        )


def touch(path: Path) -> None:
    """Make the database if there is none, and make it ours alone. Raises `OSError`, also where it or its log is another's.

    One that is there is not opened: to close it again would drop every lock SQLite has on it in this process. In a
    directory that is ours alone nobody can put a link there between the look at it and the change of its mode.
    """
    with contextlib.suppress(FileExistsError):
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600))
    for each in (path, *(path.with_name(path.name + suffix) for suffix in ("-wal", "-shm", "-journal"))):
        with contextlib.suppress(FileNotFoundError):
            found = each.lstat()
            _refuse_foreign(each, found)
            if stat.S_IMODE(found.st_mode) != 0o600:
                each.chmod(0o600)


@contextlib.contextmanager
def _opened(path: Path, flags: int) -> Iterator[int]:
    """Open a file of the store, and make it ours alone. Raises `OSError`, also for a link, or somebody else's file."""
    try:  # without waiting for who writes to a pipe
        descriptor = os.open(path, flags | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK, 0o600)
    except OSError as exc:
        if path.is_symlink():
            raise OSError(f"{path} is a symbolic link: remove it, or choose another directory") from exc
        raise
    try:
        _refuse_foreign(path, os.fstat(descriptor))
        os.fchmod(descriptor, 0o600)
        yield descriptor
    finally:
        os.close(descriptor)


def _never() -> bool:
    return False


@contextlib.contextmanager
def locked(path: Path, seconds: float = LOCK_WAIT, unless: Callable[[], bool] = _never) -> Iterator[None]:
    """Hold the lock on this file among all processes. Raises `TimeoutError` where it cannot be had in time."""
    with _opened(path, os.O_RDWR | os.O_CREAT) as descriptor:  # to close it unlocks
        _wait_for_lock(descriptor, seconds, unless)
        yield


def _wait_for_lock(descriptor: int, seconds: float, unless: Callable[[], bool]) -> None:
    until = time.monotonic() + seconds
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > until or unless():
                raise TimeoutError("another process is opening the store") from None
            time.sleep(0.002)
        else:
            return


def given_secret() -> bytes:
    """Return the secret that the environment gives, empty where it gives none. Raises `ConfigurationError`."""
    given = os.fsencode(os.environ.get(SECRET_VARIABLE, ""))
    if 0 < len(given) < SHORTEST_SECRET:
        raise ConfigurationError(f"{SECRET_VARIABLE} has {len(given)} bytes, and a secret has at least {SHORTEST_SECRET}")
    return given


def read_secret(directory: Path) -> bytes:
    """Return the secret of the store in this directory; the first to ask makes it, and all get the same. Raises `OSError`."""
    path = directory / SECRET_FILE
    if not _is_whole(path):
        with locked(directory / LOCK_FILE):
            if not _is_whole(path):
                _write_secret(path, secrets.token_bytes(SECRET_BYTES))
    with _opened(path, os.O_RDONLY) as descriptor:
        secret = os.read(descriptor, SECRET_BYTES + 1)
    if len(secret) != SECRET_BYTES:
        raise OSError(f"{path} does not hold {SECRET_BYTES} bytes")
    return secret


def restore_secret(directory: Path, secret: bytes) -> None:
    """Put a secret back that was taken away with its directory: who has it and who comes later would never hit each other's.

    Under the lock. Raises `OSError`.
    """
    path = directory / SECRET_FILE
    if secret and not os.path.lexists(path):
        _write_secret(path, secret)


def _is_whole(path: Path) -> bool:
    """Say whether there is a secret; one that was cut short protects nothing, and what is longer is somebody's own."""
    try:
        found = path.lstat()
    except FileNotFoundError:
        return False
    return not stat.S_ISREG(found.st_mode) or found.st_size >= SECRET_BYTES


def _write_secret(path: Path, secret: bytes) -> None:
    """Write it whole under another name, then rename: readers see all of it or nothing. What a kill leaves is used up next."""
    draft = path.with_name(f".{path.name}")
    with _opened(draft, os.O_WRONLY | os.O_CREAT) as descriptor:
        try:
            os.ftruncate(descriptor, 0)
            os.write(descriptor, secret)
            os.fsync(descriptor)
            draft.rename(path)
        except OSError:
            with contextlib.suppress(OSError):
                draft.unlink()
            raise


MOUNTS = Path("/proc/self/mountinfo")

ROOT = Path("/")

NETWORK = frozenset(
    "nfs nfs4 cifs smb3 smbfs ncpfs 9p afs ceph glusterfs lustre gpfs beegfs coda ocfs2 gfs2 fuse.sshfs fuse.s3fs fuse.gcsfuse"
    " fuse.rclone fuse.glusterfs fuse.ceph fuse.ceph-fuse fuse.juicefs fuse.davfs fuse.smbnetfs fuse.nfs".split()
)
"""File systems that other machines write to as well: SQLite's locks do not hold there, nor is its log's index shared."""


def refuse_network(directory: Path) -> None:
    """Raise `PlaceRefused` for a directory on a network file system; where nobody can tell, there is none."""
    kind = file_system(directory, _mounts())
    if kind in NETWORK:
        raise PlaceRefused(
            f"{directory} is on a network file system ({kind}), where SQLite loses data:"
            " choose another, or force it (--allow-network, allow_network=True)"
        )


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


FREE_SPACE = 64 * 2**20
"""The bytes that are left free on a file system, or a twentieth of it if that is less."""


def has_room(directory: Path, size_bytes: int) -> bool:
    """Say whether so much can be written, twice, and enough is left for everybody else."""
    disk = os.statvfs(directory)
    floor = min(FREE_SPACE, disk.f_blocks * disk.f_frsize // 20)
    return disk.f_blocks == 0 or disk.f_bavail * disk.f_frsize - 2 * size_bytes >= floor
