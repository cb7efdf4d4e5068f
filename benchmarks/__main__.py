"""`python -m benchmarks`: start what is measured, measure it, print the tables."""

import argparse
import json
import platform
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from benchmarks.cores import Cores
from benchmarks.dialects import dialects
from benchmarks.flights import flights
from benchmarks.footprint import footprint
from benchmarks.hits import hits
from benchmarks.keys import keys
from benchmarks.misses import misses
from benchmarks.mounted import mounted
from benchmarks.operating import operating
from benchmarks.parts import parts
from benchmarks.plan import Plan
from benchmarks.pulls import pulls
from benchmarks.records import records
from benchmarks.relays import relays
from benchmarks.routes import routes
from benchmarks.stores import stores
from benchmarks.tables import Table

SECTIONS: Mapping[str, Callable[[Plan], Sequence[Table]]] = {
    "keys": keys,
    "stores": stores,
    "parts": parts,
    "relays": relays,
    "pulls": pulls,
    "hits": hits,
    "mounted": mounted,
    "dialects": dialects,
    "records": records,
    "misses": misses,
    "flights": flights,
    "routes": routes,
    "operating": operating,
    "footprint": footprint,
}


def main() -> None:
    asked = _arguments()
    plan = Plan(asked.seconds, asked.rounds, Cores.of_this_machine(), asked.records, asked.peers, asked.requests)
    print(_machine(plan), end="\n\n")
    tables = []
    for name in asked.only or SECTIONS:
        for table in SECTIONS[name](plan):
            tables.append(table)
            print(table.text(), end="\n\n", flush=True)
    if asked.json is not None:
        found = {"machine": _machine(plan), "tables": {table.name: table.values() for table in tables}}
        asked.json.write_text(json.dumps(found, indent=2) + "\n")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser("python -m benchmarks", description="Measure cachemw on this machine.")
    parser.add_argument("--seconds", type=float, default=2.0, help="how long a round of load is (default: 2)")
    parser.add_argument("--rounds", type=int, default=5, help="how many rounds the medians are of (default: 5)")
    parser.add_argument("--only", choices=SECTIONS, action="append", help="measure only this; may be repeated")
    parser.add_argument("--records", type=int, default=100_000, help="how many the fuller store holds (default: 100,000)")
    parser.add_argument(
        "--requests", type=int, default=100_000, help="how many there are in a scripted world (default: 100,000)"
    )
    parser.add_argument("--peers", action="store_true", help="install other caches from PyPI, and measure their hits, too")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there, too")
    return parser.parse_args()


def _machine(plan: Plan) -> str:
    python = f"{platform.python_implementation()} {platform.python_version()}"
    return f"{python}, {platform.system()} {platform.machine()}, {plan.cores.told()}"


if __name__ == "__main__":
    main()
