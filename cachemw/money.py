"""Money: prices, and what an answer costs by them. In integers of nano-dollars; in dollars only where people read them."""

import re
from decimal import Decimal
from typing import Literal

import msgspec

from cachemw.messages import Usage
from cachemw.redaction import redacted_repr

NANO = 1_000_000_000
"""Nano-dollars in a dollar."""

_MILLION = 1_000_000
_DOLLARS = re.compile(r"[0-9]{1,9}(?:\.[0-9]{1,9})?")

CostBasis = Literal["reported", "priced", "estimated"]
"""Where a cost comes from: the provider said it, its usage was priced, or both were estimated from sizes."""


class Rates(msgspec.Struct, frozen=True):
    """Nano-dollars for a million tokens. Without a rate of their own, cached and cache-writing tokens cost what input does."""

    input_rate: int
    output_rate: int
    cached_rate: int | None = None
    cache_write_rate: int | None = None

    __repr__ = redacted_repr


class Tier(msgspec.Struct, frozen=True):
    """The rates of a whole request whose input is `above` so many tokens."""

    above: int
    rates: Rates

    __repr__ = redacted_repr


class Price(msgspec.Struct, frozen=True):
    """The price of a target's tokens. The highest tier that its input reaches holds for all of a request.

    `is_least`: it has parts that are not known here, so that a cost made of it is a lower bound.
    """

    rates: Rates
    tiers: tuple[Tier, ...] = ()
    is_least: bool = False

    __repr__ = redacted_repr


class Cost(msgspec.Struct, frozen=True):
    """What an answer cost, in nano-dollars, and how that is known; `at_least`: it may have been more."""

    nano: int
    basis: CostBasis
    at_least: bool = False

    __repr__ = redacted_repr


def priced(usage: Usage, price: Price) -> Cost | None:
    """Return the cost of this usage; `None` where the usage does not say enough."""
    if usage.input_tokens is None or usage.output_tokens is None:
        return None
    rates = rates_at(price, usage.input_tokens)
    cached = min(usage.cached_tokens or 0, usage.input_tokens)
    written = min(usage.cache_write_tokens or 0, usage.input_tokens - cached)
    plain = usage.input_tokens - cached - written
    total = plain * rates.input_rate + usage.output_tokens * rates.output_rate
    total += cached * (rates.input_rate if rates.cached_rate is None else rates.cached_rate)
    total += written * (rates.input_rate if rates.cache_write_rate is None else rates.cache_write_rate)
    return Cost(_per_million(total), "priced", price.is_least)


def rates_at(price: Price, input_tokens: int) -> Rates:
    """Return the rates of a request with so much input."""
    reached = [tier for tier in price.tiers if input_tokens > tier.above]
    return max(reached, key=lambda tier: tier.above).rates if reached else price.rates


def _per_million(total: int) -> int:
    return -(-total // _MILLION)  # rounded up: nothing that costs anything is free


def cost_of(usage: Usage | None, price: Price | None) -> Cost | None:
    """Return what an answer cost: what its provider reports, else its usage by this price; `None` where neither is known."""
    if usage is None:
        return None
    if usage.reported is not None:
        return Cost(usage.reported, "reported")
    return None if price is None else priced(usage, price)


def in_dollars(nano: int) -> str:
    """Return an amount as our fields have it: a decimal number of dollars, as short as it is exact."""
    whole, rest = divmod(nano, NANO)
    return f"{whole}.{rest:09}".rstrip("0").rstrip(".")


def nano_of(dollars: str) -> int | None:
    """Return the nano-dollars of a decimal number of dollars; `None` for what is none, or finer than a nano-dollar."""
    return int(Decimal(dollars) * NANO) if _DOLLARS.fullmatch(dollars) else None
