"""Plan a routed request: who may answer it, who is asked, in which order, and when nobody is."""

import math
from collections.abc import Mapping, Sequence
from typing import Literal

import msgspec

from cachemw.cache.plans import NO_HEDGE, Bid, Closed, Hedge, Pick, Plan
from cachemw.endpoints.errors import Refusal
from cachemw.gateway.failure_kinds import FailureKind
from cachemw.gateway.health import Health
from cachemw.gateway.needs import NO_NEEDS, Lacks, Needs, can_take, lack_of, param_of
from cachemw.gateway.ranking import MILLION, Outlook, Runner, expected_cost, ranked
from cachemw.gateway.routes import RouteEntry
from cachemw.gateway.wishes import NO_WISHES, Wishes
from cachemw.redaction import redacted_repr
from cachemw.routing import Tried

LONGEST_WAIT = 2.0
"""The seconds that a request waits for the end of a cooldown, where nobody else can answer."""

RACERS = 3

_NO_LACKS = Lacks()
_UNTRIED = Health()
_UNREACHED = FailureKind.UNREACHABLE.value
_RATES = frozenset({FailureKind.RATE.value, FailureKind.QUOTA.value})
_SAID_BY_ITSELF = frozenset({FailureKind.AUTH.value, FailureKind.NO_MODEL.value})
_MEAN_OUTPUT = 400.0
_INVALID = "invalid_request_error"
_PERCENTILES = ("p50", "p90", "p95", "p99")


class Contender(msgspec.Struct, frozen=True):
    """A target or a spare of a route, as far as it is the same for every request: its bid, and what it lacks."""

    bid: Bid
    lacks: Lacks = _NO_LACKS
    is_spare: bool = False
    weight: float = 1.0

    __repr__ = redacted_repr


class Circumstances(msgspec.Struct, frozen=True):
    """What is known at the time of a plan. `now` is in monotonic seconds, `roll` a random number below 1.

    `preferred` is what the last plan of the route said, `mean_output` how many tokens its answers have; `may_hedge`: the share
    of requests that may be hedged is not used up.
    """

    now: float
    roll: float = 1.0
    preferred: str | None = None
    may_hedge: bool = True
    mean_output: float = _MEAN_OUTPUT

    __repr__ = redacted_repr


def contenders_of(route: RouteEntry, bids: Mapping[str, Bid], lacks: Mapping[str, Lacks]) -> tuple[Contender, ...]:
    """Return the contenders of a route that can be asked at all, in the written order: who is not among the bids is off."""
    weights = dict(zip(route.targets, route.weights, strict=False))
    named = [(name, False) for name in route.targets] + [(name, True) for name in route.spares]
    found = [
        Contender(bids[name], lacks.get(name, _NO_LACKS), is_spare, weights.get(name, 1.0))
        for name, is_spare in named
        if name in bids
    ]
    return _in_tiers(found, route.pick)


def plan_of(
    route: RouteEntry,
    contenders: Sequence[Contender],
    needs: Needs,
    healths: Mapping[str, Health],
    circumstances: Circumstances,
    *,
    wishes: Wishes = NO_WISHES,
) -> Plan:
    """Return the plan of a request for a route. `healths` are by names of targets; one that is not there was never asked."""
    pick, detail = _pick_of(route, wishes, circumstances)
    if (pick == "first") is not (route.pick == "first"):
        contenders = _in_tiers(contenders, pick)
    eligible = _eligible(route, contenders, needs, wishes, circumstances)
    if isinstance(eligible, Plan):
        return msgspec.structs.replace(eligible, preferred=circumstances.preferred)
    ready, standing_by, cold = _by_readiness(eligible, healths)
    outlook = Outlook(needs, circumstances.mean_output, circumstances.preferred, circumstances.roll)
    peers, preferred = ranked(ready, pick, outlook)
    spares, _ = ranked(standing_by, "first", outlook)
    plan = Plan(
        tuple([one.bid for one in eligible]),
        tuple([runner.place for runner in (*peers, *spares)]),
        route=route.name,
        pick=pick,
        on_refusal=route.on_refusal,
        hedge=_hedge_of(route, pick, wishes, circumstances, peers),
        first_token=route.first_token,
        answer=route.answer,
        deadline=wishes.deadline,
        tried=tuple([_cooling(runner, circumstances.now) for runner in cold]),
        detail=detail,
        preferred=outlook.preferred if _is_left_out(outlook.preferred, contenders, eligible) else preferred,
    )
    return plan if plan.order else _soonest(plan, cold, circumstances.now)


