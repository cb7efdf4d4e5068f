"""Address requests as the proxy would: by its settings, who is asked for a model, and who it was that records name."""

import os
from collections.abc import Mapping

from msgspec.structs import replace

from cachemw.cache.differences import listed, shown
from cachemw.errors import CommandError, ConfigurationError
from cachemw.gateway.config import entry_of, named_by
from cachemw.gateway.contacts import contact_of
from cachemw.gateway.routes import GatewayConfig, TargetEntry
from cachemw.inventory.admitting import Addressee
from cachemw.messages import HttpTarget
from cachemw.proxy import Settings
from cachemw.proxy.gateways import default_upstream
from cachemw.upstreams.http import HttpUpstream
from cachemw.upstreams.providers import PROVIDERS, upstream_of


def refuse_unknown_client(settings: Settings, name: str) -> None:
    """Raise `CommandError` for a name that no client has, where clients have names: nobody would find its answers."""
    config = settings.gateway_config()
    names = {*settings.named_keys().values(), *(() if config is None else config.clients)}
    if names and name not in names:
        raise CommandError(f"no client is called {shown(name)} (--client): there is {listed(sorted(names))}")


class AddressBook:
    """Everybody whom a proxy with these settings would ask. Raises `ConfigurationError`."""

    def __init__(self, settings: Settings, environment: Mapping[str, str] = os.environ) -> None:
        self._settings, self._environment = settings, environment
        self.config: GatewayConfig | None = settings.gateway_config(environment)
        self.default: HttpUpstream = default_upstream(settings, environment)

    def by_model(self, model: str | None, path: bytes) -> Addressee:
        """Return who is asked for a model: of a route, the first that may be."""
        entry = None if self.config is None or model is None else self.entries(model)[:1]
        if not entry:
            return Addressee(self.default.target(path, b""))
        [one] = entry
        rewrite = replace(one.rewrite, model=one.model)
        return Addressee(self._contact(one).target(path, b""), rewrite, one.name)

    def entries(self, model: str) -> list[TargetEntry]:
        """Return the targets that a gateway has for what a client calls a model; none where the default provider answers."""
        if self.config is None:
            return []
        name = named_by(self.config, model)
        route = self.config.routes.get(name)
        names = (name,) if route is None else (*route.targets, *route.spares)
        found = [entry_of(self.config, each) for each in names]
        return [entry for entry in found if entry is not None and entry.provider not in self.config.off]

    def by_name(self, name: str, path: bytes, asked: bytes) -> Addressee | None:
        """Return who is called so in records: a target of the gateway, the upstream, a known provider, or a URL.

        It has answered at a `path`, and is `asked` at another one where the request is translated.
        """
        entry = None if self.config is None else entry_of(self.config, name)
        if entry is not None:
            return Addressee(self._contact(entry).target(asked, b""), name=name)
        own = self.default.target(path, b"")
        if own.called(None) == name or (own.recipient.provider and name.startswith(f"{own.recipient.provider}/")):
            return Addressee(self.default.target(asked, b""))
        if name.startswith(("http://", "https://")):
            return Addressee(HttpTarget(name))
        provider = name.partition("/")[0]
        return Addressee(upstream_of(provider).target(asked, b"")) if provider in PROVIDERS else None

    def _contact(self, entry: TargetEntry) -> HttpUpstream:
        if self.config is None or entry.provider not in self.config.providers:
            raise ConfigurationError(f"{entry.name}: no provider is called {entry.provider!r}")
        return contact_of(self.config.providers[entry.provider], self._environment, self._settings.credentials)
