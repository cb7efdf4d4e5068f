"""The checked-in keys of calls at every provider, as its row has them sent: in its own dialect, and translated."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from cachemw.endpoints import ENDPOINTS
from cachemw.upstreams.providers import PROVIDERS
from tests.cache import golden_calls

ROOT = Path(__file__).parents[2]
VECTORS = golden_calls.call_vectors()
STREAMED = [vector for vector in VECTORS if vector["called"] in ("chat", "messages", "responses", "completions")]


def test_every_provider_is_asked_in_both_dialects_and_every_endpoint_has_a_key() -> None:
    """F5."""
    asked = {(vector["provider"], vector["path"]) for vector in VECTORS}
    translated = {vector["provider"] for vector in VECTORS if vector["called"] != vector["name"].partition(" ")[0]}

    assert asked >= {(name, path) for name in PROVIDERS for path in ("/v1/chat/completions", "/v1/messages")}
    assert translated == PROVIDERS.keys() - {"openrouter"}
    assert {vector["called"] for vector in VECTORS} == {endpoint.name for endpoint in ENDPOINTS}
    assert len({vector["proof"] for vector in VECTORS}) == len(VECTORS)


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["name"])
def test_a_checked_in_call_has_the_key_it_always_had(vector: dict[str, Any]) -> None:
    """F5, K4: where this fails, a translation or a row sends another request than before, and what is stored is lost."""
    key, called = golden_calls.key_of_call(vector)

    assert (called, key.index.hex(), key.proof.hex()) == (vector["called"], vector["index"], vector["proof"])


@pytest.mark.parametrize("vector", STREAMED, ids=lambda vector: vector["name"])
def test_a_stream_has_the_key_of_its_document(vector: dict[str, Any]) -> None:
    """K2: in a dialect that says of its streams how they are to be, too."""
    key, _ = golden_calls.key_of_call(vector, stream=True)

    assert key.proof.hex() == vector["proof"]


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["name"])
def test_another_model_is_another_key(vector: dict[str, Any]) -> None:
    key, _ = golden_calls.key_of_call(vector, model=vector["body"]["model"] + "-2")

    assert key.proof.hex() != vector["proof"]


@pytest.mark.parametrize("seed", ["1", "2", "3"])
def test_the_keys_of_calls_hold_in_every_process(seed: str) -> None:
    """K4."""
    command = [sys.executable, "-m", "tests.cache.golden_calls"]
    environment = os.environ | {"PYTHONHASHSEED": seed, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, check=True)

    assert json.loads(done.stdout) == [{name: vector[name] for name in ("index", "proof", "called")} for vector in VECTORS]
