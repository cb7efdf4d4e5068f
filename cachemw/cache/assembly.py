"""Assemble an answer to many inputs of what is stored of each, without a forward.

It is exact or it is none: all inputs are known, their answers named one model, and what they took adds up.
"""

from collections import Counter
from collections.abc import Generator, Iterable, Mapping, Sequence
from functools import partial
from typing import Any

from cachemw.cache.effects import Effect, FoundMany, LookupMany, RunInThread
from cachemw.cache.key import Key, index_of_batch, part_keys
from cachemw.cache.lookup import Match, NoMatch, Query, are_times_sound, restricted
from cachemw.cache.parts import Batch, StoredPart, read_batch, read_part
from cachemw.endpoints.base import PLAIN
from cachemw.endpoints.embeddings.parts import Divided, assemble, bodies_of, usage_together
from cachemw.endpoints.embeddings.request import is_vector
from cachemw.errors import StoreError
from cachemw.messages import StoredResponse

ASSEMBLED = "assembled"
"""The detail of an answer that is put together of parts."""


def assembled(query: Query, otherwise: NoMatch, now: float) -> Generator[Effect, Any, Match | NoMatch]:
    """Return the answer that the parts in the store make; `otherwise`, what was found without them, where they make none."""
    try:
        stored = yield from _gathered(query, now)
    except StoreError:
        return otherwise
    if stored is None:
        return otherwise
    made = restricted(Match(stored, (ASSEMBLED,)), query, now)
    return made if isinstance(made, Match) or otherwise.stands_in is None else otherwise


def _gathered(query: Query, now: float) -> Generator[Effect, Any, StoredResponse | None]:
    bodies = bodies_of(query.call.canonical)
    distinct = dict.fromkeys(bodies)
    keys = part_keys(query.key, query.call.canonical, distinct)
    found: FoundMany = yield LookupMany(tuple([key.index for key in keys]))
    if len(found.records) < len(keys):
        return None
    parts = _parts_in(found.records, keys)
    wholes = dict.fromkeys(part.whole for part in parts)
    if not parts:
        return None
    held: FoundMany = yield LookupMany(tuple([index_of_batch(whole) for whole in wholes]))
    batches = _batches_in(held.records, wholes, now)
    make = partial(_assembled, query, bodies, dict(zip(distinct, parts, strict=True)), batches)
    is_large = sum(len(part.vector) for part in parts) > query.limits.judged_bytes
    response: StoredResponse | None = (yield RunInThread(make)) if is_large else make()
    return response


def _parts_in(records: Sequence[bytes], keys: Sequence[Key]) -> list[StoredPart]:
    """Return the parts; none at all where one of them is none."""
    parts = [read_part(record, key) for record, key in zip(records, keys, strict=True)]
    return [part for part in parts if part is not None and is_vector(part.vector)] if all(parts) else []


def _batches_in(records: Sequence[bytes], wholes: Iterable[bytes], now: float) -> Mapping[bytes, Batch]:
    """Return the batches by the index of their whole."""
    read = zip(wholes, map(read_batch, records), strict=False)
    return {whole: batch for whole, batch in read if batch is not None and are_times_sound(batch.record, now)}


def _assembled(
    query: Query, bodies: Sequence[bytes], parts: Mapping[bytes, StoredPart], batches: Mapping[bytes, Batch]
) -> StoredResponse | None:
    used: dict[bytes, list[bytes]] = {}
    for body, part in parts.items():
        batch = batches.get(part.whole)
        if batch is None or batch.name != part.batch:  # its whole was purged, or replaced
            return None
        used.setdefault(part.whole, []).append(body)
    records = [batches[whole].record for whole in used]
    usage = _usage(Counter(bodies), parts, [(batches[whole], of_batch) for whole, of_batch in used.items()])
    models = {record.model for record in records}
    model = models.pop()
    if usage is None or models or model is None:
        return None
    oldest = min(records, key=lambda record: record.stored_at)
    return StoredResponse(
        status=200,
        headers=((b"content-type", b"application/json"),),
        body=assemble(Divided(tuple([parts[body].vector for body in bodies]), model, usage)),
        event_ends=(),
        arrivals=(),
        kind=PLAIN,
        proof=query.key.proof,
        stored_at=oldest.stored_at,
        lifetime=min(record.stored_at + record.lifetime for record in records) - oldest.stored_at,
        endpoint=query.call.endpoint.name,
        target=oldest.target,
        model=model,
        usage=query.call.endpoint.usage(usage),
    )


def _usage(
    counts: Mapping[bytes, int], parts: Mapping[bytes, StoredPart], used: Iterable[tuple[Batch, Sequence[bytes]]]
) -> bytes | None:
    """Return what the answer would have taken; `None` where only the sum for inputs is known that are not all asked for."""
    usages = []
    for batch, bodies in used:
        if sum(parts[body].times for body in bodies) != batch.inputs:
            return None
        ratios = {divmod(counts[body], parts[body].times) for body in bodies}
        if len(ratios) != 1 or (ratio := ratios.pop())[1]:
            return None
        usages.append((batch.record.body, ratio[0]))
    return usage_together(usages)
