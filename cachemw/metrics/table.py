"""The table of metrics: the name, type and labels of each, and what it says. Pure."""

from enum import Enum

import msgspec

from cachemw.redaction import redacted_repr


class MetricType(Enum):
    """The types of Prometheus that are used here."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


class Metric(msgspec.Struct, frozen=True):
    """A row of the table. What is counted is shown divided by `divisor`."""

    name: str
    type: MetricType
    labels: tuple[str, ...]
    help_text: str
    divisor: int = 1

    __repr__ = redacted_repr


BUCKETS = (0.0005, 0.001, 0.002, 0.005, *(0.01 * 2**power for power in range(14)))
"""The upper bounds of the buckets of every histogram: four for hits, then those that OpenTelemetry has for calls of models."""

_NANO = 1_000_000_000
_COUNTER, _GAUGE, _HISTOGRAM = MetricType


def _counter(name: str, labels: str, help_text: str, divisor: int = 1) -> Metric:
    return Metric(f"cachemw_{name}_total", _COUNTER, tuple(labels.split()), help_text, divisor)


def _gauge(name: str, labels: str, help_text: str) -> Metric:
    return Metric(f"cachemw_{name}", _GAUGE, tuple(labels.split()), help_text)


def _histogram(name: str, labels: str, help_text: str) -> Metric:
    return Metric(f"cachemw_{name}_seconds", _HISTOGRAM, tuple(labels.split()), help_text)


REQUESTS = _counter("requests", "endpoint outcome provider", "Requests, by what came of them.")
DETAILS_TOLD = _counter("details", "detail", "What Cache-Status told of requests in detail; one request may have several.")
KEPT = _counter("stored", "", "Answers that were kept.")
NOT_KEPT = _counter("not_stored", "detail", "Answers of an upstream that were not kept, by why.")
MISS_REASON = _counter("miss_reason", "reason", "Requests that what is stored did not answer, by why.")
DURATION = _histogram("request_duration", "outcome stream", "From the request to the end of its answer.")
FIRST_BYTE = _histogram("first_byte", "outcome stream", "From the request to the first byte of its answer's body.")
UPSTREAM_REQUESTS = _counter("upstream_requests", "provider status", "How often upstreams were asked, by what they answered.")
UPSTREAM_DURATION = _histogram(
    "upstream_duration", "provider status", "The duration of requests for which one upstream was asked, once."
)
TOKENS_BOUGHT = _counter("tokens", "provider model type", "Tokens of answers that an upstream gave.")
TOKENS_SAVED = _counter("tokens_saved", "provider model type", "Tokens of answers for which no upstream was asked.")
COST = _counter("cost_usd", "provider model", "What answers cost, in dollars, as far as it is known.", _NANO)
COST_SAVED = _counter("cost_saved_usd", "provider model", "What answers would have cost that were not bought again.", _NANO)
TIME_SAVED = _counter(
    "time_saved_seconds", "provider model", "How much longer upstreams had taken than what is stored did.", 1000
)
FLIGHTS = _gauge("flights", "", "Requests to upstreams that are under way, and may be followed.")
FLIGHT_BYTES = _gauge("flight_bytes", "", "What answers in progress hold in memory.")
FLIGHTS_DETACHED = _gauge("flights_detached", "", "Answers in progress that are read on though every client has left.")
STORE_COUNT = _gauge("store_records", "", "Records in the store, as of the last half minute.")
STORE_VOLUME = _gauge("store_bytes", "", "What the store takes on the disk, as of the last half minute.")
STORE_DURATION = _histogram(
    "store_duration", "call", "How long calls of the store took, with the time they waited for their turn."
)
STORE_ERRORS = _counter("store_errors", "call kind", "Calls of the store that failed.")
STORE_BREAKER = _gauge("store_breaker_open", "side", "Workers that leave the store alone for now, for its last calls failed.")
LEDGER_DROPPED = _counter("ledger_dropped", "", "Exchanges that the ledger could not be told of, one by one.")
WORKERS = _gauge("workers", "", "Workers of the proxy that are alive.")
BUILD_INFO = _gauge("build_info", "version", "Always 1.")

METRICS: tuple[Metric, ...] = (
    *(REQUESTS, DETAILS_TOLD, KEPT, NOT_KEPT, MISS_REASON, DURATION, FIRST_BYTE, UPSTREAM_REQUESTS, UPSTREAM_DURATION),
    *(TOKENS_BOUGHT, TOKENS_SAVED, COST, COST_SAVED, TIME_SAVED, FLIGHTS, FLIGHT_BYTES, FLIGHTS_DETACHED),
    *(STORE_COUNT, STORE_VOLUME, STORE_DURATION, STORE_ERRORS, STORE_BREAKER, LEDGER_DROPPED, WORKERS, BUILD_INFO),
)
"""All of them, in the order in which they are shown."""
