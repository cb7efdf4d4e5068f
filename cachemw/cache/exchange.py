"""The script: how one API call is answered.

It yields what it needs and is sent the result, or thrown the failure; it ends in an outcome. Two drivers perform what it
asks, one with `await` and one without; `tests/cache/test_exchange.py` is the same as a table.
"""

from collections.abc import Generator
from functools import partial
from typing import Any

from msgspec.structs import replace

from cachemw.cache.directives import Abandon, Directives, InvalidControl
from cachemw.cache.effects import (
    AskPartition,
    Claim,
    ClaimResult,
    DeleteRecord,
    Effect,
    Failed,
    Forward,
    Found,
    GetAccount,
    GetOrder,
    Lookup,
    Ordered,
    ReadSecret,
    RunInThread,
    Script,
    Serve,
    ShownResponse,
    Unacceptable,
    Unsatisfiable,
)
from cachemw.cache.freshness import is_fresh, remaining
from cachemw.cache.header_rules import Travels, fate
from cachemw.cache.key import (
    SHARED,
    by_client,
    by_credential,
    by_name,
    client_code,
    fingerprint,
    idempotency_key,
    index_beside,
    indexes_beside,
    is_lent,
)
from cachemw.cache.live_response import Relay
from cachemw.cache.lookup import Match, NoMatch, Query, VerifiedRecords, basis_of, select
from cachemw.cache.policy import Policy
from cachemw.cache.recording import Terms
from cachemw.cache.refusals import was
from cachemw.cache.sharing import Course, Sender, is_shared, sender_of
from cachemw.cache.terms import terms_of
from cachemw.endpoints.base import Bypass, Endpoint
from cachemw.endpoints.errors import OPENAI, ErrorShape
from cachemw.errors import KeyMissing, PartitionError, RecordError, StoreError, StoreTimeout, UpstreamError
from cachemw.limits import Limits
from cachemw.messages import AppTarget, ClientTarget, Headers, Inside, Request, header_values
from cachemw.report import NOT_CACHED, STORE_SLOW, ExchangeReport, Fwd
from cachemw.wire.fields import content_length

ATTEMPTS = 2
"""The number of failing forwards of others that are followed, or awaited: one re-election, then that failure is its own too."""

IDEMPOTENCY_KEY = b"idempotency-key"

STANDS_IN_FOR = frozenset({429, 500, 502, 503, 504})
"""The statuses of an upstream that cannot answer just now (RFC 5861 §4), and of one that will not yet."""


def exchange(
    endpoint: Endpoint, request: Request, asked: Directives, policy: Policy, limits: Limits, verified: VerifiedRecords
) -> Script:
    """Answer one API call whose client opted in."""
    call = endpoint.read(endpoint, request, policy.bookkeeping, limits.work, policy.cache_stored)
    if isinstance(call, Bypass):
        return (yield from bypass(call.detail, endpoint, request, asked, policy))
    try:
        partition = yield from _partition(request, policy)
    except (PartitionError, StoreError):
        return (yield from bypass("no-partition", endpoint, request, asked, policy))
    key = fingerprint(request, call.canonical, partition, asked.namespace, asked.sample, policy.header_rules)
    report = ExchangeReport(
        key=key.index.hex(),
        endpoint=endpoint.name,
        target=request.target.called(call.model),
        client=client_code(request.caller, partition),
        model=call.model,
        bytes_in=_size_of(request),
    )
    on_abandon = _on_abandon(request, asked, policy)
    query = Query(key, call, asked, policy, limits, on_abandon, request, report, verified.refusals)
    return (yield from _answer(query, verified))