def _by_readiness(
    eligible: Sequence[Contender], healths: Mapping[str, Health]
) -> tuple[list[Runner], list[Runner], list[Runner]]:
    """Return the targets that may be asked now, the spares that may be, and all that are cooling."""
    peers: list[Runner] = []
    spares: list[Runner] = []
    cold: list[Runner] = []
    for place, one in enumerate(eligible):
        health = healths.get(one.bid.name, _UNTRIED)
        chosen = cold if health.readiness == "cooling" else spares if one.is_spare else peers
        chosen.append(Runner(place, one.bid, health, one.weight))
    return peers, spares, cold


def plan_of_one(
    bid: Bid,
    health: Health,
    circumstances: Circumstances,
    *,
    needs: Needs = NO_NEEDS,
    wishes: Wishes = NO_WISHES,
    is_callers: bool = False,
) -> Plan:
    """Return the plan of a request for a target that was named, or for the default.

    It is asked with all that it may lack, for that is what its name says. A cooldown closes it only to our own credential, and
    not where it says more plainly itself what is wrong, at no cost.
    """
    plan = Plan((bid,), (0,), deadline=wishes.deadline)
    if wishes.only is not None and bid.name not in wishes.only:
        return _refused(_nobody_left("only does not name the target that is asked for", wishes))
    if _is_dear(bid, needs, wishes, circumstances):
        return _too_dear((bid,), None)
    if health.readiness != "cooling" or is_callers or health.why in _SAID_BY_ITSELF:
        return plan
    return _soonest(plan, [Runner(0, bid, health)], circumstances.now)


def _in_tiers(contenders: Sequence[Contender], pick: Pick) -> tuple[Contender, ...]:
    """Return the contenders with the tiers of a pick: peers share one, unless they are asked first to last; spares never do."""
    tier = -1
    found = []
    for contender in contenders:
        tier = tier + 1 if pick == "first" or contender.is_spare else 0
        bid = msgspec.structs.replace(contender.bid, tier=tier)
        found.append(msgspec.structs.replace(contender, bid=bid))
    return tuple(found)


def _pick_of(route: RouteEntry, wishes: Wishes, circumstances: Circumstances) -> tuple[Pick, str | None]:
    """Return how the first one is picked, and what is not obeyed: a wish costs nobody a race that he did not allow."""
    pick = wishes.pick or route.pick
    if pick == "race" and route.pick != "race" and not (route.hedge and circumstances.may_hedge):
        return "fastest", NO_HEDGE
    wants_hedge = wishes.hedge is not None and wishes.hedge is not False
    return pick, NO_HEDGE if wants_hedge and not (route.hedge or pick == "race") else None


def _eligible(
    route: RouteEntry, contenders: Sequence[Contender], needs: Needs, wishes: Wishes, circumstances: Circumstances
) -> Sequence[Contender] | Plan:
    """Return who may be asked, or what the client is told where that is nobody."""
    wanted = [one for one in contenders if _is_wanted(one, wishes)] if wishes is not NO_WISHES else contenders
    if not wanted:
        return _refused(_nobody_left(f"nothing is left of the route {route.name}", wishes), route.name)
    able = [one for one in wanted if can_take(needs, one.lacks)]
    if not able:
        return _refused(_nobody_takes([lack_of(needs, one.lacks) for one in wanted], route.name), route.name)
    affordable = (
        able if wishes.max_cost is None else [one for one in able if not _is_dear(one.bid, needs, wishes, circumstances)]
    )
    return affordable or _too_dear(tuple([one.bid for one in able]), route.name)


def _is_wanted(contender: Contender, wishes: Wishes) -> bool:
    if contender.is_spare and not wishes.spares:
        return False
    return wishes.only is None or contender.bid.name in wishes.only


def _is_dear(bid: Bid, needs: Needs, wishes: Wishes, circumstances: Circumstances) -> bool:
    """Say whether a request may cost more than is wished; so it may where the price is not known."""
    if wishes.max_cost is None:
        return False
    output = needs.max_tokens if needs.max_tokens is not None else math.ceil(circumstances.mean_output)
    return expected_cost(bid.price, needs.input_tokens, output * needs.choices) > wishes.max_cost * MILLION


