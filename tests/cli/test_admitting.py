"""`cachemw serve` with client keys, and beyond loopback: real processes, and the SDK that its users have."""

import re
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import httpx
import openai
import pytest

from tests.cli.command import Command, Done, Serving, ask, refusal
from tests.proxy.test_malformed import MALFORMED, SECOND
from tests.serving import serving_in_thread
from tests.upstream import Upstream

pytestmark = pytest.mark.faults

SAID = 4
KEYS = "sk-of-alice,sk-of-bob"
SERVER = {"CACHEMW_UPSTREAM_API_KEY": "sk-of-server"}
QUESTION = [{"role": "user", "content": "Why is the sky blue?"}]


@dataclass(frozen=True, slots=True)
class Behind:
    """What the proxy asks, and where that is."""

    url: str
    upstream: Upstream = field(default_factory=Upstream)

    def keys(self) -> list[bytes | None]:
        """Return what each request brought that says who asks."""
        return [asked.header(b"authorization") for asked in self.upstream.asked]


@pytest.fixture
def behind() -> Iterator[Behind]:
    upstream = Upstream()
    with serving_in_thread(upstream) as url:
        yield Behind(f"{url}/v1", upstream)


def answer(serving: Serving, key: str) -> tuple[str, str]:
    """Ask with OpenAI's SDK; return the answer and what the cache said."""
    with openai.OpenAI(base_url=f"{serving.url}/v1", api_key=key, default_headers={"Cachemw": "on"}, max_retries=0) as client:
        raw = client.chat.completions.with_raw_response.create(model="m", messages=QUESTION)  # type: ignore[arg-type]
        return str(raw.parse().choices[0].message.content), raw.headers["cache-status"]


@pytest.mark.parametrize("workers", [1, 2])
def test_clients_bring_keys_of_their_own_and_the_servers_goes_upstream(command: Command, behind: Behind, workers: int) -> None:
    """I1, I2, I4, E5: every key is a partition, in every worker; the SDK raises its own error for any other."""
    arguments = ("serve", "--port", 0, "--upstream", behind.url, "--workers", workers, "--log-level", "debug")
    with command.serving(*arguments, lines=SAID, CACHEMW_CLIENT_KEYS=KEYS, **SERVER) as serving:
        said = [answer(serving, key)[1] for key in ("sk-of-alice", "sk-of-bob", "sk-of-alice", "sk-of-bob") for _ in range(3)]
        for key in ("sk-of-eve", "cachemw"):
            with pytest.raises(openai.AuthenticationError, match="bring one of the keys"):
                answer(serving, key)
        serving.end()
        output = serving.said + serving.output.read()

    assert ["hit" in text for text in said] == [False, True, True, False, *[True] * 8]
    assert behind.keys() == [b"Bearer sk-of-server"] * 2
    assert "clients bring one of 2 keys, and CACHEMW_UPSTREAM_API_KEY goes there" in output
    assert "sk-of" not in output


def test_without_a_key_of_the_servers_none_goes_upstream(command: Command, behind: Behind) -> None:
    """For one that needs none; the client's is not for it."""
    arguments = ("serve", "--port", 0, "--upstream", behind.url, "--client-key", "sk-of-alice", "--client-key", "sk-of-bob")
    with command.serving(*arguments, lines=SAID) as serving:
        answer(serving, "sk-of-bob")

    assert behind.keys() == [None]
    assert "CACHEMW_UPSTREAM_API_KEY is not set, so no key goes there" in serving.said


ANY = "it answers to any name, for clients bring a key: http://cache.example:"
SOME = "it answers to http://cache.example:"
BEYOND = {
    "with keys": (("--client-key", "sk-of-alice"), {}, (200, 401), 200, ANY),
    "for everyone": (("--insecure",), {}, (200, 200), 403, SOME),
    "for everyone, by the environment": ((), {"CACHEMW_INSECURE": "1"}, (200, 200), 403, SOME),
}


@pytest.mark.parametrize(("arguments", "variables", "expected", "other", "names"), BEYOND.values(), ids=BEYOND.keys())
def test_beyond_loopback_it_listens_with_keys_or_for_everyone(
    command: Command,
    behind: Behind,
    arguments: tuple[str, ...],
    variables: dict[str, str],
    expected: tuple[int, int],
    other: int,
    names: str,
) -> None:
    """I2, I8: and answers to the names that it was told, or to any, where clients bring a key."""
    arguments = ("--host", "0.0.0.0", "--allow-host", "cache.example", "--upstream", behind.url, *arguments)
    with command.serving("serve", "--port", 0, *arguments, lines=SAID + 1, **variables, **SERVER) as serving:
        url = serving.url
        statuses = [ask(url, "hello", authorization=f"Bearer {key}").status_code for key in ("sk-of-alice", "sk-of-eve")]
        named = {name: _status(url, name) for name in ("cache.example", "CACHE.example:80", "0.0.0.0", "other.example")}
        reached = [_status(address, address.removeprefix("http://")) for address in _addresses(serving.said)]

    assert tuple(statuses) == expected
    assert named == {"cache.example": 200, "CACHE.example:80": 200, "0.0.0.0": other, "other.example": other}
    assert names in serving.said
    assert set(reached) <= {200}