def _answer(query: Query, verified: VerifiedRecords) -> Script:
    asked, failures = query.asked, 0
    claimed: ClaimResult | ShownResponse | None = None
    report: ExchangeReport | None = None
    why: str | None = None  # a bad record is gone when it is looked for again, and yet why this is a miss
    order: Ordered | str = ""
    sender: Sender | None = None
    is_apart = False
    while True:
        is_leading = claimed in (ClaimResult.LEAD, ClaimResult.ALONE)
        if not (is_leading and why == STORE_SLOW):  # who has waited for the store in vain waits no more (D1)
            found, now = yield from _look(query, verified)
        if isinstance(found, Match):
            if query.refusals.by_key and is_fresh(found.stored, now):  # an answer was kept by another process
                query.refusals.forget(query.key.index)
            return (yield from _serve(query, found, now, report if claimed is ClaimResult.OVER else None))
        if not asked.may_forward:
            return (yield from _unsatisfiable(query, found))
        why = found.detail or why
        if claimed is not ClaimResult.LEAD:  # who was let alone may have waited for long
            order = yield from _order(why)
        report = _forwarding(query, found.fwd, why, order if isinstance(order, str) else _last_refusal(query, order))
        if asked.wants_fresh_answer or is_leading:
            return (yield from _forward(query, verified, found, report, order))
        sender = sender or sender_of(query.request, query.policy)
        try:
            claimed = yield _claim(query, report, order, sender, is_apart=is_apart)
        except KeyMissing:  # that of whoever led: who has one asks with it
            is_apart = True
        except UpstreamError as error:
            failures += 1
            if failures == ATTEMPTS:
                return (yield from _without_upstream(query, verified, replace(report, collapsed=True), error))
        else:
            if isinstance(claimed, ShownResponse):
                if claimed.leader is None or is_shared(claimed.response.head.status, claimed.leader, sender):
                    return _shown(query, found, replace(report, collapsed=True, stored=None), claimed, sender)
                is_apart = True


def _unsatisfiable(query: Query, found: NoMatch) -> Script:
    """Refuse what only the store may answer. Where it is, only those are told who can see it anyway."""
    report = replace(query.report, key=None, details=_details(query.asked, NOT_CACHED, found.detail if found.why else None))
    is_at_home = isinstance(query.request.target, ClientTarget) or query.policy.replays and query.request.caller.name is None
    if not is_at_home:
        return Unsatisfiable(report, query.call.endpoint.errors)
    why = found.why or f"{(yield GetAccount())}, which asks {report.target} for {report.model}"
    return Unsatisfiable(report, query.call.endpoint.errors, why)


def bypass(detail: str, endpoint: Endpoint | None, request: Request, asked: Directives, policy: Policy) -> Script:
    """Pass on what is not ours to cache, unless only the store may answer."""
    report = early_report(request, endpoint)
    if not asked.may_forward:
        report = replace(report, details=_details(asked, NOT_CACHED, detail))
        return Unsatisfiable(report, shape_of(endpoint), f"it is no request whose answer is stored ({detail})")
    report = replace(report, fwd="bypass", stored=False, details=_details(asked, detail))
    return (yield from pass_on(report, endpoint, request, policy))


def pass_on(report: ExchangeReport, endpoint: Endpoint | None, request: Request, policy: Policy) -> Script:
    """Forward and relay, and keep nothing."""
    rewritten = yield from _rewritten(request, policy, None)
    report, shape = replace(report, attempts=1), shape_of(endpoint)
    try:
        shown: ShownResponse = yield Forward(None, Abandon.CANCEL, report, rewritten, shape)
    except UpstreamError as error:
        return Failed(replace(report, fwd_status=error.status, details=(*report.details, error.detail)), error, shape)
    return Relay(shown.response, report)


def refuse(endpoint: Endpoint, request: Request, invalid: InvalidControl) -> Script:
    """Answer a request whose control header cannot be obeyed: nothing is guessed, and nothing contacted."""
    yield from ()
    report = replace(early_report(request, endpoint), stored=False, details=("invalid-cachemw",))
    return Unacceptable(report, invalid, endpoint.errors)


def early_report(request: Request, endpoint: Endpoint | None, *, opted_in: bool = True) -> ExchangeReport:
    """Return what is known of an exchange whose request was not read."""
    return ExchangeReport(
        opted_in=opted_in,
        endpoint=None if endpoint is None else endpoint.name,
        target=request.target.called(None),
        client=request.caller.name,
        bytes_in=_size_of(request),
    )


def _size_of(request: Request) -> int | None:
    """Return how large the body is, if it was read or said so."""
    return len(request.body) if isinstance(request.body, bytes) else content_length(request.headers)


def shape_of(endpoint: Endpoint | None) -> ErrorShape:
    """Return how errors are read by those who call this endpoint, or another one."""
    return OPENAI if endpoint is None else endpoint.errors


