"""The plan of a routed request: who may be asked, what is said where that is nobody, and what always holds."""

from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cachemw.cache.plans import Hedge, Pick, Plan
from cachemw.gateway.health import Health
from cachemw.gateway.needs import NO_NEEDS, Lacks, Needs, needs_of
from cachemw.gateway.plan import Circumstances, Contender, contenders_of, plan_of, plan_of_one
from cachemw.gateway.routes import HedgeEntry, RouteEntry
from cachemw.gateway.wishes import NO_WISHES, Wishes
from tests.gateway.routing_cases import AT, NOW, Healths, asked, bid, cast_of, cooling, dollars, measured, planned, probed

# Where nobody, or not everybody, may be asked.


@pytest.mark.parametrize(
    ("healths", "status", "waits", "order"),
    [
        ({"a": cooling(1.5), "b": cooling(9)}, None, 1.5, "a"),
        ({"a": cooling(9), "b": cooling(2.0)}, None, 2.0, "b"),
        ({"a": cooling(9), "b": cooling(-1.0)}, None, 0.0, "b"),
        ({"a": cooling(9), "b": cooling(2.5)}, 429, 0.0, ""),
        ({"a": cooling(9, "quota"), "b": cooling(30, "broken")}, 429, 0.0, ""),
        ({"a": cooling(60, "quota"), "b": cooling(30, "broken")}, 503, 0.0, ""),
        ({"a": cooling(60, "auth"), "b": cooling(90, "overload")}, 503, 0.0, ""),
        ({"a": cooling(5), "b": cooling(90, "unreachable")}, None, 0.0, "b"),
        ({"a": cooling(99, "unreachable"), "b": cooling(90, "unreachable")}, None, 0.0, "b"),
    ],
)
def test_where_all_are_cooling_the_soonest_answers_or_it_is_said_when(
    healths: Healths, status: int | None, waits: float, order: str
) -> None:
    """G14, E7: never an error of ours without the time after which it is over."""
    route = RouteEntry("auto", ("a",), ("b",))

    plan = plan_of(route, cast_of(route), NO_NEEDS, healths, AT)

    assert (asked(plan), plan.waits) == (order, waits)
    if status is None:
        assert plan.closed is None
        assert [tried.name for tried in plan.tried] == [name for name in "ab" if name != order]
        return
    assert plan.closed is not None
    assert (plan.closed.refusal.status, plan.closed.refusal.code, plan.closed.is_outage) == (status, "no_target_ready", True)
    assert plan.closed.retry_after == min(health.until - NOW for health in healths.values())
    assert [tried.name for tried in plan.tried] == ["a", "b"]
    assert [one.name for one in plan.bids] == ["a", "b"]  # what they have answered before may still be served


def test_nobody_waits_for_a_target_longer_than_for_the_answer() -> None:
    """G14."""
    plan = planned("first", dict.fromkeys("abcyz", cooling(1.5)), wishes=Wishes(deadline=1.0))

    assert plan.closed is not None
    assert plan.closed.retry_after == 1.5


@pytest.mark.parametrize(
    ("health", "is_callers", "closed", "waits"),
    [
        (Health(), False, None, 0.0),
        (probed(), False, None, 0.0),
        (cooling(1.0), False, None, 1.0),
        (cooling(9.0), False, 429, 0.0),
        (cooling(9.0, "broken"), False, 503, 0.0),
        (cooling(9.0), True, None, 0.0),
        (cooling(9.0, "unreachable"), False, None, 0.0),
        (cooling(9.0, "auth"), False, None, 0.0),
        (cooling(9.0, "no-model"), False, None, 0.0),
    ],
)
def test_a_target_that_was_named_is_asked_unless_our_own_key_is_cooling(
    health: Health, is_callers: bool, closed: int | None, waits: float
) -> None:
    """G14, E7: nobody is refused with a credential of his own, and what is wrong with a model its provider says best."""
    plan = plan_of_one(bid("a/m"), health, AT, is_callers=is_callers)

    assert (None if plan.closed is None else plan.closed.refusal.status) == closed
    assert (plan.order, plan.waits) == (() if closed else (0,), waits)
    assert (plan.route, plan.bids) == (None, (bid("a/m"),))


