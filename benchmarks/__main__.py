"""`python -m benchmarks`: start what is measured, measure it, print the tables."""

import argparse
import json
import platform
from collections.abc import Callable, Mapping
from pathlib import Path

from benchmarks.cores import Cores
from benchmarks.flights import flights
from benchmarks.hits import hits
from benchmarks.keys import keys
from benchmarks.misses import misses
from benchmarks.plan import Plan
from benchmarks.pulls import pulls
from benchmarks.relays import relays
from benchmarks.stores import stores
from benchmarks.tables import Table

SECTIONS: Mapping[str, Callable[[Plan], Table]] = {
    "keys": keys,
    "stores": stores,
    "relays": relays,
    "pulls": pulls,
    "hits": hits,
    "misses": misses,
    "flights": flights,
}


def main() -> None:
    asked = _arguments()
    plan = Plan(asked.seconds, asked.rounds, Cores.of_this_machine())
    print(_machine(plan), end="\n\n")
    tables = []
    for name in asked.only or SECTIONS:
        tables.append(SECTIONS[name](plan))
        print(tables[-1].text(), end="\n\n", flush=True)
    if asked.json is not None:
        found = {"machine": _machine(plan), "tables": {table.name: table.values() for table in tables}}
        asked.json.write_text(json.dumps(found, indent=2) + "\n")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser("python -m benchmarks", description="Measure cachemw on this machine.")
    parser.add_argument("--seconds", type=float, default=2.0, help="how long a round of load is (default: 2)")
    parser.add_argument("--rounds", type=int, default=5, help="how many rounds the medians are of (default: 5)")
    parser.add_argument("--only", choices=SECTIONS, action="append", help="measure only this; may be repeated")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there, too")
    return parser.parse_args()


def _machine(plan: Plan) -> str:
    python = f"{platform.python_implementation()} {platform.python_version()}"
    return f"{python}, {platform.system()} {platform.machine()}, {plan.cores.told()}"


if __name__ == "__main__":
    main()
