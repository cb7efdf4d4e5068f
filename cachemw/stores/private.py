"""Files nobody else may read, and the store's secret among them. Whatever the umask: directories 0700, files 0600."""

import contextlib
import fcntl
import os
import secrets
import stat
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from diskcache.core import DBNAME

SECRET_BYTES = 32
SECRET_FILE = "secret"  # noqa: S105
SECRET_VARIABLE = "CACHEMW_SECRET"  # noqa: S105
LOCK_FILE = "lock"
OURS = {DBNAME, LOCK_FILE}
"""What lies in the directory of every store of ours."""

MAY_BE_OURS = {*OURS, SECRET_FILE, f".{SECRET_FILE}"}

LOCK_WAIT = 3.0
CLOSING_WAIT = 1.0


def prepare_directory(path: Path) -> None:
    """Make the directory, and make it ours alone. Raises `OSError`, also for one that others use for something else."""
    _make(path)
    if path.stat().st_mode & 0o777 == 0o700:
        return
    names = {found.name for found in path.iterdir()}
    if not (names >= OURS or all(name in MAY_BE_OURS or name.startswith(DBNAME) for name in names)):
        raise OSError(f"{path} is open to others and holds other files: the store needs a directory of its own")
    path.chmod(0o700)


def _make(path: Path) -> None:
    if not path.parent.exists():
        _make(path.parent)
    path.mkdir(mode=0o700, exist_ok=True)


def touch(path: Path) -> None:
    """Make the file if there is none, and make it ours alone. Raises `OSError`, also where it is no file, but a link to one.

    One that is there is not opened: to close it again would drop every lock SQLite has on it in this process.
    """
    with contextlib.suppress(FileExistsError):
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    if not stat.S_ISREG(path.lstat().st_mode):
        raise OSError(f"{path} is not a file")
    path.chmod(0o600)


def _never() -> bool:
    return False


@contextlib.contextmanager
def locked(path: Path, seconds: float = LOCK_WAIT, unless: Callable[[], bool] = _never) -> Iterator[None]:
    """Hold the lock on this file among all processes. Raises `TimeoutError` where it cannot be had in time."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        os.fchmod(descriptor, 0o600)
        _wait_for_lock(descriptor, seconds, unless)
        yield
    finally:
        os.close(descriptor)  # which unlocks


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


def read_secret(directory: Path) -> bytes:
    """Return the secret of the store in this directory; the first to ask makes it, and all get the same. Raises `OSError`."""
    if given := os.environ.get(SECRET_VARIABLE):
        return given.encode()
    path = directory / SECRET_FILE
    if not _is_whole(path):
        with locked(directory / LOCK_FILE):
            if not _is_whole(path):
                _write_secret(path, secrets.token_bytes(SECRET_BYTES))
    path.chmod(0o600)
    secret = path.read_bytes()
    if len(secret) != SECRET_BYTES:
        raise OSError(f"{path} does not hold {SECRET_BYTES} bytes")
    return secret


def restore_secret(directory: Path, secret: bytes) -> None:
    """Put a secret back that was taken away with its directory: who has it and who comes later would never hit each other's.

    Under the lock. Raises `OSError`.
    """
    path = directory / SECRET_FILE
    if len(secret) == SECRET_BYTES and SECRET_VARIABLE not in os.environ and not path.exists():
        _write_secret(path, secret)


def _is_whole(path: Path) -> bool:
    """Say whether there is a secret; one that was cut short protects nothing, and what is longer is somebody's own."""
    return path.exists() and path.stat().st_size >= SECRET_BYTES


def _write_secret(path: Path, secret: bytes) -> None:
    """Write it whole under another name, then rename: readers see all of it or nothing. What a kill leaves is used up next."""
    draft = path.with_name(f".{path.name}")
    try:
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            os.fchmod(descriptor, 0o600)
            file.write(secret)
            file.flush()
            os.fsync(descriptor)
        draft.rename(path)
    except OSError:
        with contextlib.suppress(OSError):
            draft.unlink()
        raise
