"""Put together what is forwarded: to one target, or to several that are asked in order, each with a body of its own."""

from collections.abc import Generator
from typing import Any, Literal

from msgspec.structs import replace

from cachemw.cache.effects import Bidding, Effect, Forward, Ordered
from cachemw.cache.freshness import is_fresh
from cachemw.cache.lookup import NoMatch, Query
from cachemw.cache.plans import AskedBid, AskedBids, Closed, Plan
from cachemw.cache.policy import Policy
from cachemw.cache.presentation import Presentation
from cachemw.cache.questions import rewritten_for, sketch_for
from cachemw.cache.recording import Terms
from cachemw.cache.sent_call import LocalAnswer, SentCall, said_for_bid, translated_request
from cachemw.cache.slate import Slate, Survey, body_for, others_of
from cachemw.cache.terms import terms_of
from cachemw.endpoints.base import Endpoint
from cachemw.messages import Headers, Request
from cachemw.report import STORE_SLOW, ExchangeReport


def forward_for(
    slate: Slate, survey: Survey, order: Ordered | str, report: ExchangeReport, *, author_first: bool = False
) -> Generator[Effect, Any, Forward]:
    """Return the forward of a request: to the targets that the survey left to ask, or to the author of what is stale first."""
    query, plan = survey.query, slate.plan
    if plan is None:
        rewritten = yield from rewritten_for(query.request, query.policy, query)
        sent = (rewritten, query.errors, None, translated_request(query.request, query.presentation))
        terms = yield from _terms(slate, survey, 0, order)
        return Forward(terms, query.on_abandon, report, *sent)
    bids: tuple[AskedBid, ...] = ()
    positions = _author_first(slate, query) if author_first else survey.order
    for position in positions:
        bids = (*bids, (yield from _asked(slate.queries[position], position)))
    asked = AskedBids(plan, bids, query.call.kind.stream, query.request.caller, _in_reserve(survey))
    of_each: tuple[Terms | None, ...] = ()
    for position in positions:
        of_each = (*of_each, (yield from _terms(slate, survey, position, order)))
    return Forward(of_each[0], query.on_abandon, report, (), query.errors, Bidding(asked, of_each))


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
    endpoint, translated = query.call.endpoint, translated_request(query.request, query.presentation)
    if translated is not None:
        return AskedBid(position, query.bid, translated.body, rewritten, endpoint, translated)
    return AskedBid(position, query.bid, body_for(query.request, query.bid), rewritten, endpoint)


def _terms(slate: Slate, survey: Survey, position: int, order: Ordered | str) -> Generator[Effect, Any, Terms | None]:
    query = slate.queries[position]
    if not query.asked.may_store:
        return None
    found = survey.found_at(position)
    waits = not (isinstance(found, NoMatch) and found.detail == STORE_SLOW)
    instead_of = others_of(slate, query) if query.asked.wants_fresh_answer else ()
    sketch = yield from sketch_for(query, order)
    return terms_of(query, order, found, sketch=sketch, waits=waits, also_instead_of=instead_of)


def relayed_bids(
    endpoint: Endpoint | None, request: Request, policy: Policy, plan: Plan
) -> Generator[Effect, Any, Bidding | LocalAnswer | Closed]:
    """Return the forward of a request whose answer is only relayed, to all whom its plan asks and it can be said to."""
    bids: list[AskedBid] = []
    presentations: list[Presentation | None] = []
    instead: Closed | None = None
    in_reserve = [position for position in range(len(plan.bids)) if position not in plan.order]
    for position in (*plan.order, *in_reserve):
        if bids and position in in_reserve:
            break  # one that is cooling is asked where the request can be said to no other
        bid = plan.bids[position]
        said = None if endpoint is None else said_for_bid(endpoint, request, plan, bid, policy)
        if isinstance(said, LocalAnswer) and not bids:
            return said  # nobody who comes later is asked what need not be asked
        if isinstance(said, LocalAnswer):
            continue
        if isinstance(said, Closed):
            instead = instead or said
            continue
        sent = request if said is None else said.request
        rewritten = yield from rewritten_for(replace(sent, target=bid.target), policy, None)
        bids.append(_relayed_bid(endpoint, request, plan, position, said, rewritten))
        presentations.append(None if said is None else said.presentation)
    if instead is not None and not bids:
        return instead
    asked = AskedBids(plan, tuple(bids), plan.is_stream, request.caller)
    return Bidding(asked, (None,) * len(bids), tuple(presentations))


def _relayed_bid(
    endpoint: Endpoint | None, request: Request, plan: Plan, position: int, said: SentCall | None, rewritten: Headers
) -> AskedBid:
    bid = plan.bids[position]
    if said is None:
        return AskedBid(position, bid, body_for(request, bid), rewritten, endpoint)
    return AskedBid(position, bid, said.body, rewritten, said.endpoint, said.translated)
