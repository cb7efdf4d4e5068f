"""Our field `Cachemw-Route`: as a table, and as RFC 9651 reads it."""

from typing import Any, cast, get_args

import http_sf
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cachemw.money import CostBasis, nano_of
from cachemw.report import ExchangeReport
from cachemw.routing import Tried
from cachemw.wire.route_field import NAME_CHARACTERS, TRIED_LIMIT, route_field, with_route

QUOTA = Tried("cerebras/gpt-oss-120b", "quota", status=429, cooling=11.2)


@pytest.mark.parametrize(
    ("report", "text"),
    [
        (ExchangeReport(), None),
        (ExchangeReport(target="cerebras/m", attempts=1, cost=1), None),
        (
            ExchangeReport(target="groq/m", route="auto", attempts=2, tried=(QUOTA,), cost=421_000, cost_basis="priced"),
            'by="groq/m", route="auto", attempts=2, tried=("cerebras/gpt-oss-120b";status=429;why=quota;cooling=12),'
            ' cost="0.000421"',
        ),
        (
            ExchangeReport(hit=True, target="groq/m", route="auto", tried=(), cost=0, saved=312_000),
            'by="groq/m", route="auto", attempts=0, cost="0", saved="0.000312"',
        ),
        (ExchangeReport(route="auto", tried=(), attempts=3), 'route="auto", attempts=3'),
        (
            ExchangeReport(tried=(Tried("a/b", "unreachable"), Tried("c/d", "no-model", 404))),
            'attempts=0, tried=("a/b";why=unreachable "c/d";status=404;why=no-model)',
        ),
        (
            ExchangeReport(target="a/b", tried=(), cost=5, cost_basis="estimated", cost_at_least=True),
            'by="a/b", attempts=0, cost="0.000000005";estimated;least',
        ),
        (ExchangeReport(target='a/"b\\', tried=(), cost=0), 'by="a/\\"b\\\\", attempts=0, cost="0"'),
        (ExchangeReport(target="a/é\r\n", tried=(), cost=0), 'by="a/\\\\xe9\\\\r\\\\n", attempts=0, cost="0"'),
        (
            ExchangeReport(route="r", tried=(Tried("a", "odd word", None, -1.0),)),
            'route="r", attempts=0, tried=("a";why="odd word";cooling=0)',
        ),
    ],
    ids=[
        "nothing of a gateway's",
        "a target without a gateway",
        "the second choice answered",
        "a hit",
        "nobody answered",
        "nobody was asked",
        "estimated, and at least",
        "quotes",
        "what no String holds",
        "odd words",
    ],
)
def test_the_words_of_a_route_are_these(report: ExchangeReport, text: str | None) -> None:
    """G10, E1: the field names the author; money is a String."""
    assert route_field(report) == (None if text is None else text.encode())


tried = st.builds(
    Tried,
    st.text(max_size=30),
    st.text(max_size=12) | st.sampled_from(["rate", "no-model"]),
    st.none() | st.integers(100, 599),
    st.none() | st.floats(allow_nan=False),
)
reports = st.builds(
    ExchangeReport,
    target=st.none() | st.text(),
    route=st.none() | st.text(),
    attempts=st.integers(0, 99),
    tried=st.none() | st.lists(tried, max_size=12).map(tuple),
    cost=st.none() | st.integers(0, 10**15),
    cost_basis=st.none() | st.sampled_from(get_args(CostBasis)),
    cost_at_least=st.booleans(),
    saved=st.none() | st.integers(0, 10**15),
)


@given(reports)
def test_it_is_a_dictionary_of_structured_fields(report: ExchangeReport) -> None:
    """E1: RFC 9651, whatever a target is called."""
    field = route_field(report)

    if field is None:
        assert report.tried is None
        return
    said = cast(dict[str, Any], http_sf.parse(field, tltype="dictionary"))
    assert said["attempts"] == (report.attempts, {})
    assert len(said.get("tried", ((), {}))[0]) == min(len(report.tried or ()), TRIED_LIMIT)
    assert len(field) < NAME_CHARACTERS * 10 * (TRIED_LIMIT + 2)
    assert ("cost" in said) == (report.cost is not None)
    if report.cost is not None:
        assert nano_of(said["cost"][0]) == report.cost
        assert said["cost"][1].get("least", False) == report.cost_at_least


def test_no_upstream_speaks_of_routes_in_our_name() -> None:
    """G10."""
    before = ((b"Cachemw-Route", b'by="somebody"'), (b"vary", b"origin"))

    assert with_route(before, ExchangeReport(route="auto", tried=())) == (
        (b"vary", b"origin"),
        (b"cachemw-route", b'route="auto", attempts=0'),
    )
    assert with_route(before, ExchangeReport()) == before
