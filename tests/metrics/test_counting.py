"""What an exchange adds to the sums: a table, and what holds for every report that there could be."""

from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from cachemw.errors import RecordError, RecordTooLarge, StoreError, StoreTimeout
from cachemw.ledger.book import book_of
from cachemw.ledger.ledger import Ledger
from cachemw.metrics import table
from cachemw.metrics.counting import MODEL_LABELS, Counter
from cachemw.metrics.sums import CountedSums, Labelled, decode, encode
from cachemw.metrics.sums import SlotRecord as Record
from cachemw.metrics.table import BUCKETS, METRICS
from cachemw.metrics.words import DETAIL_PREFIXES, DETAIL_WORDS, OTHER
from cachemw.report import ExchangeReport
from cachemw.routing import Tried
from tests.ledger.test_ledger import AtOnce
from tests.metrics.reports import COLLAPSED, HIT, MISS, PASSED, STALE, reports

CEREBRAS, GROQ = "cerebras/gpt-oss-120b", "groq/llama"
OF = ("cerebras", "gpt-oss-120b")


def is_known(name: str) -> bool:
    return name in ("cerebras", "groq")


def counted(*exchanges: ExchangeReport) -> CountedSums:
    counter = Counter(is_known, {"chat", "embeddings"})
    for report in exchanges:
        counter.add_exchange(report)
    return counter.sums


def named(sums: CountedSums, metric: table.Metric) -> dict[tuple[str, ...], int]:
    return {tuple(labels): number for (name, *labels), number in sums.counters.items() if name == metric.name}


def test_a_miss_is_counted_by_what_came_of_it_and_by_what_it_took() -> None:
    sums = counted(MISS)

    assert sums.counters == {
        ("cachemw_requests_total", "chat", "miss", "cerebras"): 1,
        ("cachemw_stored_total",): 1,
        ("cachemw_miss_reason_total", "absent"): 1,
        ("cachemw_upstream_requests_total", "cerebras", "2xx"): 1,
        ("cachemw_tokens_total", *OF, "input"): 812,
        ("cachemw_tokens_total", *OF, "output"): 301,
        ("cachemw_cost_usd_total", *OF): 421_000,
    }
    observed = {labelled: (numbers[BUCKETS.index(1.28)], numbers[-1]) for labelled, numbers in sums.histograms.items()}
    assert observed == {
        ("cachemw_request_duration_seconds", "miss", "false"): (1, 911_000),
        ("cachemw_first_byte_seconds", "miss", "false"): (0, 210_000),
        ("cachemw_upstream_duration_seconds", "cerebras", "2xx"): (1, 911_000),
    }


@pytest.mark.parametrize("free", [HIT, STALE, COLLAPSED, replace(HIT, count=7)])
def test_what_was_not_bought_again_costs_nothing_and_saves_what_its_record_says(free: ExchangeReport) -> None:
    """O1"""
    sums = counted(free)

    assert named(sums, table.TOKENS_BOUGHT) == named(sums, table.COST) == named(sums, table.UPSTREAM_REQUESTS) == {}
    assert named(sums, table.TOKENS_SAVED) == {(*OF, "input"): 812 * free.count, (*OF, "output"): 301 * free.count}
    assert named(sums, table.COST_SAVED) == {OF: 421_000 * free.count}


def test_hits_that_are_told_of_together_count_one_by_one() -> None:
    """B2"""
    sums = counted(replace(HIT, count=40))

    assert named(sums, table.REQUESTS) == {("chat", "hit", "cerebras"): 40}
    assert sums.histograms["cachemw_request_duration_seconds", "hit", "false"][0] == 40


TRIED_429, TRIED_COOLING = Tried(CEREBRAS, "rate", 429, 3.0), Tried(CEREBRAS, "rate", None, 12.0)


