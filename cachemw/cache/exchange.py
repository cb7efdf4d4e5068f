"""The script: how one API call is answered.

It yields what it needs and is sent the result, or thrown the failure; it ends in an outcome. Two drivers perform what it
asks, one with `await` and one without; `tests/cache/test_exchange.py` is the same as a table.
"""

from collections.abc import Generator
from functools import partial
from typing import Any

from msgspec.structs import replace

from cachemw.cache.authors import answered_by, asked_before, of_author, routed_by, saving, standing_in
from cachemw.cache.bidding import forward_for
from cachemw.cache.directives import Abandon, Directives, InvalidControl, details_of
from cachemw.cache.effects import (
    Account,
    AskPlan,
    Claim,
    ClaimResult,
    Declined,
    Effect,
    Failed,
    Forward,
    GetAccount,
    Ordered,
    Outcome,
    RunInThread,
    Script,
    Serve,
    ShownResponse,
    Unacceptable,
    Unsatisfiable,
    Wanted,
)
from cachemw.cache.freshness import age, is_fresh, remaining
from cachemw.cache.live_response import Relay
from cachemw.cache.lookup import Match, NoMatch, Query, VerifiedRecords
from cachemw.cache.partial import PARTIAL_UNFIT, Remainder, forward_for_remainder, remainder_of
from cachemw.cache.passing import answered_here, bypass, early_report, size_of
from cachemw.cache.plans import Closed, Plan
from cachemw.cache.policy import Policy
from cachemw.cache.questions import look_over, order_of, partition_of, sketch_under
from cachemw.cache.refusals import was
from cachemw.cache.sent_call import SentCall, said_to, sent_caller, translation_due
from cachemw.cache.sharing import Course, Sender, is_shared, sender_of
from cachemw.cache.slate import Received, Slate, Survey, basis_in, kept_request, slate_of
from cachemw.endpoints.base import ApiCall, Bypass, Endpoint
from cachemw.errors import KeyMissing, PartitionError, RequestDeclined, StoreError, UpstreamError
from cachemw.limits import Limits
from cachemw.messages import AppTarget, ClientTarget, HttpTarget, Request, RouteTarget
from cachemw.report import NOT_CACHED, STORE_SLOW, ExchangeReport, Fwd
from cachemw.routing import RoutedHead

ATTEMPTS = 2
"""The number of failing forwards of others that are followed, or awaited: one re-election, then that failure is its own too."""

STANDS_IN_FOR = frozenset({429, 500, 502, 503, 504})
"""The statuses of an upstream that cannot answer just now (RFC 5861 §4), and of one that will not yet."""


_OptionalScript = Generator[Effect, Any, Outcome | None]
"""A script whose outcome is `None` where only some inputs were asked for, and the answer to them is of no use."""


def exchange(
    endpoint: Endpoint, request: Request, asked: Directives, policy: Policy, limits: Limits, verified: VerifiedRecords
) -> Script:
    """Answer one API call whose client opted in."""
    came, spoken, presentation, kept = request, endpoint, None, None
    if (translation := translation_due(endpoint, request.target)) is not None:
        said = said_to(translation, endpoint, request, policy, limits.work)
        if not isinstance(said, SentCall):
            return answered_here(said, early_report(request, endpoint), endpoint)
        request, spoken, presentation = said.request, said.endpoint, said.presentation
        kept = kept_request(endpoint, came, policy, limits.work)
    call = spoken.read(spoken, request, policy.bookkeeping, limits.work, policy.cache_stored)
    if isinstance(call, Bypass):
        return (yield from bypass(call.detail, endpoint, came, asked, policy))
    try:
        partition = yield from partition_of(request, policy)
    except (PartitionError, StoreError):
        return (yield from bypass("no-partition", endpoint, request, asked, policy))
    on_abandon = _on_abandon(request, asked, policy)
    asked = _obeyed(asked, request, call) if asked.partial else asked
    received = Received(
        *(endpoint, request, asked, policy, limits, partition, on_abandon, verified.refusals, size_of(came)),
        call=replace(call, members=None),  # which take more memory than the body, and there may be long to wait
        presentation=presentation,
        kept=kept,
    )
    if isinstance(request.target, RouteTarget):
        return (yield from _answer_on_route(received, call, verified))
    return (yield from _answer_directly(received, verified))


def _answer_directly(received: Received, verified: VerifiedRecords) -> Script:
    """Answer with the one upstream there is: where what it says of some inputs is of no use, it is asked for all."""
    answered = yield from _answer(received, Slate((received.query(),)), verified)
    if answered is None:
        whole = replace(received, asked=replace(received.asked, partial=False), attempts=1)
        answered = yield from _answer(whole, Slate((whole.query(),)), verified)
    assert answered is not None  # noqa: S101 - all inputs were sent
    return answered


