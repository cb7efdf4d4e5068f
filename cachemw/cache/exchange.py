"""The script: how one chat request is answered.

It yields what it needs and is sent the result, or thrown the failure; it ends in an outcome. Two drivers perform what it
asks, one with `await` and one without; `tests/core/test_exchange.py` is the same as a table.
"""

from collections.abc import Generator
from dataclasses import replace
from functools import partial
from typing import Any

from cachemw import limits
from cachemw.cache.directives import Abandon, Directives, InvalidControl
from cachemw.cache.effects import (
    Arrived,
    AskPartition,
    Claim,
    Claimed,
    DeleteRecord,
    Effect,
    Failed,
    Forward,
    Found,
    GetOrder,
    Lookup,
    ReadSecret,
    RunInThread,
    Script,
    Serve,
    Unacceptable,
    Unsatisfiable,
)
from cachemw.cache.freshness import remaining, retention
from cachemw.cache.header_rules import Travels, fate
from cachemw.cache.key import SHARED, by_credential, by_name, callers_credentials, fingerprint, idempotency_key, is_lent
from cachemw.cache.live_response import Relay
from cachemw.cache.lookup import Match, NoMatch, Query, VerifiedRecords, select
from cachemw.cache.order import Order
from cachemw.cache.policy import Policy
from cachemw.cache.recording import Terms
from cachemw.cache.sharing import Course, Sender, is_shared, sender_of
from cachemw.endpoints.chat.request import Bypass, read_chat
from cachemw.errors import (
    PartitionError,
    RecordError,
    StoreError,
    StoreTimeout,
    TruncatedResponse,
    UpstreamError,
    UpstreamTimeout,
)
from cachemw.messages import AppTarget, Headers, HttpRecipient, Inside, Request, header_values
from cachemw.report import STORE_SLOW, ExchangeReport, Fwd

ATTEMPTS = 2
"""How often another's forward is followed, or awaited, that fails: one re-election, then that failure is its own too."""

IDEMPOTENCY_KEY = b"idempotency-key"

STANDS_IN_FOR = frozenset({429, 500, 502, 503, 504})
"""The statuses of an upstream that cannot answer just now (RFC 5861 §4), and of one that will not yet."""


def exchange(request: Request, asked: Directives, policy: Policy, verified: VerifiedRecords) -> Script:
    """Answer one chat request whose client opted in."""
    chat = read_chat(request, policy.bookkeeping)
    if isinstance(chat, Bypass):
        return (yield from bypass(chat.detail, request, asked, policy))
    try:
        partition = yield from _partition(request, policy)
    except (PartitionError, StoreError):
        return (yield from bypass("no-partition", request, asked, policy))
    key = fingerprint(request, chat.canonical, partition, asked.namespace, asked.sample, policy.header_rules)
    return (yield from _answer(Query(key, chat, asked, policy, _on_abandon(request, asked, policy), request), verified))


def _answer(query: Query, verified: VerifiedRecords) -> Script:
    asked, failures = query.asked, 0
    claimed: Claimed | Arrived | None = None
    report: ExchangeReport | None = None
    why: str | None = None  # a bad record is gone when it is looked for again, and yet why this is a miss
    order: Order | str = ""
    sender: Sender | None = None
    is_apart = False
    while True:
        is_leading = claimed in (Claimed.LEAD, Claimed.ALONE)
        if not (is_leading and why == STORE_SLOW):  # who has waited for the store in vain waits no more (D1)
            found, now = yield from _look(query, verified)
        if isinstance(found, Match):
            return (yield from _serve(query, found, now, report if claimed is Claimed.LANDED else None))
        if not asked.may_forward:
            return Unsatisfiable(ExchangeReport(details=_details(asked, "not-cached")))
        why = found.detail or why
        if claimed is not Claimed.LEAD:  # who was let alone may have waited for long
            order = yield from _order(why)
        report = _report(query, found.fwd, why, order if isinstance(order, str) else None)
        if asked.wants_fresh_answer or is_leading:
            return (yield from _forward(query, verified, found, report, order))
        sender = sender or sender_of(query.request, query.policy)
        try:
            claimed = yield _claim(query, report, order, sender, is_apart=is_apart)
        except UpstreamError as error:
            failures += 1
            if failures == ATTEMPTS:
                return (yield from _without_upstream(query, verified, replace(report, collapsed=True), error))
        else:
            if isinstance(claimed, Arrived):
                if claimed.leader is None or is_shared(claimed.response.head.status, claimed.leader, sender):
                    return _shown(query, found, replace(report, collapsed=True, stored=None), claimed, sender)
                is_apart = True


