"""The benchmarks run. What they find is nobody's business here: a busy machine is no fault."""

import asyncio
import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import pytest

from benchmarks import aims
from benchmarks.asking import http
from benchmarks.contest import TRIES, NoHitError, Rounds, busy, fill, microseconds, ratio, speed_of
from benchmarks.inside import Caller
from benchmarks.load import Load, Pressure, load
from benchmarks.relays import FEW, ways
from benchmarks.servers import Server
from benchmarks.traffic import Traffic, in_one_segment, in_two_segments, traced
from cachemw.report import ExchangeReport
from tests.thorough import THOROUGH

ROOT = Path(__file__).parents[1]
HITS = [
    "JSON, 1 KB request",
    "JSON, 1 KB in two segments",
    "JSON, 45 KB request",
    "JSON, 45 KB request, BLAKE3",
    "stream of 16 KB",
    "stream of 100 KB",
    "a traceparent each, 1 KB",
    "a traceparent each, 45 KB",
    "3,000 prompts in turn",
    "JSON out of a stream of 16 KB",
    "JSON out of a stream of 100 KB",
    "stream out of JSON of 1 KB",
    "stream out of JSON of 3 KB",
]
ROWS = {
    "keys": ["1 KB", "45 KB", "45 KB, spaced out", "1 MB"],
    "stores": ["MemoryStore, 2 KB", "MemoryStore, 100 KB", "DiskStore, 2 KB", "DiskStore, 100 KB"],
    "parts": ["base64", "float"],
    "relays": [
        "the bare app",
        "watched for a client that leaves",
        "cachemw, not opted in",
        "cachemw, relayed as too large",
        "cachemw, relayed in mode=read",
        "cachemw, a flight kept out",
        "cachemw, a flight stored",
    ],
    "pulls": [
        *(
            f"{mount}, {what}"
            for mount in ("WSGI", "httpx")
            for what in ("bare", "hit in memory", "hit on disk", "miss into memory")
        )
    ],
    "hits": HITS,
    "throughput": HITS,
    "mounted": [f"{size} request, {store}" for size in ("1 KB", "45 KB") for store in ("memory", "disk")],
    "dialects": [
        f"{way}, {kind}, {recalls}"
        for recalls in ("recalled", "decided anew")
        for kind in ("JSON", "stream")
        for way in ("chat", "messages", "messages, of a chat upstream", "chat, of Anthropic's own API")
    ],
    "chunks": ["chat to messages"],
    "records": ["1,000", "1,100"],
    "misses": ["stream", "JSON"],
    "operating": ["a recalled hit", "a miss"],
    "plans": [
        *(f"pick={pick}, 20 targets" for pick in ("first", "cheapest", "fastest", "weighted", "race")),
        *(f"the needs of {size}" for size in ("1 KB", "45 KB")),
    ],
    "weather": [
        "answered, of those that any target could answer, %",
        "sent to a target known to be down, %",
        "changes of the preferred target",
        "attempts for a request",
    ],
    "gateway": [
        *(
            f"{model}, {what}"
            for model in ("plain model", "pinned target", "route of two")
            for what in ("hit recalled", "hit", "miss", "miss, stream")
        )
    ],
    "attempts": [
        "one target, and no other",
        "two targets, the first answers",
        "the second, after a 429",
        "the second, where the first is not there",
        "two side by side",
        "the second 20 ms after the first",
    ],
    "flights": ["one, opted in", "100, opted in", "100, not opted in", "100, at the upstream itself"],
}
TABLES = {
    "hits": ["hits", "throughput"],
    "dialects": ["dialects", "chunks"],
    "routes": ["plans", "weather", "gateway", "attempts"],
}
"""Of a section; the others have one of their own name."""

_QUICK = ["keys", "stores", "relays", "pulls", "records", "misses", "operating", "routes"]
_OF_OTHERS = {"throughput", "chunks", *TABLES["routes"]}
SECTIONS = [*(name for name in ROWS if name not in _OF_OTHERS), "routes"] if THOROUGH else _QUICK
"""The others start half a dozen servers each; the size of an installation is a download."""


