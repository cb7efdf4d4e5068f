"""The files of metrics: one for each worker that runs at a time, in a slot that is free, which goes on where the last ended."""

import contextlib
import fcntl
import logging
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from cachemw.errors import RecordError
from cachemw.metrics.sums import CountedSums, Labelled, decode
from cachemw.stores.disk.files import prepare_directory, refuse_network

logger = logging.getLogger(__name__)

METRICS_DIRECTORY = "metrics"
"""The directory of the files, in that of the store."""

SLOTS = 1024
"""How many workers there may be at a time."""

LARGEST_SLOT = 16 * 2**20

ALIVE_SECONDS = 15.0
"""How old a file is at most whose worker is taken to be alive, and whose gauges count."""

_BOOT = Path("/proc/sys/kernel/random/boot_id")


def boot() -> str:
    """Return what tells this start of the machine from all others; nothing where the system does not say so."""
    try:
        return _BOOT.read_text().strip()
    except OSError:
        return ""


class WorkerSlot:
    """A file that this process alone writes, as long as it has the lock beside it.

    What was counted before the machine last started is let go of: it may have lost the last seconds of it, and Prometheus takes
    a counter that falls a little for one that began anew, and adds all of it again. From 0 it goes on rightly.
    """

    def __init__(self, store_directory: Path) -> None:
        self._directory = store_directory / METRICS_DIRECTORY
        self.boot = boot()
        """What tells this start of the machine from all others."""
        self._lock: int | None = None
        self._path = self._directory

    def take(self) -> CountedSums | None:
        """Take a slot, unless one is held, and return what its last worker counted. Raises `OSError` and `PlaceRefused`."""
        if self._lock is not None and _is_in_place(self._lock, self._path.with_suffix(".lock")):
            return None
        self.release()
        _make_directory(self._directory)
        for number in range(SLOTS):
            path = self._directory / f"{number}.bin"
            if (lock := _locked(path.with_suffix(".lock"))) is not None:
                self._lock, self._path = lock, path
                return self._found()
        raise OSError(f"all of {SLOTS} slots are taken")

    def write(self, encoded: bytes) -> None:
        """Write a `SlotRecord`: readers see all of it, or what was there before. Raises `OSError`."""
        draft = self._path.with_suffix(".new")
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(encoded)
            draft.rename(self._path)
        except OSError:
            with contextlib.suppress(OSError):
                draft.unlink()  # of a disk that is full it takes what others need
            raise

    def touch(self) -> None:
        """Say that this process is alive, and that nothing has changed. Raises `OSError`."""
        os.utime(self._path)

    def release(self) -> None:
        """Let another worker have the slot. May be called twice."""
        lock, self._lock = self._lock, None
        if lock is not None:
            os.close(lock)

    def _found(self) -> CountedSums:
        try:
            record = decode(_read(self._path))
        except FileNotFoundError:
            return CountedSums()
        except (OSError, RecordError) as exc:
            logger.warning("the metrics in %s cannot be read, and are counted from 0 again: %s", self._path, exc)
            return CountedSums()
        return record.sums if record.boot == self.boot else CountedSums()


def read_slots(store_directory: Path, now: float) -> Iterator[tuple[CountedSums, Mapping[Labelled, float] | None]]:
    """Yield what each worker has counted since the machine started, and the gauges of those that are alive, else `None`.

    A file that cannot be read is left out, and its worker says so where it begins.
    """
    here = boot()
    for path in sorted((store_directory / METRICS_DIRECTORY).glob("*.bin")):
        with contextlib.suppress(OSError, RecordError):
            is_alive = now - path.stat().st_mtime <= ALIVE_SECONDS
            record = decode(_read(path))
            if record.boot == here:
                yield record.sums, record.gauges if is_alive and record.gauges else None


def _read(path: Path) -> bytes:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    with os.fdopen(descriptor, "rb") as file:
        return file.read(LARGEST_SLOT)


def _make_directory(directory: Path) -> None:
    if not directory.is_absolute():
        raise OSError("there is no home directory to keep the store in")
    refuse_network(directory.parent)
    prepare_directory(directory.parent)
    directory.mkdir(mode=0o700, exist_ok=True)


def _locked(path: Path) -> int | None:
    """Return the lock, open; `None` where another process has it."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if _is_in_place(descriptor, path):
            return descriptor
    except BlockingIOError:
        pass
    except OSError:
        os.close(descriptor)
        raise
    os.close(descriptor)
    return None


def _is_in_place(descriptor: int, path: Path) -> bool:
    """Say whether an open file is still the one of this name: somebody may have removed the directory."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except OSError:
        return False
