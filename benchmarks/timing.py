"""How long one call of a function takes."""

from collections.abc import Callable
from statistics import median
from time import perf_counter

from benchmarks.plan import Plan


def seconds_per_call(call: Callable[[], object], plan: Plan) -> float:
    """Return the median of the rounds; in each it is called as often as fits."""
    calls = _fitting(call, plan.moment)
    return median(_elapsed(call, calls) / calls for _ in range(plan.rounds))


def _fitting(call: Callable[[], object], seconds: float) -> int:
    calls = 1
    while (elapsed := _elapsed(call, calls)) < seconds / 4:
        calls *= 2
    return max(1, int(calls * seconds / elapsed))


def _elapsed(call: Callable[[], object], calls: int) -> float:
    began = perf_counter()
    for _ in range(calls):
        call()
    return perf_counter() - began
