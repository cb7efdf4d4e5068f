"""The benchmarks run. What they find is nobody's business here: a busy machine is no fault."""

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
ROWS = {
    "keys": ["1 KB", "45 KB", "45 KB, spaced out", "1 MB"],
    "stores": ["MemoryStore, 2 KB", "MemoryStore, 100 KB", "DiskStore, 2 KB", "DiskStore, 100 KB"],
    "hits": ["JSON hit, 1 KB request", "JSON hit, 45 KB request", "stream hit of 100 KB"],
    "misses": ["stream", "JSON"],
}


def test_the_benchmarks_fill_every_row_of_every_table(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "benchmarks", "--seconds", "0.2", "--rounds", "1", "--json", str(tmp_path / "figures")]

    printed = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout

    tables = json.loads((tmp_path / "figures").read_text())["tables"]
    measured = {name: [list(row.values()) for row in table["rows"]] for name, table in tables.items()}
    assert {name: [label for label, *_ in rows] for name, rows in measured.items()} == ROWS
    assert all(isinstance(figure, float) for rows in measured.values() for _, *figures in rows for figure in figures)
    assert all(table["title"] in printed and f"| {label} " in printed for name, table in tables.items() for label in ROWS[name])
