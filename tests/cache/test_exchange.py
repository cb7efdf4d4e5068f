"""The script, as a table: what a request says, what is stored, and what comes of it."""

from dataclasses import dataclass, replace
from typing import Any, Literal

import pytest
from msgspec.structs import replace as changing

from cachemw import Limits
from cachemw.cache import record as codec
from cachemw.cache.directives import Abandon, Directives, InvalidControl
from cachemw.cache.effects import Claim, ClaimResult, DeleteRecord, Forward, Lookup, ReadSecret, RunInThread, Serve
from cachemw.cache.exchange import refuse
from cachemw.cache.key import index_beside, indexes_beside
from cachemw.cache.live_response import Relay
from cachemw.cache.order import ALONE, Others
from cachemw.cache.passing import bypass, pass_on
from cachemw.cache.policy import FINISH_REASONS, Policy
from cachemw.cache.recording import Terms
from cachemw.endpoints import CHAT
from cachemw.endpoints import errors as refusals
from cachemw.endpoints.base import Demands
from cachemw.errors import PartitionError, StoreError, StoreTimeout, TruncatedResponse, UpstreamError, UpstreamTimeout
from cachemw.messages import AppTarget, Head, Request, Target
from cachemw.report import ExchangeReport
from tests.cache.answers import (
    COMPLETION,
    JSON_HEAD,
    NO_REFUSALS,
    ORDER,
    STREAM,
    STREAM_HEAD,
    STREAM_WITH_USAGE,
    TARGET,
    as_told,
    chat,
    request,
    with_headers,
)
from tests.cache.asking import AS_JSON, ASKED, KEY, STORED, UNPADDED, WITH_USAGE, ask, decide, record, said, saying, world
from tests.cache.world import NOW, Answer, World, answer, relayed, whole

