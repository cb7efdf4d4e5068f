"""The script among identical requests at the same time: who leads, who follows, and what becomes of those."""

from dataclasses import dataclass

import pytest

from cachemw.cache.directives import Abandon
from cachemw.cache.effects import Claim, ClaimResult, DeleteRecord, Effect, Failed, Forward, Lookup, Serve, ShownResponse
from cachemw.cache.live_response import LiveResponse, Relay, begin
from cachemw.cache.sharing import Sender
from cachemw.errors import KeyMissing, TruncatedResponse, UpstreamError, UpstreamTimeout
from cachemw.messages import Head
from cachemw.report import ExchangeReport
from tests.cache.answers import COMPLETION, EVENTS, JSON_HEAD, NOBODY, STREAM_HEAD, as_told, chat, course, request, terms
from tests.cache.asking import ASKED, KEY, ask, decide, record, said, saying, world
from tests.cache.crowd import calls_made
from tests.cache.world import NOW, Answer, World, decided, followed, relayed, whole

MISS = ExchangeReport(fwd="miss", key=KEY.index.hex())

LOOK, CLAIM = Lookup(KEY.index), Claim(course(ASKED), True, True, Abandon.FINISH, MISS)
LEAD, OVER, ALONE = ClaimResult.LEAD, ClaimResult.OVER, ClaimResult.ALONE

FAILED = UpstreamError("reset")


def another(head: Head = JSON_HEAD, body: bytes = COMPLETION, leader: Sender = NOBODY) -> ShownResponse:
    """Return what another request's forward has brought, and all of it."""
    response = begin(head, terms(), NOW)
    response.feed(body, NOW)
    response.finish(NOW)
    response.close(None)
    return ShownResponse(response, NOW, leader)


def asked_for(around: World) -> list[type[Effect]]:
    return [type(effect) for effect in around.effects]


def follow(around: World, words: str = "nothing") -> Answer:
    """Answer the request by what another's forward brought."""
    relay = decide(around, words)
    assert isinstance(relay, Relay)
    return followed(relay)


# Claims.


@dataclass(frozen=True, slots=True)
class Waited:
    """How a claim went, what was stored meanwhile, and what comes of it."""

    claimed: ClaimResult
    lands: bytes | None
    answer: str
    cache_status: str
    age: tuple[bytes, ...] = ()


FORWARDED = "fwd=miss; fwd-status=200; stored; key=K"
LANDS, JUST_NOW = record(age=0), record(age=1)
LANDS_AS_STREAM = record(chat(stream=True, stream_options={"include_usage": True}), age=0)
LANDS_WITHOUT_USAGE = record(chat(stream=True), age=0)


@pytest.mark.parametrize(
    "row",
    [
        Waited(LEAD, None, "relay", FORWARDED),
        Waited(LEAD, JUST_NOW, "serve", "hit; ttl=59; key=K", (b"1",)),
        Waited(LEAD, LANDS_WITHOUT_USAGE, "relay", f"{FORWARDED}; detail=no-usage"),
        Waited(OVER, LANDS, "serve", "fwd=miss; fwd-status=200; collapsed; key=K"),
        Waited(OVER, LANDS_AS_STREAM, "serve", "fwd=miss; fwd-status=200; collapsed; key=K; detail=transcoded"),
        Waited(ALONE, None, "relay", FORWARDED),
        Waited(ALONE, JUST_NOW, "serve", "hit; ttl=59; key=K", (b"1",)),
    ],
    ids=[
        "leads",
        "leads, and finds what landed before it did",
        "leads, and finds what is of no use to it",
        "waits, and it lands",
        "waits, and it lands as another kind",
        "is alone",
        "is alone, and finds what landed before",
    ],
)
def test_after_a_claim_the_store_is_looked_at_once_more(row: Waited) -> None:
    """P1: what landed meanwhile answers."""
    around = world(claims=[row.claimed], lands={} if row.lands is None else {KEY.index: row.lands})

    answered = ask(around)

    assert (answered.kind, answered.cache_status) == (row.answer, said(row.cache_status))
    assert answered.values(b"age") == list(row.age)
    assert around.effects[:3] == [LOOK, CLAIM, LOOK]
    looks_beside = [Lookup] if row.lands is LANDS_WITHOUT_USAGE else []
    assert asked_for(around)[3:] == ([] if row.answer == "serve" else [*looks_beside, Forward])