def _answer_on_route(received: Received, call: ApiCall, verified: VerifiedRecords) -> Script:
    """Answer with whichever target of a gateway the plan names."""
    endpoint, request = received.endpoint, received.request
    plan: Plan = yield AskPlan(request, call.members, endpoint)
    received = yield from _known_at(plan, received)
    slate = slate_of(received, plan, None)
    if isinstance(slate, Slate):
        answered = yield from _answer(received, slate, verified)
        assert answered is not None  # noqa: S101 - a route's targets are sent all inputs
        return answered
    if isinstance(slate, Bypass):
        return (yield from bypass(slate.detail, endpoint, request, received.asked, received.policy))
    return answered_here(slate, routed_by(early_report(request, endpoint), plan), endpoint)


def _known_at(plan: Plan, received: Received) -> Generator[Effect, Any, Received]:
    """Return a call with its caller's partition at the targets of another dialect: as who brings the same key in theirs."""
    request, caller = received.request, received.request.caller
    if received.policy.partition != "credential" or caller.name is not None or not caller.brought:
        return received
    ways = (translation_due(received.endpoint, bid.target) for bid in plan.bids)
    if received.sent_partition is not None or (translation := next(filter(None, ways), None)) is None:
        return received
    sent = replace(request, caller=sent_caller(translation, caller))
    try:
        return replace(received, sent_partition=(yield from partition_of(sent, received.policy)))
    except StoreError:
        return received


def _again(received: Received, before: Slate, claimed: object) -> Generator[Effect, Any, Slate]:
    """Ask anew who may answer: how they are changes all the time. Who leads at once has waited for nobody."""
    if before.plan is None or claimed is ClaimResult.LEAD:
        return before
    plan: Plan = yield AskPlan(received.request, None, received.endpoint)
    slate = slate_of((yield from _known_at(plan, received)), plan, before)
    return slate if isinstance(slate, Slate) else before


def _answer(received: Received, slate: Slate, verified: VerifiedRecords) -> _OptionalScript:
    """Answer; `None` where only some inputs were asked for, and what was said of them is of no use."""
    failures = 0
    claimed: ClaimResult | ShownResponse | None = None
    report: ExchangeReport | None = None
    why: str | None = None  # a bad record is gone when it is looked for again, and yet why this is a miss
    order: Ordered | str = ""
    sender: Sender | None = None
    is_apart = False
    while True:
        is_leading = claimed in (ClaimResult.LEAD, ClaimResult.ALONE)
        if not (is_leading and why == STORE_SLOW):  # who has waited for the store in vain waits no more (D1)
            survey = yield from look_over(slate, verified)
        query, found = survey.query, survey.found
        if isinstance(found, Match):
            return (yield from _serve(slate, survey, report if claimed is ClaimResult.OVER else None))
        why = found.detail or why
        if slate.closed is not None or not received.asked.may_forward:
            return (yield from _without_forward(slate, survey, found, why))
        if claimed is not ClaimResult.LEAD:  # who was let alone may have waited for long; who leads was heard to ask this
            order, part = (yield from order_of(why)), remainder_of(query, found)
        report = _forwarding(query, found.fwd, slate.detail, _told(part, received), why, _last_refusal(query, order))
        if received.asked.wants_fresh_answer or is_leading:
            return (yield from _forward(slate, survey, verified, replace(report, attempts=received.attempts + 1), order, part))
        sender = sender or sender_of(received.request, received.policy)
        try:
            claimed = yield _claim(slate, report, order, sender, is_apart=is_apart, part=part)
        except (KeyMissing, RequestDeclined):  # that of whoever led: who has one, or may, asks with it
            is_apart = True
        except UpstreamError as error:
            failures += 1
            if failures == ATTEMPTS:
                return (yield from _without_upstream(slate, verified, replace(report, collapsed=True), error))
        else:
            if isinstance(claimed, ShownResponse):
                if claimed.leader is None or is_shared(claimed.response.head.status, claimed.leader, sender):
                    report = replace(report, collapsed=True, stored=None)
                    return (yield from _shown_whole(slate, survey, report, claimed, sender, part))
                is_apart = True
        slate = yield from _again(received, slate, claimed)


def _without_forward(slate: Slate, survey: Survey, found: NoMatch, why: str | None) -> Script:
    """Say why nobody is asked."""
    if slate.closed is None or not survey.query.asked.may_forward:
        return (yield from _unsatisfiable(survey.query, found))
    return _declined(survey, slate.closed, _forwarding(survey.query, found.fwd, slate.detail, why))


def _told(part: Remainder | None, received: Received) -> str | None:
    """Return what is told of a request of which not all inputs are asked for, or were not at first."""
    if part is not None:
        return part.detail
    return PARTIAL_UNFIT if received.attempts else None


