"""Figures as people read them, as a table."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cachemw.page import figures
from cachemw.page.figures import NOTHING, THIN
from cachemw.redaction import printable

AMOUNTS = {
    None: NOTHING,
    0: "0",
    7: "7",
    812: "812",
    9_214: "9,214",
    9_999: "9,999",
    10_000: f"10{THIN}k",
    61_234: f"61{THIN}k",
    999_400: f"999{THIN}k",
    999_600: f"1.0{THIN}M",
    4_100_000: f"4.1{THIN}M",
    12_300_000: f"12{THIN}M",
    10**12: f"1.0{THIN}T",
}
SIZES = {
    None: NOTHING,
    0: f"0{THIN}B",
    999: f"999{THIN}B",
    1_500: f"1.5{THIN}kB",
    312_000_000: f"312{THIN}MB",
    4_000_000_000: f"4.0{THIN}GB",
}
DURATIONS = {
    None: NOTHING,
    0: f"0{THIN}ms",
    0.0004: f"0{THIN}ms",
    0.911: f"911{THIN}ms",
    0.9996: f"1.0{THIN}s",
    1.44: f"1.4{THIN}s",
    42.2: f"42{THIN}s",
    60: f"1{THIN}m",
    250: f"4{THIN}m 10{THIN}s",
    9_660: f"2{THIN}h 41{THIN}m",
    86_400: f"1{THIN}d",
    529_200: f"6{THIN}d 3{THIN}h",
}
MONEY = {
    None: NOTHING,
    0: "$0",
    1: "$0.000000001",
    421_000: "$0.00042",
    4_210_000: "$0.0042",
    53_000_000: "$0.053",
    370_000_000: "$0.37",
    2_140_000_000: "$2.14",
    1_234_567_000_000: "$1,234.57",
}
SHARES = {
    (0, 0): NOTHING,
    (0, 7): f"0{THIN}%",
    (7, 7): f"100{THIN}%",
    (813, 1000): f"81.3{THIN}%",
    (99_999, 100_000): f"99.9{THIN}%",
}


@pytest.mark.parametrize(("count", "text"), AMOUNTS.items())
def test_amounts(count: int | None, text: str) -> None:
    assert figures.amount(count) == text


@pytest.mark.parametrize(("count", "text"), SIZES.items())
def test_sizes(count: int | None, text: str) -> None:
    assert figures.size(count) == text


@pytest.mark.parametrize(("seconds", "text"), DURATIONS.items())
def test_durations(seconds: float | None, text: str) -> None:
    assert figures.duration(seconds) == text


@pytest.mark.parametrize(("nano", "text"), MONEY.items())
def test_money(nano: int | None, text: str) -> None:
    assert figures.dollars(nano) == text


@pytest.mark.parametrize(("parts", "text"), SHARES.items())
def test_shares(parts: tuple[int, int], text: str) -> None:
    assert figures.share(*parts) == text


def test_how_long_ago_is_said_in_one_unit() -> None:
    assert [figures.ago(seconds) for seconds in (None, 0.3, 59.9, 61, 7_300, 200_000)] == [
        *(NOTHING, "now", f"59{THIN}s ago", f"1{THIN}m ago", f"2{THIN}h ago", f"2{THIN}d ago")
    ]


@given(st.integers(0, 2**63))
def test_no_figure_is_long(count: int) -> None:
    assert len(figures.amount(count)) <= 14
    assert len(figures.dollars(count)) <= 20
    assert len(figures.duration(count / 1000)) <= 30


def test_a_name_is_shown_with_nothing_that_a_reader_does_not_see() -> None:
    assert printable("gpt\u202eoss\x1b[31m\n") == "gpt\\u202eoss\\x1b[31m\\n"
