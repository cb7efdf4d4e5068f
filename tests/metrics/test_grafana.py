"""The dashboard in `docs/grafana.json`: that Grafana takes it, and that it asks for what there is."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cachemw.metrics.table import METRICS, MetricType

DASHBOARD: dict[str, Any] = json.loads((Path(__file__).parents[2] / "docs" / "grafana.json").read_text())
PANELS: list[dict[str, Any]] = DASHBOARD["panels"]
SERIES = {
    **{metric.name: metric for metric in METRICS if metric.type is not MetricType.HISTOGRAM},
    **{
        f"{metric.name}_{part}": metric
        for metric in METRICS
        if metric.type is MetricType.HISTOGRAM
        for part in ("bucket", "sum", "count")
    },
}
PAIRS = {")": "(", "]": "[", "}": "{"}


def queries() -> Iterator[str]:
    for panel in PANELS:
        for target in panel.get("targets", []):
            yield target["expr"]


def is_balanced(query: str) -> bool:
    opened: list[str] = []
    for character in re.sub(r'"[^"]*"', "", query):
        if character in PAIRS.values():
            opened.append(character)
        elif character in PAIRS and (not opened or opened.pop() != PAIRS[character]):
            return False
    return not opened


@pytest.mark.parametrize("query", [*queries()])
def test_a_query_asks_for_metrics_and_labels_that_there_are(query: str) -> None:
    names = re.findall(r"cachemw_\w+", query)
    labels = {label for name in names for label in SERIES[name].labels}

    used = re.findall(r'(\w+)\s*[=!]~?\s*"', query) + [
        label for listed in re.findall(r"by \(([^)]*)\)", query) for label in listed.replace(" ", "").split(",")
    ]
    assert names
    assert set(used) <= labels | {"le"}
    assert is_balanced(query)


@pytest.mark.parametrize("query", [*queries()])
def test_a_counter_is_asked_for_its_rate_and_a_gauge_for_what_it_is(query: str) -> None:
    rated = set(re.findall(r"(?:rate|increase)\((cachemw_\w+)", query))
    names = set(re.findall(r"cachemw_\w+", query))

    assert {name for name in names if SERIES[name].type is not MetricType.GAUGE} == rated


def test_panels_are_apart_and_each_has_a_number_of_its_own() -> None:
    numbers = [panel["id"] for panel in PANELS]
    cells = [
        (x, y)
        for panel in PANELS
        for x in range(panel["gridPos"]["x"], panel["gridPos"]["x"] + panel["gridPos"]["w"])
        for y in range(panel["gridPos"]["y"], panel["gridPos"]["y"] + panel["gridPos"]["h"])
    ]

    assert len(set(numbers)) == len(numbers)
    assert len(set(cells)) == len(cells)
    assert max(x for x, _ in cells) < 24


def test_it_can_be_imported_for_any_data_source() -> None:
    (variable,) = DASHBOARD["templating"]["list"]
    sources = [part["datasource"] for panel in PANELS if panel["type"] != "row" for part in (panel, *panel["targets"])]

    assert DASHBOARD["schemaVersion"] >= 39
    assert "id" not in DASHBOARD
    assert (variable["name"], variable["type"], variable["query"]) == ("datasource", "datasource", "prometheus")
    assert all(source == {"type": "prometheus", "uid": "${datasource}"} for source in sources)


def test_references_in_a_panel_differ() -> None:
    for panel in PANELS:
        references = [target["refId"] for target in panel.get("targets", [])]
        assert len(set(references)) == len(references)


def test_what_the_dashboard_is_for_is_on_it() -> None:
    asked = " ".join(queries())

    for name in ("cost_saved_usd", "tokens_saved", "time_saved", "store_bytes", "store_breaker_open", "ledger_dropped"):
        assert f"cachemw_{name}" in asked
    assert "histogram_quantile" in asked
