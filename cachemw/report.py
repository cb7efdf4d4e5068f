"""The report of one exchange, as one frozen value."""

from dataclasses import dataclass
from typing import Literal, Protocol

STORE_SLOW = "store-slow"
"""The store did not answer in time."""

Fwd = Literal["bypass", "miss", "request", "stale"]


@dataclass(frozen=True, slots=True)
class ExchangeReport:
    """What happened to one opted-in request (the words are those of RFC 9211).

    `hit`: answered from the store; `fwd`: why it was forwarded; `fwd_status`: the upstream's status; `ttl`: seconds of
    freshness left, negative once stale; `stored`: whether the answer was kept, `None` while that is open;
    `collapsed`: answered by another request's forward; `key`: hexadecimal; `details`: why, in words of the README;
    `abandoned`: what became of a response in progress that this request's client was the last to leave: read on to its end
    at the caller's cost, or stopped. That is not in `Cache-Status`.
    """

    hit: bool = False
    fwd: Fwd | None = None
    fwd_status: int | None = None
    ttl: int | None = None
    stored: bool | None = None
    collapsed: bool = False
    key: str | None = None
    details: tuple[str, ...] = ()
    abandoned: Literal["finish", "cancel"] | None = None


class Hook(Protocol):
    """Told of every opted-in exchange when it is over. What it raises is logged, and changes nothing."""

    def __call__(self, report: ExchangeReport, /) -> None:
        """Take the report of one exchange."""