def bypass(detail: str, request: Request, asked: Directives, policy: Policy) -> Script:
    """Pass on what is not ours to cache, unless only the store may answer."""
    if not asked.may_forward:
        return Unsatisfiable(ExchangeReport(details=_details(asked, "not-cached", detail)))
    report = ExchangeReport(fwd="bypass", stored=False, details=_details(asked, detail))
    return (yield from pass_on(report, request, policy))


def pass_on(report: ExchangeReport | None, request: Request, policy: Policy) -> Script:
    """Forward and relay, and keep nothing; where the client did not opt in there is nothing to say of it."""
    rewritten = yield from _rewritten(request, policy, None)
    try:
        arrived: Arrived = yield Forward(None, Abandon.CANCEL, report, rewritten)
    except UpstreamError as error:
        return Failed(None if report is None else replace(report, details=(*report.details, _failure(error))), error)
    return Relay(arrived.response, report)


def pass_on_other(request: Request, policy: Policy) -> Script:
    """Pass on what is no chat, and whose control header cannot be read: it is nobody's there."""
    return pass_on(ExchangeReport(fwd="bypass", stored=False, details=("not-chat",)), request, policy)


def refuse(invalid: InvalidControl) -> Script:
    """Answer a request whose control header cannot be obeyed: nothing is guessed, and nothing contacted."""
    yield from ()
    return Unacceptable(ExchangeReport(stored=False, details=("invalid-cachemw",)), invalid)


def _partition(request: Request, policy: Policy) -> Generator[Effect, Any, bytes]:
    if policy.partition == "shared":
        return SHARED
    if policy.partition != "credential":
        return by_name((yield AskPartition(request)))
    recipient, attested = request.target.recipient, request.attested
    brought = callers_credentials(request.headers, isinstance(recipient, HttpRecipient))
    sent = (*brought, *attested.credentials) if attested.credentials else brought
    if attested.is_nameless and not sent:
        raise PartitionError("the app knows who asks, and nobody has said how to tell")
    return by_credential((yield ReadSecret()) if sent else b"", is_lent(brought, recipient), sent)


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
            kind = query.chat.kind
            return idempotency_key(secret, request.headers, query.key.parts, b"%d" % kind.stream, kind.options)
        return idempotency_key(secret, request.headers, (yield from _partition(request, policy)))
    except (PartitionError, StoreError):
        return ()


def _order(why: str | None) -> Generator[Effect, Any, Order | str]:
    """Ask where a forward stands that begins now, or say why nobody knows; who has waited in vain asks no more (D1)."""
    if why == STORE_SLOW:
        return why
    try:
        order: Order = yield GetOrder()
    except StoreError as error:
        return STORE_SLOW if isinstance(error, StoreTimeout) else "store-unreadable"
    return order


def _look(query: Query, verified: VerifiedRecords) -> Generator[Effect, Any, tuple[Match | NoMatch, float]]:
    """Look for a stored response that may answer. A broken store is an empty store."""
    if query.asked.wants_fresh_answer:
        return NoMatch("request"), 0.0
    try:
        found: Found = yield Lookup(query.key.index)
    except StoreError as error:
        return NoMatch("miss", STORE_SLOW if isinstance(error, StoreTimeout) else "store-unreadable"), 0.0
    if found.record is None:
        return NoMatch("miss"), found.now
    judge = partial(select, found.record, query, verified, found.now)
    try:
        return (yield RunInThread(judge)) if len(found.record) > limits.JUDGED_BYTES else judge(), found.now
    except RecordError:
        yield DeleteRecord(query.key.index)
        return NoMatch("miss", "bad-record"), found.now


def _serve(query: Query, found: Match, now: float, awaited: ExchangeReport | None) -> Script:
    """Answer from the store. What another's forward brought that was `awaited` is new: no ttl, no age."""
    if awaited is not None:
        details = (*found.details, *awaited.details)
        report = replace(awaited, fwd_status=found.stored.status, collapsed=True, stored=None, details=details)
        return Serve(found.stored, report, now, query.asked.speed)
    details = _details(query.asked, *found.details)
    report = ExchangeReport(hit=True, ttl=remaining(found.stored, now), key=query.key.index.hex(), details=details)
    revalidate = (yield from _revalidate(query, report)) if found.revalidate else None
    return Serve(found.stored, report, now, query.asked.speed, *(revalidate or ()))


