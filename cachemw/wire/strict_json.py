"""JSON that can be read in one way only. Whatever another parser could read differently is refused."""

import json
import re
from typing import Any

import msgspec

from cachemw.errors import Unreadable
from cachemw.limits import Work

DEPTH_LIMIT = 64

WORK_LIMIT = Work().document
"""The work that a document may be by default, besides its plain text."""

AMBIGUOUS = "ambiguous-json"
INVALID = "invalid-json"
NULL = msgspec.Raw(b"null")
"""A member that is null, or that is not there."""

UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""What a decoder raises that is given anything."""

TOO_COMPLEX = "too-complex"

_ESCAPE = 8
_BARE = 64  # for each byte outside of strings, two for a bracket: integers of 4,300 digits are no slower
_EXPONENT = 4096  # 1e307 takes as long as pages of text
_EXPONENTS = re.compile(rb"[eE][-+]?[0-9]{3}")
_SPACES = b" \t\r\n"


def parse(raw: bytes, limit: int = WORK_LIMIT) -> Any:
    """Return the value of a JSON document: integers exact, other numbers binary64. Raises `Unreadable`."""
    bare = None if _is_simple(raw, limit) else _within(raw, limit)
    try:
        value = msgspec.json.decode(raw)
    except UNREADABLE:
        raise Unreadable(_why(raw)) from None
    members = _count_members(value)
    if members is None or _repeats_a_name(raw, bare, value, members, limit):
        raise Unreadable(AMBIGUOUS)
    return value


def is_too_complex(raw: bytes, limit: int = WORK_LIMIT) -> bool:
    """Say whether to read this would be too much work."""
    return not _is_simple(raw, limit) and _without_strings(raw, limit) is None


def may_have_more_objects(raw: bytes, limit: int) -> bool:
    """Say whether a document may have more objects than `limit`."""
    return len(raw) > limit and raw.count(b"{") > limit


def _is_simple(raw: bytes, limit: int) -> bool:
    """Say of most documents, at a glance, that they are not: there is one number more than there are commas, at most."""
    left = limit - len(raw) * 3 * _BARE // 2  # at most half of it opens brackets
    return left > 0 and (raw.count(b",") + 1) * _EXPONENT <= left


def _within(raw: bytes, limit: int) -> bytes:
    bare = _without_strings(raw, limit)
    if bare is None:
        raise Unreadable(TOO_COMPLEX)
    return bare


def _without_strings(raw: bytes, limit: int) -> bytes | None:
    """Return what of a document is outside of its strings, spaces apart; `None` where to read it would be too much work.

    Far cheaper than reading it; in what is no JSON it holds up to the first error, where the parser stops too.
    """
    text, bare_left = raw, limit // _BARE
    if b"\\" in raw:
        bare_left -= raw.count(b"\\") * _ESCAPE // _BARE
        if bare_left < 0:
            return None
        text = raw.replace(b"\\\\", b"").replace(b'\\"', b"")
    pieces = text.split(b'"', 2 * bare_left + 2)
    if len(pieces) > 2 * bare_left + 2:  # there is a byte at least between two strings
        return None
    bare = b"".join(pieces[::2]).translate(None, _SPACES)
    bare_left -= len(bare) + bare.count(b"[") + bare.count(b"{")
    return bare if bare_left >= 0 and len(_EXPONENTS.findall(bare)) * _EXPONENT <= bare_left * _BARE else None


def _repeats_a_name(raw: bytes, bare: bytes | None, value: Any, members: int, limit: int) -> bool:
    """The decoder keeps the last of two equal names, and a document has as many names as colons outside of its strings."""
    if bare is None:
        if msgspec.json.encode(value) == raw:  # nearly always, and quicker
            return False
        bare = _within(raw, limit)
    return members != bare.count(b":")


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


def _count_members(value: Any) -> int | None:
    """Return how many members all objects have; `None` where the value is too deep."""
    level, count = [value], 0
    for _ in range(DEPTH_LIMIT):
        count += sum([len(container) for container in level if type(container) is dict])
        level = [child for container in level for child in _children(container) if type(child) is dict or type(child) is list]
        if not level:
            return count
    return None


def _children(value: Any) -> Any:
    return value.values() if type(value) is dict else value if type(value) is list else ()
