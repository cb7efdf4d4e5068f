"""Prices on what the ledger has no cost of: the answers of upstreams that stand alone."""

import datetime
from contextlib import closing
from pathlib import Path

import pytest
from msgspec.structs import replace

from cachemw.gateway.estimates import priced_keys, priced_row, priced_sums
from cachemw.gateway.price_tables import PriceTables
from cachemw.ledger.keys import KeysBy
from cachemw.ledger.reader import LedgerReader
from cachemw.ledger.reading import rows
from cachemw.ledger.row import Row
from cachemw.ledger.sums import Sums, SumsBy, in_all
from cachemw.messages import Usage
from cachemw.money import Price, Rates, Tier
from cachemw.report import ExchangeReport
from tests.ledger.test_ledger import HIT, MISS
from tests.ledger.test_sums import written

PLAIN, TIERED, WRITING, LEAST = (
    Price(Rates(100, 1_000_000, 10)),
    Price(Rates(100, 1_000_000, 10), (Tier(1_000, Rates(200, 2_000_000)),)),
    Price(Rates(100, 1_000_000, 10, 125)),
    Price(Rates(100, 1_000_000, 10), is_least=True),
)
LONE = replace(MISS, route=None, model="m", target="groq/m", cost=None, cost_basis=None, usage=Usage(500, 7))
LONE_HIT = replace(HIT, route=None, model="m", target="groq/m", cost=None, saved=None, usage=Usage(500, 7))


class Tables(PriceTables):
    """Tables with one price for a model `m` of Groq, and of OpenAI."""

    def __init__(self, price: Price) -> None:
        super().__init__(datetime.date(2026, 11, 30))
        self.known = price

    def price(self, known: str | None, model: str) -> Price | None:
        return self.known if known in ("groq", "openai") and model == "m" else None


