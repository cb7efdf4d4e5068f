"""Make the body of a request canonical: requests that are the same to their upstream have the same bytes, and no others."""

from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from typing import Any

import msgspec

from cachemw.endpoints.base import Place
from cachemw.messages import AppTarget, ClientTarget, HttpTarget, RouteTarget, Target
from cachemw.redaction import redacted_repr

Form = Callable[[Any], Any]
"""Gives a member's value the form that it has in a canonical body."""


class Shape(msgspec.Struct, frozen=True, eq=False):
    """The shape of an endpoint's requests, as data.

    `fields` says of every documented member where it counts; one that is not there is in the key, for it may change the answer.
    `forms` say of members in which form they are: as they came, where there is none. Of those in `null_is_absent` the value
    null is as good as none. `parts` names what an upstream may only count by and is no member of its own, but stands within
    one; `bare` gives a body without those of them that are left out.
    """

    fields: Mapping[str, Place]
    forms: Mapping[str, Form] = msgspec.field(default_factory=dict)
    null_is_absent: frozenset[str] = frozenset()
    parts: frozenset[str] = frozenset()
    bare: Callable[[Mapping[str, Any], frozenset[str]], Mapping[str, Any]] | None = None

    __repr__ = redacted_repr

    def named(self, place: Place) -> frozenset[str]:
        """Return the members that count in this place."""
        return frozenset(name for name, its_place in self.fields.items() if its_place is place)


def canonical(shape: Shape, body: Mapping[str, Any], left_out: frozenset[str]) -> bytes:
    """Return the canonical JSON of a request's body without the members and parts in `left_out`.

    Member order is ignored in the objects that are parsed into named fields, and only there: tools and schemas are
    rendered to the model in the order they came. Arrays, text and numbers stay as they are, in shortest form.
    """
    if shape.bare is not None and (parts := left_out & shape.parts):
        body = shape.bare(body, parts)
        left_out -= parts - shape.fields.keys()  # a member of that name is one that nobody knows
    return msgspec.json.encode(
        {
            name: shape.forms[name](body[name]) if name in shape.forms else body[name]
            for name in sorted(body.keys() - left_out)
            if not (body[name] is None and name in shape.null_is_absent)
        }
    )


def forms_of(shape: Shape, body: Mapping[str, Any]) -> tuple[tuple[str, bytes], ...]:
    """Return every member that may be in a canonical body, as it stands there: to put some together is far less work."""
    forms = [(name, form_of(shape, name, body[name])) for name in sorted(body)]
    return tuple([one for one in forms if one[1]])


def form_of(shape: Shape, name: str, value: Any) -> bytes:
    """Return a member as it stands in a canonical body; nothing where it is in none."""
    return canonical(shape, {name: value}, _travelling(shape))[1:-1]


def put_together(forms: Iterable[tuple[str, bytes]], left_out: frozenset[str]) -> bytes:
    """Return the canonical JSON that has these members."""
    return b"{" + b",".join([form for name, form in forms if name not in left_out]) + b"}"


def left_out(shape: Shape, target: Target, named: frozenset[str]) -> frozenset[str]:
    """Return what is not in the key; an app may read any of the members that say who asks and who pays.

    `named` are those by which the operator says that the upstream only counts.
    """
    match target:
        case AppTarget():
            return _all_of(shape, frozenset(), frozenset())
        case ClientTarget():
            return _all_of(shape, target.bookkeeping, named)
        case HttpTarget() | RouteTarget():
            return _all_of(shape, target.recipient.bookkeeping, named)


@lru_cache(64)
def _all_of(shape: Shape, known: frozenset[str], named: frozenset[str]) -> frozenset[str]:
    counted = shape.named(Place.BOOKKEEPING) | shape.parts
    return shape.named(Place.TRANSPORT) | (known & counted) | (named - shape.named(Place.ECHOED))


@lru_cache(64)
def _travelling(shape: Shape) -> frozenset[str]:
    return shape.named(Place.TRANSPORT)


def ordered(value: Any) -> Any:
    """Return an object with its members sorted by name (code points, which is the order of their UTF-8)."""
    return dict(sorted(value.items())) if isinstance(value, dict) else value


def with_ordered(*names: str) -> Form:
    """Return a form in which the members of an object, and of its objects with these names, are sorted."""

    def ordered_with_members(value: Any) -> Any:
        value = ordered(value)
        for name in names:
            if isinstance(value, dict) and name in value:
                value[name] = ordered(value[name])
        return value

    return ordered_with_members


def turns(part: Form) -> Form:
    """Return the form of a list of messages: their members are sorted, and the parts of their content have this form."""

    def turn(value: Any) -> Any:
        value = ordered(value)
        if isinstance(value, dict) and isinstance(value.get("content"), list):
            value["content"] = [part(one) for one in value["content"]]
        return value

    return each(turn)


def each(form: Form) -> Form:
    """Return the form of a list in which everything has this form; what is no list is as it is."""

    def all_of(value: Any) -> Any:
        return list(map(form, value)) if isinstance(value, list) else value

    return all_of


def number(value: Any) -> Any:
    """Return an integer as the float that it is; one that is none, and anything else, as it is."""
    if type(value) is not int:
        return value
    try:
        as_float = float(value)
    except OverflowError:
        return value
    return as_float if as_float == value else value
