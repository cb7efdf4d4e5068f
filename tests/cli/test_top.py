"""`cachemw top`."""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from cachemw.messages import Usage
from tests.cli.command import Done
from tests.ledger.test_ledger import HIT, MISS
from tests.ledger.test_sums import dropped, written

Here = Callable[..., Done]

NOW = time.time()
UNKEPT = replace(MISS, at=NOW - 60, key="a" * 32, stored=False, details=("finish-length",), cost=1_000)
DEAR = replace(MISS, at=NOW - 50, key="b" * 32, cost=9_000_000, usage=Usage(10, 10), client="people")
LARGE = replace(MISS, at=NOW - 40, key="c" * 32, cost=2_000, usage=Usage(50_000, 900), cost_at_least=True)
HOT = replace(HIT, at=NOW - 30, key="d" * 32, count=40)
OLD = replace(MISS, at=NOW - 9 * 86_400, key="e" * 32)


@pytest.fixture
def filled(tmp_path: Path) -> Path:
    later = time.time() - NOW  # of a long run
    reports = [OLD, UNKEPT, UNKEPT, UNKEPT, DEAR, LARGE, HOT]
    written(tmp_path, [replace(report, at=(report.at or NOW) + later) for report in reports])
    return tmp_path


def told(done: Done) -> list[dict[str, Any]]:
    assert (done.returncode, done.stderr) == (0, "")
    return [json.loads(text) for text in done.stdout.splitlines()]


@pytest.mark.parametrize(("by", "first"), [("misses", "a"), ("cost", "b"), ("tokens", "c"), ("hits", "d")])
def test_the_key_of_which_there_is_most_comes_first(here: Here, filled: Path, by: str, first: str) -> None:
    lines = told(here("top", "--by", by, "--json", "--dir", filled))

    assert lines[0]["key"][0] == first
    assert {line["key"][0] for line in lines} == set("abcde")
    assert len(told(here("top", "--by", by, "--limit", 2, "--json", "--dir", filled))) == 2


def test_programs_are_told_exact_figures(here: Here, filled: Path) -> None:
    first = told(here("top", "--json", "--dir", filled))[0]

    assert first == {
        "key": "a" * 32,
        "target": "cerebras/gpt-oss-120b",
        "model": "auto",
        "endpoint": "chat",
        "requests": 3,
        "answered_here": 0,
        "asked": 3,
        "not_kept": 3,
        "detail": "finish-length",
        "input_tokens": 3 * 812,
        "output_tokens": 3 * 301,
        "saved_input_tokens": 0,
        "saved_output_tokens": 0,
        "spent_usd": "0.000003",
        "at_least": False,
        "saved_usd": "0",
        "unpriced": 0,
        "last": first["last"],
        "last_place": 4,
    }


@pytest.mark.parametrize("name", ["top", "log", "spend"])
def test_all_there_is_can_be_asked_for(here: Here, filled: Path, name: str) -> None:
    whole = ("--newer-than", "inf") if name == "log" else ("--since", "inf")
    limit = ("--limit", 10**20) if name in ("top", "log") else ()

    done = here(name, *whole, *limit, "--json", "--dir", filled)

    assert (done.returncode, done.stderr) == (0, "")
    assert len(done.stdout.splitlines()) >= {"top": 5, "log": 7, "spend": 1}[name]


def test_what_was_answered_here_costs_nothing(here: Here, filled: Path) -> None:
    """O1"""
    hot = told(here("top", "--by", "hits", "--json", "--dir", filled))[0]

    assert (hot["input_tokens"], hot["output_tokens"], hot["spent_usd"], hot["at_least"]) == (0, 0, "0", False)
    assert (hot["saved_input_tokens"], hot["saved_usd"]) == (40 * 812, "0.01684")


def test_people_are_shown_a_table_in_which_each_key_has_a_line(here: Here, filled: Path) -> None:
    done = here("top", "--since", "1h", "--dir", filled, COLUMNS="80")

    lines = done.stdout.splitlines()
    assert lines[0].split() == "key model requests here asked tokens in/out USD saved last not kept".split()
    assert lines[2].split() == "aaaaaaaa auto 3 0 3 2,436 / 903 0.0000030 0.00 1 m 3: finish-length".split()
    assert [line.split()[0] for line in lines[2:]] == ["aaaaaaaa", "cccccccc", "bbbbbbbb", "dddddddd"]
    assert "≥0.0000020" in lines[3]
    assert max(map(len, lines)) <= 100


@pytest.mark.parametrize(
    ("options", "keys"),
    [(["--since", "1d"], "abcd"), (["--client", "people"], "b"), (["--outcome", "hit"], "d"), (["--older-than", "2d"], "e")],
)
def test_only_what_fits_is_counted(here: Here, filled: Path, options: list[str], keys: str) -> None:
    assert {line["key"][0] for line in told(here("top", "--json", "--dir", filled, *options))} == set(keys)


def test_a_span_with_drops_says_at_least(here: Here, filled: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """G1"""
    dropped(filled, 7, monkeypatch, NOW)

    assert here("top", "--dir", filled).stdout.splitlines()[-1].startswith("at least: 7 exchanges")
    assert all(line["at_least"] for line in told(here("top", "--json", "--dir", filled)))


def test_where_nothing_is_that_is_said(here: Here, tmp_path: Path) -> None:
    done = here("top", "--dir", tmp_path / "nowhere")

    assert (done.returncode, done.stdout) == (0, f"the ledger in {tmp_path}/nowhere has nothing of that yet\n")
    assert told(here("top", "--json", "--dir", tmp_path / "nowhere")) == []


def test_a_name_that_a_client_chose_is_obeyed_by_nobody(here: Here, tmp_path: Path) -> None:
    written(tmp_path, [replace(MISS, model="\x1b[2J[/bold]")])

    assert r"\x1b[2J[/bold]" in here("top", "--dir", tmp_path).stdout


def test_a_long_name_leaves_the_figures_of_all_others(here: Here, filled: Path) -> None:
    """A client may ask for a model of any name."""
    written(filled, [replace(MISS, at=NOW - 10, key="f" * 32, model="x" * 3_000, cost=1_234_000_000)])

    lines = here("top", "--dir", filled).stdout.splitlines()

    assert max(map(len, lines)) <= 100
    assert "last" in lines[0]
    assert any("1.23" in line and "xxx" in line for line in lines)
    assert any(line.startswith("a" * 8) and "0.0000030" in line for line in lines)
