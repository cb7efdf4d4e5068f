"""The report of an exchange: one word for what came of it."""

import pytest

from cachemw.report import ExchangeReport, Result

ROWS: list[tuple[ExchangeReport, Result]] = [
    (ExchangeReport(opted_in=False), "passed"),
    (ExchangeReport(opted_in=False, details=("invalid-path",)), "passed"),
    (ExchangeReport(hit=True, ttl=5), "hit"),
    (ExchangeReport(hit=True, ttl=0), "hit"),
    (ExchangeReport(hit=True, ttl=-1, details=("stale-while-revalidate",)), "stale"),
    (ExchangeReport(fwd="stale", fwd_status=503, ttl=-412, details=("stale-if-error",)), "stale"),
    (ExchangeReport(fwd="miss", fwd_status=429, ttl=86398), "hit"),
    (ExchangeReport(fwd="miss", fwd_status=200, collapsed=True), "collapsed"),
    (ExchangeReport(fwd="miss", fwd_status=200, stored=True), "miss"),
    (ExchangeReport(fwd="stale", fwd_status=200, stored=True), "miss"),
    (ExchangeReport(fwd="request", fwd_status=200), "refresh"),
    (ExchangeReport(fwd="bypass", stored=False, details=("other-path",)), "bypass"),
    (ExchangeReport(details=("not-cached",)), "not_cached"),
    (ExchangeReport(details=("not-cached", "not-json")), "not_cached"),
    (ExchangeReport(stored=False, details=("invalid-cachemw",)), "refused"),
]


@pytest.mark.parametrize(("report", "outcome"), ROWS)
def test_an_outcome_is_one_word(report: ExchangeReport, outcome: Result) -> None:
    assert report.outcome == outcome


def test_the_detail_is_the_most_telling_one() -> None:
    assert ExchangeReport(details=("not-200", "key-mismatch")).detail == "not-200"
    assert ExchangeReport().detail is None


def test_a_report_shows_what_is_told_and_of_names_that_others_chose_their_sizes() -> None:
    """I4: a model is what a caller says it is."""
    report = ExchangeReport(fwd="miss", stored=True, key="1f0c", model="sk-never", target="cerebras/sk-never", attempts=1)

    assert repr(report) == (
        "ExchangeReport(fwd='miss', stored=True, key='1f0c', target=<17 characters>, model=<8 characters>, attempts=1)"
    )
