"""A1: a put never replaces a record that was asked for later, and what was asked for before a purge is nobody's after it."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import anyio
import pytest

from cachemw import DiskStore, ExchangeReport, MemoryStore, Policy, Store
from tests.asgi_driver import Reply
from tests.faults.credentials import said_in
from tests.mounts.conftest import Mounted, status_of
from tests.mounts.gates import Gate
from tests.serving import until
from tests.upstream import Asked, Told, completion, prompt, stream

pytestmark = pytest.mark.anyio

JSON, STREAM = prompt(), prompt(stream=True)
BODIES = pytest.mark.parametrize("body", [JSON, STREAM], ids=["json", "stream"])
SOON = 2.0
"""Seconds in which who waits for nobody is answered; the gates are held a little longer."""


@dataclass(slots=True)
class Numbered:
    """Answers with a number, and refuses some; the first that is `held` is until the gate opens."""

    held: int = 0
    refused: tuple[int, ...] = ()
    gate: Gate = field(default_factory=Gate)
    calls: int = 0

    def __call__(self, asked: Asked) -> Told:
        number, self.calls = self.calls, self.calls + 1
        if number in self.refused:
            return Told((b'{"error": {}}',), 500)
        told = (stream if b'"stream":true' in asked.body else completion)(f"answer {number}")
        return replace(told, parts=(self.gate, *told.parts)) if number == self.held else told


@dataclass(slots=True)
class Slow:
    """What came of the request that was held."""

    replies: list[Reply] = field(default_factory=list)
    reports: list[ExchangeReport] = field(default_factory=list)

    @property
    def stored(self) -> tuple[bool | None, str]:
        """Whether its answer was kept, and the first reason why not."""
        (report,) = self.reports
        return report.stored, report.details[0] if report.details else ""


@asynccontextmanager
async def held(mounted: Mounted, numbered: Numbered, body: bytes) -> AsyncIterator[Slow]:
    """Have a request under way upstream; what happens here happens meanwhile, and at the end it lands."""
    slow, calls = Slow(), numbered.calls
    mounted.upstream.respond = numbered

    async def ask() -> None:
        slow.replies.append(await mounted.ask(body=body))
        slow.reports.append(mounted.reports[-1])

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(ask)
        await until(lambda: numbered.calls > calls)
        try:
            yield slow
        finally:
            numbered.gate.set()


def text_of(reply: Reply) -> str:
    assert reply.complete
    return said_in(reply).strip()


@BODIES
async def test_a_slow_miss_does_not_replace_what_a_refresh_brought_meanwhile(mounted: Mounted, body: bytes) -> None:
    """A1: it says so, and hits say the refreshed answer."""
    async with held(mounted, Numbered(), body) as slow:
        refreshed = await mounted.ask("on, mode=refresh", body)

    hit = await mounted.ask(body=body)

    assert (text_of(slow.replies[0]), text_of(refreshed)) == ("answer 0", "answer 1")
    assert slow.stored == (False, "superseded")
    assert status_of(hit).startswith("hit;")
    assert text_of(hit) == "answer 1"


async def test_a_json_that_is_superseded_says_so_in_its_head(mounted: Mounted) -> None:
    """A1: no `stored` that is not true."""
    async with held(mounted, Numbered(), JSON) as slow:
        await mounted.ask("on, mode=refresh")

    assert status_of(slow.replies[0]) == "fwd=miss; fwd-status=200; key; detail=superseded"


async def test_a_refresh_that_fails_supersedes_nothing(mounted: Mounted) -> None:
    """A1, R2."""
    async with held(mounted, Numbered(refused=(1,)), JSON) as slow:
        refused = await mounted.ask("on, mode=refresh")

    assert refused.status == 500
    assert status_of(slow.replies[0]) == "fwd=miss; fwd-status=200; stored; key"


@pytest.mark.parametrize(("older", "newer"), [(JSON, STREAM), (STREAM, JSON)], ids=["older json", "older stream"])
async def test_of_two_misses_of_two_kinds_the_older_one_lands_last_in_vain(
    mounted: Mounted, older: bytes, newer: bytes
) -> None:
    """A1: every put is ordered, not only those against refreshes."""
    mounted.mount(Policy(patience=0.05))
    async with held(mounted, Numbered(), older) as slow:
        with anyio.move_on_after(SOON):
            brought = await mounted.ask(body=newer)

    hit = await mounted.ask(body=newer)

    assert text_of(brought) == "answer 1"
    assert slow.stored == (False, "superseded")
    assert status_of(hit).startswith("hit;")
    assert text_of(hit) == "answer 1"


Purge = Callable[[Store, bytes], object]
"""Of a store, where the key asked for has this index."""


PURGES: dict[str, tuple[str, Purge]] = {
    "memory, its key": ("memory", lambda store, index: store.delete(index)),
    "memory, another key": ("memory", lambda store, index: store.delete(bytes(16))),
    "disk, another key": ("disk", lambda store, index: store.delete(bytes(16))),
    "memory, everything": ("memory", lambda store, index: store.clear()),
    "disk, everything": ("disk", lambda store, index: store.clear()),
}


@pytest.fixture(params=PURGES)
async def purge(request: pytest.FixtureRequest, mounted: Mounted, tmp_path: Path) -> AsyncIterator[Callable[[], object]]:
    """Mount over another store, in which there is nothing; what is given purges it."""
    kind, purge = PURGES[request.param]
    store: Store = MemoryStore() if kind == "memory" else DiskStore(tmp_path / "store")
    mounted.store = store
    mounted.mount()
    await mounted.ask()
    ((index, _),) = store.scan()
    store.delete(index)
    mounted.upstream.asked.clear()
    yield lambda: purge(store, index)
    store.close()


@BODIES
async def test_what_was_asked_for_before_a_purge_is_not_stored_after_it(
    mounted: Mounted, purge: Callable[[], object], body: bytes
) -> None:
    """A1, S16: whichever key was meant; it says so."""
    async with held(mounted, Numbered(), body) as slow:
        await anyio.to_thread.run_sync(purge)

    replayed = await mounted.ask("on, mode=replay", body)

    assert text_of(slow.replies[0]) == "answer 0"
    assert slow.stored == (False, "purged")
    assert replayed.status == 504


@pytest.mark.parametrize("purge", ["memory, its key", "disk, everything"], indirect=True)
@pytest.mark.parametrize("before", [JSON, STREAM], ids=["json before", "stream before"])
@pytest.mark.parametrize("after", [JSON, STREAM], ids=["json after", "stream after"])
async def test_who_asks_after_a_purge_neither_joins_nor_awaits_what_flies_from_before_it(
    mounted: Mounted, purge: Callable[[], object], before: bytes, after: bytes
) -> None:
    """A1: also of another kind; what it brings is stored, and what lands later leaves that alone."""
    brought: list[Reply] = []
    async with held(mounted, Numbered(), before) as slow, anyio.create_task_group() as tasks:

        async def ask() -> None:
            brought.append(await mounted.ask(body=after))

        await anyio.to_thread.run_sync(purge)
        tasks.start_soon(ask)
        with anyio.move_on_after(SOON):
            await until(lambda: bool(brought))
        came_at_once = bool(brought)
        mounted.upstream.respond.gate.set()  # type: ignore[attr-defined]

    hit = await mounted.ask(body=after)

    assert came_at_once
    assert text_of(brought[0]) == "answer 1"
    assert "collapsed" not in status_of(brought[0])
    assert slow.stored == (False, "purged")
    assert status_of(hit).startswith("hit;")
    assert text_of(hit) == "answer 1"
