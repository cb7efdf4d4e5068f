"""Everything that can happen to what a mount recalls, and the same question to one that does not recall."""

import asyncio
import json
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from types import SimpleNamespace
from typing import Any

import diskcache.core
import pytest
from starlette.types import Message

import cachemw.stores.disk.database
from cachemw import DiskStore, Limits, MemoryStore, Policy, Store, StoreError
from cachemw.asgi import CacheMiddleware
from cachemw.cache.key import indexes_beside
from cachemw.stores import Inline
from tests.asgi_driver import scope_for
from tests.drivers.elsewhere import Elsewhere
from tests.patience import PATIENT
from tests.stores.planting import rows
from tests.upstream import DONE, EVENT_STREAM, Asked, Told, Upstream, completion, event, prompt

START = 1_800_000_000.25
TICK = 0.0011
"""Another process's commit may go unnoticed for a millisecond."""

REMOVED = 2 * cachemw.stores.disk.database.SEEN
"""So long it may take until a directory is missed."""

COUNT_LIMIT = 7
USAGE = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
QUESTIONS = [prompt(f"question {number}", **more) for number in range(3) for more in ({}, {"stream": True})]
WITH_USAGE = prompt("question 0", stream=True, stream_options={"include_usage": True})
CREDENTIALS = (*((b"authorization", b"Bearer alice"),) * 5, (b"x-api-key", b"bob"), (b"user-agent", b"nobody's"))
LOOKS = (
    *(((b"cachemw", b"on"), (b"cache-control", b"only-if-cached")),) * 6,
    ((b"cachemw", b"mode=replay"),),
    ((b"cachemw", b"on, speed=0, colour=blue"), (b"cache-control", b"only-if-cached")),
    ((b"cachemw", b"on"), (b"cache-control", b"only-if-cached, max-age=5")),
    ((b"cachemw", b"on"), (b"cache-control", b"only-if-cached, max-stale=3")),
)
"""Ways to ask that forward nothing: what is compared changes nothing."""

PASSES = (0.001, 0.25, 0.5, 0.999, 1.0, 1.75, 4.0, 4.0, 59.0, 600.0, -0.25, -1.0, -1.5, -5.0, -60.0)
WEIGHTS = (*(10,) * 8, 1, 1, *(8,) * 3, 2, 1)
"""The seconds by which a clock goes on, or is set back, and how often."""

Answer = tuple[int, tuple[tuple[bytes, bytes], ...], tuple[bytes, ...]]


@dataclass(slots=True)
class Clock:
    """The time for mounts and stores alike."""

    now: float = START

    def __call__(self) -> float:
        return self.now


@dataclass(slots=True)
class Tried:
    """What came of it."""

    steps: int = 0
    compared: int = 0
    recalled: int = 0
    late: int = 0
    kills: int = 0
    differences: list[str] = field(default_factory=list)


class Silent(MemoryStore):
    """A store that cannot say whether anything has changed."""

    inline: Inline = Inline.READS

    def version(self) -> Any:
        return None


class Place:
    """A store that mounts share, two of which recall, and one that does not."""

    def __init__(self, store: Store, clock: Clock, upstream: Upstream, tried: Tried) -> None:
        self.store, self._tried = store, tried
        policy = Policy(stale_if_error=0, lifetime=27.5)
        self.recalling = [_mount(upstream, store, clock, policy, recall_bytes=size) for size in (30_000, 1_000_000)]
        self.deciding = _mount(upstream, store, clock, policy, recall_bytes=0)
        for mount in self.recalling:
            self._count(mount)

    def _count(self, mount: CacheMiddleware) -> None:
        find = mount.driver.recaller.find

        def counting(digest: bytes) -> Any:
            found = find(digest)
            self._tried.recalled += found is not None
            return found

        mount.driver.recaller.find = counting  # type: ignore[method-assign]


def _mount(upstream: Upstream, store: Store, clock: Clock, policy: Policy, recall_bytes: int) -> CacheMiddleware:
    limits = Limits(recall_bytes=recall_bytes, store_patience=PATIENT.store_patience, store_opening=PATIENT.store_opening)
    mount = CacheMiddleware(upstream, name="bot", store=store, policy=policy, limits=limits)
    mount.driver.clock = clock
    return mount


