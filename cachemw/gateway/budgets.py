"""Budgets of clients: the most that a request can cost, what is left in a period, and what is said where nothing is."""

import datetime
from typing import NewType

import msgspec

from cachemw.cache.plans import Closed
from cachemw.endpoints.errors import Refusal
from cachemw.gateway.routes import Period, RequestLimit, SpendingLimit
from cachemw.money import Price, in_dollars
from cachemw.redaction import redacted_repr

IMAGE_TOKENS = 40_000
"""The most tokens that a provider counts for a picture, where nothing else is known of it."""

_MILLION = 1_000_000
_SECONDS = {"minute": 60, "hour": 3600, "day": 86_400}

PeriodStart = NewType("PeriodStart", int)
"""When a period began, in seconds since the epoch: by UTC, and 0 where it has no end."""


class Reservation(msgspec.Struct, frozen=True):
    """The part of a client's budget that is kept for one attempt until its cost is known, in nano-dollars."""

    id: int
    client: str
    per: Period
    since: PeriodStart
    nano: int

    __repr__ = redacted_repr


def most_of(
    price: Price,
    *,
    text_bytes: int,
    images: int = 0,
    choices: int = 1,
    max_tokens: int | None = None,
    limit: int | None = None,
    image_tokens: int = IMAGE_TOKENS,
) -> int | None:
    """Return the most nano-dollars that an attempt can cost, by its price; `None` where nothing bounds its output.

    A token has a byte of text at least. `limit` is how many tokens the target may answer with, where the caller sets no
    `max_tokens`.
    """
    output = max_tokens if max_tokens is not None else limit
    if output is None:
        return None
    every = (price.rates, *(tier.rates for tier in price.tiers))
    of_input = max(rate for rates in every for rate in (rates.input_rate, rates.cache_write_rate or 0))
    of_output = max(rates.output_rate for rates in every)
    total = (text_bytes + images * image_tokens) * of_input + choices * output * of_output
    return -(-total // _MILLION)


def begin_of(per: Period, now: float) -> PeriodStart:
    """Return when the period began in which `now` is (seconds since the epoch)."""
    if per == "total":
        return PeriodStart(0)
    if per == "month":
        first = _moment(now).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
        return PeriodStart(int(first.timestamp()))
    return PeriodStart(int(now) // _SECONDS[per] * _SECONDS[per])


def end_of(per: Period, now: float) -> int | None:
    """Return when the period ends in which `now` is; `None` for one that has no end."""
    if per == "total":
        return None
    begin = begin_of(per, now)
    if per == "month":
        return begin_of("month", begin + 32 * _SECONDS["day"])
    return begin + _SECONDS[per]


def has_left(limit: SpendingLimit, taken: int) -> bool:
    """Say whether one more attempt may begin, where so much is spent and reserved.

    What is left need not be enough for the most that it can cost, which is far more than it costs: together all that are under
    way pass a budget by no more than what is reserved for one.
    """
    return taken < limit.nano


def budget_spent(client: str, limit: SpendingLimit, now: float) -> Closed:
    """Return what is said to a client whose budget is spent. No SDK tries a 402 again."""
    end = end_of(limit.per, now)
    renewed = "" if end is None else f"; the next {limit.per} begins at {_moment(end):%Y-%m-%dT%H:%MZ}"
    of = "in all" if limit.per == "total" else f"a {limit.per}"
    message = f"the budget of the client {client!r} is spent or reserved: ${in_dollars(limit.nano)} {of}{renewed}"
    return Closed(Refusal(402, message, "insufficient_quota", code="budget_exceeded"))


def too_many_requests(client: str, limit: RequestLimit, now: float) -> Closed:
    """Return what is said to a client that may have no more requests forwarded just now."""
    end = end_of(limit.per, now)
    of = "in all" if limit.per == "total" else f"a {limit.per}"
    message = f"the client {client!r} may have {limit.requests:,} requests forwarded {of}; what is stored is answered still"
    return Closed(Refusal(429, message, "rate_limit_error", code="rate_limited"), None if end is None else end - now)


def without_bound(client: str, target: str) -> Closed:
    """Return what is said to a client with a budget where nobody knows the most that an answer can cost."""
    message = (
        f"the client {client!r} has a budget, and nothing bounds what {target} costs: its price is not known,"
        " or neither max_tokens nor a context says how long an answer may be"
    )
    return Closed(Refusal(402, message, "invalid_request_error", "max_tokens", "no_cost_bound"))


def account_unreadable(client: str) -> Closed:
    """Return what is said to a client with a limit whose account cannot be read, where that is refused."""
    message = f"the account of the client {client!r} cannot be read or written, and it has a limit: try again in a moment"
    return Closed(Refusal(503, message, code="account_unavailable"), 5.0)


def _moment(seconds: float) -> datetime.datetime:
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC)
