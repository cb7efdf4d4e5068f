"""A response cache for OpenAI-style chat completions."""

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
from cachemw.limits import Limits, Timeouts
from cachemw.report import ExchangeReport, Hook
from cachemw.stores import DiskStore, FileStore, MemoryStore, Store

__all__ = [
    "CacheError",
    "ConfigurationError",
    "DiskStore",
    "ExchangeReport",
    "FileStore",
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
