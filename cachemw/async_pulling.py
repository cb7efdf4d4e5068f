"""`sync_driver`, awaited: answer requests in the task that asks, and no faster than it reads."""

import time
from collections.abc import AsyncIterator, Callable, Iterable
from typing import Any

import anyio

from cachemw.async_script import apart
from cachemw.async_store import AsyncStore
from cachemw.core.effects import Discard, Found, GetOrder, Judge, Lookup, Name, Outcome, Script, Secret
from cachemw.core.errands import Await, Came, Close, Errand, Errands, Open, Opened, Pause, Read, Waited, go_on
from cachemw.core.policy import Policy
from cachemw.core.pull import Landing
from cachemw.core.pulling import Pulling, pulled
from cachemw.core.report import Hook
from cachemw.core.selection import Verified
from cachemw.core.transfer import Put
from cachemw.errors import CacheError
from cachemw.foreign import name_partition, tell
from cachemw.landings import Awaited, LandingsByLoop
from cachemw.stores.base import Store
from cachemw.upstreams.base import AsyncOpening, AsyncSource


class AsyncPullDriver:
    """Runs scripts against a store, any number of them at once, in any number of event loops; starts no task."""

    def __init__(
        self, store: Store, policy: Policy, *, hooks: Iterable[Hook] = (), clock: Callable[[], float] = time.time
    ) -> None:
        self.store, self.policy, self.hooks, self.clock = AsyncStore(store), pulled(policy), tuple(hooks), clock
        self.verified, self.landings = Verified(), LandingsByLoop()

    async def run(self, script: Script, opening: AsyncOpening, timeout: float | None = None) -> "AsyncAnswer":
        """Begin to answer one request, which may have a limit of its own."""
        answer = AsyncAnswer(self, script, opening, timeout)
        await answer.begin()
        return answer


class AsyncAnswer:
    """One answer: its `head`, the `report` as known by then, and its body, which is to be read or closed.

    Iterating raises `UpstreamError` where the answer breaks off.
    """

    def __init__(self, driver: AsyncPullDriver, script: Script, opening: AsyncOpening, timeout: float | None) -> None:
        self._driver, self._opening = driver, opening
        self._pulling = Pulling(script, driver.landings.here(), driver.policy, timeout)
        self._source: AsyncSource | None = None
        self._is_over = False

    async def begin(self) -> None:
        """Find out what the answer is."""
        try:
            self.outcome: Outcome = await self._drive(self._pulling.outcome())
        except BaseException:
            await self.aclose()
            raise
        self._began = anyio.current_time()
        self.report = self.outcome.report
        self.head, self._pieces = self._pulling.answer(self.outcome)

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        try:
            step = go_on(self._pieces, None)
            while not isinstance(step, bytes):
                step = go_on(self._pieces, await self._attempt(step))
        except StopIteration:
            await self.aclose()
            raise StopAsyncIteration from None
        except BaseException:
            await self.aclose()
            raise
        return step

    async def aclose(self) -> None:
        """End it, wherever it is, and tell the hooks. May be called twice."""
        if self._is_over:
            return
        self._is_over = True
        try:
            await self._perform(Close())
        finally:
            if (report := self._pulling.over()) is not None:
                tell(self._driver.hooks, report)

    async def _drive(self, errands: Errands) -> Any:
        result = None
        try:
            while True:
                result = await self._attempt(go_on(errands, result))
        except StopIteration as stop:
            return stop.value
        finally:
            errands.close()

    async def _attempt(self, errand: Errand) -> Any:
        try:
            return await self._perform(errand)
        except CacheError as error:
            return error

    async def _perform(self, errand: Errand) -> Any:
        driver = self._driver
        match errand:
            case Lookup(index):
                return Found(await driver.store.get(index), driver.clock())
            case Judge(call):
                return await apart(call)
            case Secret():
                return await driver.store.secret()
            case Name(request):
                return name_partition(driver.policy, request)
            case Discard(index):
                await driver.store.discard(index)
            case GetOrder():
                return await driver.store.order()
            case Put():
                return await driver.store.put(errand)
            case Open(recorded, rewritten):
                self._source = await self._opening.open(recorded, rewritten)
                return Opened(self._source.head, driver.clock())
            case Read(within):
                return await self._read(within)
            case Close():
                if self._source is not None:
                    with anyio.CancelScope(shield=True):
                        await self._source.aclose()
            case Await(landing, seconds):
                return await self._wait(landing, seconds)
            case Pause(until):
                await anyio.sleep_until(self._began + until)
        return None

    async def _read(self, within: float | None) -> Came:
        assert self._source is not None  # noqa: S101 - it is open
        if within is None:
            return Came(await self._source.read(), self._driver.clock())
        with anyio.move_on_after(within):
            return Came(await self._source.read(), self._driver.clock())
        return Came(None, self._driver.clock(), is_late=True)

    async def _wait(self, landing: Landing, seconds: float) -> Waited:
        assert isinstance(landing, Awaited)  # noqa: S101 - the driver's own
        began = anyio.current_time()
        with anyio.move_on_after(seconds) as patience:
            await landing.over.wait()
        return Waited(anyio.current_time() - began, not patience.cancelled_caught, self._driver.clock())
