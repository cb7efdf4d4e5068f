"""What imports what: the core cannot do I/O, and arrows point one way."""

import ast
import graphlib
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "cachemw"
MODULES = sorted(PACKAGE.rglob("*.py"))
CORE = [path for path in MODULES if path.is_relative_to(PACKAGE / "core")]

# The standard library's parts that neither read a clock nor open, wait for, or draw anything.
PURE = {
    *(
        "abc",
        "array",
        "base64",
        "binascii",
        "bisect",
        "collections",
        "collections.abc",
        "dataclasses",
        "decimal",
        "enum",
        "functools",
        "hashlib",
    ),
    *("heapq", "hmac", "ipaddress", "itertools", "json", "math", "operator", "re", "string", "struct", "types", "typing"),
    "zlib",
}
LIBRARIES = {"http_sf", "msgspec", "xxhash"}
DOES_IO = {"__import__", "breakpoint", "compile", "eval", "exec", "input", "open", "print"}

# What stands low may import these units besides itself; the mounts and what is above them may be imported from above alone.
BELOW = {
    "errors": set(),
    "core": {"errors"},
    "stores": {"core", "errors"},
    "upstreams": {"core", "errors"},
    "simulator": set(),
}
MOUNTS = {"asgi", "wsgi", "httpx", "httpx2", "proxy", "cli"}
ABOVE = {"proxy", "cli", "__main__"}


def name_of(path: Path) -> str:
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports_of(path: Path) -> Iterator[str]:
    """Yield every module a file imports, wherever in it; `from a import b` is `a.b` where that is a module of ours."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import"
            assert node.module is not None
            yield from (ours(node.module, alias.name) for alias in node.names)


def ours(module: str, name: str) -> str:
    place = PACKAGE.parent.joinpath(*module.split("."), name)
    return f"{module}.{name}" if place.with_suffix(".py").exists() or place.is_dir() else module


def unit_of(module: str) -> str:
    """Return the first name below the package; the package itself is the empty one."""
    return f"{module}.".split(".")[1]


UNITS = sorted({unit_of(name_of(path)) for path in MODULES} - {""})


def imported_by(unit: str) -> set[str]:
    """Return the other units of ours that a unit imports."""
    paths = [path for path in MODULES if unit_of(name_of(path)) == unit]
    modules = {module for path in paths for module in imports_of(path) if module.split(".")[0] == PACKAGE.name}
    return {unit_of(module) for module in modules} - {unit}


@pytest.mark.parametrize("path", CORE, ids=name_of)
def test_the_core_imports_nothing_that_could_do_anything(path: Path) -> None:
    allowed = PURE | LIBRARIES | {"cachemw.errors"}

    foreign = {name for name in imports_of(path) if name not in allowed and name.split(".")[:2] != ["cachemw", "core"]}

    assert foreign == set()


@pytest.mark.parametrize("path", CORE, ids=name_of)
def test_the_core_calls_no_built_in_that_does_anything(path: Path) -> None:
    names = {node.id for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, ast.Name)}

    assert names & DOES_IO == set()


def test_there_is_a_core_to_look_at() -> None:
    assert len(CORE) > 10
    assert {"core", "errors"} <= set(UNITS)


@pytest.mark.parametrize("unit", sorted(BELOW.keys() & set(UNITS)))
def test_what_stands_low_imports_only_what_stands_lower(unit: str) -> None:
    assert imported_by(unit) <= BELOW[unit]


@pytest.mark.parametrize("unit", [unit for unit in UNITS if unit not in ABOVE])
def test_nothing_below_a_mount_imports_it(unit: str) -> None:
    assert imported_by(unit) & MOUNTS == set()


@pytest.mark.parametrize("unit", [unit for unit in UNITS if unit != "cli"])
def test_nothing_within_imports_the_public_names(unit: str) -> None:
    assert "" not in imported_by(unit)


def test_arrows_point_one_way() -> None:
    graph = {unit: imported_by(unit) for unit in UNITS}

    assert list(graphlib.TopologicalSorter(graph).static_order())
