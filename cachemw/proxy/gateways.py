"""The gateway of a proxy: made of the file with the settings, beside the store that keeps its accounts and its ledger."""

import os
from collections.abc import Mapping

from cachemw.gateway.accounts import Accounts, FileAccounts
from cachemw.gateway.contacts import contact_of
from cachemw.gateway.routes import GatewayConfig
from cachemw.gateway.upstream import Gateway
from cachemw.proxy.settings import Settings
from cachemw.stores import DiskStore, Store
from cachemw.upstreams import HttpUpstream


def gateway_of(settings: Settings, store: Store, config: GatewayConfig | None = None) -> Gateway | None:
    """Return the gateway, `None` where the file has no tables for one; nothing is opened. Raises `ConfigurationError`.

    The file is read, unless it is known what it says.
    """
    config = config or settings.gateway_config()
    if config is None:
        return None
    return Gateway(config, credentials=settings.credentials, accounts=_accounts_beside(store))


def default_upstream(settings: Settings, environment: Mapping[str, str] = os.environ) -> HttpUpstream:
    """Return who answers what no route takes; nothing is opened. Raises `ConfigurationError`."""
    config = settings.gateway_config(environment)
    entry = None if config is None else config.providers.get(settings.upstream)
    return settings.open_upstream() if entry is None else contact_of(entry, environment, settings.credentials)


def _accounts_beside(store: Store) -> Accounts | None:
    """Return accounts that all workers share."""
    return FileAccounts(store.path) if isinstance(store, DiskStore) else None
