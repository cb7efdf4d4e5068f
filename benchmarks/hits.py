"""Hits through the proxy, as a share of what a bare ASGI app does on the same server at the same time."""

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from benchmarks.asking import chat, http
from benchmarks.bare import Answer
from benchmarks.cores import pinned
from benchmarks.load import Connection, Load, Pressure, load
from benchmarks.plan import Plan
from benchmarks.servers import Address, bare, proxy, simulator
from benchmarks.tables import Cell, Table
from benchmarks.wire import Response

TRIES = 10
CONNECTIONS = 8
HIT = b"cachemw; hit; "
TRANSCODED = b"detail=transcoded"
LEFT_TO_THE_SERVER = ("transfer-encoding", "connection")
WARM_UP = 0.5
NOTE = (
    "{} connections; medians of {} rounds, in turn. The bare app reads the request and gives the bytes of a hit. The load was"
    " busy {:.0%} of the time at most."
)
COLUMNS = (
    "answer",
    "bare, 1/s",
    "cachemw, 1/s",
    "ratio",
    "bare p50, ms",
    "cachemw p50, ms",
    "bare p99, ms",
    "cachemw p99, ms",
)


@dataclass(frozen=True, slots=True)
class Asked:
    """A request for what is stored; as the other kind where `stored_as` is a request of that."""

    request: bytes
    stored_as: bytes | None = None


def _transcoded(stream: bool, **members: object) -> Asked:
    """Have one kind stored, and ask for the other."""
    return Asked(*(http(chat(1_000, stream=kind, **members)) for kind in (stream, not stream)))


ASKED = {
    "JSON hit, 1 KB request": Asked(http(chat(1_000))),
    "JSON hit, 45 KB request": Asked(http(chat(45_000))),
    "stream hit of 16 KB": Asked(http(chat(1_000, stream=True, seed=1))),
    "stream hit of 100 KB": Asked(http(chat(1_000, stream=True, n=7))),
    "JSON out of a stream of 16 KB": _transcoded(False, seed=2),
    "JSON out of a stream of 100 KB": _transcoded(False, seed=2, n=7),
    "stream out of JSON of 1 KB": _transcoded(True, seed=3),
    "stream out of JSON of 3 KB": _transcoded(True, seed=3, n=7),
}


def hits(plan: Plan) -> Table:
    """Measure hits of several kinds."""
    with (
        pinned(plan.cores.load),
        TemporaryDirectory() as directory,
        simulator(plan.cores.load) as upstream,
        proxy(upstream, Path(directory, "store"), plan.cores.server) as ours,
    ):
        pairs = {label: _measured(asked, ours, Path(directory, "answer"), plan) for label, asked in ASKED.items()}
    rows: list[tuple[Cell, ...]] = [(label, *_figures(measured)) for label, measured in pairs.items()]
    busy = max(run.busy for measured in pairs.values() for pair in measured for run in pair)
    return Table("hits", "Hits through the proxy", COLUMNS, rows, NOTE.format(CONNECTIONS, plan.rounds, busy))


def _measured(asked: Asked, ours: Address, answer: Path, plan: Plan) -> list[tuple[Load, Load]]:
    """Put load on the bare app and on ours, in turn; both are there all the time."""
    _prepare(asked, ours, answer)
    request = asked.request
    has_own_core = plan.cores.load is not None
    warm_up, round_ = (Pressure(CONNECTIONS, seconds, has_own_core) for seconds in (min(WARM_UP, plan.seconds), plan.seconds))
    with bare(answer, plan.cores.server) as theirs:
        for address in (theirs, ours):
            load(address, request, HIT, warm_up)
        return [(load(theirs, request, HIT, round_), load(ours, request, HIT, round_)) for _ in range(plan.rounds)]


def _prepare(asked: Asked, ours: Address, answer: Path) -> None:
    """Have the answer stored, and write down for the bare app what a hit is like."""
    if asked.stored_as is not None:
        _hit(asked.stored_as, ours)
    hit = _hit(asked.request, ours)
    if (TRANSCODED in hit.head) is (asked.stored_as is None):
        raise RuntimeError(f"a hit of the wrong kind: {hit.head!r}")
    headers = [(name, value) for name, value in hit.fields if name.lower() not in LEFT_TO_THE_SERVER]
    Answer(headers, [piece.decode() for piece in hit.pieces]).save(answer)


def _hit(request: bytes, ours: Address) -> Response:
    """Ask until it is a hit: a store that took longer than it may on a busy machine has it the next time."""
    with closing(Connection(ours)) as connection:
        for _ in range(TRIES):
            answer, _ = connection.ask(request)
            if HIT in answer.head:
                return answer
    raise RuntimeError(f"not a hit: {answer.head!r}")


def _figures(pairs: Sequence[tuple[Load, Load]]) -> tuple[float, ...]:
    sides = [[pair[side] for pair in pairs] for side in (0, 1)]
    per_second = [median(run.per_second for run in side) for side in sides]
    ratio = median(ours.per_second / theirs.per_second for theirs, ours in pairs)
    latencies = [median(run.latency(share) for run in side) * 1e3 for share in (0.5, 0.99) for side in sides]
    return (*per_second, ratio, *latencies)
