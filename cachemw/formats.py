"""The formats of settings, each read from text, as options and variables have it, or from TOML; and how long something is."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Generic, TypeVar

from cachemw.cache.freshness import Keep
from cachemw.toml import toml_name

T = TypeVar("T")
_Number = TypeVar("_Number", int, float)

# The largest first: a number is written with the first that divides it.
DURATIONS = {"d": 86_400, "h": 3_600, "m": 60, "s": 1}
SIZES = {"TiB": 2**40, "TB": 10**12, "GiB": 2**30, "GB": 10**9, "MiB": 2**20, "MB": 10**6, "KiB": 2**10, "kB": 10**3}


@dataclass(frozen=True, slots=True)
class Format(Generic[T]):
    """The way in which the values of a setting are written; in TOML they are of the types of `toml`.

    `metavar` stands for one in the help, `allowed` says in words what there may be, and `bounds` its limits, briefly.
    """

    metavar: str
    allowed: str
    parse: Callable[[str], T]
    toml: tuple[type, ...] = (str,)
    show: Callable[[T], str] = str
    bounds: str = ""

    def from_text(self, text: str) -> T:
        """Read what an option or a variable holds. Raises `ValueError`."""
        try:
            return self.parse(text)
        except ValueError as exc:
            raise ValueError(f"{text!r} is not {self.allowed}") from exc

    def from_toml(self, value: object) -> T:
        """Read what a file holds. Raises `ValueError`."""
        if type(value) not in self.toml:  # a boolean is no integer here
            raise ValueError(f"{toml_name(value)} is not {self.allowed}")
        return self.from_text(str(value))


class ListFormat(Format[tuple[str, ...]]):
    """A list of strings: an array in TOML, with commas in a variable."""

    __slots__ = ()

    def from_toml(self, value: object) -> tuple[str, ...]:
        """Read an array of strings, whose elements are not shown in an error. Raises `ValueError`."""
        if not isinstance(value, list):
            raise ValueError(f"{toml_name(value)} is not {self.allowed}")
        if other := [item for item in value if not isinstance(item, str)]:
            raise ValueError(f"an array with {toml_name(other[0])} in it is not {self.allowed}")
        return tuple(value)


class KeyFormat(ListFormat):
    """A list of keys, which does not stand in a file."""

    __slots__ = ()

    def from_toml(self, value: object) -> tuple[str, ...]:
        """Refuse them, and show none. Raises `ValueError`."""
        raise ValueError("keys do not stand in this file: give them by the environment")


def several(value: str) -> tuple[str, ...]:
    """Return what stands between the commas; an empty one is not left out, it is somebody's mistake."""
    return tuple(value.split(",")) if value else ()


def _switch(text: str) -> bool:
    match text.lower():
        case "1" | "true" | "t" | "yes" | "y" | "on":
            return True
        case "0" | "false" | "f" | "no" | "n" | "off":
            return False
    raise ValueError


def _measured(text: str, number: Callable[[str], _Number], units: Mapping[str, int], least: int) -> _Number:
    """Read a number that may have a unit. Raises `ValueError`."""
    parts = re.fullmatch(rf"(\S+?)({'|'.join(units)})?", text)
    if parts is None:
        raise ValueError
    value = number(parts[1]) * units.get(parts[2], 1)
    if not value >= least:  # not a number is less, too
        raise ValueError
    return value


def _in_units(value: float, units: Mapping[str, int]) -> str:
    """Write a number with the largest unit that divides it; without one where none does."""
    for unit, factor in units.items():
        whole = value // factor
        if whole and whole * factor == value:
            return f"{int(whole)}{unit}"
    return str(value)


def _duration(text: str) -> float:
    return _measured(text, float, DURATIONS, 0)


def _show_duration(seconds: float) -> str:
    written = _in_units(seconds, DURATIONS)
    return f"{written.removesuffix('.0')}s" if written[-1].isdigit() else written


def sizes(least: int) -> Format[int]:
    """Return the format of so many bytes or more."""
    return Format(
        "SIZE",
        f"a number of bytes, {least} at least, also as in 64MB or 4GiB",
        lambda text: _measured(text, int, SIZES, least),
        (int, str),
        lambda value: _in_units(value, SIZES),
    )


def counts(least: int, most: int | None = None) -> Format[int]:
    """Return the format of whole numbers in a range."""

    def parse(text: str) -> int:
        value = int(text)
        if value < least or (most is not None and value > most):
            raise ValueError
        return value

    if most is None:
        return Format("NUMBER", f"a whole number, {least} at least", parse, (int,), bounds=f"{least} or more")
    return Format("NUMBER", f"a whole number from {least} to {most}", parse, (int,), bounds=f"{least} to {most}")


def choice(*words: str) -> Format[str]:
    """Return the format of one of these words."""

    def parse(text: str) -> str:
        if text not in words:
            raise ValueError
        return text

    return Format("|".join(words), f"one of {', '.join(words)}", parse)


def text(metavar: str) -> Format[str]:
    """Return the format of any text."""
    return Format(metavar, "a string", str)


def words(metavar: str) -> ListFormat:
    """Return the format of a list of strings. One that is empty, and alone, is written so that it is a list."""
    return ListFormat(metavar, "a list of strings", several, show=lambda words: ",".join(words) or "," * len(words))


def _keep(text: str) -> Keep:
    match text:
        case "windows":
            return "windows"
        case "forever":
            return None
    return _duration(text)


def _show_keep(keep: Keep) -> str:
    if keep is None:
        return "forever"
    return keep if isinstance(keep, str) else _show_duration(keep)


TEXT = text("TEXT")
SWITCH = Format("", "true or false", _switch, (bool,))
SECONDS = Format(
    "DURATION",
    "a number of seconds, 0 at least, also as in 90s, 15m, 2h or 7d",
    _duration,
    (int, float, str),
    _show_duration,
)
KEEP: Format[Keep] = Format(
    "windows|forever|DURATION",
    "windows, forever or a number of seconds, 0 at least, also as in 90s, 15m, 2h or 7d",
    _keep,
    (int, float, str),
    _show_keep,
)
LIST = words("TEXT")
KEYS = KeyFormat("KEY", "a list of keys", several, show=",".join)


def lasting(seconds: float) -> str:
    """Return a span of time as people are told it, in two units at most: 46 ms, 4 m, 2 h 41 m, 6 d."""
    whole, spans = int(seconds), list(DURATIONS.items())
    if not whole:
        return f"{min(round(seconds * 1000), 999)} ms" if seconds else "0 s"
    for (unit, length), (part, shorter) in pairwise(spans):
        if whole >= length:
            rest = whole % length // shorter
            return f"{whole // length} {unit} {rest} {part}" if rest else f"{whole // length} {unit}"
    return f"{whole} s"
