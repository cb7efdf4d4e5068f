"""The order in which the peers of a route are asked: by what is written, by money, by speed, or by the conversation."""

import math
from collections.abc import Callable, Sequence

import msgspec
import xxhash

from cachemw.cache.plans import Bid, Pick
from cachemw.gateway.health import Health
from cachemw.gateway.needs import Needs
from cachemw.money import Price, rates_at
from cachemw.redaction import redacted_repr

EXPLORED = 0.02
"""The share of requests that measure a target that is not the fastest, as far as is known."""

LOYALTY = 0.8
"""Another target has to take less than this share of the time that the preferred one usually takes, to be asked before it.

Else their caches would stay cold. The usual is a median: with what every single answer takes, it would go to and fro.
"""

MILLION = 1_000_000
_DRAW = 2.0**-32


class Runner(msgspec.Struct, frozen=True, gc=False):
    """A target that may be asked now: its `place` in the plan's bids, and its health. `weight` is the operator's."""

    place: int
    bid: Bid
    health: Health
    weight: float = 1.0

    __repr__ = redacted_repr


_Keyed = tuple[float, int, Runner]
"""A key to sort by, the runner's place, and the runner."""


class Outlook(msgspec.Struct, frozen=True):
    """What the order depends on, besides the runners: a request's needs, the mean length of an answer, and what came before.

    `preferred` names the target that was the fastest up to now; `roll` is a random number below 1.
    """

    needs: Needs
    mean_output: float
    preferred: str | None = None
    roll: float = 1.0

    __repr__ = redacted_repr


def ranked(runners: Sequence[Runner], pick: Pick, outlook: Outlook) -> tuple[list[Runner], str | None]:
    """Return the runners in the order of a pick, and the name of who is preferred from now on.

    One of those that are probed keeps its place, the others come last. So the first request after a cooldown finds out whether
    it is over, where the target is wanted at all; and no request waits for two such targets before one that is known to answer.
    """
    in_order, preferred = _ORDERS[pick](runners, outlook) if runners else ([], outlook.preferred)
    probes = [runner for runner in in_order if runner.health.readiness == "probe"]
    if len(probes) < 2:
        return in_order, preferred
    return [one for one in in_order if one not in probes[1:]] + probes[1:], preferred


def expected_cost(price: Price | None, input_tokens: int, output_tokens: int) -> float:
    """Return what a request probably costs, in millionths of nano-dollars; infinite where the price is not known."""
    if price is None:
        return math.inf
    rates = rates_at(price, input_tokens) if price.tiers else price.rates
    return input_tokens * rates.input_rate + output_tokens * rates.output_rate


_Ranking = tuple[list[Runner], str | None]


def _as_written(runners: Sequence[Runner], outlook: Outlook) -> _Ranking:
    return list(runners), outlook.preferred


def _by_cost(runners: Sequence[Runner], outlook: Outlook) -> _Ranking:
    """Cheapest first; whose price is not known comes last."""
    needs, tokens = outlook.needs, outlook.needs.input_tokens
    output = math.ceil(min(needs.max_tokens or math.inf, outlook.mean_output)) * needs.choices
    costs = [(expected_cost(runner.bid.price, tokens, output), runner.place, runner) for runner in runners]
    return _sorted(costs), outlook.preferred


def _sorted(keyed: list[_Keyed]) -> list[Runner]:
    """Return runners by their keys, and as they are written where those are the same."""
    keyed.sort()  # no two have the same place, so that nobody compares runners
    return [runner for _, _, runner in keyed]


def _by_speed(runners: Sequence[Runner], outlook: Outlook) -> _Ranking:
    """Fastest first; now and then another one, to see how fast it is today."""
    in_order, preferred = _by_time(runners, outlook)
    if outlook.roll >= EXPLORED or len(in_order) < 2 or not _is_known(in_order[0].health):
        return in_order, preferred
    explored = 1 + int(outlook.roll / EXPLORED * (len(in_order) - 1))
    return [in_order[explored], *in_order[:explored], *in_order[explored + 1 :]], preferred


