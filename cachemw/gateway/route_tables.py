"""Read `[targets]` and `[routes]` of a gateway's file: who may be asked, in which order, and what is sent besides."""

import re
from collections.abc import Iterator
from typing import Literal, cast, get_args

import msgspec

from cachemw.cache.plans import OnRefusal, Pick
from cachemw.gateway.members import (
    DOLLARS,
    NAME_LIST,
    POSITIVE_SECONDS,
    SHARE,
    Reading,
    TomlTable,
    amount,
    likely,
    one_of,
    positive,
    shown,
    shown_bare,
)
from cachemw.gateway.routes import HedgeEntry, RouteEntry, TargetEntry
from cachemw.money import Price, Rates
from cachemw.redaction import redacted_repr
from cachemw.routing import Rewrite
from cachemw.toml import toml_name

Percentile = Literal["p50", "p90", "p95", "p99"]

_NAME = re.compile(r"[!#-\[\]-~]{1,200}")
"""What a field of ours can say in quotation marks: printable, and neither a quotation mark nor a backslash."""

_JSON_NUMBER = 2.0**64

_NOT_SET = {
    "model": "cachemw itself writes the model of a target",
    "messages": "the messages are the caller's",
    "stream": "whether it is a stream is the caller's to say",
    "stream_options": "how its stream ends is the caller's to say",
}
"""The members that a target's words do not change, and why."""


class FileNames(msgspec.Struct, frozen=True):
    """The names of a file's providers, and of its routes."""

    providers: frozenset[str]
    routes: frozenset[str] = frozenset()

    __repr__ = redacted_repr

    def why_no_target(self, name: str) -> str | None:
        """Say why a name is no target's; `None` for one that is."""
        provider, slash, model = name.partition("/")
        if name in self.routes:
            return f"{shown(name)} is a route, and what stands here is a target"
        if not slash:
            return f"{shown(name)} names no provider: a target is provider/model, as cerebras/gpt-oss-120b"
        if provider not in self.providers:
            meant = likely(provider, self.providers) or f"; there are {', '.join(map(shown_bare, sorted(self.providers)))}"
            return f"no provider is called {shown(provider)}{meant}"
        return None if is_model(model) else f"{shown(name)} is no target: a model is printable ASCII, without blanks and quotes"

    def why_no_route(self, name: str) -> str | None:
        """Say why a name cannot be that of a route, or a further one; `None` where it can."""
        if not _NAME.fullmatch(name):
            return "a name is printable ASCII, without blanks, quotes and backslashes, 200 characters at most"
        provider, slash, _ = name.partition("/")
        return f"what begins with {shown_bare(provider)}/ is a target's name" if slash and provider in self.providers else None


def is_model(name: str) -> bool:
    """Say whether a model can have this name."""
    return _NAME.fullmatch(name) is not None


def plain_target(name: str) -> TargetEntry:
    """Return a target of which only the name is known: a provider, a slash, and the model that this is asked for."""
    provider, _, model = name.partition("/")
    return TargetEntry(provider, model, Rewrite(model))


def read_targets(table: TomlTable | None, names: FileNames) -> dict[str, TargetEntry]:
    """Return the targets that have words of their own, by name."""
    return {name: _target(name, member, names) for name, member in (table.tables() if table else ())}


def _target(name: str, table: TomlTable, names: FileNames) -> TargetEntry:
    provider, _, model = name.partition("/")
    if why := names.why_no_target(name):
        table.fault(why)
    members = table.table("set")
    added = tuple(sorted(_added(members))) if members else ()
    drop: tuple[str, ...] = table.read("drop", NAME_LIST, ())
    dropped = frozenset(drop)
    for member in sorted(dropped):
        if why := _NOT_SET.get(member):
            table.fault(f"{member} cannot be dropped: {why}", "drop")
    for member in sorted(dropped.intersection(member for member, _ in added)):
        table.fault(f"{shown(member)} is set, and dropped", "drop")
    context = table.read("context", positive(), None)
    prices = table.table("prices")
    price = _price(prices) if prices else None
    table.refuse_others()
    return TargetEntry(provider, model, Rewrite(model, added, dropped), context, price)


def _added(table: TomlTable) -> Iterator[tuple[str, bytes]]:
    for name in table.names():
        if why := _NOT_SET.get(name):
            table.fault(f"it cannot be set: {why}", name)
        yield name, table.read(name, AS_JSON, b"null")