def _hedge_of(
    route: RouteEntry, pick: Pick, wishes: Wishes, circumstances: Circumstances, peers: Sequence[Runner]
) -> Hedge | None:
    """Return when a peer is asked beside the first one; spares never are, for who is slow may yet answer."""
    if len(peers) < 2 or wishes.hedge is False:
        return None
    wished = None if wishes.hedge is None or wishes.hedge is True else wishes.hedge
    if pick == "race":
        return Hedge(wished or 0.0, min(RACERS, len(peers)))
    if route.hedge is None or not circumstances.may_hedge:
        return None
    after = wished if wished is not None else _after(route.hedge.after, peers[0].health)
    return None if after is None else Hedge(after)


def _after(after: float | Literal["p50", "p90", "p95", "p99"], health: Health) -> float | None:
    """Return the seconds, or what a percentile of the last answers took; `None` where there are too few to know."""
    if not isinstance(after, str):
        return after
    return None if health.quantiles is None else health.quantiles[_PERCENTILES.index(after)]


def _is_left_out(name: str | None, contenders: Sequence[Contender], eligible: Sequence[Contender]) -> bool:
    """Say whether a request could not have gone to the preferred target, so that it says nothing of who that is."""
    if len(eligible) == len(contenders) or any(one.bid.name == name for one in eligible):
        return False
    return any(one.bid.name == name for one in contenders)


def _soonest(plan: Plan, runners: Sequence[Runner], now: float) -> Plan:
    """Return the plan where all are cooling: the one that is so for the shortest time is waited for, else nobody is asked.

    One that could not be reached is asked at once: that costs nothing, and shows at once when our own network is back.
    """
    unreached = [runner for runner in runners if runner.health.why == _UNREACHED]
    soonest = min(unreached or runners, key=lambda runner: runner.health.until)
    seconds = 0.0 if unreached else max(0.0, soonest.health.until - now)
    if seconds <= min(LONGEST_WAIT, math.inf if plan.deadline is None else plan.deadline):
        others = tuple([one for one in plan.tried if one.name != soonest.bid.name])
        return msgspec.structs.replace(plan, order=(soonest.place,), hedge=None, waits=seconds, tried=others)
    tried = tuple([_cooling(runner, now) for runner in runners])
    closed = Closed(_cooling_refusal(plan.route, soonest.health.why, seconds), seconds, is_outage=True)
    return msgspec.structs.replace(plan, order=(), hedge=None, tried=tried, closed=closed)


def _cooling(runner: Runner, now: float) -> Tried:
    return Tried(runner.bid.name, runner.health.why, cooling=max(0.0, runner.health.until - now))


def _cooling_refusal(route: str | None, why: str, seconds: float) -> Refusal:
    who = "the target" if route is None else f"every target of the route {route}"
    message = f"{who} is cooling after failures ({why}): try again in {math.ceil(seconds)} seconds"
    return Refusal(429 if why in _RATES else 503, message, code="no_target_ready")


def _nobody_left(what: str, wishes: Wishes) -> Refusal:
    param = "spares" if wishes.only is None else "only"
    return Refusal(400, f"Cachemw-Route leaves nobody to ask: {what}", _INVALID, param, "invalid_cachemw_route")


def _nobody_takes(missing: Sequence[frozenset[str]], route: str) -> Refusal:
    """Return the 400 that names the member that nobody takes; the first target's, where each of them lacks another one."""
    lack = min(frozenset.intersection(*missing) or missing[0])
    what = "has room for this request" if lack == "context" else f"takes {param_of(lack)} as this request has it"
    return Refusal(400, f"no target of the route {route} {what}", _INVALID, param_of(lack), "no_capable_target")


def _too_dear(bids: tuple[Bid, ...], route: str | None) -> Plan:
    """Return the plan of a request that costs too much everywhere; what is stored costs nothing, and may answer."""
    message = "no target is known to answer this request for max-cost or less"
    refusal = Refusal(402, message, _INVALID, "max-cost", "max_cost")
    return Plan(bids, (), route=route, closed=Closed(refusal))


def _refused(refusal: Refusal, route: str | None = None) -> Plan:
    return Plan((), (), route=route, closed=Closed(refusal))
