"""The script and what is stale: it stands in for an upstream that fails, and answers while a new one is fetched."""

from dataclasses import dataclass
from itertools import product
from typing import Any

import pytest

from cachemw.cache.directives import Abandon
from cachemw.cache.effects import Claim, ClaimResult, Effect, Failed, Forward, Lookup, Serve, ShownResponse
from cachemw.cache.exchange import STANDS_IN_FOR
from cachemw.cache.live_response import Relay, begin
from cachemw.cache.policy import FINISH_REASONS, Policy
from cachemw.cache.recording import Terms
from cachemw.endpoints.base import Demands
from cachemw.errors import TruncatedResponse, UpstreamError, UpstreamTimeout
from cachemw.limits import Limits
from cachemw.messages import Head
from cachemw.report import ExchangeReport
from tests.cache.answers import COMPLETION, JSON_HEAD, NO_REFUSALS, ORDER, TARGET, as_agreed, as_told, course, request, terms
from tests.cache.asking import AS_JSON, ASKED, KEY, ask, decide, record, said, saying, world
from tests.cache.world import NOW, World, decided, followed, whole


def with_status(error: UpstreamError, status: int = 200) -> UpstreamError:
    """Return the error of a response that broke off before anything of it was shown."""
    error.status = status
    return error


UNREACHABLE = UpstreamError("refused")

# What the upstream does, and what of it is said.
FAILURES: dict[str, tuple[UpstreamError, int, str, str]] = {
    "unreachable": (UNREACHABLE, 502, "", "unreachable"),
    "timeout": (UpstreamTimeout("silent"), 504, "", "timeout"),
    "no head": (TruncatedResponse("cut"), 502, "", "truncated"),
    "cut JSON": (with_status(TruncatedResponse("cut")), 502, "fwd-status=200; ", "truncated"),
    "broken JSON": (with_status(UpstreamError("reset")), 502, "fwd-status=200; ", "truncated"),
    "silent JSON": (with_status(UpstreamTimeout("silent")), 504, "fwd-status=200; ", "timeout"),
}
CANNOT_ANSWER = (429, 500, 502, 503, 504)
ANSWERS = (201, 204, 307, 400, 401, 403, 404, 408, 422, 501, 505)


def saying_no(status: int) -> Head:
    return Head(status, JSON_HEAD.headers)


every_failure = pytest.mark.parametrize("failure", FAILURES)
every_status = pytest.mark.parametrize("status", CANNOT_ANSWER)

# stale-if-error.


@every_failure
def test_a_stale_record_stands_in_for_an_upstream_that_gives_no_answer(failure: str) -> None:
    """H10, E1 (RFC 5861 §4)."""
    error, _, fwd_status, detail = FAILURES[failure]
    around = world("stale", upstream=error)

    answered = ask(around)

    assert answered.cache_status == said(f'fwd=stale; {fwd_status}ttl=-40; key=K; detail="stale-if-error, {detail}"')
    assert (answered.kind, answered.status, answered.body) == ("serve", 200, COMPLETION)
    assert answered.values(b"age") == [b"100"]
    assert [type(effect) for effect in around.effects] == [Lookup, Claim, Lookup, Forward, Lookup]


@every_status
def test_and_for_one_that_cannot_answer_just_now(status: int) -> None:
    """H10, E1 (RFC 5861 §4)."""
    answered = ask(world("stale", upstream=saying_no(status)))

    assert answered.cache_status == said(f"fwd=stale; fwd-status={status}; ttl=-40; key=K; detail=stale-if-error")
    assert (answered.kind, answered.status, answered.body) == ("serve", 200, COMPLETION)
    assert answered.values(b"age") == [b"100"]


def test_no_other_status_is_one() -> None:
    assert frozenset(CANNOT_ANSWER) == STANDS_IN_FOR


@pytest.mark.parametrize("status", ANSWERS)
def test_but_not_for_an_answer(status: int) -> None:
    """H10: that something is wrong with the request is worth knowing."""
    answered = ask(world("stale", upstream=saying_no(status)))

    assert answered.cache_status == said(f"fwd=stale; fwd-status={status}; key=K; detail=not-200")
    assert (answered.kind, answered.status) == ("relay", status)


def test_nor_for_a_200_that_cannot_be_kept() -> None:
    answered = ask(world("stale", upstream=Head(200, ((b"content-type", b"text/html"),))))

    assert answered.cache_status == said("fwd=stale; fwd-status=200; key=K; detail=content-type")