# The table. The request asks for JSON; the upstream answers it completely.
#
#   the request says   in its Cache-Control (no-cache), in its Cachemw (mode=read), or in both (mode=read + no-cache)
#   stored             other kind, stale kind: a stream with its usage; no usage: one without, of which no JSON can be made;
#                      mismatch: same index, other proof; unreadable: the store raises
#   answer             serve: from the store; relay: the upstream's, passed on; 504: an error of ours
#   upstream           whether it is contacted
#   claim              lead: identical requests may follow this one, and it them; follow: only it them
#   kept               whether the upstream's answer is stored
#   K                  stands for the key, "1f0c…"
#
# What is stored is 20 seconds old where it is fresh and 100 where it is stale, and was stored for 60.
TABLE = """
the request says           | stored     | answer | upstream | claim  | kept | Cache-Status: cachemw; …

nothing                    | nothing    | relay  | called   | lead   | yes  | fwd=miss; fwd-status=200; stored; key=K
nothing                    | fresh      | serve  | -        | -      | -    | hit; ttl=40; key=K
nothing                    | stale      | relay  | called   | lead   | yes  | fwd=stale; fwd-status=200; stored; key=K
nothing                    | other kind | serve  | -        | -      | -    | hit; ttl=40; key=K; detail=transcoded
nothing                    | stale kind | relay  | called   | lead   | yes  | fwd=stale; fwd-status=200; stored; key=K
nothing                    | no usage   | relay  | called   | lead   | yes  | fwd=miss; fwd-status=200; stored; key=K; detail=no-usage
nothing                    | damaged    | relay  | called   | lead   | yes  | fwd=miss; fwd-status=200; stored; key=K; detail=bad-record
nothing                    | mismatch   | relay  | called   | lead   | yes  | fwd=miss; fwd-status=200; stored; key=K; detail=key-mismatch
nothing                    | unreadable | relay  | called   | lead   | no   | fwd=miss; fwd-status=200; key=K; detail=store-unreadable

no-store                   | nothing    | relay  | called   | follow | no   | fwd=miss; fwd-status=200; key=K; detail=no-store
no-store                   | fresh      | serve  | -        | -      | -    | hit; ttl=40; key=K
no-store                   | stale      | relay  | called   | follow | no   | fwd=stale; fwd-status=200; key=K; detail=no-store
no-store                   | other kind | serve  | -        | -      | -    | hit; ttl=40; key=K; detail=transcoded
no-store                   | stale kind | relay  | called   | follow | no   | fwd=stale; fwd-status=200; key=K; detail=no-store
no-store                   | no usage   | relay  | called   | follow | no   | fwd=miss; fwd-status=200; key=K; detail="no-store, no-usage"
no-store                   | damaged    | relay  | called   | follow | no   | fwd=miss; fwd-status=200; key=K; detail="no-store, bad-record"
no-store                   | mismatch   | relay  | called   | follow | no   | fwd=miss; fwd-status=200; key=K; detail="no-store, key-mismatch"
no-store                   | unreadable | relay  | called   | follow | no   | fwd=miss; fwd-status=200; key=K; detail="no-store, store-unreadable"

mode=read                  | nothing    | relay  | called   | follow | no   | fwd=miss; fwd-status=200; key=K; detail=mode-read
mode=read                  | fresh      | serve  | -        | -      | -    | hit; ttl=40; key=K
mode=read                  | stale      | relay  | called   | follow | no   | fwd=stale; fwd-status=200; key=K; detail=mode-read
mode=read                  | other kind | serve  | -        | -      | -    | hit; ttl=40; key=K; detail=transcoded
mode=read                  | stale kind | relay  | called   | follow | no   | fwd=stale; fwd-status=200; key=K; detail=mode-read
mode=read                  | no usage   | relay  | called   | follow | no   | fwd=miss; fwd-status=200; key=K; detail="mode-read, no-usage"
mode=read                  | damaged    | relay  | called   | follow | no   | fwd=miss; fwd-status=200; key=K; detail="mode-read, bad-record"
mode=read                  | mismatch   | relay  | called   | follow | no   | fwd=miss; fwd-status=200; key=K; detail="mode-read, key-mismatch"
mode=read                  | unreadable | relay  | called   | follow | no   | fwd=miss; fwd-status=200; key=K; detail="mode-read, store-unreadable"

no-cache                   | readable   | relay  | called   | -      | yes  | fwd=request; fwd-status=200; stored; key=K
no-cache                   | unreadable | relay  | called   | -      | no   | fwd=request; fwd-status=200; key=K; detail=store-unreadable
mode=refresh               | readable   | relay  | called   | -      | yes  | fwd=request; fwd-status=200; stored; key=K
mode=refresh               | unreadable | relay  | called   | -      | no   | fwd=request; fwd-status=200; key=K; detail=store-unreadable

max-age=10                 | nothing    | relay  | called   | lead   | yes  | fwd=miss; fwd-status=200; stored; key=K
max-age=10                 | fresh      | relay  | called   | lead   | yes  | fwd=request; fwd-status=200; stored; key=K
max-age=10                 | stale      | relay  | called   | lead   | yes  | fwd=stale; fwd-status=200; stored; key=K
max-age=10                 | other kind | relay  | called   | lead   | yes  | fwd=request; fwd-status=200; stored; key=K
max-age=10                 | stale kind | relay  | called   | lead   | yes  | fwd=stale; fwd-status=200; stored; key=K
max-age=10                 | no usage   | relay  | called   | lead   | yes  | fwd=miss; fwd-status=200; stored; key=K; detail=no-usage
max-age=10                 | damaged    | relay  | called   | lead   | yes  | fwd=miss; fwd-status=200; stored; key=K; detail=bad-record
max-age=10                 | mismatch   | relay  | called   | lead   | yes  | fwd=miss; fwd-status=200; stored; key=K; detail=key-mismatch
max-age=10                 | unreadable | relay  | called   | lead   | no   | fwd=miss; fwd-status=200; key=K; detail=store-unreadable

min-fresh=50               | nothing    | relay  | called   | lead   | yes  | fwd=miss; fwd-status=200; stored; key=K
min-fresh=50               | fresh      | relay  | called   | lead   | yes  | fwd=request; fwd-status=200; stored; key=K
min-fresh=50               | stale      | relay  | called   | lead   | yes  | fwd=stale; fwd-status=200; stored; key=K
min-fresh=50               | other kind | relay  | called   | lead   | yes  | fwd=request; fwd-status=200; stored; key=K
min-fresh=50               | stale kind | relay  | called   | lead   | yes  | fwd=stale; fwd-status=200; stored; key=K
min-fresh=50               | no usage   | relay  | called   | lead   | yes  | fwd=miss; fwd-status=200; stored; key=K; detail=no-usage
min-fresh=50               | damaged    | relay  | called   | lead   | yes  | fwd=miss; fwd-status=200; stored; key=K; detail=bad-record
min-fresh=50               | mismatch   | relay  | called   | lead   | yes  | fwd=miss; fwd-status=200; stored; key=K; detail=key-mismatch
min-fresh=50               | unreadable | relay  | called   | lead   | no   | fwd=miss; fwd-status=200; key=K; detail=store-unreadable

max-stale                  | nothing    | relay  | called   | lead   | yes  | fwd=miss; fwd-status=200; stored; key=K
max-stale                  | fresh      | serve  | -        | -      | -    | hit; ttl=40; key=K
max-stale                  | stale      | serve  | -        | -      | -    | hit; ttl=-40; key=K; detail=max-stale
max-stale                  | other kind | serve  | -        | -      | -    | hit; ttl=40; key=K; detail=transcoded
max-stale                  | stale kind | serve  | -        | -      | -    | hit; ttl=-40; key=K; detail="max-stale, transcoded"
max-stale                  | no usage   | relay  | called   | lead   | yes  | fwd=miss; fwd-status=200; stored; key=K; detail=no-usage
max-stale                  | damaged    | relay  | called   | lead   | yes  | fwd=miss; fwd-status=200; stored; key=K; detail=bad-record
max-stale                  | mismatch   | relay  | called   | lead   | yes  | fwd=miss; fwd-status=200; stored; key=K; detail=key-mismatch
max-stale                  | unreadable | relay  | called   | lead   | no   | fwd=miss; fwd-status=200; key=K; detail=store-unreadable

only-if-cached             | nothing    | 504    | -        | -      | -    | detail=not-cached
only-if-cached             | fresh      | serve  | -        | -      | -    | hit; ttl=40; key=K
only-if-cached             | stale      | 504    | -        | -      | -    | detail=not-cached
only-if-cached             | other kind | serve  | -        | -      | -    | hit; ttl=40; key=K; detail=transcoded
only-if-cached             | stale kind | 504    | -        | -      | -    | detail=not-cached
only-if-cached             | no usage   | 504    | -        | -      | -    | detail=not-cached
only-if-cached             | damaged    | 504    | -        | -      | -    | detail=not-cached
only-if-cached             | mismatch   | 504    | -        | -      | -    | detail=not-cached
only-if-cached             | unreadable | 504    | -        | -      | -    | detail="not-cached, store-unreadable"

mode=replay                | nothing    | 504    | -        | -      | -    | detail=not-cached
mode=replay                | fresh      | serve  | -        | -      | -    | hit; ttl=40; key=K
mode=replay                | stale      | serve  | -        | -      | -    | hit; ttl=-40; key=K; detail=replay
mode=replay                | other kind | serve  | -        | -      | -    | hit; ttl=40; key=K; detail=transcoded
mode=replay                | stale kind | serve  | -        | -      | -    | hit; ttl=-40; key=K; detail="replay, transcoded"
mode=replay                | no usage   | 504    | -        | -      | -    | detail=not-cached
mode=replay                | damaged    | 504    | -        | -      | -    | detail=not-cached
mode=replay                | mismatch   | 504    | -        | -      | -    | detail=not-cached
mode=replay                | unreadable | 504    | -        | -      | -    | detail="not-cached, store-unreadable"

mode=replay + no-cache     | anything   | 504    | -        | -      | -    | detail=not-cached
only-if-cached, no-cache   | anything   | 504    | -        | -      | -    | detail=not-cached

the finer points:

max-age=30                 | fresh      | serve  | -        | -      | -    | hit; ttl=40; key=K
max-age=30                 | stale      | relay  | called   | lead   | yes  | fwd=stale; fwd-status=200; stored; key=K
max-age=0                  | fresh      | relay  | called   | lead   | yes  | fwd=request; fwd-status=200; stored; key=K
min-fresh=30               | fresh      | serve  | -        | -      | -    | hit; ttl=40; key=K
max-stale=30               | stale      | relay  | called   | lead   | yes  | fwd=stale; fwd-status=200; stored; key=K
max-stale=50               | stale      | serve  | -        | -      | -    | hit; ttl=-40; key=K; detail=max-stale
max-stale, max-age=50      | stale      | relay  | called   | lead   | yes  | fwd=stale; fwd-status=200; stored; key=K
max-stale, only-if-cached  | stale      | serve  | -        | -      | -    | hit; ttl=-40; key=K; detail=max-stale
max-age=10, only-if-cached | fresh      | 504    | -        | -      | -    | detail=not-cached
mode=replay + max-age=10   | fresh      | serve  | -        | -      | -    | hit; ttl=40; key=K
mode=replay + no-store     | stale      | serve  | -        | -      | -    | hit; ttl=-40; key=K; detail=replay
no-cache, no-store         | fresh      | relay  | called   | -      | no   | fwd=request; fwd-status=200; key=K; detail=no-store
mode=refresh + no-store    | fresh      | relay  | called   | -      | no   | fwd=request; fwd-status=200; key=K; detail=no-store
mode=read + no-cache       | fresh      | relay  | called   | -      | no   | fwd=request; fwd-status=200; key=K; detail=mode-read
max-age=10, only-if-cached | other kind | 504    | -        | -      | -    | detail=not-cached
mode=read, pace=2          | nothing    | relay  | called   | follow | no   | fwd=miss; fwd-status=200; key=K; detail="mode-read, ignored-pace"
on, pace=2                 | fresh      | serve  | -        | -      | -    | hit; ttl=40; key=K; detail=ignored-pace
on, pace=2                 | other kind | serve  | -        | -      | -    | hit; ttl=40; key=K; detail="transcoded, ignored-pace"
mode=replay, pace=2        | nothing    | 504    | -        | -      | -    | detail="not-cached, ignored-pace"
on, speed=2                | fresh      | serve  | -        | -      | -    | hit; ttl=40; key=K
"""  # noqa: E501


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table."""

    says: str
    stored: str
    answer: str
    upstream: str
    claim: str
    kept: str
    cache_status: str


BESIDE = index_beside(KEY.index, ASKED.kind)
UNASKED = ExchangeReport(opted_in=False, endpoint="chat")

TERMS = Terms(
    ASKED,
    KEY,
    86_400.0,
    172_800.0,
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
"""On which its answer is kept, unless somebody says otherwise."""


_STANDS_FOR = {state: ("anything",) if state == "unreadable" else ("anything", "readable") for state in STORED}


def rows() -> list[Row]:
    """Read the table; `anything` stands for every state of the store, `readable` for all but the one that is not."""
    lines = [[cell.strip() for cell in line.split("|")] for line in TABLE.splitlines()]
    read = [Row(*cells) for cells in lines if len(cells) == 7][1:]
    return [replace(row, stored=state) for row in read for state in STORED if row.stored in (state, *_STANDS_FOR[state])]


every_row = pytest.mark.parametrize("row", rows(), ids=lambda row: f"{row.says} | {row.stored}")


# The table holds.


@every_row
def test_what_is_said_and_what_is_stored_decide(row: Row) -> None:
    """R5, R6, S4, K7, D1, D8, E1, E6."""
    around = world(row.stored)

    answered = ask(around, row.says)

    claims = ["lead" if effect.may_lead else "follow" for effect in around.effects if isinstance(effect, Claim)]
    kept = "no" if answered.put is None else "yes"
    assert answered.cache_status == said(row.cache_status)
    assert row == replace(
        row,
        answer=answered.kind,
        upstream="called" if any(isinstance(effect, Forward) for effect in around.effects) else "-",
        claim=" ".join(claims) or "-",
        kept=kept if answered.kind == "relay" else "-",
    )


@every_row
def test_the_client_gets_the_stored_body_or_the_upstreams_or_an_error(row: Row) -> None:
    """S4, S9, R7: nothing else is made up."""
    upstreams = COMPLETION.replace(b"Hello", b"Hello from the upstream")

    answered = answer(request(*saying(row.says)), world(row.stored), body=upstreams)

    assert (answered.status, answered.body) == {
        "serve": (200, AS_JSON if "kind" in row.stored else COMPLETION),
        "relay": (200, upstreams),
        "504": (504, refusals.not_cached()[1]),
    }[row.answer]
    assert answered.values(b"cache-control") == [b"private, no-store"]


def test_the_table_has_every_state_of_the_store_for_everything_that_can_be_said() -> None:
    states: dict[str, list[str]] = {}
    for row in rows():
        states.setdefault(row.says, []).append(row.stored)

    assert [says for says, listed in states.items() if listed == list(STORED)] == [
        "nothing",
        "no-store",
        "mode=read",
        "no-cache",
        "mode=refresh",
        "max-age=10",
        "min-fresh=50",
        "max-stale",
        "only-if-cached",
        "mode=replay",
        "mode=replay + no-cache",
        "only-if-cached, no-cache",
    ]


# What is stored.


def test_a_hit_says_how_old_it_is() -> None:
    assert ask(world("fresh")).values(b"age") == [b"20"]
    assert ask(world("stale"), "max-stale").values(b"age") == [b"100"]


def test_a_hit_looks_and_does_nothing_else() -> None:
    """R6."""
    around = world("fresh")

    ask(around)

    assert around.effects == [Lookup(KEY.index)]


@pytest.mark.parametrize(
    ("stored", "effects"), [("fresh", [Lookup, RunInThread]), ("damaged", [Lookup, RunInThread, DeleteRecord])]
)
def test_a_large_record_is_judged_where_nobody_waits_meanwhile(stored: str, effects: list[type]) -> None:
    """D5: and comes to what it would have come to at once."""
    at_once, apart = world(stored), world(stored)
    expected = ask(at_once)

    answered = ask(apart, limits=Limits(judged_bytes=10))

    assert answered == expected
    assert RunInThread not in [type(effect) for effect in at_once.effects]
    assert [type(effect) for effect in apart.effects[: len(effects)]] == effects


def test_a_record_is_stale_from_the_second_its_lifetime_ends() -> None:
    assert ask(world(record(age=59.9))).kind == "serve"
    assert ask(world(record(age=60.0))).kind == "relay"


def test_the_request_says_how_long_its_answer_is_fresh() -> None:
    put = ask(world(), "ttl=5").put

    assert put is not None
    assert codec.decode(put.record).lifetime == 5
    assert put.keep == 5 + 86_400


def test_an_answer_is_stored_under_the_requests_key_with_its_proof() -> None:
    """K7, R5: the fresh answer takes the place of the old one."""
    for put in (ask(world()).put, ask(world("fresh"), "no-cache").put, ask(world("stale")).put):
        assert put is not None
        assert (put.index, codec.decode(put.record).proof) == (KEY.index, KEY.proof)


def test_a_damaged_record_is_removed() -> None:
    """D8."""
    around = world("damaged")

    ask(around)

    assert DeleteRecord((KEY.index, *indexes_beside(KEY.index))) in around.effects


@pytest.mark.parametrize("state", ["fresh", "stale", "other kind", "stale kind", "no usage", "mismatch"])
@pytest.mark.parametrize("words", ["nothing", "no-store", "max-age=10", "no-cache", "mode=replay"])
def test_a_record_that_is_whole_is_not_removed(words: str, state: str) -> None:
    around = world(state)

    ask(around, words)

    assert around.records == {KEY.index: STORED[state]}


def test_a_record_from_which_this_kind_cannot_be_had_stays_and_this_one_lies_beside_it() -> None:
    """S4, §0.3: or callers of two kinds would drive each other's record out for ever."""
    around = world("no usage")

    put = ask(around).put

    assert put is not None
    assert (put.index, put.others) == (BESIDE, Others(beside=(KEY.index,)))
    assert codec.decode(put.record).kind == ASKED.kind
    assert [effect for effect in around.effects if isinstance(effect, Lookup)] == [Lookup(KEY.index), Lookup(BESIDE)] * 2

    around.records[put.index] = put.record
    assert ask(around).cache_status == said("hit; ttl=86400; key=K")


