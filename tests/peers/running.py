"""Servers in processes of their own, on sockets that were bound for them, and their client."""

import contextlib
import http.client
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import httpx

from tests.peers.asgi_bot import asgi_app
from tests.peers.bot import BEAT_SECONDS, Bot
from tests.peers.environments import ROOT, python_of
from tests.serving import serving_in_thread
from tests.upstream import prompt

PATIENCE_SECONDS = 30.0
LOG = "server.log"
CHAT = "/v1/chat/completions"
DONE = b"data: [DONE]"
ON = {"cachemw": "on"}
JSON = {"content-type": "application/json"}

UVICORN = "-m uvicorn --fd {fd} "
HYPERCORN = "-m hypercorn --bind fd://{fd} "
GUNICORN = "-m gunicorn --no-control-socket --bind fd://{fd} "


@dataclass(frozen=True, slots=True)
class Server:
    """How a server is started on an open socket: in which environment, by which arguments of Python."""

    environment: str
    arguments: str

    def command(self, fd: int) -> list[str]:
        """Return what is run; may first make the environment."""
        return [str(python_of(self.environment)), *self.arguments.format(fd=fd).split()]


@dataclass(frozen=True, slots=True)
class Peer:
    """A server that runs, and where the bot that answers its misses says what it was asked."""

    url: str
    bot: Bot
    calls_url: str

    def ask(self, text: str, headers: Mapping[str, str] = ON, **more: object) -> httpx.Response:
        """Send a chat request, over a new connection."""
        with httpx.Client(trust_env=False, timeout=PATIENCE_SECONDS) as client:
            return client.post(self.url + CHAT, content=prompt(text, **more), headers={**JSON, **headers})

    @contextlib.contextmanager
    def opened(self, text: str, headers: Mapping[str, str] = ON) -> Iterator[http.client.HTTPResponse]:
        """Send a chat request for a stream, whose bytes are read as they come; hang up at the end."""
        url = httpx.URL(self.url)
        connection = http.client.HTTPConnection(url.host, url.port, timeout=PATIENCE_SECONDS)
        with contextlib.closing(connection):
            connection.request("POST", CHAT, prompt(text, stream=True), {**JSON, **headers})
            with connection.getresponse() as response:
                yield response

    def calls(self, text: str) -> int:
        """Return how often the bot was asked this, as it says itself."""
        with httpx.Client(trust_env=False, timeout=PATIENCE_SECONDS) as client:
            calls: dict[str, int] = client.get(f"{self.calls_url}/calls").raise_for_status().json()
            return calls.get(text, 0)

    def journal(self, text: str) -> list[str]:
        """Return what happened to the requests with this prompt."""
        path = self.bot.directory / f"{text}.journal"
        return path.read_text().split() if path.exists() else []

    def settled(self, text: str) -> list[str]:
        """Return the journal when nothing was added for ten beats of a `slow` answer. Raises `TimeoutError`."""
        journal: list[str] = []
        ends = time.monotonic() + PATIENCE_SECONDS
        while not journal or journal != self.journal(text):
            if time.monotonic() > ends:
                raise TimeoutError
            journal = self.journal(text)
            time.sleep(10 * BEAT_SECONDS)
        return journal

    def release(self, text: str) -> None:
        """Let a `hold` prompt's stream end."""
        (self.bot.directory / f"{text}.go").touch()


def read_until(response: http.client.HTTPResponse, mark: bytes) -> bytes:
    """Read as the bytes come, until these did."""
    said = b""
    while mark not in said:
        chunk = response.read1()
        assert chunk, said
        said += chunk
    return said


def until(holds: Callable[[], bool]) -> None:
    """Wait for what another process does. Raises `TimeoutError`."""
    ends = time.monotonic() + PATIENCE_SECONDS
    while not holds():
        if time.monotonic() > ends:
            raise TimeoutError
        time.sleep(0.01)


@contextlib.contextmanager
def served(mount: str, server: Server, directory: Path) -> Iterator[Peer]:
    """Run a server with one of the mounts. Raises `AssertionError` where it wrote a traceback."""
    with MOUNTS[mount](server, directory) as peer:
        yield peer
    assert "Traceback" not in (directory / LOG).read_text()


@contextlib.contextmanager
def around(server: Server, directory: Path) -> Iterator[Peer]:
    """Run a server with the middleware around the bot."""
    with running(server, directory, {}) as url:
        yield Peer(url, Bot(directory), url)


@contextlib.contextmanager
def beside(server: Server, directory: Path) -> Iterator[Peer]:
    """Run a server with the middleware, and the bot as its HTTP upstream; the app that it is around is never asked to chat."""
    upstream, own = Bot(directory / "upstream"), Bot(directory)
    upstream.directory.mkdir()
    with (
        serving_in_thread(asgi_app(upstream)) as upstream_url,
        running(server, directory, {"PEER_UPSTREAM": upstream_url + "/v1"}) as url,
    ):
        yield Peer(url, upstream, upstream_url)
    assert not own.calls()


MOUNTS: Mapping[str, Callable[[Server, Path], contextlib.AbstractContextManager[Peer]]] = {"around": around, "beside": beside}


@contextlib.contextmanager
def running(server: Server, directory: Path, variables: Mapping[str, str]) -> Iterator[str]:
    """Run a server on a socket of ours; gives its URL."""
    log = directory / LOG
    with socket.create_server(("127.0.0.1", 0)) as listener, log.open("wb") as output:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        process = subprocess.Popen(
            server.command(listener.fileno()),
            cwd=directory,
            env=_environment(directory, variables),
            pass_fds=[listener.fileno()],
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        yield url
        _end(process)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # its own group: its workers too
        process.wait()
        print(log.read_text())


def _environment(directory: Path, variables: Mapping[str, str]) -> dict[str, str]:
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(directory),
        "PYTHONPATH": str(ROOT),
        "PEER_DIRECTORY": str(directory),
        **variables,
    }


def _end(process: subprocess.Popen[bytes]) -> None:
    assert process.poll() is None, "it ended by itself"
    process.terminate()
    process.wait(PATIENCE_SECONDS)