def _by_time(runners: Sequence[Runner], outlook: Outlook) -> _Ranking:
    """Fastest first, by what each is busy with; but the preferred one leads them while it is nearly so.

    Who is preferred from now on does not depend on what they are busy with: that is over in a moment.
    """
    busy, known = _timed(runners, outlook.mean_output)
    preferred = min(known)[2].bid.name if known else outlook.preferred
    if preferred != outlook.preferred:
        preferred = _led(known, outlook, is_idle=True)[0].bid.name
    return _led(busy, outlook, is_idle=False), preferred


def _timed(runners: Sequence[Runner], tokens: float) -> tuple[list[_Keyed], list[_Keyed]]:
    """Return all runners by the seconds to an answer's end, with what they are busy with, and those that are known, without.

    Who was never measured takes less than no time, to be measured; one request is enough for that.
    """
    busy: list[_Keyed] = []
    known: list[_Keyed] = []
    for runner in runners:
        health = runner.health
        if health.first_token is None:
            busy.append((math.inf if health.busy else -1.0, runner.place, runner))
            continue
        seconds = health.first_token + (tokens / health.rate if health.rate else 0.0)
        busy.append((seconds * (1 + health.busy), runner.place, runner))
        if health.readiness == "ready":
            known.append((seconds, runner.place, runner))
    return busy, known


def _led(timed: list[_Keyed], outlook: Outlook, *, is_idle: bool) -> list[Runner]:
    """Return the runners by their keys, with the preferred one at their head while it is nearly the fastest."""
    in_order = _sorted(timed)
    place = next((place for place, runner in enumerate(in_order) if runner.bid.name == outlook.preferred), 0)
    if place == 0:
        return in_order
    limit = LOYALTY * _usual_wait(timed[place], outlook, is_idle)
    leader = next((faster for faster in range(place) if _may_lead(timed[faster], outlook, is_idle, limit)), place)
    return [in_order[leader], *in_order[:leader], *in_order[leader + 1 :]]


def _may_lead(one: _Keyed, outlook: Outlook, is_idle: bool, limit: float) -> bool:
    """Say whether a target that is faster just now may take the place of the preferred one: it usually is, by far.

    One that failed lately is tried out by one request; it leads when it has shown that it was not for a moment only.
    """
    health = one[2].health
    is_relied_on = not health.is_unproven or health.readiness == "probe"
    return is_relied_on and _usual_wait(one, outlook, is_idle) < limit


def _usual_wait(one: _Keyed, outlook: Outlook, is_idle: bool) -> float:
    """Return the key of a runner, but by what it usually takes, where that is known."""
    health = one[2].health
    if health.usual_first_token is None:
        return one[0]
    rate = health.usual_rate or health.rate
    seconds = health.usual_first_token + (outlook.mean_output / rate if rate else 0.0)
    return seconds if is_idle else seconds * (1 + health.busy)


def _is_known(health: Health) -> bool:
    return health.readiness == "ready" and health.first_token is not None


def _by_conversation(runners: Sequence[Runner], outlook: Outlook) -> _Ranking:
    """By rendezvous: one conversation stays where it is, as long as that is there, and each gets its share of them."""
    digest, log = xxhash.xxh32_intdigest, math.log
    seed = digest(outlook.needs.conversation)
    draws = [
        (-log((digest(one.bid.name.encode(), seed) + 1) * _DRAW) / one.weight if one.weight else math.inf, one.place, one)
        for one in runners
    ]
    return _sorted(draws), outlook.preferred


_ORDERS: dict[Pick, Callable[[Sequence[Runner], Outlook], _Ranking]] = {
    "first": _as_written,
    "cheapest": _by_cost,
    "fastest": _by_speed,
    "weighted": _by_conversation,
    "race": _by_time,
}