def test_what_can_be_had_from_the_record_lies_nowhere_else() -> None:
    """S4: a stale one of the other kind is replaced."""
    around = world("stale kind")

    put = ask(around).put

    assert put is not None
    assert (put.index, put.others) == (KEY.index, ALONE)
    assert Lookup(BESIDE) not in around.effects


@pytest.mark.parametrize("words", ["no-cache", "mode=refresh"])
@pytest.mark.parametrize("state", ["fresh", "no usage", "nothing"])
def test_a_fresh_answer_takes_the_place_of_every_kind(state: str, words: str) -> None:
    """R5, A1: what lies beside is older, and nobody is to have it any more."""
    put = ask(world(state), words).put

    assert put is not None
    assert (put.index, put.others) == (KEY.index, Others(instead_of=indexes_beside(KEY.index)))


@pytest.mark.parametrize("at", [0, 1], ids=["the first", "the one beside it"])
def test_a_damaged_record_is_removed_with_what_lies_beside_it(at: int) -> None:
    """D8."""
    around = world("no usage")
    around.records[BESIDE] = record()
    index = (KEY.index, BESIDE)[at]
    around.records[index] = around.records[index][:-1]

    answered = ask(around)

    assert DeleteRecord((KEY.index, *indexes_beside(KEY.index))) in around.effects
    assert answered.cache_status == said("fwd=miss; fwd-status=200; stored; key=K; detail=bad-record")


