"""Select a stored response: say whether what the store holds under a key may answer a request."""

import math
from collections import OrderedDict
from operator import lt

import msgspec

from cachemw.cache import record as codec
from cachemw.cache.directives import FOREVER, Abandon, Directives, Mode
from cachemw.cache.effects import Basis
from cachemw.cache.freshness import is_fresh, satisfies, stands_in, while_revalidating
from cachemw.cache.header_rules import storable
from cachemw.cache.key import Key, index_beside
from cachemw.cache.parts import KnownParts
from cachemw.cache.plans import Bid
from cachemw.cache.policy import Policy
from cachemw.cache.presentation import UNSAYABLE, Presentation
from cachemw.cache.recording import KeptRequest, head_fault
from cachemw.cache.refusals import LastRefusals
from cachemw.endpoints.base import ApiCall
from cachemw.endpoints.errors import OPENAI, ErrorShape
from cachemw.errors import RecordError
from cachemw.limits import Limits
from cachemw.messages import Head, Kind, Request, StoredResponse
from cachemw.redaction import redacted_repr
from cachemw.report import ExchangeReport, Fwd
from cachemw.translation.base import Unsayable
from cachemw.wire.sse import Parser

CLOCK_AHEAD = 86_400.0
"""The seconds that the clock may have been ahead of ours by which a record was stored."""

Mark = bytes
"""Says which record it is: its header, with the checksum, and its proof."""


class TranscodeCache:
    """A cache of answers in other kinds, and in other dialects, as many as take `derived_bytes`; then the oldest go."""

    def __init__(self, limits: Limits = Limits()) -> None:
        self._limit_bytes, self._work = limits.derived_bytes, limits.work
        self._kept: OrderedDict[tuple[Mark, Kind, Presentation | None], StoredResponse] = OrderedDict()
        self._size = 0

    def of(self, mark: Mark, stored: StoredResponse, call: ApiCall) -> StoredResponse | str:
        """Return the record in the kind of this call, or the `detail` that says why it cannot be had."""
        kind = call.kind
        if stored.kind == kind:
            return stored
        kept = self._kept.get((mark, kind, None))
        if kept is not None:
            return kept
        answer = call.endpoint.derive(stored, kind, self._work)
        if isinstance(answer, StoredResponse):
            self._keep((mark, kind, None), answer)
        return answer

    def presented(self, mark: Mark, answer: StoredResponse, presentation: Presentation) -> StoredResponse | Unsayable:
        """Return the record, which is of the caller's kind, as it is presented to who asked in another dialect."""
        under = (mark, answer.kind, presentation)
        kept = self._kept.get(under)
        if kept is not None:
            return kept
        shown = presentation.of_stored(answer)
        if isinstance(shown, StoredResponse):
            self._keep(under, shown)
        return shown

    def _keep(self, under: tuple[Mark, Kind, Presentation | None], answer: StoredResponse) -> None:
        if memory_of(answer) > self._limit_bytes:  # it would drive out all others
            return
        self._kept[under] = answer
        self._size += memory_of(answer)
        while self._size > self._limit_bytes:
            try:
                _, oldest = self._kept.popitem(last=False)
            except KeyError:  # an event loop in another thread has just taken the last one
                self._size = 0
            else:
                self._size -= memory_of(oldest)


def memory_of(answer: StoredResponse) -> int:
    """Return about how many bytes of memory it takes: of small ones the body is the smaller part."""
    return len(answer.body) + 100 * len(answer.event_ends) + 1000


def is_sound(stored: StoredResponse, now: float) -> bool:
    """Say whether it is something that a recording may have come to by now; its body is judged elsewhere."""
    return (
        stored.status == 200
        and are_times_sound(stored, now)
        and 0 <= (stored.took or 0) <= FOREVER
        and stored.headers == storable(stored.headers)
        and head_fault(Head(200, stored.headers), stored.kind.stream) is None
        and _are_events(stored)
    )


def are_times_sound(stored: StoredResponse, now: float) -> bool:
    """Say whether it may have been stored when it says, and for so long."""
    return -FOREVER <= stored.stored_at - now <= CLOCK_AHEAD and 0 <= stored.lifetime <= FOREVER


def _are_events(stored: StoredResponse) -> bool:
    ends, arrivals = stored.event_ends, stored.arrivals
    return (
        bool(ends) == stored.kind.stream
        and len(ends) == len(arrivals)
        and all(map(lt, (0, *ends), (*ends, len(stored.body) + 1)))
        and all(map(math.isfinite, arrivals))
        and min(arrivals, default=0.0) >= 0
    )


class Match(msgspec.Struct, frozen=True):
    """A stored response that answers; `details` say so where it is stale or of another kind.

    `revalidate`: a newer one is to be had meanwhile. `record` is what the store holds of a fresh one, `beside` what it holds
    under the key's own index, where that is of the other kind.
    """

    stored: StoredResponse
    details: tuple[str, ...] = ()
    revalidate: bool = False
    record: bytes = b""
    beside: bytes | None = None

    __repr__ = redacted_repr


class NoMatch(msgspec.Struct, frozen=True):
    """No stored response that answers, and why: in the word of RFC 9211 and, where that is not enough, in ours.

    `stands_in` answers all the same should the upstream fail (RFC 5861 §4). `beside` is the record there is, sound and of the
    other kind; one of this kind may lie beside it. `why` says in plain words what is wrong with a record, or with the store.
    `known` is what there is of some of the inputs, where only the others are to be asked for.
    """

    fwd: Fwd
    detail: str | None = None
    stands_in: Match | None = None
    beside: bytes | None = None
    why: str = ""
    known: KnownParts | None = None

    __repr__ = redacted_repr


