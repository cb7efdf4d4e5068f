"""Relay an upstream's response to one client as it comes, and keep nothing of it."""

import contextlib
from collections.abc import Awaitable, Callable, Iterable
from typing import Protocol

import anyio
from msgspec.structs import replace

from cachemw.cache.effects import Effect, Outcome
from cachemw.cache.live_response import Part, Relay
from cachemw.errors import TruncatedResponse
from cachemw.messages import Head
from cachemw.report import ExchangeReport
from cachemw.upstreams.base import as_upstream_error
from cachemw.upstreams.failures import log_failure
from cachemw.upstreams.push import Answer, End


class Client(Protocol):
    """The client of one request. `write` without `more` ends the body; `left` returns when nobody is there any more."""

    def start(self, head: Head) -> Awaitable[None]:
        """Send status and header fields."""

    def write(self, chunk: bytes, more: bool) -> Awaitable[None]:
        """Send a piece of the body."""

    async def left(self) -> None:
        """Wait until the client has left."""


async def send(client: Client, parts: Iterable[Part], last: bool = False) -> None:
    """Send what may leave; `last`: the body ends with it."""
    pending = b""
    for part in parts:
        if isinstance(part, Head):
            await client.start(part)
        elif pending:
            await client.write(pending, True)
            pending = part
        else:
            pending = part
    if pending or last:
        await client.write(pending, not last)


async def cancel_when(left: Callable[[], Awaitable[None]], here: anyio.CancelScope) -> None:
    """Cancel a scope when the client leaves."""
    await left()
    here.cancel()


class _NotWanted(Exception):
    """Ends a response of which nothing is shown: a stored one is better."""


class DirectRelay:
    """A response on its way to one client. `begin` tells the script of its head: a relay, or what is to be sent instead."""

    def __init__(self, client: Client, watches: bool, begin: Callable[[Head], Effect | Outcome]) -> None:
        self.instead: Effect | Outcome | None = None
        self._client, self._watches, self._begin = client, watches, begin
        self._relay: Relay | None = None
        self._was_left = self._has_ended = False

    async def run(self, answer: Answer) -> None:
        """Relay to the end. Raises `UpstreamError` where there is no head, and what a wrapped app raises, as itself."""
        if self._watches:
            escaped = await self._watched(answer)
        else:
            escaped = await self._answered(answer)
        if not self._was_left and self.instead is None:
            await self._end(escaped)

    def report(self, report: ExchangeReport) -> ExchangeReport:
        """Return the report of it; `report` is what was known before."""
        if self._relay is not None:
            report = self._relay.report
        return replace(report, stored=False, details=("client-left", *report.details)) if self._was_left else report

    async def _watched(self, answer: Answer) -> Exception | None:
        escaped: Exception | None = None
        async with anyio.create_task_group() as tasks:
            with anyio.CancelScope() as here:
                tasks.start_soon(cancel_when, self._client.left, here)
                escaped = await self._answered(answer)
            tasks.cancel_scope.cancel()
        self._was_left = here.cancelled_caught or isinstance(escaped, OSError)  # as ASGI 2.3 and 2.4 say it
        return escaped

    async def _answered(self, answer: Answer) -> Exception | None:
        try:
            await answer(self._emit)
        except Exception as exc:  # noqa: BLE001 - raised again: from within a task group it would arrive in another one
            return exc
        return None

    async def _emit(self, event: Head | bytes | End) -> None:
        if isinstance(event, Head):
            begun = self._begin(event)
            if not isinstance(begun, Relay):
                self.instead = begun
                raise _NotWanted
            self._relay = begun
        elif self._relay is None:
            raise TruncatedResponse("a body without a head")
        elif isinstance(event, End):
            self._has_ended = True
        else:
            self._relay.response.feed(event, 0.0)
        await self._send(self._relay)

    async def _send(self, relay: Relay) -> None:
        await send(self._client, relay.take())
        while not relay.has_had_all:
            await send(self._client, relay.take())
        relay.response.forget(relay.at)
        if self._has_ended:
            await send(self._client, relay.finish(), last=not relay.is_cut)

    async def _end(self, escaped: Exception | None) -> None:
        if self._has_ended:
            if escaped is not None:  # after its answer: a background task's
                raise escaped
            return
        error = as_upstream_error(escaped)
        error.status = None if self._relay is None else self._relay.response.head.status
        log_failure(error)
        if self._relay is None:
            raise error if escaped is None else escaped
        self._relay.response.fail(error)
        with contextlib.suppress(OSError):
            await send(self._client, self._relay.broken(error), last=self._relay.comes_whole)
        if escaped is not None and escaped is not error:
            raise escaped
