"""Read a gateway's file: providers, targets, routes and clients, checked in whole, with all that is wrong at once."""

import re
import tomllib
from collections.abc import Iterator, Mapping
from collections.abc import Set as AbstractSet
from typing import Any, Literal, Protocol, cast

from cachemw.errors import ConfigurationFaults
from cachemw.gateway.client_tables import read_aliases, read_clients
from cachemw.gateway.members import (
    NO_KEYS_HERE,
    TEXT_MEMBER,
    VARIABLES,
    FaultNotes,
    Reading,
    TomlTable,
    is_key_like,
    likely,
    one_of,
    some_of,
)
from cachemw.gateway.route_tables import FileNames, is_model, plain_target, read_routes, read_targets
from cachemw.gateway.routes import ClientEntry, GatewayConfig, ProviderEntry, RouteEntry, TargetEntry
from cachemw.messages import DIALECTS
from cachemw.toml import TomlPath

SETTINGS_TABLE = "serve"
"""The table of the file that holds the settings of the proxy, which are read elsewhere."""

GATEWAY_TABLES = ("providers", "targets", "routes", "clients", "models", "accounting")
"""The tables of the file that are read here."""

OfClients = Literal["read", "refuse", "ignore"]
"""What becomes of `[clients]`: a mount has none, and refuses them unless it is told to ignore them."""

_PROVIDER = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_BASE_URL = re.compile(r"https?://[^/?#@\s\\]+(?:/[^?#@\s\\]*)?", re.IGNORECASE)


_SPEAKS = some_of(*DIALECTS)


class ProviderRow(Protocol):
    """What is known of a provider, in these surroundings."""

    @property
    def base_url(self) -> str: ...

    @property
    def key_variables(self) -> tuple[str, ...]: ...


def read_config(
    text: str,
    place: str,
    known: Mapping[str, ProviderRow],
    environment_names: AbstractSet[str],
    *,
    clients: OfClients = "read",
    keyed: AbstractSet[str] = frozenset(),
) -> GatewayConfig:
    """Read a file's text; `place` is what faults call it. Raises `ConfigurationFaults`, which shows no key.

    `known` are the providers that need no more than their name, `environment_names` the variables that are set, and `keyed` the
    clients whose keys stand elsewhere.
    """
    document = _document(text, place)
    notes = FaultNotes(place, text)
    _refuse_keys(notes, document)
    config = _config(TomlTable(notes, (), document), known, environment_names, clients, keyed)
    if faults := notes.sorted():
        raise ConfigurationFaults(faults)
    return config


def has_gateway(document: Mapping[str, object]) -> bool:
    """Say whether a file has tables for a gateway."""
    return any(table in document for table in GATEWAY_TABLES)


def entry_of(config: GatewayConfig, name: str) -> TargetEntry | None:
    """Return the target of a name such as `provider/model`, in the file or not; `None` for what names no provider of it."""
    provider, _, model = name.partition("/")
    if name in config.targets or provider not in config.providers or not is_model(model):
        return config.targets.get(name)
    return plain_target(name)


def named_by(config: GatewayConfig, name: str) -> str:
    """Return the route or target that a client means by a name: its alias, else the longest pattern with a `*` that fits it."""
    if name in config.models:
        return config.models[name]
    if name in config.routes or name in config.targets:
        return name
    patterns = [alias for alias in config.models if alias.endswith("*") and name.startswith(alias[:-1])]
    return config.models[max(patterns, key=len)] if patterns else name


def unpriced_budgets(config: GatewayConfig) -> tuple[str, ...]:
    """Return what is wrong with each client that has a budget and may use what nobody knows the price of."""
    return tuple(
        f"[clients.{client}] has a budget, and nobody knows the price of {', '.join(names)}: say it in [targets], or leave"
        f" these out of its routes"
        for client, names in unpriced(config, frozenset()).items()
    )


