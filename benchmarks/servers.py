"""The servers that are measured, each in a process of its own, as `cachemw` itself runs them."""

import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from benchmarks.cores import pinned
from benchmarks.environments import Unavailable

Address = tuple[str, int]

HIT = b"cachemw; hit; "
ANY = b"HTTP/1.1 200"
STARTING_SECONDS = 120.0
WITHOUT_BLAKE3 = "import sys; sys.modules['blake3'] = None; from cachemw.cli import main; main()"


@dataclass(frozen=True, slots=True)
class Server:
    """Where a server listens, in which process, and what stands in the head of every answer that it is to give."""

    address: Address
    pid: int
    mark: bytes = ANY

    @property
    def url(self) -> str:
        return f"http://{self.address[0]}:{self.address[1]}"

    def cpu_seconds(self) -> float | None:
        """Return the processor time that its threads have had; `None` where this system does not say."""
        spent = []
        for path in Path(f"/proc/{self.pid}/task").glob("*/schedstat"):
            with suppress(OSError):  # a thread that has ended meanwhile
                spent.append(int(path.read_text().split()[0]))
        return sum(spent) / 1e9 if spent else None


@contextmanager
def simulator(core: int | None) -> Iterator[Server]:
    """Run the upstream."""
    with _announced(["-m", "cachemw", "simulate", "--port", "0"], core, ANY) as server:
        yield server


@contextmanager
def proxy(upstream: Server, directory: Path, core: int | None, *more: str, has_blake3: bool = True) -> Iterator[Server]:
    """Run `cachemw serve` in front of an upstream, with `more` options; it finds no BLAKE3 if it is not to."""
    program = ["-m", "cachemw"] if has_blake3 else ["-c", WITHOUT_BLAKE3]
    options = ["--port", "0", "--upstream", f"{upstream.url}/v1", "--dir", str(directory), *more]
    with _announced([*program, "serve", *options], core, HIT) as server:
        yield server


@contextmanager
def bare(answer: Path, core: int | None) -> Iterator[Server]:
    """Run an app that reads a request's body and gives one answer."""
    with _announced(["-m", "benchmarks.bare", str(answer)], core, ANY) as server:
        yield server


@contextmanager
def routed(answer: Path, core: int | None, store: str = "", directory: Path = Path()) -> Iterator[Server]:
    """Run a Starlette app whose route gives one answer; where a store is named, with us around it."""
    arguments = ["-m", "benchmarks.routed", str(answer), store, str(directory)]
    with _announced(arguments, core, HIT if store else ANY) as server:
        yield server


@contextmanager
def listening(command: Sequence[str], port: int, core: int | None, mark: bytes, **variables: str) -> Iterator[Server]:
    """Run a program that is told where to listen, and does not say when it does. Raises `Unavailable` if it never does."""
    with _started(command, core, variables, subprocess.DEVNULL) as process:
        address = ("127.0.0.1", port)
        until = time.monotonic() + STARTING_SECONDS
        while not _answers(address):
            if process.poll() is not None or time.monotonic() > until:
                raise Unavailable(f"{Path(command[0]).name} did not start")
            time.sleep(0.1)
        yield Server(address, process.pid, mark)


def free_port() -> int:
    """Return a port on which nobody listens now."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def _answers(address: Address) -> bool:
    with suppress(OSError), socket.create_connection(address, 1.0):
        return True
    return False


@contextmanager
def _announced(arguments: list[str], core: int | None, mark: bytes) -> Iterator[Server]:
    """Run a program of ours, which says where it listens."""
    with _started([sys.executable, "-u", *arguments], core, {}, subprocess.PIPE) as process:
        yield Server(_address(process), process.pid, mark)


@contextmanager
def _started(
    command: Sequence[str], core: int | None, variables: Mapping[str, str], output: int
) -> Iterator[subprocess.Popen[str]]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("CACHEMW_")}
    with pinned(core):
        process = subprocess.Popen(command, env={**environment, **variables}, stdout=output, text=True)
    try:
        yield process
    finally:
        process.terminate()
        process.communicate()


def _address(process: subprocess.Popen[str]) -> Address:
    """Return where it says that it listens."""
    said = process.stdout.readline() if process.stdout else ""
    found = re.search(r"http://([\d.]+):(\d+)", said)
    if found is None:
        raise RuntimeError(f"{process.args!r} did not start")
    return found[1], int(found[2])
