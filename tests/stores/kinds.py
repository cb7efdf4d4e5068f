"""The stores there are, each with its own way to let time pass, and what each promises besides what all do."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from cachemw.stores import DiskStore, FileStore, MemoryStore, Store
from tests.stores.dictionary import DictionaryStore
from tests.stores.planting import rows

PROMISES = {
    "memory": {"oldest first", "limits", "version", "secret"},
    "disk": {"oldest first", "limits", "version", "secret"},
    "files": set(),
    "dictionary": {"secret"},
}


def those_that_promise(what: str) -> pytest.MarkDecorator:
    """Ask a test of these kinds only."""
    return pytest.mark.parametrize("kind", [name for name, promises in PROMISES.items() if what in promises], indirect=True)


class MemoryKind:
    """Stores in memory, on a clock of ours."""

    def __init__(self, of: type[MemoryStore] | type[DictionaryStore]) -> None:
        self._of, self._now = of, 1000.0

    def make(self, **limits: Any) -> Store:
        return self._of(clock=lambda: self._now, **limits)

    def wait(self, seconds: float) -> None:
        self._now += seconds


class DiskKind:
    """Stores in fresh directories, on the clock that is everybody's: what they hold grows older, and nobody waits for it."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._made: list[DiskStore] = []

    def make(self, **limits: Any) -> Store:
        self._made.append(DiskStore(self._directory / str(len(self._made)), **limits))
        return self._made[-1]

    def wait(self, seconds: float) -> None:
        for store in self._made:
            rows(store.path, "UPDATE Cache SET expire_time = expire_time - ?", seconds)

    def close(self) -> None:
        for store in self._made:
            store.close()


class FilesKind:
    """Stores of files in fresh directories, on a clock of ours."""

    def __init__(self, directory: Path) -> None:
        self._directory, self._made, self._now = directory, 0, 1000.0

    def make(self, **limits: Any) -> Store:
        self._made += 1
        return FileStore(self._directory / str(self._made), clock=lambda: self._now, **limits)

    def wait(self, seconds: float) -> None:
        self._now += seconds


Kind = MemoryKind | DiskKind | FilesKind


@contextmanager
def kind_named(name: str, directory: Path) -> Iterator[Kind]:
    """Give the kind of this name, and close what it made."""
    if name == "files":
        yield FilesKind(directory)
        return
    if name != "disk":
        yield MemoryKind(MemoryStore if name == "memory" else DictionaryStore)
        return
    kind = DiskKind(directory)
    yield kind
    kind.close()
