"""V4: how many frames of ours a hit takes: ceilings, so that none grows unseen. A version that is asked anew takes six of them.

`speed.md` §2 wants fewer: 20 for a recalled hit in a mount; at the gate 50, and 205 the whole way, those of the listener among
them.
"""

import asyncio
from collections.abc import Coroutine, Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from starlette.types import Message

from cachemw import DiskStore, Limits, MemoryStore, Store
from cachemw.asgi import CacheMiddleware
from cachemw.cache.policy import Policy
from cachemw.proxy import Gate, Proxy
from cachemw.proxy.admission import AccessRules
from tests.asgi_driver import scope_for
from tests.drivers.frames import Frames, frames_of
from tests.drivers.test_recall_reads import answered, over_http
from tests.upstream import Upstream, prompt

pytestmark = pytest.mark.anyio

BODY = prompt("within its budget")
FIELDS = (
    (b"host", b"localhost"),
    (b"content-type", b"application/json"),
    (b"authorization", b"Bearer sk-alice"),
    (b"traceparent", b"00-1"),
    (b"cachemw", b"on"),
)
BOUNDED = (*FIELDS, (b"cache-control", b"max-age=999"))
"""What is never recalled."""


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(params=["memory", "disk"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    """A store of each kind."""
    store: Store = MemoryStore() if request.param == "memory" else DiskStore(tmp_path)
    yield store
    store.close()


def mount(store: Store, recall_bytes: int, ledger: bool = False) -> Any:
    return CacheMiddleware(Upstream(), name="bot", store=store, limits=Limits(recall_bytes=recall_bytes), ledger=ledger)


def gate(store: Store, recall_bytes: int, ledger: bool = False) -> Any:
    limits = Limits(recall_bytes=recall_bytes)
    proxy = Proxy(over_http(), store=store, limits=limits, ledger=ledger)
    return Gate(proxy, AccessRules(Policy()), limits=limits, bodies=proxy.bodies, recaller=proxy.recaller)


async def hit(app: Any, fields: tuple[tuple[bytes, bytes], ...]) -> None:
    """Ask for what is stored, in one piece, as a client that does not make us wait."""
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "http.request", "body": BODY, "more_body": False}

    async def send(message: Message) -> None:
        sent.append(message)

    await app(scope_for("POST", "/v1/chat/completions", fields), receive, send)
    assert b"cachemw; hit" in dict(sent[0]["headers"])[b"cache-status"]


async def counted(app: Any, fields: tuple[tuple[bytes, bytes], ...] = FIELDS) -> Frames:
    """Return what a hit calls, when what can be cached is."""
    await answered(app, scope_for("POST", "/v1/chat/completions", fields), BODY)
    make: partial[Coroutine[Any, Any, None]] = partial(hit, app, fields)
    return frames_of(make)


@pytest.mark.parametrize(("make", "frames", "coroutines"), [(mount, 44, 4), (gate, 37, 4)], ids=["in a mount", "at the gate"])
async def test_a_recalled_hit(make: Any, frames: int, coroutines: int, store: Store) -> None:
    """V4"""
    counted_here = await counted(make(store, 1_000_000))

    assert counted_here.count <= frames, counted_here.told()
    assert counted_here.coroutines <= coroutines, counted_here.told()


@pytest.mark.parametrize(
    ("make", "recall_bytes", "frames", "coroutines"),
    [(mount, 0, 175, 9), (mount, 1_000_000, 198, 9), (gate, 0, 203, 14), (gate, 1_000_000, 228, 15)],
    ids=["in a mount, without recall", "in a mount, with it", "at the gate, without recall", "at the gate, with it"],
)
async def test_a_hit_the_whole_way(make: Any, recall_bytes: int, frames: int, coroutines: int, store: Store) -> None:
    """V4: what recall costs where it is of no use is in it."""
    counted_here = await counted(make(store, recall_bytes), BOUNDED)

    assert counted_here.count <= frames, counted_here.told()
    assert counted_here.coroutines <= coroutines, counted_here.told()


@pytest.mark.parametrize(
    ("make", "recall_bytes", "fields", "more"),
    [(mount, 1_000_000, FIELDS, 0), (gate, 1_000_000, FIELDS, 0), (mount, 0, BOUNDED, 13), (gate, 0, BOUNDED, 13)],
    ids=["recalled in a mount", "recalled at the gate", "the whole way in a mount", "the whole way at the gate"],
)
async def test_a_ledger_counts_what_is_recalled_and_measures_the_rest(
    make: Any, recall_bytes: int, fields: tuple[tuple[bytes, bytes], ...], more: int, tmp_path: Path
) -> None:
    """V4: of one entry that is given again and again, only the first hit is more than a number."""
    with closing(DiskStore(tmp_path)) as store:
        without = await counted(make(store, recall_bytes), fields)
        app = make(store, recall_bytes, ledger=True)
        await counted(app, fields)
        counted_here = await counted(app, fields)

    assert counted_here.count <= without.count + more, counted_here.told()


def test_what_waits_for_something_is_not_counted() -> None:
    """V4: nor is what is not ours."""
    with pytest.raises(AssertionError, match="waited"):
        frames_of(partial(asyncio.sleep, 0))
    assert frames_of(partial(_nothing)).count == 0


async def _nothing() -> None:
    prompt("nothing of ours")
