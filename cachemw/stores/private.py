"""Files nobody else may read, and the store's secret among them. Whatever the umask: directories 0700, files 0600."""

import contextlib
import fcntl
import os
import secrets
import stat
import time
from collections.abc import Iterator
from pathlib import Path

SECRET_BYTES = 32
SECRET_FILE = "secret"  # noqa: S105
SECRET_VARIABLE = "CACHEMW_SECRET"  # noqa: S105
LOCK_FILE = "lock"
LOCK_WAIT = 10.0


def prepare_directory(path: Path) -> None:
    """Make the directory, and make it ours alone. Raises `OSError`, also for one that others use for something else."""
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    if path.stat().st_mode & 0o777 == 0o700:
        return
    if not (path / LOCK_FILE).exists() and any(path.iterdir()):
        raise OSError(f"{path} is open to others and holds other files: the store needs a directory of its own")
    path.chmod(0o700)


def touch(path: Path) -> None:
    """Make the file if there is none, and make it ours alone. Raises `OSError`, also where it is no file, but a link to one.

    One that is there is not opened: to close it again would drop every lock SQLite has on it in this process.
    """
    with contextlib.suppress(FileExistsError):
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    if not stat.S_ISREG(path.lstat().st_mode):
        raise OSError(f"{path} is not a file")
    path.chmod(0o600)


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock on this file among all processes. Raises `TimeoutError` after `LOCK_WAIT` seconds."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        os.fchmod(descriptor, 0o600)
        _wait_for_lock(descriptor)
        yield
    finally:
        os.close(descriptor)  # which unlocks


def _wait_for_lock(descriptor: int) -> None:
    until = time.monotonic() + LOCK_WAIT
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > until:
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
                _make_secret(path)
    secret = path.read_bytes()
    if len(secret) != SECRET_BYTES:
        raise OSError(f"{path} does not hold {SECRET_BYTES} bytes")
    return secret


def _is_whole(path: Path) -> bool:
    """Say whether there is a secret; one that was cut short protects nothing, and what is longer is somebody's own."""
    return path.exists() and path.stat().st_size >= SECRET_BYTES


def _make_secret(path: Path) -> None:
    """Write it whole under another name, then rename: a reader sees all of it or nothing. What a kill leaves is used up next."""
    draft = path.with_name(f".{path.name}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        os.fchmod(descriptor, 0o600)
        file.write(secrets.token_bytes(SECRET_BYTES))
        file.flush()
        os.fsync(descriptor)
    draft.rename(path)
