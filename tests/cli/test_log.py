"""`cachemw log`."""

import json
import os
import queue
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import openai
import pytest
from msgspec.structs import replace

from cachemw.cache.sketch import sketch_of
from cachemw.cli.exchange_lines import heading, json_line, line
from cachemw.ledger.miss_reasons import ToldReason
from cachemw.ledger.reader import LedgerReader
from cachemw.ledger.reading import rows
from cachemw.ledger.reasons import NoMiss
from cachemw.ledger.row import Row
from cachemw.ledger.schema import LEDGER_FILE
from cachemw.messages import Usage
from cachemw.report import ExchangeReport
from tests.cache.test_sketch import BODY, SECRET, key
from tests.cli.command import PATIENCE, Command, Done, refusal
from tests.ledger.test_ledger import HIT, MISS
from tests.ledger.test_sums import dropped, written

Here = Callable[..., Done]

NOW = time.time()
SEEN_WITHIN = 5.0
"""The seconds within which a line is to be seen on a machine that is busy; by itself it takes half a second."""

ASKED = replace(MISS, at=NOW - 3, key="a01b22c9" * 4, stored=True, kept_for=None, sketch=None)
UNKEPT = replace(ASKED, at=NOW - 2, stored=False, details=("finish-length",), client="people", model="llama-4-scout")
RECALLED = replace(HIT, at=NOW - 1, count=40, key="a01b22c9" * 4)


@pytest.fixture
def filled(tmp_path: Path) -> Path:
    written(tmp_path / "store", [ASKED, UNKEPT, RECALLED])
    return tmp_path / "store"


def told(done: Done) -> list[dict[str, Any]]:
    assert (done.returncode, done.stderr) == (0, "")
    return [json.loads(text) for text in done.stdout.splitlines()]


def row_of(directory: Path, report: ExchangeReport) -> Row:
    written(directory, [report])
    with closing(LedgerReader(directory)) as reader:
        (row,) = rows(reader, limit=1)
    return row


def test_the_last_exchanges_are_shown_the_newest_last(here: Here, filled: Path) -> None:
    done = here("log", "--dir", filled)

    assert (done.returncode, done.stderr) == (0, "")
    names, *lines = done.stdout.splitlines()
    assert names.split() == ["#", "time", "model", "outcome", "first", "total", "tok", "in/out", "USD", "key", "why"]
    lines = [text for text in lines if not text.startswith("--")]
    times = [f"{datetime.fromtimestamp(NOW - ago):%H:%M:%S}" for ago in (3, 2, 1)]
    assert [text.split() for text in lines] == [
        ["1", times[0], "auto", "miss", "210", "ms", "911", "ms", "812/301", ".00042", "a01b22c9"],
        [
            "2",
            times[1],
            "llama-4-scout",
            "miss",
            *"210 ms 911 ms 812/301 .00042 a01b22c9 not kept: finish-length (evicted)".split(),
        ],
        ["3", times[2], "auto", "hit", "×40", "210", "ms", "0", "ms", "812/301", "0", "(-.017)", "a01b22c9"],  # noqa: RUF001
    ]


def test_programs_are_told_all_of_it_with_exact_amounts(here: Here, filled: Path) -> None:
    miss, unkept, hit = told(here("log", "--json", "--dir", filled))

    assert miss == {
        "place": 1,
        "id": MISS.id,
        "at": datetime.fromtimestamp(int((NOW - 3) * 1000) / 1000, UTC).isoformat(timespec="milliseconds")[:-6] + "Z",
        "outcome": "miss",
        "count": 1,
        "detail": None,
        "why": "unknown",
        "differs": [],
        "nearest": None,
        "read": None,
        "key": "a01b22c9" * 4,
        "client": "evals",
        "namespace": "night",
        "route": "auto",
        "target": "cerebras/gpt-oss-120b",
        "endpoint": "chat",
        "model": "auto",
        "answered_model": "gpt-oss-120b",
        "status": 200,
        "fwd": "miss",
        "fwd_status": 200,
        "stored": True,
        "input_tokens": 812,
        "output_tokens": 301,
        "saved_input_tokens": 0,
        "saved_output_tokens": 0,
        "cost_usd": "0.000421",
        "cost_basis": "priced",
        "at_least": False,
        "saved_usd": None,
        "first_ms": 210,
        "total_ms": 911,
        "attempts": 1,
        "bytes_in": 900,
        "bytes_out": 2000,
    }
    assert (unkept["stored"], unkept["detail"], unkept["why"]) == (False, "finish-length", "evicted")
    assert (hit["outcome"], hit["count"], hit["stored"], hit["why"]) == ("hit", 40, None, None)


@pytest.mark.parametrize("hit", [HIT, replace(HIT, cost=None), replace(HIT, ttl=-2), replace(HIT, count=7)])
def test_a_hit_costs_nothing_and_saves_what_is_stored(tmp_path: Path, hit: ExchangeReport) -> None:
    """O1"""
    row = row_of(tmp_path, hit)

    said = json.loads(json_line(row, ToldReason(NoMiss("hit"))))
    assert (said["input_tokens"], said["output_tokens"], said["cost_usd"]) == (0, 0, "0")
    assert (said["saved_input_tokens"], said["saved_output_tokens"], said["saved_usd"]) == (812, 301, "0.000421")
    assert " 0 (-.00" in line(row, "", 100).plain


