"""Python clients of today, each in an environment of its own: through the proxy, and through a transport."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pytest

from cachemw.simulator import Simulator
from tests.peers.asking import assert_the_second_time_is_the_first, cache_statuses, grounded
from tests.peers.environments import PEERS, python_of

pytestmark = [pytest.mark.peers, pytest.mark.timeout(1200)]  # the first test of a peer makes its environment


@dataclass(frozen=True, slots=True)
class Client:
    """A client, and whose way of answering it is shown: of the chat dialects only OpenAI's has tool calls in pieces."""

    peer: str
    dialect: Literal["anthropic", "cerebras", "openai"] = "openai"
    script: str = "peer"

    def __str__(self) -> str:
        return self.peer if self.script == "peer" else f"{self.peer}-{self.script}"

    @property
    def kinds(self) -> frozenset[str]:
        """What kinds of answers it asks for."""
        return frozenset({"JSON"} if self.script == "embeddings" else {"JSON", "stream"})

    @property
    def command(self) -> tuple[Path, Path]:
        return python_of(self.peer), PEERS / self.peer / f"{self.script}.py"


WITH_TRANSPORT = (
    Client("openai"),
    Client("openai", script="endpoints"),
    Client("anthropic", "anthropic"),
    Client("cerebras", "cerebras"),
    Client("langchain"),
    Client("langchain", script="embeddings"),
    Client("llamaindex"),
    Client("llamaindex", script="embeddings"),
    Client("instructor"),
)
WITHOUT = (Client("langchain", "anthropic", "messages"), Client("litellm", "anthropic", "messages"))
"""Clients that take no transport."""


@pytest.mark.parametrize("client", [*WITH_TRANSPORT, *WITHOUT], ids=str)
def test_through_the_proxy_the_second_answer_is_a_hit(client: Client, tmp_path: Path) -> None:
    """S1, E3: with a header that every client can send by default, as `cachemw serve` answers it."""
    with grounded(Simulator(dialect=client.dialect), tmp_path) as ground, ground.proxied() as url:
        twice = ground.ask_twice(*client.command, url)

    assert_the_second_time_is_the_first(twice, kinds=client.kinds)
    assert {status.get("fwd") for status in cache_statuses(twice.first)} <= {"miss"}
    assert all(status["hit"] and 3000 < status["ttl"] <= 3600 for status in cache_statuses(twice.again))
    assert len(cache_statuses(twice.again)) == len(cache_statuses(twice.first))


@pytest.mark.parametrize("client", WITH_TRANSPORT, ids=str)
def test_through_a_transport_the_second_answer_is_a_hit(client: Client, tmp_path: Path) -> None:
    """S1, E4: no header is needed, and another process's store answers."""
    with grounded(Simulator(dialect=client.dialect), tmp_path) as ground:
        twice = ground.ask_twice(*client.command, ground.direct, tmp_path / "store")

    assert_the_second_time_is_the_first(twice, kinds=client.kinds)
    assert {name for name, seen in twice.first.items() if seen["hits"] != [False]} == set()
    assert {name for name, seen in twice.again.items() if seen["hits"] != [True]} == set()
