"""What the proxy adds to a miss: the time to the first byte, against the same request to the upstream itself."""

import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from benchmarks import aims
from benchmarks.asking import chat, http
from benchmarks.cores import pinned
from benchmarks.load import Connection
from benchmarks.plan import Plan
from benchmarks.servers import Server, proxy, simulator
from benchmarks.tables import Cell, Table

MISS = b"cachemw; fwd=miss; "
KINDS = {"stream": True, "JSON": False}
ADDED_MS = 1.0
COLUMNS = ("answer", "upstream, ms", "cachemw, ms", "added, ms", *aims.COLUMNS)


def misses(plan: Plan) -> list[Table]:
    """Measure streams, whose head leaves when the upstream's comes, and JSON, which is stored before it leaves."""
    with (
        pinned(plan.cores.load),
        TemporaryDirectory() as directory,
        simulator(plan.cores.load) as upstream,
        proxy(upstream, Path(directory), plan.cores.server) as ours,
    ):
        rows = [(label, *_measured(upstream, ours, stream, plan)) for label, stream in KINDS.items()]
    note = "One request at a time, 1 KB, every one of them new; medians."
    return [Table("misses", "Time to the first byte of a miss", COLUMNS, rows, note)]


def _measured(upstream: Server, ours: Server, stream: bool, plan: Plan) -> tuple[Cell, ...]:
    pairs = list(_pairs(upstream, ours, stream, plan.seconds * plan.rounds))[1:]  # the first one opens what is closed
    direct, through = (median(times) * 1e3 for times in zip(*pairs, strict=True))
    added = through - direct
    return direct, through, added, *aims.cells([aims.at_most(added, ADDED_MS, "ms added")])


def _pairs(upstream: Server, ours: Server, stream: bool, seconds: float) -> Iterator[tuple[float, float]]:
    """Ask both in turn, the same question, and a new one every time."""
    with ExitStack() as stack:
        direct, through = (stack.enter_context(closing(Connection(server.address))) for server in (upstream, ours))
        until = time.perf_counter() + seconds
        number = 0
        while number < 2 or time.perf_counter() < until:
            request = http(chat(1_000, stream=stream, seed=2 * number + stream))
            first, (answer, second) = direct.ask(request)[1], through.ask(request)
            if MISS not in answer.head:
                raise RuntimeError(f"not a miss: {answer.head!r}")
            yield first, second
            number += 1