@pytest.mark.parametrize(
    ("options", "places"),
    [
        (["--limit", 2], [2, 3]),
        (["--limit", 0], []),
        (["--outcome", "hit"], [3]),
        (["--client", "people"], [2]),
        (["--model", "llama-*"], [2]),
        (["--key", "A01B"], [1, 2, 3]),
        (["--newer-than", "1h", "--provider", "cerebras", "--endpoint", "chat"], [1, 2, 3]),
        (["--older-than", "1h"], []),
        (["--namespace", "night", "--limit", 1], [3]),
    ],
)
def test_only_what_fits_is_shown(here: Here, filled: Path, options: list[object], places: list[int]) -> None:
    assert [one["place"] for one in told(here("log", "--json", "--dir", filled, *options))] == places


@pytest.mark.parametrize(("options", "words"), [([], "has nothing yet"), (["--client", "nobody"], "has nothing that fits")])
def test_where_nothing_is_that_is_said(here: Here, tmp_path: Path, options: list[str], words: str) -> None:
    done = here("log", "--dir", tmp_path / "nowhere", *options)

    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[-1] == f"the ledger in {tmp_path}/nowhere {words}"
    assert not (tmp_path / "nowhere").exists()
    assert told(here("log", "--json", "--dir", tmp_path / "nowhere", *options)) == []


def test_a_span_with_drops_says_at_least(here: Here, filled: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """G1"""
    dropped(filled, 7, monkeypatch, NOW)

    done = here("log", "--dir", filled)

    assert done.stdout.splitlines()[-1] == "at least: 7 exchanges of that time could not be written down"


def test_what_is_no_ledger_is_one_line(here: Here, tmp_path: Path) -> None:
    (tmp_path / LEDGER_FILE).write_bytes(b"x" * 5000)

    assert refusal(here("log", "--dir", tmp_path)).startswith(f"the ledger in {tmp_path}/{LEDGER_FILE} cannot be read")


HOSTILE = replace(
    MISS,
    model="\x1b[2J[/bold]\n" * 9,
    key="f" * 32,
    usage=Usage(10**9, 10**9),
    cost=10**12,
    cost_at_least=True,
    first_byte=10**6,
    total=10**6,
    stored=False,
    details=("finish-" + "\x07" * 90,),
)


@pytest.mark.parametrize("report", [ASKED, UNKEPT, RECALLED, replace(RECALLED, count=10**7), HOSTILE, ExchangeReport(at=NOW)])
@pytest.mark.parametrize("width", [100, 120, 200])
def test_a_line_fits_its_terminal_and_no_terminal_obeys_it(tmp_path: Path, report: ExchangeReport, width: int) -> None:
    shown = line(row_of(tmp_path, report), "not kept: " + "\x1b" * 90, width).plain

    assert len(shown) <= width
    assert shown.isprintable()
    assert len(heading(width).plain) <= width


@pytest.mark.parametrize(
    ("changes", "shown"),
    [
        ({"cost": None, "cost_basis": None}, "?"),
        ({"cost": None, "cost_basis": None, "status": 500}, "-"),
        ({"cost_at_least": True}, "≥.00042"),
        ({"cost_basis": "estimated"}, "~.00042"),
        ({"cost": 2_140_000_000}, "2.14"),
        ({"cost": 21}, ".000000021"),
        ({"cost": 0}, "0"),
    ],
)
def test_it_is_shown_how_far_a_cost_is_known(tmp_path: Path, changes: dict[str, Any], shown: str) -> None:
    """E11"""
    cells = line(row_of(tmp_path, replace(ASKED, **changes)), "", 100).plain.split()

    assert cells[-2] == shown


def test_what_a_collapsed_exchange_read_is_told(here: Here, tmp_path: Path) -> None:
    written(tmp_path, [ASKED, replace(ASKED, collapsed=True, cost=0, saved=421_000, stored=None)])

    assert [one["read"] for one in told(here("log", "--json", "--dir", tmp_path))] == [None, 1]
    assert here("log", "--dir", tmp_path).stdout.splitlines()[-1].endswith("read #1")


def test_it_is_said_in_what_a_miss_differs_from_what_is_stored(here: Here, tmp_path: Path) -> None:
    first = replace(ASKED, key="7c5d8f6f" * 4, sketch=sketch_of(key(BODY), SECRET))
    written(tmp_path, [first, replace(first, key="a" * 32, sketch=sketch_of(key(BODY | {"seed": 8}), SECRET))])

    one, other = told(here("log", "--json", "--dir", tmp_path))
    assert (one["why"], one["differs"], one["nearest"]) == ("new", [], None)
    assert (other["why"], other["differs"], other["nearest"]) == ("field", ["seed"], "7c5d8f6f" * 4)
    lines = here("log", "--dir", tmp_path).stdout.splitlines()
    assert lines[-2].endswith(" new")
    assert lines[-1].endswith(" seed ≠ 7c5d8f6f")


def test_an_exchange_of_a_lone_provider_is_priced(here: Here, tmp_path: Path) -> None:
    """E11: by today's list, which is an estimate."""
    lone = replace(ASKED, target="openai/gpt-4o-mini", model="gpt-4o-mini", cost=None, cost_basis=None)
    written(tmp_path, [lone, replace(lone, target="nobody/x")])

    known, unknown = told(here("log", "--json", "--dir", tmp_path))
    assert (known["cost_basis"], unknown["cost_usd"]) == ("estimated", None)
    assert known["cost_usd"].startswith("0.000")


class Followed:
    """`cachemw log -f` in a process of its own, and the lines that it writes, as they come."""

    def __init__(self, command: Command, *arguments: object) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "cachemw", "log", "-f", *map(str, arguments)],
            env=dict(command.environment),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._lines: queue.Queue[tuple[float, str]] = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for text in self.process.stdout:
            self._lines.put((time.monotonic(), text))

    def next(self) -> tuple[float, dict[str, Any]]:
        """Return the next line, and when it came."""
        came, text = self._lines.get(timeout=PATIENCE)
        return came, json.loads(text)

    def next_text(self) -> str:
        return self._lines.get(timeout=PATIENCE)[1]


