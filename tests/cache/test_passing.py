"""What is not kept: an answer of our own, which nobody was asked for."""

import pytest

from cachemw.cache.effects import Serve
from cachemw.cache.passing import answered_here
from cachemw.cache.sent_call import LocalAnswer
from cachemw.endpoints import MESSAGES
from cachemw.report import ExchangeReport
from cachemw.routing import Tried


@pytest.mark.parametrize(("tried", "cost"), [pytest.param((), 0, id="a gateway"), pytest.param(None, None, id="an upstream")])
def test_an_estimate_costs_nothing_where_costs_are_counted(tried: tuple[Tried, ...] | None, cost: int | None) -> None:
    """G17, T24: else `cachemw spend` would call it an answer of unknown price."""
    outcome = answered_here(LocalAnswer(b'{"input_tokens":3}', ()), ExchangeReport(tried=tried), MESSAGES)

    assert isinstance(outcome, Serve)
    assert (outcome.report.outcome, outcome.report.attempts, outcome.report.cost) == ("bypass", 0, cost)