def _unsatisfiable(query: Query, found: NoMatch) -> Script:
    """Refuse what only the store may answer. Where it is, only those are told who can see it anyway."""
    details = details_of(query.asked, NOT_CACHED, found.detail if found.why else None)
    is_own = isinstance(query.request.target, ClientTarget)
    is_at_home = is_own or query.policy.replays and query.request.caller.name is None
    sketch = (yield from sketch_under(query)) if query.policy.sketch or is_at_home else None
    report = replace(query.report, key=None, details=details, sketch=sketch if query.policy.sketch else None)
    if not is_at_home or found.why:
        return Unsatisfiable(report, query.errors, found.why if is_at_home else "")
    body = query.call.canonical if query.received is None else query.received.body
    account: Account = yield GetAccount(Wanted(query.key.index, sketch, body, report.target or "", is_own))
    why = f"{account.holds}, which asks {report.target} for {report.model}"
    return Unsatisfiable(report, query.errors, f"{why}; {account.nearest}" if account.nearest else why)


def refuse(endpoint: Endpoint, request: Request, invalid: InvalidControl) -> Script:
    """Answer a request whose control header cannot be obeyed: nothing is guessed, and nothing contacted."""
    yield from ()
    report = replace(early_report(request, endpoint), stored=False, details=("invalid-cachemw",))
    return Unacceptable(report, invalid, endpoint.errors)


def _serve(slate: Slate, survey: Survey, awaited: ExchangeReport | None) -> Script:
    """Answer from the store. What another's forward brought that was `awaited` is new: no ttl, no age."""
    query, found, now = survey.query, survey.found, survey.now
    assert isinstance(found, Match)  # noqa: S101 - else there is nothing to serve
    stored = found.stored
    if query.refusals.by_key and is_fresh(stored, now):  # an answer was kept by another process
        query.refusals.forget(query.key.index)
    if awaited is not None:
        details = (*found.details, *awaited.details)
        report = replace(of_author(awaited, query), fwd_status=stored.status, collapsed=True, stored=None, details=details)
        report = replace(report, answered_model=stored.model, usage=stored.usage)
        return Serve(stored, report if query.bid is None else saving(report, query.bid, stored), now, query.asked.speed)
    details = details_of(query.asked, *found.details)
    report = replace(
        query.report,
        hit=True,
        ttl=remaining(stored, aged := age(stored, now)),
        age=aged,
        details=details,
        answered_model=stored.model,
        usage=stored.usage,
        took=stored.took,
    )
    if query.bid is not None:
        report = saving(report, query.bid, stored)
    may_revalidate = found.revalidate and slate.closed is None
    forward = (yield from _revalidate(slate, survey, report)) if may_revalidate else None
    basis = basis_in(slate, survey)
    if forward is None:
        return Serve(stored, report, now, query.asked.speed, basis=basis)
    meanwhile = (forward.terms, forward.rewritten, basis, forward.bidding, forward.translated)
    return Serve(stored, report, now, query.asked.speed, *meanwhile)


def _revalidate(slate: Slate, survey: Survey, report: ExchangeReport) -> Generator[Effect, Any, Forward | None]:
    """Be the one that fetches a newer answer meanwhile, unless another one does."""
    query = survey.query
    order, sender = (yield from order_of(None)), sender_of(query.request, query.policy)
    if (yield _claim(slate, report, order, sender, may_follow=False)) is not ClaimResult.LEAD:
        return None
    return (yield from forward_for(slate, survey, order, report, author_first=True))


def _claim(
    slate: Slate,
    report: ExchangeReport,
    order: Ordered | str,
    sender: Sender,
    *,
    may_follow: bool = True,
    is_apart: bool = False,
    part: Remainder | None = None,
) -> Claim:
    query = slate.first
    generation = order.order.generation if isinstance(order, Ordered) else None
    question = slate.question if part is None else part.question
    course = Course(question, query.call.kind, generation, sender, is_apart)
    return Claim(course, query.asked.may_store, may_follow, query.on_abandon, report)


def _forward(
    slate: Slate,
    survey: Survey,
    verified: VerifiedRecords,
    report: ExchangeReport,
    order: Ordered | str,
    part: Remainder | None,
) -> _OptionalScript:
    if part is None:
        forward = yield from forward_for(slate, survey, order, report)
    else:
        forward = yield from forward_for_remainder(part, survey.found, order, report)
    report = replace(report, sketch=None if forward.terms is None else forward.terms.sketch)
    try:
        shown: ShownResponse = yield forward
    except UpstreamError as error:
        return (yield from _without_upstream(slate, verified, report, error))
    return (yield from _shown_whole(slate, survey, report, shown, None, part))