class Query(msgspec.Struct, frozen=True):
    """A query of the store: the key, the request it stands for, how that is restricted and what the operator allows.

    `on_abandon`: what becomes of a forward of it that every reader has left. `request` is what is forwarded, `report` what is
    known of the exchange by now, `refusals` why answers were not kept before. `bid` is that of a gateway's target. The caller
    reads `errors` in this shape, and answers of another dialect through a `presentation`; `received` is then what a record
    holds of the request, if it holds any.
    """

    key: Key
    call: ApiCall
    asked: Directives
    policy: Policy
    limits: Limits
    on_abandon: Abandon
    request: Request
    report: ExchangeReport
    refusals: LastRefusals = msgspec.field(default_factory=LastRefusals)
    bid: Bid | None = None
    errors: ErrorShape = OPENAI
    presentation: Presentation | None = None
    received: KeptRequest | None = None

    __repr__ = redacted_repr

    @property
    def tier(self) -> int:
        """Return where its target stands among those that may answer: 0 for a peer of the first."""
        return 0 if self.bid is None else self.bid.tier

    @property
    def is_partial(self) -> bool:
        """Say whether only those inputs may be asked for that are not known: where what comes may be kept."""
        asked = self.asked
        may_ask = asked.may_forward and asked.may_store and not asked.wants_fresh_answer
        return asked.partial and may_ask and self.call.divides


class VerifiedRecords:
    """The records whose body has been judged in this process, and what was derived from them: records do not change.

    `refusals` are those to keep an answer, by key.
    """

    LIMIT = 8192

    def __init__(self, limits: Limits = Limits(), refusals: LastRefusals | None = None) -> None:
        self.derived = TranscodeCache(limits)
        self.refusals = LastRefusals() if refusals is None else refusals
        self._seen: set[bytes] = set()

    def __contains__(self, mark: bytes) -> bool:
        return mark in self._seen

    def add(self, mark: bytes) -> None:
        """Remember one; when there are too many, begin anew."""
        if len(self._seen) >= self.LIMIT:
            self._seen.clear()
        self._seen.add(mark)


def select(record: bytes, query: Query, verified: VerifiedRecords, now: float) -> Match | NoMatch:
    """Judge the record found under the query's index. Raises `RecordError` for one that is damaged or never was complete."""
    stored = codec.decode(record)
    if stored.proof != query.key.proof:  # another request with the same index: xxhash is no proof
        return NoMatch("miss", "key-mismatch")
    mark = record[: codec.RECORD_HEAD_BYTES] + stored.proof
    _verify(mark, stored, query, verified, now)
    answer = verified.derived.of(mark, stored, query.call)
    if isinstance(answer, str):
        return NoMatch("miss", answer, beside=None if stored.kind.stream == query.call.kind.stream else record)
    shown = answer if query.presentation is None else verified.derived.presented(mark, answer, query.presentation)
    if isinstance(shown, Unsayable):
        return NoMatch("miss", UNSAYABLE, why=shown.why)
    return restricted(Match(shown, () if answer is stored else ("transcoded",), record=record), query, now)


def restricted(match: Match, query: Query, now: float) -> Match | NoMatch:
    """Return a match, where the query lets it answer by its age; else why it does not."""
    answer, how = match.stored, match.details
    asked, policy, fresh = query.asked, query.policy, is_fresh(answer, now)
    if asked.mode is Mode.REPLAY:
        return match if fresh else Match(answer, ("replay", *how))
    if satisfies(answer, asked.control, now):
        return match if fresh else Match(answer, ("max-stale", *how))
    if asked.may_store and while_revalidating(answer, asked.control, policy.stale_while_revalidate, now):
        return Match(answer, ("stale-while-revalidate", *how), revalidate=True)
    may_stand_in = stands_in(answer, asked.control, policy.stale_if_error, now)
    return NoMatch("request" if fresh else "stale", None, Match(answer, ("stale-if-error", *how)) if may_stand_in else None)


def basis_of(match: Match, query: Query) -> Basis | None:
    """Return what a hit was made of, where the like of it may be given again; what is stale, or paced, may not."""
    policy, asked = query.policy, query.asked
    if not match.record or asked.speed or asked.control.bounds_age or callable(policy.partition):
        return None
    index, beside, fresh_until = query.key.index, match.beside, match.stored.stored_at + match.stored.lifetime
    if beside is None:
        return Basis(((index, match.record),), fresh_until)
    if len(beside) > query.limits.judged_bytes:
        return None
    other = codec.decode(beside)  # where its time is over in the store, nothing is looked for beside it
    found = ((index, beside), (index_beside(index, query.call.kind), match.record))
    return Basis(found, min(fresh_until, other.stored_at + other.lifetime))


def _verify(mark: bytes, stored: StoredResponse, query: Query, verified: VerifiedRecords, now: float) -> None:
    if mark in verified:
        return
    call = query.call
    if stored.kind != call.kind:  # this request may be due usage that its own was not: that is no fault of it
        call = msgspec.structs.replace(call, wants_usage=False)
    if not is_sound(stored, now):
        raise RecordError("not what a recording comes to")
    if fault := _fault(stored, call, query):
        raise RecordError(f"not a complete answer: {fault}")
    verified.add(mark)


def _fault(stored: StoredResponse, call: ApiCall, query: Query) -> str | None:
    judge = call.endpoint.judge(call, query.policy.demands_on(query.request.target), query.limits.work)
    if stored.kind.stream:
        parser = Parser(ends=call.endpoint.ends)
        for event in (*parser.feed(stored.body), *parser.end()):
            judge.see(event)
        if not parser.is_within_event:
            judge.end()
    else:
        judge.read(stored.body)
    return judge.fault()
