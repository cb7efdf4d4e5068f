"""`cachemw serve --config` with routes and clients, as a user runs it: real processes, signals and files."""

import hashlib
import json
import os
import signal
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import httpx
import pytest

from tests.cli.command import Command, Done
from tests.cli.routed import (
    AUTO,
    BOB,
    CAROL,
    CLIENTS,
    FIRST,
    PRICES,
    SECOND,
    SECRETS,
    Routed,
    chat,
    code_of,
    leaks,
    models,
    nano_told,
    routed,
    spent,
    until_models,
)
from tests.gateway.crossroads import author, route, told

KEPT = "stay as they were"
NOBODY = "cachemw"
"""What clients send that have no key."""

ALICE, DAN = SECRETS["ALICE_KEY"], SECRETS["DAN_KEY"]


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    """The file of client keys with names."""
    path = tmp_path / "keys.toml"
    path.touch(0o600)
    path.write_text(f'carol = "{CAROL}"\n')
    return path


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "caches" / "cachemw"


@pytest.fixture
def walled(command: Command, tmp_path: Path) -> Iterator[Routed]:
    """Providers, the first of which is out of its quota."""
    with routed(command, tmp_path, first="cerebras:quota") as here:
        yield here


@pytest.mark.parametrize("workers", [1, pytest.param(2, marks=pytest.mark.peers)])
def test_clients_have_what_the_file_gives_them_and_what_they_spent_is_told(
    walled: Routed, keys: Path, directory: Path, workers: int
) -> None:
    """G9, G20, E10, E12, F21, I4: routes, a budget, a rate, an end; a hit is free; and no key is said anywhere."""
    walled.write(AUTO + PRICES + CLIENTS, workers)
    with walled.serving("--client-keys-file", keys) as serving:
        url = serving.url
        assert models(url, ALICE) == ["auto"]
        assert models(url, BOB) == ["auto", FIRST, SECOND]

        first, again = chat(url, ALICE, "one"), chat(url, ALICE, "one")
        assert (first.status_code, author(told(first))) == (200, SECOND)
        assert again.content == first.content
        assert "; ttl=86400; " in again.headers["cache-status"]  # the other worker may have asked the first one in vain, too
        assert nano_told(again) == 0
        barred = chat(url, ALICE, "one", model=SECOND)
        assert (barred.status_code, code_of(barred)) == (403, "route_not_allowed")

        bought = chat(url, BOB, "two")
        assert bought.status_code == 200
        _until_settled(directory, "bob", nano_told(bought))
        refused, recalled = chat(url, BOB, "three"), chat(url, BOB, "two")
        assert (refused.status_code, code_of(refused)) == (402, "budget_exceeded")
        assert recalled.content == bought.content

        answers = [chat(url, CAROL, f"number {number}") for number in (0, 1, 2, 0)]
        assert [answer.status_code for answer in answers] == [200, 200, 429, 200]
        assert code_of(answers[2]) == "rate_limited"
        assert 0 < int(answers[2].headers["retry-after"]) <= 86_400

        expired = chat(url, DAN, "one")
        assert (expired.status_code, code_of(expired)) == (401, "key_expired")
        unknown = chat(url, "sk-nobodys", "one")
        assert unknown.status_code == 401
        said = [answer.text + str(answer.headers) for answer in (first, barred, refused, expired, unknown, *answers)]

    costs = {
        "alice": nano_told(first),
        "bob": nano_told(bought),
        "carol": sum(map(nano_told, (answers[0], answers[1], answers[3]))),
    }
    by_client = spent(walled.command, directory, "client")
    assert {name: round(float(by_client[name]["spent_usd"]) * 10**9) for name in costs} == costs
    (whole,) = [line for name, line in spent(walled.command, directory, "target").items() if name == SECOND]
    assert round(float(whole["spent_usd"]) * 10**9) == sum(costs.values())
    assert not whole["at_least"]
    assert not leaks(walled.output, *said, home=walled.home)
    assert "Traceback" not in walled.output
    assert {chat.headers[b"authorization"] for chat in walled.second.chats} == {b"Bearer " + SECRETS["GROQ_API_KEY"].encode()}


CAROLS = f'[clients.carol]\nkey_sha256 = "{hashlib.sha256(CAROL.encode()).hexdigest()}"\n'


