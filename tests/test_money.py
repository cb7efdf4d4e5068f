"""Prices, costs, and amounts as people read them."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cachemw.messages import Usage
from cachemw.money import NANO, Cost, Price, Rates, Tier, cost_of, in_dollars, nano_of, priced, rates_at

MILLION = 1_000_000
PLAIN = Price(Rates(2 * NANO, 6 * NANO))
FULL = Price(Rates(3 * NANO, 15 * NANO, NANO // 10 * 3, NANO // 100 * 375))
TIERED = Price(Rates(NANO, 2 * NANO), (Tier(300, Rates(7 * NANO, 8 * NANO)), Tier(200, Rates(4 * NANO, 5 * NANO))))
COUNTS = st.integers(0, 2**53)
RATES = st.builds(Rates, *[st.integers(0, 10**12)] * 2, *[st.none() | st.integers(0, 10**12)] * 2)
PRICES = st.builds(Price, RATES)


@pytest.mark.parametrize(
    ("usage", "price", "dollars"),
    [
        (Usage(MILLION, 0), PLAIN, "2"),
        (Usage(0, MILLION), PLAIN, "6"),
        (Usage(812, 301), PLAIN, "0.00343"),
        (Usage(MILLION, 0, MILLION), PLAIN, "2"),
        (Usage(MILLION, 0, MILLION), FULL, "0.3"),
        (Usage(MILLION, 0, None, None, MILLION), FULL, "3.75"),
        (Usage(MILLION, 0, 400_000, None, 500_000), FULL, "2.295"),
        (Usage(MILLION, 0, 2 * MILLION), FULL, "0.3"),
        (Usage(MILLION, 0, MILLION, None, MILLION), FULL, "0.3"),
        (Usage(1, 0), Price(Rates(1, 1)), "0.000000001"),
        (Usage(0, 0), PLAIN, "0"),
    ],
)
def test_usage_is_priced_by_what_its_tokens_are(usage: Usage, price: Price, dollars: str) -> None:
    """Cached tokens, and those that are to be, are a part of the input; nothing that costs anything is free."""
    cost = priced(usage, price)

    assert cost is not None
    assert in_dollars(cost.nano) == dollars
    assert cost.basis == "priced"
    assert not cost.at_least


@pytest.mark.parametrize(("tokens", "rate"), [(0, 1), (200, 1), (201, 4), (300, 4), (301, 7), (MILLION, 7)])
def test_a_tier_holds_for_the_whole_request_whose_input_is_above_it(tokens: int, rate: int) -> None:
    assert rates_at(TIERED, tokens).input_rate == rate * NANO


@pytest.mark.parametrize(
    ("usage", "price", "cost"),
    [
        (None, PLAIN, None),
        (Usage(), PLAIN, None),
        (Usage(1), PLAIN, None),
        (Usage(None, 1), PLAIN, None),
        (Usage(1, 1), None, None),
        (Usage(reported=5), None, Cost(5, "reported")),
        (Usage(MILLION, 0, reported=5), PLAIN, Cost(5, "reported")),
        (Usage(MILLION, 0, reported=0), PLAIN, Cost(0, "reported")),
        (Usage(MILLION, 0), PLAIN, Cost(2 * NANO, "priced")),
        (Usage(MILLION, 0), Price(PLAIN.rates, is_least=True), Cost(2 * NANO, "priced", at_least=True)),
    ],
)
def test_what_is_reported_goes_before_what_is_priced_and_unknown_is_never_nothing(
    usage: Usage | None, price: Price | None, cost: Cost | None
) -> None:
    """G17, E11: not known is `None`, and not 0; a lower bound says that it is one."""
    assert cost_of(usage, price) == cost


@given(COUNTS, COUNTS, COUNTS, COUNTS, PRICES)
def test_a_cost_is_no_less_than_it_is_and_by_less_than_a_nano_dollar_more(
    tokens: int, output: int, cached: int, written: int, price: Price
) -> None:
    cost = priced(Usage(tokens, output, cached, None, written), price)
    rates = price.rates
    read = min(cached, tokens)
    wrote = min(written, tokens - read)
    exact = Decimal((tokens - read - wrote) * rates.input_rate + output * rates.output_rate)
    exact += read * (rates.input_rate if rates.cached_rate is None else rates.cached_rate)
    exact += wrote * (rates.input_rate if rates.cache_write_rate is None else rates.cache_write_rate)

    assert cost is not None
    assert 0 <= cost.nano * MILLION - int(exact) < MILLION


@given(st.integers(0, 10**18 - 1))
def test_an_amount_in_dollars_is_exact_and_reads_as_the_same_again(nano: int) -> None:
    """E1: a decimal of a structured field would end at three digits."""
    dollars = in_dollars(nano)

    assert nano_of(dollars) == nano
    assert Decimal(dollars) * NANO == nano
    assert "." not in dollars or not dollars.endswith(("0", "."))


@pytest.mark.parametrize(
    ("dollars", "nano"),
    [
        ("0.000421", 421_000),
        ("25", 25 * NANO),
        ("25.00", 25 * NANO),
        ("0.0", 0),
        ("0.0000000001", None),
        ("1e3", None),
        ("-1", None),
        ("+1", None),
        (".5", None),
        ("5.", None),
        ("", None),
        (" 1", None),
        ("1\n", None),
        ("$1", None),
        ("1_000", None),
        ("\u0661", None),
        ("nan", None),
        ("1234567890", None),
    ],
)
def test_only_a_decimal_number_of_dollars_is_an_amount(dollars: str, nano: int | None) -> None:
    """E1"""
    assert nano_of(dollars) == nano
