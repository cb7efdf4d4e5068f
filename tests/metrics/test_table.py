"""The table of metrics: that the documentation has it, and that it is one that Prometheus takes."""

import re
from pathlib import Path

import pytest
from prometheus_client.metrics_core import Metric as Family

from cachemw.metrics.table import BUCKETS, METRICS, Metric, MetricType
from cachemw.metrics.words import DETAIL_PREFIXES, DETAIL_WORDS

DOCS = Path(__file__).parents[2] / "docs"

SUFFIXES = {MetricType.COUNTER: "_total", MetricType.HISTOGRAM: "_seconds", MetricType.GAUGE: ""}
FORBIDDEN = {"client", "user", "key", "path", "tenant", "route", "id", "prompt", "host"}


def test_the_words_of_details_are_those_of_the_documentation() -> None:
    table = (DOCS / "cache-status.md").read_text().partition("| `detail` | meaning")[2].partition("\n\n")[0]
    told = {word for line in table.splitlines() for word in re.findall("`([^`]+)`", line.split(" | ")[0])}

    assert {word for word in told if not word.endswith("…")} == DETAIL_WORDS
    assert {word.removesuffix("-…") for word in told if word.endswith("…")} == set(DETAIL_PREFIXES)


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.name)
def test_names_and_labels_are_as_prometheus_has_them(metric: Metric) -> None:
    assert re.fullmatch(r"cachemw_[a-z_]+", metric.name)
    assert metric.name.endswith(SUFFIXES[metric.type])
    assert Family(metric.name, metric.help_text, metric.type.value)
    assert not FORBIDDEN & set(metric.labels)
    assert metric.help_text.endswith(".")


def test_no_name_is_there_twice_and_buckets_go_up() -> None:
    names = [metric.name for metric in METRICS]

    assert len(set(names)) == len(names)
    assert list(BUCKETS) == sorted(set(BUCKETS))
    assert BUCKETS[-1] == 81.92
