"""Read gateway files in tests: the providers there are, and the variables that are set."""

from collections.abc import Set as AbstractSet

from cachemw.gateway.config import OfClients, read_config
from cachemw.gateway.routes import GatewayConfig
from cachemw.upstreams.providers import PROVIDERS

ALL_SET = frozenset(name for provider in PROVIDERS.values() for name in provider.key_variables)


def config_of(
    text: str,
    *,
    variables: AbstractSet[str] = ALL_SET,
    clients: OfClients = "read",
    keyed: AbstractSet[str] = frozenset(),
) -> GatewayConfig:
    """Read a text as the file `F`, where all variables of the known providers are set."""
    return read_config(text, "F", PROVIDERS, variables, clients=clients, keyed=keyed)
