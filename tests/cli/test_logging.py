"""What `cachemw serve` logs, as processes that really listen."""

import json
import signal

import pytest

from cachemw.simulator import Simulator
from tests.cli.command import Command, Serving, ask
from tests.serving import nobody_there

Simulated = tuple[Simulator, str]
SAID = 4
SECRET = "a secret prompt"


def rest_of(serving: Serving) -> list[str]:
    """End it, and return the lines that came after those of its start, but for those on this machine's SQLite."""
    serving.end(signal.SIGTERM)
    return [line for line in serving.output.read().splitlines() if "SQLite" not in line]


@pytest.mark.parametrize("workers", [1, 2])
def test_each_exchange_is_a_line(command: Command, simulated: Simulated, workers: int) -> None:
    """E1, B2, I4: those of recalled hits are told of together, and nothing of content."""
    options = ("--port", 0, "--upstream", simulated[1], "--access-log", "--workers", workers)
    with command.serving("serve", *options, lines=SAID) as serving:
        for _ in range(4):
            ask(serving.url, SECRET, cachemw="on", authorization="Bearer sk-secret")
        ask(serving.url, SECRET)
        lines = rest_of(serving)

    said = [line.split(" ") for line in lines]
    assert {line[2] for line in said} == {"chat"}
    outcomes = [(line[4], int(line[-1][1:]) if len(line) == 13 else 1) for line in said]
    assert [outcome for outcome, _ in outcomes].count("miss") == 1
    assert sum(count for outcome, count in outcomes if outcome == "hit") == 3
    assert ("passed", 1) in outcomes
    assert "secret" not in "".join(lines)


def test_in_json_every_line_is_an_object(command: Command) -> None:
    """F5, F22: the host and the cause; also of what the server itself says."""
    with nobody_there() as url:
        options = ("--port", 0, "--upstream", f"{url}/v1", "--access-log", "--log-format", "json", "--log-level", "info")
        with command.serving("serve", *options, lines=SAID) as serving:
            reply = ask(serving.url, SECRET, cachemw="on")
            lines = [json.loads(line) for line in rest_of(serving)]

    host = url.removeprefix("http://")
    assert host in reply.json()["error"]["message"]
    assert [line["message"] for line in lines if line["logger"].startswith("cachemw.upstreams")] == [
        f"the upstream {host} failed: refused"
    ]
    [exchange] = [line for line in lines if line["logger"] == "cachemw.access"]
    assert (exchange["outcome"], exchange["status"], exchange["detail"]) == ("miss", 502, "unreachable")
    assert any(line["logger"] == "uvicorn.error" for line in lines)
    assert SECRET not in json.dumps(lines)


def test_without_being_told_it_logs_neither(command: Command) -> None:
    with nobody_there() as url, command.serving("serve", "--port", 0, "--upstream", f"{url}/v1", lines=SAID) as serving:
        assert ask(serving.url, SECRET, cachemw="on").status_code == 502
        assert rest_of(serving) == []
