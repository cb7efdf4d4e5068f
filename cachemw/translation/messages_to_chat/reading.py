"""Read the members of a request, each of one type, and note what is told of them."""

import re
from collections.abc import Mapping
from typing import Any

from cachemw.translation.base import CannotSay, Changes

_KEY = re.compile(r"[a-z][a-z0-9_.*-]{0,63}")  # of a dictionary (RFC 9651 §3.2)
_MOST_TOLD = 32
_OTHER = "other"


class Notes:
    """What is told of a request: each member once, whatever number of times it stands there."""

    def __init__(self) -> None:
        self._told: dict[str, str] = {}

    def tell(self, member: str, what: str) -> None:
        """Note what became of a member; one whose name is no key, or one too many, is told as `other`."""
        key = member.lower()
        if not _KEY.fullmatch(key) or len(self._told) >= _MOST_TOLD:
            key = _OTHER
        self._told.setdefault(key, what)

    def tell_others(self, members: Mapping[str, Any], known: frozenset[str], prefix: str = "") -> None:
        """Note as dropped what has no place: what is null says nothing that could be lost."""
        for name, value in members.items():
            if name not in known and value is not None:
                self.tell(prefix + name, "dropped")

    def told(self) -> Changes:
        """Return all that was noted, in order."""
        return tuple(self._told.items())


def text_at(value: Any, path: str) -> str:
    """Return a text."""
    if not isinstance(value, str):
        raise CannotSay(path, "it must be a string")
    return value


def text_or_empty_at(value: Any, path: str) -> str:
    """Return a text; of null, and of what is not there, an empty one."""
    return "" if value is None else text_at(value, path)


def object_at(value: Any, path: str) -> dict[str, Any]:
    """Return the members of an object."""
    if not isinstance(value, dict):
        raise CannotSay(path, "it must be an object")
    return value


def list_at(value: Any, path: str) -> list[Any]:
    """Return the elements of an array."""
    if not isinstance(value, list):
        raise CannotSay(path, "it must be an array")
    return value


def switch_at(value: Any, path: str) -> bool:
    """Return true or false; null is false."""
    if value is not None and not isinstance(value, bool):
        raise CannotSay(path, "it must be true or false")
    return bool(value)


def integer_at(value: Any, path: str, least: int) -> int:
    """Return an integer that is not less than the `least`."""
    if type(value) is not int or value < least:
        raise CannotSay(path, f"it must be an integer, and at least {least}")
    return value


def number_at(value: Any, path: str) -> int | float:
    """Return a number."""
    if type(value) not in (int, float):
        raise CannotSay(path, "it must be a number")
    number: int | float = value
    return number
