"""When a store that fails is left alone, and when it is tried again."""

import pytest

from cachemw import Limits
from cachemw.stores.calls import CircuitBreaker

LIMITS = Limits(store_faults=3, store_first_rest=1.0, store_rest=10.0)


@pytest.mark.parametrize(
    ("story", "says"),
    [
        ("", "closed"),
        ("f f", "closed"),
        ("f f s f f", "closed"),
        ("f f f!", "open"),
        ("f f f! f f", "open"),
        ("f f f! s!", "closed"),
        ("f f f! f s! f f", "closed"),
        ("f f f! s! f f f!", "open"),
    ],
)
def test_a_breaker_opens_after_so_many_failures_in_a_row_and_closes_by_one_call_that_goes_well(story: str, says: str) -> None:
    """D1: and says so exactly once, each time."""
    breaker = CircuitBreaker(LIMITS)

    for step in story.split():
        changed = breaker.failed(0.0) if step[0] == "f" else breaker.succeeded()
        assert changed == step.endswith("!")

    assert breaker.is_open == (says == "open")
    assert breaker.admits(0.5) == (says == "closed")


def test_an_open_breaker_lets_one_call_through_in_a_while_ever_less_often() -> None:
    """F34, D1"""
    breaker = CircuitBreaker(LIMITS)
    for _ in range(3):
        breaker.failed(100.0)

    admitted = []
    for now in range(100, 150):
        if breaker.admits(float(now)):
            admitted.append(now)
            breaker.failed(float(now))

    assert admitted == [101, 103, 107, 115, 125, 135, 145]


def test_a_breaker_that_was_closed_rests_shortly_again() -> None:
    """D5"""
    breaker = CircuitBreaker(LIMITS)
    for now in (100.0, 100.0, 100.0, 101.0, 103.0):
        breaker.admits(now)
        breaker.failed(now)

    assert breaker.succeeded()
    for _ in range(3):
        breaker.failed(200.0)

    assert next(now for now in range(200, 203) if breaker.admits(float(now))) == 201


def test_a_call_that_tries_and_says_nothing_is_followed_by_another() -> None:
    """D1"""
    breaker = CircuitBreaker(LIMITS)
    for _ in range(3):
        breaker.failed(100.0)

    assert [now for now in range(100, 110) if breaker.admits(float(now))] == [101, 102, 104, 108]
