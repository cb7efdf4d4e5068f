"""A directory of records: which file holds which, read without following anything out, and written whole or not at all."""

import contextlib
import fcntl
import os
import re
import secrets
import stat
import time
from collections.abc import Iterator
from pathlib import Path

from cachemw.errors import RecordError, StoreError

LARGEST_RECORD_FILE = 256 * 2**20
"""The bytes beyond which a file is not read: a record in text is a few times as large as its answer."""

LOCK_WAIT_SECONDS = 1.0
"""For how long a put waits for those of other processes."""

NAME_LENGTH = 48
NAMELESS = "record"
"""The name of a record of which nobody knows the model."""

_OURS = re.compile(r"[^/]*--([0-9a-f]{2,})\.json", re.DOTALL)
_OTHER_CHARACTERS = re.compile(r"[^a-z0-9._-]+")
_DRAFT = ".cachemw-"


def name_of(model: str | None, index: bytes) -> str:
    """Return how a record's file is called: after its model, for people; it is found by the digits alone."""
    readable = _OTHER_CHARACTERS.sub("-", (model or NAMELESS).lower())[:NAME_LENGTH].lstrip(".")
    return f"{readable or NAMELESS}--{index.hex()}.json"


class Folder:
    """The files in one directory. No path is ever made of what somebody else has said."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def names(self) -> dict[str, str]:
        """Return the files that are called as records are, each with the digits of its index. Raises `StoreError`."""
        try:
            found = sorted(os.listdir(self.path))
        except FileNotFoundError:
            return {}
        except OSError as exc:
            raise StoreError(f"cannot read {self.path}: {exc.strerror}") from exc
        return {name: ours[1] for name in found if (ours := _OURS.fullmatch(name))}

    def names_of(self, index: bytes) -> list[str]:
        """Return the files of one record: one, unless somebody brought another. Raises `StoreError`."""
        digits = index.hex()
        return [name for name, found in self.names().items() if found == digits]

    def read(self, name: str) -> bytes | None:
        """Return what a file holds, `None` where it has gone. Raises `RecordError` for what is no file, and `StoreError`."""
        path = self.path / name
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except FileNotFoundError:
            return None
        except OSError as exc:
            if path.is_symlink():
                raise RecordError(f"{path} is a symbolic link, and is not followed") from exc
            raise StoreError(f"cannot read {path}: {exc.strerror}") from exc
        try:
            found = os.fstat(descriptor)
            if not stat.S_ISREG(found.st_mode) or found.st_size > LARGEST_RECORD_FILE:
                raise RecordError(f"{path} is not a file, or larger than one may be")
            with open(descriptor, "rb", closefd=False) as file:
                return file.read()
        except OSError as exc:
            raise StoreError(f"cannot read {path}: {exc.strerror}") from exc
        finally:
            os.close(descriptor)

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Make the directory if there is none, and let no other process put a record there meanwhile. Raises `StoreError`.

        It is the directory itself that is locked: a file for that would lie in the repository. Who cannot lock it goes on
        without: two that put one record under two names would then remove each other's.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as exc:
            raise StoreError(f"cannot write to {self.path}: {exc.strerror}") from exc
        try:
            _lock(descriptor)
            yield
        finally:
            os.close(descriptor)

    def write(self, name: str, text: str) -> None:
        """Write a file whole, in the place of an earlier one. Raises `StoreError`."""
        draft = self.path / f"{_DRAFT}{secrets.token_hex(8)}"
        try:
            with open(draft, "x", encoding="utf-8", newline="\n") as file:
                file.write(text)
            draft.replace(self.path / name)
        except OSError as exc:
            raise StoreError(f"cannot write to {self.path}: {exc.strerror}") from exc
        finally:
            with contextlib.suppress(OSError):
                draft.unlink()

    def remove(self, name: str) -> None:
        """Remove a file, if it is there. Raises `StoreError`."""
        try:
            (self.path / name).unlink(missing_ok=True)
        except OSError as exc:
            raise StoreError(f"cannot remove {self.path / name}: {exc.strerror}") from exc

    def remove_drafts(self) -> None:
        """Remove what writers left that were killed. Raises `StoreError`."""
        with contextlib.suppress(FileNotFoundError):
            for name in os.listdir(self.path):
                if name.startswith(_DRAFT):
                    self.remove(name)

    def size(self) -> int:
        """Return how many bytes the records take."""
        total = 0
        for name in self.names():
            with contextlib.suppress(OSError):
                total += (self.path / name).lstat().st_size
        return total


def _lock(descriptor: int) -> None:
    """Lock it among processes, if that can be had in time."""
    until = time.monotonic() + LOCK_WAIT_SECONDS
    while time.monotonic() < until:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(0.002)
        except OSError:  # file systems over a network may have none
            return
        else:
            return
