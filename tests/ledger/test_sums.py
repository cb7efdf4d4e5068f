"""The sums of a ledger: the same as by hand, whatever is reported, and whether minutes have become hours or not."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from cachemw.ledger import ledger as ledgers
from cachemw.ledger.ledger import Ledger
from cachemw.ledger.reader import LedgerReader
from cachemw.ledger.reading import rows
from cachemw.ledger.schema import ANSWERED_HERE, BOUGHT, LATENCIES
from cachemw.ledger.sums import Sums, SumsBy, filled, in_all, latencies, quantile, span_start, sums, uses
from cachemw.messages import Usage
from cachemw.report import ExchangeReport
from tests.ledger.test_ledger import HIT, MISS, NOW, AtOnce

DAY = 86_400
EPOCH_DAY = NOW // DAY * DAY
OUTCOMES = (
    MISS,
    HIT,
    replace(HIT, ttl=-5),
    replace(MISS, collapsed=True, cost=0, saved=421_000),
    replace(MISS, fwd="request"),
    replace(MISS, fwd="bypass"),
    replace(MISS, opted_in=False, usage=None, cost=None, cost_basis=None, model=None),
    replace(MISS, fwd=None, details=("not-cached",), usage=None, cost=None, status=504),
    replace(MISS, fwd=None, usage=None, cost=None, status=400),
)
NAMES = st.sampled_from(["", "a", "b", "[/bold]"])


@st.composite
def reports(draw: st.DrawFn) -> ExchangeReport:
    base = draw(st.sampled_from(OUTCOMES))
    count = draw(st.integers(1, 5)) if base.outcome == "hit" else 1
    usage = None if base.usage is None else Usage(draw(st.integers(0, 9999)), draw(st.integers(0, 9999)), 3)
    changes = {"client": draw(NAMES), "target": draw(NAMES), "route": draw(NAMES), "model": base.model and draw(NAMES)}
    at = NOW - draw(st.floats(0, 5 * DAY))
    return replace(base, at=at, usage=usage, count=count, total=draw(st.floats(0, 900)), **changes)


def written(directory: Path, given_reports: Iterable[ExchangeReport], now: float = NOW) -> None:
    with closing(Ledger(directory, AtOnce(), clock=lambda: now)) as ledger:
        for report in given_reports:
            ledger(report)


class Busy(AtOnce):
    """A thread that has other things to do until it ends."""

    def submit_later(self, call: Callable[[], object], seconds: float, /) -> None:
        """Make no call: what waits is written in the end."""


def dropped(directory: Path, count: int, monkeypatch: pytest.MonkeyPatch, now: float = NOW) -> None:
    """Have so many exchanges dropped, behind one of long ago that is all there is room for."""
    with monkeypatch.context() as patched, closing(Ledger(directory, Busy(), clock=lambda: now)) as ledger:
        patched.setattr(ledgers, "QUEUED", 1)
        ledger(replace(MISS, at=now - 3 * DAY, key=None))
        ledger(replace(HIT, count=count))


def by_hand(given_reports: Sequence[ExchangeReport]) -> tuple[int, ...]:
    """Return requests, answers from here, tokens billed, tokens saved, nano-dollars spent and saved."""
    here = [report for report in given_reports if report.outcome in ANSWERED_HERE]
    bought = [report for report in given_reports if report.outcome in BOUGHT]
    return (
        sum(report.count for report in given_reports),
        sum(report.count for report in here),
        sum(tokens(report) for report in bought),
        sum(tokens(report) * report.count for report in here),
        sum(report.cost or 0 for report in given_reports),
        sum((report.saved or 0) * report.count for report in given_reports),
    )


def tokens(report: ExchangeReport) -> int:
    return 0 if report.usage is None else (report.usage.input_tokens or 0) + (report.usage.output_tokens or 0)


def figures(summed: Sums) -> tuple[int, ...]:
    return summed.requests, summed.answered_here, summed.tokens, summed.saved_tokens, summed.spent, summed.saved


@given(st.lists(reports(), max_size=30))
@settings(deadline=None, max_examples=40)
def test_sums_are_those_by_hand_however_they_are_told_apart(given_reports: list[ExchangeReport]) -> None:
    by_client: dict[str, list[ExchangeReport]] = defaultdict(list)
    for report in given_reports:
        by_client[report.client or ""].append(report)
    with TemporaryDirectory() as directory, closing(LedgerReader(Path(directory) / "store")) as reader:
        written(Path(directory) / "store", given_reports)

        assert {summed.name: figures(summed) for summed in sums(reader, SumsBy.CLIENT)} == {
            name: by_hand(of_client) for name, of_client in by_client.items()
        }
        for by in SumsBy:
            assert figures(in_all(sums(reader, by))) == by_hand(given_reports)


@given(st.lists(reports(), max_size=30))
@settings(deadline=None, max_examples=20)
def test_folding_minutes_into_hours_changes_no_total(given_reports: list[ExchangeReport]) -> None:
    with TemporaryDirectory() as directory, closing(LedgerReader(Path(directory) / "store")) as reader:
        place = Path(directory) / "store"
        written(place, given_reports)
        days_before, total_before = sums(reader, SumsBy.DAY), latencies(reader)
        written(place, [replace(MISS, at=NOW + 10 * DAY)], now=NOW + 10 * DAY)

        minutes = [row[0] for row in reader.query("SELECT minute FROM minutes WHERE minute < ?", (NOW // 60 + 1,))]
        assert all(minute % 60 == 0 for minute in minutes)
        assert sums(reader, SumsBy.DAY)[:-1] == days_before
        assert latencies(reader, until=NOW) == total_before


def test_every_outcome_is_counted_by_its_name_and_they_are_all_requests(tmp_path: Path) -> None:
    """G3: outcomes are nine, and their sum is that of `count`."""
    written(tmp_path, OUTCOMES)

    with closing(LedgerReader(tmp_path)) as reader:
        total = in_all(sums(reader, SumsBy.MODEL))
    counts = (total.hits, total.stale, total.collapsed, total.misses, total.refreshes, total.bypasses, total.not_cached)
    assert (*counts, total.refused, total.passed) == (1,) * 9
    assert total.requests == 9


@pytest.mark.parametrize("by", list(SumsBy))
def test_a_span_with_drops_says_at_least(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, by: SumsBy) -> None:
    """G1: they may be of any name, but not of another time."""
    dropped(tmp_path, 7, monkeypatch)

    with closing(LedgerReader(tmp_path)) as reader:
        found = sums(reader, by)
        assert in_all(found).dropped == 7
        assert in_all(found).is_least
        is_of_time = by in (SumsBy.DAY, SumsBy.HOUR)
        assert [summed.is_least for summed in found if summed.requests] == [not is_of_time]
        assert not any(summed.is_least for summed in sums(reader, by, until=NOW - 2 * DAY))


@pytest.mark.parametrize("hit", [HIT, replace(HIT, cost=None), replace(HIT, ttl=-3), replace(HIT, count=9)])
def test_of_hits_nothing_is_billed_and_what_they_saved_is_what_is_stored(tmp_path: Path, hit: ExchangeReport) -> None:
    """O1"""
    written(tmp_path, [hit])

    with closing(LedgerReader(tmp_path)) as reader:
        for by in SumsBy:
            (summed,) = sums(reader, by)
            assert (summed.spent, summed.tokens, summed.cached_tokens, summed.unpriced) == (0, 0, 0, 0)
            assert (summed.saved_input_tokens, summed.saved_output_tokens) == (812 * hit.count, 301 * hit.count)
            assert summed.saved == 421_000 * hit.count


def test_the_dearest_come_first_and_times_in_order(tmp_path: Path) -> None:
    cheap, dear = replace(MISS, client="cheap", cost=1), replace(MISS, client="dear", at=NOW - 3 * DAY)
    written(tmp_path, [cheap, dear, replace(HIT, client="idle"), replace(HIT, client="busy", count=3)])

    with closing(LedgerReader(tmp_path)) as reader:
        assert [summed.name for summed in sums(reader, SumsBy.CLIENT)] == ["dear", "cheap", "busy", "idle"]
        assert [int(summed.name) for summed in sums(reader, SumsBy.DAY)] == [EPOCH_DAY - 3 * DAY, EPOCH_DAY]
        assert [int(summed.name) for summed in sums(reader, SumsBy.HOUR)] == [
            (NOW - 3 * DAY) // 3600 * 3600,
            NOW // 3600 * 3600,
        ]


def test_only_what_is_of_the_span_is_summed_whatever_the_clock_did(tmp_path: Path) -> None:
    """A clock that jumps writes minutes in any order, and ahead of time."""
    written(tmp_path, [replace(MISS, at=NOW + moment) for moment in (0, -7200, 7200, -60, 60)])

    with closing(LedgerReader(tmp_path)) as reader:
        assert in_all(sums(reader, SumsBy.DAY)).requests == 5
        assert in_all(sums(reader, SumsBy.DAY, NOW - 100)).requests == 4
        assert in_all(sums(reader, SumsBy.DAY, NOW - 100, NOW)).requests == 2


def test_spans_without_traffic_are_filled_in(tmp_path: Path) -> None:
    written(tmp_path, [replace(MISS, at=EPOCH_DAY + 60), replace(MISS, at=EPOCH_DAY + 130), replace(MISS, at=EPOCH_DAY + 600)])

    with closing(LedgerReader(tmp_path)) as reader:
        found = filled(sums(reader, 5, EPOCH_DAY, EPOCH_DAY + 700), 5, EPOCH_DAY + 10, EPOCH_DAY + 700)
    assert [(int(summed.name) - EPOCH_DAY, summed.requests) for summed in found] == [(0, 2), (300, 0), (600, 1)]


def test_what_has_no_price_is_told_by_its_target(tmp_path: Path) -> None:
    unpriced, unsaved = replace(MISS, cost=None, cost_basis=None, client="a"), replace(HIT, saved=None, client="a", count=2)
    written(tmp_path, [MISS, HIT, unpriced, unpriced, unsaved, replace(unpriced, status=500)])

    with closing(LedgerReader(tmp_path)) as reader:
        found = {use.is_bought: use for use in uses(reader, SumsBy.CLIENT)}
    assert (found[True].name, found[True].count, found[True].input_tokens, found[True].output_tokens) == ("a", 2, 1624, 602)
    assert (found[False].count, found[False].input_tokens, found[False].target) == (2, 1624, MISS.target)


@pytest.mark.parametrize(
    ("ms", "share", "expected"),
    [
        ([], 0.5, None),
        ([0], 0.5, 0.5),
        ([5] * 10, 0.5, 6.0),
        ([5] * 10, 1.0, 8.0),
        ([1] * 9 + [1000], 0.5, 1 + 5 / 9),
        ([1] * 9 + [1000], 0.95, 512 + 512 / 2),
        ([10**9], 0.5, 2.0**18),
    ],
)
def test_a_quantile_is_as_near_as_the_buckets_tell(ms: list[int], share: float, expected: float | None) -> None:
    counts = [0] * len(LATENCIES)
    for took in ms:
        counts[min(took.bit_length(), len(LATENCIES) - 1)] += 1

    assert quantile(counts, share) == pytest.approx(expected)


def test_a_latency_is_counted_in_the_bucket_whose_bound_it_is_below(tmp_path: Path) -> None:
    written(tmp_path, [replace(MISS, total=0.911), replace(HIT, total=0.0002, count=3)])

    with closing(LedgerReader(tmp_path)) as reader:
        found = latencies(reader)
    assert {outcome: dict(zip(LATENCIES, counts, strict=True)) for outcome, counts in found.items()} == {
        "miss": {**dict.fromkeys(LATENCIES, 0), "below_1024_ms": 1},
        "hit": {**dict.fromkeys(LATENCIES, 0), "below_1_ms": 3},
    }


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [(60, NOW - 60), (2 * DAY, NOW - 2 * DAY), (7 * DAY, (NOW - 7 * DAY) // 3600 * 3600)],
)
def test_a_span_begins_with_a_whole_hour_where_only_hours_are_known(seconds: float, expected: float) -> None:
    assert span_start(NOW, seconds) == expected


def test_what_an_answer_says_that_it_cost_is_believed_where_nobody_counts(tmp_path: Path) -> None:
    """E11, O1: a lone upstream may say it with its usage; a hit on it costs nothing, and saves that."""
    told = Usage(10, 5, reported=77)
    lone = replace(MISS, cost=None, cost_basis=None, usage=told)
    written(tmp_path, [lone, replace(HIT, cost=None, saved=None, usage=told, count=3), replace(MISS, usage=told)])

    with closing(LedgerReader(tmp_path)) as reader:
        total = in_all(sums(reader, SumsBy.MODEL))
        assert [(row.cost, row.cost_basis, row.saved) for row in rows(reader)] == [
            (421_000, "priced", None),
            (0, None, 77),
            (77, "reported", None),
        ]
    assert (total.spent, total.saved, total.unpriced) == (421_077, 231, 0)
