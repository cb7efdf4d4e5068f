"""The report of one exchange, as one frozen value."""

from typing import Literal, Protocol

import msgspec

from cachemw.messages import Usage
from cachemw.money import CostBasis
from cachemw.routing import Bill, Tried

STORE_SLOW = "store-slow"
"""The store did not answer in time."""

NOT_CACHED = "not-cached"
"""Only the store might have answered, and cannot."""

Fwd = Literal["bypass", "miss", "request", "stale"]
_HIDDEN = ("target", "client", "namespace", "model", "answered_model", "sketch", "traceparent")
Result = Literal["hit", "stale", "collapsed", "miss", "refresh", "bypass", "not_cached", "refused", "passed"]


class ExchangeReport(msgspec.Struct, frozen=True, kw_only=True):
    """The account of what happened to one request. What is absent, or not known, is `None`.

    As `Cache-Status` tells it (RFC 9211): `hit`, answered from the store; `fwd`, why it was forwarded; `fwd_status`, the
    upstream's status; `ttl`, seconds of freshness left, negative once stale; `age`, seconds since what answers was stored;
    `stored`, whether the answer was kept, `None` while that is open; `collapsed`, answered by another request's forward; `key`,
    hexadecimal; `details`, why, in words of `docs/cache-status.md`.

    Who and what: `id`, sortable by time; `at`, seconds since the epoch; `endpoint` and `target`, names; `client`, the name of
    its key, else a code of its credential; `namespace`, as the client says it; `model`, as it was sent; `stream`, whether one
    was asked for; `answered_model` and `usage`, as the answer says; `sketch`, a code of each part of the key of what was
    forwarded; `traceparent`, the request's own field, only where a hook reads it.

    How much: `status` of what the client got; `bytes_in` and `bytes_out` of the two bodies; `first_byte` and `total`, seconds
    since the request came; `took`, seconds that a stored answer had taken its upstream; `kept_for`, seconds for which an answer
    that was kept is held, `None` until it is evicted; `attempts`, how often an upstream was asked.

    What only a gateway knows: `route`, and the targets that were `tried` in vain, or left alone while they are cooling (`None`
    where there is no gateway);
    `cost`, and what a stored answer `saved`, in nano-dollars; `cost_basis`, how the cost is known; `cost_at_least`: it may have
    been more.

    `abandoned`: what became of a response in progress that this request's client was the last to leave: read on to its end at
    the caller's cost, or stopped. `count`: how many such exchanges this report speaks for.
    """

    opted_in: bool = True
    hit: bool = False
    fwd: Fwd | None = None
    fwd_status: int | None = None
    ttl: int | None = None
    age: int | None = None
    stored: bool | None = None
    collapsed: bool = False
    key: str | None = None
    details: tuple[str, ...] = ()
    id: str | None = None
    count: int = 1
    at: float | None = None
    endpoint: str | None = None
    target: str | None = None
    route: str | None = None
    client: str | None = None
    namespace: str | None = None
    model: str | None = None
    stream: bool | None = None
    answered_model: str | None = None
    traceparent: str | None = None
    status: int | None = None
    usage: Usage | None = None
    tried: tuple[Tried, ...] | None = None
    cost: int | None = None
    cost_basis: CostBasis | None = None
    cost_at_least: bool = False
    saved: int | None = None
    bytes_in: int | None = None
    bytes_out: int | None = None
    first_byte: float | None = None
    total: float | None = None
    took: float | None = None
    kept_for: float | None = None
    sketch: bytes | None = None
    attempts: int = 0
    abandoned: Literal["finish", "cancel"] | None = None

    def __repr__(self) -> str:
        """Show what is told; of the names that somebody else chose, and of the sketch, their sizes."""
        told = [
            f"{name}=<{len(value)} characters>" if name in _HIDDEN and value is not None else f"{name}={value!r}"
            for name, default in zip(self.__struct_fields__, self.__struct_defaults__, strict=True)
            if (value := getattr(self, name)) != default
        ]
        return f"ExchangeReport({', '.join(told)})"

    @property
    def detail(self) -> str | None:
        """The most telling of the details."""
        return self.details[0] if self.details else None

    @property
    def outcome(self) -> Result:
        """Return what came of it, in one word: `passed` where the client did not opt in."""
        if not self.opted_in:
            return "passed"
        if self.ttl is not None and self.ttl < 0:
            return "stale"
        if self.hit or self.ttl is not None:  # a fresh one stands in for who was asked in vain
            return "hit"
        return "collapsed" if self.collapsed else self._forwarded()

    def _forwarded(self) -> Result:
        match self.fwd:
            case "bypass":
                return "bypass"
            case "request":
                return "refresh"
            case "miss" | "stale":
                return "miss"
        return "not_cached" if NOT_CACHED in self.details else "refused"


def billed(report: ExchangeReport, bill: Bill) -> ExchangeReport:
    """Return the report of a routed answer with what that cost; who reads another's forward saves it."""
    cost = bill.cost
    if cost is None:
        return report
    if report.collapsed:
        return msgspec.structs.replace(report, cost=0, saved=cost.nano)
    return msgspec.structs.replace(
        report,
        cost=cost.nano,
        cost_basis=cost.basis,
        cost_at_least=cost.at_least,
        usage=report.usage or bill.usage,
    )


def as_reported(report: ExchangeReport) -> ExchangeReport:
    """Return a report with the cost that its answer says, where nobody has counted it; an answer from here saves it."""
    reported = None if report.usage is None else report.usage.reported
    if reported is None:
        return report
    if report.outcome in ("hit", "stale", "collapsed"):
        return report if report.saved is not None else msgspec.structs.replace(report, cost=0, saved=reported)
    return report if report.cost is not None else msgspec.structs.replace(report, cost=reported, cost_basis="reported")


class Hook(Protocol):
    """Told of every exchange when it is over, once, but of those with a wrapped app whose clients did not opt in.

    One that is cancelled is an exchange, too; a request that never came whole is none. What it raises is logged, and changes
    nothing. With an attribute `reads_traceparent` that is true it is told of that field, too.
    """

    def __call__(self, report: ExchangeReport, /) -> None:
        """Take the report of one exchange."""
