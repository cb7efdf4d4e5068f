"""Hits in a Starlette app, beside the route of the same app without us."""

from contextlib import ExitStack, closing
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks import aims
from benchmarks.asking import chat, http
from benchmarks.contest import (
    Question,
    Rounds,
    Speed,
    busy,
    contest,
    fill,
    microseconds,
    middle,
    per_second,
    ratio,
    save,
    speed_of,
)
from benchmarks.cores import pinned
from benchmarks.load import Connection
from benchmarks.plan import Plan
from benchmarks.servers import routed, simulator
from benchmarks.tables import Cell, Table

ROUTE, STORES = "route", ("memory", "disk")
TO_ROUTE = 0.75
BODIES = {"1 KB request": chat(1_000), "45 KB request": chat(45_000)}
COLUMNS = ("hit", "route, µs", "cachemw, µs", "x route", *aims.COLUMNS, "route, 1/s", "cachemw, 1/s", "load busy, %")
NOTE = (
    "JSON, in one segment; the bare route reads the request and gives the answer that is stored; medians of {} rounds, in turn."
)


def mounted(plan: Plan) -> list[Table]:
    """Measure the mount with a store in memory, and with one on disk."""
    with pinned(plan.cores.load), TemporaryDirectory() as directory:
        contests = {label: _measured(body, Path(directory, label), plan) for label, body in BODIES.items()}
    speed = speed_of(contests.values())
    rows = [(f"{label}, {store}", *_figures(rounds, store, speed)) for label, rounds in contests.items() for store in STORES]
    return [Table("mounted", "Hits in a Starlette app", COLUMNS, rows, NOTE.format(plan.rounds))]


def _measured(body: bytes, directory: Path, plan: Plan) -> Rounds:
    directory.mkdir()
    with simulator(plan.cores.load) as upstream, closing(Connection(upstream.address)) as connection:
        save(connection.ask(http(body))[0], directory / "answer")
    with ExitStack() as stack:
        servers = {ROUTE: stack.enter_context(routed(directory / "answer", plan.cores.server))}
        for store in STORES:
            servers[store] = stack.enter_context(routed(directory / "answer", plan.cores.server, store, directory / "store"))
            fill(servers[store], [body])
        return contest(servers, Question([body]), plan)


def _figures(rounds: Rounds, store: str, speed: Speed) -> tuple[Cell, ...]:
    costs = [microseconds(rounds, name, speed) for name in (ROUTE, store)]
    speeds = [middle(rounds, name, per_second) for name in (ROUTE, store)]
    to_route = ratio(rounds, store, ROUTE, speed)
    aim = aims.cells([aims.at_least(to_route, TO_ROUTE, "x route")])
    return (*costs, to_route, *aim, *speeds, busy(rounds))
