"""The plan of a routed request: who may answer it, whom to ask, and on which conditions. Values only; a gateway makes them."""

import math
from collections.abc import Mapping
from typing import Any, Literal, Protocol

import msgspec

from cachemw.endpoints.base import Endpoint
from cachemw.endpoints.errors import Refusal
from cachemw.messages import Caller, Headers, HttpTarget, Request
from cachemw.money import Price
from cachemw.redaction import redacted_repr
from cachemw.routing import NO_REWRITE, Rewrite, Tried

Pick = Literal["first", "cheapest", "fastest", "weighted", "race"]
OnRefusal = Literal["stop", "next"]


NO_HEDGE = "no-hedge"
"""Nobody is asked beside another one, though the route, or the client, wants it."""


class Bid(msgspec.Struct, frozen=True):
    """A target that may answer a request.

    `name` is `provider/model`, or the provider alone where no model was read. Bids of one `tier` are peers: any one's answer is
    as good. Those of a higher tier stand in for lower ones. `context` is how many tokens an answer has at most, if
    that is known.
    """

    name: str
    target: HttpTarget
    rewrite: Rewrite = NO_REWRITE
    tier: int = 0
    price: Price | None = None
    context: int | None = None

    __repr__ = redacted_repr


class Hedge(msgspec.Struct, frozen=True):
    """Ask the next one too where nobody has begun to answer `after` seconds; no more than `most` at once."""

    after: float
    most: int = 2


class Closed(msgspec.Struct, frozen=True):
    """The reason why nobody is asked, as the client is told it.

    `retry_after`: in how many seconds that changes. `is_outage`: no target can answer just now, so that a stale answer may.
    """

    refusal: Refusal
    retry_after: float | None = None
    is_outage: bool = False

    __repr__ = redacted_repr


class Plan(msgspec.Struct, frozen=True):
    """The bids for a request, in the written order, and the `order` in which they are asked, as positions among them.

    One bid without a `route` is a target that was named, or the default. `closed`: nobody is asked. `tried` are those left out
    because they are cooling. A candidate that is not the last is left after `first_token` seconds of silence, or after `answer`
    where nothing is to be seen before the end; the answer has to have begun within `deadline`. `detail` says why a request was
    not routed, or a wish not obeyed; `is_stream`: it asks for events. Its client may ask `until` then, in seconds since the
    epoch. Before the first one is asked, `waits` seconds pass. `preferred` is the target that is the fastest from now on: the
    next plan of this route is to know.
    """

    bids: tuple[Bid, ...]
    order: tuple[int, ...]
    route: str | None = None
    pick: Pick = "first"
    on_refusal: OnRefusal = "stop"
    hedge: Hedge | None = None
    first_token: float = 20.0
    answer: float = 120.0
    deadline: float | None = None
    closed: Closed | None = None
    tried: tuple[Tried, ...] = ()
    detail: str | None = None
    is_stream: bool = False
    until: float = math.inf
    waits: float = 0.0
    preferred: str | None = None

    __repr__ = redacted_repr


def in_turn(plan: Plan) -> Plan:
    """Return a plan for who asks one after the other, in one thread: nobody is asked beside another one, and that is told."""
    return plan if plan.hedge is None else msgspec.structs.replace(plan, hedge=None, detail=NO_HEDGE)


def without_bids(plan: Plan, refused: frozenset[int]) -> Plan:
    """Return a plan without the bids at these positions: a request cannot be said to them. Others are left."""
    if not refused:
        return plan
    kept = [place for place in range(len(plan.bids)) if place not in refused]
    order = tuple([kept.index(place) for place in plan.order if place not in refused])
    bids = tuple([plan.bids[place] for place in kept])
    return msgspec.structs.replace(plan, bids=bids, order=order or (0,) if plan.closed is None else order)


class TranslatedRequest(msgspec.Struct, frozen=True):
    """A request in the dialect of its target: what is sent there in the place of the caller's path, query, fields and body.

    Without a `raw_path` only fields and body are others: it is asked for some of what the caller asks for.
    """

    raw_path: bytes | None
    headers: Headers
    body: bytes

    __repr__ = redacted_repr


class AskedBid(msgspec.Struct, frozen=True):
    """A bid that is asked: its `position` in the plan, the body as it is sent there, and the `rewritten` fields.

    Without a `body` the request's own is passed on as it comes. `endpoint` is the one that it calls, where that is one of ours,
    and `translated` how a target of another dialect is asked.
    """

    position: int
    bid: Bid
    body: bytes | None
    rewritten: Headers = ()
    endpoint: Endpoint | None = None
    translated: TranslatedRequest | None = None

    __repr__ = redacted_repr


class AskedBids(msgspec.Struct, frozen=True):
    """All that are asked for one request, in order; a gateway's `open` returns when one of them has begun a sound answer.

    `is_stream`: events were asked for. `caller` is on whose account. A stored response answers `in_reserve` should all fail:
    one that is stale, or a fresh one, which is as good as another target.
    """

    plan: Plan
    asked: tuple[AskedBid, ...]
    is_stream: bool
    caller: Caller
    in_reserve: Literal["fresh", "stale"] | None = None

    __repr__ = redacted_repr


class Outbound(msgspec.Struct, frozen=True):
    """What a request is sent with besides what its caller sent.

    An HTTP upstream is sent the `rewritten` fields in the place of the caller's, and one of another dialect what is
    `translated`; a gateway asks the `bids`.
    """

    rewritten: Headers = ()
    translated: TranslatedRequest | None = None
    bids: AskedBids | None = None
    is_read: bool = False
    """Whether the answer is taken apart on its way, so that it may have no content coding."""

    __repr__ = redacted_repr


class Planner(Protocol):
    """Makes plans; what it knows of its targets changes all the time, so that it is asked each time anew."""

    def plan(self, request: Request, members: Mapping[str, Any] | None = None, endpoint: Endpoint | None = None) -> Plan:
        """Return the plan for a request that goes to a gateway; `members` and `endpoint` are as in `AskPlan`."""
