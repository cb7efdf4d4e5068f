"""Why each of many exchanges was not answered from the store, by those that came before it."""

from collections.abc import Iterable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from cachemw.cache.sketch import sketch_of
from cachemw.ledger import miss_reasons
from cachemw.ledger.miss_reasons import FIELDS, MissReasons, ReasonCounts, ToldReason, count_reasons
from cachemw.ledger.purges import note_purges
from cachemw.ledger.reader import LedgerReader
from cachemw.ledger.reading import rows
from cachemw.ledger.reasons import (
    Evicted,
    Expired,
    NeverStored,
    NoMiss,
    OtherCaller,
    OtherFields,
    PurgedBefore,
    Unkept,
    Unsketched,
)
from cachemw.report import ExchangeReport
from tests.cache.test_sketch import BODY, CALLER, OTHER_CALLER, SECRET, key
from tests.ledger.test_ledger import HIT, MISS, NOW
from tests.ledger.test_sums import written

SEEDED = BODY | {"seed": 8}
UNLIKE = {"messages": [{"content": "Quite another thing", "role": "user"}], "model": "other", "top_p": 0.5}


def asked(body: Any = BODY, *, partition: bytes = CALLER, name: str = "k", **changes: Any) -> ExchangeReport:
    """Return the report of a miss whose answer was stored for an hour."""
    made = replace(MISS, key=name, sketch=sketch_of(key(body, partition=partition), SECRET), kept_for=3600.0, stored=True)
    return replace(made, **changes)


def told(directory: Path, reports: Iterable[ExchangeReport]) -> list[ToldReason]:
    """Write these down, a second apart, and return why each was not answered."""
    written(directory, [replace(report, at=NOW + place) for place, report in enumerate(reports)])
    with closing(LedgerReader(directory)) as reader:
        reasons = MissReasons(reader)
        return [reasons.of(row) for row in reversed(rows(reader))]


def test_a_miss_is_explained_by_what_came_before_it(tmp_path: Path) -> None:
    found = told(
        tmp_path,
        [
            asked(name="first"),
            asked(SEEDED, name="second"),
            asked(UNLIKE, name="third"),
            asked(BODY, partition=OTHER_CALLER, name="fourth"),
            asked(SEEDED | {"model": "x"}, name="fifth"),
        ],
    )

    assert found == [
        ToldReason(NeverStored()),
        ToldReason(OtherFields(("seed",)), "first"),
        ToldReason(NeverStored()),
        ToldReason(OtherCaller("evals"), "first"),
        ToldReason(OtherFields(("model",)), "second"),
    ]


@pytest.mark.parametrize(
    ("before", "miss", "reason"),
    [
        ([asked()], asked(fwd="stale"), Expired()),
        ([asked(kept_for=0.5, total=0.0)], asked(), Expired(int(NOW * 1000) + 500)),
        ([asked(total=0.0)], asked(), Evicted(int(NOW * 1000))),
        ([asked(stored=False, details=("finish-length",))], asked(), Unkept("finish-length", MISS.id)),
        ([], asked(details=("was-not-200",)), Unkept("not-200")),
        ([], asked(sketch=None), Unsketched()),
        ([asked(name="other")], replace(HIT, details=("transcoded",)), NoMiss("hit", "transcoded")),
    ],
)
def test_what_became_of_the_same_key_comes_first(
    tmp_path: Path, before: list[ExchangeReport], miss: ExchangeReport, reason: object
) -> None:
    assert told(tmp_path, [*before, miss])[-1].reason == reason


def test_what_came_later_explains_nothing_though_it_was_written_down_before(tmp_path: Path) -> None:
    """A hit is told of at once, and the miss whose answer it had when that is stored; and two workers may ask the same."""
    hit, other = replace(HIT, key="k", at=NOW + 0.5), asked(at=NOW - 0.5, total=0.9)
    written(tmp_path, [other, hit, asked(at=NOW)])

    with closing(LedgerReader(tmp_path)) as reader:
        reasons = MissReasons(reader)
        found = [reasons.of(row).reason for row in reversed(rows(reader))]
    assert found == [NeverStored(), NoMiss("hit"), OtherFields(())]


