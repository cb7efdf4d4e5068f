"""A response cache and gateway for the APIs of language models.

PYTEST_DONT_REWRITE: our plugin has pytest look through this package, which asserts nothing that a test could want to see.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cachemw.cache.policy import Policy
    from cachemw.errors import (
        CacheError,
        ConfigurationError,
        PartitionError,
        RecordError,
        StoreError,
        TruncatedResponse,
        UpstreamError,
        UpstreamTimeout,
    )
    from cachemw.gateway.upstream import Gateway
    from cachemw.limits import Limits, Timeouts
    from cachemw.report import ExchangeReport, Hook
    from cachemw.stores import DiskStore, FileStore, MemoryStore, Store

__all__ = [
    "CacheError",
    "ConfigurationError",
    "DiskStore",
    "ExchangeReport",
    "FileStore",
    "Gateway",
    "Hook",
    "Limits",
    "MemoryStore",
    "PartitionError",
    "Policy",
    "RecordError",
    "Store",
    "StoreError",
    "Timeouts",
    "TruncatedResponse",
    "UpstreamError",
    "UpstreamTimeout",
]
__version__ = "0.1.0"

_HOMES = (
    "cachemw.errors",
    "cachemw.limits",
    "cachemw.report",
    "cachemw.cache.policy",
    "cachemw.stores",
    "cachemw.gateway.upstream",
)


if not TYPE_CHECKING:  # who checks types is told above which names there are

    def __getattr__(name: str) -> object:
        """Import a public name where it is first used: pytest loads our plugin in every run, and nothing else then."""
        if name in __all__:
            for home in map(import_module, _HOMES):
                if hasattr(home, name):
                    globals()[name] = value = getattr(home, name)
                    return value
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
