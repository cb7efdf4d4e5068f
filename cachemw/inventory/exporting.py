"""Export records: one file for each, in the form that a cassette has, or one line of JSON for each."""

import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from cachemw.cache import record as codec
from cachemw.cache.key import code
from cachemw.cache.parts import without_batch
from cachemw.errors import RecordError, StoreError
from cachemw.redaction import redacted_repr
from cachemw.stores.base import absolute
from cachemw.stores.file import form
from cachemw.stores.file.folder import Folder, name_of

ATTRIBUTES = ".gitattributes"
_ATTRIBUTES = "*.json linguist-generated\n"
_SEAL_BYTES = 16

IndexedRecord = tuple[bytes, bytes]
"""A record behind its index, as stores have them."""


def seal_of(secret: bytes, index: bytes, record: bytes) -> str:
    """Return what only who has the store's secret can set under a record: it says that this store wrote it so."""
    return code(secret, b"export", index, record)[:_SEAL_BYTES].hex()


@dataclass(frozen=True, slots=True)
class ExportForm:
    """The way in which records are written: with all of their times or not, and whether those that hold no request are.

    A record without its request can go back only where it came from, so it is written under a seal of the store's `secret`;
    where there is none it is left out.
    """

    times: bool = True
    only_with_request: bool = False
    secret: bytes | None = None

    __repr__ = redacted_repr


@dataclass(frozen=True, slots=True)
class WrittenRecord:
    """A record as text, under the name that its file has."""

    index: bytes
    name: str
    text: str

    __repr__ = redacted_repr


def written(record: IndexedRecord, way: ExportForm) -> WrittenRecord | str:
    """Return a record as it is exported, or in a few words why it is not."""
    index, raw = record
    try:
        stored = codec.decode(raw)
    except RecordError:
        return "damaged"
    if without_batch(stored.headers) != stored.headers:
        return "a part of another answer"
    if stored.request is not None and not stored.asked_endpoint:
        text = form.write(index, raw, None, times=way.times)
    elif stored.request is not None:  # by the request that was translated the store would not know it for its own
        text = form.write(index, raw, None, times=way.times, seal=None if way.secret is None else _seal(way.secret, index))
    elif way.only_with_request or way.secret is None:
        return "without its request"
    else:
        text = form.write(index, raw, None, times=way.times, seal=_seal(way.secret, index))
    return WrittenRecord(index, name_of(form.model_of(raw), index), text)


def _seal(secret: bytes, index: bytes) -> Callable[[bytes], str]:
    return lambda record: seal_of(secret, index, record)


@dataclass(frozen=True, slots=True)
class ExportSums:
    """The sums of an export: the files that were written, those that were so already, and why records were left out."""

    written: int = 0
    unchanged: int = 0
    left_out: Counter[str] = field(default_factory=Counter)

    __repr__ = redacted_repr

    @property
    def exported(self) -> int:
        return self.written + self.unchanged


class ExportFolder:
    """A directory that records are exported to, which is made where there is none. What else is in there stays."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = absolute(path)
        self._folder = Folder(self.path)

    def write(self, records: Iterable[WrittenRecord]) -> Iterator[bool]:
        """Write a file for each record, in the place of its earlier ones, and say if it is another. Raises `StoreError`."""
        with self._folder.locked():
            self._write_attributes()
            names: dict[str, set[str]] = {}
            for name, digits in self._folder.names().items():
                names.setdefault(digits, set()).add(name)
            for record in records:
                others = names.get(record.index.hex(), set())
                yield self._write(record, others)
                names[record.index.hex()] = {record.name}

    def _write(self, record: WrittenRecord, names: set[str]) -> bool:
        is_same = record.name in names and self._holds(record)
        if not is_same:
            self._folder.write(record.name, record.text)
        for other in names - {record.name}:
            self._folder.remove(other)
        return not is_same

    def _holds(self, record: WrittenRecord) -> bool:
        try:
            return self._folder.read(record.name) == record.text.encode()
        except RecordError:
            return False

    def _write_attributes(self) -> None:
        """Have pull requests show these files folded, unless somebody has said how."""
        path = Path(self.path, ATTRIBUTES)
        try:
            with open(path, "x", encoding="utf-8", newline="\n") as file:
                file.write(_ATTRIBUTES)
        except FileExistsError:
            pass
        except OSError as exc:
            raise StoreError(f"cannot write to {self.path}: {exc.strerror}") from exc


def export(records: Iterable[IndexedRecord], folder: ExportFolder, way: ExportForm) -> ExportSums:
    """Export records to a directory. Raises `StoreError`."""
    left_out: Counter[str] = Counter()

    def texts() -> Iterator[WrittenRecord]:
        for record in records:
            text = written(record, way)
            if isinstance(text, WrittenRecord):
                yield text
            else:
                left_out[text] += 1

    changed = Counter(folder.write(texts()))
    return ExportSums(changed[True], changed[False], left_out)


def line_of(record: WrittenRecord) -> str:
    """Return an exported record in one line, which is imported as its file is."""
    return msgspec.json.format(record.text.encode(), indent=-1).decode()
