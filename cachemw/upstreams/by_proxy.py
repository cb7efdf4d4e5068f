"""The inner transport of who gives none: it goes straight to a host, or through the proxy that the environment names for it.

A client that is given a transport leaves that to it: without this, a proxy that was obeyed before we came would be passed over.
"""

import threading
from typing import Any

from cachemw.upstreams.proxies import HttpProxy, proxy_for


class ByProxy:
    """One transport for each way that is taken, made on first use."""

    def __init__(self, family: Any, kind: str) -> None:
        self._family, self._kind = family, kind
        self._held: dict[HttpProxy | None, Any] = {}
        self._lock = threading.Lock()

    def _to(self, url: Any) -> Any:
        proxy = proxy_for(str(url))
        with self._lock:
            if proxy not in self._held:
                self._held[proxy] = self._made(proxy)
            return self._held[proxy]

    def _made(self, proxy: HttpProxy | None) -> Any:
        make = getattr(self._family, self._kind)
        return make() if proxy is None else make(proxy=self._family.Proxy(proxy.url, headers=proxy.headers))

    def _taken(self) -> list[Any]:
        """Return the transports, and forget them."""
        with self._lock:
            held, self._held = self._held, {}
        return list(held.values())


class SyncByProxy(ByProxy):
    """That of who does not await."""

    def __init__(self, family: Any) -> None:
        super().__init__(family, "HTTPTransport")

    def handle_request(self, request: Any) -> Any:
        """Answer a request. Raises what the transport raises."""
        return self._to(request.url).handle_request(request)

    def close(self) -> None:
        """Close the transports. May be called twice."""
        for transport in self._taken():
            transport.close()


class AsyncByProxy(ByProxy):
    """That of who awaits."""

    def __init__(self, family: Any) -> None:
        super().__init__(family, "AsyncHTTPTransport")

    async def handle_async_request(self, request: Any) -> Any:
        """Answer a request. Raises what the transport raises."""
        return await self._to(request.url).handle_async_request(request)

    async def aclose(self) -> None:
        """Close the transports. May be called twice."""
        for transport in self._taken():
            await transport.aclose()