def _revalidate(query: Query, report: ExchangeReport) -> Generator[Effect, Any, tuple[Terms, Headers] | None]:
    """Be the one that fetches a newer answer meanwhile, unless another one does."""
    order, sender = (yield from _order(None)), sender_of(query.request, query.policy)
    if (yield _claim(query, report, order, sender, may_follow=False)) is not Claimed.LEAD:
        return None
    return _terms(query, order), (yield from _rewritten(query.request, query.policy, query))


def _claim(
    query: Query, report: ExchangeReport, order: Order | str, sender: Sender, *, may_follow: bool = True, is_apart: bool = False
) -> Claim:
    generation = order.generation if isinstance(order, Order) else None
    course = Course(query.key.parts, query.chat.kind, generation, sender, is_apart)
    return Claim(course, query.asked.may_store, may_follow, query.on_abandon, report)


def _forward(query: Query, verified: VerifiedRecords, found: NoMatch, report: ExchangeReport, order: Order | str) -> Script:
    terms = _terms(query, order, waits=found.detail != STORE_SLOW) if query.asked.may_store else None
    rewritten = yield from _rewritten(query.request, query.policy, query)
    try:
        arrived: Arrived = yield Forward(terms, query.on_abandon, report, rewritten)
    except UpstreamError as error:
        return (yield from _without_upstream(query, verified, report, error))
    return _shown(query, found, report, arrived, None)


def _shown(query: Query, found: NoMatch, report: ExchangeReport, arrived: Arrived, sender: Sender | None) -> Serve | Relay:
    """Pass on what the upstream says, unless a stored response is better than that."""
    report = replace(report, fwd_status=arrived.response.head.status)
    if found.stands_in is not None and report.fwd_status in STANDS_IN_FOR:
        return _stand_in(query, found.stands_in, report, arrived.now)
    is_anothers = sender is not None and arrived.leader is not None and arrived.leader.credential != sender.credential
    return Relay(arrived.response, report, is_anothers)


def _without_upstream(query: Query, verified: VerifiedRecords, report: ExchangeReport, error: UpstreamError) -> Script:
    """Answer though the upstream failed before it showed anything; that took its time, so look again what there is."""
    found, now = yield from _look(query, verified)
    usable = found if isinstance(found, Match) else found.stands_in
    report = replace(report, fwd_status=error.status, details=(_failure(error), *report.details))
    if usable is None:
        return Failed(replace(report, stored=None if report.collapsed else False), error)
    return _stand_in(query, usable, report, now)


def _stand_in(query: Query, usable: Match, report: ExchangeReport, now: float) -> Serve:
    details = tuple(dict.fromkeys((*usable.details, *report.details)))
    report = replace(report, ttl=remaining(usable.stored, now), stored=None, details=details)
    return Serve(usable.stored, report, now, query.asked.speed)


def _failure(error: UpstreamError) -> str:
    if isinstance(error, UpstreamTimeout):
        return "timeout"
    if isinstance(error, TruncatedResponse):
        return "truncated"
    return "unreachable" if error.status is None else "broken"


def _report(query: Query, fwd: Fwd, *why: str | None) -> ExchangeReport:
    """Say what is known before the upstream answers; first why the answer will not be kept, whatever it is."""
    asked, refusal = query.asked, None
    if not asked.may_store:
        refusal = "no-store" if asked.control.no_store else "mode-read"
    stored = None if refusal is None else False
    return ExchangeReport(fwd=fwd, stored=stored, key=query.key.index.hex(), details=_details(asked, refusal, *why))


def _details(asked: Directives, *details: str | None) -> tuple[str, ...]:
    """Return why, most telling first, without repeats; and what of the request was not obeyed."""
    given = [*details, *(f"ignored-{name}" for name in asked.ignored)]
    return tuple([detail for detail in dict.fromkeys(given) if detail is not None]) if any(given) else ()


def _on_abandon(request: Request, asked: Directives, policy: Policy) -> Abandon:
    """What the client says, then the operator; a wrapped app is told of a client that leaves, as without us."""
    by_default = Abandon.CANCEL if isinstance(request.target, AppTarget) else Abandon.FINISH
    return asked.abandon or (Abandon(policy.on_abandon) if policy.on_abandon else by_default)


def _terms(query: Query, order: Order | str, *, waits: bool = True) -> Terms:
    policy, lifetime = query.policy, query.policy.lifetime_of(query.asked.ttl)
    return Terms(
        chat=query.chat,
        key=query.key,
        lifetime=lifetime,
        keep=retention(policy.keep, lifetime, policy.window),
        store_when=policy.store_when,
        limit_bytes=policy.max_record_bytes,
        keep_request=policy.keep_requests,
        order=order,
        waits=waits,
    )