@pytest.mark.parametrize(
    ("wishes", "closed"),
    [
        (Wishes(only=frozenset({"a/m"}), max_cost=800), None),
        (Wishes(only=frozenset({"b/m"})), (400, "invalid_cachemw_route", "only")),
        (Wishes(max_cost=399), (402, "max_cost", "max-cost")),
    ],
)
def test_a_target_that_was_named_is_held_to_wishes_too(wishes: Wishes, closed: tuple[int, str, str] | None) -> None:
    plan = plan_of_one(bid("a/m", dollars(1_000_000)), Health(), AT, wishes=wishes)

    assert refusal_of(plan) == closed


def refusal_of(plan: Plan) -> tuple[int, str, str | None] | None:
    """Return status, code and param of what the client is told, where nobody is asked."""
    if plan.closed is None:
        return None
    assert (plan.order, plan.closed.is_outage, plan.closed.retry_after) == ((), False, None)
    refusal = plan.closed.refusal
    return refusal.status, refusal.code, refusal.param


@pytest.mark.parametrize(
    ("wishes", "order", "closed"),
    [
        (Wishes(only=frozenset("bz")), "bz", None),
        (Wishes(only=frozenset(["b", "elsewhere"])), "b", None),
        (Wishes(only=frozenset("z")), "z", None),
        (Wishes(spares=False), "abc", None),
        (Wishes(only=frozenset("z"), spares=False), "", (400, "invalid_cachemw_route", "only")),
        (Wishes(only=frozenset(["elsewhere"])), "", (400, "invalid_cachemw_route", "only")),
        (Wishes(max_cost=10**9), "bcy", None),
        (Wishes(max_cost=0), "y", None),
        (Wishes(max_cost=0, spares=False), "", (402, "max_cost", "max-cost")),
    ],
)
def test_wishes_narrow_a_route(wishes: Wishes, order: str, closed: tuple[int, str, str] | None) -> None:
    """E1: what has no known price may cost more than anybody wishes."""
    plan = planned("first", {}, wishes=wishes)

    assert asked(plan) == order
    assert refusal_of(plan) == closed


def test_a_request_that_costs_too_much_everywhere_may_be_answered_by_what_is_stored() -> None:
    plan = planned("first", {}, wishes=Wishes(max_cost=0, spares=False))

    assert [one.name for one in plan.bids] == ["a", "b", "c"]


LOGPROBS = needs_of({"logprobs": True, "n": 2, "max_tokens": 5000})


@pytest.mark.parametrize(
    ("a", "b", "order", "param"),
    [
        (Lacks(), Lacks(ignores=frozenset({"logprobs"})), "a", None),
        (Lacks(refuses=frozenset({"n"})), Lacks(), "b", None),
        (Lacks(context=4000), Lacks(context=8000), "b", None),
        (Lacks(context=4000), Lacks(), "b", None),
        (Lacks(ignores=frozenset({"logprobs", "n"})), Lacks(refuses=frozenset({"logprobs"})), "", "logprobs"),
        (Lacks(refuses=frozenset({"n"})), Lacks(refuses=frozenset({"logprobs"})), "", "n"),
        (Lacks(context=4000), Lacks(context=1), "", "messages"),
    ],
)
def test_a_target_that_cannot_take_a_request_is_not_asked(a: Lacks, b: Lacks, order: str, param: str | None) -> None:
    """G22: one with more room, or of which that is not known, is asked at once, and nobody is cooled for it."""
    route = RouteEntry("auto", ("a", "b"))
    contenders = contenders_of(route, {"a": bid("a"), "b": bid("b")}, {"a": a, "b": b})

    plan = plan_of(route, contenders, LOGPROBS, {}, AT)

    assert asked(plan) == order
    assert refusal_of(plan) == (None if param is None else (400, "no_capable_target", param))
    assert plan.tried == ()


def test_a_target_that_is_off_is_no_candidate() -> None:
    route = RouteEntry("auto", ("a", "b"), weights=(1.0, 2.0))

    assert contenders_of(route, {"b": bid("b")}, {}) == (Contender(bid("b"), weight=2.0),)


# What goes with the bids.


P95 = HedgeEntry("p95")


