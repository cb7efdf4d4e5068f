"""The stores there are, each with its own way to let time pass."""

from pathlib import Path
from typing import Any

from cachemw.stores import DiskStore, MemoryStore, Store
from tests.stores.planting import rows


class MemoryKind:
    """Stores in memory, on a clock of ours."""

    def __init__(self) -> None:
        self._now = 1000.0

    def make(self, **limits: Any) -> Store:
        return MemoryStore(clock=lambda: self._now, **limits)

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


Kind = MemoryKind | DiskKind
