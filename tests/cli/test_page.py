"""`cachemw page` and `serve --page` as processes of their own."""

import os
import signal
import socket
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from cachemw.cli.page import page_environment, page_token
from cachemw.errors import CommandError, ConfigurationError
from cachemw.proxy import Settings
from cachemw.simulator import Simulator
from tests.cli.command import Command, Done, Serving, ask, refusal

Here = Callable[..., Done]
TOKEN = "a-token-of-thirty-two-characters"


def get(url: str, path: str = "/", **headers: str) -> httpx.Response:
    with httpx.Client(trust_env=False, timeout=20) as client:
        return client.get(url.partition("/#")[0] + path, headers=headers)


def token_in(serving: Serving) -> str:
    return serving.url.partition("/#t=")[2]


def test_it_prints_an_address_with_its_token_answers_whoever_brings_that_and_ends_when_told(command: Command) -> None:
    """O8: the token is new at each start; a stream of events does not keep it from ending."""
    with command.serving("page", "--port", 0) as serving:
        token = token_in(serving)
        bearer = {"authorization": f"Bearer {token}"}

        assert len(token) == 43
        assert get(serving.url, "/traffic").status_code == 401
        assert get(serving.url, "/traffic", **bearer).status_code == 200
        assert token not in get(serving.url, "/traffic", **bearer).text
        with httpx.Client(trust_env=False) as client, client.stream("GET", _base(serving) + "/live", headers=bearer) as live:
            came = live.iter_raw()
            assert next(came) == b"retry: 1000\n\n"
            assert serving.end() == 0
            assert list(came) == []


def _base(serving: Serving) -> str:
    return serving.url.partition("/#")[0]


def test_a_token_of_ones_own_is_kept(command: Command) -> None:
    with command.serving("page", "--port", 0, CACHEMW_PAGE_TOKEN=TOKEN) as serving:
        assert token_in(serving) == TOKEN
        assert get(serving.url, authorization=f"Bearer {TOKEN}").status_code == 200


@pytest.mark.parametrize("token", ["short", "x" * 31, "x" * 40 + " ", "ü" * 40, "a,b" * 20, "x" * 40 + "\n"])
def test_a_token_that_can_be_guessed_or_not_be_sent_is_refused_and_not_shown(token: str) -> None:
    with pytest.raises(ConfigurationError, match="CACHEMW_PAGE_TOKEN has at least 32 characters") as raised:
        page_token("127.0.0.1", {"CACHEMW_PAGE_TOKEN": token})

    assert token not in str(raised.value)


@pytest.mark.parametrize("host", ["0.0.0.0", "192.0.2.7", "::", "page.example"])
def test_beyond_loopback_it_takes_a_token_of_the_operators(host: str) -> None:
    """O8."""
    with pytest.raises(CommandError, match="CACHEMW_PAGE_TOKEN"):
        page_token(host, {})

    assert page_token(host, {"CACHEMW_PAGE_TOKEN": TOKEN}) == TOKEN


@pytest.mark.parametrize(("variables", "code"), [({}, 1), ({"CACHEMW_PAGE_TOKEN": TOKEN}, 0), ({"CACHEMW_PAGE": "0"}, 0)])
def test_check_says_what_a_page_beside_the_proxy_lacks(here: Here, variables: dict[str, str], code: int) -> None:
    """D2."""
    done = here("check", **{"CACHEMW_PAGE": "1", "CACHEMW_PAGE_HOST": "0.0.0.0", **variables})

    assert done.returncode == code
    assert ("who has the page's token reads everybody's records" in " ".join(done.stdout.split())) is bool(code)


def test_what_is_unknown_in_the_environment_keeps_it_from_starting(here: Here) -> None:
    """D3."""
    said = refusal(here("page", "--port", 0, CACHEMW_PAGE_TOKENS=TOKEN))

    assert said == "unknown in the environment: CACHEMW_PAGE_TOKENS (is it CACHEMW_PAGE_TOKEN?)"