@pytest.mark.parametrize(
    ("pick", "entry", "wishes", "healths", "hedge", "detail"),
    [
        ("first", None, NO_WISHES, {}, None, None),
        ("first", HedgeEntry(0.8), NO_WISHES, {}, Hedge(0.8), None),
        ("first", P95, NO_WISHES, {"a": measured(2.0)}, Hedge(6.0), None),
        ("first", HedgeEntry("p50"), NO_WISHES, {"a": measured(2.0)}, Hedge(2.0), None),
        ("first", P95, NO_WISHES, {}, None, None),
        ("first", P95, NO_WISHES, {"a": cooling(9), "b": measured(1.0)}, Hedge(3.0), None),
        ("first", P95, NO_WISHES, {"b": cooling(9), "c": cooling(9), "a": measured(1.0)}, None, None),
        ("first", P95, Wishes(hedge=0.3), {}, Hedge(0.3), None),
        ("first", P95, Wishes(hedge=True), {"a": measured(2.0)}, Hedge(6.0), None),
        ("first", P95, Wishes(hedge=False), {"a": measured(2.0)}, None, None),
        ("first", None, Wishes(hedge=0.3), {}, None, "no-hedge"),
        ("first", None, Wishes(hedge=False), {}, None, None),
        ("first", None, Wishes(pick="race"), {}, None, "no-hedge"),
        ("first", P95, Wishes(pick="race"), {}, Hedge(0.0, 3), None),
        ("race", None, NO_WISHES, {}, Hedge(0.0, 3), None),
        ("race", None, NO_WISHES, {"a": cooling(9)}, Hedge(0.0, 2), None),
        ("race", None, Wishes(hedge=0.3), {}, Hedge(0.3, 3), None),
        ("race", None, Wishes(hedge=False), {}, None, None),
        ("race", None, Wishes(pick="first"), {}, None, None),
    ],
)
def test_a_peer_is_asked_beside_the_first_where_the_operator_allows_it(
    pick: Pick, entry: HedgeEntry | None, wishes: Wishes, healths: Healths, hedge: Hedge | None, detail: str | None
) -> None:
    """E3: a race is a hedge after 0 seconds over at most 3; spares are in none."""
    route = RouteEntry("auto", ("a", "b", "c"), ("z",), pick=pick, hedge=entry)

    plan = plan_of(route, cast_of(route), NO_NEEDS, healths, AT, wishes=wishes)

    assert (plan.hedge, plan.detail) == (hedge, detail)


@pytest.mark.parametrize("wishes", [NO_WISHES, Wishes(hedge=0.1), Wishes(pick="race")])
def test_nobody_hedges_beyond_the_share_that_the_operator_gives(wishes: Wishes) -> None:
    route = RouteEntry("auto", ("a", "b"), hedge=HedgeEntry(0.5, extra=0.05))

    assert plan_of(route, cast_of(route), NO_NEEDS, {}, Circumstances(NOW, may_hedge=False), wishes=wishes).hedge is None


def test_a_plan_says_what_the_route_says() -> None:
    """G23: a refusal ends the plan unless the operator says otherwise."""
    usual = RouteEntry("auto", ("a",))
    told = RouteEntry("auto", ("a",), first_token=5.0, answer=60.0, on_refusal="next")

    plans = [plan_of(route, cast_of(route), NO_NEEDS, {}, AT, wishes=Wishes(deadline=9.0)) for route in (usual, told)]

    assert [(plan.first_token, plan.answer, plan.on_refusal) for plan in plans] == [(20.0, 120.0, "stop"), (5.0, 60.0, "next")]
    assert {plan.deadline for plan in plans} == {9.0}
    assert {plan.route for plan in plans} == {"auto"}


# What always holds.

