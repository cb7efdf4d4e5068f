"""What may go wrong while something is recalled: with the store, between two looks at it, in hooks, and in a fork."""

import asyncio
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from cachemw import DiskStore, ExchangeReport, Limits, MemoryStore, Policy, Store, StoreError
from cachemw.asgi import CacheMiddleware
from cachemw.drivers.tally import Tally
from cachemw.stores import Inline
from cachemw.stores.disk import database
from tests.cache.test_recall import plain_hit
from tests.drivers.elsewhere import Elsewhere
from tests.drivers.states import Answer, ask
from tests.patience import PATIENT
from tests.stores.dictionary import DictionaryStore
from tests.stores.planting import locked
from tests.stores.scripts import run
from tests.thorough import THOROUGH
from tests.upstream import Asked, Told, Upstream, completion, prompt

pytestmark = pytest.mark.anyio

ON = (b"cachemw", b"on")
LOOK = (ON, (b"cache-control", b"only-if-cached"))
BODY = prompt("what is recalled")


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class House:
    """A mount that recalls, and one that does not, on one store before one upstream, which says something new each time."""

    def __init__(self, store: Store, hooks: tuple[Callable[[ExchangeReport], None], ...] = ()) -> None:
        self.store, self.upstream, self.recalled = store, Upstream(respond=self._respond), 0
        self.now = time.time()
        self.recalling, self.deciding = (self._mount(size, hooks) for size in (1_000_000, 0))
        find = self.recalling.driver.recaller.find

        def counting(digest: bytes) -> Any:
            found = find(digest)
            self.recalled += found is not None
            return found

        self.recalling.driver.recaller.find = counting  # type: ignore[method-assign]

    def _mount(self, size: int, hooks: tuple[Callable[[ExchangeReport], None], ...]) -> CacheMiddleware:
        limits = Limits(
            recall_bytes=size, store_patience=PATIENT.store_patience, store_opening=PATIENT.store_opening, store_first_rest=0.0
        )
        policy = Policy(stale_if_error=0)
        mount = CacheMiddleware(self.upstream, name="bot", store=self.store, policy=policy, limits=limits, hooks=hooks)
        mount.driver.clock = lambda: self.now  # that of both: no second begins between two looks
        return mount

    def _respond(self, asked: Asked) -> Told:
        return completion(f"answer {self.upstream.calls}")

    async def remembered(self) -> Answer:
        """Have a hit remembered, and see that it is recalled."""
        await ask(self.recalling, BODY, ON)
        answer = await ask(self.recalling, BODY, *LOOK)
        before = self.recalled
        assert (await ask(self.recalling, BODY, *LOOK))[2] == answer[2]
        assert self.recalled == before + 1
        return answer

    async def look(self) -> tuple[Answer, Answer]:
        """Return what each of the mounts says, the one that recalls first; nothing is forwarded."""
        return await ask(self.recalling, BODY, *LOOK), await ask(self.deciding, BODY, *LOOK)


# Between two looks.


class Held(MemoryStore):
    """A store that lets something happen when it has read a record, and has not yet given it."""

    inline: Inline = Inline.ALL

    def __init__(self, inline: Inline = Inline.ALL, tells: bool = True) -> None:
        super().__init__()
        self.inline, self._tells = inline, tells
        self.meanwhile: list[Callable[[], object]] = []
        self.reads = 0

    def get(self, index: bytes) -> bytes | None:
        record, self.reads = super().get(index), self.reads + 1
        while self.meanwhile:
            self.meanwhile.pop()()
        return record

    def version(self) -> Any:
        return super().version() if self._tells else None


class HeldDisk(DiskStore):
    """The same, on disk."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.meanwhile: list[Callable[[], object]] = []

    def get(self, index: bytes) -> bytes | None:
        record = super().get(index)
        while self.meanwhile:
            self.meanwhile.pop()()
        return record


@contextmanager
def others(store: Any) -> Iterator[Store]:
    """Give the store as another process has it."""
    if not isinstance(store, DiskStore):
        yield store
        return
    other = DiskStore(store.path)
    yield other
    other.close()


HOLDING: dict[str, Callable[[Path], Any]] = {
    "all inline": lambda path: Held(),
    "reads inline": lambda path: Held(Inline.READS),
    "reads inline, and cannot say": lambda path: Held(Inline.READS, tells=False),
    "disk": HeldDisk,
}


@pytest.fixture(params=HOLDING)
def held(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A store that is changed in the middle of a look; others' commits are seen at once."""
    monkeypatch.setattr(database, "NOTED", 0.0)
    store = HOLDING[request.param](tmp_path / "store")
    yield store
    store.close()


