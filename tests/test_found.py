"""Every fault that was found has a number, and a test that names it."""

from tests.docstrings import named
from tests.faults.found import FOUND


def test_the_numbers_rise_and_none_is_there_twice() -> None:
    """Those who look for faults at the same time have hundreds of their own: there may be gaps."""
    numbers = [found.number for found in FOUND]

    assert numbers == sorted(set(numbers))


def test_every_fault_has_a_test_that_names_it() -> None:
    assert [found for found in FOUND if f"F{found.number}" not in named().get(found.test, ())] == []


def test_no_test_names_a_fault_that_is_not_in_the_table() -> None:
    known = {f"F{found.number}" for found in FOUND}
    faults = {place: {name for name in ids if name.startswith("F")} for place, ids in named().items()}

    assert {place: names - known for place, names in faults.items() if names - known} == {}
