"""`cachemw serve` and requests that it recalls before it has parsed them, as a process with a store on disk."""

import contextlib
import json
import signal
import socket
import time
from collections.abc import Iterator
from typing import IO

import pytest

from cachemw.simulator import Simulator
from tests.cli.command import PATIENCE, Command, Serving

BODY = json.dumps({"messages": [{"role": "user", "content": "once more"}]}).encode()
FIELDS = (b"Host: 127.0.0.1", b"Content-Type: application/json", b"Connection: keep-alive", b"Cachemw: on")
HEAD = b"\r\n".join([b"POST /v1/chat/completions HTTP/1.1", *FIELDS, b"Content-Length: %d" % len(BODY), b"", b""])


@contextlib.contextmanager
def connected(serving: Serving) -> Iterator[tuple[socket.socket, IO[bytes]]]:
    """Connect, as a client that sends a head and its body one after the other."""
    host, _, port = serving.url.removeprefix("http://").partition(":")
    with socket.create_connection((host, int(port)), PATIENCE) as connection, connection.makefile("rb") as said:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        yield connection, said


def answer(said: IO[bytes]) -> tuple[dict[bytes, bytes], bytes]:
    """Read an answer of known length: its fields, and its body."""
    assert said.readline() == b"HTTP/1.1 200 OK\r\n"
    lines = iter(said.readline, b"\r\n")
    fields = dict(line.rstrip().split(b": ", 1) for line in lines)
    return fields, said.read(int(fields[b"content-length"]))


@pytest.mark.parametrize("options", [(), ("--workers", 2)], ids=["one process", "two workers"])
def test_a_request_whose_body_comes_after_the_signal_is_answered(
    command: Command, simulated: tuple[Simulator, str], options: tuple[object, ...]
) -> None:
    """P5: though nothing but its head is there, and held unparsed."""
    with contextlib.ExitStack() as stack:
        serving = stack.enter_context(command.serving("serve", "--port", 0, "--upstream", simulated[1], *options))
        with connected(serving) as (connection, said):
            told = []
            for _ in range(6):
                connection.sendall(HEAD)
                time.sleep(0.02)  # else both come in one piece
                connection.sendall(BODY)
                told.append(answer(said))
            assert [b"; hit; " in fields[b"cache-status"] for fields, _ in told] == [False] + [True] * 5
            connection.sendall(HEAD)
            time.sleep(0.2)

            serving.process.send_signal(signal.SIGTERM)
            time.sleep(0.5)  # until it has been heard
            connection.sendall(BODY)
            fields, body = answer(said)
            code = serving.process.wait(PATIENCE)

    assert body == told[0][1]
    assert fields[b"connection"] == b"close"
    assert code == 0