def _partition(request: Request, policy: Policy) -> Generator[Effect, Any, bytes]:
    if policy.partition == "shared":
        return SHARED
    if policy.partition != "credential":
        return by_name((yield AskPartition(request)))
    caller = request.caller
    is_lent_one = is_lent(caller.brought, request.target.recipient)
    if caller.name is not None:
        return by_client((yield ReadSecret()), is_lent_one, caller.name)
    credentials = caller.credentials
    if request.attested.is_nameless and not credentials:
        raise PartitionError("the app knows who asks, and nobody has said how to tell")
    return by_credential((yield ReadSecret()) if credentials else b"", is_lent_one, credentials)


def _rewritten(request: Request, policy: Policy, query: Query | None) -> Generator[Effect, Any, Headers]:
    """Return the fields that the upstream is sent in the place of the caller's; what cannot be rewritten is left out."""
    recipient = request.target.recipient
    is_due = fate(IDEMPOTENCY_KEY, recipient, policy.header_rules).travels is Travels.REWRITTEN
    is_their_own = query is None and recipient is Inside.TRANSPORT  # nobody else is there to meet, and nothing is kept
    if not (header_values(request.headers, IDEMPOTENCY_KEY) and is_due) or is_their_own:
        return ()
    try:
        secret: bytes = b"" if policy.partition == "shared" else (yield ReadSecret())  # beside a cassette none is made
        if query is not None:
            kind = query.call.kind
            return idempotency_key(secret, request.headers, query.key.parts, b"%d" % kind.stream, kind.options)
        return idempotency_key(secret, request.headers, (yield from _partition(request, policy)))
    except (PartitionError, StoreError):
        return ()


def _order(why: str | None) -> Generator[Effect, Any, Ordered | str]:
    """Ask where a forward stands that begins now, or say why nobody knows; who has waited in vain asks no more (D1)."""
    if why == STORE_SLOW:
        return why
    try:
        order: Ordered = yield GetOrder()
    except StoreError as error:
        return STORE_SLOW if isinstance(error, StoreTimeout) else "store-unreadable"
    return order


def _look(query: Query, verified: VerifiedRecords) -> Generator[Effect, Any, tuple[Match | NoMatch, float]]:
    """Look for a stored response that may answer. A broken store is an empty store."""
    if query.asked.wants_fresh_answer:
        return NoMatch("request"), 0.0
    try:
        found: Found = yield Lookup(query.key.index)
    except RecordError as error:
        return NoMatch("miss", "bad-record", why=str(error)), 0.0
    except StoreError as error:
        return NoMatch("miss", STORE_SLOW if isinstance(error, StoreTimeout) else "store-unreadable", why=str(error)), 0.0
    match = yield from _judged(found, query, verified)
    if isinstance(match, NoMatch) and match.beside:
        match = yield from _look_beside(match, query, verified)
    return match, found.now


def _look_beside(first: NoMatch, query: Query, verified: VerifiedRecords) -> Generator[Effect, Any, Match | NoMatch]:
    """Look for the record of this kind beside the one that was found, from which it cannot be had."""
    try:
        found: Found = yield Lookup(index_beside(query.key.index, query.call.kind))
    except StoreError:
        return first
    if found.record is None:
        return first
    return replace((yield from _judged(found, query, verified)), beside=first.beside)


def _judged(found: Found, query: Query, verified: VerifiedRecords) -> Generator[Effect, Any, Match | NoMatch]:
    if found.record is None:
        return NoMatch("miss")
    judge = partial(select, found.record, query, verified, found.now)
    try:
        match: Match | NoMatch = (yield RunInThread(judge)) if len(found.record) > query.limits.judged_bytes else judge()
    except RecordError:
        yield DeleteRecord((query.key.index, *indexes_beside(query.key.index)))
        return NoMatch("miss", "bad-record")
    return match


def _serve(query: Query, found: Match, now: float, awaited: ExchangeReport | None) -> Script:
    """Answer from the store. What another's forward brought that was `awaited` is new: no ttl, no age."""
    if awaited is not None:
        details = (*found.details, *awaited.details)
        report = replace(awaited, fwd_status=found.stored.status, collapsed=True, stored=None, details=details)
        return Serve(found.stored, report, now, query.asked.speed)
    stored, details = found.stored, _details(query.asked, *found.details)
    report = replace(
        query.report,
        hit=True,
        ttl=remaining(stored, now),
        details=details,
        answered_model=stored.model,
        usage=stored.usage,
    )
    terms, rewritten = (yield from _revalidate(query, report, found)) if found.revalidate else (None, ())
    return Serve(stored, report, now, query.asked.speed, terms, rewritten, basis_of(found, query))


