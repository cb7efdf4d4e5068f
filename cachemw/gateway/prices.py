"""The price of a target, made of the rows of a table: by date, by the time of day, and by the size of the input."""

import datetime
import math
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Literal

import msgspec

from cachemw.money import NANO, Price, Rates, Tier
from cachemw.redaction import redacted_repr

TokenKind = Literal["input", "output", "cached", "cache_write"]
"""What a table has rates for, as far as we count it."""


class RatedTokens(msgspec.Struct, frozen=True):
    """The dollars for a million tokens of one kind, and those for all of them where the input is larger than so many."""

    dollars: Decimal
    above: tuple[tuple[int, Decimal], ...] = ()

    __repr__ = redacted_repr


class PriceRow(msgspec.Struct, frozen=True):
    """The rates that hold `since` a day (UTC), or in some hours of each day; without either, always.

    `has_more`: there are rates in it of what we do not count, which may be dearer.
    """

    rated: Mapping[TokenKind, RatedTokens]
    since: datetime.date | None = None
    is_of_hours: bool = False
    has_more: bool = False

    __repr__ = redacted_repr


def price_of(rows: Sequence[PriceRow], today: datetime.date) -> Price | None:
    """Return the price by rows of which later ones go before; `None` where they have no rate for the input or the output.

    Where it depends on the hour, or changes on a later day, it is the least that it may be, and says so.
    """
    possible = [row for row in _possible(rows, today) if "input" in row.rated and "output" in row.rated]
    if not possible or len(possible) < len(_possible(rows, today)):
        return None
    prices = [_price(row) for row in possible]
    return prices[0] if len(prices) == 1 else _least(prices)


def _possible(rows: Sequence[PriceRow], today: datetime.date) -> list[PriceRow]:
    """Return the row that holds now, and all that may hold later today, or from a later day on."""
    begun = [row for row in rows if not row.is_of_hours and (row.since is None or row.since <= today)]
    changing = [row for row in rows if row.is_of_hours or (row.since is not None and row.since > today)]
    return [*begun[-1:], *changing]


def _price(row: PriceRow) -> Price:
    limits = sorted({above for rated in row.rated.values() for above, _ in rated.above})
    tiers = tuple(Tier(limit, _rates(row, limit)) for limit in limits)
    return Price(_rates(row, -1), tiers, row.has_more)


def _rates(row: PriceRow, limit: int) -> Rates:
    """Return the rates of a request whose input is larger than this."""

    def rate(kind: TokenKind) -> int | None:
        rated = row.rated.get(kind)
        return None if rated is None else _nano_rate(_reached(rated, limit))

    return Rates(rate("input") or 0, rate("output") or 0, rate("cached"), rate("cache_write"))


def _reached(rated: RatedTokens, limit: int) -> Decimal:
    reached = [(above, dollars) for above, dollars in rated.above if above <= limit]
    return max(reached)[1] if reached else rated.dollars


def _nano_rate(dollars: Decimal) -> int:
    return math.ceil(dollars * NANO)


def _least(prices: Sequence[Price]) -> Price:
    """Return the lowest of all rates, each for itself."""
    every = [rates for price in prices for rates in (price.rates, *(tier.rates for tier in price.tiers))]
    rates = Rates(
        min(rates.input_rate for rates in every),
        min(rates.output_rate for rates in every),
        min(rates.input_rate if rates.cached_rate is None else rates.cached_rate for rates in every),
        min(rates.input_rate if rates.cache_write_rate is None else rates.cache_write_rate for rates in every),
    )
    return Price(rates, is_least=True)
