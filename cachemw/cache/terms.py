"""Set the terms on which an answer is kept: by the operator's policy, by its request, and by what is stored already."""

from cachemw.cache.effects import Ordered
from cachemw.cache.freshness import retention
from cachemw.cache.key import index_beside, indexes_beside
from cachemw.cache.lookup import Match, NoMatch, Query
from cachemw.cache.order import ALONE, Others
from cachemw.cache.recording import Terms


def terms_of(
    query: Query,
    order: Ordered | str,
    found: Match | NoMatch,
    *,
    sketch: bytes | None = None,
    waits: bool = True,
    also_instead_of: tuple[bytes, ...] = (),
) -> Terms:
    """Return the terms; `order` is where the forward stands, or why nobody knows, and `found` what is stored already.

    A fresh answer that was asked for is kept in the place of the records under `also_instead_of`, too.
    """
    policy, lifetime = query.policy, min(query.policy.lifetime_of(query.asked.ttl), query.call.longest)
    index, others = _placed(query, found, also_instead_of)
    return Terms(
        call=query.call,
        key=query.key,
        lifetime=lifetime,
        keep=retention(policy.keep, lifetime, policy.window),
        demands=policy.demands_on(query.request.target),
        limit_bytes=policy.max_record_bytes,
        limits=query.limits,
        keep_request=policy.keep_requests,
        order=order.order if isinstance(order, Ordered) else order,
        waits=waits,
        target=query.report.target or "",
        asked_at=order.now if isinstance(order, Ordered) else 0.0,
        index=index,
        others=others,
        refusals=query.refusals,
        host=query.request.target.place,
        received=query.received,
        sketch=sketch,
    )


def _placed(query: Query, found: Match | NoMatch, also_instead_of: tuple[bytes, ...]) -> tuple[bytes, Others]:
    """Say where the answer is kept: a fresh one that was asked for in the place of all kinds, another beside its other kind."""
    index = query.key.index
    if query.asked.wants_fresh_answer:
        return index, Others(instead_of=(*indexes_beside(index), *also_instead_of))
    return (index_beside(index, query.call.kind), Others(beside=(index,))) if found.beside else (index, ALONE)
