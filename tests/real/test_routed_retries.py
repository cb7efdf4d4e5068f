"""The OpenAI SDK at its defaults, with every target failing: who is asked how often, and how long anybody sleeps."""

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest

from cachemw.simulator import Simulator
from tests.gateway.crossroads import Crossroads, crossroads, price, route
from tests.real.sdks import KEY
from tests.upstream import JSON, Told, Upstream, always

NAMES = ("cerebras", "groq", "openai")
LONGEST_RETRY = 60.0
"""The seconds that a client is asked to wait at most."""

COOLING = {
    "rate": "groq:rate",
    "a rate without a hint": "cerebras:tokens",
    "overload": "openai:overloaded",
    "a queue": "cerebras:queue",
    "quota, for a day": "cerebras:quota",
    "credits": "openai:insufficient_quota",
    "a payment": "cerebras:payment",
    "a bad key": "cerebras:key",
    "no such model": "groq:model",
    "503": "status:503",
}
"""What cools a target at once: where all do so, they are left alone after the first round."""

NOT_COOLING = {
    "500": "status:500",
    "an error page": "html:502",
    "an empty 500": "empty:500",
    "an error of a megabyte": "huge-error",
    "a cut": "cut:0",
    "a reset": "reset",
    "too large": "openai:too-large",
    "unsupported": "cerebras:unsupported",
    "refused": "openai:policy",
    "a bad tool call": "groq:tool-use",
    "408": "status:408",
    "409": "status:409",
    "400": "status:400",
}


class Skew:
    """A clock that is put forward in the place of sleeping."""

    def __init__(self) -> None:
        self.slept: list[float] = []

    def __call__(self) -> float:
        return time.monotonic() + sum(self.slept)


class Impatient(openai.OpenAI):
    """The SDK at its defaults, but that it puts a clock forward when it is to sleep."""

    clock: Skew

    def _calculate_retry_timeout(self, *arguments: Any, **options: Any) -> float:
        self.clock.slept.append(super()._calculate_retry_timeout(*arguments, **options))
        return 0.0


@contextlib.contextmanager
def all_failing(directory: Path, failure: str, count: int) -> Iterator[tuple[Crossroads, Impatient]]:
    """Give a route of so many targets which all fail so, and the SDK."""
    names = NAMES[:count]
    targets = [f"{name}/m" for name in names]
    providers = {name: Simulator(dialect=name, fail=failure) for name in names}
    with (
        crossroads(directory, providers, route(*targets) + price(*targets)) as here,
        Impatient(api_key=KEY, base_url=f"{here.url}/v1") as client,
    ):
        client.clock = Skew()
        here.standings._clock = here.gateway._planner._clock = client.clock
        yield here, client


def fail(client: openai.OpenAI, *, stream: bool) -> None:
    """Ask, and have it fail as SDKs say it."""
    with pytest.raises(openai.APIError):
        _ask(client, stream=stream)


def _ask(client: openai.OpenAI, *, stream: bool) -> None:
    messages: Any = [{"role": "user", "content": "hi"}]
    answer: Any = client.chat.completions.create(model="auto", messages=messages, stream=stream)
    assert list(answer if stream else ())


@pytest.mark.parametrize("stream", [False, True], ids=["JSON", "stream"])
@pytest.mark.parametrize("count", [1, 2, 3])
@pytest.mark.parametrize("failure", [*COOLING.values(), *NOT_COOLING.values()], ids=[*COOLING, *NOT_COOLING])
def test_nobody_is_asked_more_often_than_it_is_worth(failure: str, count: int, stream: bool, tmp_path: Path) -> None:
    """G24, E8: three tries of the SDK's are three rounds at most, however long it sleeps between them."""
    with all_failing(tmp_path, failure, count) as (here, client):
        assert client.max_retries == 2

        fail(client, stream=stream)

        assert len(here.proxy.chats) <= 3
        reopened = 3 if failure == "reset" else 0  # it might have been an old connection: the pool's affair (E8)
        assert sum(here.asked.values()) <= 3 * count + reopened
        assert all(seconds <= LONGEST_RETRY for seconds in client.clock.slept)


@pytest.mark.parametrize("stream", [False, True], ids=["JSON", "stream"])
@pytest.mark.parametrize("count", [1, 2, 3])
@pytest.mark.parametrize("failure", COOLING.values(), ids=COOLING)
def test_who_cools_is_left_alone(failure: str, count: int, stream: bool, tmp_path: Path) -> None:
    """G24: where the SDK comes again at once, and that it cools is known."""
    with all_failing(tmp_path, failure, count) as (here, client):
        here.standings._clock = here.gateway._planner._clock = time.monotonic

        fail(client, stream=stream)

        assert sum(here.asked.values()) <= count + 2


@pytest.mark.parametrize("hint", ["86399", "3000000", "Wed, 21 Oct 2099 07:28:00 GMT", "-5", "1e9", "soon"])
@pytest.mark.parametrize("status", [429, 503])
def test_a_hint_of_days_makes_nobody_sleep(status: int, hint: str, tmp_path: Path) -> None:
    """G12, G24: neither the gateway nor the SDK in front of it; what is absurd is no hint."""
    told = Told((b'{"error": {"message": "later"}}',), status, ((b"retry-after", hint.encode()), *JSON))
    targets = [f"{name}/m" for name in NAMES[:2]]
    with (
        crossroads(tmp_path, {name: Upstream(always(told)) for name in NAMES[:2]}, route(*targets)) as here,
        Impatient(api_key=KEY, base_url=f"{here.url}/v1") as client,
    ):
        client.clock = Skew()

        fail(client, stream=False)

        assert all(seconds <= LONGEST_RETRY for seconds in client.clock.slept)
        if hint == "86399":
            assert client.clock.slept == []


def test_who_does_not_retry_by_itself_has_the_only_target_asked_again(tmp_path: Path) -> None:
    """E8: where no other candidate is ready."""
    with crossroads(tmp_path, {"cerebras": Simulator(fail="status:500 x1")}, route("cerebras/m")) as here:
        assert here.ask().status_code == 200
        assert here.asked == {"cerebras": 2}
