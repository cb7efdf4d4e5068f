"""A store and a ledger as a team's day leaves them: what is asked and stored is real, when and for how much is drawn by lot."""

import asyncio
import math
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any, TypeVar

import httpx
from msgspec.structs import replace

from cachemw.cache import record as codec
from cachemw.cache.policy import Policy
from cachemw.httpx import AsyncCacheTransport
from cachemw.inventory.entries import read_entries
from cachemw.ledger.ledger import Ledger
from cachemw.limits import Limits
from cachemw.money import Price, Rates, priced
from cachemw.report import ExchangeReport
from cachemw.simulator import Simulator
from cachemw.stores import DiskStore

T = TypeVar("T")

DAY = 86_400
UPSTREAM = "https://api.example/v1"
ALONE = Limits(recall_bytes=0)
"""With these every hit is told by itself."""


@dataclass(frozen=True, slots=True)
class Ask:
    """One request of somebody's."""

    client: str
    model: str
    body: dict[str, Any]
    headers: dict[str, str] = field(default_factory=dict)
    path: str = "/chat/completions"


TARGETS = {
    "gpt-oss-120b": ("cerebras/gpt-oss-120b", "fast", Rates(350_000_000, 750_000_000), 1.1),
    "qwen-3-32b": ("groq/qwen-3-32b", "fast", Rates(290_000_000, 590_000_000), 1.6),
    "gpt-5.4-mini": ("openai/gpt-5.4-mini", "", Rates(250_000_000, 2_000_000_000), 3.8),
    "text-embedding-3-small": ("openai/text-embedding-3-small", "", Rates(20_000_000, 0), 0.3),
}
QUESTIONS = [
    f"{verb} {what} {how}"
    for verb in ("Explain", "Summarise", "Compare", "Review", "Translate", "Test")
    for what in ("the refund policy", "this invoice", "the release notes", "our onboarding mail", "the incident report")
    for how in ("for a new customer.", "in two sentences.", "as a table.", "for a lawyer.")
]
TOOLS = [
    {"type": "function", "function": {"name": name, "parameters": {"type": "object", "properties": {}}}}
    for name in ("search_orders", "issue_refund")
]


def asks(count: int, random: Random) -> Iterator[Ask]:
    """Yield what a team asks in a day: much of it again and again, and some of it new each time for a silly reason."""
    for number in range(count):
        question = QUESTIONS[min(int(random.paretovariate(0.9)) - 1, len(QUESTIONS) - 1)]
        kind = random.random()
        if kind < 0.46:
            system = "You grade answers from 1 to 5. Be strict."
            body: dict[str, Any] = {"messages": _turns(system, question), "temperature": 0}
            if random.random() < 0.18:
                body["seed"] = number
            yield Ask("evals", "gpt-oss-120b", body)
        elif kind < 0.74:
            minute = "" if random.random() < 0.6 else f" It is {9 + number % 9}:{number % 60:02}."
            turns = _turns(f"You are the support assistant of a shop.{minute}", question)
            yield Ask("support-bot", "qwen-3-32b", {"messages": turns, "tools": TOOLS, "stream": True})
        elif kind < 0.9:
            model = "text-embedding-3-small"
            yield Ask("docs-search", model, {"input": [question]}, path="/embeddings")
        elif kind < 0.97:
            asked = [{"role": "user", "content": f"Draft {number}: {question}"}]
            yield Ask("people", "gpt-5.4-mini", {"messages": asked, "temperature": number / 10_000, "max_tokens": 200 + number})
        else:
            turns = _turns("Answer briefly.", question)
            yield Ask("people", "gpt-5.4-mini", {"messages": turns, "max_tokens": 2}, {"cache-control": "no-cache"})


def _turns(system: str, question: str) -> list[dict[str, str]]:
    return [{"role": "system", "content": system}, {"role": "user", "content": question}]


