"""A hundred clients that ask for one stream at once: how often the upstream is called, and how long the slowest takes."""

import json
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from benchmarks.asking import HEADERS, PLAIN, Fields, chat, http
from benchmarks.cores import pinned
from benchmarks.load import Connection
from benchmarks.plan import Plan
from benchmarks.servers import Server, proxy, simulator
from benchmarks.tables import Table
from benchmarks.together import Slowest, together

CROWD = 100
TOKENS = 40
TOKENS_PER_SECOND = 100
CALLS = b"GET /calls HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n"
COLUMNS = ("clients", "upstream calls", "first byte, ms", "last byte, ms", "ratio")
NOTE = (
    f"A new stream of {TOKENS} tokens, {TOKENS_PER_SECOND} a second, until the slowest client has it; medians of {{}} rounds,"
    " in turn. Ratios to the first row. The upstream shares a core with the clients."
)


@dataclass(frozen=True, slots=True)
class Crowd:
    """How many ask at once, with which fields, and whom; every answer to them holds `expected`."""

    clients: int
    headers: Fields = PLAIN
    expected: bytes = b"data: [DONE]"
    is_direct: bool = False


MISS = b"cachemw; fwd=miss; "
CROWDS = {
    "one, opted in": Crowd(1, HEADERS, MISS),
    f"{CROWD}, opted in": Crowd(CROWD, HEADERS, MISS),
    f"{CROWD}, not opted in": Crowd(CROWD),
    f"{CROWD}, at the upstream itself": Crowd(CROWD, is_direct=True),
}


@dataclass(frozen=True, slots=True)
class Came:
    """What came of it."""

    slowest: Slowest
    calls: int


def flights(plan: Plan) -> list[Table]:
    """Measure one client, and a crowd with us, past us and without us."""
    with (
        pinned(plan.cores.load),
        TemporaryDirectory() as directory,
        simulator(plan.cores.load) as upstream,
        proxy(upstream, Path(directory), plan.cores.server) as ours,
    ):
        _round(upstream, ours, -1, 0)  # opens what is closed
        rounds = [_round(upstream, ours, number, TOKENS_PER_SECOND) for number in range(plan.rounds)]
    alone, *_ = sides = list(zip(*rounds, strict=True))
    rows = [(label, *_figures(came, alone)) for label, came in zip(CROWDS, sides, strict=True)]
    return [Table("flights", "The same stream for many at once", COLUMNS, rows, NOTE.format(plan.rounds))]


def _round(upstream: Server, ours: Server, number: int, tokens_per_second: float) -> list[Came]:
    """Let each crowd ask a question of its own."""
    return [
        _came(upstream, ours, crowd, _question(len(CROWDS) * number + place, tokens_per_second))
        for place, crowd in enumerate(CROWDS.values())
    ]


def _question(seed: int, tokens_per_second: float) -> bytes:
    pace = {"tokens_per_second": tokens_per_second}
    return chat(1_000, stream=True, max_tokens=TOKENS, seed=seed, simulate=pace)


def _came(upstream: Server, ours: Server, crowd: Crowd, question: bytes) -> Came:
    before = _calls(upstream)
    request = http(question, crowd.headers)
    slowest = together((upstream if crowd.is_direct else ours).address, request, crowd.expected, crowd.clients)
    return Came(slowest, _calls(upstream) - before)


def _calls(upstream: Server) -> int:
    with closing(Connection(upstream.address)) as connection:
        answer, _ = connection.ask(CALLS)
    calls: int = json.loads(answer.pieces[0])["calls"]
    return calls


def _figures(came: Sequence[Came], alone: Sequence[Came]) -> tuple[int, float, float, float]:
    first, last = (
        median(times) * 1e3 for times in zip(*((one.slowest.first_byte, one.slowest.last_byte) for one in came), strict=True)
    )
    ratio = median(one.slowest.last_byte / other.slowest.last_byte for one, other in zip(came, alone, strict=True))
    return max(one.calls for one in came), first, last, ratio