# Whether it may, as a table. The record is 100 seconds old, was stored for 60, and the operator's window is a day.
#
#   answer   serve: the record; fails: the error, of ours or of the upstream
MAY_STAND_IN = """
the request says               | stored     | answer | Cache-Status, less what the upstream's failure adds

nothing                        | stale      | serve  | fwd=stale; ttl=-40; key=K; detail=stale-if-error
nothing                        | stale kind | serve  | fwd=stale; ttl=-40; key=K; detail="stale-if-error, transcoded"
nothing                        | nothing    | fails  | fwd=miss; key=K
nothing                        | no usage   | fails  | fwd=miss; key=K; detail=no-usage
nothing                        | damaged    | fails  | fwd=miss; key=K; detail=bad-record
nothing                        | mismatch   | fails  | fwd=miss; key=K; detail=key-mismatch
nothing                        | unreadable | fails  | fwd=miss; key=K; detail=store-unreadable
no-store                       | stale      | serve  | fwd=stale; ttl=-40; key=K; detail="stale-if-error, no-store"
mode=read                      | stale      | serve  | fwd=stale; ttl=-40; key=K; detail="stale-if-error, mode-read"
on, pace=2                     | stale      | serve  | fwd=stale; ttl=-40; key=K; detail="stale-if-error, ignored-pace"
stale-if-error=41              | stale      | serve  | fwd=stale; ttl=-40; key=K; detail=stale-if-error
stale-if-error=40              | stale      | fails  | fwd=stale; key=K
stale-if-error=0               | stale      | fails  | fwd=stale; key=K
stale-if-error=soon            | stale      | fails  | fwd=stale; key=K
stale-if-error=999999          | stale      | serve  | fwd=stale; ttl=-40; key=K; detail=stale-if-error
max-age=100                    | stale      | serve  | fwd=stale; ttl=-40; key=K; detail=stale-if-error
max-age=99                     | stale      | fails  | fwd=stale; key=K
max-age=99, stale-if-error=999 | stale      | fails  | fwd=stale; key=K
max-age=10                     | fresh      | fails  | fwd=request; key=K
max-age=0                      | fresh      | fails  | fwd=request; key=K
min-fresh=0                    | stale      | fails  | fwd=stale; key=K
min-fresh=50                   | fresh      | fails  | fwd=request; key=K
max-stale=30                   | stale      | serve  | fwd=stale; ttl=-40; key=K; detail=stale-if-error
no-cache                       | stale      | fails  | fwd=request; key=K
no-cache                       | fresh      | fails  | fwd=request; key=K
no-cache, stale-if-error=999   | stale      | fails  | fwd=request; key=K
mode=refresh                   | stale      | fails  | fwd=request; key=K
mode=refresh                   | fresh      | fails  | fwd=request; key=K
"""


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table."""

    says: str
    stored: str
    answer: str
    cache_status: str


def rows() -> list[Row]:
    lines = [[cell.strip() for cell in line.split("|")] for line in MAY_STAND_IN.splitlines()]
    return [Row(*cells) for cells in lines if len(cells) == 4][1:]


every_row = pytest.mark.parametrize("row", rows(), ids=lambda row: f"{row.says} | {row.stored}")


def with_detail(cache_status: str, detail: str, *, is_last: bool) -> str:
    """Add one reason: before those of the request and of the store, and behind `stale-if-error`."""
    words, _, details = cache_status.partition("; detail=")
    listed = details.strip('"').split(", ") if details else []
    at = (2 if "transcoded" in listed else 1) if is_last else 0
    listed.insert(at, detail)
    return f"{words}; detail=" + (f'"{", ".join(listed)}"' if len(listed) > 1 else listed[0])


@every_row
@every_failure
def test_the_request_and_what_is_stored_decide_whether_it_may_stand_in(row: Row, failure: str) -> None:
    """H10, E1, S4."""
    error, status, fwd_status, detail = FAILURES[failure]

    answered = ask(world(row.stored, upstream=error), row.says)

    known = with_detail(row.cache_status, detail, is_last=row.answer == "serve")
    known = known.replace("; ", f"; {fwd_status}", 1) if fwd_status else known
    assert answered.cache_status == said(known)
    assert answered.kind == ("serve" if row.answer == "serve" else str(status))
    if row.answer == "serve":
        assert answered.body == (AS_JSON if row.stored == "stale kind" else COMPLETION)


@every_row
@every_status
def test_and_so_they_do_when_it_says_that_it_cannot(row: Row, status: int) -> None:
    """H10, E1, S4."""
    answered = ask(world(row.stored, upstream=saying_no(status)), row.says)

    known = row.cache_status.replace("; ", f"; fwd-status={status}; ", 1)
    if row.answer == "fails":
        known = with_detail(known, "not-200", is_last=False)
    assert answered.cache_status == said(known)
    assert (answered.kind, answered.status) == (("serve", 200) if row.answer == "serve" else ("relay", status))


@pytest.mark.parametrize("words", ["mode=replay", "only-if-cached", "only-if-cached, stale-if-error=999"])
def test_where_only_the_store_may_answer_no_upstream_fails(words: str) -> None:
    """E6: `replay` takes what is stale for its own reasons."""
    around = world("stale", upstream=UNREACHABLE)

    answered = ask(around, words)

    assert answered.cache_status == said(
        "hit; ttl=-40; key=K; detail=replay" if words == "mode=replay" else "detail=not-cached"
    )
    assert around.effects == [Lookup(KEY.index)]


UPSTREAMS = [pytest.param(UNREACHABLE, id="unreachable"), pytest.param(saying_no(503), id="503")]


@pytest.mark.parametrize("upstream", UPSTREAMS)
@pytest.mark.parametrize(
    ("window", "age", "stands_in"),
    [
        (86_400, 60 + 86_399, True),
        (86_400, 60 + 86_400, False),
        (30, 89, True),
        (30, 90, False),
        (0, 60, False),
        (0, 100, False),
    ],
)
def test_it_stands_in_within_the_operators_window(upstream: Any, window: float, age: float, stands_in: bool) -> None:
    """H10: 0 is off."""
    answered = ask(world(record(age=age), upstream=upstream), policy=Policy(stale_if_error=window))

    assert (answered.kind == "serve") == stands_in


def test_which_is_a_day() -> None:
    assert Policy().stale_if_error == 86_400


@pytest.mark.parametrize("upstream", UPSTREAMS)
def test_a_request_may_narrow_that_window_and_not_widen_it(upstream: Any) -> None:
    """RFC 5861 §4."""
    around, narrow = world("stale", upstream=upstream), Policy(stale_if_error=30, sketch=False)

    answered = [ask(around, words, policy=narrow) for words in ("nothing", "stale-if-error=999")]

    assert "serve" not in [each.kind for each in answered]


def test_and_says_nothing_where_the_operator_does_not_honour_it() -> None:
    answered = ask(world("stale", upstream=UNREACHABLE), "stale-if-error=0", policy=Policy(honour=frozenset({"on"})))

    assert answered.cache_status == said(
        'fwd=stale; ttl=-40; key=K; detail="stale-if-error, unreachable, ignored-cache-control"'
    )


@pytest.mark.parametrize("words", ["on, speed=2", "mode=read, speed=2", "on, speed=2 + no-store"])
@pytest.mark.parametrize("upstream", UPSTREAMS)
def test_what_stands_in_is_sent_at_the_requests_pace_and_nothing_is_fetched_or_stored(upstream: Any, words: str) -> None:
    """S7."""
    served = decide(world("stale", upstream=upstream), words)

    assert isinstance(served, Serve)
    assert (served.speed, served.revalidate, served.now) == (2.0, None, NOW)
    assert served.report.stored is None


def test_what_has_landed_meanwhile_answers_and_is_not_stale() -> None:
    """H10: a failure takes its time, and others have theirs."""
    around = world(upstream=UNREACHABLE, meanwhile={KEY.index: record(age=1.0)})

    answered = ask(around)

    assert answered.cache_status == said("fwd=miss; ttl=59; key=K; detail=unreachable")
    assert answered.values(b"age") == [b"1"]


def test_what_has_gone_meanwhile_does_not() -> None:
    around = world("stale", upstream=UNREACHABLE, meanwhile={KEY.index: record(proof=b"another request's")})

    answered = ask(around)

    assert (answered.status, answered.cache_status) == (502, said("fwd=stale; key=K; detail=unreachable"))


def test_an_upstream_that_fails_over_a_store_that_fails_is_the_upstreams_failure() -> None:
    """D1."""
    failed = decide(world("unreadable", upstream=UNREACHABLE))

    assert isinstance(failed, Failed)
    assert failed.error is UNREACHABLE
    key, details = KEY.index.hex(), ("unreachable", "store-unreadable")
    assert failed.report == ExchangeReport(fwd="miss", stored=False, key=key, details=details)


def test_what_is_not_ours_to_cache_has_nothing_to_stand_in() -> None:
    failed = whole(decided(request(*saying("nothing"), store=True), world("stale", upstream=UNREACHABLE)))

    assert (failed.status, failed.cache_status) == (502, 'cachemw; fwd=bypass; detail="store-requested, unreachable"')


# Who follows another's forward.


@every_status
def test_a_stale_record_stands_in_for_what_was_followed_too(status: int) -> None:
    """H10, P1."""
    response = begin(saying_no(status), terms(), NOW)
    around = world("stale", claims=[ShownResponse(response, NOW)])

    answered = ask(around)

    assert answered.cache_status == said(f"fwd=stale; fwd-status={status}; ttl=-40; collapsed; key=K; detail=stale-if-error")
    assert (answered.kind, answered.values(b"age")) == ("serve", [b"100"])


@every_failure
def test_and_when_that_failed_twice(failure: str) -> None:
    """H10, P1."""
    error, _, fwd_status, detail = FAILURES[failure]
    around = world("stale", claims=[UNREACHABLE, error])

    answered = ask(around)

    assert answered.cache_status == said(f'fwd=stale; {fwd_status}ttl=-40; collapsed; key=K; detail="stale-if-error, {detail}"')
    assert Forward not in [type(effect) for effect in around.effects]


def test_once_is_not_enough_for_that() -> None:
    """P1: somebody may still get an answer."""
    answered = ask(world("stale", claims=[UNREACHABLE, ClaimResult.LEAD]))

    assert answered.cache_status == said("fwd=stale; fwd-status=200; stored; key=K")


def test_a_reader_for_whom_nothing_may_stand_in_gets_the_error() -> None:
    """H10, P1: of two that read the same answer."""
    response = begin(saying_no(503), terms(), NOW)
    answers = [
        decide(world("stale", claims=[ShownResponse(response, NOW)]), words) for words in ("nothing", "stale-if-error=0")
    ]

    assert isinstance(answers[0], Serve)
    assert isinstance(answers[1], Relay)
    assert followed(answers[1]).cache_status == said("fwd=stale; fwd-status=503; collapsed; key=K; detail=not-200")


# stale-while-revalidate.

ANEW = Policy(stale_while_revalidate=50, sketch=False)


def served(around: World, words: str = "nothing", policy: Policy = ANEW) -> Serve:
    """Return how the request is served."""
    outcome = decide(around, words, policy)
    assert isinstance(outcome, Serve)
    return outcome


def asked_for(around: World) -> list[type[Effect]]:
    return [type(effect) for effect in around.effects]


def test_nothing_stale_is_served_for_this_reason_unless_the_operator_says_so() -> None:
    assert Policy().stale_while_revalidate == 0
    assert ask(world("stale")).kind == "relay"
    assert ask(world(record(age=60.0))).kind == "relay"


def test_a_stale_record_answers_while_a_new_one_is_fetched() -> None:
    """E1 (RFC 5861 §3): by whoever is the first to ask."""
    around = world("stale")

    answered = ask(around, policy=ANEW)

    assert answered.cache_status == said("hit; ttl=-40; key=K; detail=stale-while-revalidate")
    assert (answered.body, answered.values(b"age")) == (COMPLETION, [b"100"])
    known = ExchangeReport(hit=True, ttl=-40, key=KEY.index.hex(), details=("stale-while-revalidate",))
    assert around.effects == [
        Lookup(KEY.index),
        Claim(course(ASKED), may_lead=True, may_follow=False, on_abandon=Abandon.FINISH, report=known),
    ]


def test_it_is_fetched_on_the_terms_of_a_miss() -> None:
    """R5."""
    around = world("nothing")
    ask(around, "ttl=5", policy=ANEW)

    revalidate = served(world("stale"), "ttl=5").revalidate

    assert as_agreed(revalidate) == Terms(
        ASKED,
        KEY,
        5.0,
        86_405.0,
        Demands(FINISH_REASONS),
        16 * 2**20,
        Limits(),
        False,
        ORDER,
        waits=True,
        target=TARGET.url,
        asked_at=NOW,
        index=KEY.index,
        refusals=NO_REFUSALS,
        host=TARGET.place,
    )
    assert isinstance(around.effects[-1], Forward)
    assert as_agreed(revalidate) == around.effects[-1].terms


@pytest.mark.parametrize(
    ("claimed", "leads"), [(ClaimResult.LEAD, True), (ClaimResult.ALONE, False), (ClaimResult.OVER, False)]
)
def test_it_is_fetched_by_who_leads_and_nobody_else(claimed: ClaimResult, leads: bool) -> None:
    """P1: 100 requests for what is stale call the upstream once."""
    serve = served(world("stale", claims=[claimed]))

    assert (serve.revalidate is not None) == leads
    assert as_told(serve.report) == ExchangeReport(hit=True, ttl=-40, key=KEY.index.hex(), details=("stale-while-revalidate",))


@pytest.mark.parametrize(
    ("words", "age", "answers"),
    [
        ("nothing", 60, True),
        ("nothing", 109, True),
        ("nothing", 110, False),
        ("max-age=100", 100, True),
        ("max-age=99", 100, False),
        ("max-age=0", 100, False),
        ("min-fresh=0", 100, False),
        ("stale-if-error=0", 100, True),
        ("ttl=0", 100, True),
        ("no-store", 100, False),
        ("mode=read", 100, False),
        ("no-cache", 100, False),
        ("mode=refresh", 100, False),
        ("only-if-cached", 100, False),
    ],
)
def test_within_the_operators_window_if_the_request_takes_it_and_may_store(words: str, age: float, answers: bool) -> None:
    """§2: a request for which nothing may be fetched, or kept, does not get what is only for the while."""
    around = world(record(age=age))

    answered = ask(around, words, policy=ANEW)

    assert ("stale-while-revalidate" in answered.cache_status) == answers
    assert answered.kind == ("serve" if answers else "504" if words == "only-if-cached" else "relay")


@pytest.mark.parametrize(
    ("words", "state", "cache_status"),
    [
        ("nothing", "fresh", "hit; ttl=40; key=K"),
        ("max-stale", "stale", "hit; ttl=-40; key=K; detail=max-stale"),
        ("mode=replay", "stale", "hit; ttl=-40; key=K; detail=replay"),
        ("max-stale, only-if-cached", "stale", "hit; ttl=-40; key=K; detail=max-stale"),
        ("max-stale, no-store", "stale", "hit; ttl=-40; key=K; detail=max-stale"),
    ],
)
def test_nothing_is_fetched_for_what_may_answer_anyhow(words: str, state: str, cache_status: str) -> None:
    """R6, E6."""
    around = world(state)

    serve = served(around, words)

    assert whole(serve).cache_status == said(cache_status)
    assert (serve.revalidate, around.effects) == (None, [Lookup(KEY.index)])


def test_it_answers_in_another_kind_too_and_what_is_fetched_is_of_that_kind() -> None:
    """S4: it will answer both."""
    serve = served(world("stale kind"))

    assert whole(serve).cache_status == said('hit; ttl=-40; key=K; detail="stale-while-revalidate, transcoded"')
    assert serve.stored.body == AS_JSON
    assert serve.revalidate is not None
    assert serve.revalidate.call.kind == ASKED.kind


def test_it_answers_at_the_requests_pace() -> None:
    """S7."""
    assert served(world("stale"), "on, speed=2").speed == 2.0


@pytest.mark.parametrize("abandon", ["finish", "cancel"])
def test_the_claim_says_what_becomes_of_it(abandon: str) -> None:
    """H3."""
    around = world("stale")

    served(around, f"on, abandon={abandon}")

    assert isinstance(around.effects[-1], Claim)
    assert around.effects[-1].on_abandon is Abandon(abandon)


def test_beyond_that_window_it_may_still_stand_in() -> None:
    """H10."""
    around = world(record(age=110.0), upstream=UNREACHABLE)

    answered = ask(around, policy=ANEW)

    assert answered.cache_status == said('fwd=stale; ttl=-50; key=K; detail="stale-if-error, unreachable"')


def test_after_a_forward_that_failed_no_other_is_sent_for_what_landed_stale() -> None:
    """H10: with `ttl=0` it may."""
    around = world(upstream=UNREACHABLE, meanwhile={KEY.index: record(age=100.0)})

    serve = served(around)

    assert (serve.revalidate, serve.report.fwd, serve.report.ttl) == (None, "miss", -40)
    assert asked_for(around).count(Claim) == 1


@pytest.mark.parametrize(("state", "words"), [*product(["stale", "stale kind"], ["nothing", "on, speed=2"])])
def test_a_record_that_answers_though_stale_stays(state: str, words: str) -> None:
    """R6."""
    around = world(state)
    before = dict(around.records)

    served(around, words)

    assert around.records == before
