"""The docstrings under `tests/`, and the ids of requirements and faults that they name."""

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[1]
ID = re.compile(r"(?<![\w+])[A-Z][0-9]+[a-z]?\b")

Documented = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Module


@cache
def named() -> dict[str, frozenset[str]]:
    """Return the ids that each docstring names, by its place: `tests/test_a.py::test_b`, or the file alone."""
    paths = sorted((ROOT / "tests").rglob("*.py"))
    return {place: ids for path in paths for place, ids in _in(path)}


def _in(path: Path) -> Iterator[tuple[str, frozenset[str]]]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, Documented) and (ids := ID.findall(ast.get_docstring(node) or "")):
            yield f"{path.relative_to(ROOT).as_posix()}::{getattr(node, 'name', '')}", frozenset(ids)
