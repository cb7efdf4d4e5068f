"""The lines that `cachemw serve` says when it listens: where, whose key, what is kept, and how clients reach it."""

import os
import socket
from collections.abc import Iterator

from cachemw.cli.listening import EVERYWHERE, is_loopback, own_names, url, url_of
from cachemw.gateway.routes import GatewayConfig
from cachemw.messages import DIALECTS
from cachemw.proxy import Settings
from cachemw.proxy.admission import AccessRules
from cachemw.translation import translation_for


def banner(
    settings: Settings,
    rules: AccessRules,
    listener: socket.socket,
    upstream: str,
    speaks: frozenset[str],
    kept: str,
    routes: GatewayConfig | None = None,
) -> str:
    """Return them; `upstream` is where misses go that no one of the `routes` takes, `kept` says what becomes of answers."""
    return "\n".join(_lines(settings, rules, listener, upstream, speaks, kept, routes))


def _lines(
    settings: Settings,
    rules: AccessRules,
    listener: socket.socket,
    upstream: str,
    speaks: frozenset[str],
    kept: str,
    routes: GatewayConfig | None,
) -> Iterator[str]:
    place = listener.getsockname() if settings.uds else f"{url_of(listener)}/v1"
    yield f"cachemw listens on {place} (Ctrl-C ends it)"
    if routes is None:
        yield f"misses go to {upstream}; {whose_key(settings, rules)}"
    else:
        yield from _of_routes(routes)
        yield f"other models go to {upstream}; {whose_key(settings, rules)}"
    yield f"it speaks {how_spoken(speaks, '' if settings.uds else url_of(listener))}"
    yield kept
    if settings.uds:
        yield _who_may_connect(settings, rules, place)
    elif not is_loopback(settings.host):
        yield _which_names(settings, rules, listener.getsockname()[1])


def _of_routes(routes: GatewayConfig) -> Iterator[str]:
    """Say which routes there are, what is off, and whose prices nobody knows."""
    named = [*routes.routes, *routes.models]
    yield f"models that are routed: {', '.join(named) or 'none'}, and any provider/model (cachemw check tells each plan)"
    yield from routes.warnings
    unpriced = [name for name, target in routes.targets.items() if target.price is None]
    if unpriced:
        yield f"nobody knows the price of {', '.join(unpriced)}: what their answers cost is unknown, unless they say it"


def how_spoken(speaks: frozenset[str], place: str = "") -> str:
    """Say what the upstream speaks itself, and how clients of Anthropic's API, who ask at this `place`, are answered."""
    named = " and ".join((", ".join(name for name in DIALECTS if name in speaks)).rsplit(", ", 1))
    at = f" at {place}" if place else ""
    how = "are translated" if translation_for("messages", speaks) else "are passed on as they are"
    others = ", and chat is translated" if translation_for("chat", speaks) else ""
    return f"{named}: Anthropic's clients{at} {how}{others}"


def whose_key(settings: Settings, rules: AccessRules) -> str:
    """Say with which key the upstream is asked, and which variable holds it."""
    variable = settings.key_variable
    has_key = bool(os.environ.get(variable))
    if settings.demands_keys:
        instead = f"{variable} goes there" if has_key else f"{variable} is not set, so no key goes there"
        return f"clients bring {how_many_keys(rules)}, and {instead}"
    if has_key:
        return f"{variable} is the key for clients that bring none, or the word cachemw"
    return f"{variable} is not set, so clients bring a key"


def how_many_keys(rules: AccessRules) -> str:
    """Say which keys clients bring: how many there are, and how many clients have a name."""
    names = len(set(rules.named_keys.values()))
    keys = f"one of {len(rules.by_digest)} keys" if len(rules.by_digest) != 1 else "the one key there is"
    return f"{keys} ({names} client{'s' if names != 1 else ''} with a name)" if names else keys


def _who_may_connect(settings: Settings, rules: AccessRules, place: str) -> str:
    if rules.demands_keys:
        who = "every program on this machine may connect, for clients bring a key"
    elif settings.insecure:
        who = "every program on this machine may connect"
    else:
        who = "only your own programs may connect"
    return f"{who}: curl --unix-socket {place} http://localhost/v1/models"


def _which_names(settings: Settings, rules: AccessRules, port: int) -> str:
    """Say by which URLs other machines reach it, as far as this one knows; each of these would be answered."""
    own = own_names(settings.host) if settings.host in EVERYWHERE else []
    if rules.demands_keys:
        urls = _urls([*sorted(rules.hosts), *own], port)
        return f"it answers to any name, for clients bring a key{': ' if urls else ''}{urls}"
    names = sorted(rules.hosts | rules.own_hosts)
    if names:
        return f"it answers to {_urls(names, port)}, and on this machine to localhost; --allow-host adds a name"
    example = f", as in --allow-host {own[0]}" if own else ""
    return f"it answers to localhost alone, until --allow-host names this machine as others do{example}"


def _urls(names: list[str], port: int) -> str:
    return ", ".join(f"{url(name, port)}/v1" for name in names)
