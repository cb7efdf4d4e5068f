"""Routes, targets and their health, for tests of plans."""

from collections.abc import Mapping
from typing import Any

from cachemw.cache.plans import Bid, Pick, Plan
from cachemw.gateway.health import Health
from cachemw.gateway.needs import NO_NEEDS
from cachemw.gateway.plan import Circumstances, Contender, contenders_of, plan_of
from cachemw.gateway.routes import RouteEntry
from cachemw.messages import HttpTarget
from cachemw.money import Price, Rates

NOW = 1000.0
AT = Circumstances(NOW)
Healths = Mapping[str, Health]


def bid(name: str, price: Price | None = None) -> Bid:
    """Return a bid of this name."""
    return Bid(name, HttpTarget(f"https://{name.partition('/')[0]}.example/v1/chat/completions"), price=price)


def dollars(rate: int) -> Price:
    """Return a price of so many nano-dollars a million tokens, whichever way they go."""
    return Price(Rates(rate, rate))


def cast_of(route: RouteEntry, **prices: int) -> tuple[Contender, ...]:
    """Return the contenders of a route whose targets are called by single letters."""
    named = (*route.targets, *route.spares)
    return contenders_of(route, {name: bid(name, dollars(prices[name]) if name in prices else None) for name in named}, {})


def measured(first_token: float, *, busy: int = 0, rate: float | None = None) -> Health:
    """Return the health of a target that answers in so many seconds."""
    p50 = first_token
    return Health(first_token=first_token, rate=rate, busy=busy, quantiles=(p50, p50 * 2, p50 * 3, p50 * 4))


def cooling(seconds: float, why: str = "rate") -> Health:
    """Return the health of a target that is left alone for so many seconds."""
    return Health("cooling", NOW + seconds, why, first_token=0.1)


def probed(first_token: float | None = None) -> Health:
    """Return the health of a target whose cooldown is over, which nobody has asked since."""
    return Health("probe", NOW - 1, "broken", first_token=first_token)


def planned(pick: Pick, healths: Healths, circumstances: Circumstances = AT, **told: Any) -> Plan:
    """Return the plan of a route with the targets a, b and c, and the spares y and z."""
    route = RouteEntry("auto", ("a", "b", "c"), ("y", "z"), pick=pick)
    return plan_of(route, cast_of(route, c=1, b=2, y=0), NO_NEEDS, healths, circumstances, **told)


def asked(plan: Plan) -> str:
    """Return the names of those that are asked, in order."""
    return "".join([plan.bids[place].name for place in plan.order])
