"""The benchmarks run. What they find is nobody's business here: a busy machine is no fault."""

import asyncio
import json
import subprocess
import sys
from pathlib import Path

from benchmarks.inside import Caller
from benchmarks.relays import FEW, ways
from cachemw.report import ExchangeReport
from tests.thorough import THOROUGH

ROOT = Path(__file__).parents[1]
ROWS = {
    "keys": ["1 KB", "45 KB", "45 KB, spaced out", "1 MB"],
    "stores": ["MemoryStore, 2 KB", "MemoryStore, 100 KB", "DiskStore, 2 KB", "DiskStore, 100 KB"],
    "relays": [
        "the bare app",
        "watched for a client that leaves",
        "cachemw, not opted in",
        "cachemw, relayed as too large",
        "cachemw, relayed in mode=read",
        "cachemw, a flight kept out",
        "cachemw, a flight stored",
    ],
    "pulls": [
        *(
            f"{mount}, {what}"
            for mount in ("WSGI", "httpx")
            for what in ("bare", "hit in memory", "hit on disk", "miss into memory")
        )
    ],
    "hits": [
        "JSON hit, 1 KB request",
        "JSON hit, 45 KB request",
        "stream hit of 16 KB",
        "stream hit of 100 KB",
        "JSON out of a stream of 16 KB",
        "JSON out of a stream of 100 KB",
        "stream out of JSON of 1 KB",
        "stream out of JSON of 3 KB",
    ],
    "misses": ["stream", "JSON"],
    "flights": ["one, opted in", "100, opted in", "100, not opted in", "100, at the upstream itself"],
}


SECTIONS = list(ROWS) if THOROUGH else ["keys", "stores", "relays", "pulls", "misses"]
"""The others start half a dozen servers each."""


def test_the_benchmarks_fill_every_row_of_every_table(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "benchmarks", "--seconds", "0.05", "--rounds", "1", "--json", str(tmp_path / "figures")]
    only = [word for name in SECTIONS for word in ("--only", name)]

    printed = subprocess.run([*command, *only], cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout

    tables = json.loads((tmp_path / "figures").read_text())["tables"]
    measured = {name: [list(row.values()) for row in table["rows"]] for name, table in tables.items()}
    assert {name: [label for label, *_ in rows] for name, rows in measured.items()} == {name: ROWS[name] for name in SECTIONS}
    assert all(isinstance(figure, int | float) for rows in measured.values() for _, *figures in rows for figure in figures)
    assert all(table["title"] in printed and f"| {label} " in printed for name, table in tables.items() for label in ROWS[name])


def test_who_answers_in_process_does_what_its_row_says() -> None:
    reports: list[ExchangeReport] = []

    with asyncio.Runner() as runner:  # that of the benchmarks unfreezes what every later test would look through
        for app, headers in ways(FEW, [reports.append]).values():
            Caller(runner, app, headers).elapsed(1)

    not_stored = [(False, ("request-too-large",)), (False, ("mode-read",)), (False, ("kept-out",))]
    assert [(report.stored, report.details) for report in reports] == [*not_stored, (True, ())]
