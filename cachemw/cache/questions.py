"""The questions that the script asks of its driver on its way: whose answer, what is stored, where a forward stands.

Each is a generator of effects, and returns what was found out.
"""

from collections.abc import Generator
from functools import partial
from typing import Any

from msgspec.structs import replace

from cachemw.cache.assembly import assembled
from cachemw.cache.effects import (
    AskPartition,
    DeleteRecord,
    Effect,
    Found,
    GetOrder,
    Lookup,
    Ordered,
    ReadSecret,
    RunInThread,
)
from cachemw.cache.header_rules import Travels, fate
from cachemw.cache.key import (
    SHARED,
    by_client,
    by_credential,
    by_name,
    idempotency_key,
    index_beside,
    indexes_beside,
    is_lent,
)
from cachemw.cache.lookup import Match, NoMatch, Query, VerifiedRecords, select
from cachemw.cache.policy import Policy
from cachemw.cache.sketch import sketch_of
from cachemw.cache.slate import Slate, Survey, survey_of
from cachemw.errors import PartitionError, RecordError, StoreError, StoreTimeout
from cachemw.messages import Headers, Inside, Request, header_values
from cachemw.report import STORE_SLOW

IDEMPOTENCY_KEY = b"idempotency-key"


def look_over(slate: Slate, verified: VerifiedRecords) -> Generator[Effect, Any, Survey]:
    """Look for stored responses of all targets that may answer: peers first, and those that stand in for them after."""
    first = slate.queries[0]
    found, now = yield from look(first, verified)
    if slate.plan is None:
        stale = found.stands_in if isinstance(found, NoMatch) else None
        return Survey(first, found, now, (found,), (0,), None if stale is None else (first, stale))
    founds = [found]
    for query, before in zip(slate.queries[1:], slate.queries, strict=False):
        if query.tier > before.tier and any(isinstance(found, Match) for found in founds):
            break  # nobody need stand in
        found, now = yield from look(query, verified)
        founds.append(found)
    return survey_of(slate, tuple(founds), now)


def partition_of(request: Request, policy: Policy) -> Generator[Effect, Any, bytes]:
    """Return what keeps this caller's answers from others'. Raises `PartitionError`, `StoreError`."""
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


def rewritten_for(request: Request, policy: Policy, query: Query | None) -> Generator[Effect, Any, Headers]:
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
        return idempotency_key(secret, request.headers, (yield from partition_of(request, policy)))
    except (PartitionError, StoreError):
        return ()


def order_of(why: str | None) -> Generator[Effect, Any, Ordered | str]:
    """Ask where a forward stands that begins now, or say why nobody knows; who has waited in vain asks no more (D1)."""
    if why == STORE_SLOW:
        return why
    try:
        order: Ordered = yield GetOrder()
    except StoreError as error:
        return STORE_SLOW if isinstance(error, StoreTimeout) else "store-unreadable"
    return order


def sketch_for(query: Query, order: Ordered | str) -> Generator[Effect, Any, bytes | None]:
    """Return the sketch of a key whose answer may be kept; `None` where none is wanted, or the store has no secret now."""
    if not (query.policy.sketch and query.asked.may_store) or isinstance(order, str):
        return None
    return (yield from sketch_under(query))


def sketch_under(query: Query) -> Generator[Effect, Any, bytes | None]:
    """Return the sketch of a key; `None` where the store has no secret now."""
    try:
        secret: bytes = b"" if query.policy.partition == "shared" else (yield ReadSecret())  # beside a cassette none is made
    except StoreError:
        return None
    return sketch_of(query.key, secret)


def look(query: Query, verified: VerifiedRecords) -> Generator[Effect, Any, tuple[Match | NoMatch, float]]:
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
    if isinstance(match, NoMatch) and match.fwd != "request" and query.call.divides:
        match = yield from assembled(query, match, found.now)
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
