"""Which outcomes may be given again: hits that are plain, and for as long as what they were made of is there."""

from dataclasses import dataclass, field

import pytest
from msgspec.structs import replace

from cachemw.cache import record as codec
from cachemw.cache.directives import UNRESTRICTED, CacheControl
from cachemw.cache.effects import Basis, ClaimResult, Forward, Lookup, Outcome, Serve, ShownResponse
from cachemw.cache.key import index_beside
from cachemw.cache.live_response import Relay, begin
from cachemw.cache.policy import Policy
from cachemw.errors import UpstreamError
from cachemw.messages import Head, Request
from tests.cache.answers import chat, request
from tests.cache.asking import ASKED, KEY, STORED, record, saying, world
from tests.cache.world import NOW, World, decided

BESIDE = index_beside(KEY.index, ASKED.kind)
FRESH, STALE, OTHER_KIND, OF_NO_USE = STORED["fresh"], STORED["stale"], STORED["other kind"], STORED["no usage"]
REVALIDATING = Policy(stale_while_revalidate=100)
FAILED = UpstreamError("nobody there")


@dataclass(frozen=True)
class Row:
    """A request, what is stored where it looks, and whether what it is given may be given again."""

    says: str
    stored: bytes | None
    is_recallable: bool
    beside: bytes | None = None
    policy: Policy = field(default_factory=Policy)
    claims: tuple[ClaimResult | ShownResponse | UpstreamError, ...] = ()
    lands: bytes | None = None
    upstream: Head | UpstreamError | None = None


ROWS = {
    "plain": Row("nothing", FRESH, True),
    "of another kind": Row("nothing", OTHER_KIND, True),
    "beside one of another kind": Row("nothing", OF_NO_USE, True, beside=FRESH),
    "beside one of another kind that ends earlier": Row("nothing", record(chat(stream=True), age=50.0), True, beside=FRESH),
    "beside one of another kind that is stale": Row("nothing", record(chat(stream=True), age=100.0), True, beside=FRESH),
    "beside one of another kind, stale": Row("max-stale", OF_NO_USE, False, beside=STALE),
    "what lies beside is not looked at where the first answers": Row("nothing", FRESH, True, beside=STALE),
    "at once": Row("on, speed=0", FRESH, True),
    "as recorded": Row("on, speed=1", FRESH, False),
    "twice as fast": Row("on, speed=2.5", FRESH, False),
    "max-age": Row("max-age=50", FRESH, False),
    "min-fresh": Row("min-fresh=5", FRESH, False),
    "max-stale, in seconds": Row("max-stale=50", FRESH, False),
    "max-stale, however many": Row("max-stale", FRESH, False),
    "max-stale, and it is": Row("max-stale=50", STALE, False),
    "stale-if-error, which does not bound a hit": Row("stale-if-error=5", FRESH, True),
    "no-store": Row("no-store", FRESH, True),
    "only-if-cached": Row("only-if-cached", FRESH, True),
    "only-if-cached, and it is not": Row("only-if-cached", None, False),
    "an unknown directive": Row("max-turns=5", FRESH, True),
    "mode=read": Row("mode=read", FRESH, True),
    "mode=refresh": Row("mode=refresh", FRESH, False),
    "no-cache": Row("no-cache", FRESH, False),
    "mode=replay": Row("mode=replay", FRESH, True),
    "mode=replay of what is stale": Row("mode=replay", STALE, False),
    "mode=replay of what is not there": Row("mode=replay", None, False),
    "a ttl of one's own": Row("ttl=7", FRESH, True),
    "ignored members": Row("on, colour=blue", FRESH, True),
    "abandon": Row("on, abandon=finish", FRESH, True),
    "a miss": Row("nothing", None, False),
    "a stale one": Row("nothing", STALE, False),
    "a damaged one": Row("nothing", STORED["damaged"], False),
    "another request's": Row("nothing", STORED["mismatch"], False),
    "stale-while-revalidate": Row("nothing", STALE, False, policy=REVALIDATING),
    "stale-while-revalidate, which another one does": Row(
        "nothing", STALE, False, policy=REVALIDATING, claims=(ClaimResult.ALONE,)
    ),
    "stale-while-revalidate, not stale": Row("nothing", FRESH, True, policy=REVALIDATING),
    "stale-if-error": Row("nothing", STALE, False, upstream=FAILED),
    "stale-if-error, of a status": Row("nothing", STALE, False, upstream=Head(503, ())),
    "collapsed": Row("nothing", None, False, claims=(ClaimResult.OVER,), lands=record(age=0.0)),
    "found after another's forward failed": Row("nothing", None, True, claims=(FAILED,), lands=record(age=0.0)),
    "found while it waited to lead": Row("nothing", None, True, claims=(ClaimResult.LEAD,), lands=record(age=0.0)),
    "followed live": Row(
        "nothing",
        None,
        False,
        claims=(ShownResponse(begin(Head(200, ((b"content-type", b"application/json"),)), None, NOW), NOW),),
    ),
}


