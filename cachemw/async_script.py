"""Run a script: perform what it asks of the store and of the operator, with `await`."""

from collections.abc import Callable
from typing import Any, TypeVar

import anyio
import anyio.to_thread
from anyio.lowlevel import RunVar

from cachemw.async_store import AsyncStore
from cachemw.core.effects import Discard, Effect, Found, GetOrder, Judge, Lookup, Name, Outcome, Script, Secret, resume
from cachemw.core.policy import Policy
from cachemw.errors import CacheError
from cachemw.foreign import name_partition

T = TypeVar("T")

PERFORMED = (Lookup, Judge, Secret, Name, Discard, GetOrder)
"""The effects that take no other request, and no upstream."""


class Performing:
    """One script under way."""

    def __init__(self, script: Script, store: AsyncStore, policy: Policy, clock: Callable[[], float]) -> None:
        self.store, self.policy, self.clock = store, policy, clock
        self._script = script

    async def advance(self, result: Any = None) -> Effect | Outcome:
        """Go on with a result, or a failure, until there is a claim, a forward or an outcome."""
        step = self.resume(result)
        while isinstance(step, PERFORMED):
            try:
                result = await self._perform(step)
            except CacheError as error:
                result = error
            step = self.resume(result)
        return step

    def resume(self, result: Any) -> Effect | Outcome:
        """Go on to the next effect, or to the outcome."""
        return resume(self._script, result)

    async def _perform(self, effect: Lookup | Judge | Secret | Name | Discard | GetOrder) -> Any:
        match effect:
            case Lookup(index):
                return Found(await self.store.get(index), self.clock())
            case Judge(call):
                return await apart(call)
            case Secret():
                return await self.store.secret()
            case Name(request):
                return name_partition(self.policy, request)
            case Discard(index):
                return await self.store.discard(index)
            case GetOrder():
                return await self.store.order()


_ONE: RunVar[anyio.CapacityLimiter] = RunVar("cachemw judge")


async def apart(call: Callable[[], T]) -> T:
    """Call it in a thread, one after the other: of many who ask for one record only the first has it judged.

    Not by the threads an app has for its own work, which may all be waiting for this.
    """
    one = _ONE.get(None)
    if one is None:
        one = anyio.CapacityLimiter(1)
        _ONE.set(one)
    return await anyio.to_thread.run_sync(call, limiter=one)
