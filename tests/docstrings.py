"""The docstrings under `tests/`, and the ids of requirements and faults that they name."""

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[1]
ID = re.compile(r"(?<![\w+])[A-Z][0-9]+[a-z]?\b")
RULING = re.compile(r"[Rr]ulings? (F[0-9]+(?:(?:, | and )F[0-9]+)*)")

Documented = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Module


@cache
def named() -> dict[str, frozenset[str]]:
    """Return the ids that each docstring names, by its place: `tests/test_a.py::test_b`, or the file alone."""
    return {place: frozenset(ids) for place, text in _all().items() if (ids := ID.findall(text))}


def named_rulings() -> set[str]:
    """Return the rulings that docstrings name, by words such as `ruling F2`: a fault has such a number, too."""
    return {ruling for text in _all().values() for found in RULING.findall(text) for ruling in ID.findall(found)}


@cache
def _all() -> dict[str, str]:
    paths = sorted((ROOT / "tests").rglob("*.py"))
    return {place: text for path in paths for place, text in _in(path)}


def _in(path: Path) -> Iterator[tuple[str, str]]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, Documented) and (text := ast.get_docstring(node)):
            yield f"{path.relative_to(ROOT).as_posix()}::{getattr(node, 'name', '')}", text