@pytest.mark.parametrize(
    ("changes", "asked"),
    [
        ({}, {("cerebras", "2xx"): 1}),
        ({"fwd_status": 429}, {("cerebras", "429"): 1}),
        ({"fwd_status": 404}, {("cerebras", "4xx"): 1}),
        ({"fwd_status": 302}, {("cerebras", OTHER): 1}),
        ({"fwd_status": None, "details": ("unreachable",)}, {("cerebras", "error"): 1}),
        ({"fwd_status": None, "details": ("client-left",)}, {("cerebras", "left"): 1}),
        ({"target": "https://own.example/v1"}, {(OTHER, "2xx"): 1}),
        ({"fwd": "bypass", "fwd_status": None}, {("cerebras", "2xx"): 1}),
        ({"fwd": "bypass", "fwd_status": None, "status": 502, "details": ("file", "unreachable")}, {("cerebras", "error"): 1}),
        ({"attempts": 0}, {}),
        ({"collapsed": True}, {}),
        ({"attempts": 2, "tried": None}, {("cerebras", "2xx"): 2}),
        ({"attempts": 2, "tried": (TRIED_429,), "target": GROQ}, {("cerebras", "429"): 1, ("groq", "2xx"): 1}),
        ({"attempts": 1, "tried": (TRIED_COOLING,), "target": GROQ}, {("groq", "2xx"): 1}),
        (
            {"attempts": 2, "tried": (TRIED_COOLING, Tried(GROQ, "broken", 502), TRIED_429), "fwd_status": 429},
            {("groq", "5xx"): 1, ("cerebras", "429"): 1},
        ),
        ({"attempts": 1, "tried": (TRIED_429,), "fwd_status": 429, "target": GROQ, "ttl": -9}, {("cerebras", "429"): 1}),
    ],
)
def test_upstreams_are_counted_one_by_one_by_what_each_answered(
    changes: dict[str, Any], asked: dict[tuple[str, ...], int]
) -> None:
    sums = counted(replace(MISS, **changes))

    assert named(sums, table.UPSTREAM_REQUESTS) == asked


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({}, "2xx"),
        ({"status": 401}, "4xx"),
        ({"status": 502, "details": ("unreachable",)}, "error"),
        ({"status": None}, "error"),
        ({"status": None, "details": ("client-left",)}, "left"),
    ],
)
def test_what_is_passed_on_has_its_upstreams_status(changes: dict[str, Any], status: str) -> None:
    sums = counted(replace(PASSED, **changes))

    assert named(sums, table.UPSTREAM_REQUESTS) == {("cerebras", status): 1}
    assert named(sums, table.REQUESTS) == {("chat", "passed", "cerebras"): 1}


@pytest.mark.parametrize(
    ("report", "reason"),
    [
        (MISS, "absent"),
        (replace(MISS, fwd="stale"), "expired"),
        (replace(MISS, fwd="request"), "asked_anew"),
        (replace(MISS, details=("other-kind",)), "unusable"),
        (ExchangeReport(details=("not-cached",)), "not_cached"),
        (HIT, None),
        (replace(MISS, fwd="bypass"), None),
        (PASSED, None),
    ],
)
def test_a_miss_has_one_reason(report: ExchangeReport, reason: str | None) -> None:
    assert named(counted(report), table.MISS_REASON) == ({} if reason is None else {(reason,): 1})


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"stored": False, "details": ("finish-length",)}, {("finish",): 1}),
        ({"stored": False, "fwd": "bypass", "fwd_status": None, "details": ("file",)}, {("file",): 1}),
        ({"stored": False}, {(OTHER,): 1}),
        ({"stored": None}, {}),
        ({"stored": False, "fwd_status": None, "details": ("unreachable",)}, {}),
        ({"stored": False, "collapsed": True}, {}),
        ({"stored": False, "opted_in": False}, {}),
    ],
)
def test_what_is_not_kept_is_counted_by_why(changes: dict[str, Any], why: dict[tuple[str, ...], int]) -> None:
    assert named(counted(replace(MISS, **changes)), table.NOT_KEPT) == why


def test_models_beyond_the_first_and_those_that_never_answered_have_no_label() -> None:
    refused = replace(MISS, model="junk", status=404, fwd_status=404)
    many = [replace(MISS, model=f"model-{number}") for number in range(MODEL_LABELS + 5)]
    sums = counted(refused, *many, replace(MISS, model="x" * 101))

    models = {model for _, model, kind in named(sums, table.TOKENS_BOUGHT) if kind == "input"}
    assert models == {f"model-{number}" for number in range(MODEL_LABELS)} | {OTHER}
    assert named(sums, table.TOKENS_BOUGHT)["cerebras", OTHER, "input"] == 812 * 6


