"""Read the tables of a gateway's file member by member: what is wrong is noted with its line, and reading goes on."""

import datetime
import re
from collections.abc import Callable, Iterable, Iterator
from decimal import ROUND_CEILING, Decimal
from difflib import get_close_matches
from typing import Generic, TypeVar

import msgspec

from cachemw.money import NANO
from cachemw.redaction import redacted_repr
from cachemw.toml import TomlLines, TomlPath, toml_name

T = TypeVar("T")
_Default = TypeVar("_Default")

_KEY_NAMES = frozenset("key keys api_key apikey api-key token secret password authorization bearer credential".split())
_BEGINS_LIKE_A_KEY = re.compile(r"(?:^|[^a-zA-Z0-9])(?:(?:[cg]?sk[-_]|hf_|gh[pousr]_|AIza|eyJ)[A-Za-z0-9_-]{8}|[Bb]earer\s)")
_LONG_AND_MIXED = re.compile(r"[0-9a-f]{32}|(?=[a-z]*[0-9])(?=[0-9]*[a-z])[a-z0-9]{24}", re.IGNORECASE)
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_BARE = re.compile(r"[A-Za-z0-9_-]+")
_LONGEST_SHOWN = 100
_LARGEST = 10**15
_DEAREST = 10**9
"""Dollars. What is more is a mistake."""

NO_KEYS_HERE = "no key stands in this file: name the variable that holds it (key_env), or a file (key_file)"


def is_key_like(text: str) -> bool:
    """Say whether a text begins as the keys of providers do, wherever in it."""
    return _BEGINS_LIKE_A_KEY.search(text) is not None


def may_be_a_key(text: str) -> bool:
    """Say whether a text may be a key, or hold one: then it is not shown."""
    return is_key_like(text) or _LONG_AND_MIXED.search(text) is not None


def shown(name: str) -> str:
    """Return a name as it is shown, in quotation marks, where it can be."""
    return f"'{shown_bare(name)}'"


def shown_bare(name: str) -> str:
    """Return a name as it is shown."""
    return "…" if may_be_a_key(name) or not name.isprintable() or len(name) > _LONGEST_SHOWN else name


def likely(unknown: str, known: Iterable[str]) -> str:
    """Return a question for the known name that was probably meant by an unknown one; nothing where there is none."""
    found = get_close_matches(unknown, known, 1, 0.7)
    return f" (is it {shown_bare(found[0])}?)" if found else ""


class Reading(msgspec.Struct, Generic[T], frozen=True):
    """The way in which a member is read: `read` returns its value or raises `ValueError`, and `allowed` says what there may be.

    That error may have a text of its own, which holds nothing of the value.
    """

    allowed: str
    read: Callable[[object], T]

    __repr__ = redacted_repr


class FaultNotes:
    """What is wrong with a file, as far as it has been read."""

    def __init__(self, place: str, text: str) -> None:
        self.place, self._lines = place, TomlLines(text)
        self._faults: list[tuple[int, str]] = []

    def add(self, path: TomlPath, reason: str) -> None:
        """Note what is wrong with what a path leads to; with its table, where it is one."""
        self._faults.append((self._lines.of(path), f"{self.at(path)}: {reason}"))

    def at(self, path: TomlPath) -> str:
        """Say where in the file that is."""
        return f"{self.place}:{self._lines.of(path)}: {_named(path)}"

    def sorted(self) -> tuple[str, ...]:
        """Return them in the order of the file, each once."""
        return tuple(dict.fromkeys(fault for _, fault in sorted(self._faults, key=lambda fault: fault[0])))


def _named(path: TomlPath) -> str:
    """Name a table as `[routes.auto]`, and what lies in one as `pick in [routes.auto]`."""
    depth = 1 if path[:1] in (("models",), ("accounting",)) else 2  # of the tables that are read member by member
    within = f"[{_dotted(path[:depth])}]"
    return within if len(path) <= depth else f"{_dotted(path[depth:])} in {within}"


def _dotted(path: TomlPath) -> str:
    return ".".join(name if _BARE.fullmatch(name) and shown_bare(name) == name else f'"{shown_bare(name)}"' for name in path)


