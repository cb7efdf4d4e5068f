"""A storm: a thousand clients leave at random points, a thousand streams are refused; then everything is of use again.

H4, R12: over aiohttp, which is the default, and over httpx's own, which loses connections (httpcore#1093).
"""

import asyncio
import gc
import os
import random
from collections.abc import Callable
from dataclasses import dataclass, field

import anyio
import httpx

from cachemw import MemoryStore
from cachemw.proxy import Proxy
from cachemw.upstreams import HttpUpstream
from cachemw.upstreams.connections import MakeTransport
from tests.faults.fault import Fault, Tally
from tests.faults.slow_clients import proc_is_missing
from tests.real.grounds import grounded, until
from tests.real.leaving import Scene
from tests.real.test_leaving_many import Hesitant, all_of, refused
from tests.upstream import prompt, stream_events

CLIENTS = 1000
FEW = 10
"""Fewer connections than there are clients at once."""
AFTERWARDS = 100
ANSWER = b"".join(stream_events("one two three four five six"))
PATIENCE = 30.0


@dataclass(slots=True)
class Made:
    """Makes transports, and counts them."""

    make: Callable[[], httpx.AsyncBaseTransport]
    count: int = field(default=0)

    def __call__(self) -> httpx.AsyncBaseTransport:
        self.count += 1
        return self.make()


def limited() -> httpx.AsyncBaseTransport:
    """Return httpx's own transport, with few connections."""
    return httpx.AsyncHTTPTransport(verify=False, trust_env=False, limits=httpx.Limits(max_connections=FEW))


async def _stormed(make: MakeTransport | None, afterwards: int, seed: int) -> Tally:
    """Have a storm come over a proxy, then ask so much at once as there can be connections; count what is left."""
    tasks, files = asyncio.all_tasks(), _files()
    async with grounded() as ground:
        upstream, store = Hesitant(random.Random(seed)), MemoryStore()
        upstream.gate.set()
        http = HttpUpstream(ground.upstream_url + "/v1", transport=make)
        proxy = Proxy(http, store=store)
        front, url = ground.fronts["uvicorn"]
        front.app, ground.upstream.app = proxy, upstream
        table = proxy._cache.driver.flights.here()
        scene = Scene(url, upstream, store, table, [], ground.client, ground.sockets)
        try:
            tally = await _weather(scene, upstream, random.Random(seed), afterwards)
            await front.settle()
        finally:
            await http.aclose()
        tally += await _left("connections", ground.sockets)
    tally += await _left("tasks", lambda: len(asyncio.all_tasks() - tasks))
    gc.collect()
    return tally + await _left("descriptors", lambda: _files() - files)


async def _weather(scene: Scene, upstream: Hesitant, dice: random.Random, afterwards: int) -> Tally:
    await all_of(CLIENTS, scene, dice)
    upstream.refuses = True
    said = await refused(CLIENTS, scene, dice)
    upstream.refuses = False
    not_refused = sum(status != 429 for status in said)
    tally = Tally(failed=not_refused, examples=(f"{not_refused} were not told 429",) if not_refused else ())
    tally += await _left("answers upstream", lambda: len(scene.table) + scene.table.detached + upstream.answering)
    replies = await _all_at_once(scene, upstream, afterwards)
    return tally + _judge(replies)


async def _all_at_once(scene: Scene, upstream: Hesitant, count: int) -> list[httpx.Response | BaseException]:
    """Ask so much at the same time; nobody has an answer before all are there."""
    upstream.gate = anyio.Event()
    before = upstream.calls
    asking = [asyncio.ensure_future(scene.ask(prompt(f"after {number}", stream=True))) for number in range(count)]
    try:
        await until(lambda: upstream.calls == before + count, PATIENCE)
    except TimeoutError:
        for task in asking:
            task.cancel()
    upstream.gate.set()
    return await asyncio.gather(*asking, return_exceptions=True)


def _judge(replies: list[httpx.Response | BaseException]) -> Tally:
    answered = [reply for reply in replies if isinstance(reply, httpx.Response) and reply.status_code == 200]
    wrong = sum(reply.content != ANSWER for reply in answered)
    failed = len(replies) - len(answered)
    examples = (f"{failed} of {len(replies)} had no answer afterwards, {wrong} a wrong one",) if failed or wrong else ()
    return Tally(wrong=wrong, failed=failed, examples=examples)


async def _left(what: str, count: Callable[[], int]) -> Tally:
    """Count what there should be none of, when it has had its time to go."""
    try:
        await until(lambda: count() <= 0, PATIENCE / 3)
    except TimeoutError:
        return Tally(leaks=count(), examples=(f"{count()} {what} are left",))
    return Tally()


def _files() -> int:
    return len(os.listdir("/proc/self/fd"))


def storm(trials: int) -> Tally:
    """Have so many storms, each over both transports."""
    tally, made = Tally(), Made(limited)
    for seed in range(trials):
        tally += Tally(1) + asyncio.run(_stormed(None, AFTERWARDS, seed))
        tally += asyncio.run(_stormed(made, FEW, seed))
    rebuilt = made.count - trials
    return tally + Tally(note=f"{4 * CLIENTS * trials:,} clients; httpx's own pool had to be replaced {rebuilt} times")


FAULTS = (
    Fault(
        "cancellation storm",
        f"{CLIENTS:,} clients gone at random points, {CLIENTS:,} 429s on streams; then as many requests as connections",
        1,
        20,
        storm,
        proc_is_missing,
    ),
)
