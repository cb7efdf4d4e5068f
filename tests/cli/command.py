"""The command as a user runs it: a process of its own, in an environment that holds what the test says and no more."""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Protocol

import httpx

import cachemw

ROOT = Path(cachemw.__file__).parents[1]
PATIENCE = 30.0
LISTENS = " listens on "


@dataclass(frozen=True, slots=True)
class Serving:
    """A command that listens at `url`; `said` is what it has said until then."""

    process: subprocess.Popen[str]
    url: str
    said: str

    @property
    def output(self) -> IO[str]:
        assert self.process.stdout is not None
        return self.process.stdout

    def workers(self) -> list[int]:
        """Return the processes that answer for it, as Linux lists them."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        return [int(pid) for pid in children if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes()]

    def end(self, by: signal.Signals = signal.SIGTERM, seconds: float = 5.0) -> int:
        """Send it a signal; return its exit code. Raises `subprocess.TimeoutExpired`."""
        self.process.send_signal(by)
        return self.process.wait(seconds)


@dataclass(frozen=True, slots=True)
class Command:
    """Runs `python`, and `cachemw` in it."""

    environment: Mapping[str, str]

    def __call__(self, *arguments: object, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run `cachemw` to its end."""
        return self.python("-m", "cachemw", *arguments, **variables)

    def python(self, *arguments: object, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run Python to its end."""
        command = [sys.executable, *map(str, arguments)]
        environment = {**self.environment, **variables}
        return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=PATIENCE)

    def serving(self, *arguments: object, lines: int = 1, **variables: str) -> AbstractContextManager[Serving]:
        """Run `cachemw` until it has said so many lines, the first of which is where it listens; warnings may come before."""
        return self._running("-m", "cachemw", *arguments, lines=lines, **variables)

    def script(self, text: str, *arguments: object) -> AbstractContextManager[Serving]:
        """Run Python until it has said where it listens."""
        return self._running("-c", text, *arguments, lines=1)

    @contextlib.contextmanager
    def _running(self, *arguments: object, lines: int, **variables: str) -> Iterator[Serving]:
        process = subprocess.Popen(
            [sys.executable, *map(str, arguments)],
            env={**self.environment, **variables},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        assert process.stdout is not None
        with process:
            try:
                warned, said = "", process.stdout.readline()
                while said and LISTENS not in said:
                    warned, said = warned + said, process.stdout.readline()
                assert said, warned
                said += "".join(process.stdout.readline() for _ in range(lines - 1))
                yield Serving(process, said.partition(LISTENS)[2].split()[0].removesuffix("/v1"), said)
            finally:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)  # its own group: its workers too


def at_home(home: Path) -> Command:
    """Return the command of a user that has this directory and no key."""
    temporary = home / "temporary"
    temporary.mkdir()
    return Command(
        {
            "PATH": os.environ.get("PATH", ""),
            "HOME": str(home),
            "XDG_CACHE_HOME": str(home / "caches"),
            "TMPDIR": str(temporary),
            "PYTHONPATH": str(ROOT),
            "PYTHONUNBUFFERED": "1",
            "COLUMNS": "200",
            "HTTP_PROXY": "http://127.0.0.1:9",  # what is asked on this machine never goes through one
            "SSL_CERT_FILE": os.devnull,  # no command here speaks TLS, and to read certificates is a fifth of its start
        }
    )


class Said(Protocol):
    """What a command came to."""

    returncode: int
    stdout: str
    stderr: str


@dataclass(slots=True)
class Done:
    """A command that ran in this process."""

    returncode: int
    stdout: str
    stderr: str


def ask(url: str, prompt: str, **headers: str) -> httpx.Response:
    """Send a chat request, over a new connection."""
    body = {"messages": [{"role": "user", "content": prompt}]}
    with httpx.Client(trust_env=False, timeout=PATIENCE) as client:
        return client.post(f"{url}/v1/chat/completions", json=body, headers=headers)


def cache_status(response: httpx.Response) -> list[str]:
    """Return the parts of our `Cache-Status` member."""
    assert response.status_code == 200, response.text
    return str(response.headers.get("cache-status", "")).split("; ")


def refusal(done: Said) -> str:
    """Return the one line that a command says in place of doing what it was asked."""
    assert (done.returncode, done.stdout) == (1, ""), done
    (line,) = done.stderr.splitlines()
    return line.removeprefix("cachemw: ")