def test_a_purge_is_told(tmp_path: Path) -> None:
    written(tmp_path, [asked(at=NOW, total=0.0)])
    note_purges(tmp_path, ["k"], NOW + 1)
    written(tmp_path, [asked(at=NOW + 2)])

    with closing(LedgerReader(tmp_path)) as reader:
        (miss,) = rows(reader, limit=1)
        assert MissReasons(reader).of(miss).reason == PurgedBefore(int(NOW + 1) * 1000)


def test_what_came_between_two_that_are_asked_for_is_known(tmp_path: Path) -> None:
    """As with a filter, which lets some of them through."""
    written(tmp_path, [asked(name="first"), asked(UNLIKE, name="between"), asked(UNLIKE | {"top_p": 1}, name="last")])

    with closing(LedgerReader(tmp_path)) as reader:
        last, _, first = rows(reader)
        reasons = MissReasons(reader)
        assert reasons.of(first) == ToldReason(NeverStored())
        assert reasons.of(last) == ToldReason(OtherFields(("top_p",)), "between")


def test_it_is_known_whose_forward_was_read(tmp_path: Path) -> None:
    assert told(tmp_path, [asked(), asked(collapsed=True, stored=None)])[-1] == ToldReason(NoMiss("collapsed"), read=1)


def test_another_ledger_begins_anew(tmp_path: Path) -> None:
    written(tmp_path / "one", [asked(name=f"k{place}") for place in range(3)])
    written(tmp_path / "other", [asked(SEEDED, name="new")])

    with closing(LedgerReader(tmp_path / "one")) as one, closing(LedgerReader(tmp_path / "other")) as other:
        reasons = MissReasons(one)
        reasons.of(rows(one, limit=1)[0])
        reasons._reader = other
        assert reasons.of(rows(other, limit=1)[0]) == ToldReason(NeverStored())


@pytest.mark.parametrize(("remembered", "reason"), [(50, OtherFields(("seed",))), (5, NeverStored())])
def test_so_much_is_remembered_and_no_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, remembered: int, reason: object
) -> None:
    """Who follows a log does so for weeks."""
    monkeypatch.setattr(miss_reasons, "_REMEMBERED", remembered)
    monkeypatch.setattr(miss_reasons, "LOOKED_BACK", 3)
    written(tmp_path, [asked(name="first"), *(asked(UNLIKE | {"n": place}, name=f"k{place}") for place in range(20))])
    written(tmp_path, [asked(SEEDED, name="last")])

    with closing(LedgerReader(tmp_path)) as reader:
        reasons = MissReasons(reader)
        found = [reasons.of(row).reason for row in reversed(rows(reader))]
    assert found[-1] == reason
    assert set(found[2:-1]) == {OtherFields(("n",))}


def test_reasons_are_counted_and_parts_where_one_alone_differed(tmp_path: Path) -> None:
    base = BODY | {"temperature": 1, "max_tokens": 9}
    told(
        tmp_path,
        [
            asked(base, name="first"),
            *(asked(base | {"seed": 100 + place}, name=f"k{place}") for place in range(3)),
            asked(base | {"model": "x"}, name="m"),
            asked(base | {"model": "z", "seed": 5000}, name="several"),
            asked(base, fwd="stale", name="first"),
            HIT,
            asked(base, name="refreshed", fwd="request"),
        ],
    )

    with closing(LedgerReader(tmp_path)) as reader:
        assert count_reasons(reader) == ReasonCounts(
            7, {"field": 4, "new": 1, FIELDS: 1, "expired": 1}, {"seed": 3, "model": 1}
        )
        assert count_reasons(reader, most=1) == ReasonCounts(1, {"expired": 1}, {})
        assert count_reasons(reader, NOW + 5.5) == ReasonCounts(1, {"expired": 1}, {})
        assert count_reasons(reader, NOW + 1000) == ReasonCounts(0, {}, {})