def test_the_process_of_the_page_is_given_no_key() -> None:
    """G3: of all variables only those go along that it needs."""
    keys = {
        "CEREBRAS_API_KEY": "a",
        "CACHEMW_CLIENT_KEYS": "b",
        "CACHEMW_API_KEY": "c",
        "ALICE_KEY": "d",
        "CACHEMW_SECRET": "e",
    }
    needed = {"PATH": "/bin", "HOME": "/h", "PYTHONPATH": "/p", "LC_ALL": "C", "CACHEMW_PAGE_TOKEN": TOKEN}

    settings = Settings.read({"dir": "/s", "page_port": "8091", "allow_host": ("a.example", "b.example")}, {})

    told = page_environment(settings, {**keys, **needed})

    assert {name: told[name] for name in needed} == needed
    assert (told["CACHEMW_DIR"], told["CACHEMW_PAGE_PORT"], told["CACHEMW_ALLOW_HOST"]) == ("/s", "8091", "a.example,b.example")
    assert told.keys() & keys.keys() == set()
    assert Settings.from_environment(told).page_host == "127.0.0.1"


def page_of(serving: Serving) -> tuple[int, str]:
    """Return the process and the address of the page beside a proxy."""
    line = serving.output.readline()
    while " page listens on " not in line:
        assert line
        line = serving.output.readline()
    children = Path(f"/proc/{serving.process.pid}/task/{serving.process.pid}/children").read_text().split()
    (child,) = [int(pid) for pid in children if b"--tied" in Path(f"/proc/{pid}/cmdline").read_bytes()]
    return child, line.partition(" listens on ")[2].split()[0]


def is_gone(process: int, seconds: float = 10.0) -> bool:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        try:
            if Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return True
        except OSError:
            return True
        time.sleep(0.02)
    return False


def test_a_page_that_cannot_listen_keeps_no_proxy_from_working(command: Command, simulated: tuple[Simulator, str]) -> None:
    """It says so, with the option that helps."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        options = ("--port", 0, "--page", "--page-port", port, "--upstream", simulated[1])
        with command.serving("serve", *options) as serving:
            line = serving.output.readline()
            while "there is no page" not in line:
                assert line
                line = serving.output.readline()

            assert ask(serving.url, "hi", cachemw="on", authorization="Bearer x").status_code == 200

    assert line.startswith(f"cachemw: there is no page: cannot listen on port {port}: ")
    assert "choose another one with --page-port" in line


@pytest.mark.parametrize("by", [signal.SIGTERM, signal.SIGKILL], ids=["SIGTERM", "SIGKILL"])
def test_the_page_beside_a_proxy_is_a_process_of_its_own_and_ends_with_it(command: Command, by: signal.Signals) -> None:
    """G3: its environment holds no key, and however the proxy ends, it does not stay behind."""
    options = ("--port", 0, "--page", "--page-port", 0)
    with command.serving(
        "serve", *options, CEREBRAS_API_KEY="csk-of-the-server", CACHEMW_CLIENT_KEYS="sk-of-a-client"
    ) as serving:
        child, url = page_of(serving)

        assert get(url, "/traffic", authorization=f"Bearer {url.partition('#t=')[2]}").status_code == 200
        environment = Path(f"/proc/{child}/environ").read_bytes()
        assert b"csk-of-the-server" not in environment
        assert b"sk-of-a-client" not in environment
        os.kill(serving.process.pid, by)
        assert is_gone(child)


@pytest.mark.parametrize("by", [signal.SIGINT, signal.SIGTERM], ids=["SIGINT", "SIGTERM"])
def test_the_page_beside_a_proxy_ends_without_a_word(command: Command, by: signal.Signals) -> None:
    with command.serving("serve", "--port", 0, "--page", "--page-port", 0, CEREBRAS_API_KEY="k") as serving:
        child, _ = page_of(serving)

        os.kill(serving.process.pid, by)
        assert is_gone(child)
        rest = serving.output.read()

    assert "Fatal" not in rest
    assert "Traceback" not in rest
