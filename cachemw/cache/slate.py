"""The slate of a request: one query for each target that may answer it, and what the store holds for each.

Without a gateway there is one target, and one query.
"""

from collections.abc import Sequence

import msgspec
from msgspec.structs import replace

from cachemw.cache.directives import Abandon, Directives
from cachemw.cache.effects import Basis
from cachemw.cache.freshness import is_fresh
from cachemw.cache.key import client_code, fingerprint, frame, indexes_beside
from cachemw.cache.lookup import Match, NoMatch, Query, basis_of
from cachemw.cache.plans import Bid, Closed, Plan, without_bids
from cachemw.cache.policy import Policy
from cachemw.cache.presentation import Presentation
from cachemw.cache.recording import KeptRequest
from cachemw.cache.refusals import LastRefusals
from cachemw.cache.sent_call import LocalAnswer, SentCall, said_for_bid
from cachemw.endpoints.base import ApiCall, Bypass, Endpoint
from cachemw.endpoints.sent import sent_body
from cachemw.limits import Limits, Work
from cachemw.messages import Request
from cachemw.redaction import redacted_repr
from cachemw.report import ExchangeReport


class Received(msgspec.Struct, frozen=True):
    """A call whose client opted in, as it came, and all besides a target that its queries are made of.

    To a target of another dialect than its `endpoint` there is a `presentation` of the answers; then request and call are as
    they are sent, and `kept` is what records hold of the request as it came. `sent_partition` is the caller's at targets of a
    route that are spoken to in another dialect.
    """

    endpoint: Endpoint
    request: Request
    asked: Directives
    policy: Policy
    limits: Limits
    partition: bytes
    on_abandon: Abandon
    refusals: LastRefusals
    bytes_in: int | None
    call: ApiCall
    presentation: Presentation | None = None
    kept: KeptRequest | None = None
    sent_partition: bytes | None = None
    attempts: int = 0
    """How often it was forwarded before, otherwise."""

    __repr__ = redacted_repr

    def query(self) -> Query:
        """Return the query for the answer of the request's own target."""
        target = self.request.target.called(self.call.model)
        return self._query(self.request, self.call, target, self.presentation, self.kept)

    def bid_query(self, bid: Bid, plan: Plan) -> Query | Bypass | LocalAnswer | Closed:
        """Return the query for the answer of a target, of the request as that is sent it; `Closed` where it cannot be."""
        said = said_for_bid(self.endpoint, self.request, plan, bid, self.policy, self.limits.work)
        if isinstance(said, SentCall):
            return self._said_query(said, bid, plan)
        if said is not None:
            return said
        call = self._call_for(bid)
        if isinstance(call, Bypass):
            return call
        return _bidding(self._query(replace(self.request, target=bid.target), call, bid.name, None), bid, plan)

    def _said_query(self, said: SentCall, bid: Bid, plan: Plan) -> Query | Bypass:
        policy, work = self.policy, self.limits.work
        call = said.endpoint.read(said.endpoint, said.request, policy.bookkeeping, work, policy.cache_stored)
        if isinstance(call, Bypass):
            return call
        came = KeptRequest(self.endpoint.name, self.call.canonical)
        apart = self if self.sent_partition is None else replace(self, partition=self.sent_partition)
        return _bidding(apart._query(said.request, call, bid.name, said.presentation, came), bid, plan)

    def _call_for(self, bid: Bid) -> ApiCall | Bypass:
        """Return the call that a target is sent; what the operator sets or drops may make it one of another kind."""
        policy, rewrite, sent = self.policy, bid.rewrite, self.endpoint.sent
        if sent is not None and not (rewrite.set or rewrite.drop):
            return sent(self.call, bid.target, rewrite.model, policy.bookkeeping)
        request = replace(self.request, target=bid.target, body=body_for(self.request, bid) or self.request.body)
        return self.endpoint.read(self.endpoint, request, policy.bookkeeping, self.limits.work, policy.cache_stored)

    def _query(
        self,
        request: Request,
        call: ApiCall,
        target: str,
        presentation: Presentation | None,
        received: KeptRequest | None = None,
    ) -> Query:
        asked, policy = self.asked, self.policy
        rules = policy.header_rules
        key = fingerprint(request, call.canonical, self.partition, asked.namespace, asked.sample, rules)
        report = ExchangeReport(
            key=key.index.hex(),
            endpoint=self.endpoint.name,
            target=target,
            client=client_code(request.caller, self.partition),
            namespace=asked.namespace,
            model=call.model,
            stream=call.kind.stream,
            bytes_in=self.bytes_in,
        )
        return Query(
            *(key, call, asked, policy, self.limits, self.on_abandon, request, report, self.refusals),
            errors=self.endpoint.errors,
            presentation=presentation,
            received=received,
        )


