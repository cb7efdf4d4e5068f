"""What it takes to have us at all: megabytes on disk, and the time of an import."""

import subprocess
import sys
from pathlib import Path
from statistics import median

from benchmarks import aims
from benchmarks.environments import Unavailable, environment
from benchmarks.plan import Plan
from benchmarks.tables import Cell, Table

ROOT = Path(__file__).parents[1]
INSTALLED_MB, IMPORT_MS = 70, 120
COLUMNS = ("what", "figure", *aims.COLUMNS)
OF_EVERY_ENVIRONMENT = ("pip", "setuptools")
NOTE = (
    "Installed into an environment of its own, as pip leaves it, compiled. Processor time of imports, each in a process of its"
    " own; medians of {} rounds, in turn."
)
TIMED = "import time; began = time.process_time(); import {}; print(time.process_time() - began)"


def footprint(plan: Plan) -> list[Table]:
    """Measure both."""
    size, reason = _installed_mb()
    over = _import_ms(plan)
    rows: list[tuple[Cell, ...]] = [
        ("installed with `proxy`, MB", size, *aims.cells([aims.at_most(size, INSTALLED_MB, "MB")])),
        ("`import cachemw`, over `starlette.applications`, ms", over, *aims.cells([aims.at_most(over, IMPORT_MS, "ms")])),
    ]
    return [Table("footprint", "Size and import", COLUMNS, rows, f"{NOTE.format(plan.rounds)}{reason}")]


def _installed_mb() -> tuple[float | None, str]:
    """Return the megabytes, or why there are none."""
    try:
        with environment(f"{ROOT}[proxy]") as place:
            return _bytes(place) / 1e6, ""
    except Unavailable as exc:
        return None, f" {exc}."


def _bytes(place: Path) -> int:
    """Return the bytes of all that was installed."""
    installed = [path for path in place.glob("lib/python*/site-packages/*") if not path.name.startswith(OF_EVERY_ENVIRONMENT)]
    return sum(path.lstat().st_size for top in installed for path in (top, *top.rglob("*")))


def _import_ms(plan: Plan) -> float:
    """Return how much longer it takes to import us than to import Starlette."""
    rounds = [_seconds("cachemw") - _seconds("starlette.applications") for _ in range(plan.rounds)]
    return median(rounds) * 1e3


def _seconds(module: str) -> float:
    done = subprocess.run([sys.executable, "-c", TIMED.format(module)], cwd=ROOT, check=True, capture_output=True, text=True)
    return float(done.stdout)
