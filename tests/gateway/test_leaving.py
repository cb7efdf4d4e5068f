"""Clients that leave a routed request, and answers that break off after they have begun: what providers see of it."""

import contextlib
import json
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from cachemw import Policy
from cachemw.gateway.health import Health
from cachemw.gateway.planning import OPERATORS_KEY
from cachemw.simulator import Simulator
from tests.gateway.crossroads import MESSAGES, ON, PATIENCE, Crossroads, author, crossroads, price, route, told

FIRST, SECOND = "cerebras/m", "groq/m"
KINDS = [pytest.param({}, id="JSON"), pytest.param({"stream": True}, id="stream")]
CANCEL = Policy(default="on", on_abandon="cancel")

HELD_BACK: dict[str, tuple[str, str, str, dict[str, int]]] = {
    "the first is silent": ("", "silent", "silent", {"cerebras": 1, "groq": 0}),
    "the first is silent after its head": ("", "stall:0", "silent", {"cerebras": 1, "groq": 0}),
    "the second is silent": ("", "status:503", "silent", {"cerebras": 1, "groq": 1}),
    "both are, the second as a hedge": ("hedge", "silent", "silent", {"cerebras": 1, "groq": 1}),
    "both are, in a race": ("race", "silent", "stall:0", {"cerebras": 1, "groq": 1}),
}
WORDS: dict[str, dict[str, str]] = {
    "": {"first_token": "2.0", "answer": "2.0"},
    "hedge": {"first_token": "2.0", "answer": "2.0", "hedge": "{ after = 0.1, extra = 1.0 }"},
    "race": {"first_token": "2.0", "answer": "2.0", "pick": '"race"'},
}


def between(tmp_path: Path, first: str, second: str = "", words: str = "", policy: Policy = ON) -> Any:
    """Give a route to two providers that fail so."""
    providers = {"cerebras": Simulator(fail=first), "groq": Simulator(dialect="groq", fail=second)}
    return crossroads(tmp_path, providers, route(FIRST, SECOND, **WORDS[words]) + price(FIRST, SECOND), policy)


def health(here: Crossroads, name: str) -> Health:
    return here.standings.health(name, "m", OPERATORS_KEY)


def leave(here: Crossroads, asked: dict[str, int], until_heard: bytes | None = None, **members: Any) -> None:
    """Ask, and close the connection when these were asked, or this was heard."""
    host, _, port = here.url.removeprefix("http://").partition(":")
    body = json.dumps({"model": "auto", "messages": MESSAGES, **members}).encode()
    head = (
        f"POST /v1/chat/completions HTTP/1.1\r\nhost: {host}\r\ncontent-type: application/json\r\ncontent-length: {len(body)}"
    )
    with socket.create_connection((host, int(port)), timeout=PATIENCE) as connection:
        connection.sendall(head.encode() + b"\r\n\r\n" + body)
        until(lambda: here.asked == asked)
        heard = b""
        while until_heard is not None and until_heard not in heard:
            heard += connection.recv(65_536)


def until(holds: Callable[[], bool]) -> None:
    """Wait for something that there is no event for. Fails after a while."""
    end = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.002)


@pytest.mark.parametrize("members", KINDS)
@pytest.mark.parametrize("policy", [ON, CANCEL, Policy()], ids=["cached", "cached, and given up", "not cached"])
@pytest.mark.parametrize(("words", "first", "second", "asked"), HELD_BACK.values(), ids=HELD_BACK)
def test_when_the_client_has_left_nothing_is_open_and_nobody_else_is_asked(
    words: str, first: str, second: str, asked: dict[str, int], policy: Policy, members: dict[str, Any], tmp_path: Path
) -> None:
    """G7, G8: also where answers are finished, for there is none yet; and it is nobody's failure."""
    here: Crossroads
    with between(tmp_path, first, second, words, policy) as here:
        leave(here, asked, **members)

        until(lambda: not any(provider.open for provider in here.providers.values()))
        assert here.asked == asked
        until(lambda: not any(health(here, name).busy for name in asked))
        for name, script in (("cerebras", first), ("groq", second)):
            now = health(here, name)
            assert now.readiness == ("cooling" if script == "status:503" else "ready")
            assert (now.first_token, now.rate) == (None, None)
        time.sleep(0.1)
        assert here.asked == asked
        assert list(here.store.scan()) == []