async def ask(mount: CacheMiddleware, body: bytes, *headers: tuple[bytes, bytes]) -> Answer:
    """Return an answer, byte by byte and piece by piece."""
    requests: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]
    sent: list[Message] = []

    async def receive() -> Message:
        return requests.pop() if requests else await asyncio.Event().wait()  # type: ignore[return-value]

    async def send(message: Message) -> None:
        sent.append(message)

    fields = ((b"content-type", b"application/json"), *headers)
    await mount(scope_for("POST", "/v1/chat/completions", fields), receive, send)
    return sent[0]["status"], tuple(sent[0]["headers"]), tuple(message["body"] for message in sent[1:])


class World:
    """A seeded run: each step does something, and then asks a mount that recalls and one that does not."""

    def __init__(self, random: Random, stores: list[Store], clock: Clock, tried: Tried, path: Path | None) -> None:
        self.random, self.clock, self.tried, self._path = random, clock, tried, path
        self.upstream = Upstream(respond=self._respond)
        self.places = [Place(store, clock, self.upstream, tried) for store in stores]
        self._elsewhere = None if path is None else Elsewhere(path, COUNT_LIMIT)
        self._records: dict[bytes, list[bytes]] = {}
        self._answers = 0
        self._removed_at = -REMOVED
        self._exact = self.places  # those for which no other process has just written

    def _respond(self, asked: Asked) -> Told:
        """Answer with something new, with its usage or without; a large stream is replayed in pieces."""
        self._answers += 1
        self.upstream.asked.clear()
        words = f"answer {self._answers}" + "." * self.random.choice((0, 0, 200, 40_000))
        usage = {"usage": USAGE} if self.random.random() < 0.5 else {}
        if b'"stream"' not in asked.body:
            return completion(words, **usage)
        last = [b"data: " + json.dumps({"choices": [], **usage}).encode() + b"\n\n"] if usage else []
        return Told(
            [event({"content": words}), event({"content": words}), event({}, "stop"), *last, DONE], headers=EVENT_STREAM
        )

    # What can happen.

    async def refresh(self) -> None:
        await self._asked(self.random.choice((b"mode=refresh", b"mode=refresh, ttl=2", b"mode=refresh, ttl=60")))

    async def request(self) -> None:
        await self._asked(self.random.choice((b"on", b"on", b"on, ttl=3", b"ttl=0", b"on, speed=1")))

    async def _asked(self, control: bytes) -> None:
        place = self.random.choice(self.places)
        await ask(
            self.random.choice([*place.recalling, place.deciding]),
            self._body(),
            self.random.choice(CREDENTIALS),
            (b"cachemw", control),
        )
        self._exact = [place]
        self._note()

    async def purge(self) -> None:
        store, index = self._store(), self._index()
        with suppress(StoreError):
            self.random.choice((store.delete, store.discard))(index, *indexes_beside(index))

    async def purge_many(self) -> None:
        store = self._store()
        with suppress(StoreError):
            if self.random.random() < 0.5:
                store.clear()
            else:
                store.purge(self.clock.now - self.random.choice((0.0, 1.0, 30.0)))

    async def let_time_pass(self) -> None:
        self.clock.now += self.random.choices(PASSES, WEIGHTS)[0]

    async def begin_the_next_second(self) -> None:
        """Put the clock on a second of some record's age, or beside it."""
        self.clock.now = self.clock.now // 1 + 1.25 + self.random.choice((-1e-6, 0.0, 1e-6))

    async def tick(self) -> None:
        time.sleep(TICK)  # noqa: ASYNC251 - nothing else is to happen meanwhile

    async def swap(self) -> None:
        """Another program puts another record of the same key there."""
        index = self._index()
        if self._records.get(index) and self._path is not None:
            with suppress(Exception):
                record, ends = self.random.choice(self._records[index]), self.clock.now + 600.0
                rows(self._path, "UPDATE Cache SET value = ?, expire_time = ? WHERE key = ?", record, ends, index)
        self._exact = []

    async def elsewhere(self) -> None:
        await self._elsewhere_do(None)

    async def die_elsewhere(self) -> None:
        await self._elsewhere_do(self.random.randrange(-40, 14))

    async def _elsewhere_do(self, dies_at: int | None) -> None:
        assert self._elsewhere is not None
        index, what = self._index(), self.random.choice(("put", "put", "delete", "discard", "clear"))
        records = self._records.get(index)
        if what == "put" and not records:
            what = "delete"
        record = self.random.choice(records) if records else b""
        await asyncio.to_thread(self._elsewhere.do, what, self.clock.now, index, record=record, dies_at=dies_at)
        self._exact = []

    async def remove_the_directory(self) -> None:
        assert self._path is not None
        shutil.rmtree(self._path, ignore_errors=True)
        self._removed_at = time.monotonic()

    async def restart(self) -> None:
        self._store().close()

    def _store(self) -> Store:
        place = self.random.choice(self.places)
        self._exact = [place]
        return place.store

    def _body(self) -> bytes:
        return WITH_USAGE if self.random.random() < 0.1 else self.random.choice(QUESTIONS)

    def _index(self) -> bytes:
        return self.random.choice(list(self._records) or [bytes(16)])

    def _note(self) -> None:
        """Remember some records, for others to put there."""
        if self.random.random() < 0.2:
            with suppress(StoreError):
                for index, record in self.places[0].store.scan():
                    known = self._records.setdefault(index, [])
                    if record not in known:
                        known[:] = [*known[-3:], record]

    # What is compared.

    async def step(self, what: Callable[["World"], Any]) -> None:
        """Let something happen, and compare."""
        self._exact = self.places
        await what(self)
        self.tried.steps += 1
        for place in self.places:
            await self._compare(place, what.__name__)

    async def _compare(self, place: Place, after: str) -> None:
        asked = (self._body(), self.random.choice(CREDENTIALS), *self.random.choice(LOOKS))
        mount = self.random.choice(place.recalling)
        for _ in range(2):  # what the first is given is remembered
            given = await ask(mount, *asked)
            right = await ask(place.deciding, *asked)
            self.tried.compared += 1
            patience = self._patience(place)
            if given != right and patience:
                self.tried.late += 1
                time.sleep(patience)  # noqa: ASYNC251 - nothing else is to happen meanwhile
                given, right = await ask(mount, *asked), await ask(place.deciding, *asked)
            if given != right:
                self.tried.differences.append(f"step {self.tried.steps}, {after}, {asked}: {given[:2]} instead of {right[:2]}")

    def _patience(self, place: Place) -> float:
        """Return how long something may go unnoticed that has just happened."""
        if time.monotonic() < self._removed_at + REMOVED:
            return REMOVED
        return 0.0 if place in self._exact else TICK

    def close(self) -> None:
        if self._elsewhere is not None:
            self.tried.kills = self._elsewhere.kills
            self._elsewhere.close()
        for place in self.places:
            place.store.close()


