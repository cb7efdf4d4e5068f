"""What a request can cost at most, the periods of limits, and what is said where nothing is left."""

import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cachemw.gateway.budgets import (
    IMAGE_TOKENS,
    account_unreadable,
    begin_of,
    budget_spent,
    end_of,
    has_left,
    most_of,
    too_many_requests,
    without_bound,
)
from cachemw.gateway.routes import Period, RequestLimit, SpendingLimit
from cachemw.messages import Usage
from cachemw.money import NANO, Price, Rates, Tier, priced

PRICE = Price(Rates(2 * NANO, 6 * NANO))
NOW = datetime.datetime(2026, 11, 30, 5, 6, 59, 500_000, datetime.UTC).timestamp()
PERIODS = st.sampled_from(["minute", "hour", "day", "month"])


def moment(*parts: int) -> int:
    return int(datetime.datetime(*parts, tzinfo=datetime.UTC).timestamp())  # type: ignore[misc, arg-type]


@pytest.mark.parametrize(
    ("asked", "price", "nano"),
    [
        ({"text_bytes": 1000, "max_tokens": 100}, PRICE, 2_600_000),
        ({"text_bytes": 1000, "max_tokens": 100, "choices": 3}, PRICE, 3_800_000),
        ({"text_bytes": 1000, "limit": 1000}, PRICE, 8_000_000),
        ({"text_bytes": 1000, "max_tokens": 100, "limit": 1000}, PRICE, 2_600_000),
        ({"text_bytes": 1000}, PRICE, None),
        ({"text_bytes": 0, "images": 2, "max_tokens": 0}, PRICE, 4_000 * IMAGE_TOKENS),
        ({"text_bytes": 0, "images": 2, "max_tokens": 0, "image_tokens": 10}, PRICE, 40_000),
        # The dearest that its input may be: to be cached, or in a higher tier.
        ({"text_bytes": 1000, "max_tokens": 0}, Price(Rates(3 * NANO, NANO, None, 4 * NANO)), 4_000_000),
        ({"text_bytes": 1000, "max_tokens": 100}, Price(PRICE.rates, (Tier(9, Rates(5 * NANO, 7 * NANO)),)), 5_700_000),
        ({"text_bytes": 1, "max_tokens": 0}, Price(Rates(1, 1)), 1),
    ],
)
def test_the_most_that_an_attempt_can_cost(asked: dict[str, int], price: Price, nano: int | None) -> None:
    """E10: bytes of text as tokens at the dearest, pictures by the row, and all that may be answered."""
    assert most_of(price, **asked) == nano


RATE = st.integers(0, 10**11)
PRICES = st.builds(Price, st.builds(Rates, RATE, RATE, st.none() | RATE, st.none() | RATE))


@given(PRICES, st.integers(0, 10**7), st.integers(0, 10**5), st.integers(1, 4), st.data())
def test_nothing_costs_more_than_its_reservation(
    price: Price, text_bytes: int, max_tokens: int, choices: int, data: st.DataObject
) -> None:
    """E10: an upper bound, whatever the provider counts; a cached token is never dearer than another one."""
    tokens = data.draw(st.integers(0, text_bytes))
    output = data.draw(st.integers(0, max_tokens * choices))
    usage = Usage(tokens, output, 0, None, data.draw(st.integers(0, tokens)))
    cost = priced(usage, price)
    most = most_of(price, text_bytes=text_bytes, choices=choices, max_tokens=max_tokens)

    assert cost is not None
    assert most is not None
    assert cost.nano <= most


@pytest.mark.parametrize(
    ("per", "begin", "end"),
    [
        ("minute", moment(2026, 11, 30, 5, 6), moment(2026, 11, 30, 5, 7)),
        ("hour", moment(2026, 11, 30, 5), moment(2026, 11, 30, 6)),
        ("day", moment(2026, 11, 30), moment(2026, 12, 1)),
        ("month", moment(2026, 11, 1), moment(2026, 12, 1)),
        ("total", 0, None),
    ],
)
def test_periods_are_those_of_utc(per: Period, begin: int, end: int | None) -> None:
    assert begin_of(per, NOW) == begin
    assert end_of(per, NOW) == end


@given(PERIODS, st.floats(0, 4e9))
def test_every_moment_is_in_one_period(per: Period, now: float) -> None:
    begin, end = begin_of(per, now), end_of(per, now)

    assert end is not None
    assert begin <= now < end
    assert begin_of(per, end) == end
    assert begin_of(per, begin) == begin


@pytest.mark.parametrize(("taken", "left"), [(0, True), (99, True), (100, False), (250, False)])
def test_something_is_left_until_all_is_taken(taken: int, left: bool) -> None:
    """G20"""
    assert has_left(SpendingLimit(100, "day"), taken) is left


def test_nothing_is_left_of_nothing() -> None:
    assert not has_left(SpendingLimit(0, "total"), 0)


def test_a_spent_budget_is_a_402_that_says_when_there_is_a_new_one() -> None:
    closed = budget_spent("evals", SpendingLimit(25 * NANO, "day"), NOW)

    assert (closed.refusal.status, closed.refusal.code, closed.retry_after) == (402, "budget_exceeded", None)
    assert closed.refusal.message == (
        "the budget of the client 'evals' is spent or reserved: $25 a day; the next day begins at 2026-12-01T00:00Z"
    )
    assert budget_spent("evals", SpendingLimit(NANO // 2, "total"), NOW).refusal.message.endswith("$0.5 in all")


def test_too_many_requests_are_a_429_that_says_when_to_come_again() -> None:
    closed = too_many_requests("evals", RequestLimit(60, "minute"), NOW)

    assert (closed.refusal.status, closed.refusal.code, closed.retry_after) == (429, "rate_limited", 0.5)
    assert too_many_requests("evals", RequestLimit(60, "total"), NOW).retry_after is None


def test_what_has_no_bound_is_refused_to_who_has_a_budget() -> None:
    closed = without_bound("evals", "deepinfra/x")

    assert (closed.refusal.status, closed.refusal.code, closed.refusal.param) == (402, "no_cost_bound", "max_tokens")
    assert "deepinfra/x" in closed.refusal.message


def test_an_account_that_cannot_be_read_is_a_503() -> None:
    closed = account_unreadable("evals")

    assert (closed.refusal.status, closed.refusal.code, closed.retry_after) == (503, "account_unavailable", 5.0)
    assert not closed.is_outage
