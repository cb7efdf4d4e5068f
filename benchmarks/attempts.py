"""What it takes by itself to ask another target, in turn or beside the first: the targets answer, or refuse, at once."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import anyio
from msgspec.structs import replace

from benchmarks import aims
from benchmarks.asking import HEADERS, PATH, chat
from benchmarks.bare import Answer
from benchmarks.bare import app as bare_app
from benchmarks.cores import pinned
from benchmarks.gateways import KEYS, PEERS, toml
from benchmarks.inside import Spent, event_loop, spent_by
from benchmarks.plan import Plan
from benchmarks.tables import Cell, Table
from cachemw.cache import plans
from cachemw.cache.plans import AskedBid, AskedBids, Bid, Hedge
from cachemw.errors import Cause, UpstreamError
from cachemw.gateway.fallback import aopen_in_turn
from cachemw.gateway.files import read_gateway
from cachemw.gateway.gateway_desk import GatewayDesk
from cachemw.gateway.planning import RoutePlanner
from cachemw.gateway.race import aopen_hedged
from cachemw.gateway.repeats import Repeats
from cachemw.gateway.routes import GatewayConfig
from cachemw.gateway.standings import Standings
from cachemw.messages import ANONYMOUS_CALLER, Head, HttpRecipient, HttpTarget
from cachemw.upstreams.base import AsyncResponse, UpstreamRequest

HEADS = ((b"content-type", b"application/json"),)
ANSWER = b'{"choices":[{"index":0,"message":{"role":"assistant","content":"Hello"},"finish_reason":"stop"}]}'
RATE = b'{"message":"Requests per minute limit exceeded","type":"too_many_requests_error","code":"request_quota_exceeded"}'
FALLBACK_US, HEDGE_US = 300, 500
LATER = 0.02
BODY = chat(1_000, model="auto")
REQUEST = UpstreamRequest("POST", PATH.encode(), b"", HEADERS, BODY, recorded=True)
COLUMNS = ("what", "own, µs", *aims.COLUMNS, "own, wall µs")
NOTE = (
    f"Processor time beyond an answer of one target that is asked by itself, and the {LATER * 1e3:g} ms that are waited for;"
    " targets are in this process. Medians of {} rounds, in turn."
)


@dataclass(slots=True)
class Answered:
    """A response that is there at once."""

    head: Head
    pieces: list[bytes]

    async def read(self) -> bytes | None:
        await asyncio.sleep(0)
        return self.pieces.pop() if self.pieces else None

    async def aclose(self) -> None: ...


async def sound(_: UpstreamRequest) -> AsyncResponse:
    """Answer."""
    await asyncio.sleep(0)
    return Answered(Head(200, HEADS), [ANSWER])


async def limited(_: UpstreamRequest) -> AsyncResponse:
    """Refuse by a status."""
    await asyncio.sleep(0)
    return Answered(Head(429, HEADS), [RATE])


async def away(_: UpstreamRequest) -> AsyncResponse:
    """Be not there."""
    await asyncio.sleep(0)
    error = UpstreamError("nobody is there")
    error.cause = Cause.REFUSED
    raise error


async def silent(_: UpstreamRequest) -> AsyncResponse:
    """Begin no answer."""
    await anyio.sleep_forever()
    raise AssertionError


Aopen = Callable[[UpstreamRequest], Awaitable[AsyncResponse]]


@dataclass(frozen=True, slots=True)
class Target:
    """An upstream that does this."""

    aopen: Aopen


@dataclass(frozen=True, slots=True)
class Targets:
    """The upstreams by the names of their providers, as a gateway has its own."""

    by_name: Mapping[str, Target]

    def of(self, provider: str, *_: object) -> Target:
        """Return a provider's."""
        return self.by_name[provider]