def purging(store: Store) -> None:
    with others(store) as theirs:
        theirs.clear()


def replacing(store: Store) -> None:
    """Put another record there: what a refresh of another process does."""
    with others(store) as theirs:
        for index, record in list(theirs.scan()):
            theirs.put(index, record[:-1] + bytes([record[-1] ^ 1]), None)


@pytest.mark.parametrize("change", [purging, replacing])
async def test_what_is_purged_between_a_look_and_its_being_remembered_is_not_recalled(
    held: Any, change: Callable[[Store], None]
) -> None:
    """C2: the version that is noted is that before the look."""
    house = House(held)
    await ask(house.recalling, BODY, ON)

    held.meanwhile.append(lambda: change(held))
    last = await ask(house.recalling, BODY, *LOOK)
    given, right = await house.look()

    assert (last[0], held.meanwhile) == (200, [])
    assert given == right
    assert (right[0], house.recalled) == (504, 0)


async def test_what_is_purged_while_it_is_confirmed_is_recalled_once_and_not_again(held: Any) -> None:
    """C2: the version that is confirmed is that before the look."""
    house = House(held)
    await house.remembered()
    with others(held) as theirs:
        theirs.put(b"another", b"record", None)

    held.meanwhile.append(lambda: purging(held))
    await ask(house.recalling, BODY, *LOOK)
    given, right = await house.look()

    assert held.meanwhile == []
    assert given == right
    assert right[0] == 504


async def test_what_was_found_gone_by_one_digest_is_gone_for_the_others(held: Any) -> None:
    """C2: many digests lead to one hit."""
    house = House(held)
    await house.remembered()
    recaller = house.recalling.driver.recaller
    ((digest, recalled),) = recaller.recall._kept.items()
    for other in (b"1", b"2"):
        recaller.recall.keep(other, other, recalled)

    purging(held)

    assert [recaller.find(which) for which in (b"1", digest, b"2")] == [None] * 3


@pytest.mark.parametrize("times", [1, 3])
async def test_a_directory_that_was_removed_is_not_mistaken_for_the_one_that_came_after(tmp_path: Path, times: int) -> None:
    """C3, D5: the very same is done to both, so that their databases have come equally far."""
    house = House(DiskStore(tmp_path / "store"))
    seen = set()
    for _ in range(times):
        seen.add((await house.remembered())[2])
        house.store.close()
        shutil.rmtree(tmp_path / "store")

    seen.add((await ask(house.recalling, BODY, ON))[2])

    assert len(seen) == times + 1
    house.store.close()


async def test_own_writes_are_seen_however_long_others_may_go_unnoticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """V2, C2"""
    monkeypatch.setattr(database, "NOTED", 3600.0)
    house = House(DiskStore(tmp_path / "store"))
    first = await house.remembered()

    for _ in range(3):
        await ask(house.deciding, BODY, (b"cachemw", b"mode=refresh"))
        given, right = await house.look()
        assert given == right
        assert given[2] != first[2]
        await house.remembered()
    house.store.clear()

    assert (await house.look())[0][0] == 504
    house.store.close()


@pytest.mark.parametrize("what", ["put", "delete", "discard", "clear"] if THOROUGH else ["put"])
async def test_a_writer_that_is_killed_at_any_statement_leaves_what_would_be_decided(what: str, tmp_path: Path) -> None:
    """V1, R14: what was committed is seen, and what was not is not."""
    house = House(DiskStore(tmp_path / "store"))
    await house.remembered()
    ((index, first),) = house.store.scan()
    await ask(house.deciding, BODY, (b"cachemw", b"mode=refresh"))
    seen = set()
    with closing(house.store), closing(Elsewhere(tmp_path / "store", 100)) as elsewhere:
        for statement in range(40):
            await house.remembered()
            await asyncio.to_thread(elsewhere.do, what, house.now, index, record=first, dies_at=statement)
            await asyncio.sleep(2 * database.NOTED)
            given, right = await house.look()
            assert given == right, statement
            seen.add(right[2])
            if elsewhere.kills == statement:
                break

    assert 2 < elsewhere.kills < 39
    assert len(seen) > 1  # the last one did what it was told