@pytest.mark.timeout(600)
def test_the_benchmarks_fill_every_row_of_every_table(tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "benchmarks",
        "--seconds",
        "0.05",
        "--rounds",
        "1",
        "--records",
        "1100",
        "--requests",
        "1000",
    ]
    only = [word for name in SECTIONS for word in ("--only", name)]
    rows = {table: ROWS[table] for name in SECTIONS for table in TABLES.get(name, [name])}

    printed = subprocess.run(
        [*command, *only, "--json", str(tmp_path / "figures")], cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True
    ).stdout

    tables = json.loads((tmp_path / "figures").read_text())["tables"]
    found = {name: [next(iter(row.values())) for row in table["rows"]] for name, table in tables.items()}
    assert found == rows
    assert all(table["title"] in printed and f"| {label} " in printed for name, table in tables.items() for label in rows[name])
    assert [where for where, figure in figures_of(tables) if not isinstance(figure, int | float)] == []


def figures_of(tables: dict[str, Any]) -> Iterator[tuple[tuple[str, str, str], object]]:
    """Yield all figures, but those of what may not be installed, and where each of them stands."""
    for name, table in tables.items():
        for row in table["rows"]:
            label, *cells = row.items()
            for column, figure in cells:
                if not (column in aims.COLUMNS or "nginx" in column or "BLAKE3" in label[1]):
                    yield (name, label[1], column), figure


A, B = aims.at_least(2.0, 2.0, "x bare"), aims.at_most(41.0, 40, "µs")
UNKNOWN = aims.at_least(None, 1.0, "x nginx")


@pytest.mark.parametrize(
    ("judged", "words", "met"),
    [
        ([], "", ""),
        ([A], "≥ 2 x bare", "yes"),
        ([B], "≤ 40 µs", "no"),
        ([A, UNKNOWN], "≥ 2 x bare, ≥ 1 x nginx", "not measured"),
        ([UNKNOWN, B], "≥ 1 x nginx, ≤ 40 µs", "no"),
    ],
)
def test_an_aim_is_met_when_all_of_it_is(judged: list[aims.Aim], words: str, met: str) -> None:
    assert aims.cells(judged) == (words, met)


def rounds_of(**runs: tuple[float, float | None]) -> Rounds:
    """Return what servers did in three rounds, of so many requests a second, and of so much processor time each."""
    return {name: [Load(per_second, cpu, [0.001], 0.5)] * 3 for name, (per_second, cpu) in runs.items()}


def test_speed_is_judged_by_processor_time_where_all_of_it_is_known() -> None:
    known, unknown = rounds_of(one=(100.0, 1e-3), other=(50.0, 5e-4)), rounds_of(one=(100.0, 1e-3), other=(50.0, None))

    by_cpu, by_throughput = speed_of([known]), speed_of([known, unknown])

    assert ratio(known, "other", "one", by_cpu) == pytest.approx(2.0)
    assert microseconds(known, "other", by_cpu) == pytest.approx(500.0)
    assert ratio(unknown, "other", "one", by_throughput) == pytest.approx(0.5)
    assert microseconds(unknown, "one", by_throughput) is None
    assert ratio(known, "other", "a third", by_cpu) is None
    assert (busy(known), busy({})) == (50.0, None)


def test_the_same_request_leaves_in_one_segment_or_in_two() -> None:
    bodies = [b"first", b"second"]

    whole, halves = (list(islice(traffic(bodies), 4)) for traffic in (in_one_segment, in_two_segments))

    assert [first + later for first, later in halves] == [first for first, _ in whole]
    assert [later for _, later in halves] == bodies * 2
    assert all(not later for _, later in whole)


