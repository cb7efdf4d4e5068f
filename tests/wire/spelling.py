"""Other spellings of one JSON value, and whether they are read."""

import json
from random import Random
from typing import Any

from hypothesis import strategies as st

from cachemw.errors import Unreadable
from cachemw.wire.strict_json import parse

SPACES = ("", "", "", " ", "\n", "\t\r ")
SHORT = {'"': '\\"', "\\": "\\\\", "/": "\\/", "\b": "\\b", "\f": "\\f", "\n": "\\n", "\r": "\\r", "\t": "\\t"}

TEXTS = st.text(max_size=6)
LEAVES = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXTS
VALUES = st.recursive(LEAVES, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4))

CHANCE = st.integers(0, 2**32).map(Random)


class Pairs(tuple[tuple[str, Any], ...]):
    """An object whose names may be equal."""


def spell(value: Any, random: Random) -> bytes:
    """Return the value as JSON, with spaces, escapes and numbers as chance has them."""
    return _spell(value, random).encode()


def _spell(value: Any, random: Random) -> str:
    space, end = random.choice(SPACES), random.choice(SPACES)
    return f"{space}{_bare(value, random)}{end}"


def _bare(value: Any, random: Random) -> str:
    if isinstance(value, dict | Pairs):
        pairs = value.items() if isinstance(value, dict) else value
        return "{" + ",".join(f"{_spell(name, random)}:{_spell(member, random)}" for name, member in pairs) + "}"
    if isinstance(value, list):
        return "[" + ",".join(_spell(item, random) for item in value) + "]"
    if isinstance(value, str):
        return '"' + "".join(_character(character, random) for character in value) + '"'
    if isinstance(value, float):
        return random.choice(spellings_of(value))
    return json.dumps(value)


def _character(character: str, random: Random) -> str:
    if character >= " " and character not in '"\\' and random.random() < 0.7:
        return character
    if character in SHORT and random.random() < 0.5:
        return SHORT[character]
    units = character.encode("utf-16-be")
    spelled = "".join(f"\\u{units[at] << 8 | units[at + 1]:04x}" for at in range(0, len(units), 2))
    return spelled if random.random() < 0.5 else spelled.upper().replace("\\U", "\\u")


def spellings_of(number: float) -> list[str]:
    """Return ways to write a number that is not an integer in JSON, all of them this very binary64."""
    shortest = repr(number)
    ways = [shortest if "." in shortest or "e" in shortest else f"{shortest}.0", f"{number:.17e}", f"{number:.16E}"]
    ways += [f"{ways[0]}e0", f"{ways[0]}E+00"] if "e" not in shortest else []
    ways += [f"{shortest}000"] if "." in shortest and "e" not in shortest else []
    return [way for way in ways if repr(float(way)) == shortest]


def refusal(raw: bytes) -> str | None:
    """Return why a document is refused, None if it is read."""
    try:
        parse(raw)
    except Unreadable as refused:
        return refused.detail
    return None
