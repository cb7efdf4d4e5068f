"""Read `[clients]` and `[models]` of a gateway's file: who may use which routes, and what else these are called."""

import re
from collections.abc import Iterator, Mapping
from collections.abc import Set as AbstractSet
from typing import cast, get_args

from cachemw.gateway.members import (
    DATE,
    DOLLARS,
    NAME_LIST,
    TEXT_MEMBER,
    VARIABLES,
    Reading,
    TomlTable,
    likely,
    may_be_a_key,
    one_of,
    positive,
    shown,
)
from cachemw.gateway.route_tables import FileNames
from cachemw.gateway.routes import ClientEntry, Period, RequestLimit, SpendingLimit

_CLIENT = re.compile(r"[\w.@+-]{1,64}")
_DIGEST = re.compile(r"(?:sha256:)?([0-9a-f]{64})", re.IGNORECASE)


def read_aliases(table: TomlTable | None, names: FileNames) -> dict[str, str]:
    """Return the further names of routes and targets."""
    return dict(_aliases(table, names)) if table else {}


def _aliases(table: TomlTable, names: FileNames) -> Iterator[tuple[str, str]]:
    for alias in table.names():
        if alias in names.routes:
            table.fault("a route has this name already", alias)
        elif why := names.why_no_route(alias) or _why_no_pattern(alias):
            table.fault(why, alias)
        meant = table.read(alias, TEXT_MEMBER, None)
        if meant is None:
            continue
        if why := _why_nothing(meant, names):
            table.fault(why, alias)
        yield alias, meant


def _why_no_pattern(alias: str) -> str | None:
    """Say why a name cannot stand for many; `None` where it can, or stands for itself."""
    return "a * stands at the end of a name, for all that begin as it does" if "*" in alias[:-1] or alias == "*" else None


def _why_nothing(name: str, names: FileNames) -> str | None:
    """Say why a name is neither a route's nor a target's."""
    if name in names.routes:
        return None
    if "/" in name:
        return names.why_no_target(name)
    return f"no route is called {shown(name)}{likely(name, names.routes)}, and a target is provider/model"


def read_clients(
    table: TomlTable, keyed: AbstractSet[str], names: FileNames, models: Mapping[str, str]
) -> dict[str, ClientEntry]:
    """Return the clients by name; the keys of those that are `keyed` stand elsewhere."""
    clients = {name: _client(name, member, keyed, names, models) for name, member in table.tables()}
    _refuse_same_keys(table, clients)
    return clients


def _client(name: str, table: TomlTable, keyed: AbstractSet[str], names: FileNames, models: Mapping[str, str]) -> ClientEntry:
    if not _CLIENT.fullmatch(name) or may_be_a_key(name):
        table.fault("the name of a client has 1 to 64 letters, digits and . _ @ + -, and does not look like a key")
    variables = table.read("key_env", VARIABLES, ())
    digest = table.read("key_sha256", DIGEST, None)
    _check_key(table, variables, name in keyed)
    routes = table.read("routes", NAME_LIST, ())
    _check_routes(table, routes, names, models)
    budget, rate = table.table("budget"), table.table("rate")
    entry = ClientEntry(
        name,
        tuple(dict.fromkeys(models.get(route, route) for route in routes)),
        _budget(budget) if budget else None,
        _rate(rate) if rate else None,
        table.read("expires", DATE, None),
        variables[0] if variables else None,
        digest,
    )
    table.refuse_others()
    return entry


def _check_key(table: TomlTable, variables: tuple[str, ...], is_keyed: bool) -> None:
    has_own = [member for member in ("key_env", "key_sha256") if member in table]
    if len(variables) > 1:
        table.fault("a client's key is in one variable", "key_env")
    if len(has_own) > 1:
        table.fault("its key is in one place: give key_env or key_sha256")
    if has_own and is_keyed:
        table.fault(f"its key stands in the file of client keys too: leave {has_own[0]} out, or that")
    if not is_keyed and table.lacks("key_env") and table.lacks("key_sha256"):
        table.fault("it has no key: give key_env or key_sha256, or a line in the file of client keys")


def _check_routes(table: TomlTable, routes: tuple[str, ...], names: FileNames, models: Mapping[str, str]) -> None:
    if "routes" in table and not routes:
        table.fault("nothing is left that it may use: without the member it may use all", "routes")
    for route in routes:
        if route not in models and (why := _why_nothing(route, names)):
            table.fault(why, "routes")


def _budget(table: TomlTable) -> SpendingLimit:
    limit = SpendingLimit(table.read("usd", DOLLARS, 0), _per(table, "usd"))
    table.refuse_others()
    return limit


def _rate(table: TomlTable) -> RequestLimit:
    limit = RequestLimit(table.read("requests", positive(), 1), _per(table, "requests"))
    table.refuse_others()
    return limit


def _per(table: TomlTable, member: str) -> Period:
    periods = get_args(Period)
    for name in (member, "per"):
        if table.lacks(name):
            table.fault(f'{name} is missing, as in {{ {member} = 25, per = "day" }}')
    return cast(Period, table.read("per", one_of(*periods), periods[0]))


def _refuse_same_keys(table: TomlTable, clients: Mapping[str, ClientEntry]) -> None:
    homes: dict[str, str] = {}
    for name, client in clients.items():
        for source in (client.key_env, client.key_sha256):
            if source is not None and (first := homes.setdefault(source, name)) != name:
                table.fault(f"{shown(first)} has the same key: give each client one of its own", name)


def _digest(value: object) -> str:
    found = _DIGEST.fullmatch(value) if isinstance(value, str) else None
    if found is None:
        raise ValueError("it is the SHA-256 of a key: 64 hexadecimal digits, as sha256sum writes them")
    return found[1].lower()


DIGEST = Reading("the SHA-256 of a key", _digest)
