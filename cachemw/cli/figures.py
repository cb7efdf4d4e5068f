"""Figures and names as people read them in a terminal: short, without a guess, and obeyed by nobody."""

from datetime import UTC, datetime

from rich.console import Console

from cachemw.formats import lasting
from cachemw.ledger.sums import SumsBy
from cachemw.money import NANO
from cachemw.redaction import printable

NARROWEST = 100
"""The columns that a line for people has at least, where no terminal is narrower."""

_THOUSANDS = ((10**12, "T"), (10**9, "G"), (10**6, "M"), (10**3, "k"))


def wide_console() -> Console:
    """Return the console, as wide as its terminal; what is no terminal has 100 columns at least."""
    console = Console()
    return console if console.is_terminal or console.width >= NARROWEST else Console(width=NARROWEST)


def shown_name(name: str) -> str:
    """Return a name, which may be a client's text, as nothing that a terminal obeys; a dash for none."""
    return printable(name) or "-"


def named(name: str, by: SumsBy) -> str:
    """Return the name of sums in words: a day or an hour as ISO 8601 has it."""
    if by is SumsBy.DAY:
        return datetime.fromtimestamp(int(name), UTC).date().isoformat()
    if by is SumsBy.HOUR:
        return f"{datetime.fromtimestamp(int(name), UTC):%Y-%m-%dT%HZ}"
    return name


def short_count(count: int) -> str:
    """Return a number in a few digits: 9,214, 61 k, 4.1 M."""
    if count < 10_000:
        return f"{count:,}"
    size, unit = next((size, unit) for size, unit in _THOUSANDS if count >= size)
    return f"{count / size:.1f} {unit}" if count < 10 * size else f"{count / size:,.0f} {unit}"


def short_dollars(nano: int) -> str:
    """Return an amount to the cent; one of less than a dollar in the digits that say something."""
    return f"{nano / NANO:,.{telling_places(nano)}f}"


def telling_places(nano: int) -> int:
    """Return how many decimal places an amount in dollars needs to have two digits that are not a leading zero."""
    return min(9, max(2, 11 - len(str(abs(nano))))) if nano else 2


def ago(seconds: float) -> str:
    """Return how long ago something was, in its largest unit: 12 s, 5 m, 3 h, 6 d."""
    return " ".join(lasting(max(0.0, seconds)).split(" ")[:2])


def iso_time(seconds: float) -> str:
    """Return a time since the epoch as ISO 8601 has it, in UTC and with milliseconds."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def share(part: int, whole: int) -> str:
    """Return a share in percent; a dash of nothing."""
    return f"{100 * part / whole:.1f} %" if whole else "-"


def short_size(size: int) -> str:
    """Return so many bytes in a few digits: 900 B, 312 MB, 4.0 GB."""
    if size < 1000:
        return f"{size} B"
    bound, unit = next((bound, unit) for bound, unit in _THOUSANDS if size >= bound)
    return f"{size / bound:.1f} {unit}B" if size < 10 * bound else f"{size / bound:,.0f} {unit}B"


def counted(count: int, noun: str) -> str:
    """Return so many of something, in words."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def at_least_words(dropped: int) -> str:
    """Say that a view lacks exchanges of its span."""
    return f"at least: {counted(dropped, 'exchange')} of that time could not be written down"
