"""An agent's run, of the Anthropic SDK and a loop: it is asked for once, and then replayed with nobody to ask."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from cachemw.simulator import Simulator
from tests.peers.asking import grounded
from tests.peers.environments import PEERS, python_of

pytestmark = [pytest.mark.peers, pytest.mark.timeout(1200)]  # the first test of a peer makes its environment

CALLS = 4
"""Three turns with tools, and then text."""
REPLAY = "--default", "on, mode=replay"
MODELS = '[models]\n"claude-*" = "cerebras/gpt-oss-120b"\n'


@pytest.mark.parametrize("kind", [(), ("json",)], ids=["streamed", "JSON"])
@pytest.mark.parametrize("upstream", ["anthropic", "cerebras"])
def test_a_run_with_three_turns_of_tools_is_replayed_whole(upstream: str, kind: tuple[str, ...], tmp_path: Path) -> None:
    """T9: each answer is the same again, and so the next question is too; also where every one of them is translated."""
    command = python_of("anthropic"), PEERS / "anthropic" / "agent.py"
    (tmp_path / "cachemw.toml").write_text(MODELS)
    options = ("--config", tmp_path / "cachemw.toml") if upstream == "cerebras" else ()
    simulator = Simulator(dialect=upstream)
    with grounded(simulator, tmp_path) as ground, ground.proxied_before(upstream, "--default", "on", *options) as url:
        twice = ground.ask_twice(*command, url, *kind)
    with ground.proxied_before(upstream, *REPLAY, *options) as url:
        replayed = ground.ask_twice(*command, url, *kind)

    assert (twice.calls_first, twice.calls_again, simulator.calls) == (CALLS, 0, CALLS)
    assert twice.first == twice.again == replayed.first
    assert [turn["stop"] for turn in turns(twice.first)] == ["tool_use"] * (CALLS - 1) + ["end_turn"]


def test_a_run_in_streams_is_replayed_in_json(tmp_path: Path) -> None:
    """T9: the other kind of each answer says the same, down to ids and signatures, which stand in what is asked next."""
    command = python_of("anthropic"), PEERS / "anthropic" / "agent.py"
    simulator = Simulator(dialect="cerebras")
    with grounded(simulator, tmp_path) as ground, ground.proxied_before("cerebras", "--default", "on") as url:
        streamed = ground.ask_twice(*command, url)
        whole = ground.ask_twice(*command, url, "json")

    assert (streamed.calls_first, whole.calls_first) == (CALLS, 0)
    assert said(streamed.first) == said(whole.first)


def turns(told: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    listed: list[Mapping[str, Any]] = told["turns"]
    return listed


def said(told: Mapping[str, Any]) -> list[str]:
    """Return the content of each answer."""
    return [json.dumps(turn["answer"]["content"], sort_keys=True) for turn in turns(told)]
