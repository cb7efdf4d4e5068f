"""The script where a gateway plans: whose records answer, who is asked, and under which question others follow."""

import itertools
from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from cachemw.cache.directives import Abandon, Directives
from cachemw.cache.effects import AskPlan, Claim, ClaimResult, Declined, Failed, Forward, Outcome, Serve
from cachemw.cache.key import SHARED, Key, indexes_beside
from cachemw.cache.live_response import Relay
from cachemw.cache.lookup import Query
from cachemw.cache.plans import Bid, Closed, OnRefusal, Pick, Plan
from cachemw.cache.policy import Policy
from cachemw.cache.recording import KeptRequest
from cachemw.cache.refusals import LastRefusals
from cachemw.cache.slate import Received, Slate, slate_of
from cachemw.endpoints import CHAT
from cachemw.endpoints.base import ApiCall
from cachemw.endpoints.errors import Refusal
from cachemw.endpoints.sent import sent_body
from cachemw.errors import UpstreamError
from cachemw.limits import Limits
from cachemw.messages import HttpRecipient, HttpTarget, Request, RouteTarget, Usage
from cachemw.money import Price, Rates
from cachemw.routing import Bill, Rewrite, Routed, RoutedHead, Tried
from tests.cache.answers import JSON_HEAD, request
from tests.cache.asking import record, saying
from tests.cache.world import World, decided, whole

PRICE = Price(Rates(1_000_000_000, 2_000_000_000))  # one dollar, and two, for a million tokens


def bid(name: str, tier: int = 0, *, drop: frozenset[str] = frozenset()) -> Bid:
    """Return the bid of a target that is called `provider/model`."""
    provider, _, model = name.partition("/")
    target = HttpTarget(f"https://{provider}.example/v1/chat/completions", HttpRecipient(provider))
    return Bid(name, target, Rewrite(model=model, drop=drop), tier, PRICE)


A, B, SPARE = bid("a/one"), bid("b/two"), bid("s/three", tier=1)
BIDS = (A, B, SPARE)
ALL = (0, 1, 2)
TARGET = RouteTarget(b"/v1/chat/completions", b"")


def routed_request(words: str = "nothing", **members: Any) -> Request:
    return replace(request(*saying(words), model="auto", **members), target=TARGET)


def received_by(partition: bytes, **members: Any) -> Received:
    request = routed_request(**members)
    call = CHAT.read(CHAT, request, frozenset(), Limits().work, False)
    assert isinstance(call, ApiCall)
    known = (CHAT, request, Directives(), Policy(), Limits(), partition, Abandon.FINISH, LastRefusals(), None)
    return Received(*known, call=call)


def key_at(target: Bid, **members: Any) -> Key:
    """Return the key of the tables' request as this target is sent it."""
    query = received_by(b"anonymous", **members).bid_query(target, Plan((target,), (0,)))
    assert isinstance(query, Query)
    return query.key


def test_a_bid_of_another_dialect_keeps_the_request_that_came() -> None:
    """Ruling F5: one of the same keeps what it is sent, with its own model."""
    spoken = HttpRecipient("anthropic", speaks=frozenset({"messages"}))
    other = Bid("c/four", HttpTarget("https://c.example/v1/messages", spoken), Rewrite(model="claude-4"))
    received = received_by(b"anonymous")

    queries = [received.bid_query(one, Plan((one,), (0,))) for one in (A, other)]

    assert [query.received for query in queries if isinstance(query, Query)] == [
        None,
        KeptRequest("chat", received.call.canonical),
    ]


def stored_by(target: Bid, age: float = 20.0, usage: Usage | None = None) -> dict[bytes, bytes]:
    """Return what a store holds of an answer of this target, fresh for 60 seconds."""
    key = key_at(target)
    return {key.index: record(age=age, proof=key.proof, target=target.name, usage=usage)}


def all_of(stored: Iterable[tuple[Bid, float]]) -> dict[bytes, bytes]:
    """Return what a store holds of answers of these targets, each so old."""
    return {index: value for one, age in stored for index, value in stored_by(one, age).items()}