@dataclass(frozen=True, slots=True)
class Way:
    """How targets are asked, what the first and the others do, and the microseconds that it may take by itself."""

    first: Aopen
    hedge: Hedge | None = None
    limit: int | None = None
    targets: int = 2

    @property
    def waits(self) -> float:
        """Return how many seconds are waited for."""
        return self.hedge.after if self.hedge else 0.0


WAYS: Mapping[str, Way] = {
    "one target, and no other": Way(sound, targets=1),
    "two targets, the first answers": Way(sound),
    "the second, after a 429": Way(limited, limit=FALLBACK_US),
    "the second, where the first is not there": Way(away, limit=FALLBACK_US),
    "two side by side": Way(silent, Hedge(0.0), HEDGE_US),
    f"the second {LATER * 1e3:g} ms after the first": Way(silent, Hedge(LATER), HEDGE_US),
}


def attempts(plan: Plan) -> Table:
    """Measure what is around the attempts of a request."""
    with TemporaryDirectory() as directory:
        file = Path(directory, "cachemw.toml")
        file.write_text(toml("http://127.0.0.1:9/v1"))
        config = read_gateway(str(file), KEYS)
    with pinned(plan.cores.server), event_loop(bare_app(Answer([], []))) as runner:
        rows = [(label, *_figures(way, _measured(runner, way, config, plan))) for label, way in WAYS.items()]
    return Table("attempts", "What it takes to ask another target", COLUMNS, rows, NOTE.format(plan.rounds))


def _measured(runner: asyncio.Runner, way: Way, config: GatewayConfig, plan: Plan) -> list[tuple[Spent, Spent]]:
    """Return, round by round, what it took to ask one target alone, after the same wait, and to ask this way."""
    calls = max(1, int(plan.moment / (way.waits or 2e-4)))
    gateway = Asking(
        RoutePlanner(config, {}, Standings()), Targets({"cerebras": Target(way.first), "groq": Target(sound)}), way
    )

    async def alone() -> None:
        if way.waits:
            await anyio.sleep(way.waits)
        await _read(await sound(REQUEST))

    async def this_way() -> None:
        await _read(await gateway.opened())

    return [(runner.run(spent_by(alone, calls)), runner.run(spent_by(this_way, calls))) for _ in range(plan.rounds)]


class Asking:
    """Asks targets one way, each time as if none of them had ever failed."""

    def __init__(self, planner: RoutePlanner, targets: Targets, way: Way) -> None:
        self._planner, self._targets = planner, targets
        self._open = aopen_in_turn if way.hedge is None else aopen_hedged
        bids = [
            Bid(name, HttpTarget(f"https://{name}", HttpRecipient(name.partition("/")[0]))) for name in PEERS[: way.targets]
        ]
        made = plans.Plan(tuple(bids), tuple(range(way.targets)), route="auto", hedge=way.hedge)
        asked = tuple([AskedBid(place, bid, BODY) for place, bid in enumerate(bids)])
        self._request = replace(REQUEST, bids=AskedBids(made, asked, False, ANONYMOUS_CALLER))

    async def opened(self) -> AsyncResponse:
        """Return the answer of the one that gave one."""
        contacts: Any = self._targets
        desk = GatewayDesk(self._request, self._planner, contacts, Standings(), Repeats(), None, lambda *_: None)
        return await self._open(self._request, desk)


def _bid(name: str) -> Bid:
    return Bid(name, HttpTarget(f"https://{name}", HttpRecipient(name.partition("/")[0])))


async def _read(response: AsyncResponse) -> None:
    while await response.read() is not None:
        pass
    await response.aclose()


def _figures(way: Way, rounds: Sequence[tuple[Spent, Spent]]) -> tuple[Cell, ...]:
    wall, cpu = (
        median(pair) * 1e6 for pair in zip(*[(two.wall - one.wall, two.cpu - one.cpu) for one, two in rounds], strict=True)
    )
    aim = [] if way.limit is None else [aims.at_most(cpu, way.limit, "µs")]
    return (cpu, *aims.cells(aim), wall)