def _as_json(value: object) -> bytes:
    waiting = [value]
    while waiting:
        found = waiting.pop()
        if isinstance(found, dict | list):
            waiting += found.values() if isinstance(found, dict) else found
        elif isinstance(found, int | float) and not abs(found) < _JSON_NUMBER:  # not a number is not less, too
            raise ValueError("JSON has no such number, or not every reader has")
        elif not isinstance(found, str | int | float):
            raise ValueError(f"{toml_name(found)} is nothing of JSON's")
    try:
        return msgspec.json.encode(value)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


AS_JSON = Reading("a value of JSON", _as_json)


def _price(table: TomlTable) -> Price:
    for name in ("input", "output"):
        if table.lacks(name):
            table.fault(f"{name} is missing: prices are dollars for a million tokens, as in {{ input = 2.0, output = 6.0 }}")
    rates = Rates(
        table.read("input", DOLLARS, 0),
        table.read("output", DOLLARS, 0),
        table.read("cached", DOLLARS, None),
        table.read("cache_write", DOLLARS, None),
    )
    table.refuse_others()
    return Price(rates)


def read_routes(table: TomlTable | None, names: FileNames) -> dict[str, RouteEntry]:
    """Return the routes by name."""
    return {name: _route(name, member, names) for name, member in (table.tables() if table else ())}


def _route(name: str, table: TomlTable, names: FileNames) -> RouteEntry:
    if why := names.why_no_route(name):
        table.fault(why)
    peers = table.read("targets", PEERS, ())
    targets = tuple(target for target, _ in peers)
    spares = table.read("spares", NAME_LIST, ())
    _check_targets(table, targets, spares, names)
    pick = table.read("pick", one_of(*get_args(Pick)), "first")
    hedge = table.table("hedge")
    entry = RouteEntry(
        name,
        targets,
        spares,
        tuple(weight or 1.0 for _, weight in peers) if any(weight for _, weight in peers) else (),
        cast(Pick, pick),
        _hedge(hedge) if hedge else None,
        table.read("first_token", POSITIVE_SECONDS, 20.0),
        table.read("answer", POSITIVE_SECONDS, 120.0),
        cast(OnRefusal, table.read("on_refusal", one_of(*get_args(OnRefusal)), "stop")),
    )
    table.refuse_others()
    return entry


def _check_targets(table: TomlTable, targets: tuple[str, ...], spares: tuple[str, ...], names: FileNames) -> None:
    if table.lacks("targets"):
        table.fault('it has no targets, as in targets = ["cerebras/gpt-oss-120b"]')
    for member, found in (("targets", targets), ("spares", spares)):
        for name in dict.fromkeys(found):
            if why := names.why_no_target(name):
                table.fault(why, member)
            if found.count(name) > 1:
                table.fault(f"{shown(name)} stands there twice", member)
    for name in dict.fromkeys(spares):
        if name in targets:
            table.fault(f"{shown(name)} is among the targets already", "spares")


def _peers(value: object) -> tuple[tuple[str, float | None], ...]:
    if not isinstance(value, list):
        raise ValueError
    if not value:
        raise ValueError("it is empty: a route has a target at least")
    return tuple(_peer(item) for item in value)


def _peer(item: object) -> tuple[str, float | None]:
    if isinstance(item, str) and item:
        return item, None
    if isinstance(item, dict) and item.keys() <= {"name", "weight"} and isinstance(item.get("name"), str):
        weight = amount(item.get("weight", 1))
        if weight is None or weight <= 0:
            raise ValueError("a weight is a number, more than 0")
        return item["name"], float(weight)
    raise ValueError('a target is "provider/model", or { name = "provider/model", weight = 3 }')


PEERS = Reading("a list of targets", _peers)


def _hedge(table: TomlTable) -> HedgeEntry:
    if table.lacks("after"):
        table.fault('after is missing: seconds, or a percentile, as in { after = "p95" }')
    entry = HedgeEntry(table.read("after", AFTER, 0.0), table.read("extra", SHARE, 0.05))
    table.refuse_others()
    return entry


def _after(value: object) -> float | Percentile:
    if value in get_args(Percentile):
        return cast(Percentile, value)
    seconds = amount(value)
    if seconds is None or seconds < 0:
        raise ValueError
    return float(seconds)


AFTER = Reading(f"a number of seconds, 0 at least, or one of {', '.join(get_args(Percentile))}", _after)
