"""The gateway of a proxy: made of the file with the settings, beside the store that keeps its accounts and its ledger."""

from cachemw.gateway.accounts import Accounts, FileAccounts
from cachemw.gateway.upstream import Gateway
from cachemw.proxy.settings import Settings
from cachemw.stores import DiskStore, Store


def gateway_of(settings: Settings, store: Store) -> Gateway | None:
    """Return the gateway, `None` where the file has no tables for one; nothing is opened. Raises `ConfigurationError`."""
    config = settings.gateway_config()
    if config is None:
        return None
    return Gateway(config, credentials="lend" if settings.demands_keys else "pass", accounts=_accounts_beside(store))


def _accounts_beside(store: Store) -> Accounts | None:
    """Return accounts that all workers share."""
    return FileAccounts(store.path) if isinstance(store, DiskStore) else None