def plan(*order: int, bids: tuple[Bid, ...] = BIDS, **more: Any) -> Plan:
    return Plan(bids, order, route="auto", **more)


def head_of(position: int, attempts: int = 1, *, status: int = 200, is_exhausted: bool = False) -> RoutedHead:
    """Return the head of an answer that this bid gave, after so many attempts."""
    tried = tuple(Tried(BIDS[place].name, "rate", 429) for place in range(attempts - 1))
    routed = Routed(position, attempts, tried, Bill(), is_exhausted)
    return RoutedHead(status, JSON_HEAD.headers, routed=routed)


def run(world: World, words: str = "nothing") -> Outcome:
    return decided(routed_request(words), world)


def asked_in(world: World) -> tuple[int, ...]:
    """Return the positions of the bids that were forwarded to."""
    for effect in world.effects:
        if isinstance(effect, Forward):
            assert effect.bidding is not None
            return tuple(asked.position for asked in effect.bidding.bids.asked)
    return ()


# Whose record answers.


@pytest.mark.parametrize(
    ("stored", "order", "by"),
    [
        ([(A, 20)], ALL, A),
        ([(B, 20)], ALL, B),  # any one's answer is as good
        ([(A, 20), (B, 30)], ALL, B),  # the one stored first: so a route repeats what it said
        ([(A, 30), (B, 20)], ALL, A),
        ([(A, 30), (B, 20)], (1, 0, 2), A),  # whatever health and prices say
        ([(A, 70), (B, 20)], ALL, B),  # one is stale
        ([(A, 20), (SPARE, 40)], ALL, A),
        ([(SPARE, 20)], (2,), SPARE),  # just where it would have been asked
        ([(A, 30), (SPARE, 20)], (2,), A),
        ([(SPARE, 20)], (), SPARE),
    ],
)
def test_a_fresh_record_answers(stored: list[tuple[Bid, float]], order: tuple[int, ...], by: Bid) -> None:
    """E5."""
    records = all_of(stored)

    outcome = run(World(records=records, plans=[plan(*order)]))

    assert isinstance(outcome, Serve)
    assert outcome.stored.target == by.name


@pytest.mark.parametrize(
    ("stored", "order", "asked"),
    [
        ([], ALL, ALL),
        ([(A, 70)], ALL, ALL),
        ([(SPARE, 20)], ALL, (0, 1)),  # the plan is cut before it
        ([(SPARE, 20)], (1, 2), (1,)),
        ([(SPARE, 70)], ALL, ALL),
        ([], (2, 1), (2, 1)),
    ],
)
def test_whom_a_miss_asks(stored: list[tuple[Bid, float]], order: tuple[int, ...], asked: tuple[int, ...]) -> None:
    """A stored spare serves exactly where the spare would have been asked."""
    records = all_of(stored)
    world = World(records=records, upstream=head_of(asked[0]), plans=[plan(*order)])

    outcome = run(world)

    assert isinstance(outcome, Relay)
    assert asked_in(world) == asked


@pytest.mark.parametrize("words", ["mode=replay", "only-if-cached"])
@pytest.mark.parametrize(("stored", "by"), [([A, B, SPARE], A), ([SPARE, B], B), ([SPARE], SPARE)])
@pytest.mark.parametrize("order", [ALL, (1, 0), (2,), ()])
def test_where_nobody_may_be_asked_they_are_looked_for_as_written(
    words: str, stored: list[Bid], by: Bid, order: tuple[int, ...]
) -> None:
    """E5: a cassette must not flap; spares last."""
    records = dict(
        itertools.chain.from_iterable(stored_by(one, 20.0 + place).items() for place, one in enumerate(reversed(stored)))
    )

    outcome = run(World(records=records, plans=[plan(*order)]), words)

    assert isinstance(outcome, Serve)
    assert outcome.stored.target in ({A.name, B.name} if {A, B} <= set(stored) else {by.name})


