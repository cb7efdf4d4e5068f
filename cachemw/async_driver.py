"""Answer requests: run their scripts against a store, an upstream and each other."""

import contextlib
import time
from collections.abc import Callable, Iterable

from cachemw.async_flying import Flying, Step, deliver, takes_its_time
from cachemw.async_relay import Client, Relaying
from cachemw.async_script import Performing
from cachemw.async_store import AsyncStore
from cachemw.core.conclusion import Concluded
from cachemw.core.effects import Arrived, Claim, Claimed, Forward, Script
from cachemw.core.messages import Head
from cachemw.core.policy import Policy
from cachemw.core.report import ExchangeReport, Hook
from cachemw.core.selection import Verified
from cachemw.core.transfer import Transfer
from cachemw.errors import UpstreamError
from cachemw.flight import Flight
from cachemw.flights import Flights
from cachemw.foreign import tell
from cachemw.stores.base import Store
from cachemw.upstreams.base import Forwarding


class AsyncDriver:
    """Runs scripts against a store, any number of them at once."""

    def __init__(
        self, store: Store, policy: Policy, *, hooks: Iterable[Hook] = (), clock: Callable[[], float] = time.time
    ) -> None:
        self.policy, self.hooks, self.clock = policy, tuple(hooks), clock
        self.store, self.verified = AsyncStore(store), Verified()
        self.flights: Flights[Flight] = Flights()

    async def run(self, script: Script, forwarding: Forwarding, client: Client) -> None:
        """Answer one request. Raises only what a wrapped app raises."""
        run = _Run(self, Performing(script, self.store, self.policy, self.clock), forwarding, client)
        try:
            await run.answer()
        finally:
            if run.report is not None:
                tell(self.hooks, run.report)


class _Run:
    """One request under way."""

    def __init__(self, driver: AsyncDriver, script: Performing, forwarding: Forwarding, client: Client) -> None:
        self.report: ExchangeReport | None = None
        self._script, self._forwarding, self._client = script, forwarding, client
        self._flights = driver.flights

    async def answer(self) -> None:
        """Answer at once where that is possible; else with the client being watched."""
        step = await self._script.advance()
        if isinstance(step, Claim) and self._flights.here().claim(step) is Claimed.ALONE:
            step = await self._script.advance(Claimed.ALONE)  # nothing to wait for: nobody need be watched
        alone: Forward | None = None
        if isinstance(step, Forward) and step.terms is None:
            alone = step
        elif isinstance(step, Claim | Forward) or takes_its_time(step):
            alone = await self._fly(step)
        else:
            await self._conclude(step)
        if alone is not None:
            await self._relay(alone)

    async def _fly(self, step: Step) -> Forward | None:
        flying = Flying(self._script, self._flights.here(), self._forwarding, self._client)
        try:
            return await flying.run(step)
        finally:
            self.report = flying.report

    async def _relay(self, forward: Forward) -> None:
        """Pass the upstream's answer on; where none begins, the script says what is said instead."""
        relaying = Relaying(self._client, not self._forwarding.hears_client, self._arrived)
        try:
            await relaying.run(self._forwarding.alone(forward.rewritten))
        except UpstreamError as error:
            await self._conclude(await self._script.advance(error))
        else:
            if relaying.instead is not None:
                await self._conclude(relaying.instead)
        finally:
            self.report = relaying.report(forward.said) or self.report

    def _arrived(self, head: Head) -> Step:
        return self._script.resume(Arrived(Transfer(head), self._script.clock()))

    async def _conclude(self, outcome: Step) -> None:
        """Send an answer that needs no upstream any more."""
        assert isinstance(outcome, Concluded)  # noqa: S101
        self.report = outcome.report
        with contextlib.suppress(OSError):  # the client left, as ASGI 2.4 says it
            await deliver(outcome, self._client, self._script.policy.max_replay)
