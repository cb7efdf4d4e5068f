"""When a store that fails is left alone, and when it is tried again."""

import pytest

from cachemw.core import limits
from cachemw.core.breaker import Breaker


@pytest.fixture(autouse=True)
def _three_faults_and_a_rest_of_ten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "STORE_FAULTS", 3)
    monkeypatch.setattr(limits, "STORE_REST", 10.0)


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
    breaker = Breaker()

    for step in story.split():
        changed = breaker.failed(0.0) if step[0] == "f" else breaker.succeeded()
        assert changed == step.endswith("!")

    assert breaker.is_open == (says == "open")
    assert breaker.admits(1.0) == (says == "closed")


def test_an_open_breaker_lets_one_call_through_in_a_while() -> None:
    """D1"""
    breaker = Breaker()
    for _ in range(3):
        breaker.failed(100.0)

    admitted = [at for at in range(100, 145) if breaker.admits(float(at))]

    assert admitted == [110, 120, 130, 140]


def test_a_call_that_fails_while_it_tries_puts_the_next_one_off() -> None:
    """D1"""
    breaker = Breaker()
    for _ in range(3):
        breaker.failed(100.0)

    assert breaker.admits(110.0)
    assert not breaker.failed(114.0)
    assert [at for at in range(110, 130) if breaker.admits(float(at))] == [124]
