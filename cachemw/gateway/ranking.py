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
"""Another target has to take less than this share of the preferred one's time: else their caches stay cold, and it flaps."""

MILLION = 1_000_000
_DRAWS = 2**64


class Runner(msgspec.Struct, frozen=True):
    """A target that may be asked now: its `place` in the plan's bids, and its health. `weight` is the operator's."""

    place: int
    bid: Bid
    health: Health
    weight: float = 1.0

    __repr__ = redacted_repr


class Outlook(msgspec.Struct, frozen=True):
    """What the order depends on, besides the runners: a request's needs, the mean length of an answer, and what came before.

    `preferred` names the target that was the fastest up to now; `roll` is a random number below 1.
    """

    needs: Needs
    mean_output: float
    preferred: str | None = None
    roll: float = 1.0

    __repr__ = redacted_repr


def ranked(runners: Sequence[Runner], pick: Pick, outlook: Outlook) -> list[Runner]:
    """Return the runners in the order of a pick. One of those that are probed keeps its place, the others come last.

    So the first request after a cooldown finds out whether it is over, where the target is wanted at all; and no request
    waits for two such targets before one that is known to answer.
    """
    in_order = _ORDERS[pick](runners, outlook)
    probes = [runner for runner in in_order if runner.health.readiness == "probe"]
    return in_order if len(probes) < 2 else [one for one in in_order if one not in probes[1:]] + probes[1:]


def expected_cost(price: Price | None, input_tokens: int, output_tokens: int) -> float:
    """Return what a request probably costs, in millionths of nano-dollars; infinite where the price is not known."""
    if price is None:
        return math.inf
    rates = rates_at(price, input_tokens) if price.tiers else price.rates
    return input_tokens * rates.input_rate + output_tokens * rates.output_rate


def preferred_among(runners: Sequence[Runner], outlook: Outlook) -> str | None:
    """Return the name of the fastest target that is ready, however busy it is; the preferred one while it is nearly so."""
    timed = [
        (seconds * (LOYALTY if runner.bid.name == outlook.preferred else 1.0), runner.bid.name)
        for runner in runners
        if runner.health.readiness == "ready" and (seconds := _seconds(runner.health, outlook)) is not None
    ]
    return min(timed)[1] if timed else outlook.preferred


def _as_written(runners: Sequence[Runner], _: Outlook) -> list[Runner]:
    return list(runners)


def _by_cost(runners: Sequence[Runner], outlook: Outlook) -> list[Runner]:
    """Cheapest first; whose price is not known comes last."""
    needs, tokens = outlook.needs, outlook.needs.input_tokens
    output = math.ceil(min(needs.max_tokens or math.inf, outlook.mean_output)) * needs.choices
    return _sorted([(expected_cost(runner.bid.price, tokens, output), runner.place, runner) for runner in runners])


def _sorted(keyed: list[tuple[float, int, Runner]]) -> list[Runner]:
    """Return runners by their keys, and as they are written where those are the same."""
    keyed.sort()  # no two have the same place, so that nobody compares runners
    return [runner for _, _, runner in keyed]


def _by_speed(runners: Sequence[Runner], outlook: Outlook) -> list[Runner]:
    """Fastest first; now and then another one, to see how fast it is today."""
    in_order = _by_time(runners, outlook)
    if outlook.roll >= EXPLORED or len(in_order) < 2 or not _is_known(in_order[0].health):
        return in_order
    explored = 1 + int(outlook.roll / EXPLORED * (len(in_order) - 1))
    return [in_order[explored], *in_order[:explored], *in_order[explored + 1 :]]


def _by_time(runners: Sequence[Runner], outlook: Outlook) -> list[Runner]:
    return _sorted([(_wait(runner, outlook), runner.place, runner) for runner in runners])


def _wait(runner: Runner, outlook: Outlook) -> float:
    """Return what an answer's end is waited for, as it is compared. Who was never measured comes first, but for one request."""
    health = runner.health
    seconds = _seconds(health, outlook)
    if seconds is None:
        return math.inf if health.busy else -1.0
    return seconds * (1 + health.busy) * (LOYALTY if runner.bid.name == outlook.preferred else 1.0)


def _seconds(health: Health, outlook: Outlook) -> float | None:
    if health.first_token is None:
        return None
    return health.first_token + (outlook.mean_output / health.rate if health.rate else 0.0)


def _is_known(health: Health) -> bool:
    return health.readiness == "ready" and health.first_token is not None


def _by_conversation(runners: Sequence[Runner], outlook: Outlook) -> list[Runner]:
    """By rendezvous: one conversation stays where it is, as long as that is there, and each gets its share of them."""
    conversation = outlook.needs.conversation
    return _sorted([(_draw(runner, conversation), runner.place, runner) for runner in runners])


def _draw(runner: Runner, conversation: bytes) -> float:
    drawn = xxhash.xxh3_64_intdigest(conversation + runner.bid.name.encode())
    return -math.log((drawn + 1) / _DRAWS) / runner.weight if runner.weight > 0 else math.inf


_ORDERS: dict[Pick, Callable[[Sequence[Runner], Outlook], list[Runner]]] = {
    "first": _as_written,
    "cheapest": _by_cost,
    "fastest": _by_speed,
    "weighted": _by_conversation,
    "race": _by_time,
}
