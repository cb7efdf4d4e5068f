"""`cachemw verify`: a sample is asked anew; who has drifted is told, what it costs is said before, and nothing is kept."""

import json
import os
import pty
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from starlette.responses import JSONResponse
from starlette.types import Receive, Scope, Send

from cachemw import DiskStore
from tests.cli.command import PATIENCE, Command, Done
from tests.cli.test_export import is_narrow
from tests.cli.test_warm import PRICES, given, write_batch
from tests.serving import serving_in_thread

Here = Callable[..., Done]


class Model:
    """An upstream whose answer is whatever it is set to; `turns` are answers in turn."""

    def __init__(self) -> None:
        self.members: dict[str, Any] = {"model": "gpt-5-0801", "system_fingerprint": "fp_1"}
        self.turns = ["The sky is blue because air scatters short waves of light more than long ones."]
        self.asked: list[dict[str, Any]] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        body = b""
        while (message := await receive())["type"] == "http.request":
            body += message.get("body", b"")
            if not message.get("more_body"):
                break
        self.asked.append(json.loads(body))
        content = self.turns[len(self.asked) % len(self.turns)]
        choice = {"index": 0, "message": {"role": "assistant", "content": content}, "finish_reason": "stop"}
        answer = {"id": "x", "object": "chat.completion", "created": 1, "choices": [choice], **self.members}
        usage = {"prompt_tokens": 10, "completion_tokens": 20, "total_tokens": 30}
        await JSONResponse({**answer, "usage": usage})(scope, receive, send)


@pytest.fixture
def model() -> Iterator[tuple[Model, str]]:
    model = Model()
    with serving_in_thread(model) as url:
        yield model, f"{url}/v1"


@pytest.fixture
def stored(here: Here, model: tuple[Model, str], tmp_path: Path) -> dict[str, str]:
    """A store with six answers that are to be the same every time; returns the settings for it."""
    settings = {**given(model[1], tmp_path), "CACHEMW_KEEP_REQUESTS": "true"}
    assert here("warm", write_batch(tmp_path, 6, temperature=0), **settings).returncode == 0
    model[0].asked.clear()
    return settings


def test_the_same_model_has_not_drifted_and_nothing_is_kept(
    here: Here, model: tuple[Model, str], stored: dict[str, str]
) -> None:
    with closing(DiskStore(stored["CACHEMW_DIR"])) as store:
        before = dict(store.scan())

    done = here("verify", "--yes", **stored)

    with closing(DiskStore(stored["CACHEMW_DIR"])) as store:
        assert dict(store.scan()) == before
    assert done.returncode == 0
    assert done.stderr == "6 stored answers to ask for anew, by 6 requests; nobody knows what that costs\n"
    assert "gpt-5-0801" in done.stdout
    assert done.stdout.splitlines()[-1].split() == ["gpt-5-0801", "6", "6", "0", "0", "0", "0", "100%", "0.0%"]
    assert is_narrow(done.stdout)
    assert len(model[0].asked) == 6


def test_a_model_that_says_something_else_has_drifted(here: Here, model: tuple[Model, str], stored: dict[str, str]) -> None:
    model[0].turns = ["I am sorry, and I cannot help with that."]
    model[0].members = {"model": "gpt-5-1101", "system_fingerprint": "fp_2"}

    done = here("verify", "--yes", **stored)
    told = here("verify", "--yes", "--json", **stored)

    assert done.returncode == 1
    assert done.stdout.splitlines()[0] == "gpt-5-0801: in 6 of 6 answers the model: gpt-5-0801 is now gpt-5-1101"
    assert done.stdout.splitlines()[1] == "gpt-5-0801: in 6 of 6 answers the system_fingerprint: fp_1 is now fp_2"
    assert "100.0%" in done.stdout
    lines = [json.loads(line) for line in told.stdout.splitlines()]
    assert lines[-1] == {"model": "gpt-5-0801", "compared": 6, "drifted": 6, "failed": 0, "share": 1.0}
    assert {(one["likeness"], one["drifted"], tuple(one["new_model"])) for one in lines[:-1]} == {
        ("words", True, ("gpt-5-0801", "gpt-5-1101"))
    }


def test_the_threshold_says_how_much_of_it_is_too_much(here: Here, model: tuple[Model, str], stored: dict[str, str]) -> None:
    model[0].turns = [*model[0].turns * 5, "Something else."]

    codes = [here("verify", "--yes", "--threshold", share, **stored).returncode for share in ("0.1", "0.2")]

    assert codes == [1, 0]


def test_where_answers_vary_by_themselves_that_is_no_drift(here: Here, model: tuple[Model, str], tmp_path: Path) -> None:
    model[0].turns = ["The sky is blue, because air scatters light.", "Air scatters light, and that is why it is blue."]
    settings = {**given(model[1], tmp_path), "CACHEMW_KEEP_REQUESTS": "true"}
    here("warm", write_batch(tmp_path, 4, temperature=0.9), **settings)
    model[0].asked.clear()

    done = here("verify", "--yes", **settings)

    assert done.returncode == 0
    assert done.stderr.startswith("4 stored answers to ask for anew, by 8 requests")
    assert len(model[0].asked) == 8


