"""Prices of targets, by the rows of tables."""

import datetime
import sys
from decimal import Decimal

import pytest

from cachemw.gateway import Gateway
from cachemw.gateway.price_tables import PriceTables, priced_by
from cachemw.gateway.prices import PriceRow, RatedTokens, TokenKind, price_of
from cachemw.gateway.routes import GatewayConfig, ProviderEntry, TargetEntry
from cachemw.messages import Usage
from cachemw.money import NANO, Price, Rates, Tier, priced
from tests.cache.keying import asking, body_of
from tests.gateway.configuring import config_of

TODAY = datetime.date(2026, 11, 30)
DAY = datetime.timedelta(days=1)
MINE = Price(Rates(1, 2))


def row(
    given: str, output: str, *, since: datetime.date | None = None, is_of_hours: bool = False, has_more: bool = False
) -> PriceRow:
    rated: dict[TokenKind, RatedTokens] = {"input": RatedTokens(Decimal(given)), "output": RatedTokens(Decimal(output))}
    return PriceRow(rated, since, is_of_hours, has_more)


def flat(given: int, output: int) -> Price:
    return Price(Rates(given * NANO, output * NANO))


def least(given: int, output: int) -> Price:
    return Price(Rates(given * NANO, output * NANO, given * NANO, given * NANO), is_least=True)


@pytest.mark.parametrize(
    ("rows", "price"),
    [
        ([row("2", "6")], flat(2, 6)),
        ([row("2", "6"), row("3", "7", since=TODAY - DAY)], flat(3, 7)),
        ([row("2", "6"), row("3", "7", since=TODAY)], flat(3, 7)),
        ([row("2", "6"), row("3", "7", since=TODAY - 2 * DAY), row("4", "8", since=TODAY - DAY)], flat(4, 8)),
        # It changes later, and nobody asks again until then.
        ([row("2", "6"), row("3", "5", since=TODAY + DAY)], least(2, 5)),
        # It depends on the hour.
        ([row("2", "6"), row("1", "3", is_of_hours=True)], least(1, 3)),
        ([row("2", "6", has_more=True)], Price(flat(2, 6).rates, is_least=True)),
        ([PriceRow({"input": RatedTokens(Decimal(1))})], None),
        ([row("2", "6"), PriceRow({}, is_of_hours=True)], None),
        ([], None),
    ],
)
def test_a_price_is_that_of_today_and_says_where_it_is_the_least_it_may_be(rows: list[PriceRow], price: Price | None) -> None:
    """E11"""
    assert price_of(rows, TODAY) == price


def test_each_tier_of_any_rate_is_a_tier_of_the_price() -> None:
    rated: dict[TokenKind, RatedTokens] = {
        "input": RatedTokens(Decimal(1), ((200, Decimal(2)),)),
        "output": RatedTokens(Decimal(5), ((300, Decimal(9)),)),
        "cached": RatedTokens(Decimal("0.1")),
        "cache_write": RatedTokens(Decimal("1.25")),
    }

    price = price_of([PriceRow(rated)], TODAY)

    cached, written = NANO // 10, NANO // 100 * 125
    assert price == Price(
        Rates(NANO, 5 * NANO, cached, written),
        (Tier(200, Rates(2 * NANO, 5 * NANO, cached, written)), Tier(300, Rates(2 * NANO, 9 * NANO, cached, written))),
    )


def config(*targets: TargetEntry) -> GatewayConfig:
    providers = {
        name: ProviderEntry(name, "https://example.test/v1", known=known)
        for name, known in [
            ("openai", "openai"),
            ("mine", "openai"),
            ("gemini", "gemini"),
            ("deepinfra", "deepinfra"),
            ("local", None),
        ]
    }
    return GatewayConfig(providers, {target.name: target for target in targets}, {})


def test_a_price_in_the_file_goes_before_every_table() -> None:
    """G17: it is the target's, whatever the alias was, and whatever name the answer has."""
    told = priced_by(PriceTables(TODAY), config(TargetEntry("openai", "gpt-4o", price=MINE)))

    assert told.targets["openai/gpt-4o"].price == MINE


def test_other_prices_are_those_of_the_tables_by_the_known_provider() -> None:
    told = priced_by(
        PriceTables(TODAY),
        config(
            TargetEntry("openai", "gpt-4o"),
            TargetEntry("mine", "gpt-4o"),
            TargetEntry("local", "gpt-4o"),
            TargetEntry("deepinfra", "openai/gpt-oss-120b"),
            TargetEntry("openai", "no-such-model"),
        ),
    )

    prices = {name: target.price for name, target in told.targets.items()}
    assert prices["openai/gpt-4o"] == prices["mine/gpt-4o"] == Price(Rates(NANO * 5 // 2, 10 * NANO, NANO * 5 // 4))
    unknown = ["local/gpt-4o", "deepinfra/openai/gpt-oss-120b", "openai/no-such-model"]
    assert [name for name, price in prices.items() if price is None] == unknown


def test_a_tier_of_the_tables_holds_for_the_whole_request() -> None:
    price = PriceTables(TODAY).price("gemini", "gemini-2.5-pro")

    assert price is not None
    assert priced(Usage(300_000, 1000), price) == priced(Usage(300_000, 1000), Price(price.tiers[0].rates))


@pytest.mark.parametrize(
    ("known", "model"),
    [
        ("cerebras", "gpt-oss-120b"),
        ("groq", "openai/gpt-oss-120b"),
        ("mistral", "mistral-large-latest"),
        ("xai", "grok-4"),
        ("openrouter", "openai/gpt-oss-120b"),
        ("anthropic", "claude-sonnet-4-5"),
    ],
)
def test_the_tables_know_every_provider_but_one(known: str, model: str) -> None:
    assert PriceTables(TODAY).price(known, model) is not None


def test_without_the_tables_a_price_is_unknown_and_can_be_said_to_be(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "genai_prices.data_snapshot", None)
    tables = PriceTables(TODAY)

    assert tables.price("openai", "gpt-4o") is None


def test_no_request_waits_for_the_tables(monkeypatch: pytest.MonkeyPatch) -> None:
    """They are read with the file, though that has all prices of its own: clients may name what it does not."""
    gateway = Gateway(config_of(""), environment={})
    monkeypatch.setitem(sys.modules, "genai_prices.data_snapshot", None)
    request = asking(body_of(model="openai/gpt-4o"), gateway.target(b"/v1/chat/completions", b""))

    bid = gateway.plan(request).bids[0]

    assert bid.price is not None