def unpriced(config: GatewayConfig, priced_names: AbstractSet[str]) -> dict[str, tuple[str, ...]]:
    """Return the targets of unknown price that each client with a budget may use, by the client; none that are off.

    `priced_names` are those whose price is known besides the file's own.
    """
    found: dict[str, tuple[str, ...]] = {}
    for client in config.clients.values():
        names = tuple(name for name in _allowed(client, config) if not _is_priced(name, config, priced_names))
        if client.budget is not None and names:
            found[client.name] = names
    return found


def _allowed(client: ClientEntry, config: GatewayConfig) -> Iterator[str]:
    if not client.routes:
        yield from config.targets
    for name in client.routes:
        route = config.routes.get(name)
        yield from (name,) if route is None else (*route.targets, *route.spares)


def _is_priced(name: str, config: GatewayConfig, priced_names: AbstractSet[str]) -> bool:
    entry = config.targets.get(name)
    return name in priced_names or name.partition("/")[0] in config.off or (entry is not None and entry.price is not None)


def _document(text: str, place: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except RecursionError:
        raise ConfigurationFaults((f"{place} is not TOML that we read: it is nested too deeply",)) from None
    except ValueError as exc:  # TOML's own error, or Python's of a number with thousands of digits
        raise ConfigurationFaults((f"{place} is not TOML: {exc}",)) from None


def _refuse_keys(notes: FaultNotes, document: Mapping[str, object]) -> None:
    """Note each place at which a key seems to stand, on the left or on the right."""
    waiting: list[tuple[TomlPath, object]] = [((table,), document[table]) for table in GATEWAY_TABLES if table in document]
    while waiting:
        path, value = waiting.pop()
        if isinstance(value, dict):
            waiting += [((*path, name), member) for name, member in value.items()]
        elif isinstance(value, list):
            waiting += [(path, item) for item in value]
        is_file = path[-1] == "key_file" and isinstance(value, str) and "/" in value
        if is_key_like(path[-1]) or (isinstance(value, str) and is_key_like(value) and not is_file):
            notes.add(path, NO_KEYS_HERE)


def _config(
    file: TomlTable,
    known: Mapping[str, ProviderRow],
    environment_names: AbstractSet[str],
    of_clients: OfClients,
    keyed: AbstractSet[str],
) -> GatewayConfig:
    file.table(SETTINGS_TABLE)
    providers = _providers(file.table("providers"), known)
    off = {name: why for name, entry in providers.items() if (why := _why_off(entry, environment_names))}
    own = read_targets(file.table("targets"), FileNames(frozenset(providers)))
    route_tables = file.table("routes")
    names = FileNames(frozenset(providers), frozenset(route_tables.names() if route_tables else ()))
    routes = read_routes(route_tables, names)
    models = read_aliases(file.table("models"), names)
    clients = _clients(file.table("clients"), of_clients, keyed, names, models)
    accounting = file.table("accounting")
    file.refuse_others()
    _refuse_dead_ends(file, routes, off)
    targets = _together(own, routes)
    unset = [client for client in clients.values() if client.key_env and client.key_env not in environment_names]
    return GatewayConfig(
        providers,
        targets,
        routes,
        clients,
        models,
        on_budget_error=_on_budget_error(accounting),
        off=off,
        warnings=(*_about_off(file.notes, off, targets), *_about_clients(file.notes, unset)),
    )


def _providers(table: TomlTable | None, known: Mapping[str, ProviderRow]) -> dict[str, ProviderEntry]:
    rows = {name: ProviderEntry(name, row.base_url, row.key_variables, None, name) for name, row in known.items()}
    own = {name: _provider(name, member, known) for name, member in (table.tables() if table else ())}
    return {**rows, **own}


def _provider(name: str, table: TomlTable, known: Mapping[str, ProviderRow]) -> ProviderEntry:
    row = known.get(name)
    base_url = table.read("base_url", BASE_URL, row.base_url if row else "")
    key_env = table.read("key_env", VARIABLES, ())
    key_file = table.read("key_file", TEXT_MEMBER, None)
    speaks = table.read("speaks", _SPEAKS, ())
    kind = name if row else _known_at(base_url, known)
    table.refuse_others()
    if not _PROVIDER.fullmatch(name):
        table.fault("the name of a provider has letters, digits and . _ -, and no slash")
    if row is None and table.lacks("base_url"):
        table.fault(f"no provider of this name is known{likely(name, known) or ', so give its base_url'}")
    if "key_env" in table and "key_file" in table:
        table.fault("its key is in one place: give key_env or key_file")
    if row is None and kind and not key_env and not key_file:
        table.fault(f"{kind} takes a key: give key_env, or key_file")
    if row is not None and key_file is None:
        key_env = key_env or row.key_variables
    return ProviderEntry(name, base_url, key_env, key_file, kind, speaks)


def _known_at(base_url: str, known: Mapping[str, ProviderRow]) -> str | None:
    """Return the provider that is at a URL, as one with a second key of ours is."""
    return next((name for name, row in known.items() if base_url and _origin(row.base_url) == _origin(base_url)), None)


def _origin(url: str) -> list[str]:
    return url.lower().split("/")[:3]


def _base_url(value: object) -> str:
    if not isinstance(value, str) or not value.isprintable() or not _BASE_URL.fullmatch(value):
        raise ValueError("a base URL is http or https, without credentials and query, as http://10.0.0.7:8000/v1")
    return value.rstrip("/")


BASE_URL = Reading("a base URL", _base_url)


def _why_off(entry: ProviderEntry, environment_names: AbstractSet[str]) -> str | None:
    if entry.key_file is not None or not entry.key_env or not environment_names.isdisjoint(entry.key_env):
        return None
    one = len(entry.key_env) == 1
    return f"{entry.key_env[0]} is not set" if one else f"none of {', '.join(entry.key_env)} is set"


def _refuse_dead_ends(file: TomlTable, routes: Mapping[str, RouteEntry], off: Mapping[str, str]) -> None:
    """Note the routes of which nobody can be asked."""
    for route in routes.values():
        providers = {name.partition("/")[0] for name in (*route.targets, *route.spares)}
        if providers and providers <= off.keys():
            whys = ", ".join(sorted({off[provider] for provider in providers}))
            file.fault(f"nobody is left to ask: {whys}", "routes", route.name)


def _together(own: Mapping[str, TargetEntry], routes: Mapping[str, RouteEntry]) -> dict[str, TargetEntry]:
    """Return the targets that routes name, in their order, then those that have words of their own and no route."""
    names = [name for route in routes.values() for name in (*route.targets, *route.spares)]
    return {name: own.get(name) or plain_target(name) for name in dict.fromkeys((*names, *own))}


def _clients(
    table: TomlTable | None, of_clients: OfClients, keyed: AbstractSet[str], names: FileNames, models: Mapping[str, str]
) -> dict[str, ClientEntry]:
    if table is None or of_clients == "ignore":
        return {}
    if of_clients == "refuse":
        table.fault("clients are the proxy's: clients=False leaves them out")
        return {}
    return read_clients(table, keyed, names, models)


def _on_budget_error(table: TomlTable | None) -> Literal["refuse", "allow"]:
    if table is None:
        return "refuse"
    word = table.read("on_budget_error", one_of("refuse", "allow"), "refuse")
    table.refuse_others()
    return cast(Literal["refuse", "allow"], word)


def _about_off(notes: FaultNotes, off: Mapping[str, str], targets: Mapping[str, TargetEntry]) -> Iterator[str]:
    for provider, why in off.items():
        if names := [name for name, entry in targets.items() if entry.provider == provider]:
            yield f"{notes.place}: {why}, so {provider} is not asked: {', '.join(names)}"


def _about_clients(notes: FaultNotes, unset: list[ClientEntry]) -> Iterator[str]:
    for client in unset:
        yield f"{notes.at(('clients', client.name))}: {client.key_env} is not set, so nobody is this client"
