"""Assemble an answer to many inputs of what is stored of each, without a forward.

It is exact or it is none: all inputs are known, their answers named one model, and what they took adds up. Where a request
says `partial`, what is known so of some of its inputs is told, too.
"""

from collections import Counter
from collections.abc import Generator, Iterable, Mapping, Sequence
from functools import partial
from typing import Any

import msgspec
from msgspec.structs import replace

from cachemw.cache.effects import Effect, FoundMany, LookupMany, RunInThread
from cachemw.cache.freshness import is_fresh, satisfies
from cachemw.cache.key import Key, index_of_batch, part_keys
from cachemw.cache.lookup import Match, NoMatch, Query, are_times_sound, restricted
from cachemw.cache.parts import Batch, KnownParts, StoredPart, read_batch, read_part
from cachemw.endpoints.base import PLAIN
from cachemw.endpoints.embeddings.parts import Divided, assemble, bodies_of, usage_together
from cachemw.errors import StoreError
from cachemw.limits import MIB
from cachemw.messages import StoredResponse
from cachemw.redaction import redacted_repr

LARGEST_ASSEMBLED = 64 * MIB
"""The bytes of vectors that an answer is put together of at most: a short request may name one input thousands of times."""

ASSEMBLED = "assembled"
"""The detail of an answer that is put together of parts."""


class _Shelf(msgspec.Struct, frozen=True):
    """All that is stored of the inputs of a request: by their bodies the parts, and by the index of their whole the batches."""

    inputs: tuple[bytes, ...]
    parts: Mapping[bytes, StoredPart]
    batches: Mapping[bytes, Batch]

    __repr__ = redacted_repr


def assembled(query: Query, otherwise: NoMatch, now: float) -> Generator[Effect, Any, Match | NoMatch]:
    """Return the answer that the parts in the store make; `otherwise`, what was found without them, where they make none."""
    try:
        shelf = yield from _shelf(query, now)
    except StoreError:
        return otherwise
    if shelf is None:
        return otherwise
    size = sum(len(shelf.parts[body].vector) for body in shelf.inputs if body in shelf.parts)
    if size > LARGEST_ASSEMBLED:
        return otherwise
    make, is_large = partial(_assembled, query, shelf), size > query.limits.judged_bytes
    stored: StoredResponse | None = (yield RunInThread(make)) if is_large else make()
    made = otherwise if stored is None else restricted(Match(stored, (ASSEMBLED,)), query, now)
    if isinstance(made, Match):
        return made
    missed = made if otherwise.stands_in is None else otherwise
    return replace(missed, known=_known(query, shelf, now)) if query.is_partial else missed


def _shelf(query: Query, now: float) -> Generator[Effect, Any, _Shelf | None]:
    """Look for the parts; `None` where there are too few of them to make anything."""
    inputs = bodies_of(query.call.canonical)
    distinct = dict.fromkeys(inputs)
    keys = part_keys(query.key, query.call.canonical, distinct)
    found: FoundMany = yield LookupMany(tuple([key.index for key in keys]), query.is_partial)
    if len(found.records) < len(keys):
        return None
    parts = _parts_in(found.records, dict(zip(distinct, keys, strict=True)))
    if not parts or len(parts) < len(keys) and not query.is_partial:
        return None
    wholes = dict.fromkeys(part.whole for part in parts.values())
    held: FoundMany = yield LookupMany(tuple([index_of_batch(whole) for whole in wholes]), query.is_partial)
    return _Shelf(inputs, parts, _batches_in(held.records, wholes, now))


def _parts_in(records: Sequence[bytes | None], keys: Mapping[bytes, Key]) -> Mapping[bytes, StoredPart]:
    """Return the parts that are there by the bodies that ask for them."""
    read = {body: record and read_part(record, key) for (body, key), record in zip(keys.items(), records, strict=True)}
    return {body: part for body, part in read.items() if isinstance(part, StoredPart)}


def _batches_in(records: Sequence[bytes | None], wholes: Iterable[bytes], now: float) -> Mapping[bytes, Batch]:
    """Return the batches by the index of their whole."""
    read = {whole: record and read_batch(record) for whole, record in zip(wholes, records, strict=False)}
    return {whole: batch for whole, batch in read.items() if isinstance(batch, Batch) and are_times_sound(batch.record, now)}


def _assembled(query: Query, shelf: _Shelf) -> StoredResponse | None:
    counts, used = Counter(shelf.inputs), _used(shelf)
    if sum(map(len, used.values())) < len(counts):  # one is not there; or its whole was purged, or replaced
        return None
    batches = [shelf.batches[whole] for whole in used]
    usage = _usage(counts, shelf, used)
    models = {batch.record.model for batch in batches}
    model = models.pop()
    if usage is None or models or model is None:
        return None
    records = [batch.record for batch in batches]
    oldest = min(records, key=lambda record: record.stored_at)
    return StoredResponse(
        status=200,
        headers=((b"content-type", b"application/json"),),
        body=assemble(Divided(tuple([shelf.parts[body].vector for body in shelf.inputs]), model, usage)),
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


def _used(shelf: _Shelf) -> Mapping[bytes, list[bytes]]:
    """Return, by the index of a whole, the bodies that ask for its parts: of those that came with the batch that is there."""
    used: dict[bytes, list[bytes]] = {}
    for body, part in shelf.parts.items():
        batch = shelf.batches.get(part.whole)
        if batch is not None and batch.name == part.batch:
            used.setdefault(part.whole, []).append(body)
    return used


def _usage(counts: Mapping[bytes, int], shelf: _Shelf, used: Mapping[bytes, Sequence[bytes]]) -> bytes | None:
    """Return what an answer of these parts would have taken, all together; `None` where that cannot be said exactly."""
    usages = []
    for whole, bodies in used.items():
        times = _times(counts, shelf, whole, bodies)
        if times is None:
            return None
        usages.append((shelf.batches[whole].record.body, times))
    return usage_together(usages)


def _times(counts: Mapping[bytes, int], shelf: _Shelf, whole: bytes, bodies: Sequence[bytes]) -> int | None:
    """Return how often a batch is asked for as it came; `None` where it is not: only the sum for all its inputs is known."""
    if sum(shelf.parts[body].times for body in bodies) != shelf.batches[whole].inputs:
        return None
    ratios = {divmod(counts[body], shelf.parts[body].times) for body in bodies}
    times, rest = ratios.pop()
    return None if ratios or rest else times


def _known(query: Query, shelf: _Shelf, now: float) -> KnownParts | None:
    """Return what there is of some inputs that is fresh and exact; `None` where there is nothing, or no one model.

    What this very request brought before is asked for again with the rest: of one whole there is one batch.
    """
    counts = Counter(shelf.inputs)
    used = {
        whole: bodies
        for whole, bodies in _used(shelf).items()
        if whole != query.key.index
        and _is_usable(shelf.batches[whole].record, query, now)
        and _times(counts, shelf, whole, bodies) is not None
    }
    models = {shelf.batches[whole].record.model for whole in used}
    usage = _usage(counts, shelf, used) if used else None
    if usage is None or len(models) != 1 or (model := models.pop()) is None:
        return None
    if usage_together([(usage, 1), (usage, 1)]) is None:  # nothing could be added to it
        return None
    vectors = {body: shelf.parts[body].vector for bodies in used.values() for body in bodies}
    return KnownParts(shelf.inputs, vectors, model, usage)


def _is_usable(record: StoredResponse, query: Query, now: float) -> bool:
    return is_fresh(record, now) and satisfies(record, query.asked.control, now)
