"""`cachemw warm`: everything in a file is stored, at the pace that the upstream bears, and for no more than was meant."""

import json
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx2
import openai
import pytest

from cachemw import DiskStore
from cachemw.inventory.batches import BatchAnswer, answers_in
from cachemw.simulator import Simulator
from tests.cli.command import PATIENCE, Command, Done
from tests.cli.test_export import is_narrow
from tests.serving import serving_in_thread

Here = Callable[..., Done]
CANARY = "sk-canary-upstream"


@pytest.fixture
def simulator() -> Iterator[tuple[Simulator, str]]:
    simulator = Simulator()
    with serving_in_thread(simulator) as url:
        yield simulator, f"{url}/v1"


def body_of(number: int, **members: Any) -> dict[str, Any]:
    return {"model": "gpt-5", "messages": [{"role": "user", "content": f"Question {number}?"}], **members}


def write_batch(place: Path, count: int, **members: Any) -> Path:
    lines = [{"custom_id": f"r{number}", "body": body_of(number, **members)} for number in range(count)]
    file = place / "in.jsonl"
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return file


def given(url: str, place: Path) -> dict[str, str]:
    return {"CACHEMW_UPSTREAM": url, "CACHEMW_UPSTREAM_API_KEY": CANARY, "CACHEMW_DIR": str(place / "store")}


def test_what_was_warmed_is_a_hit_and_to_warm_it_again_asks_nobody(
    command: Command, here: Here, simulator: tuple[Simulator, str], tmp_path: Path
) -> None:
    """An SDK's request through the proxy is answered without the upstream, in either kind."""
    upstream, url = simulator
    file, settings = write_batch(tmp_path, 12), given(url, tmp_path)

    first = here("warm", file, "--out", tmp_path / "out.jsonl", **settings)
    second = here("warm", file, **settings)

    assert (first.returncode, second.returncode) == (0, 0)
    assert first.stdout.splitlines() == [
        "12 requests: 0 stored before, 12 asked and stored now",
        "$0 spent, and 12 answers of unknown price",
    ]
    assert second.stdout.splitlines() == ["12 requests: 12 stored before, 0 asked and stored now", "$0 spent"]
    assert len(upstream.asked) == 12
    with command.serving("serve", "--port", 0, lines=1, **settings) as proxy:
        client = openai.OpenAI(
            base_url=f"{proxy.url}/v1",
            api_key="cachemw",
            default_headers={"Cachemw": "on"},
            max_retries=0,
            http_client=httpx2.Client(trust_env=False),
        )
        assert "hit" in client.chat.completions.with_raw_response.create(**body_of(7)).headers["cache-status"]
        assert list(client.chat.completions.create(**body_of(8), stream=True))
    assert len(upstream.asked) == 12


def test_the_answers_are_written_as_a_batchs_output_for_its_owner_alone(
    here: Here, simulator: tuple[Simulator, str], tmp_path: Path
) -> None:
    file = write_batch(tmp_path, 3)
    file.write_text(f"{file.read_text()}{json.dumps({'custom_id': 'bad', 'body': body_of(9, model='')})}\n")

    here("warm", file, "--out", tmp_path / "out.jsonl", **given(simulator[1], tmp_path))

    out = tmp_path / "out.jsonl"
    answers = {one.id: one for one in answers_in(out.read_bytes().splitlines()) if isinstance(one, BatchAnswer)}
    assert out.stat().st_mode & 0o777 == 0o600
    assert {name: one.status for name, one in answers.items()}.items() >= {"r0": 200, "r1": 200, "r2": 200}.items()
    assert json.loads(answers["r1"].body)["choices"][0]["message"]["content"]


def test_what_comes_out_of_warming_goes_into_another_store_as_a_finished_batch(
    here: Here, simulator: tuple[Simulator, str], tmp_path: Path
) -> None:
    file = write_batch(tmp_path, 3)
    here("warm", file, "--out", tmp_path / "out.jsonl", **given(simulator[1], tmp_path))
    other = {**given(simulator[1], tmp_path), "CACHEMW_DIR": str(tmp_path / "other")}

    here("import", "--batch", file, tmp_path / "out.jsonl", **other)
    again = here("warm", file, **other)

    assert "3 stored before, 0 asked" in again.stdout
    assert len(simulator[0].asked) == 3


def test_a_proxy_that_runs_is_asked_with_a_clients_key(
    command: Command, here: Here, simulator: tuple[Simulator, str], tmp_path: Path
) -> None:
    file, settings = write_batch(tmp_path, 5), given(simulator[1], tmp_path)
    with command.serving("serve", "--port", 0, "--client-key", "sk-client", lines=1, **settings) as proxy:
        outside = here("warm", file, "--through", proxy.url)
        inside = here("warm", file, "--through", f"{proxy.url}/v1", "--key-env", "MY_KEY", MY_KEY="sk-client")
        again = here("warm", file, "--through", proxy.url, "--key-env", "MY_KEY", "--json", MY_KEY="sk-client")

    assert outside.returncode == 1
    assert "nobody is let in with this key, or without one: status 401" in outside.stdout
    assert "5 asked and stored now" in inside.stdout
    assert json.loads(again.stdout)["hits"] == 5