IN_MEMORY: dict[Callable[[World], Any], float] = {
    World.refresh: 15,
    World.request: 40,
    World.purge: 6,
    World.purge_many: 1,
    World.let_time_pass: 25,
    World.begin_the_next_second: 10,
    World.tick: 3,
}
ON_DISK = IN_MEMORY | {
    World.swap: 6,
    World.elsewhere: 6,
    World.die_elsewhere: 0.3,
    World.remove_the_directory: 0.3,
    World.restart: 0.5,
}


@contextmanager
def on_clock(clock: Clock) -> Iterator[None]:
    """Let the time of a store on disk be this one's."""
    with pytest.MonkeyPatch.context() as patched:
        for module in (cachemw.stores.disk.database, diskcache.core):
            patched.setattr(module, "time", SimpleNamespace(**{**vars(time), "time": clock}))
        yield


def stores_of(kind: str, path: Path, clock: Clock) -> list[Store]:
    """Return the stores of a run; two on one directory are as two processes'."""
    match kind:
        case "memory":
            return [MemoryStore(clock=clock, count_limit=COUNT_LIMIT)]
        case "silent":
            return [Silent(clock=clock, count_limit=COUNT_LIMIT)]
        case _:
            return [DiskStore(path, count_limit=COUNT_LIMIT) for _ in range(2)]


def run(kind: str, seed: int, steps: int, path: Path) -> Tried:
    """Return what came of so many steps."""
    clock, tried, random = Clock(), Tried(), Random(seed)
    weights = ON_DISK if kind == "disk" else IN_MEMORY

    async def go() -> None:
        world = World(random, stores_of(kind, path, clock), clock, tried, path if kind == "disk" else None)
        try:
            for what in random.choices(list(weights), list(weights.values()), k=steps):
                await world.step(what)
        finally:
            world.close()

    with on_clock(clock):
        asyncio.run(go())
    return tried
