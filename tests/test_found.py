"""Every fault that was found has a number, and a test that names it."""

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from tests.faults.found import FOUND

ROOT = Path(__file__).parents[1]
NUMBER = re.compile(r"\bF([0-9]+)\b")

Documented = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Module


def test_the_numbers_rise_and_none_is_there_twice() -> None:
    """Those who look for faults at the same time have hundreds of their own: there may be gaps."""
    numbers = [found.number for found in FOUND]

    assert numbers == sorted(set(numbers))


def test_every_fault_has_a_test_that_names_it() -> None:
    assert [found for found in FOUND if found.number not in _named().get(found.test, ())] == []


def test_no_test_names_a_fault_that_is_not_in_the_table() -> None:
    known = {found.number for found in FOUND}

    assert {place: numbers - known for place, numbers in _named().items() if numbers - known} == {}


@cache
def _named() -> dict[str, set[int]]:
    """Return the faults that docstrings under `tests/` name, by the places of those docstrings."""
    paths = sorted((ROOT / "tests").rglob("*.py"))
    return {f"{path.relative_to(ROOT).as_posix()}::{name}": numbers for path in paths for name, numbers in _in(path)}


def _in(path: Path) -> Iterator[tuple[str, set[int]]]:
    text = path.read_text(encoding="utf-8")
    for node in ast.walk(ast.parse(text)) if NUMBER.search(text) else ():
        if isinstance(node, Documented) and (numbers := NUMBER.findall(ast.get_docstring(node) or "")):
            yield getattr(node, "name", ""), set(map(int, numbers))