async def _ask_all(store: DiskStore, every: list[Ask], policy: Policy) -> list[ExchangeReport]:
    reports: list[ExchangeReport] = []
    inner = httpx.ASGITransport(Simulator())
    transport = AsyncCacheTransport(inner, store=store, policy=policy, limits=ALONE, hooks=[reports.append], ledger=False)
    async with httpx.AsyncClient(transport=transport) as client:
        for ask in every:
            headers = {**ask.headers, "authorization": f"Bearer sk-of-{ask.client}"}
            await client.post(UPSTREAM + ask.path, json={"model": ask.model, **ask.body}, headers=headers)
    return reports


def furnish(directory: Path, now: float, *, count: int = 400, keep: bool = False, weight: int = 4) -> list[ExchangeReport]:
    """Make a store and a ledger in a directory, of the day before `now`; return what the ledger was told."""
    random = Random(17)
    every = list(asks(count, random))
    with closing(DiskStore(directory)) as store:
        with ThreadPoolExecutor(1) as elsewhere:  # a browser's driver has an event loop here
            reports = elsewhere.submit(asyncio.run, _ask_all(store, every, Policy(default="on", keep_requests=keep))).result()
        moments = _moments(len(reports), now, random)
        told = [_told(*each, random, weight) for each in zip(reports, every, moments, strict=True)]
        _date_back(store, {report.key: report for report in told if report.stored})
    with closing(Ledger(directory, WhenClosed(), clock=lambda: now)) as ledger:
        for report in told:
            ledger(report)
    return told


class WhenClosed:
    """Has a ledger write all it was told in one go, when it is closed."""

    def submit(self, call: Callable[[], T], /) -> Future[T]:
        done: Future[T] = Future()
        done.set_result(call())
        return done

    def submit_later(self, call: Callable[[], object], seconds: float, /) -> None:
        """Leave it until then."""


def _moments(count: int, now: float, random: Random) -> list[float]:
    """Return when they came: in a day that is busy in the afternoon, the last of them just now."""
    drawn: list[float] = []
    while len(drawn) < count:
        at = random.random() * DAY
        hour = (now - at) / 3600 % 24
        if random.random() < 0.12 + 0.88 * math.exp(-(((hour - 14) / 5) ** 2)):
            drawn.append(now - at)
    recent = [now - random.random() ** 2 * 1200 for _ in range(count // 40)]
    return sorted([*drawn[count // 40 :], *recent])


def _told(report: ExchangeReport, ask: Ask, at: float, random: Random, weight: int) -> ExchangeReport:
    target, route, rates, typical = TARGETS[ask.model]
    took = round(random.lognormvariate(math.log(typical), 0.4), 3)
    usage = report.usage and replace(
        report.usage, input_tokens=(report.usage.input_tokens or 0) * 37, output_tokens=(report.usage.output_tokens or 0) * 9
    )
    cost = usage and priced(usage, Price(rates))
    known = replace(report, at=at, client=ask.client, target=target, route=route or None, usage=usage)
    if report.hit:
        total = random.lognormvariate(math.log(0.0006), 0.5)
        times = max(1, int(random.expovariate(1 / weight))) if weight else 1
        saved = cost.nano if cost else None
        return replace(known, count=times, cost=0, saved=saved, took=took, first_byte=total / 2, total=total)
    nano = cost.nano if cost else None
    return replace(known, cost=nano, cost_basis="priced", first_byte=took * 0.3, total=took, attempts=1)


def _date_back(store: DiskStore, stored: dict[str | None, ExchangeReport]) -> None:
    keys = {entry.index: entry.key for entry in read_entries(store, time.time())}
    for index, record in list(store.scan()):
        report = stored.get(keys[index])
        if report is not None and report.at is not None:
            found = codec.decode(record)
            made = replace(found, stored_at=report.at, took=report.total, target=report.target or "", usage=report.usage)
            store.put(index, codec.encode(made), None)


if __name__ == "__main__":
    import sys

    began = time.perf_counter()
    furnish(Path(sys.argv[1]), time.time(), count=int(sys.argv[2]), keep="--keep" in sys.argv)
    print(f"{time.perf_counter() - began:.1f} s")
