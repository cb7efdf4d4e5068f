"""Figures as people read them: amounts, sizes, durations, money and moments, each as short as it can be and still be right."""

import math
from datetime import UTC, datetime

from cachemw.money import NANO

MINUTE, HOUR, DAY = 60, 3600, 86_400

NOTHING = "\u2013"
"""What stands where there is no figure."""

THIN = "\u202f"
"""A narrow space that no line breaks at: between a figure and its unit."""

_MANY = ((10**12, "T"), (10**9, "G"), (10**6, "M"), (10**3, "k"))
_BYTES = ((10**9, "GB"), (10**6, "MB"), (10**3, "kB"))


def amount(count: float | None) -> str:
    """Return how many, as in `812`, `9,214`, `61 k` or `4.1 M`."""
    if count is None:
        return NOTHING
    if count < 10_000:
        return f"{count:,.0f}"
    return _in_units(count, _MANY)


def rate(count: float) -> str:
    """Return how many a minute, with a digit after the point where there are few."""
    return f"{count:.1f}" if 0 < count < 9.95 else amount(count)


def size(count: float | None) -> str:
    """Return a number of bytes, as in `812 B` or `312 MB`."""
    if count is None:
        return NOTHING
    return f"{count:.0f}{THIN}B" if count < 1_000 else _in_units(count, _BYTES)


def _in_units(count: float, units: tuple[tuple[int, str], ...]) -> str:
    for unit, name in units:
        if count >= unit * 0.9995:
            value = count / unit
            return f"{value:.1f}{THIN}{name}" if value < 9.95 else f"{value:,.0f}{THIN}{name}"
    return f"{count:,.0f}"


def duration(seconds: float | None) -> str:
    """Return how long, as in `0 ms`, `911 ms`, `1.4 s`, `4 m 10 s`, `2 h 41 m` or `6 d 3 h`."""
    if seconds is None:
        return NOTHING
    if seconds < 0.9995:
        return f"{seconds * 1000:.0f}{THIN}ms"
    if seconds < 9.95:
        return f"{seconds:.1f}{THIN}s"
    whole = round(seconds)
    for unit, name, below, next_name in ((DAY, "d", HOUR, "h"), (HOUR, "h", MINUTE, "m"), (MINUTE, "m", 1, "s")):
        if whole >= unit:
            rest = whole % unit // below
            return f"{whole // unit}{THIN}{name}" + (f" {rest}{THIN}{next_name}" if rest else "")
    return f"{whole}{THIN}s"


def dollars(nano: int | None) -> str:
    """Return an amount of nano-dollars: two digits after the point from a dollar on, else two that say something."""
    if nano is None:
        return NOTHING
    if nano == 0:
        return "$0"
    value = nano / NANO
    if value >= 1:
        return f"${value:,.2f}"
    digits = min(9, max(2, 1 - math.floor(math.log10(value))))
    return f"${value:.{digits}f}"


def share(part: float, whole: float) -> str:
    """Return a part of a whole, as in `81.3 %`."""
    if not whole:
        return NOTHING
    percent = 100 * part / whole
    if 99.95 <= percent < 100:
        percent = 99.9  # all is said only of all
    return f"{percent:.0f}{THIN}%" if percent in (0, 100) else f"{percent:.1f}{THIN}%"


def duration_in_short(seconds: float | None) -> str:
    """Return how long, in the largest unit alone."""
    return duration(None if seconds is None else max(0, math.floor(seconds)) or seconds).partition(" ")[0]


def ago(seconds: float | None) -> str:
    """Return how long ago something was, in its largest unit."""
    if seconds is None:
        return NOTHING
    return "now" if seconds < 1 else f"{duration_in_short(seconds)} ago"


def moment(at_ms: float | None) -> str:
    """Return a moment in full, in UTC."""
    if at_ms is None:
        return NOTHING
    return datetime.fromtimestamp(at_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
