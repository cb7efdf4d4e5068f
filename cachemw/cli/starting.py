"""`cachemw serve`: everything that can be wrong is said before it listens."""

import os
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass

from cachemw.cli.errors import CommandError
from cachemw.cli.serving import configured, is_loopback, listen, run, url_of
from cachemw.errors import StoreError
from cachemw.proxy import Settings
from cachemw.stores import DiskStore
from cachemw.upstreams import upstream_of
from cachemw.upstreams.providers import KEY_VARIABLE, PROVIDERS

CHECK = b"cachemw serve: may it write?"


@dataclass(frozen=True, slots=True)
class Place:
    """Where the proxy listens, in how many processes, and how much they log."""

    host: str
    port: int
    workers: int
    log_level: str


def serve_proxy(settings: Settings, place: Place, say: Callable[[str], None]) -> None:
    """Check, say where, and serve until a signal ends it. Raises `CommandError` and `ConfigurationError`."""
    if not is_loopback(place.host):
        raise CommandError(
            f"{place.host!r} is not a loopback address: the proxy lends its key, so it listens for this machine alone"
        )
    settings.policy()
    upstream, store = upstream_of(settings.upstream), DiskStore(settings.dir or None, size_limit=settings.size_limit)
    check_writable(store)
    with listen(place.host, place.port) as listener:
        say(f"cachemw listens on {url_of(listener)}/v1 (Ctrl-C ends it)")
        say(f"misses go to {upstream.base_url}; {_whose_key(settings)}")
        say(f"answers are kept in {store.path}")
        os.environ.update(settings.to_environment())  # every worker makes its proxy from there
        run(configured("cachemw.proxy.worker:work", place.log_level, workers=place.workers), listener)


def check_writable(store: DiskStore) -> None:
    """Write a record and remove it. Raises `CommandError`."""
    with closing(store):
        try:
            store.put(CHECK, CHECK, None)
            store.delete(CHECK)
        except StoreError as exc:
            raise CommandError(f"cannot write to the store in {store.path}: {exc.__cause__ or exc}") from exc


def _whose_key(settings: Settings) -> str:
    provider = PROVIDERS.get(settings.upstream)
    variable = provider.key_variable if provider else KEY_VARIABLE
    if os.environ.get(variable):
        return f"{variable} is the key for clients that bring none"
    return f"{variable} is not set, so clients bring a key"
