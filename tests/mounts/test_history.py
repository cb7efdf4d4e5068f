"""A1: random concurrent use of the mounts and the stores, and the rules of `tests.mounts.history`."""

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import anyio
import pytest

from cachemw import DiskStore, MemoryStore, Store
from tests.asgi_driver import Reply
from tests.mounts.history import MAKERS, Book, Forward, Mounted, Op, Pause, record, told_of
from tests.mounts.rules import Rules, is_telling

pytestmark = pytest.mark.anyio

SEEDS = int(os.environ.get("TESTS_HISTORIES", "1"))
"""How many histories of each mount over each store; `tests/faults/histories.py` records more."""

FAULTS = {
    "unordered": {"R1", "R8"},
    "unfenced": {"R2"},
    "mixes": {"R3"},
    "asks": {"R4"},
    "keeps broken": {"R5"},
    "shares": {"R6"},
    "lies": {"R9"},
}


@pytest.fixture(params=["memory", "disk"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    store: Store = MemoryStore() if request.param == "memory" else DiskStore(tmp_path / "store")
    yield store
    store.close()


@pytest.mark.parametrize("seed", range(SEEDS))
@pytest.mark.parametrize("kind", MAKERS)
async def test_no_rule_is_broken(kind: str, seed: int, store: Store) -> None:
    """A1, S16, P1, I1, R1, R2."""
    book = Book(f"{kind} {seed}")

    await record(Mounted(kind, book, store), book)

    assert not list(Rules(book).broken())
    assert is_telling(book)


@dataclass(slots=True)
class Flight:
    """A forward of the fake's."""

    asked: int
    generation: int
    kind: str
    over: anyio.Event = field(default_factory=anyio.Event)
    forward: Forward | None = None


class Fake:
    """A cache that is right, or wrong in one way."""

    def __init__(self, book: Book, fault: str) -> None:
        self._book, self._fault, self._generation = book, fault, 0
        self._records: dict[str, Flight] = {}
        self._flights: dict[tuple[str, str], Flight] = {}

    async def purge(self, key: str | None) -> None:
        self._generation += 1
        for each in [key] if key else list(self._records):
            self._records.pop(each, None)
        if self._fault != "unfenced":
            self._flights.clear()

    async def ask(self, op: Op) -> Reply:
        key = "0" * 32 if self._fault == "mixes" else op.question.encode().hex().rjust(32, "0")
        record, flight = self._records.get(key), self._flights.get((key, op.kind))
        if record is not None and not op.is_new:
            return self._said(op, record, f'hit; ttl=9; key="{key}"')
        if op.only_stored and self._fault != "asks":
            return Reply(504, {b"cache-status": b"cachemw; detail=not-cached"}, (), complete=True)
        leads = flight is None or op.is_new
        if flight is None or leads:
            flight = Flight(self._book.now(), self._generation, op.kind)
            if not op.is_new and (op.keeps or self._fault == "shares"):
                self._flights[key, op.kind] = flight
            stored = await self._lead(flight, key, op)
        else:
            await flight.over.wait()
            stored = False
        said = "hit" if self._fault == "lies" else "fwd=miss" + "; stored" * stored + "; collapsed" * (not leads)
        return self._said(op, flight, f'{said}; key="{key}"')

    async def _lead(self, flight: Flight, key: str, op: Op) -> bool:
        flight.forward, ticks = self._book.take(op.number)
        await Pause(ticks).wait()
        self._book.over(flight.forward)
        if self._flights.get((key, op.kind)) is flight:
            del self._flights[key, op.kind]
        there = self._records.get(key)
        stored = (
            op.keeps
            and (there is None or there.asked < flight.asked or self._fault == "unordered")
            and (flight.generation == self._generation or self._fault == "unfenced")
            and (flight.forward.is_sound or self._fault == "keeps broken")
        )
        if stored:
            self._records[key] = flight
        flight.over.set()
        return stored

    def _said(self, op: Op, flight: Flight, said: str) -> Reply:
        assert flight.forward is not None
        told = told_of(flight.forward, op.kind != "json")
        body = tuple(part for part in told.parts if isinstance(part, bytes))
        is_whole = flight.forward.outcome != "cut" or self._fault == "keeps broken"
        return Reply(told.status, {b"cache-status": f"cachemw; {said}".encode()}, body, complete=is_whole)


async def rules_broken_by(fault: str, seed: int) -> set[str]:
    book = Book(f"fake {seed}")
    await record(Fake(book, fault), book)
    assert fault or is_telling(book)
    return {broken.rule for broken in Rules(book).broken()}


@pytest.mark.parametrize("seed", range(4))
async def test_a_cache_that_is_right_breaks_none(seed: int) -> None:
    """A1: of the check itself."""
    assert await rules_broken_by("", seed) == set()


@pytest.mark.parametrize("fault", FAULTS)
async def test_a_cache_that_is_wrong_in_one_way_is_found(fault: str) -> None:
    """A1: of the check itself; it need not go wrong every time."""
    found = set[str]()
    for seed in range(10):
        if not found >= FAULTS[fault]:
            found |= await rules_broken_by(fault, seed)

    assert found >= FAULTS[fault]
