"""Hits through the proxy, beside a bare ASGI app that gives the same bytes on the same server, and beside other caches."""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from benchmarks import aims
from benchmarks.asking import chat
from benchmarks.contest import (
    CONNECTIONS,
    NoHitError,
    Question,
    Rounds,
    Speed,
    busy,
    contest,
    fill,
    microseconds,
    middle,
    per_cpu_second,
    per_second,
    ratio,
    save,
    speed_of,
)
from benchmarks.cores import pinned
from benchmarks.others import PEERS, others
from benchmarks.plan import Plan
from benchmarks.servers import Server, bare, proxy, simulator
from benchmarks.tables import Cell, Table
from benchmarks.traffic import in_two_segments, traced

BARE, OURS, NGINX = "bare", "cachemw", "nginx"
HAS_BLAKE3 = find_spec("blake3") is not None
TRANSCODED = b"detail=transcoded"
PROMPTS = 3_000
FIRST_SEED = 1_000
"""Of the prompts in turn: each row asks what no other does."""

NOTE = (
    f"{CONNECTIONS} connections, kept alive, nothing pipelined; medians of {{}} rounds, in turn. The bare app reads the request"
    " and gives the bytes of our hit."
)
CPU_NOTE = "µs are the server's processor time for a request; x is how many times as little of it we take."
NO_CPU_NOTE = "This system does not tell the processor time of a server: x, and the aims, are by throughput."


@dataclass(frozen=True, slots=True)
class Row:
    """A question, and how fast its hits are to be, as multiples of others.

    It is stored by an answer to `stored_as`, where that is another kind of request. `with_blake3` says whether it is to be
    there; `None` is as it happens to be.
    """

    question: Question
    to_bare: float | None = None
    to_nginx: float | None = None
    stored_as: bytes | None = None
    with_blake3: bool | None = None


def _derived(stream: bool, **members: object) -> Row:
    """Have one kind stored, and ask for the other."""
    asked, stored = (chat(1_000, stream=kind, **members) for kind in (stream, not stream))
    return Row(Question([asked]), stored_as=stored)


SMALL, LARGE = [chat(1_000)], [chat(45_000)]
ROWS: Mapping[str, Row] = {
    "JSON, 1 KB request": Row(Question(SMALL), 2.3, 1.0),
    "JSON, 1 KB in two segments": Row(Question(SMALL, in_two_segments), 2.2),
    "JSON, 45 KB request": Row(Question(LARGE), 1.3, 4.0, with_blake3=False),
    "JSON, 45 KB request, BLAKE3": Row(Question(LARGE), 2.0, 4.0, with_blake3=True),
    "stream of 16 KB": Row(Question([chat(1_000, stream=True, seed=1)]), 2.5),
    "stream of 100 KB": Row(Question([chat(1_000, stream=True, n=7)]), 2.0),
    "a traceparent each, 1 KB": Row(Question(SMALL, traced), 0.45),
    "a traceparent each, 45 KB": Row(Question(LARGE, traced), 0.45),
    f"{PROMPTS:,} prompts in turn": Row(Question([chat(1_000, seed=FIRST_SEED + number) for number in range(PROMPTS)]), 1.0),
    "JSON out of a stream of 16 KB": _derived(False, seed=2),
    "JSON out of a stream of 100 KB": _derived(False, seed=2, n=7),
    "stream out of JSON of 1 KB": _derived(True, seed=3),
    "stream out of JSON of 3 KB": _derived(True, seed=3, n=7),
}


def hits(plan: Plan) -> list[Table]:
    """Measure hits of several kinds."""
    with ExitStack() as stack:
        stack.enter_context(pinned(plan.cores.load))
        directory = Path(stack.enter_context(TemporaryDirectory()))
        upstream = stack.enter_context(simulator(plan.cores.load))
        ours = _ours(stack, upstream, directory, plan)
        beside, remarks = others(stack, upstream, directory, plan)
        if not HAS_BLAKE3:
            remarks.append("BLAKE3 is not installed.")
        contests = {label: _measured(row, ours, beside, directory / "answer", plan) for label, row in ROWS.items()}
    return _tables(contests, [BARE, OURS, *beside], remarks, plan)


