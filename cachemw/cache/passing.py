"""Pass on what is not kept: to the one upstream there is, or to a gateway, in the dialect that is spoken there."""

from collections.abc import Generator
from typing import Any

from msgspec.structs import replace

from cachemw.cache.authors import answered_by, asked_before, routed_by
from cachemw.cache.bidding import relayed_bids
from cachemw.cache.directives import Abandon, Directives, details_of
from cachemw.cache.effects import (
    AskPlan,
    Bidding,
    Declined,
    Effect,
    Failed,
    Forward,
    Script,
    Serve,
    ShownResponse,
    Unsatisfiable,
)
from cachemw.cache.live_response import Relay
from cachemw.cache.plans import Closed, Plan
from cachemw.cache.policy import Policy
from cachemw.cache.questions import rewritten_for
from cachemw.cache.sent_call import LocalAnswer, SentCall, models_seen, said_to, translation_due
from cachemw.endpoints.base import PLAIN, Endpoint
from cachemw.endpoints.errors import OPENAI, ErrorShape
from cachemw.errors import RequestDeclined, UpstreamError
from cachemw.messages import Request, RouteTarget, StoredResponse
from cachemw.report import NOT_CACHED, ExchangeReport
from cachemw.wire.fields import content_length


def bypass(detail: str, endpoint: Endpoint | None, request: Request, asked: Directives, policy: Policy) -> Script:
    """Pass on what is not ours to cache, unless only the store may answer."""
    report = early_report(request, endpoint)
    if not asked.may_forward:
        report = replace(report, details=details_of(asked, NOT_CACHED, detail))
        return Unsatisfiable(report, shape_of(endpoint), f"it is no request whose answer is stored ({detail})")
    report = replace(report, fwd="bypass", stored=False, details=details_of(asked, detail))
    return (yield from pass_on(report, endpoint, request, policy))


def pass_on(report: ExchangeReport, endpoint: Endpoint | None, request: Request, policy: Policy) -> Script:
    """Forward and relay, and keep nothing."""
    shape = shape_of(endpoint)
    passage = yield from (_routed if isinstance(request.target, RouteTarget) else _direct)(report, endpoint, request, policy)
    if not isinstance(passage, Forward):
        return passage
    report, bidding = passage.report, passage.bidding
    try:
        shown: ShownResponse = yield passage
    except RequestDeclined as error:
        return Declined(replace(report, attempts=0), error.closed, shape)
    except UpstreamError as error:
        report = replace(report, fwd_status=error.status, details=(*report.details, error.detail))
        return Failed(asked_before(report, error.routed), error, shape)
    if bidding is None:
        return Relay(shown.response, report, presentation=passage.presentation)
    head = shown.response.head
    report = answered_by(report, head, bidding.bids.plan.bids)
    return Relay(shown.response, report, presentation=bidding.presentation_for(head))


def _direct(
    report: ExchangeReport, endpoint: Endpoint | None, request: Request, policy: Policy
) -> Generator[Effect, Any, Forward | Serve | Declined]:
    """Return the forward of a request to the one upstream there is."""
    seen = models_seen(request)
    translated, presentation = (None, None) if seen is None else seen
    if (translation := translation_due(endpoint, request.target)) is not None and endpoint is not None:
        said = said_to(translation, endpoint, request, policy)
        if not isinstance(said, SentCall):
            return answered_here(said, report, endpoint)
        request, translated, presentation = said.request, said.translated, said.presentation
    rewritten = yield from rewritten_for(request, policy, None)
    sent = (rewritten, shape_of(endpoint), None, translated, presentation)
    return Forward(None, Abandon.CANCEL, replace(report, attempts=1), *sent)


def _routed(
    report: ExchangeReport, endpoint: Endpoint | None, request: Request, policy: Policy
) -> Generator[Effect, Any, Forward | Serve | Declined]:
    """Return the forward of a request to a gateway."""
    plan: Plan = yield AskPlan(request, None, endpoint)
    report = routed_by(report, plan)
    if plan.closed is not None:
        return Declined(report, plan.closed, shape_of(endpoint))
    bidding = yield from relayed_bids(endpoint, request, policy, plan)
    if not isinstance(bidding, Bidding):
        return answered_here(bidding, report, endpoint)
    return Forward(None, Abandon.CANCEL, replace(report, attempts=1), (), shape_of(endpoint), bidding)


def answered_here(answer: LocalAnswer | Closed, report: ExchangeReport, endpoint: Endpoint | None) -> Serve | Declined:
    """Answer by ourselves: with what nobody need be asked for, or with why nobody is."""
    if isinstance(answer, Closed):
        return Declined(replace(report, stored=False), answer, shape_of(endpoint))
    headers = ((b"content-type", b"application/json"), *answer.fields)
    name = "" if endpoint is None else endpoint.name
    stored = StoredResponse(200, headers, answer.body, (), (), PLAIN, b"", 0.0, 0.0, name)
    cost = None if report.tried is None else 0  # nobody was asked; without a gateway no cost is known of anything
    return Serve(stored, replace(report, fwd="bypass", stored=False, details=("estimated",), cost=cost), 0.0)


def early_report(request: Request, endpoint: Endpoint | None, *, opted_in: bool = True) -> ExchangeReport:
    """Return what is known of an exchange whose request was not read."""
    return ExchangeReport(
        opted_in=opted_in,
        endpoint=None if endpoint is None else endpoint.name,
        target=request.target.called(None),
        client=request.caller.name,
        bytes_in=size_of(request),
    )


def size_of(request: Request) -> int | None:
    """Return how large the body is, if it was read or said so."""
    return len(request.body) if isinstance(request.body, bytes) else content_length(request.headers)


def shape_of(endpoint: Endpoint | None) -> ErrorShape:
    """Return how errors are read by those who call this endpoint, or another one."""
    return OPENAI if endpoint is None else endpoint.errors
