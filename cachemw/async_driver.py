"""Perform what the script asks, with `await`."""

import contextlib
import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

from cachemw.async_relay import Client, Relaying, send
from cachemw.async_store import AsyncStore
from cachemw.core.conclusion import conclude
from cachemw.core.effects import (
    Arrived,
    Claim,
    Claimed,
    Discard,
    Effect,
    Failed,
    Forward,
    Found,
    Lookup,
    Name,
    Outcome,
    Script,
    Secret,
    Serve,
    Unacceptable,
    Unsatisfiable,
)
from cachemw.core.messages import Head
from cachemw.core.policy import Policy
from cachemw.core.relay import Relay
from cachemw.core.report import ExchangeReport, Hook
from cachemw.core.selection import Verified
from cachemw.errors import CacheError, UpstreamError
from cachemw.flights import Flights
from cachemw.foreign import name_partition, tell
from cachemw.stores.base import Store
from cachemw.upstreams.base import Answer, Forwarding

PERFORMED = (Lookup, Secret, Name, Discard, Claim)
"""The effects that are over when they have been performed; `Forward` is not."""


class AsyncDriver:
    """Runs scripts against a store, any number of them at once."""

    def __init__(
        self, store: Store, policy: Policy, *, hooks: Iterable[Hook] = (), clock: Callable[[], float] = time.time
    ) -> None:
        self.policy, self.hooks, self.clock = policy, tuple(hooks), clock
        self.store, self.flights, self.verified = AsyncStore(store), Flights(), Verified()

    async def run(self, script: Script, forwarding: Forwarding, client: Client) -> None:
        """Answer one request. Raises only what a wrapped app raises."""
        run = _Run(self, script, client)
        try:
            step = await run.advance()
            if isinstance(step, Forward):
                await run.relay(forwarding(step.recorded))
            else:
                await run.conclude(step)
        finally:
            if run.lead is not None:
                self.flights.land(run.lead)
            if run.report is not None:
                tell(self.hooks, run.report)


class _Run:
    """One script under way."""

    def __init__(self, driver: AsyncDriver, script: Script, client: Client) -> None:
        self.lead: Claim | None = None
        self.report: ExchangeReport | None = None
        self._driver, self._script, self._client = driver, script, client

    async def advance(self) -> Effect | Outcome:
        """Perform effects until the upstream is to be asked, or there is an outcome."""
        step = self._resume(None)
        while isinstance(step, PERFORMED):
            try:
                result = await self._perform(step)
            except CacheError as error:
                result = error
            step = self._resume(result)
        return step

    async def _perform(self, effect: Secret | Name | Lookup | Discard | Claim) -> Any:
        driver = self._driver
        match effect:
            case Lookup(index):
                return Found(await driver.store.get(index), driver.clock())
            case Secret():
                return await driver.store.secret()
            case Name(request):
                return name_partition(driver.policy, request)
            case Discard(index):
                return await driver.store.discard(index)
            case Claim():
                claimed = await driver.flights.claim(effect, driver.policy.patience)
                self.lead = effect if claimed is Claimed.LEAD else None
                return claimed

    def _resume(self, result: Any) -> Effect | Outcome:
        try:
            return self._script.throw(result) if isinstance(result, CacheError) else self._script.send(result)
        except StopIteration as stop:
            outcome: Outcome = stop.value
            return outcome

    async def relay(self, answer: Answer) -> None:
        """Pass the upstream's answer on; where none begins, the script says what is said instead."""
        relaying = Relaying(self._client, self._driver.store, self._driver.clock, self._arrived)
        try:
            await relaying.run(answer)
            if relaying.relay is None:
                self.report = self._left_early()
        except UpstreamError as error:
            await self.conclude(self._resume(error))
        finally:
            if relaying.relay is not None:
                self.report = relaying.relay.report

    def _left_early(self) -> ExchangeReport | None:
        """Return the report of an exchange whose client left before there was a head."""
        said = self._resume(UpstreamError("there is nobody to tell"))
        return replace(said.report, details=("client-left",)) if isinstance(said, Failed) and said.report else None

    def _arrived(self, head: Head) -> Relay:
        outcome = self._resume(Arrived(head, self._driver.clock()))
        assert isinstance(outcome, Relay)  # noqa: S101 - a head that has come is passed on
        return outcome

    async def conclude(self, outcome: Effect | Outcome) -> None:
        """Send an answer that needs no upstream any more."""
        assert isinstance(outcome, Serve | Unsatisfiable | Failed | Unacceptable)  # noqa: S101
        self.report = outcome.report
        with contextlib.suppress(OSError):  # the client left, as ASGI 2.4 says it
            await send(self._client, conclude(outcome), last=True)
