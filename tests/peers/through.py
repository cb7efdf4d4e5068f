"""What the SDKs are made with: a header for the proxy, or a transport of ours. It runs in the environment of every peer."""

import importlib
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from cachemw import DiskStore
from tests.peers.telling import HEADERS, Hits


def sdk_options(
    family: ModuleType, shared: Mapping[str, Any], directory: Path | None, hits: Hits
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return what to make an SDK's client with, without `await` and with it; `family` is `httpx` or `httpx2`."""
    if directory is None:
        return {**shared, "default_headers": HEADERS}, {**shared, "default_headers": HEADERS}
    client, async_client = clients_of(family, directory, hits)
    return {**shared, "http_client": client}, {**shared, "http_client": async_client}


def clients_of(family: ModuleType, directory: Path, hits: Hits) -> tuple[Any, Any]:
    """Return an HTTP client without `await`, and one with it, over one store on disk."""
    transports, store = importlib.import_module(f"cachemw.{family.__name__}"), DiskStore(directory)
    client = family.Client(transport=transports.CacheTransport(store=store), event_hooks={"response": [hits.hear]})
    async_client = family.AsyncClient(
        transport=transports.AsyncCacheTransport(store=store), event_hooks={"response": [hits.hear_async]}
    )
    return client, async_client
