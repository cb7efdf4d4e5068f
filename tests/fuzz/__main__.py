"""`python -m tests.fuzz TARGET SECONDS`: search for bytes that make a target fail, for so long.

It needs atheris, which nothing else here does: `python -m pip install atheris`, beside `.[dev]`, on CPython 3.11 to 3.13.
What fails is written to the working directory as `crash-…`; it belongs in `tests/fuzz/corpus`, where every test run tries it.
"""

import sys
import tempfile
from importlib import import_module

from tests.fuzz.table import CORPUS, TARGETS, WORDS, target


def main(arguments: list[str]) -> None:
    """Fuzz, and never return: libFuzzer ends the process."""
    if len(arguments) != 2 or arguments[0] not in TARGETS or not arguments[1].isdigit():
        sys.exit(f"{__doc__}\nTargets: {', '.join(TARGETS)}")
    name, seconds = arguments
    atheris = import_module("atheris")
    with atheris.instrument_imports(include=["cachemw", "http_sf"]):
        fuzz_one = target(name)
    found = tempfile.mkdtemp(prefix=f"cachemw-fuzz-{name}-")  # new units go into the first folder
    limits = [f"-max_total_time={seconds}", "-timeout=10", "-rss_limit_mb=1024", "-print_final_stats=1"]
    options = [f"-dict={WORDS}", *limits]
    atheris.Setup([sys.argv[0], *options, found, str(CORPUS / name)], fuzz_one)
    atheris.Fuzz()


if __name__ == "__main__":
    main(sys.argv[1:])
