"""`cachemw simulate`."""

from collections.abc import Callable

import httpx

from tests.cli.command import Command, Done, ask


def test_the_simulator_answers_as_it_is_told(command: Command) -> None:
    with command.serving("simulate", "--port", 0, "--dialect", "openai", "--first-token-seconds", 0.2) as serving:
        answer = ask(serving.url, "hello")

        assert answer.json()["object"] == "chat.completion"
        assert "time_info" not in answer.json()
        assert answer.elapsed.total_seconds() > 0.2
        assert httpx.get(f"{serving.url}/calls", trust_env=False).json() == {"calls": 1}
        assert serving.end() == 0


def test_a_pace_is_not_negative(here: Callable[..., Done]) -> None:
    done = here("simulate", "--tokens-per-second", -1)

    assert done.returncode == 2
    assert "--tokens-per-second" in done.stderr