@pytest.mark.parametrize("lands", [None, LANDS_WITHOUT_USAGE], ids=["nothing", "what is of no use"])
@pytest.mark.parametrize(
    ("claims", "effects"),
    [
        ([OVER, LEAD], [Lookup, Claim, Lookup, Claim, Lookup, Forward]),
        ([OVER, ALONE], [Lookup, Claim, Lookup, Claim, Lookup, Forward]),
        ([OVER, OVER, LEAD], [Lookup, Claim, Lookup, Claim, Lookup, Claim, Lookup, Forward]),
    ],
    ids=["then leads", "then has waited long enough", "then waits again"],
)
def test_who_waits_for_nothing_claims_again(
    claims: list[ClaimResult | ShownResponse | UpstreamError], effects: list[type[Effect]], lands: bytes | None
) -> None:
    """P1: another kind landed unstored, or as what is of no use here. Patience is the driver's."""
    around = world(claims=[*claims], lands={} if lands is None else {KEY.index: lands})

    answered = ask(around)

    looks = [Lookup] if lands is None else [Lookup, Lookup]  # beside what is of no use, too
    expected = [effects[0], *(each for effect in effects[1:] for each in (looks if effect is Lookup else [effect]))]
    assert asked_for(around) == expected
    assert answered.cache_status == said(FORWARDED + ("" if lands is None else "; detail=no-usage"))


def test_what_was_wrong_with_the_record_is_said_though_it_is_gone_meanwhile() -> None:
    """E1, D8."""
    around = world("damaged", claims=[OVER, LEAD])

    answered = ask(around)

    assert asked_for(around) == [Lookup, DeleteRecord, Claim, Lookup, Claim, Lookup, Forward]
    assert answered.cache_status == said(f"{FORWARDED}; detail=bad-record")


@pytest.mark.parametrize(
    ("words", "why"), [("no-store", "no-store"), ("mode=read", "mode-read"), ("mode=read + no-store", "no-store")]
)
def test_who_may_not_store_may_follow_and_not_lead(words: str, why: str) -> None:
    """§2: others might be waiting for what is not going to be there."""
    around, known = world(), ExchangeReport(fwd="miss", stored=False, key=KEY.index.hex(), details=(why,))

    answered = ask(around, words)

    claim = Claim(course(ASKED), may_lead=False, may_follow=True, on_abandon=Abandon.FINISH, report=known)
    assert around.effects == [LOOK, claim, LOOK, Forward(None, Abandon.FINISH, known)]
    assert answered.cache_status == said(f"fwd=miss; fwd-status=200; key=K; detail={why}")


@pytest.mark.parametrize("words", ["no-cache", "mode=refresh", "max-age=10, no-cache", "mode=refresh + max-stale"])
@pytest.mark.parametrize("claims", [[OVER], [another()], [FAILED]], ids=["another kind", "its kind", "one that fails"])
def test_who_wants_a_fresh_answer_neither_follows_nor_is_followed(
    words: str, claims: list[ClaimResult | ShownResponse | UpstreamError]
) -> None:
    """R5, §2: though it is kept."""
    around = world("fresh", claims=[*claims])

    answered = ask(around, words)

    assert asked_for(around) == [Forward]
    assert answered.cache_status == said("fwd=request; fwd-status=200; stored; key=K")
    assert answered.put is not None


