"""Open a gateway's file, and the keys of providers, from where it says that they are."""

import os
import stat
from collections.abc import Callable, Iterator, Mapping
from collections.abc import Set as AbstractSet

from cachemw.errors import ConfigurationError, ConfigurationFaults
from cachemw.gateway.config import OfClients, read_config
from cachemw.gateway.routes import GatewayConfig, ProviderEntry
from cachemw.upstreams.base_urls import refuse_incomplete
from cachemw.upstreams.http import HttpUpstream
from cachemw.upstreams.providers import PROVIDERS, providers_in

LARGEST_CONFIG = 2**22
LARGEST_KEY = 2**14
"""Bytes of a file with a key in it."""


def read_gateway(
    path: str, environment: Mapping[str, str], *, clients: OfClients = "read", keyed: AbstractSet[str] = frozenset()
) -> GatewayConfig:
    """Return what a file says, as `read_config` does. Raises `ConfigurationError`: `ConfigurationFaults` if it can be read."""
    text = read_text(path, LARGEST_CONFIG)
    names = frozenset(name for name, value in environment.items() if value)
    config = read_config(text, path, providers_in(environment), names, clients=clients, keyed=keyed)
    if faults := tuple(_about_base_urls(config, path)):
        raise ConfigurationFaults(faults)
    return config


def provider_key(entry: ProviderEntry, environment: Mapping[str, str]) -> str | None:
    """Return the key of a provider: of the first of its variables that is set, or of its file; `None` where it has none.

    Raises `ConfigurationError` for a file that cannot be read, or that is empty.
    """
    if entry.key_file is None:
        return next((value for name in entry.key_env if (value := environment.get(name))), None)
    key = read_text(os.path.expanduser(entry.key_file), LARGEST_KEY).strip()
    if not key:
        raise ConfigurationError(f"{entry.key_file} is empty: the key of {entry.name} should stand in it")
    return key


def _about_base_urls(config: GatewayConfig, path: str) -> Iterator[str]:
    """Say what is no base URL of an API, of those that are not the providers' own."""
    for entry in config.providers.values():
        row = PROVIDERS.get(entry.name)
        if row is None or row.base_url != entry.base_url:
            try:
                refuse_incomplete(HttpUpstream(entry.base_url).base_url, f"{path}: base_url in [providers.{entry.name}]")
            except ConfigurationError as exc:
                yield str(exc)


def read_text(path: str, largest: int, refuse: Callable[[str, os.stat_result], None] | None = None) -> str:
    """Return what a file says, of so many bytes at most; `refuse` raises for one that must not be read.

    Raises `ConfigurationError`.
    """
    try:
        content = _content(path, largest, refuse)
    except (OSError, ValueError) as exc:  # the latter for a path that can be none
        raise ConfigurationError(f"cannot read {path}: {getattr(exc, 'strerror', None) or exc}") from exc
    if len(content) > largest:
        raise ConfigurationError(f"{path} has more than {largest:,} bytes")
    try:
        return content.decode()
    except UnicodeDecodeError:
        raise ConfigurationError(f"{path} is not UTF-8") from None


def _content(path: str, largest: int, refuse: Callable[[str, os.stat_result], None] | None) -> bytes:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)  # without waiting for who writes to a pipe
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise ConfigurationError(f"{path} is not a file")
        if refuse is not None:
            refuse(path, found)
        with open(descriptor, "rb", closefd=False) as file:
            return file.read(largest + 1)
    finally:
        os.close(descriptor)