def cost(input_tokens: int, output_tokens: int, cached: int = 0) -> int:
    return -(-((input_tokens - cached) * 100 + cached * 10 + output_tokens * 1_000_000) // 1_000_000)


def summed(directory: Path, price: Price, *given: ExchangeReport) -> Sums:
    written(directory, given)
    with closing(LedgerReader(directory)) as reader:
        return in_all(priced_sums(reader, Tables(price), SumsBy.MODEL))


def row_priced(directory: Path, price: Price, report: ExchangeReport) -> Row:
    written(directory, [report])
    with closing(LedgerReader(directory)) as reader:
        (row,) = rows(reader, limit=1)
    return priced_row(row, Tables(price))


@pytest.mark.parametrize(
    ("target", "model", "is_known"),
    [
        ("groq/m", "m", True),
        ("https://api.openai.com/v1/chat/completions", "m", True),
        ("https://api.openai.com:443/v1/responses", "m", True),
        ("groq/other", "other", False),
        ("groq", "", False),
        ("m", "m", False),
        ("nobody/m", "m", False),
        ("support-bot", "m", False),
        ("https://llm.example/v1/chat/completions", "m", False),
        ("https://[", "m", False),
    ],
)
def test_a_price_is_put_on_what_a_known_provider_answered(tmp_path: Path, target: str, model: str, is_known: bool) -> None:
    """E11: what nobody knows a price of stays without one, and is counted so."""
    lone = replace(LONE, target=target, model=model)

    total = summed(tmp_path, PLAIN, lone, lone)
    assert (total.spent, total.unpriced, total.estimated) == ((cost(1000, 14), 0, 2) if is_known else (0, 2, 0))
    assert total.is_least is not is_known
    assert row_priced(tmp_path, PLAIN, lone).cost == (cost(500, 7) if is_known else None)


@pytest.mark.parametrize(("price", "is_least"), [(PLAIN, False), (TIERED, True), (WRITING, True), (LEAST, True)])
def test_where_a_price_is_not_known_whole_the_cost_of_many_is_at_least_that(
    tmp_path: Path, price: Price, is_least: bool
) -> None:
    """E11: how large each request was, and what the provider was told to keep, the sums do not say."""
    total = summed(tmp_path, price, replace(LONE, usage=Usage(9_000, 7, 100)))

    assert total.spent == cost(9_000, 7, 100)
    assert (total.least, total.is_least) == (int(is_least), is_least)


def test_of_one_exchange_its_own_tier_is_known(tmp_path: Path) -> None:
    row = row_priced(tmp_path, TIERED, replace(LONE, usage=Usage(5_000, 7)))

    assert (row.cost, row.cost_basis, row.at_least) == (1 + 14, "estimated", 0)


@pytest.mark.parametrize("usage", [None, Usage(), Usage(5), Usage(None, 5)])
def test_what_says_nothing_of_its_tokens_has_no_price(tmp_path: Path, usage: Usage | None) -> None:
    assert row_priced(tmp_path, PLAIN, replace(LONE, usage=usage)).cost is None


def test_what_has_a_cost_keeps_it(tmp_path: Path) -> None:
    known = replace(LONE, cost=421_000, cost_basis="reported")

    assert summed(tmp_path, PLAIN, known) == replace(
        Sums("in all"), requests=1, misses=1, input_tokens=500, output_tokens=7, spent=421_000
    )
    assert row_priced(tmp_path, PLAIN, known).cost == 421_000


@pytest.mark.parametrize("hit", [LONE_HIT, replace(LONE_HIT, ttl=-1), replace(LONE, collapsed=True)])
def test_a_hit_saves_what_its_tokens_cost_and_costs_nothing(tmp_path: Path, hit: ExchangeReport) -> None:
    """O1"""
    total = summed(tmp_path, PLAIN, replace(hit, count=3))

    assert (total.spent, total.tokens, total.unpriced, total.estimated) == (0, 0, 0, 0)
    assert total.saved == cost(1500, 21)
    row = row_priced(tmp_path, PLAIN, hit)
    assert (row.billed_cost, row.billed_tokens, row.saved) == (0, (0, 0), cost(500, 7))


@pytest.mark.parametrize("by", list(SumsBy))
def test_names_and_their_order_are_those_of_the_sums(tmp_path: Path, by: SumsBy) -> None:
    written(tmp_path, [replace(MISS, cost=3), LONE, replace(LONE, target="nobody/x"), LONE_HIT])

    with closing(LedgerReader(tmp_path)) as reader:
        total = in_all(found := priced_sums(reader, Tables(PLAIN), by))
    assert (total.requests, total.spent, total.saved, total.unpriced) == (4, 3 + cost(500, 7), cost(500, 7), 1)
    if by not in (SumsBy.DAY, SumsBy.HOUR):
        assert [one.spent for one in found] == sorted((one.spent for one in found), reverse=True)


def test_where_some_costs_are_known_the_others_stay_unknown(tmp_path: Path) -> None:
    """Whose tokens are whose, a sum does not say."""
    total = summed(tmp_path, PLAIN, LONE, replace(LONE, cost=5))

    assert (total.spent, total.unpriced, total.estimated) == (5, 1, 0)


def test_the_dearest_key_is_found_whether_its_cost_was_known_or_not(tmp_path: Path) -> None:
    dear, large = replace(LONE, key="dear", usage=Usage(1, 90_000)), replace(MISS, cost=1, usage=Usage(900_000, 1))
    known = [replace(MISS, key=f"k{place}", cost=place) for place in range(90)]
    written(tmp_path, [*known, *(replace(large, key=f"l{place}") for place in range(9)), dear, LONE_HIT])

    with closing(LedgerReader(tmp_path)) as reader:
        found = priced_keys(reader, Tables(PLAIN), KeysBy.COST, limit=3)
        (hit,) = priced_keys(reader, Tables(PLAIN), KeysBy.HITS, limit=1)
    assert [one.key for one in found] == ["dear", "k89", "k88"]
    assert (found[0].cost, found[0].unpriced, found[0].is_least) == (cost(1, 90_000), 0, False)
    assert (hit.cost, hit.saved) == (0, cost(500, 7))


def test_the_tables_know_a_model_of_today(tmp_path: Path) -> None:
    written(tmp_path, [replace(LONE, target="openai/gpt-4o-mini", model="gpt-4o-mini", usage=Usage(50_000, 7))])

    with closing(LedgerReader(tmp_path)) as reader:
        (found,) = priced_sums(reader, PriceTables(datetime.date(2026, 11, 30)), SumsBy.MODEL)
    assert found.spent > 0


def test_the_tables_are_not_read_where_there_is_nothing_to_price(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It takes a second."""
    tables = PriceTables(datetime.date(2026, 11, 30))
    monkeypatch.setattr(tables, "_providers", lambda: pytest.fail("they are read"))
    written(
        tmp_path,
        [MISS, HIT, replace(LONE, target="https://llm.example/v1"), replace(LONE, target="x/m"), replace(LONE, usage=None)],
    )

    with closing(LedgerReader(tmp_path)) as reader:
        priced_sums(reader, tables, SumsBy.MODEL)
        for row in rows(reader):
            priced_row(row, tables)