def client_of(url: str) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{url}/v1", api_key="cachemw", max_retries=0)


@contextmanager
def followed(command: Command, *arguments: object) -> Iterator[Followed]:
    process = Followed(command, *arguments)
    with process.process:
        try:
            yield process
        finally:
            process.process.kill()


def test_what_comes_is_shown_at_once(command: Command, simulated: tuple[Any, str], tmp_path: Path) -> None:
    """O1: over a real proxy, from a real SDK. The store, and the ledger, are not there yet when it begins."""
    place = tmp_path / "caches" / "cachemw"
    serving = command.serving(
        *("serve", "--port", 0, "--upstream", "cerebras", "--default", "on"),
        CEREBRAS_BASE_URL=simulated[1],
        CEREBRAS_API_KEY="k",
    )
    with followed(command, "--json", "--dir", place) as log, serving as served, client_of(served.url) as client:

        def ask(prompt: str) -> tuple[float, dict[str, Any]]:
            client.chat.completions.create(model="gpt-oss-120b", messages=[{"role": "user", "content": prompt}])
            ended = time.monotonic()
            came, said = log.next()
            return came - ended, said

        ask("first")  # whatever both of them still had to begin
        asked = [ask("one"), ask("one"), ask("two")]

    assert [said["outcome"] for _, said in asked] == ["miss", "hit", "miss"]
    assert max(took for took, _ in asked) < SEEN_WITHIN
    (_, miss), (_, hit), _ = asked
    assert (hit["input_tokens"], hit["output_tokens"], hit["cost_usd"]) == (0, 0, "0")
    assert (hit["saved_input_tokens"], hit["saved_output_tokens"]) == (miss["input_tokens"], miss["output_tokens"])
    assert hit["saved_usd"] == miss["cost_usd"]
    assert float(miss["cost_usd"]) > 0


def test_following_goes_on_with_a_ledger_that_takes_anothers_place(command: Command, tmp_path: Path) -> None:
    place = tmp_path / "store"
    written(place, [replace(MISS, id="0"), replace(MISS, id="1")])
    with followed(command, "--json", "--dir", place, "--limit", 1) as log:
        assert log.next()[1]["id"] == "1"
        written(place, [replace(MISS, id="2")])
        assert log.next()[1]["id"] == "2"
        shutil.rmtree(place)
        written(place, [replace(MISS, id="3")])
        assert log.next()[1]["id"] == "3"


def test_ctrl_c_ends_following_quietly(command: Command, tmp_path: Path) -> None:
    written(tmp_path / "store", [MISS])
    with followed(command, "--dir", tmp_path / "store") as log:
        while "cerebras" not in (text := log.next_text()) and "auto" not in text:
            pass
        written(tmp_path / "store", [MISS])
        assert "auto" in log.next_text()  # it is following
        log.process.send_signal(signal.SIGINT)

        assert log.process.wait(PATIENCE) == 130
        assert log.process.stderr is not None
        assert log.process.stderr.read() == ""
    assert os.path.exists(tmp_path / "store" / LEDGER_FILE)


def test_a_terminal_of_ascii_is_shown_what_it_can_show(command: Command, tmp_path: Path) -> None:
    written(tmp_path, [replace(MISS, at=NOW, model="m" * 90)])
    variables = {"LC_ALL": "POSIX", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}

    done = command("log", "--dir", tmp_path, **variables)

    assert (done.returncode, done.stderr) == (0, "")
    assert "miss" in done.stdout


def test_who_was_refused_is_told_with_which_status(here: Here, tmp_path: Path) -> None:
    written(tmp_path, [replace(MISS, at=NOW, fwd=None, status=404, sketch=None, stored=False)])

    done = here("log", "--dir", tmp_path)

    assert done.stdout.splitlines()[-1].endswith("status 404")