def test_each_target_of_first_is_a_tier_of_its_own() -> None:
    """E5: a later one's stored answer is a spare's."""
    later = bid("b/two", tier=1)
    world = World(records=stored_by(later), upstream=head_of(0), plans=[plan(0, 1, bids=(A, later))])

    assert isinstance(run(world), Relay)
    assert asked_in(world) == (0,)


# What is kept, and under whose key.


@pytest.mark.parametrize("position", ALL)
def test_an_answer_is_kept_under_the_key_of_who_gave_it(position: int) -> None:
    """G25: a spare's answer is never found under the primary's key."""
    world = World(upstream=head_of(position, attempts=position + 1), plans=[plan(*ALL)])

    outcome = run(world)

    assert isinstance(outcome, Relay)
    [forward] = [effect for effect in world.effects if isinstance(effect, Forward)]
    assert forward.bidding is not None
    terms = forward.bidding.terms_for(head_of(position))
    assert terms is not None
    assert (terms.key, terms.target) == (key_at(BIDS[position]), BIDS[position].name)
    assert outcome.early_report.key == key_at(BIDS[position]).index.hex()
    assert outcome.early_report.target == BIDS[position].name


def test_each_attempt_is_sent_its_own_body() -> None:
    """G9."""
    dropping = bid("b/two", drop=frozenset({"seed"}))
    world = World(upstream=head_of(0), plans=[plan(0, 1, bids=(A, dropping))])
    asked = routed_request(seed=7)

    decided(asked, world)

    [forward] = [effect for effect in world.effects if isinstance(effect, Forward)]
    assert forward.bidding is not None
    assert isinstance(asked.body, bytes)
    bodies = [one.body for one in forward.bidding.bids.asked]
    assert bodies == [sent_body(asked.body, A.rewrite), sent_body(asked.body, dropping.rewrite)]
    assert [b'"seed"' in (body or b"") for body in bodies] == [True, False]


@pytest.mark.parametrize("words", ["no-cache", "mode=refresh"])
def test_a_refresh_removes_what_the_others_hold(words: str) -> None:
    """E5."""
    world = World(records=stored_by(A), upstream=head_of(0), plans=[plan(*ALL)])

    run(world, words)

    [forward] = [effect for effect in world.effects if isinstance(effect, Forward)]
    assert forward.bidding is not None
    for terms, own in zip(forward.bidding.terms, BIDS, strict=True):
        assert terms is not None
        others = {key_at(other).index for other in BIDS if other is not own}
        assert others <= set(terms.others.instead_of)
        assert {each for index in others for each in indexes_beside(index)} <= set(terms.others.instead_of)
        assert key_at(own).index not in terms.others.instead_of


# When all fail.


@pytest.mark.parametrize("status", [400, 403, 404, 429, 500, 503])
@pytest.mark.parametrize(("stored", "by"), [((A, 70), A), ((SPARE, 20), SPARE), ((SPARE, 70), SPARE)])
def test_what_is_stored_answers_where_everybody_failed(status: int, stored: tuple[Bid, float], by: Bid) -> None:
    """E6: whatever status is shown."""
    exhausted = head_of(0, attempts=2, status=status, is_exhausted=True)
    outcome = run(World(records=stored_by(*stored), upstream=exhausted, plans=[plan(*ALL)]))

    assert isinstance(outcome, Serve)
    assert (outcome.stored.target, outcome.report.target) == (by.name, by.name)
    assert outcome.report.fwd_status == status
    assert outcome.report.attempts == 2


@pytest.mark.parametrize("status", [200, 400, 403, 429, 503])
def test_it_never_makes_an_answer_worse(status: int) -> None:
    """E6."""
    outcome = run(World(records=stored_by(SPARE), upstream=head_of(0, status=status), plans=[plan(*ALL)]))

    assert isinstance(outcome, Relay)