def test_a_stale_record_beside_another_one_stands_in_and_is_fetched_anew_beside_it() -> None:
    """§0.3: as if it lay alone."""
    around = world("no usage", upstream=UpstreamError("gone"))
    around.records[BESIDE] = record(age=100.0)

    assert ask(around).cache_status == said('fwd=stale; ttl=-40; key=K; detail="stale-if-error, unreachable"')
    forwards = [effect for effect in around.effects if isinstance(effect, Forward)]
    assert [effect.terms.index for effect in forwards if effect.terms is not None] == [BESIDE]


# Streams.


def ask_for_stream(world: World) -> Answer:
    return answer(request(*saying("nothing"), stream=True), world, body=STREAM)


def test_a_stream_leaves_before_it_is_known_whether_it_is_stored() -> None:
    answered = ask_for_stream(world(upstream=STREAM_HEAD))

    assert answered.cache_status == said("fwd=miss; fwd-status=200; key=K")
    assert answered.put is not None


def test_what_a_stream_stored_answers_the_next_one() -> None:
    """S1, S2."""
    first = ask_for_stream(world(upstream=STREAM_HEAD))
    assert first.put is not None

    second = ask_for_stream(world(first.put.record))

    assert (second.kind, second.body) == ("serve", STREAM)
    assert second.cache_status == said("hit; ttl=86400; key=K")
    assert second.values(b"content-type") == [b"text/event-stream"]