class TomlTable:
    """A table of the file. Its members are read by name, and those that nobody asked for are refused in the end.

    What is no table is told, and is read as one that is empty.
    """

    def __init__(self, notes: FaultNotes, path: TomlPath, value: object) -> None:
        self.notes, self.path = notes, path
        self._is_table = isinstance(value, dict)
        if not self._is_table:
            notes.add(path, f"{toml_name(value)} is no table")
        self._members: dict[str, object] = value if isinstance(value, dict) else {}
        self._known: list[str] = []

    def __contains__(self, name: str) -> bool:
        return name in self._members

    def lacks(self, name: str) -> bool:
        """Say whether it is a table without such a member."""
        return self._is_table and name not in self._members

    def read(self, name: str, reading: Reading[T], default: _Default) -> T | _Default:
        """Return the value of a member; the default where it is not there, or not what it has to be."""
        self._known.append(name)
        if name not in self._members:
            return default
        try:
            return reading.read(self._members[name])
        except ValueError as exc:
            self.fault(str(exc) or f"{_called(self._members[name])} is not {reading.allowed}", name)
            return default

    def table(self, name: str) -> "TomlTable | None":
        """Return a table that lies in this one; `None` where there is none."""
        self._known.append(name)
        return TomlTable(self.notes, (*self.path, name), self._members[name]) if name in self._members else None

    def tables(self) -> Iterator[tuple[str, "TomlTable"]]:
        """Yield all that lie in this one, by name."""
        for name, value in self._members.items():
            yield name, TomlTable(self.notes, (*self.path, name), value)

    def names(self) -> list[str]:
        """Return the names of all that is in it."""
        return list(self._members)

    def fault(self, reason: str, *names: str) -> None:
        """Note what is wrong with it, or with a member."""
        self.notes.add((*self.path, *names), reason)

    def refuse_others(self) -> None:
        """Note all members that nobody has asked for."""
        for name in self._members.keys() - set(self._known):
            if name.lower() in _KEY_NAMES or may_be_a_key(name):
                self.fault(NO_KEYS_HERE, name)
            else:
                there_may_be = likely(name, self._known) or f"; there may be {', '.join(self._known)}"
                self.fault(f"unknown{there_may_be}", name)


def _called(value: object) -> str:
    if isinstance(value, float) or amount(value) is not None:
        return str(value)  # a number is no key
    return shown(value) if isinstance(value, str) and value else toml_name(value)


def _text(value: object) -> str:
    if not isinstance(value, str) or not value.strip():
        raise ValueError
    return value


def _texts(value: object) -> tuple[str, ...]:
    if not isinstance(value, list):
        raise ValueError
    if not all(isinstance(item, str) and item for item in value):
        raise ValueError("an array with something else in it is not a list of strings")
    return tuple(value)


def amount(value: object) -> int | float | None:
    """Return a number that is no absurd one; `None` for what is none, or infinite."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= _LARGEST:  # not a number is not, too
        return None
    return value


def _seconds(value: object) -> float:
    seconds = amount(value)
    if seconds is None or seconds <= 0:
        raise ValueError
    return float(seconds)


def _nano(value: object) -> int:
    dollars = amount(value)
    if dollars is None or not 0 <= dollars <= _DEAREST:
        raise ValueError
    return int((Decimal(str(dollars)) * NANO).to_integral_value(ROUND_CEILING))  # nothing that costs anything is free


def _share(value: object) -> float:
    share = amount(value)
    if share is None or not 0 <= share <= 1:
        raise ValueError
    return float(share)


def _date(value: object) -> datetime.date:
    if type(value) is not datetime.date:  # a date with a time is one, too
        raise ValueError
    return value


def _variables(value: object) -> tuple[str, ...]:
    names = value if isinstance(value, list) else [value]
    if any(isinstance(name, str) and is_key_like(name) for name in names):
        raise ValueError(NO_KEYS_HERE)
    if not names or not all(isinstance(name, str) and _VARIABLE.fullmatch(name) and not may_be_a_key(name) for name in names):
        raise ValueError("it is the name of a variable, as TEAM_OPENAI_KEY, or a list of them; a key is not taken")
    return tuple(names)


TEXT_MEMBER = Reading("a string", _text)
VARIABLES = Reading("the name of a variable", _variables)
NAME_LIST = Reading("a list of strings", _texts)
POSITIVE_SECONDS = Reading("a number of seconds, more than 0", _seconds)
DOLLARS = Reading(f"a number of dollars, from 0 to {_DEAREST:,}", _nano)
SHARE = Reading("a share from 0 to 1", _share)
DATE = Reading("a date, as 2027-01-01", _date)


def positive(most: int = 10**12) -> Reading[int]:
    """Return the reading of whole numbers, 1 at least."""

    def read(value: object) -> int:
        if type(value) is not int or not 1 <= value <= most:
            raise ValueError
        return value

    return Reading("a whole number, 1 at least", read)


def some_of(*words: str) -> Reading[tuple[str, ...]]:
    """Return the reading of a list with some of these words, one at least."""

    def read(value: object) -> tuple[str, ...]:
        if not isinstance(value, list) or not value or not all(item in words for item in value):
            raise ValueError
        return tuple(value)

    return Reading(f"a list of some of {', '.join(words)}", read)


def one_of(*words: str) -> Reading[str]:
    """Return the reading of one of these words."""

    def read(value: object) -> str:
        if value not in words:
            raise ValueError
        return str(value)

    return Reading(f"one of {', '.join(words)}", read)
