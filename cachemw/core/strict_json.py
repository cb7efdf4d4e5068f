"""JSON that can be read in one way only. What another parser could read differently is never cached."""

import json
from typing import Any

import msgspec

from cachemw.errors import Unreadable

DEPTH_LIMIT = 64

AMBIGUOUS = "ambiguous-json"
INVALID = "invalid-json"


def parse(raw: bytes) -> Any:
    """Return the value of a JSON document: integers exact, other numbers binary64. Raises `Unreadable`."""
    try:
        value = msgspec.json.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise Unreadable(_why(raw)) from None
    if _is_too_deep(value):
        raise Unreadable(AMBIGUOUS)
    # The decoder keeps the last of two equal names; what encodes to the bytes it came from therefore had none.
    if msgspec.json.encode(value) != raw and _repeats_a_name(raw):
        raise Unreadable(AMBIGUOUS)
    return value


def _why(raw: bytes) -> str:
    """Tell what a laxer parser takes (NaN, lone surrogates, a BOM, trailing data) from what is no JSON at all."""
    try:
        json.loads(raw)
    except json.JSONDecodeError as exc:
        return AMBIGUOUS if exc.msg == "Extra data" else INVALID
    except UnicodeDecodeError:
        return INVALID
    except (ValueError, RecursionError):  # more digits, or deeper, than even this parser takes
        return AMBIGUOUS
    return AMBIGUOUS


def _repeats_a_name(raw: bytes) -> bool:
    try:
        json.loads(raw, object_pairs_hook=_once)
    except (Unreadable, ValueError, RecursionError):
        return True
    return False


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise Unreadable(AMBIGUOUS)
    return members


def _is_too_deep(value: Any) -> bool:
    level = [value]
    for _ in range(DEPTH_LIMIT):
        level = [child for container in level for child in _containers_in(container)]
        if not level:
            return False
    return True


def _containers_in(value: Any) -> list[Any]:
    children = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return [child for child in children if isinstance(child, (dict, list))]
