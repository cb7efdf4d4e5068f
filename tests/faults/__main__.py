"""`python -m tests.faults [NAME …]`: try every fault as often as it takes, and print the table of what came of it."""

import os
import sys
import time

from tests.faults.fault import Fault
from tests.faults.table import FAULTS, heading, row, skipped


def main(names: list[str]) -> int:
    """Return 1 where any answer was wrong, a request failed or anything is left."""
    chosen = [fault for fault in FAULTS if not names or fault.name in names]
    print(*heading(), sep="\n", flush=True)
    clean = [_tried(fault) for fault in chosen]
    return int(not clean or not all(clean))


def _tried(fault: Fault) -> bool:
    if reason := fault.why_not():
        print(skipped(fault, reason), flush=True)
        return True
    began = time.monotonic()
    tally = fault.run(int(os.environ.get("TESTS_FAULT_TRIALS", fault.large)))
    print(row(fault, tally, time.monotonic() - began), flush=True)
    for example in tally.examples:
        print(f"{fault.name}: {example}", file=sys.stderr, flush=True)
    return tally.is_clean


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