def _revalidate(query: Query, report: ExchangeReport, found: Match) -> Generator[Effect, Any, tuple[Terms | None, Headers]]:
    """Be the one that fetches a newer answer meanwhile, unless another one does."""
    order, sender = (yield from _order(None)), sender_of(query.request, query.policy)
    if (yield _claim(query, report, order, sender, may_follow=False)) is not ClaimResult.LEAD:
        return None, ()
    return terms_of(query, order, found), (yield from _rewritten(query.request, query.policy, query))


def _claim(
    query: Query,
    report: ExchangeReport,
    order: Ordered | str,
    sender: Sender,
    *,
    may_follow: bool = True,
    is_apart: bool = False,
) -> Claim:
    generation = order.order.generation if isinstance(order, Ordered) else None
    course = Course(query.key.parts, query.call.kind, generation, sender, is_apart)
    return Claim(course, query.asked.may_store, may_follow, query.on_abandon, report)


def _forward(query: Query, verified: VerifiedRecords, found: NoMatch, report: ExchangeReport, order: Ordered | str) -> Script:
    terms = terms_of(query, order, found, waits=found.detail != STORE_SLOW) if query.asked.may_store else None
    rewritten = yield from _rewritten(query.request, query.policy, query)
    report = replace(report, attempts=1)
    try:
        shown: ShownResponse = yield Forward(terms, query.on_abandon, report, rewritten, query.call.endpoint.errors)
    except UpstreamError as error:
        return (yield from _without_upstream(query, verified, report, error))
    return _shown(query, found, report, shown, None)


def _shown(query: Query, found: NoMatch, report: ExchangeReport, shown: ShownResponse, sender: Sender | None) -> Serve | Relay:
    """Pass on what the upstream says, unless a stored response is better than that."""
    report = replace(report, fwd_status=shown.response.head.status)
    if found.stands_in is not None and report.fwd_status in STANDS_IN_FOR:
        return _stand_in(query, found.stands_in, report, shown.now)
    is_anothers = sender is not None and shown.leader is not None and shown.leader.credential != sender.credential
    return Relay(shown.response, report, is_anothers)


def _without_upstream(query: Query, verified: VerifiedRecords, report: ExchangeReport, error: UpstreamError) -> Script:
    """Answer though the upstream failed before it showed anything; that took its time, so look again what there is."""
    found, now = yield from _look(query, verified)
    usable = found if isinstance(found, Match) else found.stands_in
    report = replace(report, fwd_status=error.status, details=(error.detail, *report.details))
    if usable is None:
        return Failed(replace(report, stored=None if report.collapsed else False), error, query.call.endpoint.errors)
    return _stand_in(query, usable, report, now)


def _stand_in(query: Query, usable: Match, report: ExchangeReport, now: float) -> Serve:
    details = tuple(dict.fromkeys((*usable.details, *report.details)))
    report = replace(report, ttl=remaining(usable.stored, now), stored=None, details=details)
    return Serve(usable.stored, report, now, query.asked.speed)


def _forwarding(query: Query, fwd: Fwd, *why: str | None) -> ExchangeReport:
    """Say what is known before the upstream answers; first why the answer will not be kept, whatever it is."""
    asked, refusal = query.asked, None
    if not asked.may_store:
        refusal = "no-store" if asked.control.no_store else "mode-read"
    stored = None if refusal is None else False
    return replace(query.report, fwd=fwd, stored=stored, details=_details(asked, refusal, *why))


def _last_refusal(query: Query, order: Ordered) -> str | None:
    """Return why the last answer was not kept: the head of a stream could not say so."""
    detail = query.refusals.last(query.key.index, order.order.generation)
    return None if detail is None else was(detail)


def _details(asked: Directives, *details: str | None) -> tuple[str, ...]:
    """Return why, most telling first, without repeats; and what of the request was not obeyed."""
    given = [*details, *(f"ignored-{name}" for name in asked.ignored)]
    return tuple([detail for detail in dict.fromkeys(given) if detail is not None]) if any(given) else ()


def _on_abandon(request: Request, asked: Directives, policy: Policy) -> Abandon:
    """Return what the client says, else the operator; a wrapped app is told of a client that leaves, as without us."""
    by_default = Abandon.CANCEL if isinstance(request.target, AppTarget) else Abandon.FINISH
    return asked.abandon or (Abandon(policy.on_abandon) if policy.on_abandon else by_default)
