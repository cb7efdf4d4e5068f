"""The exposition of metrics in the text format of Prometheus, summed over all workers. It needs the extra `page`."""

import time
from collections.abc import Iterator, Mapping
from importlib.metadata import version
from itertools import accumulate
from pathlib import Path
from typing import TypeVar

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.core import Metric as Family
from prometheus_client.registry import Collector

from cachemw.errors import StoreError
from cachemw.metrics import table
from cachemw.metrics.slots import read_slots
from cachemw.metrics.sums import Labelled, gauged, summed
from cachemw.metrics.table import BUCKETS, METRICS, Metric, MetricType
from cachemw.stores.base import Store

LOOK_UP_SECONDS = 30.0
"""How long what a store holds is taken to be what it was: to find out is some work."""

T = TypeVar("T")

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_BOUNDS = (*map(str, BUCKETS), "+Inf")


class StoreFigures:
    """The number of a store's records and its bytes, looked up now and then. It may wait for the store, as that does."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._found: tuple[int | None, int] | None = None
        self._until = 0.0

    def at(self, now: float) -> tuple[int | None, int] | None:
        """Return both, of the last half minute; `None` where the store does not say."""
        if now >= self._until:
            self._until = now + LOOK_UP_SECONDS
            try:
                self._found = (self._store.count(), self._store.size()) if self._store.exists() else None
            except StoreError:
                self._found = None
        return self._found


def exposition(store_directory: Path, figures: tuple[int | None, int] | None) -> tuple[bytes, str]:
    """Return what `/metrics` answers, and its content type. `figures` are the number of the store's records, and its bytes."""
    registry = CollectorRegistry()
    registry.register(_Collector(store_directory, figures))
    return generate_latest(registry), CONTENT_TYPE


class _Collector(Collector):
    """Collects what lies in the files once."""

    def __init__(self, store_directory: Path, figures: tuple[int | None, int] | None) -> None:
        slots = list(read_slots(store_directory, time.time()))
        self._sums = summed(sums for sums, _ in slots)
        alive = [gauges for _, gauges in slots if gauges is not None]
        self._gauges = {**_figures(figures), **gauged(alive)}
        self._gauges[table.WORKERS.name,] = len(alive)
        self._gauges[table.BUILD_INFO.name, version("cachemw")] = 1

    def collect(self) -> Iterator[Family]:
        for metric in METRICS:
            match metric.type:
                case MetricType.COUNTER:
                    yield self._counter(metric)
                case MetricType.GAUGE:
                    yield self._gauge(metric)
                case MetricType.HISTOGRAM:
                    yield self._histogram(metric)

    def _counter(self, metric: Metric) -> Family:
        family = CounterMetricFamily(metric.name, metric.help_text, labels=metric.labels)
        for labels, number in _of(metric, self._sums.counters, 0):
            family.add_metric(labels, number / metric.divisor)
        return family

    def _gauge(self, metric: Metric) -> Family:
        family = GaugeMetricFamily(metric.name, metric.help_text, labels=metric.labels)
        for labels, number in _of(metric, self._gauges, None):
            family.add_metric(labels, number)
        return family

    def _histogram(self, metric: Metric) -> Family:
        family = HistogramMetricFamily(metric.name, metric.help_text, labels=metric.labels)
        for labels, (*counts, microseconds) in _of(metric, self._sums.histograms, None):
            buckets = list(zip(_BOUNDS, map(float, accumulate(counts)), strict=True))
            family.add_metric(labels, buckets, microseconds / 1_000_000)
        return family


def _figures(figures: tuple[int | None, int] | None) -> dict[Labelled, float]:
    if figures is None:
        return {}
    count, size = figures
    return {(table.STORE_VOLUME.name,): size, **({} if count is None else {(table.STORE_COUNT.name,): count})}


def _of(metric: Metric, numbers: Mapping[Labelled, T], nothing: T | None) -> Iterator[tuple[tuple[str, ...], T]]:
    """Yield the numbers of a metric by its labels; one without labels is `nothing` before it is anything."""
    found = {tuple(labels): number for (name, *labels), number in numbers.items() if name == metric.name}
    if not found and not metric.labels and nothing is not None:
        found[()] = nothing
    yield from sorted(found.items())
