"""Pass an upstream's answer on as it comes, and keep it."""

import contextlib
from collections.abc import Awaitable, Callable, Iterable
from typing import Protocol

import anyio

from cachemw.async_store import AsyncStore
from cachemw.core.messages import Head
from cachemw.core.relay import Emission, Relay
from cachemw.errors import TruncatedResponse, UpstreamError
from cachemw.upstreams.base import Answer, End


class Client(Protocol):
    """Who asked. `write` without `more` ends the body. `left`, where it can be told, returns when nobody is there any more."""

    left: Callable[[], Awaitable[None]] | None

    async def start(self, head: Head) -> None:
        """Send status and header fields."""

    async def write(self, chunk: bytes, more: bool) -> None:
        """Send a piece of the body."""


async def send(client: Client, emissions: Iterable[Emission], last: bool = False) -> None:
    """Send what may leave; `last`: the body ends with it."""
    pending = b""
    for emission in emissions:
        if isinstance(emission, Head):
            await client.start(emission)
        elif pending:
            await client.write(pending, True)
            pending = emission
        else:
            pending = emission
    if pending or last:
        await client.write(pending, not last)


class Relaying:
    """One answer on its way from an upstream to a client. `begin` tells the script of its head, and gives the relay."""

    def __init__(self, client: Client, store: AsyncStore, clock: Callable[[], float], begin: Callable[[Head], Relay]) -> None:
        self.relay: Relay | None = None
        self._client, self._store, self._clock, self._begin = client, store, clock, begin
        self._tasks = anyio.create_task_group()
        self._is_holding = self._has_ended = False
        self._cut: TruncatedResponse | None = None

    async def run(self, answer: Answer) -> None:
        """Relay to the end. Raises `UpstreamError` where no head came, and what a wrapped app raises, as itself."""
        escaped: Exception | None = None
        async with self._tasks:
            with anyio.CancelScope() as here:
                if self._client.left is not None:
                    self._tasks.start_soon(_cancel_when, self._client.left, here)
                try:
                    await answer(self._emit)
                except Exception as exc:  # noqa: BLE001 - raised again below: from in here it would arrive in a group
                    escaped = exc
            self._tasks.cancel_scope.cancel()
        if here.cancelled_caught or (self._client.left is not None and isinstance(escaped, OSError)):
            self._abandon()  # ASGI 2.4 says by OSError what 2.3 said by a message
        else:
            await self._end(escaped)

    async def _emit(self, event: Head | bytes | End) -> None:
        if isinstance(event, Head):
            self.relay = self._begin(event)
            await send(self._client, self.relay.begin())
        elif self.relay is None:
            raise TruncatedResponse("a body without a head")
        elif isinstance(event, End):
            await self._finish(self.relay)
        else:
            await send(self._client, self.relay.feed(event, self._clock()))
            seconds = self.relay.holds_for
            if seconds is not None and not self._is_holding:
                self._is_holding = True
                self._tasks.start_soon(self._release, self.relay, seconds)

    async def _finish(self, relay: Relay) -> None:
        self._has_ended = True
        try:
            put = relay.finish(self._clock())
        except TruncatedResponse as cut:
            self._cut = cut
            return
        fault = None if put is None else await self._store.put(put)
        await send(self._client, relay.close(fault), last=True)

    async def _release(self, relay: Relay, seconds: float) -> None:
        """Send what is held for an end that does not come in time."""
        await anyio.sleep(seconds)
        with anyio.CancelScope(shield=True):
            if not self._has_ended:
                await send(self._client, relay.overdue())

    async def _end(self, escaped: Exception | None) -> None:
        if self._has_ended and self._cut is None:
            if escaped is not None:  # after its answer: a background task's
                raise escaped
            return
        error = self._cut or (escaped if isinstance(escaped, UpstreamError) else _broken(escaped))
        if self.relay is None:
            raise error if escaped is None else escaped
        emissions, is_whole = self.relay.fail(error)
        raises = escaped is not None and not isinstance(escaped, UpstreamError)
        if not (raises and is_whole):
            with contextlib.suppress(OSError):
                await send(self._client, emissions, last=is_whole)
        if raises and escaped is not None:
            raise escaped

    def _abandon(self) -> None:
        if self.relay is not None:
            self.relay.abandon()


def _broken(escaped: Exception | None) -> UpstreamError:
    return TruncatedResponse("it returned before its answer was complete") if escaped is None else UpstreamError("it raised")


async def _cancel_when(left: Callable[[], Awaitable[None]], here: anyio.CancelScope) -> None:
    await left()
    here.cancel()