def test_an_upstream_that_has_too_many_is_left_alone_for_as_long_as_it_says(here: Here, tmp_path: Path) -> None:
    simulator = Simulator(fail="openai:rate x4, ok")
    with serving_in_thread(simulator) as url:
        done = here("warm", write_batch(tmp_path, 6), **given(f"{url}/v1", tmp_path))

    assert (done.returncode, "6 asked and stored now" in done.stdout) == (0, True), done
    assert len(simulator.asked) == 10


def test_failures_are_told_line_by_line_and_the_rest_is_stored(
    here: Here, simulator: tuple[Simulator, str], tmp_path: Path
) -> None:
    file = write_batch(tmp_path, 2)
    file.write_text(f"{file.read_text()}no json\n{json.dumps({'custom_id': 'x', 'url': '/v1/files', 'body': {}})}\n")

    done = here("warm", file, **given(simulator[1], tmp_path))

    assert done.returncode == 1
    assert done.stdout.splitlines()[0].startswith("4 requests: 0 stored before, 2 asked and stored now")
    assert done.stdout.splitlines()[2] == "2 failed:"
    said = " ".join(done.stdout.split())
    assert f"{file}:3: it is no line of a batch's input" in said
    assert f"{file}:4: its url is that of no endpoint" in said


PRICES = """
[providers.mine]
base_url = "{url}"
key_env = "MINE_KEY"

[targets."mine/gpt-5"]
prices = {{ input = 1.0, output = 10.0 }}
context = 1000

[routes.auto]
targets = ["mine/gpt-5"]
"""


def test_it_stops_before_more_could_be_spent_than_was_meant_and_goes_on_from_there(
    here: Here, simulator: tuple[Simulator, str], tmp_path: Path
) -> None:
    """E10: an answer of 100 tokens at $10 a million is a tenth of a cent at most."""
    file, config = write_batch(tmp_path, 20, model="auto", max_tokens=100), tmp_path / "cachemw.toml"
    config.write_text(PRICES.format(url=simulator[1]))
    settings = {"CACHEMW_DIR": str(tmp_path / "store"), "MINE_KEY": CANARY, "CACHEMW_CONFIG": str(config)}

    first = here("warm", file, "--max-usd", "0.005", "--json", **settings)
    second = here("warm", file, "--max-usd", "1", "--json", **settings)

    said, then = json.loads(first.stdout), json.loads(second.stdout)
    assert (first.returncode, second.returncode) == (0, 0)
    assert 0.001 < float(said["spent_usd"]) <= 0.005
    assert said["left"] == 20 - said["fetched"] > 0
    assert said["stopped"] == "the next request could cost more than is left of the money"
    assert (then["hits"], then["fetched"], then["left"]) == (said["fetched"], said["left"], 0)
    assert said["unpriced"] == then["unpriced"] == 0


def test_without_a_price_it_is_held_to_no_amount(here: Here, simulator: tuple[Simulator, str], tmp_path: Path) -> None:
    done = here("warm", write_batch(tmp_path, 2), "--max-usd", "5", **given(simulator[1], tmp_path))

    assert done.returncode == 1
    assert done.stderr == (
        "cachemw: nobody knows the most that r0 can cost, so it cannot be held to $5: leave --max-usd out, give prices, or"
        " max_tokens in the request\n"
    )
    assert not simulator[0].asked


