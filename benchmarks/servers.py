"""The servers that are measured, each in a process of its own, as `cachemw` itself runs them."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.cores import pinned

Address = tuple[str, int]


@contextmanager
def simulator(core: int | None) -> Iterator[Address]:
    """Run the upstream."""
    with _started(["-m", "cachemw", "simulate", "--port", "0"], core) as address:
        yield address


@contextmanager
def proxy(upstream: Address, directory: Path, core: int | None) -> Iterator[Address]:
    """Run `cachemw serve` in front of an upstream."""
    url = f"http://{upstream[0]}:{upstream[1]}/v1"
    with _started(["-m", "cachemw", "serve", "--port", "0", "--upstream", url, "--dir", str(directory)], core) as address:
        yield address


@contextmanager
def bare(answer: Path, core: int | None) -> Iterator[Address]:
    """Run an app that reads a request's body and gives one answer."""
    with _started(["-m", "benchmarks.bare", str(answer)], core) as address:
        yield address


@contextmanager
def _started(arguments: list[str], core: int | None) -> Iterator[Address]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("CACHEMW_")}
    with pinned(core):
        process = subprocess.Popen([sys.executable, "-u", *arguments], env=environment, stdout=subprocess.PIPE, text=True)
    try:
        yield _address(process)
    finally:
        process.terminate()
        process.communicate()


def _address(process: subprocess.Popen[str]) -> Address:
    """Return where it says that it listens."""
    said = process.stdout.readline() if process.stdout else ""
    found = re.search(r"http://([\d.]+):(\d+)", said)
    if found is None:
        raise RuntimeError(f"{process.args!r} did not start")
    return found[1], int(found[2])
