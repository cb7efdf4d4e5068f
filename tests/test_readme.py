"""The README and `docs/` say what is true, and their tables are those of the code."""

import ast
import re
from pathlib import Path
from typing import Any

import pytest
import typer

from cachemw import Limits, Policy
from cachemw._transport_request import EDGE_COOKIES
from cachemw.cli.app import app
from cachemw.endpoints import ENDPOINTS
from cachemw.endpoints.base import Place
from cachemw.endpoints.chat.request import SHAPE
from cachemw.limits import STORE_BYTES
from cachemw.upstreams.providers import PROVIDERS
from tests.documented import TABLES

ROOT = Path(__file__).parent.parent
README = "".join(path.read_text() for path in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))))
"""The README, and the pages it leads to."""


def words(text: str) -> set[str]:
    return set(re.findall(r"`([^`]+)`", text))


def between(start: str, end: str) -> str:
    return README.split(start, 1)[1].split(end, 1)[0]


def cells(head: str, end: str) -> list[list[str]]:
    """Return the cells of the rows of the table that begins so."""
    rows = re.findall(r"^\| (`?[a-z0-9].*) \|$", between(head, end), re.MULTILINE)
    return [[cell.strip() for cell in row.split(" | ")] for row in rows]


DETAILS = cells("| `detail` | meaning | what to do |", "A stream's head leaves")
"""The table of `docs/cache-status.md`."""


def details_in_the_code() -> set[str]:
    """Return every string in the core that is passed on as a detail: hyphenated words and the few that are not."""
    found: set[str] = set()
    for path in (ROOT / "cachemw").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.add(node.value)
    return found


def test_every_detail_of_the_table_is_one_of_the_codes() -> None:
    """E1."""
    told = {word for row in DETAILS for word in words(row[0])}

    known = details_in_the_code()

    assert {word for word in told if word.removesuffix("…") not in known} == set()
    assert len(told) >= 45


def test_the_table_of_details_says_of_each_what_to_do() -> None:
    """E1: in alphabetical order."""
    assert [row for row in DETAILS if len(row) != 3 or not all(row)] == []
    assert [row[0] for row in DETAILS] == sorted(row[0] for row in DETAILS)


def test_the_picture_of_what_is_cached_names_details_of_the_table() -> None:
    """E1."""
    told = {word for row in DETAILS for word in words(row[0])}
    lines = re.findall(r'class="m" x="412"[^>]*>([^<]+)<', (ROOT / "docs/img/cached.svg").read_text())
    named = {word.partition(",")[0] for line in lines for word in line.split(" · ")}

    assert named - told == {"collapsed"}  # which is no detail
    assert len(named) > 10


def test_the_table_of_errors_has_every_code() -> None:
    """E1."""
    told = {word for row in cells("| status, `code` |", "A stream that breaks off ends") for word in words(row[0])}
    code = re.compile(r"[a-z]+(_[a-z]+)+|busy")
    tree = ast.parse((ROOT / "cachemw/endpoints/errors.py").read_text())
    strings = {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)}

    assert {text for text in strings if code.fullmatch(text)} - NOT_CODES == told


NOT_CODES = {
    *("cachemw_error", "invalid_request_error", "status_code"),
    *("authentication_error", "billing_error", "permission_error", "not_found_error", "rate_limit_error", "overloaded_error"),
    *("timeout_error", "api_error"),
}


@pytest.mark.parametrize(
    "module",
    [
        "endpoints/chat/request",
        "endpoints/chat/judge",
        "endpoints/chat/transcode/reading",
        "endpoints/anthropic/request",
        "endpoints/anthropic/judge",
        "endpoints/anthropic/blocks",
        "endpoints/responses/request",
        "endpoints/responses/judge",
        "endpoints/deriving",
        "wire/strict_json",
        "cache/authors",
        "cache/exchange",
        "cache/classify",
        "cache/lookup",
        "cache/passing",
        "cache/presentation",
        "cache/recording",
        "cache/live_response",
        "flights/pulled",
        "drivers/pull",
    ],
)
def test_every_detail_the_code_gives_is_in_the_table(module: str) -> None:
    """E1: what looks like a detail in the modules that give them is told in the table."""
    told = {word for row in DETAILS for word in words(row[0])}
    tree = ast.parse((ROOT / f"cachemw/{module}.py").read_text())
    strings = {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)}
    details = {text for text in strings if re.fullmatch(r"[a-z]+(-[a-z0-9]+)+", text)}

    assert details - told - NOT_DETAILS == set()


NOT_DETAILS = {"finish-other", "content-type", "content-encoding"}


@pytest.mark.parametrize(("page", "table"), [(page, table) for page, tables in TABLES.items() for table in tables])
def test_the_tables_of_what_counts_are_those_of_the_code(page: str, table: str) -> None:
    """K1, I9, I10: `python -m tests.documented` prints them."""
    assert table in (ROOT / page).read_text()


def test_what_is_left_out_of_every_body_is_said() -> None:
    """K1."""
    assert words(between("- how the answer travels:", "\n")) == SHAPE.named(Place.TRANSPORT)


def test_the_cookies_of_an_upstreams_edge_are_those_of_the_documentation() -> None:
    """K1."""
    line = between("those of an upstream's edge (", ")")

    assert words(line) == {name.decode() for name in EDGE_COOKIES}


def test_figures_and_providers_are_those_of_the_code() -> None:
    """D7."""
    assert f"`DiskStore()` | a database of {STORE_BYTES // 2**30} GiB" in README
    assert f"request's body is over {Policy().max_request_bytes // 2**20} MiB" in README
    assert f"over {Policy().max_record_bytes // 2**20} MiB" in README
    assert f"in progress hold {Limits().flight_bytes // 2**20} MiB already" in README
    assert f"At most {Limits().detached} are read on at once" in " ".join(README.split())
    assert f"read to its end, {Limits().abandon_grace:.0f} s at most" in " ".join(README.split())
    assert all(f"`{name}`" in README for name in PROVIDERS)
    assert ("[Eight endpoints](docs/endpoints.md)" in README) is (len(ENDPOINTS) == 8)


OTHER_OPTIONS = {"--cachemw", "--block-network", "--peers", "--records"}
"""Options of other programs: pytest, and our benchmarks."""

NO_OPTION = {"--mine"}
"""What the pages say that there is not."""


def options() -> set[str]:
    """Return the options of every command."""
    command: Any = typer.main.get_command(app)
    return {option for each in command.commands.values() for parameter in each.params for option in parameter.opts}


def test_every_option_that_is_named_there_is() -> None:
    """F20."""
    named = set(re.findall(r"`(--[a-z-]+)[^`\n]*`", README)) | set(re.findall(r"cachemw serve (--[a-z-]+)", README))

    assert named - options() - OTHER_OPTIONS == NO_OPTION