def _shown_whole(
    slate: Slate,
    survey: Survey,
    report: ExchangeReport,
    shown: ShownResponse,
    sender: Sender | None,
    part: Remainder | None,
) -> _OptionalScript:
    """Pass on what the upstream says; of an answer to some inputs, the one to all that it makes, or nothing (`None`)."""
    response = shown.response
    if part is None or response.head.status != 200:
        return _shown(slate, survey, report, shown, sender)
    if not (response.is_sound and response.is_whole):
        return None
    make = partial(part.answer, response.body)
    body: bytes | None = (yield RunInThread(make)) if response.held > part.query.limits.judged_bytes else make()
    if body is None:
        return None
    return _shown(slate, survey, report, replace(shown, response=response.with_body(body)), sender)


def _shown(slate: Slate, survey: Survey, report: ExchangeReport, shown: ShownResponse, sender: Sender | None) -> Serve | Relay:
    """Pass on what the upstream says, unless a stored response is better than that."""
    head = shown.response.head
    report, can_answer = replace(report, fwd_status=head.status), head.status not in STANDS_IN_FOR
    author = slate.first
    if isinstance(head, RoutedHead) and slate.plan is not None:
        author, can_answer = slate.queries[head.routed.position], not head.routed.is_exhausted
        report = answered_by(of_author(report, author), head, slate.plan.bids)
    if survey.stands_in is not None and not can_answer:
        return _stand_in(*survey.stands_in, report, shown.now)
    is_anothers = sender is not None and shown.leader is not None and shown.leader.credential != sender.credential
    return Relay(shown.response, report, is_anothers, author.presentation)


def _without_upstream(slate: Slate, verified: VerifiedRecords, report: ExchangeReport, error: UpstreamError) -> Script:
    """Answer though the upstream failed before it showed anything; that took its time, so look again what there is."""
    survey = yield from look_over(slate, verified)
    if isinstance(error, RequestDeclined):
        return _declined(survey, error.closed, replace(report, attempts=0))
    usable = (survey.query, survey.found) if isinstance(survey.found, Match) else survey.stands_in
    report = asked_before(replace(report, fwd_status=error.status, details=(error.detail, *report.details)), error.routed)
    if usable is None:
        failed = replace(report, stored=None if report.collapsed else False)
        return Failed(failed, error, survey.query.errors)
    return _stand_in(*usable, report, survey.now)


def _declined(survey: Survey, closed: Closed, report: ExchangeReport) -> Serve | Declined:
    """Say why nobody is asked, unless a stored response is better than that."""
    if closed.is_outage and survey.stands_in is not None:
        return _stand_in(*survey.stands_in, report, survey.now)
    report = replace(report, fwd=None, stored=False, key=None)
    return Declined(report, closed, survey.query.errors)


def _stand_in(query: Query, usable: Match, report: ExchangeReport, now: float) -> Serve:
    details = tuple(dict.fromkeys((*usable.details, *report.details)))
    stored = usable.stored
    known = replace(of_author(report, query), answered_model=stored.model, usage=stored.usage, took=stored.took)
    report = replace(known, ttl=remaining(stored, aged := age(stored, now)), age=aged, stored=None, details=details)
    return Serve(stored, standing_in(report, query, stored), now, query.asked.speed)


def _forwarding(query: Query, fwd: Fwd, *why: str | None) -> ExchangeReport:
    """Say what is known before the upstream answers; first why the answer will not be kept, whatever it is."""
    asked, refusal = query.asked, None
    if not asked.may_store:
        refusal = "no-store" if asked.control.no_store else "mode-read"
    stored = None if refusal is None else False
    return replace(query.report, fwd=fwd, stored=stored, details=details_of(asked, refusal, *why))


def _last_refusal(query: Query, order: Ordered | str) -> str | None:
    """Return why the answer will not be kept, or why the last one was not: the head of a stream could not say so."""
    if isinstance(order, str):
        return order
    detail = query.refusals.last(query.key.index, order.order.generation)
    return None if detail is None else was(detail)


def _obeyed(asked: Directives, request: Request, call: ApiCall) -> Directives:
    """Return what is asked for and obeyed: an app sees what its client sent, and all targets of a route are asked the same."""
    if not call.divides or isinstance(request.target, HttpTarget | ClientTarget):
        return asked
    return replace(asked, partial=False, ignored=(*asked.ignored, "partial"))


def _on_abandon(request: Request, asked: Directives, policy: Policy) -> Abandon:
    """Return what the client says, else the operator; a wrapped app is told of a client that leaves, as without us."""
    by_default = Abandon.CANCEL if isinstance(request.target, AppTarget) else Abandon.FINISH
    return asked.abandon or (Abandon(policy.on_abandon) if policy.on_abandon else by_default)
