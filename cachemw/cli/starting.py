"""`cachemw serve`: everything that can be wrong is said before it listens."""

import os
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial

from cachemw.cli.errors import CommandError
from cachemw.cli.serving import configured, is_loopback, listen, run, url_of
from cachemw.core.admission import Rules
from cachemw.errors import StoreError
from cachemw.proxy import Settings
from cachemw.proxy.protocol import GuardedProtocol
from cachemw.stores import DiskStore
from cachemw.stores.places import refuse_network
from cachemw.upstreams import upstream_of
from cachemw.upstreams.providers import KEY_VARIABLE, PROVIDERS

CHECK = b"cachemw serve: may it write?"
TRIAL_TIME = 1.5
"""How long listening waits for the store, in seconds; what it does after that is given up soon by itself."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where the proxy listens, in how many processes, and how much they log.

    `is_insecure`: beyond loopback too it lends the server's key to everyone.
    """

    host: str
    port: int
    workers: int
    log_level: str
    is_insecure: bool


def serve_proxy(settings: Settings, place: Place, say: Callable[[str], None]) -> None:
    """Check, say where, and serve until a signal ends it. Raises `CommandError` and `ConfigurationError`."""
    _check_callers(settings, place)
    settings = replace(settings, host=place.host, insecure=place.is_insecure and not is_loopback(place.host))
    rules = settings.rules()
    upstream, store = upstream_of(settings.upstream), settings.store()
    trouble = try_out(store, settings)
    with listen(place.host, place.port) as listener:
        said = [
            f"cachemw listens on {url_of(listener)}/v1 (Ctrl-C ends it)",
            f"misses go to {upstream.base_url}; {_whose_key(settings)}",
            trouble or f"answers are kept in {store.path}",
        ]
        if not is_loopback(place.host):
            said.append(_which_names(rules))
        os.environ.update(settings.to_environment())  # every worker makes its proxy from there
        config = configured("cachemw.proxy.worker:work", place.log_level, workers=place.workers, protocol=GuardedProtocol)
        run(config, listener, partial(say, "\n".join(said)))


def _check_callers(settings: Settings, place: Place) -> None:
    if not (is_loopback(place.host) or settings.client_keys or place.is_insecure):
        raise CommandError(
            f"{place.host!r} is not a loopback address, and whoever reaches it could use the server's key:"
            " name the keys of your clients (CACHEMW_CLIENT_KEYS, --client-key), or let everyone (--insecure)"
        )


def _which_names(rules: Rules) -> str:
    if rules.client_keys:
        return "it answers to any name, for clients bring a key"
    names = ", ".join(["this machine's own", *sorted(rules.hosts | rules.own_hosts)])
    return f"it answers to these names: {names}; --allow-host adds to them"


def try_out(store: DiskStore, settings: Settings) -> str | None:
    """Write a record and remove it; return what is said where that fails. The proxy begins all the same, without a store.

    Raises `CommandError` for a directory that was not to be used.
    """
    if not settings.allow_network:
        try:
            refuse_network(store.path)
        except OSError as exc:
            raise CommandError(f"{exc} (--allow-network)") from exc
    with closing(store):
        try:
            store.submit(lambda: _use(store, settings)).result(TRIAL_TIME)
        except TimeoutError:
            return f"nothing is kept for now: the store in {store.path} did not answer within {TRIAL_TIME:g} s"
        except StoreError as exc:
            return f"nothing is kept for now: cannot write to the store in {store.path}: {exc.__cause__ or exc}"
    return None


def _use(store: DiskStore, settings: Settings) -> None:
    store.put(CHECK, CHECK, None)
    store.discard(CHECK)
    if settings.partition != "shared":
        store.secret()  # each worker reads it with its first request, and none has to make it then


def _whose_key(settings: Settings) -> str:
    provider = PROVIDERS.get(settings.upstream)
    variable = provider.key_variable if provider else KEY_VARIABLE
    if settings.client_keys:
        instead = f"{variable} goes there" if os.environ.get(variable) else f"{variable} is not set, so no key goes there"
        return f"clients bring one of {len(settings.client_keys)} keys, and {instead}"
    if os.environ.get(variable):
        return f"{variable} is the key for clients that bring none"
    return f"{variable} is not set, so clients bring a key"
