"""How long one call of a function takes."""

from collections.abc import Callable, Sequence
from statistics import median
from time import perf_counter

from benchmarks.plan import Plan

Elapsed = Callable[[int], float]
"""Makes so many calls, and returns the seconds they took."""


def seconds_per_call(call: Callable[[], object], plan: Plan) -> float:
    """Return the median of the rounds; in each it is called as often as fits."""
    return median(in_turn([timed(call)], plan)[0])


def in_turn(measured: Sequence[Elapsed], plan: Plan) -> list[tuple[float, ...]]:
    """Return the seconds a call of each takes, round by round. They take turns: what else the machine does, it does to all."""
    counts = [_fitting(elapsed, plan.moment) for elapsed in measured]
    rounds = [[elapsed(calls) / calls for elapsed, calls in zip(measured, counts, strict=True)] for _ in range(plan.rounds)]
    return list(zip(*rounds, strict=True))


def _fitting(elapsed: Elapsed, seconds: float) -> int:
    calls = 1
    while (taken := elapsed(calls)) < seconds / 4:
        calls *= 2
    return max(1, int(calls * seconds / taken))


def timed(call: Callable[[], object], clock: Callable[[], float] = perf_counter) -> Elapsed:
    """Return what calls it so many times, and says how long that took by this clock."""

    def elapsed(calls: int) -> float:
        began = clock()
        for _ in range(calls):
            call()
        return clock() - began

    return elapsed
