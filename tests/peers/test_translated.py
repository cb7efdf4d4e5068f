"""Clients of one API before a provider that speaks only the other: their answers are translated, and cached as any."""

import re
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from cachemw.simulator import Simulator
from tests.peers.asking import Ground, Told, assert_the_second_time_is_the_first, cache_statuses, grounded
from tests.peers.environments import PEERS, python_of, scripts_of_javascript

pytestmark = [pytest.mark.peers, pytest.mark.timeout(1200)]  # the first test of a peer makes its environment

MESSAGES = ("anthropic/peer.py", "langchain/messages.py", "litellm/messages.py", "js/anthropic.mjs")
"""The clients of Anthropic's API."""
CHAT = ("openai/peer.py", "langchain/peer.py")

FIRST_COUNT = re.compile(r'^(\[\{.*?"input_tokens": ?)\d+')
"""The first count in what a client tells of a stream event by event."""


@dataclass(frozen=True, slots=True)
class Provider:
    """A provider, as `cachemw serve` is told of it, and the one endpoint at which it answers."""

    dialect: str
    upstream: str | None
    endpoint: str

    def proxied(self, ground: Ground) -> AbstractContextManager[str]:
        """Run the proxy before it."""
        if self.upstream is None:
            return ground.proxied("--speaks", self.endpoint)
        return ground.proxied_before(self.upstream)


CEREBRAS = Provider("cerebras", "cerebras", "chat")
CHAT_AT_URL = Provider("openai", None, "chat")
ANTHROPIC = Provider("anthropic", "anthropic", "messages")
MESSAGES_AT_URL = Provider("anthropic", None, "messages")

CASES = [
    *((client, CEREBRAS) for client in MESSAGES),
    *((client, ANTHROPIC) for client in CHAT),
    ("anthropic/peer.py", CHAT_AT_URL),
    ("openai/peer.py", MESSAGES_AT_URL),
]


def command_of(client: str) -> tuple[object, Path]:
    """Return how a client is run, whichever its language."""
    peer, _, script = client.partition("/")
    return ("node", scripts_of_javascript() / script) if peer == "js" else (python_of(peer), PEERS / client)


def but_for_its_begin(told: Told) -> Told:
    """Return what was told, but for the input of a stream's first event: nobody knows it until the provider's last one."""
    return {name: {**seen, "text": FIRST_COUNT.sub(r"\1", seen["text"], count=1)} for name, seen in told.items()}


@pytest.mark.parametrize(
    ("client", "provider"), CASES, ids=[f"{client}-{provider.upstream or provider.endpoint}" for client, provider in CASES]
)
def test_a_translated_answer_is_a_hit_the_second_time(client: str, provider: Provider, tmp_path: Path) -> None:
    """T5, T9, T22, T24: as the SDK reads JSON, streams, tools, thinking: nothing differs, not even an id or a signature."""
    simulator = Simulator(dialect=provider.dialect)
    with grounded(simulator, tmp_path) as ground, provider.proxied(ground) as url:
        twice = ground.ask_twice(*command_of(client), url)

    assert_the_second_time_is_the_first(
        replace(twice, first=but_for_its_begin(twice.first), again=but_for_its_begin(twice.again))
    )
    assert {call.endpoint for call in simulator.asked} == {provider.endpoint}
    assert {status.get("fwd") for status in cache_statuses(twice.first)} <= {"miss"}
    assert all(status["hit"] for status in cache_statuses(twice.again))
    assert twice.first["tool"]["calls"][:1] == ["get_weather"]
