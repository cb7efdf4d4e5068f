"""`cachemw simulate`."""

from collections.abc import Callable

import httpx
import pytest

from tests.cli.command import Command, Done, ask


def test_the_simulator_answers_as_it_is_told(command: Command) -> None:
    with command.serving("simulate", "--port", 0, "--dialect", "openai", "--first-token-seconds", 0.2) as serving:
        answer = ask(serving.url, "hello")

        assert answer.json()["object"] == "chat.completion"
        assert "time_info" not in answer.json()
        assert answer.elapsed.total_seconds() > 0.2
        assert httpx.get(f"{serving.url}/calls", trust_env=False).json() == {"calls": 1}
        assert serving.end() == 0


def test_the_simulator_fails_as_it_is_told(command: Command) -> None:
    with command.serving("simulate", "--port", 0, "--dialect", "groq", "--fail", "groq:rate x1, ok") as serving:
        refused, answer = ask(serving.url, "hello"), ask(serving.url, "hello")

        assert (refused.status_code, refused.headers["retry-after"]) == (429, "5")
        assert "x_groq" in answer.json()
        assert serving.end() == 0


@pytest.mark.parametrize(
    ("dialect", "status"), [((), 200), (("--dialect", "anthropic"), 200), (("--dialect", "cerebras"), 404)]
)
def test_the_simulator_has_every_endpoint_unless_it_imitates_somebody(
    command: Command, dialect: tuple[str, ...], status: int
) -> None:
    body = {"model": "m", "max_tokens": 10, "messages": [{"role": "user", "content": "hello"}]}

    with command.serving("simulate", "--port", 0, *dialect) as serving:
        answer = httpx.post(f"{serving.url}/v1/messages", json=body, trust_env=False)

        assert answer.status_code == status
        assert serving.end() == 0


@pytest.mark.parametrize(
    ("option", "value", "complaint"),
    [
        ("--fail", "groq:boom", "no failure is called 'groq:boom'"),
        ("--fail", "silent, ok", "only the last step may last for good"),
        ("--dialect", "klingon", "'klingon' is none of cerebras, openai"),
    ],
)
def test_what_nobody_speaks_or_suffers_is_refused(here: Callable[..., Done], option: str, value: str, complaint: str) -> None:
    done = here("simulate", option, value)

    assert done.returncode == 2
    assert complaint in " ".join(done.stderr.split())
    assert option in done.stderr


def test_a_pace_is_not_negative(here: Callable[..., Done]) -> None:
    done = here("simulate", "--tokens-per-second", -1)

    assert done.returncode == 2
    assert "--tokens-per-second" in done.stderr
