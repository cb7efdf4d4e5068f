"""How long a hit takes the whole way, in a store with a few records and in one with very many."""

import os
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from starlette.types import ASGIApp, Receive, Scope, Send

from benchmarks import aims
from benchmarks.asking import HEADERS, chat
from benchmarks.bare import Answer
from benchmarks.bare import app as bare_app
from benchmarks.cores import pinned
from benchmarks.inside import Caller, event_loop
from benchmarks.plan import Plan
from benchmarks.pulls import ANSWER
from benchmarks.tables import Cell, Table
from cachemw.asgi import CacheMiddleware
from cachemw.stores import DiskStore

FEW = 1_000
FIELDS = [("content-type", "application/json")]
LONG_ANSWER = ANSWER.decode().replace("Hello", "Hello " * 200)
QUESTIONS = [chat(1_000, seed=seed) for seed in range(FEW)]
TO_FEW = 1.5
MANY, ROOM = 2**30, 2**40
"""What a store may hold: more than is put there."""

INDEX_BYTES = 16
COLUMNS = ("records", "p50 of a hit, µs", "x few", *aims.COLUMNS)
NOTE = (
    f"In process, {FEW:,} requests of 1 KB that were stored before, each of them once after the store was opened: nothing is"
    " remembered of them. Medians of {} rounds, in turn."
)


def records(plan: Plan) -> list[Table]:
    """Measure hits on disk among few records and among many."""
    counts = [FEW, max(FEW, plan.records)]
    with pinned(plan.cores.server), TemporaryDirectory() as directory:
        places = [Path(directory, name) for name in ("few", "many")]
        for place, count in zip(places, counts, strict=True):
            _fill(place, count)
        few, many = zip(*([_p50(place) for place in places] for _ in range(plan.rounds)), strict=True)
    ratio = median(one / other for one, other in zip(many, few, strict=True))
    rows: list[tuple[Cell, ...]] = [
        (f"{counts[0]:,}", median(few) * 1e6, 1.0, *aims.cells([])),
        (f"{counts[1]:,}", median(many) * 1e6, ratio, *aims.cells([aims.at_most(ratio, TO_FEW, "x few")])),
    ]
    return [Table("records", "A hit among few records and among many", COLUMNS, rows, NOTE.format(plan.rounds))]


def _fill(place: Path, count: int) -> None:
    """Have everything answered once, and put one of the records under other indexes until there are so many."""
    with _store(place) as store:
        with _caller(bare_app(Answer(FIELDS, [LONG_ANSWER])), store) as caller:
            caller.times(QUESTIONS)
        _, record = next(store.scan())
        for _ in range(count - FEW):
            store.put(os.urandom(INDEX_BYTES), record, None)


def _p50(place: Path) -> float:
    with _store(place) as store, _caller(_nobody, store) as caller:
        store.get(bytes(INDEX_BYTES))  # opens it
        return median(caller.times(QUESTIONS))


@contextmanager
def _store(place: Path) -> Iterator[DiskStore]:
    with closing(DiskStore(place, count_limit=MANY, size_limit=ROOM)) as store:
        yield store


@contextmanager
def _caller(app: ASGIApp, store: DiskStore) -> Iterator[Caller]:
    cached = CacheMiddleware(app, name="benchmarks", store=store)
    with event_loop(cached) as runner:
        yield Caller(runner, cached, HEADERS)


async def _nobody(scope: Scope, receive: Receive, send: Send) -> None:
    raise RuntimeError("not a hit")
