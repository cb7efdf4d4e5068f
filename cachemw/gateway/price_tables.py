"""Read prices out of the tables of `genai-prices`, which the extra `proxy` brings; it takes a second to import."""

import datetime
from collections.abc import Iterator, Mapping
from decimal import Decimal
from functools import cache, lru_cache
from typing import Any

from msgspec.structs import replace

from cachemw.gateway.prices import PriceRow, RatedTokens, TokenKind, price_of
from cachemw.gateway.routes import GatewayConfig, TargetEntry
from cachemw.money import Price

_THEIR_NAMES: Mapping[str, str] = {"xai": "x-ai", "gemini": "google"}
"""Our providers' names at theirs, where those are others."""

_KINDS: Mapping[str, TokenKind] = {
    "input_mtok": "input",
    "output_mtok": "output",
    "cache_read_mtok": "cached",
    "cache_write_mtok": "cache_write",
}
_SAID_BY_USAGE = frozenset({"cache_write_1h_mtok", "web_searches_kcount", "storage_searches_kcount"})
_OF_OTHER_MEDIA = ("audio", "image", "video", "document")


_REMEMBERED = 1024


class PriceTables:
    """Prices by provider and model. The tables are read when one is asked for, if not before, and never over a network."""

    def __init__(self, today: datetime.date) -> None:
        self._today = today
        self._providers = cache(_providers)
        self._found = lru_cache(_REMEMBERED)(self._find)  # clients may name what they like
        self._found_context = lru_cache(_REMEMBERED)(self._find_context)

    def read(self) -> None:
        """Read the tables now: no request is to wait for that."""
        self._providers()

    def price(self, known: str | None, model: str) -> Price | None:
        """Return the price of a model of a `known` provider; `None` where the tables do not have it, or are not installed."""
        return None if known is None else self._found(known, model)

    def context(self, known: str | None, model: str) -> int | None:
        """Return how many tokens a model takes in all, and so answers with at most; `None` where nobody knows."""
        return None if known is None else self._found_context(known, model)

    def _find_context(self, known: str, model: str) -> int | None:
        found = self._model(known, model)
        return None if found is None else found.context_window

    def _find(self, known: str, model: str) -> Price | None:
        found = self._model(known, model)
        return None if found is None else price_of(tuple(_rows(found)), self._today)

    def _model(self, known: str, model: str) -> Any:
        provider = self._providers().get(_THEIR_NAMES.get(known, known))  # never what another one charges for it
        return None if provider is None else provider.find_model(model)


def priced_by(tables: PriceTables, config: GatewayConfig) -> GatewayConfig:
    """Return a gateway's file with the price of each target, as far as anybody knows one.

    Prices in the file go before the tables, which are not even read where it has all.
    """
    return replace(config, targets={name: _priced(tables, config, target) for name, target in config.targets.items()})


def _priced(tables: PriceTables, config: GatewayConfig, target: TargetEntry) -> TargetEntry:
    if target.price is not None:
        return target
    return replace(target, price=tables.price(config.providers[target.provider].known, target.model))


def _providers() -> Mapping[str, Any]:
    try:
        from genai_prices.data_snapshot import get_snapshot
    except ImportError:
        return {}
    return {provider.id: provider for provider in get_snapshot().providers}


def _rows(model: Any) -> Iterator[PriceRow]:
    for entry in model.prices if isinstance(model.prices, list) else [model.prices]:
        constraint = getattr(entry, "constraint", None)
        since = getattr(constraint, "start_date", None)
        yield _row(vars(getattr(entry, "prices", entry)), since, is_of_hours=constraint is not None and since is None)


def _row(amounts: Mapping[str, Any], since: datetime.date | None, *, is_of_hours: bool) -> PriceRow:
    known = {_KINDS[name]: _rated(amount) for name, amount in amounts.items() if name in _KINDS and amount is not None}
    others = {name for name, amount in amounts.items() if amount is not None} - _KINDS.keys() - _SAID_BY_USAGE
    return PriceRow(known, since, is_of_hours, any(not _is_of_other_media(name) for name in others))


def _is_of_other_media(name: str) -> bool:
    """Say whether a rate is for what an answer's usage tells of, so that its cost is at least what its tokens cost."""
    return any(kind in name for kind in _OF_OTHER_MEDIA)


def _rated(amount: Any) -> RatedTokens:
    if isinstance(amount, Decimal):
        return RatedTokens(amount)
    return RatedTokens(amount.base, tuple((tier.start, tier.price) for tier in amount.tiers))
