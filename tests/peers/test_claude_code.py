"""Claude Code, with no network but its own: a run is asked for once, and then replayed with nobody to ask."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.pages import ADDRESS
from tests.peers.environments import PEERS, ROOT, InstallationError, claude_code

pytestmark = [pytest.mark.peers, pytest.mark.timeout(1200)]  # the first test installs it

Plan = dict[str, Any]

ALONE = "unshare", "-rn"
"""Runs a command in a network that has nothing but a loopback, which is down."""
PATIENCE = 300.0
QUESTION = "Why is the sky blue? [tools Read, Bash, Write x1]"
COMMAND = f"ANTHROPIC_BASE_URL={ADDRESS} ANTHROPIC_API_KEY=cachemw claude -p '{QUESTION}' --output-format json"
TURNS = 3
MODELS = '[models]\n"claude-*" = "cerebras/gpt-oss-120b"\n'
VARYING = {"session_id", "uuid", "total_cost_usd", "modelUsage", "permission_denials"}
"""What Claude Code makes up anew each time, or reckons by its own list of prices; the calls that it denies have our ids."""

NATIVE: Plan = {"dialect": "anthropic", "upstream": "anthropic", "options": []}
AT_URL: Plan = {"dialect": "anthropic", "upstream": "", "options": ["--bookkeeping", "metadata"]}
TRANSLATED: Plan = {"dialect": "cerebras", "upstream": "cerebras", "options": ["--config", "cachemw.toml"]}
BY_FIELD: Plan = NATIVE | {"default": "off", "command": f"ANTHROPIC_CUSTOM_HEADERS='Cachemw: on' {COMMAND}"}


def runs(plan: Plan, directory: Path, models: str = MODELS) -> list[dict[str, Any]]:
    """Return what three runs said and asked; skip the test where there is no program, or no network of its own to run it in."""
    try:
        program = claude_code()
    except InstallationError as exc:
        pytest.skip(f"the packages are not to be had: {exc}")
    skip_without_a_network_of_its_own()
    (directory / "cachemw.toml").write_text(models)
    whole = {"program": str(program), "command": COMMAND, "default": "on"} | plan
    command = [*ALONE, sys.executable, str(PEERS / "claude" / "run.py"), str(directory), json.dumps(whole)]
    done = subprocess.run(
        command,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)},
        cwd=directory,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    told: list[dict[str, Any]] = json.loads(done.stdout)
    return told


def skip_without_a_network_of_its_own() -> None:
    try:
        subprocess.run([*ALONE, "true"], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as exc:
        pytest.skip(f"a program cannot be given a network of its own: {exc}")


def lasting(said: str) -> Mapping[str, Any]:
    """Return what a run came to, but for what differs with every run: names of it, and how long it took."""
    result: dict[str, Any] = json.loads(said)
    return {name: value for name, value in result.items() if name not in VARYING and not name.endswith("_ms")}


@pytest.mark.parametrize("plan", [NATIVE, AT_URL, TRANSLATED], ids=["anthropic", "url", "cerebras"])
def test_a_run_with_three_turns_of_tools_is_replayed_whole(plan: Plan, tmp_path: Path) -> None:
    """T9, T14, T15, F7: each of its calls was a hit the second time, and the third time, when there was nobody to ask."""
    first, again, replayed = runs(plan, tmp_path)

    assert [told["calls"] for told in (first, again, replayed)] == [TURNS + 1, 0, 0]
    assert lasting(first["said"]) == lasting(again["said"]) == lasting(replayed["said"])
    assert lasting(first["said"])["stop_reason"] == "end_turn"
    assert lasting(first["said"])["num_turns"] > TURNS


def test_a_field_of_its_own_opts_a_run_in(tmp_path: Path) -> None:
    """E3: where the proxy caches nothing by default."""
    first, again, _ = runs(BY_FIELD, tmp_path)

    assert (first["calls"], again["calls"]) == (TURNS + 1, 0)