@pytest.mark.parametrize("words", ["mode=replay", "only-if-cached"])
def test_who_may_not_forward_does_not_follow(words: str) -> None:
    """E6, §2."""
    around = world(claims=[another()])

    assert ask(around, words).status == 504
    assert around.effects == [LOOK]


# Following.


def test_who_follows_gets_what_the_other_got_and_says_so() -> None:
    """P1: nothing of a time, as it is new, and nothing of being stored, as another does that."""
    around = world(claims=[another()])

    answered = follow(around)

    assert (answered.status, answered.body) == (200, COMPLETION)
    assert answered.cache_status == said("fwd=miss; fwd-status=200; collapsed; key=K")
    assert answered.values(b"age") == []
    assert around.effects == [LOOK, CLAIM]


def test_who_follows_a_stream_reads_it_from_its_first_byte_while_it_comes() -> None:
    """P1."""
    response = begin(STREAM_HEAD, terms(stream=True), NOW)
    response.feed(EVENTS[0], NOW)
    relay = decided(request(*saying("nothing"), stream=True), world(claims=[ShownResponse(response, NOW)]))
    assert isinstance(relay, Relay)

    before = followed(relay)
    response.feed(EVENTS[1], NOW)

    assert (before.body, relay.take()) == (EVENTS[0], (EVENTS[1],))
    assert before.cache_status == said("fwd=miss; fwd-status=200; collapsed; key=K")
    assert as_told(relay.report) == ExchangeReport(fwd="miss", fwd_status=200, collapsed=True, key=KEY.index.hex())


@pytest.mark.parametrize(
    ("words", "state", "cache_status"),
    [
        ("nothing", "stale", "fwd=stale; fwd-status=200; collapsed; key=K"),
        ("max-age=10", "fresh", "fwd=request; fwd-status=200; collapsed; key=K"),
        ("nothing", "mismatch", "fwd=miss; fwd-status=200; collapsed; key=K; detail=key-mismatch"),
        ("no-store", "nothing", "fwd=miss; fwd-status=200; collapsed; key=K; detail=no-store"),
        ("mode=read", "nothing", "fwd=miss; fwd-status=200; collapsed; key=K; detail=mode-read"),
        ("on, pace=1", "nothing", "fwd=miss; fwd-status=200; collapsed; key=K; detail=ignored-pace"),
    ],
)
def test_and_why_it_was_not_answered_from_the_store(words: str, state: str, cache_status: str) -> None:
    """E1."""
    assert follow(world(state, claims=[another()]), words).cache_status == said(cache_status)


@pytest.mark.parametrize("words", ["nothing", "no-store", "mode=read"])
def test_whether_it_is_stored_is_not_for_who_follows_to_say(words: str) -> None:
    """E1: not even by one that may not."""
    relay = decide(world(claims=[ShownResponse(begin(JSON_HEAD, None, NOW), NOW)]), words)
    failed = decide(world(claims=[FAILED, FAILED]), words)

    assert isinstance(relay, Relay)
    assert isinstance(failed, Failed)
    assert [report.stored for report in (relay.report, failed.report) if report is not None] == [None, None]


@pytest.mark.parametrize("status", [400, 401, 429, 503])
def test_an_upstreams_error_is_everybodys_who_would_have_sent_the_same(status: int) -> None:
    """P1, H10."""
    head = Head(status, ((b"content-type", b"application/json"), (b"retry-after", b"7")))

    answered = follow(world(claims=[another(head, b"no")]))

    assert (answered.status, answered.body, answered.values(b"retry-after")) == (status, b"no", [b"7"])
    assert answered.cache_status == said(f"fwd=miss; fwd-status={status}; collapsed; key=K; detail=not-200")


TRACED = Sender((), (*NOBODY.fields, (b"traceparent", b"junk")))
"""Who would have sent something else."""

REFUSED = Head(400, ((b"content-type", b"application/json"), (b"openai-organization", b"org-1"), (b"x-ratelimit-limit", b"5")))


