"""What `cachemw check` says of a gateway's file: the plan of every route, who is off and why, and all faults at once."""

from collections.abc import Iterator, Mapping
from contextlib import closing
from datetime import UTC, datetime

from cachemw.cache.plans import Pick
from cachemw.cli.check_online import asked
from cachemw.cli.finding import Finding
from cachemw.errors import ConfigurationError, ConfigurationFaults
from cachemw.gateway.config import unpriced_budgets
from cachemw.gateway.contacts import contact_of
from cachemw.gateway.price_tables import PriceTables, priced_by
from cachemw.gateway.routes import GatewayConfig, ProviderEntry, RouteEntry
from cachemw.money import Price, in_dollars
from cachemw.proxy import Settings

_PICKS: Mapping[Pick, str] = {
    "first": "in this order",
    "cheapest": "the cheapest of",
    "fastest": "the fastest of",
    "weighted": "for each conversation one of",
    "race": "whoever is first of",
}


def about_routes(settings: Settings, environment: Mapping[str, str], *, online: bool) -> Iterator[Finding]:
    """Say what the file's routes come to; nothing where it has no tables for a gateway.

    Nobody is contacted unless it is `online`: then each provider that routes name is asked for its models.
    """
    try:
        config = settings.gateway_config(environment)
    except ConfigurationFaults as exc:
        yield from (Finding("wrong", "routes", fault) for fault in exc.faults)
        return
    except ConfigurationError:  # of the file of client keys, of which it is said elsewhere
        return
    if config is None:
        return
    config = priced_by(PriceTables(datetime.now(UTC).date()), config)
    yield from (Finding("wrong", "routes", fault) for fault in unpriced_budgets(config))
    yield from (Finding("note", "routes", warning) for warning in config.warnings)
    yield from (Finding("ok", "routes", _plan(route, config)) for route in config.routes.values())
    yield from (Finding("ok", "routes", f"{name} is another name for {meant}") for name, meant in config.models.items())
    for entry in config.providers.values():
        yield from _about_provider(entry, config, environment, online)


def _about_provider(
    entry: ProviderEntry, config: GatewayConfig, environment: Mapping[str, str], online: bool
) -> Iterator[Finding]:
    """Say whether it can be asked with its key and, where it is, whether it has the models that routes name."""
    models = [target.model for target in config.targets.values() if target.provider == entry.name]
    try:
        upstream = contact_of(entry, environment, "lend")
    except ConfigurationError as exc:
        yield Finding("wrong", "routes", f"[providers.{entry.name}]: {exc}")
        return
    if not online or not models or entry.name in config.off:
        return
    with closing(upstream):
        told, named = asked(upstream, " or ".join(entry.key_env) or entry.key_file or "its key", "routes")
    yield told
    for model in models:
        if named and not any(name == model or name.endswith(f"/{model}") for name in named):
            yield Finding("note", "routes", f"{entry.name} does not name {model} among its models", "is it spelt as there?")


def _plan(route: RouteEntry, config: GatewayConfig) -> str:
    targets = ", ".join(_target(name, config) for name in route.targets)
    picked = f"{_PICKS[route.pick]} {targets}" if len(route.targets) > 1 else targets
    spares = f"; where none of these can answer, {', '.join(_target(name, config) for name in route.spares)}"
    hedge = route.hedge
    if hedge is None:
        hedged = ""
    else:
        after = f"the {hedge.after} of the first's answers" if isinstance(hedge.after, str) else f"{hedge.after:g} s"
        hedged = f"; a second one is asked after {after}, for {100 * hedge.extra:g} % of requests at most"
    return f"{route.name}: {picked}{spares if route.spares else ''}{hedged}"


def _target(name: str, config: GatewayConfig) -> str:
    entry = config.targets[name]
    price = _prices(entry.price) if entry.price else "price unknown"
    return f"{name} ({'off, ' if entry.provider in config.off else ''}{price})"


def _prices(price: Price) -> str:
    return f"${in_dollars(price.rates.input_rate)} in, ${in_dollars(price.rates.output_rate)} out a million"