def _addresses(said: str) -> list[str]:
    """Return the URLs of this machine's own addresses, as they can be pasted."""
    return re.findall(r"(http://(?:[0-9.]+|\[[0-9a-f:]+\]):\d+)/v1", said.partition("it answers to")[2])


def _status(url: str, host: str, path: str = "/v1/models", **more: str) -> int:
    headers = {"host": host, "authorization": "Bearer sk-of-alice", **more}
    return httpx.get(url + path, headers=headers, trust_env=False).status_code


LENT = {
    "with keys": (("--client-key", "sk-of-alice", "--lend", "batches"), {}, [403, 200, 200]),
    "with keys, by the environment": (("--client-key", "sk-of-alice"), {"CACHEMW_LEND": "files,/v1/batches"}, [200, 200, 200]),
    "for everyone": (("--host", "0.0.0.0", "--insecure", "--lend", "batches"), {}, [403, 200, 200]),
    "on loopback": (("--insecure",), {}, [200, 200, 200]),
}


@pytest.mark.parametrize(("arguments", "variables", "expected"), LENT.values(), ids=LENT.keys())
def test_a_lent_key_opens_what_keeps_nothing_and_what_it_is_told_to(
    command: Command, behind: Behind, arguments: tuple[str, ...], variables: dict[str, str], expected: list[int]
) -> None:
    """A4: in every worker."""
    options = ("--port", 0, "--upstream", behind.url, "--workers", 2, *arguments)
    key = "cachemw" if "--insecure" in arguments else "sk-of-alice"
    with command.serving("serve", *options, lines=SAID, **variables, **SERVER) as serving:
        url = serving.url
        statuses = [
            [
                _status(url, "localhost", path, authorization=f"Bearer {key}")
                for path in ("/v1/files", "/v1/batches/b", "/v1/models")
            ]
            for _ in range(8)
        ]

    assert statuses == [expected] * 8
    assert set(behind.keys()) == {b"Bearer sk-of-server"}


def test_what_cannot_be_lent_is_one_line(here: Callable[..., Done]) -> None:
    """E7."""
    assert "'/v1' cannot be lent" in refusal(here("serve", "--port", 0, "--lend", "/v1"))


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_a_page_of_another_port_may_not_ask_though_it_has_the_name_that_is_listened_on(
    command: Command, behind: Behind, host: str
) -> None:
    """F127, I8."""
    with command.serving("serve", "--port", 0, "--host", host, "--upstream", behind.url, lines=SAID, **SERVER) as serving:
        own = serving.url.removeprefix("http://")
        statuses = [
            _status(serving.url, own, origin=origin)
            for origin in (f"http://{own}", "http://localhost:3000", "http://127.0.0.1:3000")
        ]

    assert statuses == [200, 403, 403]


def test_what_is_too_large_is_not_taken(command: Command, behind: Behind) -> None:
    with command.serving("serve", "--port", 0, "--upstream", behind.url, "--max-body", 1_000, lines=SAID) as serving:
        replies = [ask(serving.url, "x" * size) for size in (500, 1_000)]

    assert [reply.status_code for reply in replies] == [200, 413]
    assert replies[1].json()["error"]["code"] == "request_too_large"


def test_what_is_malformed_reaches_no_upstream(command: Command, behind: Behind) -> None:
    """S11: over uvloop, where that is to be had, and in the process that users run."""
    with command.serving("serve", "--port", 0, "--upstream", behind.url, lines=SAID, **SERVER) as serving:
        statuses = {name: _said(serving, request + SECOND) for name, request in MALFORMED.items()}

    assert {name: status for name, status in statuses.items() if status != [b"400"]} == {}
    assert behind.upstream.calls == 0


def _said(serving: Serving, request: bytes) -> list[bytes]:
    """Return the statuses of all answers until the connection is closed."""
    host, _, port = serving.url.removeprefix("http://").partition(":")
    with socket.create_connection((host, int(port)), timeout=5) as connection:
        connection.sendall(request)
        reply = b"".join(iter(lambda: connection.recv(65_536), b""))
    return re.findall(rb"HTTP/1.1 (\d+)", reply)


def test_help_does_not_show_a_key(here: Callable[..., Done]) -> None:
    """I4."""
    done = here("serve", "--help", CACHEMW_CLIENT_KEYS=KEYS)

    assert done.returncode == 0
    assert "--client-key" in done.stdout
    assert "CACHEMW_CLIENT_KEYS" in done.stdout
    assert "sk-of" not in done.stdout


@pytest.mark.parametrize(
    "value", [",", "sk-of-alice,", "sk-of-alice, sk-of-bob", "sk-of-alice\r", "sk-of-alice\udcff", "cachemw"], ids=ascii
)
def test_keys_that_cannot_be_are_one_line_that_shows_none(here: Callable[..., Done], value: str) -> None:
    """I4."""
    line = refusal(here("serve", "--port", 0, CACHEMW_CLIENT_KEYS=value))

    assert "client key" in line
    assert "sk-of" not in line
