"""Charts, as far as they are arithmetic."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cachemw.page.charts import HEIGHT, Column, scale, stacked

values = st.floats(0, 1e12, allow_nan=False)

SCALES = {
    0: ["0"],
    1: ["0", "1"],
    3: ["0", "1", "2", "3"],
    7: ["0", "2", "4", "6", "8"],
    190: ["0", "50", "100", "150", "200"],
    1_900: ["0", "500", "1k", "1.5k", "2k"],
}


@pytest.mark.parametrize(("largest", "marks"), SCALES.items())
def test_the_marks_of_an_axis_are_round_numbers(largest: int, marks: list[str]) -> None:
    assert [text for _, text in scale(largest)[1]] == marks


@given(values, st.booleans())
def test_an_axis_reaches_the_largest_value_and_not_much_farther(largest: float, whole: bool) -> None:
    top, marks = scale(largest, whole=whole)

    assert top >= largest * (1 - 1e-9)
    assert marks[0] == (0.0, "0")
    assert len(marks) <= 6
    assert not whole or largest == 0 or all(at == int(at) for at, _ in marks)


@given(st.lists(st.tuples(values, values), max_size=100))
def test_bars_stand_on_one_another_within_the_plot(rows: list[tuple[float, float]]) -> None:
    chart = stacked([Column(row, "t") for row in rows], ("stored", "forwarded"), unit="u", summary="s")

    for bar in chart.bars:
        assert 0 <= bar.left <= 100
        assert bar.left + bar.width <= 100.01
        assert -0.01 <= bar.top <= HEIGHT
        assert bar.top + bar.height <= HEIGHT + 0.02


def test_a_column_has_its_parts_from_the_bottom_up_and_a_label_where_it_is_named() -> None:
    chart = stacked([Column((1, 3), "a", "10:00"), Column((0, 0), "b")], ("stored", "forwarded"), unit="u", summary="s")

    assert [(bar.kind, bar.top, bar.height) for bar in chart.bars] == [("stored", 126, 42), ("forwarded", 0, 126)]
    assert [(mark.at, mark.text) for mark in chart.along] == [(25, "10:00")]


def test_a_chart_of_nothing_says_so() -> None:
    assert stacked([Column((0,), "a")], ("stored",), unit="u", summary="s").is_empty
    assert not stacked([Column((1,), "a")], ("stored",), unit="u", summary="s").is_empty