@pytest.mark.parametrize(
    ("stored", "asked"),
    [
        ({}, {"stream": True}),
        (WITH_USAGE, {"stream": False}),
        (WITH_USAGE, {"stream": True}),
        ({"stream": True}, UNPADDED),
        (UNPADDED, {"stream": True}),
    ],
    ids=["a stream of JSON", "JSON of a stream", "without usage", "unpadded", "padded, which it need not be"],
)
def test_one_record_answers_every_kind_that_can_be_made_of_it(stored: dict[str, Any], asked: dict[str, Any]) -> None:
    """S4, S5: without a word to anyone else."""
    around = world(record(chat(**stored)))

    answered = answer(request(*saying("nothing"), **asked), around)

    assert (answered.kind, answered.cache_status) == ("serve", said("hit; ttl=40; key=K; detail=transcoded"))
    assert answered.values(b"content-type")[0].startswith(b"text/event-stream" if asked["stream"] else b"application/json")
    assert around.effects == [Lookup(KEY.index)]


@pytest.mark.parametrize(
    ("stored", "asked", "detail"),
    [
        ({"stream": True}, {"stream": False}, "no-usage"),
        ({"stream": True}, WITH_USAGE, "no-usage"),
        ({}, WITH_USAGE, "no-usage"),
        ({"stream": True}, {"stream": True, "stream_options": {"x": 1}}, "other-kind"),
    ],
    ids=[
        "JSON of a stream without usage",
        "usage that is not there",
        "a stream of JSON without usage",
        "an option nobody knows",
    ],
)
def test_what_cannot_be_made_of_it_without_loss_is_a_miss(stored: dict[str, Any], asked: dict[str, Any], detail: str) -> None:
    """S4, S5: and the answer takes its place."""
    around = world(record(chat(**stored)), upstream=STREAM_HEAD if asked["stream"] else JSON_HEAD)
    body = STREAM_WITH_USAGE if asked is WITH_USAGE else STREAM if asked["stream"] else COMPLETION

    answered = answer(request(*saying("nothing"), **asked), around, body=body)

    known = "" if asked["stream"] else " stored;"
    assert answered.cache_status == said(f"fwd=miss; fwd-status=200;{known} key=K; detail={detail}")
    assert answered.put is not None


@pytest.mark.parametrize(
    ("stored", "asked"),
    [
        ({}, {"stream": False}),
        ({"stream": False}, {"stream": None, "stream_options": None}),
        ({"stream": True}, {"stream": True, "stream_options": {}}),
        ({"stream": True, "stream_options": {}}, {"stream": True, "stream_options": None}),
    ],
    ids=["absent and false", "false and null", "absent and empty", "empty and null"],
)
def test_absent_null_and_empty_are_one_kind(stored: dict[str, Any], asked: dict[str, Any]) -> None:
    answered = answer(request(*saying("nothing"), **asked), world(record(chat(**stored))))

    assert answered.kind == "serve"


# What a replay and a client that leaves are to be like.


@pytest.mark.parametrize(
    ("words", "state", "speed"),
    [
        ("nothing", "fresh", 0.0),
        ("on, speed=0", "fresh", 0.0),
        ("on, speed=2", "fresh", 2.0),
        ("on, speed=0.5", "other kind", 0.5),
        ("mode=replay, speed=1", "stale", 1.0),
    ],
)
def test_the_request_says_at_what_pace_it_is_answered_from_the_store(words: str, state: str, speed: float) -> None:
    """S7."""
    served = decide(world(state), words)

    assert isinstance(served, Serve)
    assert (served.speed, served.revalidate) == (speed, None)


def test_a_pace_is_of_no_matter_to_what_the_upstream_says() -> None:
    assert ask(world(), "on, speed=2").cache_status == said("fwd=miss; fwd-status=200; stored; key=K")


APP = AppTarget("bot", b"", b"/v1/chat/completions", b"/v1/chat/completions", b"")


