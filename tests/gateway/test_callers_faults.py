"""Failures that a caller brings about by a field of its own: they say nothing of how others would fare."""

from pathlib import Path

import httpx
import pytest

from cachemw import MemoryStore, Policy
from cachemw.gateway.files import read_gateway
from cachemw.gateway.upstream import Gateway
from cachemw.proxy import Proxy
from cachemw.simulator import Simulator
from tests.serving import serving_in_thread

KEYS = {"CEREBRAS_API_KEY": "sk-c", "OPENAI_API_KEY": "sk-o", "GROQ_API_KEY": "sk-g"}
FAULTS = [
    ("cerebras", "cerebras:queue", "queue_threshold", "50"),
    ("openai", "openai:key", "openai-organization", "org-of-somebody"),
    ("openai", "openai:key", "openai-project", "proj-of-somebody"),
]


@pytest.mark.parametrize("is_sent", [True, False], ids=["with the field", "without it"])
@pytest.mark.parametrize(("provider", "failure", "name", "value"), FAULTS)
def test_only_who_sends_the_field_is_asked_elsewhere(
    provider: str, failure: str, name: str, value: str, is_sent: bool, tmp_path: Path
) -> None:
    """G8: what is the caller's own doing changes no health."""
    first, spare = Simulator(dialect=provider, fail=f"{failure} x1, ok"), Simulator(dialect="groq")
    with serving_in_thread(first) as one, serving_in_thread(spare) as other:
        path = tmp_path / "cachemw.toml"
        path.write_text(
            f'[providers.{provider}]\nbase_url = "{one}/v1"\n[providers.groq]\nbase_url = "{other}/v1"\n'
            f'[routes.auto]\ntargets = ["{provider}/m"]\nspares = ["groq/m"]\n'
        )
        gateway = Gateway(read_gateway(str(path), KEYS), environment=KEYS, credentials="pass")
        with serving_in_thread(Proxy(gateway=gateway, store=MemoryStore(), policy=Policy())) as url:
            told = [ask(url, headers) for headers in ({name: value} if is_sent else {}, {})]

    assert told == ["groq/m", f"{provider}/m" if is_sent else "groq/m"]


def ask(url: str, headers: dict[str, str]) -> str:
    """Return who answered."""
    body = {"model": "auto", "messages": [{"role": "user", "content": "hello"}]}
    response = httpx.post(f"{url}/v1/chat/completions", json=body, headers=headers, trust_env=False)
    return response.headers["cachemw-route"].partition('by="')[2].partition('"')[0]