def kept_request(endpoint: Endpoint, request: Request, policy: Policy, work: Work) -> KeptRequest | None:
    """Return what records hold of a request that is translated: its own canonical body, or all of one that has none."""
    if not policy.keep_requests or not isinstance(request.body, bytes):
        return None
    call = endpoint.read(endpoint, request, policy.bookkeeping, work, policy.cache_stored)
    return KeptRequest(endpoint.name, request.body if isinstance(call, Bypass) else call.canonical)


def _bidding(query: Query, bid: Bid, plan: Plan) -> Query:
    return replace(query, bid=bid, report=replace(query.report, route=plan.route, tried=plan.tried))


def body_for(request: Request, bid: Bid) -> bytes | None:
    """Return the body of a request as the target is sent it that bids for it; `None` where it was not read."""
    return sent_body(request.body, bid.rewrite) if isinstance(request.body, bytes) else None


class Slate(msgspec.Struct, frozen=True):
    """The queries of a request, in the written order of their targets, and the plan that names those."""

    queries: tuple[Query, ...]
    plan: Plan | None = None

    __repr__ = redacted_repr

    @property
    def question(self) -> bytes:
        """Return what a forward is claimed under: two requests have one question only if they have one key at every target.

        Nor has who has a deadline the question of who waits for longer.
        """
        deadline = None if self.plan is None else self.plan.deadline
        if self.plan is None or len(self.queries) == 1 and deadline is None:
            return self.queries[0].key.parts
        tiers = [frame([b"%d" % query.tier, query.key.proof]) for query in self.queries]
        return frame([b"route", self.plan.pick.encode(), self.plan.on_refusal.encode(), b"%r" % deadline, *tiers])

    @property
    def order(self) -> tuple[int, ...]:
        """Return the positions of those who are asked now, in order."""
        return (0,) if self.plan is None else self.plan.order

    @property
    def closed(self) -> Closed | None:
        """Return why nobody is asked, if nobody is."""
        return None if self.plan is None else self.plan.closed

    @property
    def detail(self) -> str | None:
        """Return what the plan says of itself."""
        return None if self.plan is None else self.plan.detail

    @property
    def first(self) -> Query:
        """Return the query of who is asked first."""
        return self.queries[self.order[0] if self.order else 0]


def slate_of(received: Received, plan: Plan, before: Slate | None) -> Slate | Bypass | LocalAnswer | Closed:
    """Return the slate for a plan, with the queries that were made `before`; whom the request cannot be said to does not bid.

    `Bypass` where an answer cannot be cached, `LocalAnswer` where nobody need be asked; `Closed` where nobody bids.
    """
    known = {} if before is None else {query.bid: query for query in before.queries}
    made = [known.get(bid) or received.bid_query(bid, plan) for bid in plan.bids]
    able = [one for one in made if not isinstance(one, Closed)]
    if not able:
        return next((one for one in made if isinstance(one, Closed)), None) or _nobody(plan)
    first = next((made[place] for place in plan.order if not isinstance(made[place], Closed)), None)
    if isinstance(first, LocalAnswer):
        return first  # nobody who comes later is asked what need not be asked
    queries = tuple([one for one in able if isinstance(one, Query)])
    bypass = next((one for one in able if isinstance(one, Bypass)), None)
    if bypass is not None or not queries:
        return bypass or next(one for one in able if isinstance(one, LocalAnswer))
    unasked = frozenset(place for place, one in enumerate(made) if not isinstance(one, Query))
    return Slate(queries, without_bids(plan, unasked))


