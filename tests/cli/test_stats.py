"""`cachemw stats`."""

import json
import os
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from cachemw import DiskStore, FileStore
from cachemw.cache import record as codec
from cachemw.cache.sketch import sketch_of
from cachemw.ledger.book import book_of
from cachemw.ledger.reader import LedgerReader
from cachemw.ledger.schema import DETAILS, OF_WHOM, SUMS, listed
from cachemw.ledger.sums import SumsBy, sums
from tests.cache.test_sketch import BODY, SECRET, key
from tests.cli.command import Done, refusal
from tests.cli.stored import content
from tests.cli.test_upkeep import JSON, STREAM
from tests.ledger.test_ledger import HIT, MISS
from tests.ledger.test_sums import dropped, written

Here = Callable[..., Done]

NOW = time.time()
ASKED = replace(MISS, at=NOW - 60, model="gpt-oss-120b", key="a" * 32, sketch=sketch_of(key(BODY), SECRET))
SEEDED = replace(ASKED, key="b" * 32, sketch=sketch_of(key(BODY | {"seed": 8}), SECRET))
RECALLED = replace(HIT, at=NOW - 30, model="gpt-oss-120b", key="a" * 32, count=8)
UNKEPT = replace(ASKED, key="c" * 32, model="llama-4-scout", stored=False, details=("finish-length",), sketch=None)
BYPASS = replace(ASKED, fwd="bypass", stored=False, key=None, model="llama-4-scout", details=("no-messages",))
OLD = replace(ASKED, at=NOW - 3 * 86_400, model="old", key="d" * 32, sketch=None)


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """A store that holds two records."""
    with closing(DiskStore(tmp_path / "store")) as made:
        made.put(b"0" * 16, codec.encode(JSON), None)
        made.put(b"1" * 16, codec.encode(STREAM), None)
    return tmp_path / "store"


@pytest.fixture
def filled(store: Path) -> Path:
    written(store, [OLD, ASKED, SEEDED, RECALLED, UNKEPT, BYPASS])
    return store


def told(done: Done) -> list[dict[str, Any]]:
    assert (done.returncode, done.stderr) == (0, "")
    return [json.loads(text) for text in done.stdout.splitlines()]


def test_people_are_shown_what_is_held_what_it_saved_and_why_the_rest_was_asked_for(here: Here, filled: Path) -> None:
    done = here("stats", "--dir", filled)

    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert lines[0] == f"store   {filled}"
    assert lines[1].split()[:2] == ["2", "records"]
    heading = "last 1 d       requests  answered here       tokens saved  USD saved  USD spent  time saved"
    assert [text.split() for text in lines[3:7]] == [
        heading.split(),
        "gpt-oss-120b 10 80.0 % 8,904 of 11 k 0.0034 0.00084 7 s".split(),
        "llama-4-scout 2 0.0 % 0 of 2,226 0.00 0.00084 0 s".split(),
        "in all 12 66.7 % 8,904 of 13 k 0.0034 0.0017 7 s".split(),
    ]
    assert lines[7:] == [
        "not answered here: new 1 · differs in one part 1 (seed 1) · unknown 1 · bypass 1",
        "not kept:          finish-length 1",
    ]
    assert max(map(len, lines)) <= 100


def test_programs_are_told_exact_figures(here: Here, filled: Path) -> None:
    held, busy, other, reasons = told(here("stats", "--json", "--dir", filled))

    assert {name: held["store"][name] for name in ("place", "records", "fresh", "stale", "damaged", "streams", "json")} == {
        "place": str(filled),
        "records": 2,
        "fresh": 2,
        "stale": 0,
        "damaged": 0,
        "streams": 1,
        "json": 1,
    }
    assert busy == {
        "model": "gpt-oss-120b",
        "requests": 10,
        "answered_here": 8,
        "hits": 8,
        "stale": 0,
        "collapsed": 0,
        "misses": 2,
        "refreshes": 0,
        "bypasses": 0,
        "not_cached": 0,
        "refused": 0,
        "passed": 0,
        "input_tokens": 2 * 812,
        "output_tokens": 2 * 301,
        "saved_input_tokens": 8 * 812,
        "saved_output_tokens": 8 * 301,
        "spent_usd": "0.000842",
        "at_least": False,
        "saved_usd": "0.003368",
        "ms_saved": 8 * 899,
        "unpriced": 0,
        "estimated": 0,
        "dropped": 0,
    }
    assert (other["model"], other["misses"], other["bypasses"]) == ("llama-4-scout", 1, 1)
    assert reasons == {
        "misses": {"looked_at": 3, "reasons": {"unknown": 1, "new": 1, "field": 1}, "parts": {"seed": 1}},
        "others": {"no-cache": 0, "bypass": 1, "did not opt in": 0, "refused": 0},
        "not_kept": {"finish-length": 1},
    }


@pytest.mark.parametrize("hit", [RECALLED, replace(RECALLED, cost=None), replace(RECALLED, ttl=-3)])
def test_hits_cost_nothing_and_save_what_is_stored(here: Here, store: Path, hit: Any) -> None:
    """O1"""
    written(store, [hit])

    _, said, _ = told(here("stats", "--json", "--dir", store))
    assert (said["input_tokens"], said["output_tokens"], said["spent_usd"], said["at_least"]) == (0, 0, "0", False)
    assert (said["saved_input_tokens"], said["saved_output_tokens"]) == (8 * 812, 8 * 301)
    assert said["saved_usd"] == "0.003368"


