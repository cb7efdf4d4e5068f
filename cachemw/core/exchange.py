"""The script: how one chat request is answered.

It yields what it needs and is sent the result, or thrown the failure; it ends in an outcome. Two drivers perform what it
asks, one with `await` and one without; `tests/core/test_exchange.py` is the same as a table.
"""

from collections.abc import Generator
from dataclasses import replace
from typing import Any

from cachemw.core import recording
from cachemw.core.chat import Bypass, ChatRequest, read_chat
from cachemw.core.directives import CONTROL_HEADER, Directives, InvalidControl, Members, Mode, parse_members
from cachemw.core.effects import (
    Arrived,
    Claim,
    Claimed,
    Discard,
    Effect,
    Failed,
    Forward,
    Found,
    Lookup,
    Name,
    Script,
    Secret,
    Serve,
    Unacceptable,
    Unsatisfiable,
)
from cachemw.core.fingerprint import Key, fingerprint
from cachemw.core.freshness import remaining, retention
from cachemw.core.messages import Head, HttpAnswerer, Request, header_values
from cachemw.core.partition import SHARED, by_credential, by_name, callers_credentials
from cachemw.core.policy import Policy
from cachemw.core.recording import Terms, head_fault
from cachemw.core.relay import Relay
from cachemw.core.report import ExchangeReport
from cachemw.core.selection import OTHER_KIND, Query, Unusable, Usable, Verified, select
from cachemw.errors import PartitionError, RecordError, StoreError, TruncatedResponse, UpstreamError, UpstreamTimeout


def exchange(request: Request, asked: Directives, policy: Policy, verified: Verified) -> Script:
    """Answer one chat request whose client opted in."""
    chat = read_chat(request)
    if isinstance(chat, Bypass):
        return (yield from bypass(chat.detail, asked))
    try:
        key = yield from _key(request, chat, asked, policy)
    except (PartitionError, StoreError):
        return (yield from bypass("no-partition", asked))

    query = Query(key, chat, asked, policy.store_when)
    claimed: Claimed | None = None
    before: str | None = None
    while True:
        found, now = yield from _look(query, verified)
        if isinstance(found, Usable):
            return Serve(found.stored, _served(found, claimed, query, now), now)
        if not asked.may_forward:
            return Unsatisfiable(ExchangeReport(details=_details(asked, "not-cached")))
        if claimed is not None or asked.wants_fresh_answer or found.detail == OTHER_KIND:
            break
        before = found.detail  # a bad record is gone by then, and yet why this is a miss
        claimed = yield Claim(key.parts, chat.kind, may_lead=asked.may_store)  # then look again: it may have landed
    return (yield from _forward(query, policy, Unusable(found.fwd, found.detail or before)))


def bypass(detail: str, asked: Directives) -> Script:
    """Pass on what is not ours to cache, unless only the store may answer."""
    if not asked.may_forward:
        return Unsatisfiable(ExchangeReport(details=_details(asked, "not-cached", detail)))
    return (yield from pass_on(ExchangeReport(fwd="bypass", stored=False, details=_details(asked, detail))))


def pass_on(said: ExchangeReport | None) -> Script:
    """Forward and relay, and keep nothing; where the client did not opt in there is nothing to say of it."""
    try:
        arrived: Arrived = yield Forward(recorded=False)
    except UpstreamError as error:
        return Failed(None if said is None else replace(said, details=(*said.details, _failure(error))), error)
    return Relay(arrived.head, said, None)


def not_chat() -> Script:
    """Pass on what the client opted in for all the same: its defaults hold the header, so `/v1/models` carries it too."""
    return pass_on(ExchangeReport(fwd="bypass", stored=False, details=("not-chat",)))


def refuse(invalid: InvalidControl) -> Script:
    """Answer a request whose control header cannot be obeyed: nothing is guessed, and nothing contacted."""
    yield from ()
    return Unacceptable(ExchangeReport(stored=False, details=("invalid-cachemw",)), invalid)