# Stores that cannot say, that fail, that are locked.


@pytest.mark.parametrize(
    ("make", "reads"),
    [(lambda: Held(), 0), (lambda: Held(Inline.READS), 0), (lambda: Held(Inline.READS, tells=False), 1)],
    ids=["all inline", "reads inline", "reads inline, and cannot say"],
)
async def test_a_store_is_looked_into_as_little_as_it_can_say_and_a_purge_is_seen_at_once(
    make: Callable[[], Held], reads: int
) -> None:
    """V2"""
    house = House(store := make())
    await house.remembered()
    store.reads = 0
    for _ in range(3):
        await ask(house.recalling, BODY, *LOOK)
    assert (store.reads, house.upstream.calls) == (3 * reads, 1)

    store.clear()

    given, right = await house.look()
    assert given == right
    assert given[0] == 504


async def test_a_store_of_which_every_call_may_wait_is_asked_each_time() -> None:
    """V2: to trust it for a while would bring back what was purged, or replaced."""
    house = House(DictionaryStore())
    for control in (b"on", b"on", b"on", b"mode=refresh", b"on", b"on"):
        answer = await ask(house.recalling, BODY, (b"cachemw", control))

    assert (house.recalled, house.upstream.calls) == (0, 2)
    assert answer[2] == (await ask(house.deciding, BODY, ON))[2]


class Failing(Held):
    """A store that fails in everything as long as a test says."""

    fails = False

    def get(self, index: bytes) -> bytes | None:
        record: bytes | None = self._unless_it_fails(super().get)(index)
        return record

    def version(self) -> Any:
        return self._unless_it_fails(super().version)()

    def _unless_it_fails(self, call: Any) -> Any:
        if self.fails:
            raise OSError("the disk is gone")
        return call


@pytest.mark.parametrize("inline", [Inline.ALL, Inline.READS])
async def test_a_store_that_fails_has_nothing_and_is_recalled_of_again_when_it_is_well(inline: Inline) -> None:
    """D1, C6: through the guard and the breaker, as a look."""
    house = House(store := Failing(inline))
    first = await house.remembered()

    store.fails = True
    for _ in range(8):  # the breaker opens, and tries now and then
        given, right = await house.look()
        assert given == right
        assert given[0] == 504
    store.fails = False
    tries = [(await house.look())[0][0] for _ in range(3)]

    assert tries[-1] == 200
    assert (await house.remembered())[2] == first[2]


@pytest.mark.parametrize("how", ["IMMEDIATE", "EXCLUSIVE"])
async def test_what_another_holds_the_lock_of_is_recalled_and_nobody_waits(how: str, tmp_path: Path) -> None:
    """C6, D1"""
    house = House(DiskStore(tmp_path / "store"))
    first = await house.remembered()

    with locked(tmp_path / "store", how):
        assert (await ask(house.recalling, BODY, *LOOK))[2] == first[2]

    assert (house.upstream.calls, house.recalled) == (1, 2)
    house.store.close()


async def test_a_store_that_is_closed_is_opened_again_and_asked(tmp_path: Path) -> None:
    """C3, D8: another opening has another version."""
    house = House(DiskStore(tmp_path / "store"))
    first = await house.remembered()

    for _ in range(3):
        house.store.close()
        assert (await ask(house.recalling, BODY, ON))[2] == first[2]
        await house.remembered()

    assert house.upstream.calls == 1
    house.store.close()


async def test_a_revoked_recall_knows_nothing() -> None:
    """C5: a mount that is made anew remembers nothing of the one before."""
    house = House(MemoryStore())
    await house.remembered()
    again = House(house.store)

    await ask(again.recalling, BODY, ON)

    assert again.recalled == 0


# Hooks.


