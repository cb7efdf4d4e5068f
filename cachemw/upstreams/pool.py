"""A transport and who is under way on it: one whose pool has lost connections is told from one that is only full.

httpx's own loses a connection for good wherever a request is cancelled that was just given one (httpcore#1093).
"""

import contextlib
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any

import anyio
import httpx

WAIT = 1.0
"""Seconds that a request waits for a connection before it is seen whether there can be one."""


class Pool:
    """One transport, which `holder` closes.

    Requests go in their turn to httpx's own, as many at a time as it has connections: one that gets none then has lost some.
    Nothing is known of what others' transports do while they wait.
    """

    def __init__(self, transport: httpx.AsyncBaseTransport, holder: AsyncGenerator[httpx.AsyncBaseTransport, None]) -> None:
        self.transport = transport
        self._holder = holder
        room = _room_of(transport)
        self._places = None if room is None else anyio.Semaphore(room)
        self._under_way = 0
        self._has_lost = self._is_retired = False

    @property
    def is_wedged(self) -> bool:
        """Say whether it was seen to have lost connections, and is still in use."""
        return self._has_lost and not self._is_retired

    @contextlib.asynccontextmanager
    async def asked(self, request: httpx.Request) -> AsyncIterator[httpx.Response | None]:
        """Give the answer, closed in the end; `None` where no connection was to be had, so that nothing was sent."""
        self._under_way += 1
        try:
            async with self._places or contextlib.nullcontext():
                response = await self._answer(request)
                try:
                    yield response
                finally:
                    if response is not None:
                        with anyio.CancelScope(shield=True):
                            await response.aclose()
        finally:
            self._under_way -= 1
            await self._close_if_over()

    async def aclose(self) -> None:
        """Close it, whoever is under way."""
        self._is_retired = True
        await self._holder.aclose()

    async def retire(self) -> None:
        """Close it as soon as nobody is under way on it."""
        self._is_retired = True
        await self._close_if_over()

    async def _answer(self, request: httpx.Request) -> httpx.Response | None:
        if self._places is None:
            return await self.transport.handle_async_request(request)
        request.extensions["timeout"]["pool"] = WAIT
        if not self._is_retired:
            with contextlib.suppress(httpx.PoolTimeout):
                return await self.transport.handle_async_request(request)
            self._has_lost = True
        return None

    async def _close_if_over(self) -> None:
        if self._is_retired and not self._under_way:
            with anyio.CancelScope(shield=True):
                await self._holder.aclose()


def _room_of(transport: Any) -> int | None:
    """Return how many connections httpx's own transport has at most; `None` for any other, and over HTTP/2."""
    if not isinstance(transport, httpx.AsyncHTTPTransport) or getattr(transport._pool, "_http2", False):
        return None
    return getattr(transport._pool, "_max_connections", None)
