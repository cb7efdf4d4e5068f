"""`cachemw spend`."""

import json
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace
from rich.console import Console

from cachemw.cli.spend import doubts, read_spending, spending_table
from cachemw.ledger.ledger import Ledger
from cachemw.ledger.sums import Sums, SumsBy, in_all
from cachemw.messages import Usage
from cachemw.money import in_dollars
from cachemw.report import ExchangeReport
from tests.cli.command import Done, refusal
from tests.ledger.test_ledger import AtOnce

Here = Callable[..., Done]

NOW = datetime(2026, 11, 30, 5, tzinfo=UTC).timestamp()
MISS = ExchangeReport(
    at=NOW,
    fwd="miss",
    endpoint="chat",
    target="cerebras/gpt-oss-120b",
    route="auto",
    client="evals",
    model="auto",
    status=200,
    usage=Usage(800, 300),
    cost=421_000,
    cost_basis="priced",
)
HIT = replace(MISS, fwd=None, hit=True, ttl=5, cost=0, cost_basis=None, saved=421_000, count=3)
DEAR = replace(
    MISS, at=NOW - 86_400, target="openai/gpt-5.4-mini", client="people", route=None, cost=2_000_000, cost_at_least=True
)
UNKNOWN = replace(MISS, target="deepinfra/x", cost=None, cost_basis=None, count=2)
COLLAPSED = replace(MISS, collapsed=True, cost=0, cost_basis=None, saved=421_000)


@pytest.fixture
def filled(tmp_path: Path) -> Path:
    """A directory whose ledger has some exchanges."""
    with closing(Ledger(tmp_path, AtOnce(), clock=lambda: NOW)) as ledger:
        for report in (MISS, HIT, DEAR, UNKNOWN, COLLAPSED):
            ledger(report)
    return tmp_path


def lines(done: Done) -> list[dict[str, Any]]:
    assert (done.returncode, done.stderr) == (0, "")
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_spend_tells_targets_apart_and_what_is_not_known(here: Here, filled: Path) -> None:
    """E1, G17: amounts are exact texts, and unknown is counted and not 0."""
    assert lines(here("spend", "--json", "--dir", filled)) == [
        {
            "target": "openai/gpt-5.4-mini",
            "requests": 1,
            "answered_here": 0,
            "input_tokens": 800,
            "output_tokens": 300,
            "spent_usd": "0.002",
            "at_least": True,
            "saved_usd": "0",
            "unpriced": 0,
            "estimated": 0,
            "dropped": 0,
        },
        {
            "target": "cerebras/gpt-oss-120b",
            "requests": 5,
            "answered_here": 4,
            "input_tokens": 800,
            "output_tokens": 300,
            "spent_usd": "0.000421",
            "at_least": False,
            "saved_usd": "0.001684",
            "unpriced": 0,
            "estimated": 0,
            "dropped": 0,
        },
        {
            "target": "deepinfra/x",
            "requests": 2,
            "answered_here": 0,
            "input_tokens": 1600,
            "output_tokens": 600,
            "spent_usd": "0",
            "at_least": True,
            "saved_usd": "0",
            "unpriced": 2,
            "estimated": 0,
            "dropped": 0,
        },
    ]


@pytest.mark.parametrize(
    ("by", "names"),
    [
        ("client", ["people", "evals"]),
        ("route", [None, "auto"]),
        ("model", ["auto"]),
        ("endpoint", ["chat"]),
        ("day", ["2026-11-29", "2026-11-30"]),
    ],
)
def test_spend_tells_apart_by(here: Here, filled: Path, by: str, names: list[str | None]) -> None:
    """E12"""
    assert [line[by] for line in lines(here("spend", "--by", by, "--json", "--dir", filled))] == names


def test_a_span_that_had_drops_says_at_least(filled: Path) -> None:
    spent = Sums("a", 1, spent=5, dropped=1)

    assert spent.is_least
    assert doubts(spent) == "1 request not written down"


def test_only_what_is_of_that_time_is_shown(filled: Path) -> None:
    assert [spent.name for spent in read_spending(filled, SumsBy.CLIENT, NOW - 3600)] == ["evals"]


def test_the_sum_is_of_everything(filled: Path) -> None:
    total = in_all(read_spending(filled, SumsBy.TARGET, None))

    assert (total.requests, total.answered_here, total.input_tokens, total.output_tokens) == (8, 4, 3200, 1200)
    assert (total.spent, total.saved, total.unpriced, total.least, total.dropped) == (2_421_000, 1_684_000, 2, 1, 0)
    assert doubts(total) == "2 answers of unknown price, 1 that may have cost more"
    assert spending_table([total], SumsBy.TARGET).row_count == 2


def test_people_are_shown_a_table(here: Here, filled: Path) -> None:
    done = here("spend", "--dir", filled, COLUMNS="160")

    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"{filled}\n")
    assert "at least $0.002421" in done.stdout
    assert "2 answers of unknown price" in done.stdout