@pytest.mark.parametrize("then", [LEAD, ALONE, another(leader=NOBODY)], ids=["leads", "is alone", "follows another"])
def test_who_may_not_have_what_another_was_refused_asks_on_its_own_account(then: ClaimResult | ShownResponse) -> None:
    """F84, I15, A6: and looks in the store before."""
    around = world(claims=[another(REFUSED, b"no", TRACED), then])

    answered = relayed(relay, COMPLETION) if isinstance(relay := decide(around), Relay) and then in (LEAD, ALONE) else None

    claims = [effect.course for effect in around.effects if isinstance(effect, Claim)]
    assert claims == [course(ASKED), course(ASKED, is_apart=True)]
    assert asked_for(around)[:4] == [Lookup, Claim, Lookup, Claim]
    if answered is not None:
        assert answered.cache_status == said(FORWARDED)
        assert around.orders == (3 if then is ALONE else 2)


def test_who_may_have_it_from_another_credential_is_told_nothing_of_that_account() -> None:
    """I15: limits and names of an account are for who has it."""
    stranger = Sender(((b"authorization", b"Bearer other"),), NOBODY.fields)
    head = Head(200, (*JSON_HEAD.headers, *REFUSED.headers[1:], (b"x-request-id", b"r")))

    heads = [follow(world(claims=[another(head, leader=leader)])).headers for leader in (stranger, NOBODY)]

    told = [{name for name, _ in fields} & {b"openai-organization", b"x-ratelimit-limit", b"x-request-id"} for fields in heads]
    assert told == [{b"x-request-id"}, {b"x-request-id", b"openai-organization", b"x-ratelimit-limit"}]


def test_two_who_follow_read_the_same_answer_and_each_from_the_start() -> None:
    """P1."""
    arrived = another()

    answered = [follow(world(claims=[arrived])) for _ in range(2)]

    assert [each.body for each in answered] == [COMPLETION] * 2


# Another's forward that fails before there was anything to show.


def test_when_it_fails_once_somebody_is_elected_anew() -> None:
    """P1: and looks, for there may be something by now."""
    around = world(claims=[FAILED, LEAD])

    answered = ask(around)

    assert around.effects[:-1] == [LOOK, CLAIM, LOOK, CLAIM, LOOK]
    assert asked_for(around)[-1] is Forward
    assert answered.cache_status == said(FORWARDED)


def test_or_follows_who_was() -> None:
    """P1."""
    answered = follow(world(claims=[FAILED, another()]))

    assert answered.cache_status == said("fwd=miss; fwd-status=200; collapsed; key=K")


def test_or_finds_what_has_landed_since() -> None:
    answered = ask(world(claims=[FAILED], lands={KEY.index: JUST_NOW}))

    assert answered.cache_status == said("hit; ttl=59; key=K")


BROKEN = UpstreamError("reset")
BROKEN.status = 200


@pytest.mark.parametrize(
    ("second", "status", "cache_status"),
    [
        (UpstreamError("refused"), 502, "fwd=miss; collapsed; key=K; detail=unreachable"),
        (UpstreamTimeout("silent"), 504, "fwd=miss; collapsed; key=K; detail=timeout"),
        (TruncatedResponse("cut"), 502, "fwd=miss; collapsed; key=K; detail=truncated"),
        (BROKEN, 502, "fwd=miss; fwd-status=200; collapsed; key=K; detail=truncated"),
    ],
    ids=["unreachable", "timeout", "cut", "broken"],
)
def test_when_it_fails_twice_that_is_everybodys(second: UpstreamError, status: int, cache_status: str) -> None:
    """P1, H10: 100 callers of an upstream that fails do not call it one after another."""
    around = world(claims=[FAILED, second])

    answered = whole(decide(around))

    assert (answered.status, answered.cache_status) == (status, said(cache_status))
    assert asked_for(around) == [Lookup, Claim, Lookup, Claim, Lookup]


