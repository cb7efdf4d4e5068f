"""The providers of a gateway as upstreams: each with its URL, its key and what is known of it."""

from collections.abc import Mapping

from cachemw.gateway.files import provider_key
from cachemw.gateway.routes import GatewayConfig, ProviderEntry
from cachemw.upstreams.http import Credentials, HttpUpstream, KeyNeed
from cachemw.upstreams.providers import PROVIDERS, upstream_of


def contacts_of(config: GatewayConfig, environment: Mapping[str, str], credentials: Credentials) -> dict[str, HttpUpstream]:
    """Return the upstream of each provider by its name; the default one is among them. One without a key says so when asked.

    `credentials` says whose are sent, as for `HttpUpstream`. Raises `ConfigurationError`.
    """
    contacts = {name: contact_of(entry, environment, credentials) for name, entry in config.providers.items()}
    if config.default not in contacts:
        contacts[config.default] = upstream_of(config.default, credentials=credentials)
    return contacts


def contact_of(entry: ProviderEntry, environment: Mapping[str, str], credentials: Credentials) -> HttpUpstream:
    """Return a provider as an upstream. Raises `ConfigurationError`."""
    row = PROVIDERS.get(entry.known or "")
    variable = entry.key_env[0] if entry.key_env else ""
    key = provider_key(entry, environment)
    if row is None:
        return HttpUpstream(entry.base_url, api_key=key, credentials=credentials)
    return HttpUpstream(
        entry.base_url,
        api_key=key,
        credentials=credentials,
        provider=entry.known,
        bookkeeping=row.bookkeeping,
        key_needed=KeyNeed(variable, row.open_paths) if variable else None,
        closing=row.closing,
    )
