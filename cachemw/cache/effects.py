"""The effects that the script asks of its driver, and the outcomes that it ends in. Values only."""

from collections.abc import Callable, Generator, Mapping
from enum import Enum
from typing import Any

import msgspec

from cachemw.cache.directives import Abandon, InvalidControl
from cachemw.cache.live_response import LiveResponse, Relay
from cachemw.cache.order import Order
from cachemw.cache.plans import AskedBids, Closed, Outbound, TranslatedRequest
from cachemw.cache.presentation import Presentation
from cachemw.cache.recording import Terms
from cachemw.cache.sharing import Course, Sender
from cachemw.endpoints.base import Endpoint
from cachemw.endpoints.errors import OPENAI, ErrorShape
from cachemw.errors import CacheError, RecordRefused, StoreError, StoreTimeout, UpstreamError
from cachemw.messages import Head, Headers, Request, StoredResponse
from cachemw.redaction import redacted_repr
from cachemw.report import STORE_SLOW, ExchangeReport
from cachemw.routing import RoutedHead


class ReadSecret(msgspec.Struct, frozen=True):
    """Get the store's secret: sent `bytes`, or thrown `StoreError`."""


class AskPartition(msgspec.Struct, frozen=True):
    """Ask the operator's function for the partition's name: sent `bytes | None`, or thrown `PartitionError`."""

    request: Request


class Lookup(msgspec.Struct, frozen=True):
    """Read a record: sent `Found`, or thrown `StoreError`."""

    index: bytes


class LookupMany(msgspec.Struct, frozen=True):
    """Read records, in order, up to the first that is not there: sent `FoundMany`, or thrown `StoreError`.

    `to_the_end`: those behind it, too.
    """

    indexes: tuple[bytes, ...]
    to_the_end: bool = False

    __repr__ = redacted_repr


class FoundMany(msgspec.Struct, frozen=True):
    """The records up to the first that is not there, and the time: seconds since the epoch.

    Where they were read to the end, there is `None` in the place of one that is not there.
    """

    records: tuple[bytes | None, ...]
    now: float

    __repr__ = redacted_repr


class Found(msgspec.Struct, frozen=True):
    """The result of a lookup, and the time: seconds since the epoch."""

    record: bytes | None
    now: float

    __repr__ = redacted_repr


class RunInThread(msgspec.Struct, frozen=True):
    """Call this, which takes long, where nobody else waits meanwhile: sent what it returns, or thrown `RecordError`."""

    call: Callable[[], Any]

    __repr__ = redacted_repr


class DeleteRecord(msgspec.Struct, frozen=True):
    """Remove a record that is none, and those beside it: sent `None`; failing to is no matter."""

    indexes: tuple[bytes, ...]


class GetOrder(msgspec.Struct, frozen=True):
    """Ask where a forward stands that begins now: sent `Ordered`, or thrown `StoreError`."""


class Ordered(msgspec.Struct, frozen=True):
    """The order of a forward, and the time: seconds since the epoch."""

    order: Order
    now: float


class GetAccount(msgspec.Struct, frozen=True):
    """Ask what the store holds, and what of it is nearest to the request that it cannot answer: sent `Account`."""

    wanted: "Wanted"

    __repr__ = redacted_repr


class Wanted(msgspec.Struct, frozen=True):
    """A request that the store cannot answer, as people are told of the nearest that it holds.

    `body` is the request as records hold requests, `target` the name of who would be asked. `is_own`: the store is of who asks,
    and so may be told of other callers' records.
    """

    index: bytes
    sketch: bytes | None
    body: bytes
    target: str
    is_own: bool

    __repr__ = redacted_repr


class Account(msgspec.Struct, frozen=True):
    """What people are told of a store: where it is and how much it `holds`, and what is `nearest`, if anything is near."""

    holds: str
    nearest: str = ""

    __repr__ = redacted_repr


class AskPlan(msgspec.Struct, frozen=True):
    """Ask who may answer a request that goes to a gateway, and who is asked now: sent `Plan`.

    `members` are those of its body, where that has been read. `endpoint` is the one that it calls, where that is one of ours.
    """

    request: Request
    members: Mapping[str, Any] | None = None
    endpoint: Endpoint | None = None

    __repr__ = redacted_repr


class Claim(msgspec.Struct, frozen=True):
    """Be the one that forwards, or read what another's forward brings.

    Sent a `ClaimResult`, or `ShownResponse` where one of the same kind is followed; thrown `UpstreamError` where another's
    forward failed before there was anything to show. Without `may_lead` only follow, without `may_follow` only lead. `report`:
    what is known of the exchange, should its client leave.
    """

    course: Course
    may_lead: bool
    may_follow: bool
    on_abandon: Abandon
    report: ExchangeReport

    __repr__ = redacted_repr


class ClaimResult(Enum):
    """The result of a claim, where nothing is followed."""

    LEAD = "others may follow this one"
    OVER = "another's forward is over, and its answer may be in the store"
    RELEASED = "another's claim came to nothing, and no forward was made"
    ALONE = "there is nothing to follow, and it may not lead"


class Bidding(msgspec.Struct, frozen=True):
    """A forward to a gateway: the bids that are asked, and the terms on which the answer of each is kept, if it may be.

    Of an answer that is only relayed there are the `presentations`, if any is in another dialect than the caller's.
    """

    bids: AskedBids
    terms: tuple[Terms | None, ...]
    presentations: tuple[Presentation | None, ...] = ()

    __repr__ = redacted_repr

    def terms_for(self, head: Head) -> Terms | None:
        """Return the terms for the answer with this head, which says whose it is."""
        return self.terms[self._place_of(head)]

    def presentation_for(self, head: Head) -> Presentation | None:
        """Return how the answer with this head is presented; `None`: as it comes."""
        return self.presentations[self._place_of(head)] if self.presentations else None

    def _place_of(self, head: Head) -> int:
        assert isinstance(head, RoutedHead)  # noqa: S101 - a gateway gives no other
        positions = [asked.position for asked in self.bids.asked]
        return positions.index(head.routed.position)