def test_it_answers_where_nobody_gave_a_head() -> None:
    """E6."""
    error = UpstreamError("nobody is there")
    error.routed = Routed(0, 2, (Tried(A.name, "unreachable"), Tried(B.name, "unreachable")), Bill(), is_exhausted=True)

    served = run(World(records=stored_by(A, 70), upstream=error, plans=[plan(*ALL)]))
    failed = run(World(upstream=error, plans=[plan(*ALL)]))

    assert isinstance(served, Serve)
    assert isinstance(failed, Failed)
    assert b'tried=("a/one";why=unreachable "b/two";why=unreachable)' in dict(whole(failed).headers)[b"cachemw-route"]


# When nobody is asked.

SPENT = Closed(Refusal(402, "the budget is spent", code="budget_exceeded"))
COOLING = Closed(Refusal(429, "all targets are cooling", code="rate_limited"), 12.4, is_outage=True)


@pytest.mark.parametrize("closed", [SPENT, COOLING])
def test_a_hit_is_served_whoever_may_not_be_asked(closed: Closed) -> None:
    """G20, E7."""
    assert isinstance(run(World(records=stored_by(A), plans=[plan(closed=closed)])), Serve)


@pytest.mark.parametrize("closed", [SPENT, COOLING])
def test_the_reason_is_ours_and_nobody_leads(closed: Closed) -> None:
    """E7: decided before leading."""
    world = World(plans=[plan(closed=closed, tried=(Tried(A.name, "rate", cooling=12.4),))])

    outcome = run(world)

    assert isinstance(outcome, Declined)
    assert not [effect for effect in world.effects if isinstance(effect, Claim | Forward)]
    answered = whole(outcome)
    assert answered.status == closed.refusal.status
    assert answered.values(b"retry-after") == ([] if closed.retry_after is None else [b"13"])
    assert b"cooling=13" in answered.values(b"cachemw-route")[0]


@pytest.mark.parametrize(("closed", "is_served"), [(SPENT, False), (COOLING, True)])
def test_only_an_outage_lets_a_stale_record_answer(closed: Closed, is_served: bool) -> None:
    """E6: and a budget is none."""
    assert isinstance(run(World(records=stored_by(A, 70), plans=[plan(closed=closed)])), Serve) is is_served


def test_who_has_no_bid_at_all_is_told_why() -> None:
    unknown = Closed(Refusal(404, "no such provider", code="model_not_found"))

    outcome = run(World(plans=[plan(bids=(), closed=unknown)]))

    assert isinstance(outcome, Declined)
    assert whole(outcome).status == 404


# The question.

NARROWINGS = [
    (pick, refusal, bids)
    for pick in ("first", "cheapest")
    for refusal in ("stop", "next")
    for bids in ((A,), (A, B), (B, A), (A, SPARE), (A, replace(B, tier=1)), (bid("a/one", drop=frozenset({"seed"})), B))
]


def slate(
    narrowing: tuple[Pick, OnRefusal, tuple[Bid, ...]], body: dict[str, Any], partition: bytes, deadline: float | None = None
) -> Slate:
    pick, on_refusal, bids = narrowing
    made = slate_of(received_by(partition, **body), Plan(bids, (0,), "auto", pick, on_refusal, deadline=deadline), None)
    assert isinstance(made, Slate)
    return made


@given(
    first=st.sampled_from(NARROWINGS),
    second=st.sampled_from(NARROWINGS),
    seeds=st.tuples(st.integers(0, 1), st.integers(0, 1)),
    partitions=st.tuples(st.sampled_from([SHARED, b"credential:x"]), st.sampled_from([SHARED, b"credential:x"])),
)
def test_two_requests_have_one_question_only_if_they_have_one_key_at_every_target(
    first: Any, second: Any, seeds: tuple[int, int], partitions: tuple[bytes, bytes]
) -> None:
    """E4: for all narrowings and callers, who follows gets what it would get alone."""
    one, other = (
        slate(narrowing, {"seed": seed}, partition)
        for narrowing, seed, partition in zip((first, second), seeds, partitions, strict=True)
    )

    keys = [[(query.tier, query.key.parts) for query in each.queries] for each in (one, other)]
    are_alike = keys[0] == keys[1] and (len(keys[0]) == 1 or first[:2] == second[:2])
    assert (one.question == other.question) == are_alike


