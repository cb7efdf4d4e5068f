"""Read the members of a chat request, and gather what is told of it and why it cannot be said."""

import re
from collections.abc import Collection, Mapping
from typing import Any

from cachemw.translation.base import CannotSay, Changes

JsonMembers = dict[str, Any]
"""The members of a JSON object that is made here."""

DROPPED = "dropped"

_TOKEN = re.compile(r"[a-z][a-z0-9_.*-]{0,63}")
_UNKNOWN = "unknown"
_MOST_TOLD = 64
_EMPTY: tuple[Any, ...] = (None, "", [], {})


class Telling:
    """What is told of one request: each member once, in the order in which it was found."""

    def __init__(self) -> None:
        self._told: dict[tuple[str, str], None] = {}

    def tell(self, member: str, became: str) -> None:
        """Note what became of a member. Whatever is no token, or is one too many, is told of as unknown."""
        if (member, became) not in self._told:
            is_named = len(self._told) < _MOST_TOLD and _TOKEN.fullmatch(member)
            self._told[member if is_named else _UNKNOWN, became] = None

    def tell_others(self, members: Mapping[str, Any], known: Collection[str], place: str = "") -> None:
        """Note that the members that are not known are dropped; one that is empty asks for nothing."""
        for name in sorted(members.keys() - known):
            if members[name] not in _EMPTY:
                self.tell(place + name.lower(), DROPPED)

    @property
    def told(self) -> Changes:
        """Return all that is told."""
        return tuple(self._told)


def text_in(value: Any, member: str) -> str:
    """Return a text. Raises `CannotSay` for anything else."""
    if not isinstance(value, str):
        raise CannotSay(member, "this has to be a string")
    return value


def items_in(value: Any, member: str) -> list[Any]:
    """Return a list; an absent one is empty. Raises `CannotSay` for anything else."""
    if value is None:
        return []
    if not isinstance(value, list):
        raise CannotSay(member, "this has to be an array")
    return value


def object_in(value: Any, member: str) -> JsonMembers:
    """Return the members of an object. Raises `CannotSay` for anything else."""
    if not isinstance(value, dict):
        raise CannotSay(member, "this has to be an object")
    return value


def switch_in(members: Mapping[str, Any], name: str, member: str = "") -> bool | None:
    """Return whether a member is switched on or off; `None` where it is neither. Raises `CannotSay` for anything else."""
    value = members.get(name)
    if value is not None and not isinstance(value, bool):
        raise CannotSay(member or name, "this has to be true or false")
    return value
