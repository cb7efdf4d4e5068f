"""What differs in two requests that were kept, by path, and strings by words. Pure; never for logs."""

from collections.abc import Iterator
from itertools import islice, takewhile
from typing import Any

import msgspec

from cachemw.redaction import redacted_repr
from cachemw.wire.strict_json import UNREADABLE

LONGEST_VALUE = 200
"""The characters that are shown of a value, around what changed in it."""

MOST = 20
"""How many changes are shown."""

_ELLIPSIS = "…"


class Change(msgspec.Struct, frozen=True):
    """One change: where it is, and the values as JSON, cut; `None` where there is none."""

    path: str
    there: str | None
    here: str | None

    __repr__ = redacted_repr


def changes_between(there: bytes, here: bytes) -> tuple[Change, ...]:
    """Return in what one request's JSON differs from another's, in the order of paths; nothing where one is no JSON."""
    try:
        values = msgspec.json.decode(there), msgspec.json.decode(here)
    except UNREADABLE:
        return ()
    return tuple(islice(_changes("", *values), MOST))


def _changes(path: str, there: Any, here: Any) -> Iterator[Change]:
    if isinstance(there, dict) and isinstance(here, dict):
        for name in dict.fromkeys((*there, *here)):
            yield from _member(f"{path}.{name}" if path else name, there, here, name)
    elif isinstance(there, list) and isinstance(here, list):
        of_each = dict(enumerate(there)), dict(enumerate(here))
        for place in range(max(len(there), len(here))):
            yield from _member(f"{path}[{place}]", *of_each, place)
    elif isinstance(there, str) and isinstance(here, str):
        if there != here:
            yield Change(path, *_around(there, here))
    elif msgspec.json.encode(there) != msgspec.json.encode(here):  # 1 and true are equal, and not the same
        yield Change(path, _text(there), _text(here))


def _member(path: str, there: dict[Any, Any], here: dict[Any, Any], name: Any) -> Iterator[Change]:
    if name in there and name in here:
        yield from _changes(path, there[name], here[name])
    else:
        yield Change(path, *[_text(side[name]) if name in side else None for side in (there, here)])


def _text(value: Any) -> str:
    if isinstance(value, str):
        return _text_of(value, 0, len(value))
    text = msgspec.json.encode(value).decode()
    return text if len(text) <= LONGEST_VALUE else text[:LONGEST_VALUE] + _ELLIPSIS


def _around(there: str, here: str) -> tuple[str, str]:
    """Return two texts, each cut to what is not the same, from the beginning of its first word, and what is around it."""
    start = _alike(there, here)
    while start and not there[start - 1].isspace():
        start -= 1
    end = min(_alike(there[::-1], here[::-1]), len(there) - start, len(here) - start)
    return _text_of(there, start, len(there) - end), _text_of(here, start, len(here) - end)


def _alike(one: str, other: str) -> int:
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False)))


def _text_of(text: str, start: int, end: int) -> str:
    """Return as JSON what stands at this place in a text, and as much around it as there is room for."""
    around = max(0, LONGEST_VALUE - (end - start)) // 2
    first, last = max(0, start - around), min(len(text), max(end, start) + around, start + LONGEST_VALUE)
    cut = _ELLIPSIS * (first > 0) + text[first:last] + _ELLIPSIS * (last < len(text))
    return msgspec.json.encode(cut).decode()