def test_no_terminal_obeys_what_a_file_of_requests_says(here: Here, simulator: tuple[Simulator, str], tmp_path: Path) -> None:
    file, settings = tmp_path / "in.jsonl", given(simulator[1], tmp_path)
    lines = [{"custom_id": "a\x1b]0;b\x07", "body": body_of(0)}, {"url": "/v1/\x1b[2J", "body": body_of(1)}]
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))

    done = here("warm", file, **settings)
    refused = here("warm", file, "--max-usd", "5", **settings)

    assert "endpoint whose answers are cached: POST /v1/\\x1b[2J" in done.stdout
    assert "and 1 answer of unknown price" in done.stdout
    assert "the most that a\\x1b]0;b\\x07 can cost" in refused.stderr
    assert "\x1b" not in done.stdout + refused.stderr


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (("nothing.jsonl",), "cannot read nothing.jsonl"),
        (("in.jsonl", "--max-usd", "a lot"), "no amount of dollars"),
        (("in.jsonl", "--concurrency", "0"), "--concurrency"),
        (("in.jsonl", "--through", "localhost"), "no URL of a proxy"),
        (("in.jsonl", "--through", "http://127.0.0.1:9", "--client", "alice"), "--key-env"),
        (("in.jsonl", "--key-env", "NOBODYS_KEY"), "NOBODYS_KEY (--key-env) holds no key"),
        (("in.jsonl", "--out", "nowhere/out"), "cannot write to nowhere/out"),
    ],
)
def test_what_cannot_be_done_is_said(
    arguments: tuple[str, ...], why: str, here: Here, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_batch(tmp_path, 1)

    done = here("warm", *arguments)

    assert done.returncode != 0
    assert why in " ".join(done.stderr.replace("│", " ").split())


def test_a_signal_ends_it_and_it_says_what_is_left(command: Command, tmp_path: Path) -> None:
    simulator = Simulator(fail="ok x3, silent")
    with serving_in_thread(simulator) as url:
        arguments = [sys.executable, "-m", "cachemw", "warm", str(write_batch(tmp_path, 9)), "--concurrency", "1"]
        process = subprocess.Popen(
            [*arguments, "--out", str(tmp_path / "out.jsonl")],
            env={**command.environment, **given(f"{url}/v1", tmp_path)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        while len(simulator.asked) < 4:
            assert process.poll() is None
        process.send_signal(signal.SIGINT)
        said, errors = process.communicate(timeout=PATIENCE)

    assert (process.returncode, errors) == (130, "")
    assert said.splitlines() == [
        "9 requests: 0 stored before, 3 asked and stored now",
        "$0 spent, and 3 answers of unknown price",
        "6 left: it was ended by a signal",
        "run it again: what is stored is not asked for",
    ]
    assert is_narrow(said)
    assert len((tmp_path / "out.jsonl").read_text().splitlines()) == 3


def test_no_key_is_said_or_written(here: Here, simulator: tuple[Simulator, str], tmp_path: Path) -> None:
    """A canary in every place that is written."""
    done = here(
        "warm",
        write_batch(tmp_path, 2),
        "--out",
        tmp_path / "out.jsonl",
        "--key-env",
        "MY_KEY",
        MY_KEY="sk-canary-mine",
        **given(simulator[1], tmp_path),
    )

    written = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    with closing(DiskStore(tmp_path / "store")) as store:
        assert store.count() == 2
    assert done.returncode == 0
    for canary in (CANARY, "sk-canary-mine"):
        assert canary.encode() not in written
        assert canary not in done.stdout + done.stderr


@pytest.mark.parametrize("arguments", [("warm", "in.jsonl"), ("import", ".")])
def test_nothing_is_kept_for_a_client_that_there_is_not(
    arguments: tuple[str, ...], here: Here, simulator: tuple[Simulator, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """O7: it would be paid for, and found by nobody."""
    monkeypatch.chdir(tmp_path)
    write_batch(tmp_path, 1)
    keys = tmp_path / "clients.toml"
    keys.write_text('alice = "sk-alice"\nbob = "sk-bob"\n')
    keys.chmod(0o600)
    settings = given(simulator[1], tmp_path) | {"CACHEMW_CLIENT_KEYS_FILE": str(keys)}

    refused = here(*arguments, "--client", "alcie", **settings)
    known = here("warm", "in.jsonl", "--client", "alice", **settings)

    assert refused.returncode == 1
    assert "no client is called alcie (--client): there is alice, bob" in refused.stderr
    assert known.returncode == 0


def test_a_disk_that_is_full_does_not_hide_what_was_spent(here: Here, simulator: tuple[Simulator, str], tmp_path: Path) -> None:
    """O7: what was answered is stored, whatever becomes of the file of answers."""
    file, settings = write_batch(tmp_path, 3), given(simulator[1], tmp_path)

    done = here("warm", file, "--out", "/dev/full", **settings)

    assert (done.returncode, "3 asked and stored now" in done.stdout) == (1, True)
    assert "cannot write to /dev/full: No space left on device" in done.stderr


def test_a_file_that_was_there_is_its_owners_alone_from_then_on(
    here: Here, simulator: tuple[Simulator, str], tmp_path: Path
) -> None:
    file, settings = write_batch(tmp_path, 1), given(simulator[1], tmp_path)
    out = tmp_path / "out.jsonl"
    out.write_text("old")
    out.chmod(0o644)

    here("warm", file, "--out", out, **settings)

    assert out.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(("variables", "is_noted"), [({}, False), ({"CACHEMW_CLIENT_KEYS": "sk-of-alice"}, True)])
def test_who_warms_for_nobody_is_told(variables: dict[str, str], is_noted: bool, here: Here, tmp_path: Path) -> None:
    (tmp_path / "none.jsonl").touch()

    done = here("warm", tmp_path / "none.jsonl", **given("http://127.0.0.1:9/v1", tmp_path), **variables)

    assert ("none of them will find these answers" in done.stderr) is is_noted
