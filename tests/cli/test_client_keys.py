"""`cachemw serve` with a file of client keys, which SIGHUP has it read again: real processes and signals."""

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from cachemw.simulator import Simulator
from tests.cli.command import Command, Done, Serving, ask, refusal

SAID = 3
SERVER = {"CACHEMW_UPSTREAM_API_KEY": "sk-of-server"}


def write(path: Path, text: str) -> None:
    """Write a file anew, for its owner alone."""
    draft = path.with_suffix(".new")
    draft.touch(0o600)
    draft.write_text(text)
    draft.rename(path)


def said(serving: Serving, key: str) -> str:
    reply = ask(serving.url, "who am I", authorization=f"Bearer {key}", cachemw="on")
    told = reply.headers.get("cache-status", "")
    return "hit" if "; hit" in told else "miss" if "fwd=miss" in told else str(reply.status_code)


def until_all_say(expected: str, serving: Serving, key: str, workers: int) -> None:
    """Ask until every worker must have heard of the signal. Fails after a while."""
    until, streak = time.monotonic() + 20, 0
    while streak < 12 * workers:
        assert time.monotonic() < until, f"{key} is still not {expected}"
        streak = streak + 1 if said(serving, key) == expected else 0


@pytest.mark.parametrize("workers", [1, 2])
def test_keys_are_read_again_by_every_worker(
    command: Command, simulated: tuple[Simulator, str], tmp_path: Path, workers: int
) -> None:
    """F21: a key that is replaced keeps its records, the old one is refused, and a bad file changes nothing."""
    path = tmp_path / "keys.toml"
    write(path, 'alice = "sk-a1"\nbob = "sk-b1"\n')
    options = ("--client-keys-file", path, "--workers", workers, "--upstream", simulated[1], "--log-level", "info")
    with command.serving("serve", "--port", 0, *options, lines=SAID, **SERVER) as serving:
        until_all_say("hit", serving, "sk-a1", workers)
        process = {serving.process.pid, *serving.workers()}

        write(path, 'alice = "sk-a2"\n')
        serving.process.send_signal(signal.SIGHUP)
        until_all_say("401", serving, "sk-a1", workers)
        until_all_say("hit", serving, "sk-a2", workers)
        until_all_say("401", serving, "sk-b1", workers)

        write(path, "alice = sk-a3\n")
        serving.process.send_signal(signal.SIGHUP)
        until_all_say("hit", serving, "sk-a2", workers)
        assert {serving.process.pid, *serving.workers()} == process
        assert serving.end() == 0
        output = serving.said + serving.output.read()

    assert "clients bring one of 2 keys (2 clients with a name), and CACHEMW_UPSTREAM_API_KEY goes there" in output
    assert output.count("client keys and routes are read again (keys: 1, clients: 1, routes: 0)") == workers
    assert "sk-" not in output


def test_workers_that_are_killed_while_the_file_is_bad_are_replaced_by_some_that_admit_whom_they_did(
    command: Command, simulated: tuple[Simulator, str], tmp_path: Path
) -> None:
    """F21: a bad file changes nothing, and nobody is begun over and over who cannot begin."""
    path = tmp_path / "keys.toml"
    write(path, 'alice = "sk-a1"\n')
    options = ("--client-keys-file", path, "--workers", 2, "--upstream", simulated[1], "--log-level", "info")
    with command.serving("serve", "--port", 0, *options, lines=SAID, **SERVER) as serving:
        until_all_say("hit", serving, "sk-a1", 2)
        write(path, 'alice = "sk-a2"\n')
        serving.process.send_signal(signal.SIGHUP)
        until_all_say("hit", serving, "sk-a2", 2)

        write(path, "alice = sk-a3\n")
        serving.process.send_signal(signal.SIGHUP)
        killed = serving.workers()
        for pid in killed:
            os.kill(pid, signal.SIGKILL)
        until_all_say("hit", serving, "sk-a2", 2)
        until_all_say("401", serving, "sk-a1", 2)

        assert serving.end() == 0
        output = serving.said + serving.output.read()

    assert "Traceback" not in output
    assert output.count("died") == len(killed)


def test_a_hangup_before_it_listens_does_not_end_it(command: Command, simulated: tuple[Simulator, str], tmp_path: Path) -> None:
    """F21: a signal that comes too early waits."""
    path = tmp_path / "keys.toml"
    write(path, 'alice = "sk-a1"\n')
    options = ("--client-keys-file", path, "--workers", 2, "--upstream", simulated[1])
    with command.serving("serve", "--port", 0, *options, lines=1, **SERVER) as serving:
        serving.process.send_signal(signal.SIGHUP)
        until_all_say("hit", serving, "sk-a1", 2)
        for _ in range(5):
            for pid in serving.workers():
                os.kill(pid, signal.SIGHUP)
        until_all_say("hit", serving, "sk-a1", 2)

        assert serving.end() == 0


def test_a_file_that_others_may_read_is_one_line(here: Callable[..., Done], tmp_path: Path) -> None:
    """F9, F21: at the start."""
    path = tmp_path / "keys.toml"
    write(path, 'alice = "sk-a1"\n')
    path.chmod(0o644)

    line = refusal(here("serve", "--port", 0, CACHEMW_CLIENT_KEYS_FILE=str(path)))

    assert line.endswith(f"chmod 600 {path}")