def test_the_question_of_one_target_is_its_key() -> None:
    """A pinned request follows, and is followed by, whoever asks that target directly."""
    assert slate(("first", "stop", (A,)), {}, b"anonymous").question == key_at(A).parts


@pytest.mark.parametrize("bids", [(A,), BIDS])
def test_who_has_a_deadline_does_not_wait_with_who_has_none(bids: tuple[Bid, ...]) -> None:
    """E4: alone it would be told in time that nobody has begun to answer."""
    questions = {slate(("first", "stop", bids), {}, SHARED, deadline).question for deadline in (None, 0.5, 30.0)}

    assert len(questions) == 3


def test_health_does_not_change_the_question() -> None:
    """E2: who has waited for another one surveys anew."""
    world = World(upstream=head_of(1), plans=[plan(*ALL), plan(1, 2)], claims=[ClaimResult.RELEASED, ClaimResult.LEAD])

    assert isinstance(run(world), Relay)
    assert asked_in(world) == (1, 2)


def test_who_leads_at_once_forwards_what_it_claimed() -> None:
    """E2: and has one plan, which is made once."""
    world = World(upstream=head_of(0), plans=[plan(*ALL), plan(1, 2)])

    assert isinstance(run(world), Relay)
    assert asked_in(world) == ALL
    assert [type(effect) for effect in world.effects].count(AskPlan) == 1


# What is said.


def test_a_hit_is_free_and_says_what_it_saves() -> None:
    """E1."""
    records = stored_by(A, usage=Usage(100, 50))

    outcome = run(World(records=records, plans=[plan(*ALL)]))

    assert isinstance(outcome, Serve)
    route = dict(whole(outcome).headers)[b"cachemw-route"]
    assert route == b'by="a/one", route="auto", attempts=0, cost="0", saved="0.0002"'


def test_the_second_choice_is_told() -> None:
    world = World(upstream=head_of(1, attempts=2), plans=[plan(*ALL)])

    outcome = run(world)

    assert isinstance(outcome, Relay)
    assert outcome.early_report.detail == "second-choice"
    assert (outcome.early_report.attempts, outcome.early_report.tried) == (2, (Tried(A.name, "rate", 429),))


# What may be recalled.


@pytest.mark.parametrize(
    ("stored", "order", "indexes"),
    [
        ([A], ALL, [A, B]),
        ([B], ALL, [B, A]),
        ([SPARE], (2,), None),  # one in which a spare had a say
    ],
)
def test_a_hit_is_recalled_with_all_that_it_looked_under(
    stored: list[Bid], order: tuple[int, ...], indexes: list[Bid] | None
) -> None:
    """C4."""
    records = all_of((one, 20.0) for one in stored)

    outcome = run(World(records=records, plans=[plan(*order)]))

    assert isinstance(outcome, Serve)
    if indexes is None:
        assert outcome.basis is None
    else:
        assert outcome.basis is not None
        assert dict(outcome.basis.found) == {key_at(one).index: records.get(key_at(one).index) for one in indexes}


@pytest.mark.parametrize(
    "closed", [Closed(Refusal(402, "spent", code="budget_exceeded")), Closed(Refusal(503, "cooling"), 9.0, True)]
)
def test_what_is_stale_is_not_fetched_anew_where_nobody_may_be_asked(closed: Closed) -> None:
    """G20: it answers all the same, for it costs nothing."""
    world = World(records=all_of([(A, 70)]), plans=[plan(closed=closed)])

    outcome = decided(routed_request(), world, Policy(default="on", stale_while_revalidate=100))

    assert isinstance(outcome, Serve)
    assert (outcome.report.target, outcome.revalidate, outcome.bidding) == (A.name, None, None)