@pytest.mark.parametrize("state", ["nothing", "stale"])
@pytest.mark.parametrize("target", [APP, request().target], ids=["an app", "HTTP"])
@pytest.mark.parametrize("operator", [None, "finish", "cancel"])
@pytest.mark.parametrize("client", [None, "finish", "cancel"])
def test_the_client_says_what_becomes_of_an_answer_nobody_reads_and_then_the_operator(
    client: str | None, operator: Literal["finish", "cancel"] | None, target: Target, state: str
) -> None:
    """H3: an app is told of a client that leaves, as without us."""
    around, words = world(state), "nothing" if client is None else f"on, abandon={client}"

    answer(changing(request(*saying(words)), target=target), around, Policy(on_abandon=operator, sketch=False))

    wanted = Abandon(client or operator or ("cancel" if target is APP else "finish"))
    asked_for = [effect.on_abandon for effect in around.effects if isinstance(effect, (Claim, Forward))]
    assert asked_for == [wanted, wanted]


def test_one_that_wants_a_fresh_answer_says_so_too() -> None:
    """H3."""
    around = world("fresh")

    ask(around, "mode=refresh, abandon=cancel")

    [forward] = around.effects
    assert isinstance(forward, Forward)
    assert forward.on_abandon is Abandon.CANCEL


def test_who_claims_and_who_forwards_says_what_is_known_so_far() -> None:
    """E1: its client may leave before more is."""
    around, known = world("mismatch"), ExchangeReport(fwd="miss", key=KEY.index.hex(), details=("key-mismatch",))

    ask(around)

    assert [effect.report for effect in around.effects if isinstance(effect, (Claim, Forward))] == [known, known]


# Requests that are not ours to cache.


def passed_on(*details: str) -> Forward:
    """Return how a request goes on that is not ours to cache: no flight, and it ends with its client."""
    return Forward(None, Abandon.CANCEL, ExchangeReport(fwd="bypass", stored=False, details=details))


BYPASSES = [
    pytest.param(request(body=b'{"messages":[],"n":1,"n":2}'), "ambiguous-json", id="a member twice"),
    pytest.param(request(body=b'\xef\xbb\xbf{"messages":[]}'), "ambiguous-json", id="a byte order mark"),
    pytest.param(request(body=b'{"messages":['), "invalid-json", id="half a JSON"),
    pytest.param(request(body=b"[]"), "no-messages", id="no object"),
    pytest.param(request(store=True), "store-requested", id="a side effect is wanted"),
    pytest.param(request(web_search_options={}), "web-search", id="the web is asked"),
    pytest.param(request(modalities=["text", "audio"]), "audio", id="the answer expires at the upstream"),
    pytest.param(request((b"content-encoding", b"gzip")), "encoded-request", id="a coded body"),
    pytest.param(changing(request(), headers=((b"content-type", b"application/vnd.msgpack"),)), "not-json", id="not JSON"),
]


@pytest.mark.parametrize(("asked", "detail"), BYPASSES)
def test_a_request_that_cannot_be_cached_is_passed_on(asked: Request, detail: str) -> None:
    """K9, E1: nothing is looked up, nothing is stored, and the answer says why."""
    around = world("fresh")

    answered = answer(changing(asked, headers=(*asked.headers, *saying("nothing"))), around)

    assert answered.cache_status == f"cachemw; fwd=bypass; detail={detail}"
    assert (answered.body, answered.put) == (COMPLETION, None)
    assert around.effects == [passed_on(detail)]


@pytest.mark.parametrize("words", ["mode=replay", "only-if-cached"])
@pytest.mark.parametrize(("asked", "detail"), BYPASSES)
def test_it_is_not_passed_on_where_only_the_store_may_answer(asked: Request, detail: str, words: str) -> None:
    """E6."""
    around = world("fresh")

    answered = answer(changing(asked, headers=(*asked.headers, *saying(words))), around)

    assert (answered.status, answered.cache_status) == (504, f'cachemw; detail="not-cached, {detail}"')
    assert around.effects == []


# Whose answer it is.


BEARER_A, BEARER_B = (b"authorization", b"Bearer A"), (b"authorization", b"Bearer B")


def test_two_credentials_have_two_keys() -> None:
    """I1."""
    worlds = [world(), world(), world()]

    puts = [ask(worlds[0]).put, ask(worlds[1], "nothing", BEARER_A).put, ask(worlds[2], "nothing", BEARER_B).put]

    assert len({put.index for put in puts if put is not None}) == 3


def test_a_caller_without_credentials_needs_no_secret() -> None:
    around = world("fresh", secret=StoreError("there is none"))

    answered = ask(around)

    assert answered.kind == "serve"
    assert ReadSecret() not in around.effects


def test_a_shared_partition_needs_no_secret() -> None:
    """E6: a cassette replays from a directory that holds none."""
    shared, around = Policy(partition="shared"), world(secret=StoreError("there is none"))
    put = ask(around, "nothing", BEARER_A, policy=shared).put
    assert put is not None

    answered = ask(World(records={put.index: put.record}), "nothing", BEARER_B, policy=shared)

    assert answered.kind == "serve"
    assert ReadSecret() not in around.effects


@pytest.mark.parametrize("claimed", [ClaimResult.LEAD, ClaimResult.ALONE])
def test_who_has_waited_for_the_store_in_vain_waits_no_more(claimed: ClaimResult) -> None:
    """F30, D1: it looks once, and its answer is not kept, for nobody knows where it stands among others."""
    around = World(store_error=StoreTimeout("it did not answer in time"), claims=[claimed])

    answered = ask(around)

    assert answered.cache_status == said("fwd=miss; fwd-status=200; key=K; detail=store-slow")
    assert ([effect for effect in around.effects if isinstance(effect, Lookup)], around.orders) == ([Lookup(KEY.index)], 0)
    assert answered.put is None