def _details(asked: Directives, *details: str | None) -> tuple[str, ...]:
    """Return why, most telling first, without repeats; and what of the request was not obeyed."""
    given = [*details, *(f"ignored-{name}" for name in asked.ignored)]
    return tuple([detail for detail in dict.fromkeys(given) if detail is not None]) if any(given) else ()


def _key(request: Request, chat: ChatRequest, asked: Directives, policy: Policy) -> Generator[Effect, Any, Key]:
    if policy.partition == "shared":
        partition = SHARED
    elif policy.partition == "credential":
        sent = callers_credentials(request.headers, isinstance(request.answerer, HttpAnswerer))
        partition = by_credential((yield Secret()) if sent else b"", sent)
    else:
        partition = by_name((yield Name(request)))
    return fingerprint(request, chat.canonical, partition, asked.namespace, asked.sample, policy.header_rules)


def _look(query: Query, verified: Verified) -> Generator[Effect, Any, tuple[Usable | Unusable, float]]:
    """Look for a stored response that may answer. A broken store is an empty store."""
    if query.asked.wants_fresh_answer:
        return Unusable("request"), 0.0
    try:
        found: Found = yield Lookup(query.key.index)
    except StoreError:
        return Unusable("miss", "store-unreadable"), 0.0
    if found.record is None:
        return Unusable("miss"), found.now
    try:
        return select(found.record, query, verified, found.now), found.now
    except RecordError:
        yield Discard(query.key.index)
        return Unusable("miss", "bad-record"), found.now


def _served(found: Usable, claimed: Claimed | None, query: Query, now: float) -> ExchangeReport:
    key, details = query.key.index.hex(), _details(query.asked, found.detail)
    if claimed is Claimed.FOLLOWED:  # waited for another's forward: new, so no ttl
        return ExchangeReport(fwd="miss", fwd_status=found.stored.status, collapsed=True, key=key, details=details)
    return ExchangeReport(hit=True, ttl=remaining(found.stored, now), key=key, details=details)


def _forward(query: Query, policy: Policy, found: Unusable) -> Script:
    refusal, key = _refusal(query.asked, found), query.key.index.hex()
    try:
        arrived: Arrived = yield Forward(recorded=refusal is None)
    except UpstreamError as error:
        details = _details(query.asked, _failure(error))
        return Failed(ExchangeReport(fwd=found.fwd, stored=False, key=key, details=details), error)
    head = arrived.head
    fault = refusal or _kept_out(head) or head_fault(head, query.chat.kind.stream)
    said = ExchangeReport(
        fwd=found.fwd,
        fwd_status=head.status,
        stored=None if fault is None else False,
        key=key,
        details=_details(query.asked, fault, found.detail),
    )
    return Relay(head, said, recording.start(head, _terms(query, policy), arrived.now) if fault is None else None)


def _failure(error: UpstreamError) -> str:
    if isinstance(error, UpstreamTimeout):
        return "timeout"
    return "truncated" if isinstance(error, TruncatedResponse) else "unreachable"


def _refusal(asked: Directives, found: Unusable) -> str | None:
    """Say why the answer will not be kept, whatever it is."""
    if asked.control.no_store:
        return "no-store"
    if asked.mode is Mode.READ:
        return "mode-read"
    return OTHER_KIND if found.detail == OTHER_KIND else None


def _kept_out(head: Head) -> str | None:
    """Read `Cachemw: off` in a response: a wrapped app keeps this answer out. What cannot be read is not stored either."""
    fields = header_values(head.headers, CONTROL_HEADER)
    members = parse_members(b", ".join(fields)) if fields else Members(on=True)
    return None if isinstance(members, Members) and members.on is not False else "kept-out"


def _terms(query: Query, policy: Policy) -> Terms:
    lifetime = policy.lifetime_of(query.asked.ttl)
    return Terms(
        chat=query.chat,
        key=query.key,
        lifetime=lifetime,
        keep=retention(policy.keep, lifetime),
        store_when=policy.store_when,
        limit_bytes=policy.max_record_bytes,
        keep_request=policy.keep_requests,
    )
