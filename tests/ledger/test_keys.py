"""The keys of a ledger: what is asked again and again, and what costs most."""

from contextlib import closing
from pathlib import Path

import pytest
from msgspec.structs import replace

from cachemw.ledger.keys import KeysBy, keys
from cachemw.ledger.reader import LedgerReader
from cachemw.messages import Usage
from tests.ledger.test_ledger import HIT, MISS, NOW
from tests.ledger.test_sums import written

UNKEPT = replace(MISS, key="unkept", stored=False, details=("finish-length",), cost=1)
DEAR = replace(MISS, key="dear", cost=9_000_000, usage=Usage(1, 1))
LARGE = replace(MISS, key="large", usage=Usage(50_000, 9), cost=2)
ASKED = [UNKEPT, UNKEPT, UNKEPT, DEAR, LARGE, replace(HIT, key="hot", count=40), replace(MISS, key=None)]


@pytest.mark.parametrize(
    ("by", "first"), [(KeysBy.MISSES, "unkept"), (KeysBy.COST, "dear"), (KeysBy.TOKENS, "large"), (KeysBy.HITS, "hot")]
)
def test_the_key_comes_first_of_which_there_is_most(tmp_path: Path, by: KeysBy, first: str) -> None:
    written(tmp_path, ASKED)

    with closing(LedgerReader(tmp_path)) as reader:
        found = keys(reader, by)
        assert found[0].key == first
        assert {one.key for one in found} == {"unkept", "dear", "large", "hot"}
        assert len(keys(reader, by, limit=2)) == 2


def test_the_exchanges_of_a_key_are_counted(tmp_path: Path) -> None:
    hit = replace(HIT, count=3, at=NOW + 5)
    written(tmp_path, [MISS, replace(MISS, cost=None, cost_basis=None), hit, replace(MISS, status=500, cost=None, usage=None)])

    with closing(LedgerReader(tmp_path)) as reader:
        (one,) = keys(reader, KeysBy.MISSES)
    assert (one.key, one.model, one.target, one.requests, one.answered_here, one.asked) == (
        MISS.key,
        "auto",
        MISS.target,
        6,
        3,
        3,
    )
    assert (one.input_tokens, one.output_tokens, one.saved_input_tokens, one.saved_output_tokens) == (1624, 602, 2436, 903)
    assert (one.cost, one.unpriced, one.saved, one.is_least) == (421_000, 1, 3 * 421_000, True)
    assert (one.at_ms, one.place, one.not_kept, one.detail) == (int(NOW + 5) * 1000, 4, 0, None)


def test_why_answers_to_a_key_were_not_kept_is_told(tmp_path: Path) -> None:
    written(tmp_path, [UNKEPT, UNKEPT, replace(UNKEPT, stored=True, details=())])

    with closing(LedgerReader(tmp_path)) as reader:
        (one,) = keys(reader, KeysBy.MISSES)
    assert (one.asked, one.not_kept, one.detail) == (3, 2, "finish-length")


def test_only_the_keys_of_what_meets_the_condition_are_told(tmp_path: Path) -> None:
    written(tmp_path, ASKED)

    with closing(LedgerReader(tmp_path)) as reader:
        assert [one.key for one in keys(reader, KeysBy.HITS, ("outcome = ?", ("hit",)))] == ["hot"]


def test_of_what_was_only_answered_here_nothing_is_billed(tmp_path: Path) -> None:
    """O1"""
    written(tmp_path, [replace(HIT, count=40), replace(HIT, cost=None)])

    with closing(LedgerReader(tmp_path)) as reader:
        (one,) = keys(reader, KeysBy.HITS)
    assert (one.tokens, one.cost, one.unpriced, one.asked, one.is_least) == (0, 0, 0, 0, False)
    assert (one.saved_input_tokens, one.saved) == (41 * 812, 41 * 421_000)