def _until_settled(directory: Path, client: str, nano: int) -> None:
    """Wait until what a client spent is booked: that is done beside the answer."""
    for _ in range(2000):
        with closing(sqlite3.connect(directory / "accounts.db")) as accounts:
            rows = accounts.execute("SELECT nano FROM spent WHERE client = ?", (client,)).fetchall()
            waiting = accounts.execute("SELECT count(*) FROM reserved WHERE client = ?", (client,)).fetchone()
        if rows == [(nano,)] and waiting == (0,):
            return
        threading.Event().wait(0.005)
    raise AssertionError(f"not booked: {rows}, {waiting}")


@pytest.mark.peers
def test_streams_are_spent_by_the_usage_in_them(walled: Routed, directory: Path) -> None:
    """G16, G17, E1: in the ledger, for their heads have left before."""
    walled.write(AUTO + PRICES + CLIENTS.replace("[clients.carol]", "[clients.eve]\nkey_env = 'CEREBRAS_API_KEY'\n"))
    usage = {"stream": True, "stream_options": {"include_usage": True}}
    with walled.serving() as serving:
        answers = [chat(serving.url, ALICE, text, **usage) for text in ("one", "two", "one")]

    last = [json.loads(line[6:]) for line in answers[0].text.splitlines() + answers[1].text.splitlines() if '"usage":{' in line]
    usages = {chunk["id"]: chunk.get("usage") or chunk["x_groq"]["usage"] for chunk in last}
    expected = sum(one["prompt_tokens"] * 1000 + one["completion_tokens"] * 2000 for one in usages.values())
    assert answers[2].content == answers[0].content
    assert round(float(spent(walled.command, directory, "client")["alice"]["spent_usd"]) * 10**9) == expected


def test_two_workers_share_the_accounts(command: Command, tmp_path: Path, directory: Path) -> None:
    """G20, E10: neither lets more through than both together may."""
    with routed(command, tmp_path) as here:
        here.write(AUTO + PRICES + CLIENTS.replace("requests = 2", "requests = 5").replace("[clients.carol]", CAROLS), 2)
        with here.serving() as serving:
            answers = [chat(serving.url, CAROL, f"number {number}") for number in range(24)]
            spends = [chat(serving.url, BOB, f"number {number}") for number in range(24)]

        assert [answer.status_code for answer in answers] == [200] * 5 + [429] * 19
        paid = [answer for answer in spends if answer.status_code == 200]
        assert {answer.status_code for answer in spends} == {200, 402}
        assert len(paid) <= 2  # each costs more than the budget; what is booked is booked beside the answer
        assert len(here.first.chats) == 5 + len(paid)


@pytest.mark.parametrize("workers", [1, pytest.param(2, marks=pytest.mark.peers)])
def test_a_hangup_reads_the_routes_again(command: Command, tmp_path: Path, workers: int) -> None:
    """G26, D2: new ones serve, a broken file changes nothing and is one line of each worker, and no process is another."""
    with routed(command, tmp_path) as here:
        here.write(AUTO + PRICES, workers)
        with here.serving() as serving:
            url = serving.url
            assert models(url, NOBODY) == ["auto", FIRST, SECOND]
            processes = {serving.process.pid, *serving.workers()}

            here.write(AUTO + route(SECOND, name="fresh"), workers)
            serving.process.send_signal(signal.SIGHUP)
            until_models(["auto", "fresh", FIRST, SECOND], url, NOBODY, workers)
            answer = chat(url, NOBODY, "one", model="fresh")
            assert (answer.status_code, author(told(answer))) == (200, SECOND)

            here.write(AUTO + '[routes.broken]\ntargets = ["nobody/x"]\n', workers)
            serving.process.send_signal(signal.SIGHUP)
            kept = [here.hear(serving, KEPT) for _ in range(workers)]
            until_models(["auto", "fresh", FIRST, SECOND], url, NOBODY, workers)
            assert chat(url, NOBODY, "two", model="fresh").status_code == 200
            assert {serving.process.pid, *serving.workers()} == processes

    assert all("nobody" in line for line in kept)
    assert here.output.count(KEPT) == workers
    assert "Traceback" not in here.output