def test_every_request_has_a_traceparent_of_its_own_and_else_is_the_same() -> None:
    heads = [head for again in range(2) for head, _ in islice(traced([b"body"]), 3)]  # two rounds

    ids = [re.findall(rb"\r\ntraceparent: 00-([0-9a-f]{32})-([0-9a-f]{16})-01\r\n", head) for head in heads]
    assert len({one for ((one, _),) in ids}) == len(heads)
    assert {re.sub(rb"traceparent: .*?\r\n", b"", head) + b"body" for head in heads} == {http(b"body")}


class Answering(asyncio.Protocol):
    """Answers every request of so many bytes, each time at another length, and keeps the pieces in which requests come."""

    def __init__(self, size: int, pieces: list[bytes], lengths: Iterator[int]) -> None:
        self.size, self.pieces, self.lengths = size, pieces, lengths
        self.received = b""

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.pieces.append(data)
        self.received += data
        if len(self.received) == self.size:
            self.received = b""
            body = b"a" * next(self.lengths) + b"and that is all of it"
            self.transport.write(b"HTTP/1.1 200 OK\r\nx-mark: 1\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body))


@contextmanager
def answering(size: int, mark: bytes = b"x-mark: ") -> Iterator[tuple[Server, list[bytes]]]:
    pieces: list[bytes] = []
    lengths = cycle([1, 2, 300_000, 10])
    with asyncio.Runner() as runner:
        loop = runner.get_loop()
        opening = loop.create_server(lambda: Answering(size, pieces, lengths), "127.0.0.1", 0)
        thread = threading.Thread(target=loop.run_forever)
        listener = loop.run_until_complete(opening)
        thread.start()
        try:
            yield Server(listener.sockets[0].getsockname(), os.getpid(), mark), pieces
        finally:
            loop.call_soon_threadsafe(listener.close)
            loop.call_soon_threadsafe(loop.stop)
            thread.join()


BODY = b"what is asked"
HEAD = http(BODY).removesuffix(BODY)
CROWD = 16


@pytest.mark.parametrize("has_own_core", [True, False])
@pytest.mark.parametrize(
    ("traffic", "segments"), [(in_one_segment, [HEAD + BODY]), (in_two_segments, [HEAD, BODY])], ids=["one", "two"]
)
def test_a_load_sends_the_segments_apart_and_takes_every_answer_whole(
    traffic: Traffic, segments: list[bytes], has_own_core: bool
) -> None:
    with answering(len(HEAD + BODY)) as (server, pieces):
        found = load(server, traffic([BODY]), Pressure(CROWD, 0.0, has_own_core, least=300))

    assert len(found.latencies) == 300 + CROWD  # with those that are under way when it is over
    assert found.latency(0.0) <= found.latency(0.5) <= found.latency(1.0)
    assert found.per_second > 0
    assert 0 <= found.busy <= 1
    assert b"".join(pieces).count(BODY) == 300 + 2 * CROWD  # and each once before it counts
    assert all(pieces.count(segment) >= 300 for segment in segments)  # at its very beginning and end nothing is waited for


def test_a_load_refuses_an_answer_without_the_mark_of_a_hit() -> None:
    with answering(len(HEAD + BODY), b"x-other: ") as (server, _), pytest.raises(AssertionError, match="x-mark"):
        load(server, in_one_segment([BODY]), Pressure(1, 0.0, True))


def test_a_server_that_never_hits_is_given_up() -> None:
    with answering(len(HEAD + BODY), b"x-other: ") as (server, pieces), pytest.raises(NoHitError, match="x-mark"):
        fill(server, [BODY])

    assert pieces == [HEAD + BODY] * TRIES


def test_who_answers_in_process_does_what_its_row_says() -> None:
    reports: list[ExchangeReport] = []

    with asyncio.Runner() as runner:  # that of the benchmarks unfreezes what every later test would look through
        for app, headers in ways(FEW, [reports.append]).values():
            Caller(runner, app, headers).elapsed(1)

    not_stored = [(False, ("request-too-large",)), (False, ("mode-read",)), (False, ("kept-out",))]
    assert [(report.stored, report.details) for report in reports] == [*not_stored, (True, ())]
