"""The order in which targets are asked: a table of every pick and every state of health."""

from typing import Any

import msgspec
import pytest

from cachemw.cache.plans import Pick
from cachemw.gateway.health import Health
from cachemw.gateway.needs import NO_NEEDS, Needs
from cachemw.gateway.plan import Circumstances, contenders_of, plan_of
from cachemw.gateway.routes import RouteEntry
from cachemw.gateway.wishes import Wishes
from tests.gateway.routing_cases import AT, NOW, Healths, asked, bid, cast_of, cooling, dollars, measured, planned, probed

SPEEDS = {"a": measured(3.0), "b": measured(2.0), "c": measured(1.0)}


@pytest.mark.parametrize(
    ("pick", "healths", "order"),
    [
        ("first", {}, "abcyz"),
        ("first", SPEEDS, "abcyz"),
        ("first", {"a": cooling(9)}, "bcyz"),
        ("first", {"a": probed()}, "abcyz"),
        ("first", {"a": probed(), "b": probed()}, "acbyz"),
        ("first", {"a": cooling(9), "b": cooling(9), "c": cooling(9)}, "yz"),
        ("first", {"a": cooling(9), "b": cooling(9), "c": cooling(9), "y": probed(), "z": probed()}, "yz"),
        ("first", {"y": cooling(9)}, "abcz"),
        ("cheapest", {}, "cbayz"),
        ("cheapest", SPEEDS, "cbayz"),
        ("cheapest", {"c": cooling(9)}, "bayz"),
        ("cheapest", {"c": probed()}, "cbayz"),
        ("cheapest", {"b": probed(), "c": probed()}, "cabyz"),
        ("fastest", {}, "abcyz"),
        ("fastest", SPEEDS, "cbayz"),
        ("fastest", {**SPEEDS, "c": measured(1.0, busy=4)}, "bacyz"),
        ("fastest", {**SPEEDS, "c": measured(1.0, rate=100.0)}, "bacyz"),
        ("fastest", {**SPEEDS, "c": cooling(9)}, "bayz"),
        ("fastest", {**SPEEDS, "a": probed(5.0)}, "cbayz"),
        ("fastest", {**SPEEDS, "a": probed(0.5)}, "acbyz"),
        ("fastest", {"a": measured(3.0), "b": measured(2.0)}, "cbayz"),
        ("fastest", {"a": measured(3.0), "b": measured(2.0), "c": Health(busy=1)}, "bacyz"),
        ("race", {}, "abcyz"),
        ("race", SPEEDS, "cbayz"),
        ("race", {**SPEEDS, "c": cooling(9)}, "bayz"),
        ("race", {**SPEEDS, "c": probed(1.0)}, "cbayz"),
    ],
)
def test_targets_are_asked_in_the_order_of_the_pick_and_spares_after_them(pick: Pick, healths: Healths, order: str) -> None:
    """G11, G25: the first request after a cooldown finds out whether it is over, and waits for one such target at most."""
    plan = planned(pick, healths)

    assert asked(plan) == order
    assert plan.closed is None
    assert [tried.name for tried in plan.tried] == [name for name in "abcyz" if healths.get(name) == cooling(9)]
    assert all((tried.why, tried.cooling) == ("rate", 9) for tried in plan.tried)


@pytest.mark.parametrize(
    ("pick", "tiers"),
    [("first", "01234"), ("cheapest", "00012"), ("fastest", "00012"), ("weighted", "00012"), ("race", "00012")],
)
def test_targets_are_peers_unless_they_are_asked_first_to_last(pick: Pick, tiers: str) -> None:
    """E5: bids are in the written order, whatever health and prices say."""
    for plan in (planned(pick, SPEEDS), planned("first", SPEEDS, wishes=Wishes(pick=pick))):
        if plan.detail is None:
            assert "".join([one.name for one in plan.bids]) == "abcyz"
            assert "".join([str(one.tier) for one in plan.bids]) == tiers


def test_a_preferred_target_stays_so_until_another_takes_a_fifth_less() -> None:
    nearly, clearly = ({"a": measured(1.0), "b": measured(fast), "c": measured(2.0)} for fast in (0.85, 0.75))

    kept = planned("fastest", nearly, Circumstances(NOW, preferred="a"))
    changed = planned("fastest", clearly, Circumstances(NOW, preferred="a"))

    assert (asked(kept), kept.preferred) == ("abcyz", "a")
    assert (asked(changed), changed.preferred) == ("bacyz", "b")
    assert planned("fastest", nearly).preferred == "b"


def usual(first_token: float, usually: float, **told: Any) -> Health:
    """Return the health of a target whose last answers took so long, and which usually takes another time."""
    return Health(first_token=first_token, usual_first_token=usually, usual_rate=100.0, **told)


