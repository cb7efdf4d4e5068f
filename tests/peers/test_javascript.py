"""JavaScript clients of today, through the proxy."""

from pathlib import Path
from typing import Literal

import pytest

from cachemw.simulator import Simulator
from tests.peers.asking import assert_the_second_time_is_the_first, cache_statuses, grounded
from tests.peers.environments import scripts_of_javascript

pytestmark = [pytest.mark.peers, pytest.mark.timeout(1200)]  # the first test installs the packages


SCRIPTS = [("openai.mjs", "openai"), ("ai.mjs", "openai"), ("cerebras.mjs", "cerebras"), ("anthropic.mjs", "anthropic")]


@pytest.mark.parametrize(("script", "dialect"), SCRIPTS)
def test_through_the_proxy_the_second_answer_is_a_hit(
    script: str, dialect: Literal["anthropic", "cerebras", "openai"], tmp_path: Path
) -> None:
    """S1, E3: JSON and streams, with a header that every client can send by default."""
    command = "node", scripts_of_javascript() / script
    with grounded(Simulator(dialect=dialect), tmp_path) as ground, ground.proxied() as url:
        twice = ground.ask_twice(*command, url)

    assert_the_second_time_is_the_first(twice)
    assert {status.get("fwd") for status in cache_statuses(twice.first)} == {"miss"}
    assert all(status["hit"] and 3000 < status["ttl"] <= 3600 for status in cache_statuses(twice.again))
