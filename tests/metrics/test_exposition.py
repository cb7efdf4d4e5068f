"""What `/metrics` answers, read as Prometheus reads it."""

import threading
import time
from importlib.metadata import version
from pathlib import Path

import pytest
from msgspec.structs import replace
from prometheus_client.parser import text_string_to_metric_families

from cachemw import DiskStore, MemoryStore
from cachemw.errors import StoreError
from cachemw.metrics import table
from cachemw.metrics.counting import Counter
from cachemw.metrics.exposition import LOOK_UP_SECONDS, StoreFigures, exposition
from cachemw.metrics.slots import WorkerSlot
from cachemw.metrics.sums import CountedSums, Labelled, SlotRecord, encode
from cachemw.metrics.table import BUCKETS, METRICS
from tests.metrics.reports import HIT, MISS

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


def samples(directory: Path, figures: tuple[int | None, int] | None = None) -> Samples:
    text, _ = exposition(directory, figures)
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text.decode())
        for sample in family.samples
    }


def value(found: Samples, name: str, **labels: str) -> float | None:
    return found.get((name, frozenset(labels.items())))


def worker(directory: Path, *exchanges: object, gauges: dict[Labelled, float] | None = None) -> WorkerSlot:
    counter = Counter(lambda name: name == "cerebras", {"chat"})
    for report in exchanges:
        counter.add_exchange(report)  # type: ignore[arg-type]
    slot = WorkerSlot(directory)
    slot.take()
    slot.write(encode(SlotRecord(slot.boot, counter.sums, gauges or {})))
    return slot


def test_workers_are_summed_and_shown_in_the_units_of_the_table(tmp_path: Path) -> None:
    both = [
        worker(tmp_path, MISS, gauges={("cachemw_flights",): 2.0}),
        worker(tmp_path, MISS, replace(HIT, count=3), gauges={("cachemw_flights",): 1.0}),
    ]

    found = samples(tmp_path, (12, 3456))

    of = {"provider": "cerebras", "model": "gpt-oss-120b"}
    assert value(found, "cachemw_requests_total", endpoint="chat", outcome="miss", provider="cerebras") == 2
    assert value(found, "cachemw_requests_total", endpoint="chat", outcome="hit", provider="cerebras") == 3
    assert value(found, "cachemw_cost_usd_total", **of) == pytest.approx(2 * 0.000421)
    assert value(found, "cachemw_cost_saved_usd_total", **of) == pytest.approx(3 * 0.000421)
    assert value(found, "cachemw_tokens_saved_total", **of, type="output") == 3 * 301
    seconds = {"outcome": "miss", "stream": "false"}
    assert value(found, "cachemw_request_duration_seconds_bucket", **seconds, le="0.64") == 0
    assert value(found, "cachemw_request_duration_seconds_bucket", **seconds, le="1.28") == 2
    assert value(found, "cachemw_request_duration_seconds_bucket", **seconds, le="+Inf") == 2
    assert value(found, "cachemw_request_duration_seconds_count", **seconds) == 2
    assert value(found, "cachemw_request_duration_seconds_sum", **seconds) == pytest.approx(2 * 0.911)
    assert (value(found, "cachemw_flights"), value(found, "cachemw_workers")) == (3, 2)
    assert (value(found, "cachemw_store_records"), value(found, "cachemw_store_bytes")) == (12, 3456)
    assert value(found, "cachemw_build_info", version=version("cachemw")) == 1
    for slot in both:
        slot.release()


def test_every_metric_of_the_table_is_described_and_nothing_else(tmp_path: Path) -> None:
    text, content_type = exposition(tmp_path, None)

    described = [line.split()[2] for line in text.decode().splitlines() if line.startswith("# HELP")]
    assert described == [metric.name for metric in METRICS]
    assert content_type.startswith("text/plain; version=0.0.4")


def test_before_anything_was_counted_what_has_no_labels_is_0(tmp_path: Path) -> None:
    found = samples(tmp_path / "nowhere")

    assert value(found, "cachemw_stored_total") == value(found, "cachemw_ledger_dropped_total") == 0
    assert value(found, "cachemw_workers") == 0
    assert value(found, "cachemw_store_records") is None


def test_a_file_that_is_replaced_all_the_time_is_read_whole_each_time(tmp_path: Path) -> None:
    slot = worker(tmp_path, MISS)
    over = threading.Event()

    def replace_it() -> None:
        count = 0
        while not over.is_set():
            count += 1
            slot.write(encode(SlotRecord(slot.boot, CountedSums({(table.KEPT.name,): count}, {}))))

    thread = threading.Thread(target=replace_it)
    thread.start()
    try:
        seen = [value(samples(tmp_path), "cachemw_stored_total") or 0 for _ in range(20)]
    finally:
        over.set()
        thread.join()

    assert seen == sorted(seen)
    assert seen[-1] > seen[0] > 0
    slot.release()


def test_names_that_somebody_else_chose_are_escaped(tmp_path: Path) -> None:
    name = 'a"b\\c\nd}é\ud800'
    slot = worker(tmp_path, replace(MISS, model=name))

    found = samples(tmp_path)

    shown = {dict(labels).get("model") for name, labels in found if name == "cachemw_tokens_total"}
    assert shown == {'a"b\\c\nd}é?'}
    slot.release()


def test_buckets_are_those_of_the_table(tmp_path: Path) -> None:
    slot = worker(tmp_path, MISS)

    bounds = [dict(labels)["le"] for name, labels in samples(tmp_path) if name == "cachemw_upstream_duration_seconds_bucket"]

    assert sorted(map(float, bounds)) == [*BUCKETS, float("inf")]
    slot.release()


def test_what_a_store_holds_is_looked_up_now_and_then(tmp_path: Path) -> None:
    store = DiskStore(tmp_path / "store")
    figures = StoreFigures(store)
    assert figures.at(0.0) is None  # there is none, and none is made
    assert not (tmp_path / "store").exists()

    store.put(b"i" * 16, b"record", None)
    assert figures.at(LOOK_UP_SECONDS - 1) is None
    count, size = figures.at(LOOK_UP_SECONDS) or (0, 0)
    store.close()

    assert count == 1
    assert size > 6


def test_a_store_that_fails_says_nothing() -> None:
    class Broken(MemoryStore):
        def size(self) -> int:
            raise StoreError("broken")

    assert StoreFigures(Broken()).at(time.monotonic()) is None
