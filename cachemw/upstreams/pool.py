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

    Nothing is known of what others' transports do while they wait, so only httpx's own is watched.
    """

    def __init__(self, transport: httpx.AsyncBaseTransport, holder: AsyncGenerator[httpx.AsyncBaseTransport, None]) -> None:
        self.transport = transport
        self._holder = holder
        self._room = _room_of(transport)
        self._under_way: dict[object, None] = {}  # in the order they began
        self._has_lost = self._is_retired = False

    @property
    def is_wedged(self) -> bool:
        """Say whether it was seen to have lost connections, and is still in use."""
        return self._has_lost and not self._is_retired

    @contextlib.asynccontextmanager
    async def asked(self, request: httpx.Request) -> AsyncIterator[httpx.Response | None]:
        """Give the answer, closed in the end; `None` where no connection was to be had, so that nothing was sent."""
        turn = object()
        self._under_way[turn] = None
        try:
            response = await self._answer(request, turn)
            try:
                yield response
            finally:
                if response is not None:
                    with anyio.CancelScope(shield=True):
                        await response.aclose()
        finally:
            del self._under_way[turn]
            await self._close_if_over()

    async def aclose(self) -> None:
        """Close it, whoever is under way."""
        self._is_retired = True
        await self._holder.aclose()

    async def retire(self) -> None:
        """Close it as soon as nobody is under way on it."""
        self._is_retired = True
        await self._close_if_over()

    async def _answer(self, request: httpx.Request, turn: object) -> httpx.Response | None:
        if self._room is not None:
            request.extensions["timeout"]["pool"] = WAIT
        try:
            return await self.transport.handle_async_request(request)
        except httpx.PoolTimeout:
            if self._room is None:
                raise
        # Connections are given in the order they are asked for: whoever has one began before.
        self._has_lost = self._has_lost or list(self._under_way).index(turn) < self._room
        return None

    async def _close_if_over(self) -> None:
        if self._is_retired and not self._under_way:
            with anyio.CancelScope(shield=True):
                await self._holder.aclose()


def _room_of(transport: Any) -> int | None:
    """Return how many connections httpx's own transport has at most; `None` for any other."""
    if not isinstance(transport, httpx.AsyncHTTPTransport):
        return None
    return getattr(transport._pool, "_max_connections", 1)  # at least one: then nobody at all began before