@pytest.mark.parametrize("by", list(SumsBy))
def test_figures_are_told_apart_by(here: Here, filled: Path, by: SumsBy) -> None:
    """E12"""
    lines = told(here("stats", "--json", "--by", by.value, "--dir", filled))[1:-1]

    assert sum(line["requests"] for line in lines) == 12
    assert all(next(iter(line)) == by.value for line in lines)


@pytest.mark.parametrize(("since", "requests"), [("inf", 13), ("7d", 13), ("24h", 12), ("1h", 12)])
def test_only_what_is_of_the_span_is_counted(here: Here, filled: Path, since: str, requests: int) -> None:
    lines = told(here("stats", "--json", "--since", since, "--dir", filled))[1:-1]

    assert sum(line["requests"] for line in lines) == requests


def test_a_span_with_drops_says_at_least(here: Here, filled: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """G1"""
    dropped(filled, 7, monkeypatch, NOW)

    done = here("stats", "--dir", filled)
    assert done.stdout.splitlines()[-1] == "at least: 7 exchanges of that time could not be written down"
    assert "at least 0.00084" in done.stdout
    assert all(line["at_least"] for line in told(here("stats", "--json", "--dir", filled))[1:-1])


def test_of_many_misses_the_last_are_explained(here: Here, store: Path) -> None:
    many = [replace(ASKED, key=f"{place:032}", at=NOW - 60) for place in range(251)]
    written(store, many)

    lines = here("stats", "--dir", store).stdout.splitlines()
    assert "not answered here: misses 251" in lines
    assert any(line.startswith("the last 250:") for line in lines)


def test_a_store_without_a_ledger_is_shown(here: Here, store: Path) -> None:
    done = here("stats", "--dir", store)

    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[-1] == "the ledger has nothing of the last 1 d yet"
    assert len(told(here("stats", "--json", "--dir", store))) == 2
    assert not (store / "ledger.db").exists()


def test_no_byte_is_changed(here: Here, filled: Path) -> None:
    before = content(filled)

    done = here("stats", "--dir", filled)

    assert done.returncode == 0
    assert content(filled) == before


def test_a_directory_of_files_is_shown(here: Here, tmp_path: Path) -> None:
    """It has no limit, and no ledger."""
    with closing(FileStore(tmp_path / "files")) as files:
        files.put(b"0" * 16, codec.encode(replace(JSON, model="m", request=b"{}")), None)

    lines = here("stats", "--dir", tmp_path / "files").stdout.splitlines()
    assert lines[1].split()[:2] == ["1", "record"]
    assert " of " not in lines[1]
    assert lines[-1] == "the ledger has nothing of the last 1 d yet"


def test_what_is_no_ledger_is_one_line(here: Here, store: Path) -> None:
    (store / "ledger.db").write_bytes(b"x" * 5000)

    assert refusal(here("stats", "--dir", store)).startswith(f"the ledger in {store}/ledger.db cannot be read")


@pytest.mark.parametrize("arguments", [("--since", "soon"), ("--by", "colour")])
def test_what_stats_cannot_do_is_refused(here: Here, filled: Path, arguments: tuple[str, ...]) -> None:
    assert here("stats", "--dir", filled, *arguments).returncode == 2


def test_names_that_clients_chose_are_obeyed_by_nobody(here: Here, store: Path) -> None:
    written(store, [replace(ASKED, model="\x1b[2J[/bold]", details=("finish-\x07",), stored=False)])

    said = here("stats", "--dir", store).stdout
    assert r"\x1b[2J[/bold]" in said
    assert all(line.isprintable() for line in said.splitlines())


@pytest.mark.skipif(not os.environ.get("TESTS_SPEED"), reason="a figure: TESTS_SPEED=1")
def test_a_full_ring_is_summed_up_in_no_time(tmp_path: Path) -> None:
    """The sums of 100,000 exchanges take 50 ms at most: a day's, of three clients, two models and all that can come of them."""
    moments = [NOW - 86_400 + place * 0.86 for place in range(100_000)]
    with closing(book_of(tmp_path)) as book, book.transact() as connection:
        marks = listed("?" * len(DETAILS))
        row = (None,) * len(DETAILS)
        connection.executemany(f"INSERT INTO exchanges ({listed(DETAILS)}) VALUES ({marks})", [row for _ in moments])
        minutes = {
            (int(at) // 60, f"client {place % 3}", "", "cerebras/m", f"model {place % 2}", "chat", outcome)
            for place, at in enumerate(moments)
            for outcome in (("hit", "hit", "miss", "collapsed")[place % 4],)
        }
        names = (*OF_WHOM, *SUMS)
        values = [(*of_whom, *[1] * len(SUMS)) for of_whom in minutes]
        connection.executemany(f"INSERT INTO minutes ({listed(names)}) VALUES ({listed('?' * len(names))})", values)
    with closing(LedgerReader(tmp_path)) as reader:
        sums(reader, SumsBy.MODEL)
        took = []
        for _ in range(5):
            began = time.perf_counter()
            sums(reader, SumsBy.MODEL, NOW - 86_400)
            took.append(time.perf_counter() - began)

    assert min(took) < 0.05