async def test_a_hook_that_raises_changes_nothing_and_the_others_are_told(caplog: pytest.LogCaptureFixture) -> None:
    """B2"""
    reports: list[ExchangeReport] = []

    def fall_over(report: ExchangeReport) -> None:
        raise RuntimeError("a secret")

    house = House(MemoryStore(), (fall_over, reports.append))
    first = await house.remembered()
    for _ in range(4):
        assert (await ask(house.recalling, BODY, *LOOK))[2] == first[2]
    await house.recalling.aclose()

    assert [report.outcome for report in reports] == ["miss", *["hit"] * (len(reports) - 1)]
    assert sum(report.count for report in reports) == 7
    assert "a secret" not in caplog.text


async def test_hits_of_a_second_are_one_report_that_has_all_that_one_has() -> None:
    """B1, B2: but for its own time and name, and how many it speaks for."""
    reports: list[ExchangeReport] = []
    house = House(MemoryStore(), (reports.append,))
    await house.remembered()
    for _ in range(9):
        await ask(house.recalling, BODY, *LOOK)
    house.recalling.driver.recaller.tally.tell()

    _, decided, recalled = reports
    own = ("id", "count", "first_byte", "total")
    told = [{name: getattr(one, name) for name in one.__struct_fields__ if name not in own} for one in (decided, recalled)]
    assert told[0] == told[1]
    assert (decided.count, recalled.count) == (1, 10)
    assert decided.id != recalled.id


def test_what_many_threads_count_is_told_once() -> None:
    """B2, P4: where there is no event loop, at once."""
    reports: list[ExchangeReport] = []
    tally = Tally([reports.append], lambda: 0.0)
    moments = [moment for moment in (plain_hit().at(30.0) for _ in range(3)) if moment is not None]

    def count() -> None:
        for number in range(500):
            tally.add(moments[number % len(moments)], 5)

    threads = [threading.Thread(target=count) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    tally.tell()

    assert (len(moments), sum(report.count for report in reports)) == (3, 4_000)


# Forks.

FORK = """
import asyncio, os, sys, threading
from cachemw import DiskStore, MemoryStore
from tests.drivers.test_recalling import BODY, LOOK, ON, House
from tests.drivers.states import ask

reports = []
house = House(MemoryStore() if sys.argv[1] == "memory" else DiskStore(sys.argv[2]), (reports.append,))
recaller = house.recalling.driver.recaller

async def answers(count):
    return {(await ask(house.recalling, BODY, ON))[2] for _ in range(count)}

first = asyncio.run(answers(5))
over, (kept,) = threading.Event(), recaller.recall._kept.values()

def hammer():
    while not over.is_set():
        recaller.recall.keep(b"h", b"another", kept)
        recaller.recall.knows(b"h")
        recaller.tally.tell()

threads = [threading.Thread(target=hammer) for _ in range(3)]
for thread in threads:
    thread.start()
children = []
for number in range(8):
    child = os.fork()
    if not child:
        reports.clear()
        same = asyncio.run(answers(3)) == first
        recaller.tally.tell()
        os._exit(0 if same and sum(report.count for report in reports) == 3 else 1)
    children.append(child)
    assert asyncio.run(answers(1)) == first
ended = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
over.set()
for thread in threads:
    thread.join()
recaller.tally.tell()
house.store.close()
print(ended == [0] * 8, sum(report.count for report in reports), house.upstream.calls)
"""


@pytest.mark.parametrize("kind", ["memory", "disk"])
def test_a_mount_goes_through_forks_and_each_process_tells_of_its_own(kind: str, tmp_path: Path) -> None:
    """P4, B2: whatever other threads do at that moment."""
    assert run(FORK, kind, tmp_path / "store") == "True 13 1\n"


async def test_a_store_that_cannot_be_asked_is_no_fault_of_the_request() -> None:
    """D1: what it raises becomes a miss, here too."""

    class Odd(Held):
        def version(self) -> Any:
            raise StoreError("no version today")

    house = House(Odd(Inline.READS))

    answers = [(await ask(house.recalling, BODY, ON))[0] for _ in range(4)]

    assert (answers, house.recalled) == ([200] * 4, 0)
