"""How settings are written: durations and sizes with units, switches, numbers in a range."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cachemw.formats import DURATIONS, KEEP, LIST, SECONDS, SIZES, SWITCH, Format, choice, counts, lasting, sizes

BYTES = sizes(0)

READ = [
    *((SECONDS, text, value) for text, value in {"90s": 90.0, "15m": 900.0, "2h": 7_200.0, "7d": 604_800.0}.items()),
    *((SECONDS, text, value) for text, value in {"0": 0.0, "1.5h": 5_400.0, "1e3": 1_000.0, "1_000": 1_000.0}.items()),
    (SECONDS, "inf", float("inf")),
    *((BYTES, text, value) for text, value in {"64MB": 64_000_000, "4GiB": 2**32, "1kB": 1_000, "1KiB": 1_024}.items()),
    *((BYTES, text, value) for text, value in {"0": 0, "1_000": 1_000, "0GiB": 0, "2TB": 2 * 10**12, "2TiB": 2**41}.items()),
    *((SWITCH, text, True) for text in ("1", "true", "True", "t", "yes", "y", "on", "ON")),
    *((SWITCH, text, False) for text in ("0", "false", "False", "f", "no", "n", "off")),
    (LIST, "a,b", ("a", "b")),
    (LIST, "a,", ("a", "")),
    (LIST, "", ()),
    (counts(0, 9), "9", 9),
    (counts(1), "1000000", 1_000_000),
    (choice("one", "two"), "two", "two"),
    *((KEEP, text, value) for text, value in {"windows": "windows", "forever": None, "7d": 604_800.0, "0": 0.0}.items()),
]

NOT_READ = [
    *(
        (SECONDS, text)
        for text in ("", "s", "1w", "1 h", " 1h", "1h30m", "1H", "-1", "-1s", "nan", "soon", "1.2.3", "0x1", "d1")
    ),
    *((BYTES, text) for text in ("", "MB", "64M", "64mb", "4 GiB", "1.5GiB", "1e3", "-1", "-1kB", "1B", "inf", "64MBB")),
    (sizes(1), "0"),
    *((SWITCH, text) for text in ("", "maybe", "2", " 1")),
    *((counts(0, 9), text) for text in ("", "10", "-1", "1.0", "many")),
    (counts(1), "0"),
    (choice("one", "two"), "one|two"),
    *((KEEP, text) for text in ("", "for ever", "Windows", "none", "-1")),
]


def named(part: object) -> str:
    return part.metavar if isinstance(part, Format) else str(part)


@pytest.mark.parametrize(("form", "text", "value"), READ, ids=named)
def test_what_is_allowed_is_read(form: Format[Any], text: str, value: object) -> None:
    assert form.from_text(text) == value


@pytest.mark.parametrize(("form", "text"), NOT_READ, ids=named)
def test_what_is_not_allowed_is_said_with_what_is(form: Format[Any], text: str) -> None:
    """E7."""
    with pytest.raises(ValueError) as refused:  # noqa: PT011 - its text is what is asked for
        form.from_text(text)

    assert str(refused.value) == f"{text!r} is not {form.allowed}"


@given(st.integers(0, 10**30), st.sampled_from(sorted(SIZES)))
def test_a_unit_of_size_multiplies(number: int, unit: str) -> None:
    assert BYTES.from_text(f"{number}{unit}") == number * SIZES[unit]


@given(st.floats(0, 1e300), st.sampled_from(sorted(DURATIONS)))
def test_a_unit_of_time_multiplies(number: float, unit: str) -> None:
    assert SECONDS.from_text(f"{number}{unit}") == number * DURATIONS[unit]


@given(st.integers(0) | st.sampled_from(list(SIZES.values())).flatmap(lambda unit: st.integers(0, 10**6).map(unit.__mul__)))
def test_a_size_that_is_written_is_read_as_it_was(value: int) -> None:
    assert BYTES.from_text(BYTES.show(value)) == value


@given(st.floats(0) | st.integers(0, 10**6).map(lambda quarters: quarters * 900.0))
def test_a_duration_that_is_written_is_read_as_it_was(value: float) -> None:
    assert SECONDS.from_text(SECONDS.show(value)) == value


@pytest.mark.parametrize("value", ["windows", None, 0.0, 0.25, 3_600.0, float("inf")])
def test_how_long_a_store_holds_is_read_as_it_was_written(value: Any) -> None:
    assert KEEP.from_text(KEEP.show(value)) == value


@given(st.text())
def test_no_text_is_read_as_less_than_nothing_and_none_is_a_crash(text: str) -> None:
    for form in (SECONDS, BYTES):
        try:
            value = form.from_text(text)
        except ValueError:
            continue
        assert value >= 0


@pytest.mark.parametrize(
    ("form", "value", "shown"),
    [
        *((SECONDS, value, shown) for value, shown in {86_400.0: "1d", 90.0: "90s", 0.5: "0.5s", 0.0: "0s"}.items()),
        *((BYTES, value, shown) for value, shown in {2**22: "4MiB", 64_000_000: "64MB", 1_001: "1001", 0: "0"}.items()),
    ],
)
def test_a_number_is_written_with_the_largest_unit_that_divides_it(form: Format[Any], value: float, shown: str) -> None:
    assert form.show(value) == shown


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        *((0.0, "0 s"), (0.046, "46 ms"), (0.9999, "999 ms"), (1.0, "1 s"), (59.9, "59 s"), (60.0, "1 m"), (61.0, "1 m 1 s")),
        *((3_600.0, "1 h"), (3_601.0, "1 h"), (9_660.0, "2 h 41 m"), (86_400.0, "1 d"), (90_000.0, "1 d 1 h")),
    ],
)
def test_a_span_of_time_is_told_in_two_units_at_most(seconds: float, words: str) -> None:
    assert lasting(seconds) == words
