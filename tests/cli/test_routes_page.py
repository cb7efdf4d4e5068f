"""`docs/routes.md` and `docs/costs.md`: each file on them is read, and what they say of it is what the code has."""

import ast
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from cachemw.gateway.config import GATEWAY_TABLES, SETTINGS_TABLE
from cachemw.gateway.files import read_gateway
from cachemw.gateway.routes import GatewayConfig, HedgeEntry
from cachemw.gateway.wishes import InvalidWish, read_wishes
from tests.cli.command import Done
from tests.cli.test_check import findings
from tests.pages import DOCS, blocks

Here = Callable[..., Done]

PAGES = ("routes.md", "costs.md", "deploy.md", "anthropic.md")
FILES = [
    pytest.param(text, id=f"{page} {title}")
    for page in PAGES
    for title, text in blocks(page, "toml")
    if "[routes." in text or page != "deploy.md"
]
KEYS = {"CEREBRAS_API_KEY": "sk-c", "GROQ_API_KEY": "sk-g", "TEAM_OPENAI_KEY": "sk-o", "EVALS_KEY": "sk-of-evals"}
[WHOLE] = [text for title, text in blocks("routes.md", "toml") if title == "The file"]


def read(text: str, directory: Path) -> GatewayConfig:
    path = directory / "cachemw.toml"
    path.write_text(text)
    return read_gateway(str(path), KEYS, keyed={"alice"} & set(re.findall(r"clients\.([a-z]+)", text)))


@pytest.mark.parametrize("text", FILES)
def test_a_file_of_the_page_is_read(text: str, tmp_path: Path) -> None:
    """D2."""
    config = read(text, tmp_path)

    assert config.routes


def test_the_whole_file_has_every_table_and_means_what_is_said_of_it(tmp_path: Path) -> None:
    """D2."""
    config = read(WHOLE, tmp_path)

    assert set(re.findall(r"^\[([a-z]+)", WHOLE, re.MULTILINE)) == {SETTINGS_TABLE, *GATEWAY_TABLES}
    assert config.routes["auto"].hedge == HedgeEntry("p95", 0.05)
    assert config.routes["split"].weights == (3.0, 1.0)
    assert config.targets["local/gpt-oss-120b"].price is not None
    assert set(config.off) >= {"openrouter"}


def test_check_finds_nothing_wrong_with_the_whole_file(here: Here, tmp_path: Path) -> None:
    """F2: and says what the page says that it says."""
    path = tmp_path / "cachemw.toml"
    path.write_text(WHOLE)

    done = here("check", path, "--json", **KEYS)

    told = [text for state, text in findings(done)["routes"] if state == "ok"]
    assert done.returncode == 0
    assert without_prices(told[0].removesuffix(" -> ")) in without_prices(" ".join((DOCS / "routes.md").read_text().split()))


def without_prices(text: str) -> str:
    """Leave out what a new version of the tables may change."""
    return re.sub(r"\$[0-9.]+", "$", text)


@pytest.mark.parametrize("table", ["providers", "routes", "targets"])
def test_the_table_of_a_tables_members_has_them_all(table: str, tmp_path: Path) -> None:
    """D2: as the file's reader names them."""
    name = {"providers": "acme", "routes": "auto", "targets": "groq/x"}[table]
    path = tmp_path / "cachemw.toml"
    path.write_text(f'[{table}."{name}"]\nunheard_of = 1\n')
    with pytest.raises(Exception, match="unheard_of") as refused:
        read_gateway(str(path), KEYS)
    known = re.search(r"unknown; there may be ([a-z_, ]+)", str(refused.value))

    rows = (DOCS / "routes.md").read_text().split(f"| `[{table}.", 1)[1].split("\n\n", 1)[0]

    assert known is not None
    assert set(re.findall(r"^\| `([a-z_]+)` \|", rows, re.MULTILINE)) == set(known[1].split(", "))


def test_the_table_of_wishes_has_them_all() -> None:
    """E1."""
    unknown = read_wishes(((b"cachemw-route", b"unheard-of"),))
    rows = (DOCS / "routes.md").read_text().split("| member | takes | means |", 1)[1].split("\n\n", 1)[0]

    assert isinstance(unknown, InvalidWish)
    assert unknown.message.endswith(f"its members are {', '.join(re.findall(r'^[|] `([a-z-]+)` ', rows, re.MULTILINE))}")


@pytest.mark.parametrize("module", ["refusals", "plan", "budgets"])
def test_the_table_of_errors_has_every_code(module: str) -> None:
    """E1."""
    tree = ast.parse((DOCS.parent / f"cachemw/gateway/{module}.py").read_text())
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "Refusal"]
    given = [[*call.args[4:], *(keyword.value for keyword in call.keywords if keyword.arg == "code")] for call in calls]
    codes = {value.value for values in given for value in values if isinstance(value, ast.Constant)}
    rows = (DOCS / "routes.md").read_text().split("| status, `code` | when |", 1)[1].split("\n\n", 1)[0]

    assert len(codes) >= 3
    assert codes - set(re.findall(r"`([a-z_]+)`", rows)) == set()