READY = st.builds(
    Health,
    readiness=st.just("ready"),
    first_token=st.none() | st.floats(0.01, 100),
    rate=st.none() | st.floats(0.1, 1000),
    busy=st.integers(0, 20),
)
COOLING = st.builds(cooling, st.floats(0, 100), st.sampled_from(["rate", "broken", "auth"]))
HEALTHS = st.dictionaries(st.sampled_from("abcdexyz"), READY | COOLING | st.builds(probed, st.none() | st.floats(0.01, 9)))
CIRCUMSTANCES = st.builds(
    Circumstances,
    now=st.just(NOW),
    roll=st.floats(0, 1, exclude_max=True),
    preferred=st.none() | st.sampled_from("abcdez"),
    may_hedge=st.booleans(),
    mean_output=st.floats(1, 1000),
)
ROUTES = st.builds(
    RouteEntry,
    name=st.just("auto"),
    targets=st.permutations("abcde").flatmap(lambda names: st.integers(1, 5).map(lambda size: tuple(names[:size]))),
    spares=st.sampled_from([(), ("x",), ("z", "y")]),
    pick=st.sampled_from(get_args(Pick)),
    hedge=st.none() | st.builds(HedgeEntry, st.floats(0, 5) | st.sampled_from(["p50", "p99"])),
)
WISHES = st.builds(
    Wishes,
    pick=st.none() | st.sampled_from(get_args(Pick)),
    only=st.none() | st.frozensets(st.sampled_from("abcdexyz"), min_size=1),
    spares=st.booleans(),
    hedge=st.none() | st.booleans() | st.floats(0, 5),
    deadline=st.none() | st.floats(0.1, 9),
    max_cost=st.none() | st.integers(0, 10**6),
)
NEEDS = st.builds(Needs, text_bytes=st.integers(0, 9999), max_tokens=st.none() | st.integers(0, 9999), conversation=st.binary())
PRICES = st.dictionaries(st.sampled_from("abcdexyz"), st.integers(0, 10**6))


@given(ROUTES, NEEDS, HEALTHS, CIRCUMSTANCES, WISHES, PRICES)
def test_an_order_is_some_of_the_bids_and_nobody_cooling_is_asked_while_another_is_ready(
    route: RouteEntry, needs: Needs, healths: Healths, circumstances: Circumstances, wishes: Wishes, prices: dict[str, int]
) -> None:
    """G10, G14: names are the route's own."""
    contenders = cast_of(route, **prices)

    plan = plan_of(route, contenders, needs, healths, circumstances, wishes=wishes)

    names = [one.name for one in plan.bids]
    assert len(set(plan.order)) == len(plan.order)
    assert set(plan.order) <= set(range(len(plan.bids)))
    assert names == [name for name in (*route.targets, *route.spares) if name in names]
    assert {tried.name for tried in plan.tried} <= set(names)
    are_cooling = [healths.get(name, Health()).readiness == "cooling" for name in asked(plan)]
    assert not any(are_cooling) or (are_cooling == [True] and len(plan.tried) == len(names) - 1)
    assert bool(plan.order) is not bool(plan.closed)
    are_spares = [name in route.spares for name in asked(plan)]
    assert are_spares == sorted(are_spares)
    assert plan.hedge is None or plan.hedge.most <= min(3, are_spares.count(False))
    assert plan == plan_of(route, contenders, needs, healths, circumstances, wishes=wishes)


@given(ROUTES, NEEDS, HEALTHS, CIRCUMSTANCES, WISHES, PRICES)
def test_narrowing_only_narrows(
    route: RouteEntry, needs: Needs, healths: Healths, circumstances: Circumstances, wishes: Wishes, prices: dict[str, int]
) -> None:
    contenders = cast_of(route, **prices)

    wide = plan_of(route, contenders, needs, healths, circumstances)
    narrow = plan_of(route, contenders, needs, healths, circumstances, wishes=wishes)

    assert {one.name for one in narrow.bids} <= {one.name for one in wide.bids}
    assert wishes.only is None or set(asked(narrow)) <= wishes.only
    assert wishes.spares or not set(asked(narrow)) & set(route.spares)
    if route.hedge is None and route.pick != "race":
        assert narrow.hedge is None


@given(ROUTES, NEEDS, HEALTHS, PRICES, st.floats(0.02, 1, exclude_max=True))
def test_who_is_asked_first_is_ready_or_is_the_one_probe(
    route: RouteEntry, needs: Needs, healths: Healths, prices: dict[str, int], roll: float
) -> None:
    """G11: at most one target that is being tried out is waited for before one that is ready."""
    plan = plan_of(route, cast_of(route, **prices), needs, healths, Circumstances(NOW, roll))

    states = [healths.get(name, Health()).readiness for name in asked(plan) if name not in route.spares]
    last_ready = max((place for place, state in enumerate(states) if state == "ready"), default=-1)
    assert states[: last_ready + 1].count("probe") <= 1
