"""The walls and rooms of the house: what decides cannot do I/O, imports point one way, and one subject is one file."""

import ast
import graphlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.house import MODULES, PACKAGE, imports_of, name_of, purpose_of, table, tree_of

PURE_PACKAGES = ("cachemw.wire", "cachemw.endpoints", "cachemw.translation", "cachemw.cache")
PURE_MODULES = {
    *("cachemw.errors", "cachemw.messages", "cachemw.report", "cachemw.limits", "cachemw.redaction", "cachemw.toml"),
    *("cachemw.money", "cachemw.routing"),
    *("cachemw.formats", "cachemw.proxy.admission", "cachemw.proxy.lending"),
    *("cachemw.inventory.admitting", "cachemw.inventory.batches", "cachemw.inventory.drift"),
    *("cachemw.inventory.entry", "cachemw.inventory.filters", "cachemw.inventory.answers", "cachemw.inventory.survey"),
    *(
        "cachemw.ledger.changes",
        "cachemw.ledger.meanings",
        "cachemw.ledger.schema",
        "cachemw.ledger.row",
        "cachemw.ledger.reasons",
        "cachemw.ledger.habits",
        "cachemw.stores.file.form",
    ),
    *("cachemw.metrics.table", "cachemw.metrics.words", "cachemw.metrics.sums", "cachemw.metrics.counting"),
    *("cachemw.page.admission", "cachemw.page.charts", "cachemw.page.figures", "cachemw.page.spans"),
    *("cachemw.drivers.pull", "cachemw.drivers.pull_effects", "cachemw.flights.pulled"),
}
GATEWAY = "cachemw.gateway."
DOES = frozenset(
    "accounts contacts desk estimates fallback files gateway_desk model_list planning price_tables race repeats standings"
    " upstream".split()
)
"""The modules of the gateway that do; all others decide."""


def is_pure(path: Path) -> bool:
    name = name_of(path)
    if name.startswith(GATEWAY):
        return name.removeprefix(GATEWAY) not in DOES
    return name in PURE_MODULES or name.startswith(PURE_PACKAGES)


PURE = [path for path in MODULES if is_pure(path)]

# The standard library's parts that neither read a clock nor open, wait for, or draw anything.
STANDARD = set(
    "abc array base64 binascii bisect collections collections.abc contextlib dataclasses decimal enum functools hashlib heapq"
    " hmac ipaddress itertools json math operator re string struct types typing zlib datetime difflib fnmatch tomllib".split()
)
LIBRARIES = {"blake3", "http_sf", "msgspec", "msgspec.structs", "xxhash"}
DOES_IO = {"__import__", "breakpoint", "compile", "eval", "exec", "input", "open", "print"}

# From the ground up. A module may import from its own layer, and from those named before it.
LAYERS = (
    ("errors", "redaction", "toml", "limits", "messages", "money", "routing", "report", "budget"),
    ("wire",),
    ("endpoints",),
    ("translation",),
    ("cache",),
    ("formats",),
    ("stores", "upstreams"),
    ("ledger", "metrics"),
    ("inventory",),
    ("gateway",),
    ("flights",),
    ("drivers",),
    ("_asgi_scope", "_transport", "_transport_request", "_wsgi_environ", "asgi", "wsgi", "httpx", "httpx2"),
    ("sdk", "otel"),
    ("cassette",),
    ("pytest_plugin",),
    ("simulator",),
    ("proxy",),
    ("page",),
    ("page",),
    ("",),  # the public names, which only the command line reads
    ("cli",),
    ("__main__",),
)
HEIGHT = {unit: height for height, layer in enumerate(LAYERS) for unit in layer}
STANDS_ALONE = {"simulator"}

LONGEST_FILE = 400
LONGEST_FUNCTION = 40


def unit_of(module: str) -> str:
    """Return the first name below the package; the package itself is the empty one."""
    return f"{module}.".split(".")[1]


def ours_of(path: Path) -> set[str]:
    return {module for module in imports_of(path) if module.split(".")[0] == PACKAGE.name}


@pytest.mark.parametrize("path", PURE, ids=name_of)
def test_what_decides_imports_nothing_that_could_do_anything(path: Path) -> None:
    pure = {name_of(other) for other in PURE}

    assert set(imports_of(path)) <= STANDARD | LIBRARIES | pure


@pytest.mark.parametrize("path", PURE, ids=name_of)
def test_what_decides_calls_no_built_in_that_does_anything(path: Path) -> None:
    names = {node.id for node in ast.walk(tree_of(path)) if isinstance(node, ast.Name)}

    assert names & DOES_IO == set()


def test_there_is_something_that_decides() -> None:
    found = {name_of(path) for path in PURE}

    assert found >= PURE_MODULES
    assert all(sum(name.startswith(package) for name in found) > 3 for package in PURE_PACKAGES)


@pytest.mark.parametrize("path", [path for path in MODULES if name_of(path) != "cachemw"], ids=name_of)
def test_imports_point_down(path: Path) -> None:
    unit = unit_of(name_of(path))

    assert all(HEIGHT[imported] <= HEIGHT[unit] for imported in map(unit_of, ours_of(path)))
    assert unit not in STANDS_ALONE or {unit_of(module) for module in ours_of(path)} <= {unit}


def test_no_modules_import_each_other_in_a_circle() -> None:
    graph = {name_of(path): ours_of(path) - {name_of(path)} for path in MODULES}

    assert list(graphlib.TopologicalSorter(graph).static_order())


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_a_file_is_read_in_one_go(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= LONGEST_FILE
    assert [name for name, lines in functions_of(path) if lines > LONGEST_FUNCTION] == []


def functions_of(path: Path) -> Iterator[tuple[str, int]]:
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert node.end_lineno is not None
            yield node.name, node.end_lineno - node.lineno + 1


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_a_module_says_what_it_is_for(path: Path) -> None:
    assert purpose_of(path).endswith((".", "`."))


def test_the_documentation_has_every_module() -> None:
    """`python -m tests.documented` prints the table."""
    assert "\n".join(table()) in (PACKAGE.parent / "docs" / "house.md").read_text()


SAME_NAME_ONE_MEANING = {
    "CacheMiddleware": "the mount, for ASGI and for WSGI",
    "CacheTransport": "the mount, for httpx and for httpx2",
    "AsyncCacheTransport": "the mount, for httpx and for httpx2",
}


def test_a_public_name_has_one_meaning() -> None:
    homes: dict[str, list[str]] = {}
    for path in MODULES:
        for name in public_names(path):
            homes.setdefault(name, []).append(name_of(path))

    assert {name: where for name, where in homes.items() if len(where) > 1 and name not in SAME_NAME_ONE_MEANING} == {}


def public_names(path: Path) -> Iterator[str]:
    """Yield the classes, type names and constants that a module defines; functions are named with their module."""
    for node in tree_of(path).body:
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            yield node.name
        elif isinstance(node, ast.Assign):
            yield from (n.id for n in node.targets if isinstance(n, ast.Name) and n.id[0].isupper() and len(n.id) > 1)
