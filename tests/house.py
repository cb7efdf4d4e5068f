"""The house: which modules there are, what each imports, and what each is for."""

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

PACKAGE = Path(__file__).parents[1] / "cachemw"
MODULES = sorted(PACKAGE.rglob("*.py"))


def name_of(path: Path) -> str:
    """Return a module's dotted name; a package is named without its `__init__`."""
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def imports_of(path: Path) -> Iterator[str]:
    """Yield every module that a file imports, wherever in it; `from a import b` is `a.b` where that is a module of ours."""
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import"
            assert node.module is not None
            yield from (_ours(node.module, alias.name) for alias in node.names)


def _ours(module: str, name: str) -> str:
    place = PACKAGE.parent.joinpath(*module.split("."), name)
    return f"{module}.{name}" if place.with_suffix(".py").exists() or place.is_dir() else module


def purpose_of(path: Path) -> str:
    """Return the first sentence, or sentences, of a module's docstring."""
    return " ".join((ast.get_docstring(tree_of(path)) or "").split("\n\n")[0].split())


def table() -> Iterator[str]:
    """Every module and its purpose, as `docs/house.md` shows them."""
    yield "| module | purpose |"
    yield "|---|---|"
    for path in MODULES:
        yield f"| `{path.relative_to(PACKAGE.parent)}` | {purpose_of(path)} |"
