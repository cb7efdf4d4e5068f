"""What a store costs, called as a driver calls it."""

import itertools
import os
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.plan import Plan
from benchmarks.tables import Table
from benchmarks.timing import seconds_per_call
from cachemw.stores import DiskStore, MemoryStore, Store

SIZES = {"2 KB": 2_000, "100 KB": 100_000}
INDEXES = [number.to_bytes(16) for number in range(256)]


def stores(plan: Plan) -> list[Table]:
    """Measure get and put, of records of two sizes, in both stores."""
    with TemporaryDirectory() as directory:
        rows = [*_rows("MemoryStore", MemoryStore(), plan), *_rows("DiskStore", DiskStore(Path(directory)), plan)]
    return [Table("stores", "Stores", ("store, record", "get, µs", "put, µs"), rows)]


def _rows(name: str, store: Store, plan: Plan) -> Iterator[tuple[str, float, float]]:
    with closing(store):
        for label, size in SIZES.items():
            put = _put(store, os.urandom(size), plan)
            yield f"{name}, {label}", _get(store, plan) * 1e6, put * 1e6


def _put(store: Store, record: bytes, plan: Plan) -> float:
    for index in INDEXES:
        store.put(index, record, None)
    indexes = itertools.cycle(INDEXES)
    return seconds_per_call(lambda: store.put(next(indexes), record, None), plan)


def _get(store: Store, plan: Plan) -> float:
    indexes = itertools.cycle(INDEXES)
    return seconds_per_call(lambda: store.get(next(indexes)), plan)
