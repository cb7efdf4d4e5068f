"""Every snippet of `docs/clients.md`, with the client that it is about: a miss, then a hit."""

import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

from cachemw.simulator import Simulator
from tests.pages import ADDRESS, blocks
from tests.peers.asking import Ground, grounded
from tests.peers.environments import InstallationError, python_of, scripts_of_javascript
from tests.peers.test_claude_code import runs

PAGE = "clients.md"
PATIENCE = 120.0
PEERS: Mapping[str, str] = {
    "OpenAI SDK for Python": "openai",
    "Anthropic SDK for Python": "anthropic",
    "Cerebras SDK": "cerebras",
    "LangChain": "langchain",
    "LlamaIndex": "llamaindex",
    "pydantic-ai": "pydanticai",
    "Instructor": "instructor",
    "OpenAI Agents SDK": "agents",
    "LiteLLM": "litellm",
}
"""Whose environment the Python of a section runs in."""

peers = [pytest.mark.peers, pytest.mark.timeout(1200)]  # the first test of a peer makes its environment


def snippets(language: str) -> list[object]:
    found = blocks(PAGE, language)
    return [pytest.param(title, code, id=f"{title} {number}", marks=peers) for number, (title, code) in enumerate(found)]


def test_every_python_snippet_has_an_environment() -> None:
    assert {title for title, _ in blocks(PAGE, "python")} == set(PEERS)


@pytest.mark.parametrize(("title", "code"), snippets("python"))
def test_the_second_run_of_a_python_snippet_is_a_hit(title: str, code: str, tmp_path: Path) -> None:
    """D4."""
    command = str(python_or_skip(PEERS[title])), "-c"

    assert_hits_when_run_again(tmp_path, command, code)


@pytest.mark.parametrize(("title", "code"), snippets("javascript"))
def test_the_second_run_of_a_javascript_snippet_is_a_hit(title: str, code: str, tmp_path: Path) -> None:
    """D4."""
    try:
        directory = scripts_of_javascript()
    except InstallationError as exc:
        pytest.skip(f"the packages are not to be had: {exc}")

    assert_hits_when_run_again(tmp_path, ("node", "--input-type=module", "-e"), code, directory)


@pytest.mark.peers
@pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl command")
def test_the_second_run_of_curl_is_a_hit(tmp_path: Path) -> None:
    """D4: and it prints what the page shows."""
    [code] = [code for title, code in blocks(PAGE, "sh") if title == "curl"]
    [shown] = [code for title, code in blocks(PAGE, "text") if title == "curl"]
    with grounded(Simulator(), tmp_path) as ground, ground.proxied() as url:
        told = [run(("sh", "-c"), code.replace(ADDRESS, url), ground) for _ in range(2)]

    assert without_figures("".join(told)) == without_figures(shown)


@pytest.mark.peers
@pytest.mark.timeout(1200)
def test_the_second_run_of_llm_is_a_hit(tmp_path: Path) -> None:
    """D4: with the model that the page adds."""
    [models] = [code for title, code in blocks(PAGE, "yaml") if title == "llm"]
    [commands] = [code for title, code in blocks(PAGE, "sh") if title == "llm"]
    scripts = python_or_skip("llm").parent

    def prepare(url: str) -> None:
        (tmp_path / "extra-openai-models.yaml").write_text(models.replace(ADDRESS, url))

    variables = {"LLM_USER_PATH": str(tmp_path), "PATH": f"{scripts}:{os.environ['PATH']}"}
    with grounded(Simulator(), tmp_path) as ground, ground.proxied() as url:
        prepare(url)
        told = [run(("sh", "-c"), commands, ground, variables=variables) for _ in range(2)]
        calls = ground.simulator.calls

    assert told[0] == told[1] != ""
    assert calls == 1


@pytest.mark.peers
@pytest.mark.timeout(1200)
def test_the_second_run_of_aider_is_a_hit(tmp_path: Path) -> None:
    """F13, D4: it sends no header of ours, and the proxy caches by default."""
    serve, aider = (code.splitlines() for title, code in blocks(PAGE, "sh") if title == "Clients that send no headers")
    [command] = aider
    batch = f"{command} --yes-always --no-git --no-analytics --no-check-update --no-show-model-warnings --message hi"
    variables = {"PATH": f"{python_or_skip('aider').parent}:{os.environ['PATH']}"}
    with grounded(Simulator(), tmp_path) as ground, ground.proxied(*serve[0].split()[2:]) as url:
        for _ in range(2):
            run(("sh", "-c"), batch.replace(ADDRESS, url), ground, variables=variables)

    assert ground.simulator.calls == 1


@pytest.mark.peers
@pytest.mark.timeout(1200)
def test_the_second_run_of_claude_code_is_a_hit(tmp_path: Path) -> None:
    """D4: as the page starts the proxy and the program, Cerebras being the one who answers."""
    [models] = [code for title, code in blocks(PAGE, "toml") if title == "Claude Code"]
    serve, command, _ = [code for title, code in blocks(PAGE, "sh") if title == "Claude Code"]
    _, _, *options = serve.split()
    plan = {"command": command, "dialect": "cerebras", "upstream": "cerebras", "options": options[2:], "default": options[1]}

    first, again, replayed = runs(plan, tmp_path, models)

    assert first["said"] == again["said"] == replayed["said"] != ""
    assert (first["calls"] >= 1, again["calls"]) == (True, 0)


def assert_hits_when_run_again(tmp_path: Path, command: tuple[str, ...], code: str, directory: Path | None = None) -> None:
    """Run a snippet twice; the second time must say the same, and ask nobody."""
    assert ADDRESS in code
    with grounded(Simulator(), tmp_path) as ground, ground.proxied() as url:
        first = run(command, code.replace(ADDRESS, url), ground, directory)
        calls = ground.simulator.calls
        again = run(command, code.replace(ADDRESS, url), ground, directory)

    assert first == again != ""
    assert ground.simulator.calls == calls >= 1


def run(
    command: tuple[str, ...],
    code: str,
    ground: Ground,
    directory: Path | None = None,
    variables: Mapping[str, str] | None = None,
) -> str:
    """Run a snippet to its end; return what it says."""
    done = subprocess.run(
        [*command, code],
        cwd=directory or ground.directory,
        env={**ground.environment, **(variables or {})},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def python_or_skip(peer: str) -> Path:
    """Return the Python of a peer; skip the test where its packages are not to be had."""
    try:
        return python_of(peer)
    except InstallationError as exc:
        pytest.skip(f"the packages are not to be had: {exc}")


def without_figures(text: str) -> str:
    """Return what was printed, but for keys, seconds and the ends of lines."""
    text = re.sub(r'key="[0-9a-f]{32}"', "key", text.replace("\r\n", "\n"))
    return re.sub(r"ttl=\d+", "ttl", text)
