"""The `Cache-Control` field of a request: not a structured field, so the parser is ours (RFC 9111 §5.2)."""

import math
import re
from collections.abc import Iterator
from functools import lru_cache

import msgspec

from cachemw.core.limits import FOREVER

_DIRECTIVE = re.compile(rb'[ \t]*([^=,; \t"]+)[ \t]*(?:=[ \t]*(?:"((?:[^"\\]|\\.)*)"[ \t]*(?=,|$)|([^,]*)))?[^,]*(?:,|$)')
_EMPTY = re.compile(rb"[ \t,]*")


class Restrictions(msgspec.Struct, frozen=True):
    """What a request's `Cache-Control` asks of us; seconds. `max_stale` is infinite where it has no argument."""

    no_store: bool = False
    no_cache: bool = False
    only_if_cached: bool = False
    max_age: int | None = None
    min_fresh: float | None = None
    max_stale: float | None = None
    stale_if_error: float | None = None


UNRESTRICTED = Restrictions()


@lru_cache(256)
def restrictions(field: bytes) -> Restrictions:
    """Read the field's combined value. A bad number is the strictest reading; repeats add up to the strictest."""
    said: dict[bytes, list[bytes | None]] = {}
    for name, argument in _directives(field):
        said.setdefault(name, []).append(argument)
    max_age = [_seconds(argument, bad=0) for argument in said.get(b"max-age", ())]
    min_fresh = [_seconds(argument, bad=math.inf) for argument in said.get(b"min-fresh", ())]
    max_stale = [math.inf if argument is None else _seconds(argument, bad=0) for argument in said.get(b"max-stale", ())]
    stale_if_error = [_seconds(argument, bad=0) for argument in said.get(b"stale-if-error", ())]  # RFC 5861 §4
    return Restrictions(
        no_store=b"no-store" in said,
        no_cache=b"no-cache" in said,
        only_if_cached=b"only-if-cached" in said,
        max_age=int(min(max_age)) if max_age else None,
        min_fresh=max(min_fresh, default=None),
        max_stale=min(max_stale, default=None),
        stale_if_error=min(stale_if_error, default=None),
    )


def _directives(field: bytes) -> Iterator[tuple[bytes, bytes | None]]:
    at = 0
    while (blank := _EMPTY.match(field, at)) and (at := blank.end()) < len(field):
        found = _DIRECTIVE.match(field, at)
        if found is None:  # nothing that reads as a name: on to the next comma
            comma = field.find(b",", at)
            at = len(field) if comma < 0 else comma
            continue
        name, quoted, plain = found.groups()
        argument = plain.strip() if plain is not None else quoted
        yield name.lower(), argument
        at = found.end()


def _seconds(argument: bytes | None, bad: float) -> float:
    if argument is None or not argument.isdigit():
        return bad
    digits = argument.lstrip(b"0") or b"0"
    return min(int(digits), FOREVER) if len(digits) < 20 else FOREVER