def test_a_store_that_raises_at_once_is_asked_as_often_as_ever() -> None:
    """D1: that costs nothing."""
    around = world("unreadable")

    answered = ask(around)

    assert ([effect for effect in around.effects if isinstance(effect, Lookup)], around.orders) == ([Lookup(KEY.index)] * 2, 1)
    assert answered.cache_status == said("fwd=miss; fwd-status=200; key=K; detail=store-unreadable")
    assert answered.put is None


def test_what_another_request_brought_is_looked_for_in_a_slow_store_too() -> None:
    """D1, P1: it may have become well, and a call is dearer than a moment."""
    around = World(store_error=StoreTimeout("it did not answer in time"), claims=[ClaimResult.OVER, ClaimResult.LEAD])

    ask(around)

    assert [effect for effect in around.effects if isinstance(effect, Lookup)] == [Lookup(KEY.index)] * 2


NOBODYS = [
    pytest.param({"secret": StoreError("gone")}, Policy(), id="the store's secret cannot be read"),
    pytest.param({"name": PartitionError("who?")}, Policy(partition=lambda _: b""), id="the operator's function raises"),
]


@pytest.mark.parametrize(("broken", "policy"), NOBODYS)
def test_where_nobody_can_say_whose_request_it_is_it_is_passed_on(broken: dict[str, Any], policy: Policy) -> None:
    """I1, D1."""
    around = world("fresh", **broken)

    answered = ask(around, "nothing", BEARER_A, policy=policy)

    assert answered.cache_status == "cachemw; fwd=bypass; detail=no-partition"
    assert around.effects[1:] == [passed_on("no-partition")]


@pytest.mark.parametrize(("broken", "policy"), NOBODYS)
def test_and_is_refused_where_only_the_store_may_answer(broken: dict[str, Any], policy: Policy) -> None:
    around = world("fresh", **broken)

    answered = ask(around, "mode=replay", BEARER_A, policy=policy)

    assert (answered.status, answered.cache_status) == (504, 'cachemw; detail="not-cached, no-partition"')
    assert len(around.effects) == 1


# What the upstream does.


@pytest.mark.parametrize(
    ("error", "status", "detail"),
    [
        (UpstreamError("refused"), 502, "unreachable"),
        (UpstreamTimeout("silent"), 504, "timeout"),
        (TruncatedResponse("cut"), 502, "truncated"),
    ],
    ids=["unreachable", "timeout", "cut in its head"],
)
@pytest.mark.parametrize(
    ("words", "state", "cache_status"),
    [
        ("nothing", "nothing", "fwd=miss; key=K"),
        ("max-age=10", "stale", "fwd=stale; key=K"),
        ("max-age=10", "fresh", "fwd=request; key=K"),
        ("no-cache", "fresh", "fwd=request; key=K"),
        ("mode=refresh", "stale", "fwd=request; key=K"),
    ],
)
def test_an_upstream_that_cannot_answer_is_an_error_of_ours(
    error: UpstreamError, status: int, detail: str, words: str, state: str, cache_status: str
) -> None:
    """E1."""
    answered = ask(world(state, upstream=error), words)

    assert (answered.status, answered.cache_status) == (status, said(f"{cache_status}; detail={detail}"))
    assert f'"upstream_{detail}"'.encode() in answered.body


def test_a_request_that_is_passed_on_meets_the_same_errors() -> None:
    answered = answer(request(*saying("nothing"), store=True), world(upstream=UpstreamTimeout("silent")))

    assert (answered.status, answered.cache_status) == (504, 'cachemw; fwd=bypass; detail="store-requested, timeout"')


RETRY_LATER = Head(429, ((b"content-type", b"application/json"), (b"retry-after", b"7")))


@pytest.mark.parametrize(
    ("head", "cache_status"),
    [
        (RETRY_LATER, "fwd=miss; fwd-status=429; key=K; detail=not-200"),
        (Head(500, JSON_HEAD.headers), "fwd=miss; fwd-status=500; key=K; detail=not-200"),
        (Head(307, ((b"location", b"/elsewhere"),)), "fwd=miss; fwd-status=307; key=K; detail=not-200"),
        (Head(200, ((b"content-type", b"text/html"),)), "fwd=miss; fwd-status=200; key=K; detail=content-type"),
        (Head(200, ()), "fwd=miss; fwd-status=200; key=K; detail=content-type"),
        (STREAM_HEAD, "fwd=miss; fwd-status=200; key=K; detail=content-type"),
        (with_headers(JSON_HEAD, (b"content-encoding", b"br")), "fwd=miss; fwd-status=200; key=K; detail=encoded-answer"),
        (with_headers(JSON_HEAD, (b"cachemw", b"off")), "fwd=miss; fwd-status=200; key=K; detail=kept-out"),
        (with_headers(JSON_HEAD, (b"cachemw", b"on=?0")), "fwd=miss; fwd-status=200; key=K; detail=kept-out"),
        (with_headers(JSON_HEAD, (b"cachemw", b"of f")), "fwd=miss; fwd-status=200; key=K; detail=kept-out"),
        (with_headers(JSON_HEAD, (b"cachemw", b"on")), "fwd=miss; fwd-status=200; stored; key=K"),
        (with_headers(JSON_HEAD, (b"content-encoding", b"identity")), "fwd=miss; fwd-status=200; stored; key=K"),
    ],
    ids=[
        "too many requests",
        "a server error",
        "a redirect",
        "a page",
        "of no type",
        "a stream nobody asked for",
        "coded",
        "Cachemw: off",
        "Cachemw: on=?0",
        "Cachemw that cannot be read",
        "Cachemw: on",
        "not coded",
    ],
)
def test_every_answer_passes_but_not_every_one_is_kept(head: Head, cache_status: str) -> None:
    """R2, H10."""
    answered = ask(world(upstream=head))

    assert answered.cache_status == said(cache_status)
    assert (answered.status, answered.body) == (head.status, COMPLETION)
    assert (answered.put is not None) == ("stored" in cache_status)