def test_no_figure_is_cut_short_in_a_narrow_terminal(here: Here, filled: Path) -> None:
    done = here("spend", "--dir", filled, COLUMNS="80")

    assert {"$0.002421", "$0.001684", "3,200", "1,200"} <= set(done.stdout.split())
    assert "…" not in done.stdout
    assert max(map(len, done.stdout.splitlines()[1:])) <= 80


def test_a_long_name_and_large_figures_are_shown_whole() -> None:
    name, heard = "openrouter/openai/gpt-oss-120b", StringIO()
    spent = Sums(name, 12_800, hits=4_000, spent=22_412_345_678, saved=3_123, least=1)
    spent = replace(spent, input_tokens=123_456_789, output_tokens=24_100_000)

    Console(file=heard, width=80).print(spending_table([spent], SumsBy.TARGET))

    lines = heard.getvalue().splitlines()
    assert {"12,800", "4,000", "123,456,789", "24,100,000", "$22.412345678", "$0.000003123"} <= set(heard.getvalue().split())
    assert name in "".join(line.partition(" ")[0] for line in lines)
    assert max(map(len, lines)) <= 80


@pytest.mark.parametrize(
    ("name", "shown"), [("cerebras/[/bold]", "cerebras/[/bold]"), ("cerebras/\x1b[2J", r"cerebras/\x1b[2J")]
)
def test_a_name_that_a_client_chose_is_obeyed_by_nobody(here: Here, tmp_path: Path, name: str, shown: str) -> None:
    with closing(Ledger(tmp_path, AtOnce(), clock=lambda: NOW)) as ledger:
        ledger(replace(MISS, target=name, status=404, cost=None, cost_basis=None))

    done = here("spend", "--dir", tmp_path)

    assert done.returncode == 0
    assert shown in done.stdout


@pytest.mark.parametrize("since", [[], ["--since", "1h"]])
def test_an_empty_ledger_is_said_to_be_empty(here: Here, tmp_path: Path, since: list[str]) -> None:
    done = here("spend", "--dir", tmp_path / "nowhere", *since)

    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"the ledger in {tmp_path}/nowhere has nothing")
    assert not (tmp_path / "nowhere").exists()
    assert lines(here("spend", "--json", "--dir", tmp_path)) == []


def test_what_is_no_ledger_is_one_line(here: Here, tmp_path: Path) -> None:
    (tmp_path / "ledger.db").write_bytes(b"x" * 5000)

    assert refusal(here("spend", "--dir", tmp_path)).startswith(f"the ledger in {tmp_path}/ledger.db cannot be read")


@pytest.mark.parametrize("arguments", [("--since", "soon"), ("--by", "colour")])
def test_what_spend_cannot_do_is_refused(here: Here, filled: Path, arguments: tuple[str, ...]) -> None:
    assert here("spend", "--dir", filled, *arguments).returncode == 2


@pytest.mark.parametrize("by", list(SumsBy))
def test_no_number_is_cut_in_a_window_of_eighty_columns(here: Here, filled: Path, by: SumsBy) -> None:
    """E1: names are folded instead."""
    done = here("spend", "--by", by.value, "--dir", filled, COLUMNS="80")

    assert "…" not in done.stdout
    assert {"$0.002421", "$0.001684"} <= set(done.stdout.split())
    assert [line for line in done.stdout.splitlines()[1:] if len(line) > 80] == []


@pytest.mark.parametrize(
    "hit", [HIT, replace(HIT, cost=None), replace(HIT, ttl=-3), replace(MISS, collapsed=True, cost=0, saved=421_000)]
)
def test_an_answer_from_the_store_costs_nothing_and_saves_what_it_had_cost(
    here: Here, tmp_path: Path, hit: ExchangeReport
) -> None:
    """O1"""
    with closing(Ledger(tmp_path, AtOnce(), clock=lambda: NOW)) as ledger:
        ledger(hit)

    (said,) = lines(here("spend", "--json", "--dir", tmp_path))
    assert (said["input_tokens"], said["output_tokens"], said["spent_usd"], said["at_least"]) == (0, 0, "0", False)
    assert said["saved_usd"] == in_dollars(421_000 * hit.count)


def test_a_lone_provider_is_priced_by_todays_list(here: Here, tmp_path: Path) -> None:
    """E11: and is said to be an estimate."""
    lone = replace(MISS, target="openai/gpt-4o-mini", model="gpt-4o-mini", route=None, cost=None, cost_basis=None)
    with closing(Ledger(tmp_path, AtOnce(), clock=lambda: NOW)) as ledger:
        ledger(lone)

    (said,) = lines(here("spend", "--json", "--dir", tmp_path))
    assert (said["unpriced"], said["estimated"], said["spent_usd"] > "0") == (0, 1, True)
    assert "openai/gpt-4o-mini: 1 estimated" in here("spend", "--dir", tmp_path).stdout
