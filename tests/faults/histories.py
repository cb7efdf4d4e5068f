"""A1: random concurrent use of mounts and stores, refreshed and purged meanwhile, held against the rules of its order."""

import itertools
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager

import anyio

from cachemw import DiskStore, MemoryStore, Store
from tests.faults.asking import quiet
from tests.faults.fault import Fault, Tally
from tests.mounts.history import MAKERS, Book, Mounted, record
from tests.mounts.rules import Rules, is_telling

STORES = ("memory", "disk")


@contextmanager
def opened(kind: str) -> Iterator[Store]:
    """Open a store in which there is nothing."""
    if kind == "memory":
        yield MemoryStore()
        return
    with tempfile.TemporaryDirectory() as directory, closing(DiskStore(directory)) as store:
        yield store


async def recorded(mount: str, store_kind: str, number: int) -> Book:
    """Record one history."""
    book = Book(f"{mount}, {store_kind}, {number}")
    with opened(store_kind) as store:
        await record(Mounted(mount, book, store), book)
    return book


def judged(book: Book) -> Tally:
    """Judge it: what breaks a rule is a wrong answer."""
    broken = [f"{each.rule}: {each.why} ({book.seed}): {each.about}"[:2000] for each in Rules(book).broken()]
    return Tally(1, wrong=len(broken), examples=tuple(broken[:5]))


def run(trials: int) -> Tally:
    """Record so many histories, of each mount over each store in turn. Raises where they show nothing."""
    tally, books = Tally(), list[Book]()
    cases = itertools.cycle(itertools.product(MAKERS, STORES))
    with quiet():
        for number, (mount, store_kind) in zip(range(trials), cases, strict=False):
            books.append(anyio.run(recorded, mount, store_kind, number))
            tally += judged(books[-1])
    if tally.is_clean and not is_telling(*books):
        raise RuntimeError("too little happened to show anything")
    ops = [op for book in books for op in book.ops]
    purges, forwards = (sum(len(each) for each in kind) for kind in zip(*((b.purges, b.forwards) for b in books), strict=True))
    hits, joined = sum(op.from_store for op in ops), sum(op.joined for op in ops)
    note = f"{len(ops):,} requests, {hits:,} hits, {joined:,} joined, {forwards:,} forwards, {purges:,} purges"
    return tally + Tally(note=note)


FAULTS = (
    Fault("random use, in order", "refreshes, purges and failures meanwhile; no older answer after a newer one", 20, 500, run),
)
