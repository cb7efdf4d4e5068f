"""What a report says of who answered: of several targets, each has a name, a key and a price of its own."""

from collections.abc import Sequence

from msgspec.structs import replace

from cachemw.cache.lookup import Query
from cachemw.cache.plans import Bid, Plan
from cachemw.messages import Head, StoredResponse
from cachemw.money import cost_of
from cachemw.report import ExchangeReport
from cachemw.routing import Routed, RoutedHead

SECOND_CHOICE = "second-choice"
"""Another one answers than who was to be asked first."""

_UNREACHED = "unreachable"


def of_author(report: ExchangeReport, query: Query) -> ExchangeReport:
    """Return a report that names the target of a query as the one whose answer this is."""
    if query.bid is None:
        return report
    own = query.report
    return replace(report, target=own.target, key=own.key, model=own.model)


def answered_by(report: ExchangeReport, head: Head, bids: Sequence[Bid]) -> ExchangeReport:
    """Return a report that names who of the bids gave an answer with this head, and who was asked before."""
    if not isinstance(head, RoutedHead):
        return report
    routed = head.routed
    details = (SECOND_CHOICE, *report.details) if routed.attempts > 1 and not routed.is_exhausted else report.details
    return replace(asked_before(report, routed), target=bids[routed.position].name, details=details)


def asked_before(report: ExchangeReport, routed: Routed | None) -> ExchangeReport:
    """Return a report that names who was asked in vain; who follows another's forward asked nobody."""
    if routed is None or report.collapsed:
        return report
    return replace(report, attempts=routed.attempts, tried=(*(report.tried or ()), *routed.tried))


def routed_by(report: ExchangeReport, plan: Plan) -> ExchangeReport:
    """Return the report of a request that goes by this plan, before anybody is asked."""
    bid = plan.bids[plan.order[0]] if plan.order else next(iter(plan.bids), None)
    details = report.details if plan.detail is None else (plan.detail, *report.details)
    return replace(
        report,
        route=plan.route,
        tried=plan.tried,
        details=details,
        target=report.target if bid is None else bid.name,
        model=None if bid is None else bid.rewrite.model,
    )


def standing_in(report: ExchangeReport, query: Query, stored: StoredResponse) -> ExchangeReport:
    """Return the report of a stored answer that stands in for those who were asked in vain, which may have cost something."""
    if query.bid is None:
        return report
    in_vain = (report.tried or ())[len(query.report.tried or ()) :]
    is_least = any(
        tried.status is None and tried.why != _UNREACHED or (tried.status or 0) in range(200, 300) for tried in in_vain
    )
    cost = cost_of(stored.usage, query.bid.price)
    saved = None if cost is None else cost.nano
    return replace(report, cost=0, cost_at_least=is_least and not report.collapsed, saved=saved)


def saving(report: ExchangeReport, author: Bid, stored: StoredResponse) -> ExchangeReport:
    """Return the report of a hit: it is free, and saves what it would have cost to ask again."""
    cost = cost_of(stored.usage, author.price)
    return replace(report, tried=(), cost=0, saved=None if cost is None else cost.nano)
