"""What SDKs raise where the provider fails: their own classes, whether its words are passed on or translated."""

import json
import subprocess
from pathlib import Path

import pytest

from cachemw.simulator import Simulator
from tests.peers.asking import PATIENCE, Ground, grounded
from tests.peers.environments import PEERS, python_of, scripts_of_javascript

pytestmark = [pytest.mark.peers, pytest.mark.timeout(1200)]  # the first test of a peer makes its environment

NATIVE = "anthropic:rate x1, anthropic:context x1, anthropic:overloaded x1, anthropic:mid-stream x1"
TRANSLATED = "cerebras:rate x1, cerebras:unsupported x1, status:529 x1, error:1 x1"
RAISED = [
    ("RateLimitError", 429, "rate_limit_error"),
    ("BadRequestError", 400, "invalid_request_error"),
    ("OverloadedError", 529, "overloaded_error"),
]


def raised(ground: Ground, command: tuple[object, ...]) -> list[list[object]]:
    """Return what a client raised of each answer."""
    arguments = [str(part) for part in command]
    done = subprocess.run(arguments, env=ground.environment, capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 0, done.stdout + done.stderr
    told: list[list[object]] = json.loads(done.stdout)
    return told


def command_in(language: str) -> tuple[object, Path]:
    if language == "javascript":
        return "node", scripts_of_javascript() / "errors.mjs"
    return python_of("anthropic"), PEERS / "anthropic" / "errors.py"


@pytest.mark.parametrize("language", ["python", "javascript"])
@pytest.mark.parametrize(
    ("upstream", "script"), [("anthropic", NATIVE), ("cerebras", TRANSLATED)], ids=["anthropic", "cerebras"]
)
def test_an_error_is_raised_as_the_class_of_the_sdk(upstream: str, script: str, language: str, tmp_path: Path) -> None:
    """E6: with a status and a type that programs go by, and words; a stream that breaks raises too."""
    simulator = Simulator(dialect=upstream, fail=script)
    with grounded(simulator, tmp_path) as ground, ground.proxied_before(upstream) as url:
        told = raised(ground, (*command_in(language), url))

    assert [tuple(error[:3]) for error in told[:3]] == RAISED
    assert all(error[3] for error in told)
    assert told[3][1] in (200, None)
    assert simulator.calls == len(told)