@pytest.mark.peers
def test_workers_that_are_killed_while_the_file_is_bad_are_replaced_by_some_that_route_as_they_did(
    command: Command, tmp_path: Path
) -> None:
    """F21, D2: by what the last good file said, and nobody is begun over and over who cannot begin."""
    with routed(command, tmp_path) as here:
        here.write(AUTO, 2)
        with here.serving() as serving:
            until_models(["auto", FIRST, SECOND], serving.url, NOBODY, 2)
            here.write(route(SECOND, name="fresh"), 2)
            serving.process.send_signal(signal.SIGHUP)
            until_models(["fresh", SECOND], serving.url, NOBODY, 2)

            here.path.write_text("[routes.auto\n")
            serving.process.send_signal(signal.SIGHUP)
            for _ in range(2):
                here.hear(serving, KEPT)
            killed = serving.workers()
            for pid in killed:
                os.kill(pid, signal.SIGKILL)
            until_models(["fresh", SECOND], serving.url, NOBODY, 2)
            assert not set(killed) & set(serving.workers())

    assert "Traceback" not in here.output
    assert here.output.count("died") == len(killed)


@pytest.mark.peers
def test_requests_under_way_keep_their_plan(command: Command, tmp_path: Path) -> None:
    """G26, D2: the one that waits for a silent target is answered by its own second choice."""
    with routed(command, tmp_path, first="silent x1") as here:
        here.write(route(FIRST, SECOND, first_token="1.5"))
        with here.serving() as serving:
            url, answers = serving.url, list[httpx.Response]()
            waiting = threading.Thread(target=lambda: answers.append(chat(url, NOBODY, "one", stream=True)))
            waiting.start()
            _until_asked(here, 1)

            here.write(route(FIRST, name="other"))
            serving.process.send_signal(signal.SIGHUP)
            until_models(["other", FIRST], url, NOBODY)
            gone = chat(url, NOBODY, "two")  # the name is no route any more: it is the default provider's to know
            waiting.join()

    (answer,) = answers
    assert (answer.status_code, author(told(answer))) == (200, SECOND)
    assert answer.text.endswith("data: [DONE]\n\n")
    assert (gone.status_code, author(told(gone)), "route=" in told(gone)) == (200, "cerebras/auto", False)


def _until_asked(here: Routed, count: int) -> None:
    for _ in range(2000):
        if len(here.first.chats) >= count:
            return
        threading.Event().wait(0.005)
    raise AssertionError("nobody was asked")


def unlinked(path: Path) -> None:
    path.unlink()


def a_directory(path: Path) -> None:
    path.unlink()
    path.mkdir()


SPOILT: dict[str, tuple[Callable[[Path], object], str]] = {
    "it is not there": (unlinked, "cachemw.toml"),
    "it is a directory": (a_directory, "cachemw.toml"),
    "it is no text": (lambda path: path.write_bytes(b"\xff\xfe\x00"), "cachemw.toml"),
    "it is no TOML": (lambda path: path.write_text("[routes.auto\n"), "is not TOML"),
    "a route has no targets": (lambda path: path.write_text("[routes.auto]\n"), "it has no targets"),
    "a price is negative": (lambda path: path.write_text(PRICES.replace("2.0", "-2.0")), "output"),
    "a key stands in it": (lambda path: path.write_text(f'[clients.a]\nkey = "{BOB}"\n'), "key"),
    "nobody can be asked": (lambda path: path.write_text(route("xai/m")), "XAI_API_KEY is not set"),
}


def test_a_file_that_cannot_be_used_stops_nothing(command: Command, tmp_path: Path) -> None:
    """G26, D2: the old one stays, which is one line each time, and shows no key."""
    with routed(command, tmp_path) as here:
        here.write(AUTO)
        with here.serving() as serving:
            for spoil, said in SPOILT.values():
                spoil(here.path)
                serving.process.send_signal(signal.SIGHUP)
                assert said in here.hear(serving, KEPT)
                answer = chat(serving.url, NOBODY, said)
                assert (answer.status_code, author(told(answer))) == (200, FIRST)
                if here.path.is_dir():
                    here.path.rmdir()
                here.write(AUTO)

    assert here.output.count(KEPT) == len(SPOILT)
    assert BOB not in here.output
    assert "Traceback" not in here.output


@pytest.mark.parametrize(("spoil", "said"), SPOILT.values(), ids=SPOILT)
def test_a_file_that_cannot_be_used_starts_nothing(
    here: Callable[..., Done], tmp_path: Path, spoil: Callable[[Path], object], said: str
) -> None:
    """G26: at the start it is said, without a key, and nothing is served."""
    path = tmp_path / "cachemw.toml"
    path.write_text(AUTO)
    spoil(path)

    done = here("serve", "--config", path, "--port", 0, **SECRETS)

    assert (done.returncode, done.stdout) == (1, "")
    assert said in done.stderr
    assert BOB not in done.stderr