def around(row: Row) -> World:
    there = {KEY.index: row.stored, BESIDE: row.beside}
    found = world(claims=list(row.claims), lands={} if row.lands is None else {KEY.index: row.lands})
    found.records = {index: stored for index, stored in there.items() if stored is not None}
    found.upstream = row.upstream or found.upstream
    return found


def given(asked: Request, row: Row, here: World) -> Outcome:
    return decided(asked, here, row.policy)


@pytest.mark.parametrize("name", ROWS)
def test_what_may_be_given_again_and_what_may_not(name: str) -> None:
    """C4, V1: as long as what was looked at is as it was found, nothing included."""
    row, asked = ROWS[name], request(*saying(ROWS[name].says))
    here = around(row)
    there = dict(here.records)

    outcome = given(asked, row, here)

    basis = outcome.basis if isinstance(outcome, Serve) else None
    assert (basis is not None) == row.is_recallable
    if basis is None:
        return
    assert isinstance(outcome, Serve)
    looked = [effect.index for effect in here.effects if isinstance(effect, Lookup)]
    there |= here.lands
    assert basis.found == tuple((index, there.get(index)) for index in dict.fromkeys(looked))
    found = [codec.decode(known) for _, known in basis.found if known is not None]
    assert basis.fresh_until == min(one.stored_at + one.lifetime for one in found)
    assert (outcome.report.hit, outcome.report.fwd, outcome.report.collapsed, outcome.revalidate) == (True, None, False, None)


@pytest.mark.parametrize("partition", ["shared", "a function"])
def test_whose_partition_a_function_names_is_asked_for_each_time(partition: str) -> None:
    """C1, I1: it may read anything. A shared one reads nothing."""
    policy = Policy(partition="shared" if partition == "shared" else lambda _: None)
    row = Row("nothing", None, False, policy=policy)
    first = around(row)
    miss = given(request(*saying("nothing")), row, first)
    assert isinstance(miss, Relay)
    (index,) = {effect.index for effect in first.effects if isinstance(effect, Lookup)}
    (terms,) = [effect.terms for effect in first.effects if isinstance(effect, Forward)]
    assert terms is not None
    kept = codec.encode(replace(codec.decode(record()), proof=terms.key.proof))

    hit = given(request(*saying("nothing")), row, World(records={index: kept}))

    assert isinstance(hit, Serve)
    assert hit.report.hit
    assert hit.basis == (Basis(((index, kept),), NOW + 40.0) if partition == "shared" else None)


@pytest.mark.parametrize(
    ("control", "bounds"),
    [
        (UNRESTRICTED, False),
        (CacheControl(no_store=True, no_cache=True, only_if_cached=True, stale_if_error=0.0), False),
        (CacheControl(max_age=0), True),
        (CacheControl(min_fresh=0.0), True),
        (CacheControl(max_stale=0.0), True),
        (CacheControl(max_age=5, min_fresh=5, max_stale=5), True),
    ],
)
def test_a_bound_in_seconds_is_one_though_it_is_none(control: CacheControl, bounds: bool) -> None:
    """C4"""
    assert control.bounds_age == bounds


def test_a_hit_beside_a_large_record_is_decided_each_time() -> None:
    """C4: to learn when that one ends takes long."""
    large = record(chat(stream=True), request=bytes(300_000))

    outcome = decided(request(*saying("nothing")), around(Row("nothing", large, False, beside=FRESH)))

    assert isinstance(outcome, Serve)
    assert outcome.basis is None
