"""Perform, in an event loop, the effects of a script that take no other request and no upstream."""

from collections.abc import Callable
from enum import Enum
from functools import partial
from typing import Any, TypeVar

import anyio
import anyio.to_thread
from anyio.lowlevel import RunVar

from cachemw.cache.effects import (
    Account,
    AskPartition,
    AskPlan,
    DeleteRecord,
    Found,
    FoundMany,
    GetAccount,
    GetOrder,
    Lookup,
    LookupMany,
    Ordered,
    ReadSecret,
    RunInThread,
)
from cachemw.cache.plans import Planner
from cachemw.cache.policy import Policy
from cachemw.drivers.hooks import name_partition, planned
from cachemw.stores.base import Inline
from cachemw.stores.guard import AsyncStore, GuardedStore

T = TypeVar("T")

OwnEffect = Lookup | LookupMany | RunInThread | ReadSecret | AskPartition | DeleteRecord | GetOrder | GetAccount | AskPlan

INLINE_READS = 16
"""The number of records that an event loop reads at once, of those that it may read itself: others wait meanwhile."""


class Later(Enum):
    """Says that what the script is sent has to be waited for."""

    LATER = "later"


def at_once(effect: OwnEffect, store: GuardedStore, clock: Callable[[], float], planner: Planner | None) -> Any:
    """Return what the script is sent for this, or `LATER`. Raises the `CacheError` that it is thrown.

    A coroutine costs more than the look-up that it would make.
    """
    match effect:
        case Lookup(index) if store.inline is not Inline.NONE:
            return Found(store.inline_get(index), clock())
        case LookupMany(indexes, to_the_end) if store.inline is not Inline.NONE and len(indexes) <= INLINE_READS:
            return FoundMany(store.get_many(indexes, to_the_end=to_the_end), clock())
        case ReadSecret() if store.known_secret:
            return store.known_secret
        case AskPlan():
            return planned(planner, effect)
    return Later.LATER


async def perform(
    effect: OwnEffect, store: AsyncStore, policy: Policy, clock: Callable[[], float], planner: Planner | None
) -> Any:
    """Return what the script is sent for this. Raises the `CacheError` that it is thrown."""
    match effect:
        case Lookup(index):
            return Found(await store.get(index), clock())
        case LookupMany(indexes, to_the_end):
            read = partial(store.guarded.get_many, indexes, to_the_end=to_the_end)
            return FoundMany(await apart(read), clock())
        case RunInThread(call):
            return await apart(call)
        case ReadSecret():
            return await store.secret()
        case AskPartition(request):
            return name_partition(policy, request)
        case DeleteRecord(indexes):
            return await store.discard(*indexes)
        case GetOrder():
            return Ordered(await store.order(), clock())
        case GetAccount(wanted):
            holds = await store.account()
            return Account(holds, await apart(partial(store.guarded.nearest, wanted)))
        case AskPlan():
            return planned(planner, effect)


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