def test_a_sample_is_of_every_model_and_of_the_newest_and_the_oldest(
    here: Here, model: tuple[Model, str], stored: dict[str, str], tmp_path: Path
) -> None:
    model[0].members = {"model": "other"}
    here("warm", write_batch(tmp_path, 3, temperature=0, model="o"), **stored)
    model[0].asked.clear()

    here("verify", "--yes", "--sample", "5", **stored)

    assert sorted(asked["model"] for asked in model[0].asked) == ["gpt-5", "gpt-5", "gpt-5", "o", "o"]


def test_it_asks_before_it_spends_and_without_a_terminal_it_does_not(
    here: Here, model: tuple[Model, str], stored: dict[str, str]
) -> None:
    done = here("verify", **stored)

    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == "cachemw: there is no terminal to ask on: say --yes if that may be spent"
    assert not model[0].asked


def test_on_a_terminal_it_says_what_it_costs_and_asks(
    command: Command, model: tuple[Model, str], stored: dict[str, str]
) -> None:
    terminal, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "cachemw", "verify"],
        env={**command.environment, **stored},
        stdin=theirs,
        stdout=subprocess.PIPE,
        stderr=theirs,
    )
    os.close(theirs)
    said = b""
    while b"[y/N]" not in said:
        said += os.read(terminal, 1000)
    os.write(terminal, b"n\n")
    process.communicate(timeout=PATIENCE)
    os.close(terminal)

    assert b"6 stored answers to ask for anew, by 6 requests; nobody knows what that costs" in said
    assert process.returncode == 1
    assert not model[0].asked


def test_the_price_is_said_and_a_sample_is_cut_to_what_may_be_spent(
    here: Here, model: tuple[Model, str], tmp_path: Path
) -> None:
    """E10: 100 tokens at $10 a million, and what is asked."""
    config = tmp_path / "cachemw.toml"
    config.write_text(PRICES.format(url=model[1]))
    settings = {
        "CACHEMW_DIR": str(tmp_path / "store"),
        "MINE_KEY": "sk",
        "CACHEMW_CONFIG": str(config),
        "CACHEMW_KEEP_REQUESTS": "1",
    }
    here("warm", write_batch(tmp_path, 6, model="auto", max_tokens=100, temperature=0), **settings)
    model[0].asked.clear()

    whole = here("verify", "--yes", **settings)
    cut = here("verify", "--yes", "--max-usd", "0.0035", **settings)
    none = here("verify", "--yes", "--max-usd", "0.0001", **settings)

    assert whole.stderr.startswith("6 stored answers to ask for anew, by 6 requests: about $0.00126, at most $0.006")
    assert cut.stderr.startswith("3 stored answers to ask for anew, by 3 requests")
    assert none.stderr == "cachemw: one request alone could cost more than $0.0001 (--max-usd)\n"
    assert len(model[0].asked) == 9


def test_what_cannot_be_asked_again_is_told(here: Here, model: tuple[Model, str], tmp_path: Path) -> None:
    settings = given(model[1], tmp_path)
    here("warm", write_batch(tmp_path, 2), **settings)

    done = here("verify", "--yes", **settings)

    assert done.returncode == 1
    assert done.stderr == "cachemw: there is nothing to verify: 2 its request was not kept\n"


def test_another_upstream_than_the_one_that_answered_is_not_asked(
    here: Here, model: tuple[Model, str], stored: dict[str, str]
) -> None:
    done = here("verify", "--yes", **{**stored, "CACHEMW_UPSTREAM": "http://127.0.0.1:9/v1"})

    assert done.stderr == "cachemw: there is nothing to verify: 6 answered by another upstream than that of the settings\n"


def test_a_proxy_that_runs_is_asked_by_its_url(
    command: Command, here: Here, model: tuple[Model, str], stored: dict[str, str]
) -> None:
    with command.serving("serve", "--port", 0, lines=1, **stored) as proxy:
        done = here("verify", "--yes", "--sample", 2, "--through", proxy.url, **stored)

    assert (done.returncode, len(model[0].asked)) == (0, 2)


def test_an_answer_from_the_store_is_not_compared_with_itself(
    here: Here, model: tuple[Model, str], stored: dict[str, str]
) -> None:
    done = here("verify", "--yes", **stored, CACHEMW_IGNORE_CONTROL="cache-control")

    assert done.returncode == 1
    assert "a store answered it, and not the upstream" in done.stdout
    assert not model[0].asked


def test_an_upstream_that_fails_is_no_drift_but_nothing_is_verified_then(
    here: Here, model: tuple[Model, str], stored: dict[str, str]
) -> None:
    model[0].members = {"choices": []}

    done = here("verify", "--yes", **stored)

    assert done.returncode == 1
    assert "6 could not be compared:" in done.stdout