def test_a_second_failure_is_handed_on_as_it_is() -> None:
    """H10: its cause is what a transport raises again."""
    second = UpstreamError("refused")

    failed = decide(world(claims=[FAILED, second]))

    assert isinstance(failed, Failed)
    assert failed.error is second
    assert failed.report == ExchangeReport(fwd="miss", collapsed=True, key=KEY.index.hex(), details=("unreachable",))


def test_who_leads_after_another_failed_fails_on_its_own_account() -> None:
    """P1: two calls, and no third."""
    around = world(claims=[FAILED, LEAD], upstream=UpstreamTimeout("silent"))

    answered = whole(decide(around))

    assert answered.cache_status == said("fwd=miss; key=K; detail=timeout")
    assert asked_for(around).count(Forward) == 1
    assert around.claims == []


def test_who_has_a_key_does_not_fail_with_those_who_have_none() -> None:
    """F8, P5: where everybody shares, one without a key may lead; that is about nobody else."""
    around = world(claims=[KeyMissing("A_KEY", can_be_sent=True)] * 3 + [LEAD])

    answered = ask(around)

    claims = [effect.course for effect in around.effects if isinstance(effect, Claim)]
    assert [course.is_apart for course in claims] == [False, True, True, True]
    assert answered.cache_status == said(FORWARDED)


@pytest.mark.parametrize(
    "claims",
    [[OVER, FAILED, OVER, LEAD], [FAILED, OVER, OVER, ALONE], [OVER, FAILED, LEAD], [FAILED, OVER, ALONE]],
    ids=lambda claims: ", ".join("failed" if claim is FAILED else claim.name for claim in claims),
)
def test_failures_and_landings_are_counted_each_for_itself(claims: list[ClaimResult | ShownResponse | UpstreamError]) -> None:
    """P1: one failure is no reason not to wait, nor is a landing one to fail."""
    around = world(claims=[*claims])

    answered = ask(around)

    assert (answered.cache_status, around.claims) == (said(FORWARDED), [])
    assert asked_for(around).count(Claim) == len(claims)


def test_a_hundred_callers_of_an_upstream_that_fails_call_it_twice() -> None:
    """P1, §6: and wait for two failures."""
    assert calls_made([request(*saying("nothing"))] * 100) == [1, 1]


def test_of_two_kinds_they_call_it_twice_too() -> None:
    """P1, §6: who waited for the other kind shares its failure."""
    requests = [request(*saying("nothing"), stream=bool(at % 2)) for at in range(100)]

    assert calls_made(requests) == [1, 1]


def test_who_may_not_lead_forwards_alone_after_a_failure() -> None:
    answered = ask(world(claims=[FAILED]), "no-store")

    assert answered.cache_status == said("fwd=miss; fwd-status=200; key=K; detail=no-store")


def test_without_a_store_requests_collapse_all_the_same() -> None:
    """D1, P1."""
    around = world("unreadable", claims=[another()])

    answered = follow(around)

    assert answered.cache_status == said("fwd=miss; fwd-status=200; collapsed; key=K; detail=store-unreadable")


def test_what_is_served_after_a_wait_is_served_at_the_requests_pace() -> None:
    """S7."""
    served = decide(world(claims=[OVER], lands={KEY.index: LANDS}), "on, speed=2")

    assert isinstance(served, Serve)
    assert (served.speed, served.now) == (2.0, NOW)


def test_a_transfer_is_read_by_each_from_an_offset_of_its_own() -> None:
    """P1: who follows shares what is held, and not how far it was read."""
    arrived = another()
    leader = Relay(arrived.response, MISS)
    leader.take()

    follower = decide(world(claims=[arrived]))

    assert isinstance(follower, Relay)
    assert isinstance(follower.response, LiveResponse)
    assert follower.response is leader.response
    assert (leader.at, follower.at) == (len(COMPLETION), 0)
