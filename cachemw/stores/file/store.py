"""A store of files, one for each record, to be read, compared and kept beside the tests that need them."""

import copy
import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from typing import Self

from cachemw.cache.order import ALONE, Order, Others, Placed, place
from cachemw.errors import RecordError, RecordRefused, StoreError
from cachemw.stores.base import Inline, Store, absolute, refuse_nothing
from cachemw.stores.disk.files import SECRET_VARIABLE, given_secret
from cachemw.stores.file import form
from cachemw.stores.file.folder import Folder, name_of
from cachemw.stores.forks import on_fork

logger = logging.getLogger(__name__)


class FileStore(Store):
    """Records in a directory, as `NAME--DIGITS.json`: a cassette for tests, which lies in their repository.

    A file holds the request whatever the policy says, when it was stored in whole seconds, and no other times. One that was
    changed, or damaged, is refused and named. Nothing is evicted, and nobody waits for anybody: every call reads or writes
    files where it is made. Puts have an order within one process only; several may write all the same, each file whole.
    It keeps no secret: it is for `Policy(partition="shared")`, unless `CACHEMW_SECRET` gives one. `path` is a directory, with
    `~` and `$VARIABLES` in it expanded; the first put makes it. Raises `ConfigurationError` for a secret that cannot work.
    """

    inline: Inline = Inline.ALL
    keeps_requests: bool = True
    keeps_parts: bool = False

    def __init__(self, path: str | os.PathLike[str], *, clock: Callable[[], float] = time.time) -> None:
        self.path = absolute(path)
        """The store's directory."""
        self._folder, self._clock, self._secret = Folder(self.path), clock, given_secret()
        self._lock, self._is_read_only = threading.Lock(), False
        self._placed: dict[bytes, Placed] = {}
        self._generation = self._puts = 0
        on_fork(self)

    @property
    def place(self) -> str:
        return str(self.path)

    @property
    def keeps_secret(self) -> bool:
        return bool(self._secret)

    def exists(self) -> bool:
        return self.path.is_dir()

    def read_only(self) -> Self:
        refuse_nothing(self.path, self.path)
        reader = copy.copy(self)
        reader._is_read_only, reader._lock = True, threading.Lock()
        on_fork(reader)
        return reader

    def secret(self) -> bytes:
        if not self._secret:
            raise StoreError(f'{self.path} keeps no secret: let Policy.partition be "shared", or set {SECRET_VARIABLE}')
        return self._secret

    def get(self, index: bytes) -> bytes | None:
        return self._record_under(index)

    def _record_under(self, index: bytes) -> bytes | None:
        names = self._folder.names_of(index)
        if not names:
            self._refuse_if_gone()
            return None
        if len(names) > 1:
            raise RecordError(f"two files in {self.path} are one record's, so neither is used: {', '.join(names)}")
        return self._read(index, names[0])

    def order(self) -> Order:
        return Order(self._generation, self._puts, time.monotonic_ns())

    def put(self, index: bytes, record: bytes, keep: float | None, order: Order | None = None, others: Others = ALONE) -> None:
        expires = None if keep is None else self._clock() + keep
        name, text = name_of(form.model_of(record), index), form.write(index, record, expires)
        with self._writing(), self._folder.locked():
            placed = None if order is None else self._placed_now(order, index, *others.beside)
            self._folder.write(name, text)
            for replaced in (index, *others.instead_of):
                self._remove(replaced, but=name)
            self._puts += 1
            if placed is not None:
                self._placed[index] = placed

    def delete(self, *indexes: bytes) -> bool:
        with self._writing():
            self._generation += 1
            is_there = any(self._is_there(index) for index in indexes)
            for index in indexes:
                self._remove(index)
            return is_there

    def clear(self) -> int:
        with self._writing():
            self._generation += 1
            names = self._folder.names()
            for name in names:
                self._folder.remove(name)
            self._folder.remove_drafts()
            self._placed.clear()
            return len(names)

    def discard(self, *indexes: bytes) -> None:
        if not self._is_read_only:
            with self._lock:
                for index in indexes:
                    self._remove(index)

    def scan(self) -> Iterator[tuple[bytes, bytes]]:
        """Go through the records there are; what is none is left out, and named in the log."""
        for index in self.indexes():
            try:
                record = self._record_under(index)  # to go through all of them is to ask for none
            except RecordError as exc:
                logger.warning("left out: %s", exc)
                continue
            if record is not None:
                yield index, record

    def indexes(self) -> list[bytes]:
        return [bytes.fromhex(digits) for digits in sorted(set(self._folder.names().values())) if len(digits) % 2 == 0]

    def count(self) -> int:
        self._refuse_if_gone()
        return len(self._folder.names())

    def size(self) -> int:
        """Return the bytes its files have."""
        return self._folder.size()

    def close(self) -> None:
        """Nothing is open."""

    def before_fork(self) -> None:
        """Let no other thread be in the middle of something: in the child there is nobody to end it."""
        self._lock.acquire()

    def after_fork(self) -> None:
        """Let the others go on."""
        self._lock.release()

    def _writing(self) -> threading.Lock:
        if self._is_read_only:
            raise RecordRefused(f"{self.path} is only replayed from")
        return self._lock

    def _refuse_if_gone(self) -> None:
        """Raise `StoreError` where there is no directory any more from which records are replayed."""
        if self._is_read_only and not self.exists():
            raise StoreError(f"{self.path} is gone")

    def _read(self, index: bytes, name: str) -> bytes | None:
        raw = self._folder.read(name)
        if raw is None:
            return None
        try:
            record, expires = form.read(index, raw)
        except RecordError as exc:
            raise RecordError(f"{self.path / name} is not used: {exc}; restore it, or remove it and record anew") from exc
        return record if expires is None or expires > self._clock() else None

    def _is_there(self, index: bytes) -> bool:
        try:
            return self.get(index) is not None
        except RecordError:
            return True

    def _placed_now(self, order: Order, *indexes: bytes) -> Placed:
        return place(order, [self._placed.get(index) for index in indexes], self.order())

    def _remove(self, index: bytes, but: str = "") -> None:
        for name in self._folder.names_of(index):
            if name != but:
                self._folder.remove(name)
        self._placed.pop(index, None)