@pytest.mark.parametrize(
    ("a", "b", "first"),
    [
        (usual(9.0, 1.0), usual(0.5, 0.9), "a"),  # one answer of a took long: that happens
        (usual(9.0, 9.0), usual(0.5, 0.9), "b"),
        (usual(1.0, 9.0), usual(2.0, 0.9), "a"),  # b was fast, and is not now
        (usual(9.0, 9.0), usual(0.5, 0.9, is_unproven=True), "a"),
        (measured(9.0), measured(0.5), "b"),
    ],
)
def test_one_slow_answer_does_not_change_who_is_preferred_and_one_good_answer_after_a_failure_does_not(
    a: Health, b: Health, first: str
) -> None:
    route = RouteEntry("auto", ("a", "b"), pick="fastest")

    plan = plan_of(route, cast_of(route), NO_NEEDS, {"a": a, "b": b}, Circumstances(NOW, preferred="a", mean_output=0.0))

    assert (asked(plan)[0], plan.preferred) == (first, first)


def test_a_target_that_failed_lately_is_asked_where_the_preferred_one_cannot_be() -> None:
    healths = {"a": cooling(9), "b": usual(1.0, 1.0, is_unproven=True), "c": measured(5.0)}

    plan = planned("fastest", healths, Circumstances(NOW, preferred="a"))

    assert (asked(plan), plan.preferred) == ("bcyz", "b")


def test_what_a_target_is_busy_with_changes_who_is_asked_and_not_who_is_preferred() -> None:
    plan = planned("fastest", {**SPEEDS, "c": measured(1.0, busy=9)}, Circumstances(NOW, preferred="c"))

    assert (asked(plan), plan.preferred) == ("bacyz", "c")


@pytest.mark.parametrize(
    ("wishes", "order"),
    [
        (Wishes(only=frozenset("ab")), "ba"),
        (Wishes(only=frozenset("y")), "y"),
        (Wishes(only=frozenset(["elsewhere"])), ""),
        (Wishes(max_cost=0, spares=False), ""),
        (Wishes(pick="cheapest"), "cbayz"),
    ],
)
def test_a_request_that_cannot_go_to_the_preferred_target_says_nothing_of_it(wishes: Wishes, order: str) -> None:
    plan = planned("fastest", SPEEDS, Circumstances(NOW, preferred="c"), wishes=wishes)

    assert (asked(plan), plan.preferred) == (order, "c")


def test_who_is_preferred_is_so_when_all_are_cooling_too() -> None:
    assert planned("fastest", dict.fromkeys("abcyz", cooling(9)), Circumstances(NOW, preferred="c")).preferred == "c"


def test_one_request_in_fifty_measures_another_target() -> None:
    firsts = [
        asked(planned("fastest", SPEEDS, Circumstances(NOW, roll=number / 1000, preferred="c")))[0] for number in range(1000)
    ]

    assert firsts.count("c") == 980
    assert firsts.count("b") == firsts.count("a") == 10
    assert planned("fastest", SPEEDS, Circumstances(NOW, roll=0.0, preferred="c")).preferred == "c"


def test_a_probe_is_not_put_off_for_an_experiment() -> None:
    """G11."""
    assert asked(planned("fastest", {**SPEEDS, "a": probed(0.1)}, Circumstances(NOW, roll=0.0)))[0] == "a"


def test_the_cheapest_is_so_for_this_request() -> None:
    cheap_input, cheap_output = dollars(0), dollars(0)
    cheap_input = msgspec.structs.replace(cheap_input, rates=msgspec.structs.replace(cheap_input.rates, output_rate=100))
    cheap_output = msgspec.structs.replace(cheap_output, rates=msgspec.structs.replace(cheap_output.rates, input_rate=100))
    route = RouteEntry("auto", ("in", "out", "unknown"), pick="cheapest")
    contenders = contenders_of(route, {"in": bid("in", cheap_input), "out": bid("out", cheap_output), "unknown": bid("?")}, {})

    def first(text_bytes: int, max_tokens: int | None = None, choices: int = 1) -> list[str]:
        needs = Needs(text_bytes=text_bytes, max_tokens=max_tokens, choices=choices)
        plan = plan_of(route, contenders, needs, {}, AT)
        return [plan.bids[place].name for place in plan.order]

    assert first(text_bytes=40_000, max_tokens=100) == ["in", "out", "?"]
    assert first(text_bytes=400, max_tokens=10_000) == ["out", "in", "?"]
    assert first(text_bytes=3_200) == ["in", "out", "?"]  # 800 tokens in; the mean answer has 400
    assert first(text_bytes=3_200, choices=3) == ["out", "in", "?"]


def test_conversations_are_spread_by_weight_and_each_stays_where_it_is() -> None:
    """E13: without a target only its own conversations move."""
    route = RouteEntry("auto", ("a", "b", "c", "d"), weights=(3.0, 1.0, 1.0, 0.0), pick="weighted")
    contenders = cast_of(route)
    needs = [Needs(conversation=b"%d" % number) for number in range(2000)]

    homes = [asked(plan_of(route, contenders, one, {}, AT))[0] for one in needs]
    without_b = [asked(plan_of(route, contenders, one, {"b": cooling(9)}, AT))[0] for one in needs]

    assert 1100 < homes.count("a") < 1300
    assert 330 < homes.count("b") < 470
    assert homes.count("d") == 0
    assert all(before == after for before, after in zip(homes, without_b, strict=True) if before != "b")