def _ours(stack: ExitStack, upstream: Server, directory: Path, plan: Plan) -> Mapping[bool | None, Server]:
    """Start the proxy with BLAKE3 and without, as far as there is any."""
    ours = stack.enter_context(proxy(upstream, directory / "store", plan.cores.server))
    if not HAS_BLAKE3:
        return {None: ours, False: ours}
    without = proxy(upstream, directory / "store-without", plan.cores.server, has_blake3=False)
    return {None: ours, True: ours, False: stack.enter_context(without)}


def _measured(
    row: Row, proxies: Mapping[bool | None, Server], beside: Mapping[str, Server], answer: Path, plan: Plan
) -> Rounds:
    """Have everything stored by everybody, and then ask for it."""
    ours = proxies.get(row.with_blake3)
    if ours is None:
        return {}
    if row.stored_as is not None:
        fill(ours, [row.stored_as])
    hit = fill(ours, row.question.bodies)
    if (TRANSCODED in hit.head) is (row.stored_as is None):
        raise RuntimeError(f"a hit of the wrong kind: {hit.head!r}")
    save(hit, answer)
    with bare(answer, plan.cores.server) as theirs:
        return contest({BARE: theirs, OURS: ours, **_able(beside, row)}, row.question, plan)


def _able(beside: Mapping[str, Server], row: Row) -> dict[str, Server]:
    """Return the others that give a hit: nobody makes one kind of another, and peers would be asked for minutes."""
    able = {}
    for name, server in beside.items() if row.stored_as is None else ():
        if name in PEERS and len(row.question.bodies) > 1:
            continue
        with suppress(NoHitError):
            fill(server, row.question.bodies)
            able[name] = server
    return able


def _tables(contests: Mapping[str, Rounds], names: Sequence[str], remarks: Sequence[str], plan: Plan) -> list[Table]:
    speed = speed_of(contests.values())
    notes = [NOTE.format(plan.rounds), CPU_NOTE if speed is per_cpu_second else NO_CPU_NOTE, *remarks]
    columns = ("answer", *(f"{name}, µs" for name in names), "x bare", "x nginx", *aims.COLUMNS)
    rows = [(label, *_costs(rounds, names, speed), *_aim(ROWS[label], rounds, speed)) for label, rounds in contests.items()]
    further = ("answer", *(f"{name}, 1/s" for name in names), "x bare", "p50, ms", "p99, ms", "load busy, %")
    return [
        Table("hits", "Hits through the proxy", columns, rows, " ".join(notes)),
        Table(
            "throughput", "The same hits, by throughput", further, [_throughput(*found, names) for found in contests.items()]
        ),
    ]


def _costs(rounds: Rounds, names: Sequence[str], speed: Speed) -> list[Cell]:
    return [
        *(microseconds(rounds, name, speed) for name in names),
        *(ratio(rounds, OURS, other, speed) for other in (BARE, NGINX)),
    ]


def _aim(row: Row, rounds: Rounds, speed: Speed) -> tuple[Cell, Cell]:
    limits = {BARE: row.to_bare, NGINX: row.to_nginx}
    return aims.cells(
        [
            aims.at_least(ratio(rounds, OURS, other, speed), limit, f"x {other}")
            for other, limit in limits.items()
            if limit is not None
        ]
    )


def _throughput(label: str, rounds: Rounds, names: Sequence[str]) -> tuple[Cell, ...]:
    speeds = [middle(rounds, name, per_second) for name in names]
    latencies = [median(run.latency(share) for run in rounds[OURS]) * 1e3 if rounds else None for share in (0.5, 0.99)]
    return (label, *speeds, ratio(rounds, OURS, BARE, per_second), *latencies, busy(rounds))
