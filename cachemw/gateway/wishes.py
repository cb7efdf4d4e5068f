"""The wishes of a client about the route of its request: the field `Cachemw-Route`. They narrow what the operator allows."""

from collections.abc import Callable, Mapping
from decimal import Decimal
from functools import lru_cache
from typing import Any, cast, get_args

import http_sf
import msgspec

from cachemw.cache.directives import NAME_LIMIT, UNKNOWN_LIMIT, nearest
from cachemw.cache.plans import Pick
from cachemw.messages import Headers, header_values
from cachemw.money import nano_of
from cachemw.redaction import redacted_repr
from cachemw.wire.route_field import ROUTE_HEADER

ONLY_LIMIT = 64
"""The targets that `only` may name."""


class Wishes(msgspec.Struct, frozen=True):
    """The wishes about a route. `None` where the route's own word stands.

    `only` names the targets that may be asked. `hedge` is in how many seconds the next one is asked, too, `False` for never.
    `deadline` is in how many seconds an answer has to have begun; `max_cost` is in nano-dollars. `ignored` names what is
    not known here.
    """

    pick: Pick | None = None
    only: frozenset[str] | None = None
    spares: bool = True
    hedge: float | bool | None = None
    deadline: float | None = None
    max_cost: int | None = None
    ignored: tuple[str, ...] = ()

    __repr__ = redacted_repr


NO_WISHES = Wishes()


class InvalidWish(msgspec.Struct, frozen=True):
    """A `Cachemw-Route` field that cannot be read, or a member with a bad value: what it is about, and what it takes."""

    param: str
    message: str

    __repr__ = redacted_repr


def read_wishes(headers: Headers) -> Wishes | InvalidWish:
    """Return what a request wishes of its route."""
    values = header_values(headers, ROUTE_HEADER)
    return _wishes(b", ".join(values)) if values else NO_WISHES


@lru_cache(256)
def _wishes(field: bytes) -> Wishes | InvalidWish:
    try:
        dictionary = cast(dict[str, Any], http_sf.parse(field, tltype="dictionary"))
    except http_sf.StructuredFieldError:
        example = 'pick=cheapest, max-cost="0.001"'
        return _invalid(f"Cachemw-Route is a dictionary, such as {example}, and cannot be read; {_ALL_MEMBERS}")
    unknown = [name for name in dictionary if name not in _MEMBERS]
    if unknown and len(unknown) == len(dictionary):  # a typo of somebody who wanted something, of what it costs perhaps
        return _invalid(f"Cachemw-Route has no member {_named(unknown[0])}; {_ALL_MEMBERS}")
    return _of_members(dictionary, tuple([name[:NAME_LIMIT] for name in unknown[:UNKNOWN_LIMIT]]))


def _of_members(dictionary: Mapping[str, Any], ignored: tuple[str, ...]) -> Wishes | InvalidWish:
    found: dict[str, Any] = {}
    for name, (item, parameters) in dictionary.items():
        member = _MEMBERS.get(name)
        if member is None:
            continue
        if parameters:
            return InvalidWish(name, f"{name} takes no parameters; members are separated by commas")
        found[member.field] = member.read(item)
        if found[member.field] is None:
            return InvalidWish(name, member.takes)
    return Wishes(**found, ignored=ignored)


def _invalid(message: str) -> InvalidWish:
    return InvalidWish("cachemw-route", message)


def _named(unknown: str) -> str:
    likely = nearest(unknown, _MEMBERS)
    return f"'{unknown[:NAME_LIMIT]}'" + (f" (did you mean {likely}?)" if likely else "")


def _pick(item: object) -> str | None:
    return str(item) if isinstance(item, http_sf.Token) and str(item) in _PICKS else None


def _names(item: object) -> frozenset[str] | None:
    """Return the Strings of an inner list that is not empty: nobody wishes for no target at all."""
    if not isinstance(item, list) or not 0 < len(item) <= ONLY_LIMIT:
        return None
    are_names = all(isinstance(name, str) and not isinstance(name, http_sf.Token) and not said for name, said in item)
    return frozenset([name for name, _ in item]) if are_names else None


def _switch(item: object) -> bool | None:
    return item if isinstance(item, bool) else None


def _seconds(item: object) -> float | None:
    return float(item) if isinstance(item, (int, Decimal)) and not isinstance(item, bool) and item >= 0 else None


def _hedge(item: object) -> float | bool | None:
    return item if isinstance(item, bool) else _seconds(item)


def _deadline(item: object) -> float | None:
    return _seconds(item) or None


def _dollars(item: object) -> int | None:
    return nano_of(item) if isinstance(item, str) and not isinstance(item, http_sf.Token) else None


class _Wish(msgspec.Struct, frozen=True):
    """A member: the field that it fills, the reader of its value, and what it takes, for people."""

    field: str
    read: Callable[[object], Any]
    takes: str

    __repr__ = redacted_repr


_PICKS: tuple[str, ...] = get_args(Pick)
_MEMBERS: Mapping[str, _Wish] = {
    "pick": _Wish("pick", _pick, f"pick is one of {', '.join(_PICKS)}, such as pick=cheapest"),
    "only": _Wish(
        "only", _names, f'only is a list of 1 to {ONLY_LIMIT} targets in quotes, such as only=("groq/llama-4" "openai/gpt-5")'
    ),
    "spares": _Wish("spares", _switch, "spares takes no value, or ?0 for no"),
    "hedge": _Wish("hedge", _hedge, "hedge is a number of seconds, 0 or more, such as hedge=0.8, or ?0 for never"),
    "deadline": _Wish("deadline", _deadline, "deadline is a number of seconds, more than 0, such as deadline=30"),
    "max-cost": _Wish(
        "max_cost", _dollars, 'max-cost is dollars, as text of digits with at most 9 after the point, such as max-cost="0.0005"'
    ),
}
_ALL_MEMBERS = f"its members are {', '.join(_MEMBERS)}"