class Forward(msgspec.Struct, frozen=True):
    """Send the request on: sent `ShownResponse`, or thrown `UpstreamError`.

    With `terms` the answer is a flight: it asks for no content coding and may be kept. `report` as in `Claim`. An HTTP upstream
    is sent the `rewritten` fields in the place of the caller's, and what is `translated` in the place of all that came. `shape`
    is how its clients read errors. A gateway takes the `bidding`, whose terms stand in the place of the others once it is known
    who answers.
    """

    terms: Terms | None
    on_abandon: Abandon
    report: ExchangeReport
    rewritten: Headers = ()
    shape: ErrorShape = OPENAI
    bidding: Bidding | None = None
    translated: TranslatedRequest | None = None
    presentation: Presentation | None = None
    """How an answer is presented that is only relayed."""

    __repr__ = redacted_repr

    @property
    def is_read(self) -> bool:
        """Whether an answer that is only relayed is taken apart on its way."""
        return self.presentation is not None or self.bidding is not None and any(self.bidding.presentations)

    @property
    def outbound(self) -> Outbound:
        """What it is sent with."""
        return _outbound(self, is_read=self.is_read)


class ShownResponse(msgspec.Struct, frozen=True):
    """The upstream's answer, now that there is something to show, and the time: seconds since the epoch.

    `leader` is on whose account it was asked for, where that was another request.
    """

    response: LiveResponse
    now: float
    leader: Sender | None = None


Effect = (
    ReadSecret
    | AskPartition
    | Lookup
    | LookupMany
    | RunInThread
    | DeleteRecord
    | GetOrder
    | GetAccount
    | AskPlan
    | Claim
    | Forward
)


class Basis(msgspec.Struct, frozen=True):
    """All that a hit was made of besides its request and the policy.

    `found` are the indexes that were looked under, each with what was there; until `fresh_until`, in seconds since the epoch,
    the hit is the same as long as they are.
    """

    found: tuple[tuple[bytes, bytes | None], ...]
    fresh_until: float

    __repr__ = redacted_repr


class Serve(msgspec.Struct, frozen=True):
    """Answer with a stored response; `now` is when that was decided.

    `speed` is the pace of a replay, 0 at once; on the terms `revalidate` the leader forwards the request meanwhile, with the
    `rewritten` fields, as `translated`, or with the `bidding`. One with a `basis` is a plain hit, which may be recalled.
    """

    stored: StoredResponse
    report: ExchangeReport
    now: float
    speed: float = 0.0
    revalidate: Terms | None = None
    rewritten: Headers = ()
    basis: Basis | None = None
    bidding: Bidding | None = None
    translated: TranslatedRequest | None = None

    __repr__ = redacted_repr

    @property
    def outbound(self) -> Outbound:
        """What the request is sent with that is forwarded meanwhile."""
        return _outbound(self)


def _outbound(forwarded: "Forward | Serve", *, is_read: bool = False) -> Outbound:
    bids = None if forwarded.bidding is None else forwarded.bidding.bids
    return Outbound(forwarded.rewritten, forwarded.translated, bids, is_read)


class Unsatisfiable(msgspec.Struct, frozen=True):
    """Only the store might have answered, and cannot: 504. `why` is in plain words, where there is more to say."""

    report: ExchangeReport
    shape: ErrorShape = OPENAI
    why: str = ""

    __repr__ = redacted_repr


class Failed(msgspec.Struct, frozen=True):
    """The upstream gave no head: 502 or 504."""

    report: ExchangeReport
    error: UpstreamError
    shape: ErrorShape = OPENAI

    __repr__ = redacted_repr


class Declined(msgspec.Struct, frozen=True):
    """A gateway asks nobody, and says why."""

    report: ExchangeReport
    closed: Closed
    shape: ErrorShape = OPENAI

    __repr__ = redacted_repr


class InvalidPath(msgspec.Struct, frozen=True):
    """A path that climbs out of the upstream's, or that no request can carry."""


class Unacceptable(msgspec.Struct, frozen=True):
    """The request's control header cannot be obeyed, or its path not be asked for: 400."""

    report: ExchangeReport
    invalid: InvalidControl | InvalidPath
    shape: ErrorShape = OPENAI


Outcome = Serve | Relay | Unsatisfiable | Failed | Declined | Unacceptable
Script = Generator[Effect, Any, Outcome]


class Exchange(msgspec.Struct, frozen=True):
    """One exchange to be run: the script that answers, and the `report` of it should it end before the script has said more.

    `headers` are the request's.
    """

    script: Script
    report: ExchangeReport
    headers: Headers = ()

    __repr__ = redacted_repr


def resume(script: Script, result: Any) -> Effect | Outcome:
    """Send a script what it asked for, or throw it the failure; return what it asks next, or its outcome."""
    try:
        return script.throw(result) if isinstance(result, CacheError) else script.send(result)
    except StopIteration as stop:
        outcome: Outcome = stop.value
        return outcome


def not_kept(error: StoreError) -> str:
    """Say why a client cannot rely on a record that a store did not take in time, or at all."""
    if isinstance(error, RecordRefused):
        return error.detail
    return STORE_SLOW if isinstance(error, StoreTimeout) else "store-failed"
