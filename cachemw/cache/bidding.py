"""Put together what is forwarded: to one target, or to several that are asked in order, each with a body of its own."""

from collections.abc import Generator
from typing import Any, Literal

from msgspec.structs import replace

from cachemw.cache.effects import Bidding, Effect, Forward, Ordered
from cachemw.cache.freshness import is_fresh
from cachemw.cache.lookup import NoMatch, Query
from cachemw.cache.plans import AskedBid, AskedBids, Plan
from cachemw.cache.policy import Policy
from cachemw.cache.questions import rewritten_for
from cachemw.cache.recording import Terms
from cachemw.cache.slate import Slate, Survey, body_for, others_of
from cachemw.cache.terms import terms_of
from cachemw.messages import Request
from cachemw.report import STORE_SLOW, ExchangeReport


def forward_for(
    slate: Slate, survey: Survey, order: Ordered | str, report: ExchangeReport, *, author_first: bool = False
) -> Generator[Effect, Any, Forward]:
    """Return the forward of a request: to the targets that the survey left to ask, or to the author of what is stale first."""
    query, plan = survey.query, slate.plan
    errors = query.call.endpoint.errors
    if plan is None:
        rewritten = yield from rewritten_for(query.request, query.policy, query)
        return Forward(_terms(slate, survey, 0, order), query.on_abandon, report, rewritten, errors)
    bids: tuple[AskedBid, ...] = ()
    positions = _author_first(slate, query) if author_first else survey.order
    for position in positions:
        bids = (*bids, (yield from _asked(slate.queries[position], position)))
    asked = AskedBids(plan, bids, query.call.kind.stream, query.request.caller, _in_reserve(survey))
    terms = tuple([_terms(slate, survey, position, order) for position in positions])
    return Forward(terms[0], query.on_abandon, report, (), errors, Bidding(asked, terms))


def _in_reserve(survey: Survey) -> Literal["fresh", "stale"] | None:
    if survey.stands_in is None:
        return None
    return "fresh" if is_fresh(survey.stands_in[1].stored, survey.now) else "stale"


def _author_first(slate: Slate, author: Query) -> tuple[int, ...]:
    position = slate.queries.index(author)
    if position not in slate.order:
        return slate.order
    return (position, *[other for other in slate.order if other != position])


def _asked(query: Query, position: int) -> Generator[Effect, Any, AskedBid]:
    assert query.bid is not None  # noqa: S101 - it is one of a plan's
    rewritten = yield from rewritten_for(query.request, query.policy, query)
    return AskedBid(position, query.bid, body_for(query.request, query.bid), rewritten)


def _terms(slate: Slate, survey: Survey, position: int, order: Ordered | str) -> Terms | None:
    query = slate.queries[position]
    if not query.asked.may_store:
        return None
    found = survey.found_at(position)
    waits = not (isinstance(found, NoMatch) and found.detail == STORE_SLOW)
    instead_of = others_of(slate, query) if query.asked.wants_fresh_answer else ()
    return terms_of(query, order, found, waits=waits, also_instead_of=instead_of)


def relayed_bids(request: Request, policy: Policy, plan: Plan) -> Generator[Effect, Any, Bidding]:
    """Return the forward of a request whose answer is only relayed, to all whom its plan asks."""
    bids: list[AskedBid] = []
    for position in plan.order:
        bid = plan.bids[position]
        rewritten = yield from rewritten_for(replace(request, target=bid.target), policy, None)
        bids.append(AskedBid(position, bid, body_for(request, bid), rewritten))
    return Bidding(AskedBids(plan, tuple(bids), plan.is_stream, request.caller), (None,) * len(bids))
