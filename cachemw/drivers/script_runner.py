"""Run a script in an event loop, up to what takes another request or an upstream."""

from collections.abc import Callable
from typing import Any, TypeVar

import anyio
import anyio.to_thread
from anyio.lowlevel import RunVar

from cachemw.cache.effects import (
    AskPartition,
    DeleteRecord,
    Effect,
    Found,
    GetOrder,
    Lookup,
    Ordered,
    Outcome,
    ReadSecret,
    RunInThread,
    Script,
    resume,
)
from cachemw.cache.policy import Policy
from cachemw.drivers.hooks import name_partition
from cachemw.errors import CacheError
from cachemw.stores.guard import AsyncStore

T = TypeVar("T")

PERFORMED = (Lookup, RunInThread, ReadSecret, AskPartition, DeleteRecord, GetOrder)
"""The effects that take no other request, and no upstream."""


class ScriptRunner:
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

    async def _perform(self, effect: Lookup | RunInThread | ReadSecret | AskPartition | DeleteRecord | GetOrder) -> Any:
        match effect:
            case Lookup(index):
                return Found(await self.store.get(index), self.clock())
            case RunInThread(call):
                return await apart(call)
            case ReadSecret():
                return await self.store.secret()
            case AskPartition(request):
                return name_partition(self.policy, request)
            case DeleteRecord(indexes):
                return await self.store.discard(*indexes)
            case GetOrder():
                return Ordered(await self.store.order(), self.clock())


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