def test_who_goes_on_from_anothers_sums_knows_the_models_of_those() -> None:
    earlier = counted(*[replace(MISS, model=f"model-{number}") for number in range(MODEL_LABELS)])
    counter = Counter(is_known, {"chat"})
    counter.resume(earlier)

    counter.add_exchange(replace(MISS, model="one more"))
    counter.add_exchange(replace(MISS, model="model-7"))

    tokens = named(counter.sums, table.TOKENS_BOUGHT)
    assert (tokens["cerebras", OTHER, "input"], tokens["cerebras", "model-7", "input"]) == (812, 2 * 812)


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        (None, None),
        (RecordTooLarge("too large"), None),
        (RecordError("damaged"), "damaged"),
        (StoreTimeout("slow"), "timeout"),
        (StoreError("broken"), "error"),
        (OSError("disk"), "error"),
    ],
)
def test_calls_of_the_store_are_counted_by_their_faults(fault: BaseException | None, kind: str | None) -> None:
    counter = Counter(is_known, {"chat"})

    counter.add_call("get", 0.003, fault)

    assert counter.sums.counters == ({} if kind is None else {(table.STORE_ERRORS.name, "get", kind): 1})
    assert counter.sums.histograms[table.STORE_DURATION.name, "get"][BUCKETS.index(0.005)] == 1


OUTCOMES = {"hit", "stale", "collapsed", "miss", "refresh", "bypass", "not_cached", "refused", "passed"}
STATUSES = {"2xx", "4xx", "429", "5xx", "error", "left", OTHER}
MAY_BE: dict[str, set[str]] = {
    "endpoint": {"chat", "embeddings", OTHER},
    "outcome": OUTCOMES,
    "provider": {"cerebras", "groq", OTHER},
    "detail": {*DETAIL_WORDS, *DETAIL_PREFIXES, OTHER},
    "reason": {"absent", "asked_anew", "expired", "not_cached", "unusable"},
    "stream": {"true", "false", ""},
    "status": STATUSES,
    "type": {"input", "output"},
}
LABELS = {metric.name: metric.labels for metric in METRICS}


def is_bounded(labelled: Labelled) -> bool:
    name, *labels = labelled
    assert len(labels) == len(LABELS[name])
    return all(label == "model" or value in MAY_BE[label] for label, value in zip(LABELS[name], labels, strict=True))


@given(st.lists(reports, max_size=8))
def test_outcomes_add_up_labels_are_bounded_and_files_hold_it_all(exchanges: list[ExchangeReport]) -> None:
    """O2, G3: the sum over outcomes is the sum of `count`."""
    sums = counted(*exchanges)

    assert sum(named(sums, table.REQUESTS).values()) == sum(report.count for report in exchanges)
    assert all(map(is_bounded, (*sums.counters, *sums.histograms)))
    assert decode(encode(Record("boot", sums))).sums == sums.bounded()


@given(st.lists(reports, max_size=8), reports)
def test_no_counter_ever_falls(exchanges: list[ExchangeReport], one_more: ExchangeReport) -> None:
    """O2"""
    before, after = counted(*exchanges), counted(*exchanges, one_more)

    assert all(after.counters[labelled] >= number for labelled, number in before.counters.items())
    for labelled, numbers in before.histograms.items():
        assert all(one >= other for one, other in zip(after.histograms[labelled], numbers, strict=True))


def test_what_was_saved_is_what_the_ledger_says(tmp_path: Path) -> None:
    """O1"""
    exchanges = [MISS, replace(HIT, count=7, took=0.911), COLLAPSED, replace(STALE, took=2.5, total=0.1), PASSED]
    ledger = Ledger(tmp_path, AtOnce())
    for report in exchanges:
        ledger(report)
    ledger.close()
    with closing(book_of(tmp_path)) as book:
        ((count, spent, saved, ms_saved),) = book.rows("SELECT sum(count), sum(spent), sum(saved), sum(ms_saved) FROM minutes")

    sums = counted(*exchanges)

    totals = [sum(named(sums, metric).values()) for metric in (table.REQUESTS, table.COST, table.COST_SAVED, table.TIME_SAVED)]
    assert totals == [count, spent, saved, ms_saved]
    assert ms_saved == 910 * 7 + 2400