def test_what_tells_a_client_to_come_back_later_reaches_it() -> None:
    """H10."""
    assert ask(world(upstream=RETRY_LATER)).values(b"retry-after") == [b"7"]


def test_the_word_that_keeps_an_answer_out_is_for_us_alone() -> None:
    assert ask(world(upstream=with_headers(JSON_HEAD, (b"cachemw", b"off")))).values(b"cachemw") == []


@pytest.mark.parametrize(
    ("words", "state", "is_kept"),
    [
        ("nothing", "nothing", True),
        ("nothing", "stale", True),
        ("max-age=10", "fresh", True),
        ("no-store", "nothing", False),
        ("mode=read", "nothing", False),
        ("no-cache, no-store", "nothing", False),
        ("mode=read + no-cache", "nothing", False),
    ],
)
def test_what_may_be_kept_is_forwarded_on_terms(words: str, state: str, is_kept: bool) -> None:
    """R5: so that plain bytes are asked for only where they are needed."""
    around = world(state)

    ask(around, words)

    assert isinstance(around.effects[-1], Forward)
    assert around.effects[-1].terms == (TERMS if is_kept else None)


def test_the_terms_are_the_operators_and_the_requests() -> None:
    """R3, D7."""
    only_tools, around = frozenset({"tool_calls"}), world()
    policy = Policy(
        lifetime=50,
        max_lifetime=70,
        stale_while_revalidate=9,
        stale_if_error=5,
        store_when=only_tools,
        max_record_bytes=9,
        sketch=False,
    )

    kept = []
    for words in ("nothing", "ttl=60", "ttl=80"):
        ask(around, words, policy=replace(policy, keep_requests=words == "nothing"))
        kept.append(around.effects[-1])

    asked = Terms(
        ASKED,
        KEY,
        50.0,
        59.0,
        Demands(only_tools),
        9,
        Limits(),
        True,
        ORDER,
        waits=True,
        target=TARGET.url,
        asked_at=NOW,
        index=KEY.index,
        refusals=NO_REFUSALS,
        host=TARGET.place,
    )
    later = [changing(asked, lifetime=ttl, keep=ttl + 9, keep_request=False) for ttl in (60.0, 70.0)]
    assert [effect.terms for effect in kept if isinstance(effect, Forward)] == [asked, *later]


def test_json_that_is_not_stored_says_why() -> None:
    """R3, E1."""
    answered = ask(world(), policy=Policy(store_when=frozenset({"length"})))

    assert answered.cache_status == said("fwd=miss; fwd-status=200; key=K; detail=finish-stop")
    assert answered.put is None


def test_json_that_is_too_large_says_so() -> None:
    """D7, E1."""
    answered = ask(world(), policy=Policy(max_record_bytes=len(COMPLETION) - 1))

    assert answered.cache_status == said("fwd=miss; fwd-status=200; key=K; detail=record-too-large")
    assert (answered.body, answered.put) == (COMPLETION, None)


def test_why_an_answer_is_not_kept_comes_first() -> None:
    answered = ask(world("mismatch", upstream=RETRY_LATER), "on, pace=2")

    assert answered.cache_status == said('fwd=miss; fwd-status=429; key=K; detail="not-200, key-mismatch, ignored-pace"')


# What never gets as far as the table.


def test_a_control_header_that_cannot_be_obeyed_is_refused_and_nothing_is_contacted() -> None:
    """E7."""
    around = world("fresh")

    refused = whole(around.run(refuse(CHAT, request(), InvalidControl("ttl", "ttl has a value that cannot be used"))))

    assert (refused.status, refused.cache_status) == (400, "cachemw; detail=invalid-cachemw")
    assert b"invalid_cachemw" in refused.body
    assert around.effects == []


def test_what_is_no_chat_request_is_passed_on_and_says_so() -> None:
    around = world("fresh")

    relay = around.run(bypass("other-path", None, request(), Directives(), Policy()))

    assert isinstance(relay, Relay)
    assert relayed(relay, b"{}").cache_status == "cachemw; fwd=bypass; detail=other-path"
    assert around.effects == [passed_on("other-path")]


def test_a_client_that_did_not_opt_in_is_passed_on_and_told_nothing() -> None:
    """D9."""
    around = world("fresh", upstream=RETRY_LATER)

    relay = around.run(pass_on(UNASKED, CHAT, request(), Policy()))

    assert isinstance(relay, Relay)
    passed = relayed(relay, b"later")
    assert (passed.status, passed.headers, passed.body, passed.put) == (429, RETRY_LATER.headers, b"later", None)
    assert as_told(relay.report) == as_told(UNASKED)
    assert around.effects == [Forward(None, Abandon.CANCEL, as_told(UNASKED))]


def test_a_client_that_did_not_opt_in_meets_the_same_errors() -> None:
    failed = whole(world(upstream=UpstreamTimeout("silent")).run(pass_on(UNASKED, CHAT, request(), Policy())))

    assert failed.status == 504
    assert failed.values(b"cache-status") == []
