"""Embeddings through a gateway: they have no routes, and what the target says that they name is kept, and assembled."""

import json
from pathlib import Path
from typing import Any

from tests.cache.embedder import Embedder, answered
from tests.gateway.crossroads import Crossroads, crossroads, route


def at(tmp_path: Path) -> Any:
    return crossroads(tmp_path, {"cerebras": Embedder(), "groq": Embedder()}, route("cerebras/m", "groq/m"))


def test_the_answer_of_a_target_that_is_named_is_kept_and_divided(tmp_path: Path) -> None:
    """G25, T27."""
    here: Crossroads
    with at(tmp_path) as here:
        said = []
        for given in ("a", ["b"], ["b"], ["b", "a"]):
            body = {"model": "groq/m", "input": given}
            said.append(here.client.post(f"{here.url}/v1/embeddings", json=body, headers={"cachemw": "on"}))

        assert [len(tapped.passages) for tapped in here.providers.values()] == [0, 2]
        assert [passage.model for passage in here.providers["groq"].passages] == ["m", "m"]
        assert json.loads(said[-1].content) == answered({"input": ["b", "a"]})
        assert ["hit" in one.headers["cache-status"] for one in said] == [False, False, True, True]


def test_a_gateway_asks_its_targets_for_all_inputs(tmp_path: Path) -> None:
    """T27: whoever is asked in another's place is asked the same."""
    here: Crossroads
    with at(tmp_path) as here:
        for given in ("a", ["a", "b"]):
            body = {"model": "groq/m", "input": given}
            said = here.client.post(f"{here.url}/v1/embeddings", json=body, headers={"cachemw": "on, partial"})

        assert json.loads(said.content) == answered({"input": ["a", "b"]})
        assert "ignored-partial" in said.headers["cache-status"]
        assert [json.loads(one.body)["input"] for one in here.providers["groq"].passages] == ["a", ["a", "b"]]
