"""The providers of a gateway as upstreams: each with its URL, its key and what is known of it."""

from collections.abc import Iterator, Mapping

from cachemw.gateway.files import provider_key
from cachemw.gateway.routes import GatewayConfig, ProviderEntry
from cachemw.messages import DIALECTS, HttpTarget
from cachemw.upstreams.checking import Credentials
from cachemw.upstreams.http import HttpUpstream, KeyNeed
from cachemw.upstreams.providers import PROVIDERS, upstream_of


class Contacts:
    """The upstreams of a gateway's providers, of the file as it is, and as it was for requests that were planned before."""

    def __init__(self, environment: Mapping[str, str], credentials: Credentials) -> None:
        self._environment, self._credentials = environment, credentials
        self._current: dict[str, _Contact] = {}
        self._retired: list[_Contact] = []

    def made_for(self, config: GatewayConfig) -> "dict[str, _Contact]":
        """Return the contacts of a file; those of providers of which it says the same are the ones that there were.

        Nothing changes yet. Raises `ConfigurationError`.
        """
        made = {name: self._made(name, entry) for name, entry in config.providers.items()}
        if config.default not in made:
            made[config.default] = self._current.get(config.default) or _Contact(
                config.default, upstream_of(config.default, credentials=self._credentials)
            )
        return made

    def take(self, made: "dict[str, _Contact]") -> dict[str, HttpUpstream]:
        """Have these from now on; return them by the names of their providers."""
        kept = {id(contact) for contact in made.values()}
        self._retired += [contact for contact in self._current.values() if id(contact) not in kept]
        self._current = made
        return {name: contact.upstream for name, contact in made.items()}

    def of(self, provider: str, target: HttpTarget, raw_path: bytes, query: bytes) -> HttpUpstream:
        """Return the upstream of a provider with this very target: a request that was planned before asks the one of then."""
        known = [self._current[provider]] if provider in self._current else []
        known += [contact for contact in reversed(self._retired) if contact.name == provider]
        return next(one.upstream for one in known if one.upstream.target(raw_path, query) == target)

    def __iter__(self) -> Iterator[HttpUpstream]:
        return iter([contact.upstream for contact in (*self._current.values(), *self._retired)])

    def _made(self, name: str, entry: ProviderEntry) -> "_Contact":
        key, before = provider_key(entry, self._environment), self._current.get(name)
        if before is not None and (before.entry, before.key) == (entry, key):
            return before
        return _Contact(name, contact_of(entry, self._environment, self._credentials), entry, key)


class _Contact:
    """An upstream, and what it was made of."""

    def __init__(self, name: str, upstream: HttpUpstream, entry: ProviderEntry | None = None, key: str | None = None) -> None:
        self.name, self.upstream, self.entry, self.key = name, upstream, entry, key


def contact_of(entry: ProviderEntry, environment: Mapping[str, str], credentials: Credentials) -> HttpUpstream:
    """Return a provider as an upstream. Raises `ConfigurationError`."""
    row = PROVIDERS.get(entry.known or "")
    variable = entry.key_env[0] if entry.key_env else ""
    key = provider_key(entry, environment)
    if row is None:
        return HttpUpstream(entry.base_url, api_key=key, credentials=credentials, speaks=entry.speaks or DIALECTS)
    return HttpUpstream(
        entry.base_url,
        api_key=key,
        credentials=credentials,
        provider=entry.known,
        bookkeeping=row.bookkeeping,
        key_needed=KeyNeed(variable, row.open_paths) if variable else None,
        closing=row.closing,
        speaks=entry.speaks or row.speaks,
        key_field=row.key_field,
    )