def _nobody(plan: Plan) -> Closed:
    assert plan.closed is not None  # noqa: S101 - else somebody would bid
    return plan.closed


class Survey(msgspec.Struct, frozen=True):
    """The stored responses for a slate.

    `found` is the one that answers, or why none does: of `query`, who gave it or is asked first. `founds` are all that were
    looked for, in the written order. `order` are those who are asked before `stands_in` would have to answer.
    """

    query: Query
    found: Match | NoMatch
    now: float
    founds: tuple[Match | NoMatch, ...]
    order: tuple[int, ...]
    stands_in: tuple[Query, Match] | None = None

    __repr__ = redacted_repr

    def found_at(self, position: int) -> Match | NoMatch:
        """Return what was found for a target; nothing where it was not looked for."""
        return self.founds[position] if position < len(self.founds) else NoMatch("miss")


def survey_of(slate: Slate, founds: tuple[Match | NoMatch, ...], now: float) -> Survey:
    """Return what may answer, of all that was found: a record of a peer, or of who would be asked now in its place."""
    for tier in sorted({query.tier for query in slate.queries[: len(founds)]}):
        best = _first_stored(slate, founds, tier, now)
        if best is None:
            continue
        query, match = best
        order = tuple([position for position in slate.order if slate.queries[position].tier < tier])
        if not order or not query.asked.may_forward:
            return Survey(query, match, now, founds, order)
        return _unanswered(slate, founds, now, order, best)
    return _unanswered(slate, founds, now, slate.order, _stale(slate, founds))


def _first_stored(slate: Slate, founds: Sequence[Match | NoMatch], tier: int, now: float) -> tuple[Query, Match] | None:
    """Return the match of this tier that was stored first: so a route repeats what it said."""
    matches = [
        (query, found)
        for query, found in zip(slate.queries, founds, strict=False)
        if query.tier == tier and isinstance(found, Match)
    ]
    return min(matches, key=lambda one: (not is_fresh(one[1].stored, now), one[1].stored.stored_at), default=None)


def _unanswered(
    slate: Slate,
    founds: tuple[Match | NoMatch, ...],
    now: float,
    order: tuple[int, ...],
    stands_in: tuple[Query, Match] | None,
) -> Survey:
    position = order[0] if order else 0
    found = founds[position] if position < len(founds) else founds[0]
    assert isinstance(found, NoMatch)  # noqa: S101 - else it would answer
    return Survey(slate.queries[position], found, now, founds, order, stands_in)


def _stale(slate: Slate, founds: Sequence[Match | NoMatch]) -> tuple[Query, Match] | None:
    """Return the stale response that answers should everybody fail: in the written order."""
    for query, found in zip(slate.queries, founds, strict=False):
        if isinstance(found, NoMatch) and found.stands_in is not None:
            return query, found.stands_in
    return None


def basis_in(slate: Slate, survey: Survey) -> Basis | None:
    """Return what a hit was made of: all that was looked for. One in which a spare had a say may not be recalled."""
    assert isinstance(survey.found, Match)  # noqa: S101 - it is a hit
    basis = basis_of(survey.found, survey.query)
    if basis is None or slate.plan is None:
        return basis
    seen = list(basis.found)
    for query, found in zip(slate.queries, survey.founds, strict=False):
        if query is not survey.query:
            other = _seen(query, found)
            if other is None:
                return None
            seen += other
    return None if survey.query.tier else Basis(tuple(seen), min(basis.fresh_until, slate.plan.until))


def _seen(query: Query, found: Match | NoMatch) -> tuple[tuple[bytes, bytes | None], ...] | None:
    """Return what lies there of a peer that did not answer; `None` where that is not known byte by byte."""
    if isinstance(found, Match):
        basis = basis_of(found, query)
        return None if basis is None else basis.found
    return ((query.key.index, None),) if found == NoMatch("miss") else None


def others_of(slate: Slate, query: Query) -> tuple[bytes, ...]:
    """Return every index under which another target of the slate may have an answer to this request."""
    others = [other.key.index for other in slate.queries if other is not query]
    return tuple([each for index in others for each in (index, *indexes_beside(index))])
