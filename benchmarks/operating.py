"""What it costs to write down what happens: hits and misses in a mount with a ledger beside its store, and without."""

import asyncio
import json
from collections.abc import Callable, Coroutine
from itertools import count
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from time import process_time
from typing import Any

from starlette.types import Message, Receive, Scope, Send

from benchmarks import aims
from benchmarks.asking import PATH, chat
from benchmarks.plan import Plan
from benchmarks.tables import Cell, Table
from benchmarks.timing import in_turn
from cachemw import DiskStore, Policy
from cachemw.asgi import CacheMiddleware

A_HIT, A_MISS = 1.0, 100.0
"""The microseconds of CPU that a hit, and a miss, may cost more."""

WARMING = 500

COLUMNS = ("exchange", "without, µs", "with, µs", "more, µs", *aims.COLUMNS)
NOTE = "CPU of the whole process, the store's thread included; medians of {} rounds, in turn; of a miss the sketch is in it."
ANSWER = json.dumps(
    {
        "model": "m",
        "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "Blue."}}],
        "usage": {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5},
    }
).encode()

Ask = Callable[[], Coroutine[Any, Any, None]]


def operating(plan: Plan) -> list[Table]:
    """Measure the ledger, and the sketch of a miss."""
    with TemporaryDirectory() as directory:
        rows = [
            _measured("a recalled hit", _hits, A_HIT, Path(directory, "hits"), plan),
            _measured("a miss", _misses, A_MISS, Path(directory, "misses"), plan),
        ]
    return [Table("operating", "What is written down, and what that costs", COLUMNS, rows, NOTE.format(plan.rounds))]


def _measured(name: str, make: Callable[[Any], Ask], most: float, directory: Path, plan: Plan) -> tuple[Cell, ...]:
    with asyncio.Runner() as runner:
        mounts = [_mount(directory / str(ledger), ledger=ledger) for ledger in (False, True)]
        asked = [_timed(make(mount), runner) for mount in mounts]
        for elapsed in asked:
            elapsed(WARMING)
        rounds = in_turn(asked, plan)
        for mount in mounts:
            runner.run(mount.aclose())
    without, with_it = (median(each) * 1e6 for each in rounds)
    more = median(noted - bare for bare, noted in zip(*rounds, strict=True)) * 1e6
    return name, without, with_it, more, *aims.cells([aims.at_most(more, most, "µs")])


def _mount(directory: Path, *, ledger: bool) -> CacheMiddleware:
    return CacheMiddleware(_app, name="bot", store=DiskStore(directory), policy=Policy(sketch=ledger), ledger=ledger)


def _timed(ask: Ask, runner: asyncio.Runner) -> Callable[[int], float]:
    async def asked(calls: int) -> float:
        began = process_time()
        for _ in range(calls):
            await ask()
        await asyncio.sleep(0)
        return process_time() - began

    return lambda calls: runner.run(asked(calls))


def _hits(mount: CacheMiddleware) -> Ask:
    body = chat(1_000)
    return lambda: _ask(mount, body)


def _misses(mount: CacheMiddleware) -> Ask:
    numbers, body = count(), json.loads(chat(1_000))
    return lambda: _ask(mount, json.dumps({**body, "seed": next(numbers)}).encode())


async def _ask(mount: CacheMiddleware, body: bytes) -> None:
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body)), (b"cachemw", b"on")]
    scope = {"type": "http", "method": "POST", "path": PATH, "raw_path": PATH.encode(), "query_string": b"", "headers": headers}

    async def receive() -> Message:
        return {"type": "http.request", "body": body, "more_body": False}

    await mount(scope, receive, _discard)


async def _discard(_: Message) -> None:
    """Take what is sent, and do nothing with it."""


async def _app(scope: Scope, receive: Receive, send: Send) -> None:
    await receive()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"application/json")]})
    await send({"type": "http.response.body", "body": ANSWER})
