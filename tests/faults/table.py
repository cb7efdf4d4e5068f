"""Every fault there is, and the table of what came of them."""

import platform
import sqlite3
from collections.abc import Iterator
from datetime import date

import cachemw
from tests.faults import (
    ambiguous,
    bodies,
    bombs,
    canaries,
    collisions,
    credentials,
    cuts,
    cuts_elsewhere,
    flips,
    full_disk,
    histories,
    hostile,
    kills,
    leaving,
    openers,
    power,
    reflecting,
    slow_clients,
    slow_stores,
    soak,
    storms,
    syscalls,
    whose,
)
from tests.faults.fault import ALL, Fault, Tally

FAULTS: tuple[Fault, ...] = (
    *kills.FAULTS,
    *power.FAULTS,
    *syscalls.FAULTS,
    *full_disk.FAULTS,
    *flips.FAULTS,
    *hostile.FAULTS,
    *slow_stores.FAULTS,
    *cuts.FAULTS,
    *cuts_elsewhere.FAULTS,
    *bombs.FAULTS,
    *leaving.FAULTS,
    *storms.FAULTS,
    *collisions.FAULTS,
    *histories.FAULTS,
    *reflecting.FAULTS,
    *ambiguous.FAULTS,
    *credentials.FAULTS,
    *whose.FAULTS,
    *canaries.FAULTS,
    *openers.FAULTS,
    *slow_clients.FAULTS,
    *bodies.FAULTS,
    *soak.FAULTS,
)


def heading() -> Iterator[str]:
    """Say when and where, and begin the table."""
    yield f"{date.today()}, cachemw {cachemw.__version__}, CPython {platform.python_version()}, SQLite {sqlite3.sqlite_version}"
    yield ""
    yield "| fault | trials | wrong answers | failed requests | leaks | seconds | |"
    yield "|---|--:|--:|--:|--:|--:|---|"


def row(fault: Fault, tally: Tally, seconds: float) -> str:
    """Return a line of the table."""
    every = "all, " if fault.large == ALL else ""
    figures = f"{every}{tally.trials:,} | {tally.wrong} | {tally.failed} | {tally.leaks} | {seconds:,.0f}"
    return f"| {fault.name} | {figures} | {tally.note} |"


def skipped(fault: Fault, reason: str) -> str:
    """Return the line of a fault that could not be tried."""
    return f"| {fault.name} | - | - | - | - | - | not tried: {reason} |"
