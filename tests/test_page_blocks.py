"""Every block of Python on the pages runs; `docs/clients.md` has its own test, with the clients that it is about."""

import importlib.util
from pathlib import Path
from typing import Any

import pytest

from cachemw import Policy
from cachemw.simulator import Simulator
from tests.pages import DOCS, blocks
from tests.serving import serving_in_thread
from tests.upstream import prompt

ELSEWHERE = {"clients.md": "tests/peers/test_clients_page.py"}
"""The pages whose blocks are run by another test."""
PYTHON = [
    pytest.param(page.name, title, code, id=f"{page.name} {title} {number}")
    for page in sorted(DOCS.glob("*.md"))
    if page.name not in ELSEWHERE
    for number, (title, code) in enumerate(blocks(page.name, "python"))
]


@pytest.mark.parametrize(("page", "title", "code"), PYTHON)
def test_a_block_of_a_page_runs(page: str, title: str, code: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It makes what the text around it names; whatever needs a package that is not here is skipped, and said."""
    for name in _imported(code):
        if not _is_there(name):
            pytest.skip(f"there is no {name}")
    names = {"HOME": tmp_path, "XDG_CACHE_HOME": tmp_path / "cache", "OPENAI_API_KEY": "k", "CEREBRAS_API_KEY": "k"}
    for name, value in names.items():
        monkeypatch.setenv(name, str(value))
    monkeypatch.delenv("CI", raising=False)  # where it is set, the page's cassette replays what nobody has recorded
    monkeypatch.chdir(tmp_path)
    (tmp_path / "cachemw.toml").write_text(blocks("routes.md", "toml")[0][1])

    made = run(code, page)

    assert set(made) - {"__name__", "__builtins__"}, title


def run(code: str, page: str) -> dict[str, Any]:
    names: dict[str, Any] = {"__name__": "page"}
    exec(compile(code, page, "exec"), names)
    return names


def _imported(code: str) -> set[str]:
    """Return the modules that a block imports, but for those of Python's that are always there."""
    lines = (line.split() for line in code.splitlines())
    return {words[1] for words in lines if len(words) > 1 and words[0] in ("from", "import")}


def _is_there(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:
        return False


def test_the_policy_of_ones_own_paths_has_them() -> None:
    [code] = [code for title, code in blocks("middleware.md", "python") if title == "Your own paths"]
    policy: Policy = run(code, "middleware.md")["policy"]

    assert policy.paths == ("/chat/completions", "/api/ask")


def test_the_flask_app_asks_the_provider_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """H7."""
    [code] = [code for title, code in blocks("middleware.md", "python") if title == "Flask" and "upstream" in code]
    simulator = Simulator()
    with serving_in_thread(simulator) as provider:
        names = {"HOME": tmp_path, "XDG_CACHE_HOME": tmp_path / "cache"}
        for name, value in {**names, "CEREBRAS_BASE_URL": provider, "CEREBRAS_API_KEY": "k"}.items():
            monkeypatch.setenv(name, str(value))
        app = run(code, "middleware.md")["app"]
        send = {"data": prompt(), "content_type": "application/json", "headers": {"Cachemw": "on"}}
        first, again = (app.test_client().post("/v1/chat/completions", **send) for _ in range(2))
        app.wsgi_app.close()

    assert (first.status_code, first.data) == (200, again.data)
    assert simulator.calls == 1


def test_links_between_pages_lead_somewhere() -> None:
    """Also those to a section."""
    broken = [
        f"{page.name}: {link}"
        for page in (*sorted(DOCS.glob("*.md")), *sorted(DOCS.parent.glob("*.md")))
        for link in _links(page.read_text())
        if not _leads_somewhere(page, link)
    ]

    assert broken == []


def _links(text: str) -> list[str]:
    found = (piece.split(")")[0] for piece in text.split("](")[1:])
    return [link for link in found if "://" not in link]


def _leads_somewhere(page: Path, link: str) -> bool:
    path, _, section = link.partition("#")
    target = (page.parent / path).resolve() if path else page
    return target.exists() and (not section or section in _anchors(target.read_text()))


def _anchors(text: str) -> set[str]:
    """Return the names that GitHub gives to titles."""
    titles = (line.lstrip("#").strip().lower() for line in text.splitlines() if line.startswith("#"))
    kept = ("".join(c for c in title if c.isalnum() or c in " -_") for title in titles)
    return {title.replace(" ", "-") for title in kept}
