"""Ask an upstream for those inputs only of which too little is stored, and make of its answer the one to all of them.

What is known of the others is as in `cachemw.cache.assembly`: fresh, of one model, and with what it took.
"""

from collections import Counter
from collections.abc import Generator
from typing import Any

import msgspec
from msgspec.structs import replace

from cachemw.cache.effects import Effect, Forward, Ordered
from cachemw.cache.key import Key, frame, index_of_batch
from cachemw.cache.lookup import Match, NoMatch, Query
from cachemw.cache.order import ALONE
from cachemw.cache.parts import KnownParts
from cachemw.cache.plans import TranslatedRequest
from cachemw.cache.questions import rewritten_for
from cachemw.cache.terms import terms_of
from cachemw.endpoints.embeddings.parts import Divided, assemble, bodies_of, body_for, divide, usage_together
from cachemw.redaction import redacted_repr
from cachemw.report import ExchangeReport
from cachemw.wire.fields import without

PARTIAL_UNFIT = "partial-unfit"
"""The detail of an answer to all inputs: the one to some of them did not fit what is known of the others."""


class Remainder(msgspec.Struct, frozen=True):
    """A call for some inputs of a request. `query` is that call, whose key still names the whole's index; `body` is sent.

    Each input that is `sent` stands for `times` of the same.
    """

    query: Query
    body: bytes
    known: KnownParts
    sent: tuple[bytes, ...]
    times: int

    __repr__ = redacted_repr

    @property
    def question(self) -> bytes:
        """Return what its forward is claimed under: only who is to be sent the very same can read along, as it comes."""
        return frame((b"partial", self.query.key.index, self.query.key.parts))

    @property
    def detail(self) -> str:
        """Say how many inputs are known, of how many."""
        inputs = self.known.inputs
        return f"partial-{sum(body in self.known.vectors for body in inputs)}-of-{len(inputs)}"

    def answer(self, body: bytes) -> bytes | None:
        """Return the answer to all inputs, with what the upstream said of some; `None` where the two do not fit."""
        divided = divide(body)
        if divided is None or len(divided.vectors) != len(self.sent) or divided.model != self.known.model:
            return None
        usage = usage_together([(self.known.usage, 1), (divided.usage, self.times)])
        if usage is None:
            return None
        vectors = {**self.known.vectors, **dict(zip(self.sent, divided.vectors, strict=True))}
        return assemble(Divided(tuple([vectors[one] for one in self.known.inputs]), divided.model, usage))


def remainder_of(query: Query, found: NoMatch) -> Remainder | None:
    """Return the call for what is not known; `None` where the request is sent as it came."""
    known, body = found.known, query.request.body
    if known is None or not isinstance(body, bytes):
        return None
    places, times = _asked_for(known)
    if not places:
        return None
    canonical = body_for(query.call.canonical, places)
    sent_query = replace(
        query,
        key=_key_of(query.key, query.call.canonical, canonical),
        call=replace(query.call, canonical=canonical, choices=len(places)),
    )
    return Remainder(sent_query, body_for(body, places), known, bodies_of(canonical), times)


def _asked_for(known: KnownParts) -> tuple[list[int], int]:
    """Return the places of the inputs that are asked for, and how many of its like each of them stands for.

    Each that is not known is asked for once; where they are not repeated equally often, as often as they stand there, for of
    what they take only the sum will be known.
    """
    unknown = [place for place, body in enumerate(known.inputs) if body not in known.vectors]
    counts = Counter(known.inputs[place] for place in unknown)
    if len(set(counts.values())) != 1:
        return unknown, 1
    first = {known.inputs[place]: place for place in reversed(unknown)}
    return sorted(first.values()), counts.popitem()[1]


def _key_of(whole: Key, canonical: bytes, sent: bytes) -> Key:
    """Return the key of a call for some inputs: its parts are of a whole that has the index of the request's own."""
    circumstances = whole.parts[: -len(frame((canonical,)))]
    return Key(circumstances + frame((sent,)), whole.index, whole.proof)


def forward_for_remainder(
    part: Remainder, found: Match | NoMatch, order: Ordered | str, report: ExchangeReport
) -> Generator[Effect, Any, Forward]:
    """Return the forward of a call for some inputs; of its answer nothing is kept but the parts."""
    query = part.query
    request = query.request
    rewritten = yield from rewritten_for(request, query.policy, query)
    terms = replace(terms_of(query, order, found), index=index_of_batch(query.key.index), others=ALONE, is_of_some=True)
    headers = (*without(request.headers, (b"content-length",)), (b"content-length", b"%d" % len(part.body)))
    sent = TranslatedRequest(None, headers, part.body)
    return Forward(terms, query.on_abandon, report, rewritten, query.errors, translated=sent)