def test_an_answer_that_has_begun_is_given_up_with_its_client(tmp_path: Path) -> None:
    """G7, G8, G19: where the policy says so; what it took until then is accounted."""
    here: Crossroads
    with between(tmp_path, "stall:1500", policy=CANCEL) as here:
        leave(here, {"cerebras": 1, "groq": 0}, b'"content":', stream=True)

        until(lambda: not here.providers["cerebras"].open)
        assert here.asked == {"cerebras": 1, "groq": 0}
        (report,) = here.reported(1)
        assert (report.abandoned, report.target, report.cost_basis) == ("cancel", FIRST, "estimated")
        assert report.cost
        assert health(here, "cerebras").readiness == "ready"


def test_an_answer_that_has_begun_is_finished_where_the_policy_says_so(tmp_path: Path) -> None:
    """G7, G19."""
    here: Crossroads
    providers = {"cerebras": Simulator(tokens_per_second=40), "groq": Simulator(dialect="groq")}
    with crossroads(tmp_path, providers, route(FIRST, SECOND) + price(FIRST, SECOND)) as here:
        leave(here, {"cerebras": 1, "groq": 0}, b'"content":', stream=True)
        until(lambda: not here.providers["cerebras"].open)
        until(lambda: bool(list(here.store.scan())))

        assert here.providers["cerebras"].chats[0].said.endswith(b"data: [DONE]\n\n")
        again = here.ask(stream=True)
        assert "hit" in again.headers["cache-status"]
        assert again.content == here.providers["cerebras"].chats[0].said


@pytest.mark.parametrize("policy", [ON, Policy()], ids=["cached", "not cached"])
@pytest.mark.parametrize("failure", ["cut:1500", "error:8", "cerebras:mid-stream"])
def test_a_stream_that_breaks_after_it_has_begun_is_broken(failure: str, policy: Policy, tmp_path: Path) -> None:
    """G2: nobody else is asked, it ends with an error and without an end, and it is stored under no key."""
    here: Crossroads
    with between(tmp_path, failure, policy=policy) as here:
        body = {"model": "auto", "messages": [{"role": "user", "content": "hi"}], "stream": True}
        heard = b""
        with (
            contextlib.suppress(httpx.RemoteProtocolError),
            here.client.stream("POST", f"{here.url}/v1/chat/completions", json=body) as response,
        ):
            for chunk in response.iter_raw():
                heard += chunk

        (chat,) = here.providers["cerebras"].chats
        assert here.asked["groq"] == 0
        assert heard.startswith(chat.said)
        assert heard.count(b'"error":') == 1
        assert b"[DONE]" not in heard
        assert b'"finish_reason":"stop"' not in heard
        assert list(here.store.scan()) == []


@pytest.mark.parametrize("policy", [ON, Policy()], ids=["cached", "not cached"])
def test_json_that_breaks_is_not_seen(policy: Policy, tmp_path: Path) -> None:
    """G1, G3: it is held until it is whole."""
    here: Crossroads
    with between(tmp_path, "cut:300", policy=policy) as here:
        answer = here.ask()

        assert (answer.status_code, author(told(answer))) == (200, SECOND)
        assert answer.content == here.providers["groq"].chats[0].said


@pytest.mark.parametrize("members", KINDS)
def test_the_last_candidate_is_waited_for(members: dict[str, Any], tmp_path: Path) -> None:
    """G4, G5: a slow, valid answer is an answer; and the silence of the first costs no more than it may."""
    here: Crossroads
    providers = {"cerebras": Simulator(fail="silent"), "groq": Simulator(dialect="groq", fail="slow:1.5")}
    words = {"first_token": "0.5", "answer": "0.5"}
    with crossroads(tmp_path, providers, route(FIRST, SECOND, **words) + price(FIRST, SECOND)) as here:
        answer = here.ask(**members)

        assert answer.status_code == 200
        assert answer.content == here.providers["groq"].chats[0].said
        assert "why=slow" in told(answer)
        until(lambda: not here.providers["cerebras"].open)
