"""How `cachemw serve` ends (F14): real processes, sockets and signals."""

import contextlib
import json
import os
import re
import signal
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import anyio
import pytest

from cachemw.simulator import Simulator
from tests.cli.command import PATIENCE, Command, Serving
from tests.serving import serving_in_thread
from tests.upstream import EVENT_STREAM, Asked, Told, Upstream, event, prompt

FIRST = event({"content": "first"})
PROMPTLY = 5.0
"""Seconds, of the eight that answers have to end by themselves."""


def silent_after_the_first(_: Asked) -> Told:
    return Told([FIRST, anyio.Event()], headers=EVENT_STREAM)


@pytest.fixture(scope="module")
def silent() -> Iterator[str]:
    with serving_in_thread(Upstream(silent_after_the_first)) as url:
        yield f"{url}/v1"


@contextlib.contextmanager
def streaming(serving: Serving, text: str, control: bytes = b"") -> Iterator[tuple[socket.socket, bytearray]]:
    """Open a stream, and read the first of it."""
    host, _, port = serving.url.removeprefix("http://").partition(":")
    body = prompt(text, stream=True)
    head = b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n" + control
    with socket.create_connection((host, int(port)), PATIENCE) as connection:
        connection.sendall(head + b"Content-Length: %d\r\n\r\n" % len(body) + body)
        heard = bytearray()
        while b"data: " not in heard:
            heard += connection.recv(65536)
        yield connection, heard


def rest(connection: socket.socket, heard: bytearray) -> bytes:
    """Read to the end."""
    with contextlib.suppress(ConnectionResetError):
        while chunk := connection.recv(65536):
            heard += chunk
    return bytes(heard)


def line_of(serving: Serving) -> str:
    return serving.output.readline().rstrip("\n")


def is_broken_off(reply: bytes) -> bool:
    """Say whether a stream ended in our error event and a broken transfer."""
    found = re.search(rb"data: (\{\"error\".*\})\n\n\r\n$", reply)
    return found is not None and json.loads(found[1])["error"]["code"] == "shutting_down"


@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("first", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("control", [b"", b"Cachemw: on\r\n"], ids=["relayed", "opted in"])
def test_the_first_signal_says_what_is_waited_for_and_ctrl_c_then_ends_at_once(
    command: Command, silent: str, first: signal.Signals, count: int, control: bytes
) -> None:
    """F14: and who is broken off is told, in an event and by a transfer without an end."""
    with contextlib.ExitStack() as stack:
        serving = stack.enter_context(command.serving("serve", "--port", 0, "--upstream", silent, lines=4))
        streams = [stack.enter_context(streaming(serving, f"{number}", control)) for number in range(count)]
        serving.process.send_signal(first)
        waiting = line_of(serving)
        began = time.monotonic()
        code = serving.end(signal.SIGINT)
        took = time.monotonic() - began
        replies = [rest(*stream) for stream in streams]
        more = serving.output.read()

    answers = "1 answer" if count == 1 else "2 answers"
    assert waiting == f"waiting for {answers}, Ctrl-C again to end at once"
    assert more == f"{answers} broken off\n"
    assert (code, took < PROMPTLY) == (0, True)
    assert all(map(is_broken_off, replies))


def in_the_terminal(serving: Serving) -> None:
    """Press Ctrl-C: every process of the group is told."""
    os.killpg(serving.process.pid, signal.SIGINT)


def at_the_parent(serving: Serving) -> None:
    os.kill(serving.process.pid, signal.SIGINT)


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="workers are told apart as Linux does it")
@pytest.mark.parametrize("interrupt", [in_the_terminal, at_the_parent])
def test_with_several_workers_it_is_the_same(command: Command, silent: str, interrupt: Callable[[Serving], None]) -> None:
    """F14: whether a terminal tells all of them, or somebody the parent alone."""
    with contextlib.ExitStack() as stack:
        arguments = ("serve", "--port", 0, "--upstream", silent, "--workers", 2)
        serving = stack.enter_context(command.serving(*arguments, lines=4))
        stream = stack.enter_context(streaming(serving, "a"))
        interrupt(serving)
        waiting = line_of(serving)
        began = time.monotonic()
        interrupt(serving)
        code = serving.process.wait(PATIENCE)
        took = time.monotonic() - began
        reply, more = rest(*stream), serving.output.read()

    assert re.fullmatch(r"worker \d+: waiting for 1 answer, Ctrl-C again to end at once", waiting)
    assert re.fullmatch(r"worker \d+: 1 answer broken off\n", more)
    assert (code, took < PROMPTLY) == (0, True)
    assert is_broken_off(reply)


def test_ctrl_c_while_workers_start_ends_them_without_a_word(command: Command, silent: str) -> None:
    """F14, F72."""
    with command.serving("serve", "--port", 0, "--upstream", silent, "--workers", 2, lines=4) as serving:
        in_the_terminal(serving)
        code = serving.process.wait(PATIENCE)
        said = serving.output.read()

    assert (code, said) == (0, "")


def test_who_ends_in_time_has_it_all(command: Command) -> None:
    """P5, F14."""
    with contextlib.ExitStack() as stack:
        url = stack.enter_context(serving_in_thread(Simulator(tokens_per_second=50.0)))
        serving = stack.enter_context(command.serving("serve", "--port", 0, "--upstream", f"{url}/v1", lines=4))
        stream = stack.enter_context(streaming(serving, "whole", b"Cachemw: on\r\n"))
        code = serving.end(signal.SIGTERM, PATIENCE)
        reply, said = rest(*stream), serving.output.read()

    assert b"data: [DONE]\n\n" in reply
    assert reply.endswith(b"\r\n0\r\n\r\n")
    assert (code, said) == (0, "waiting for 1 answer, Ctrl-C again to end at once\n")


ENDED_SOON = """
import sys
from functools import partial
from cachemw import MemoryStore
from cachemw.cli.serve import configured, listen, run, url_of
from cachemw.proxy import Gate, Proxy
from cachemw.proxy.admission import AccessRules
from cachemw.proxy.listener import GuardedProtocol
from cachemw import Policy
from cachemw.upstreams import HttpUpstream

proxy = Proxy(HttpUpstream(sys.argv[1]), store=MemoryStore())
with listen("127.0.0.1", 0) as listener:
    config = configured(Gate(proxy, AccessRules(Policy())), "info", protocol=GuardedProtocol)
    config.timeout_graceful_shutdown = 1
    run(config, listener, lambda: print(f"it listens on {url_of(listener)}", flush=True))
"""


def test_what_takes_longer_than_it_may_is_broken_off_without_a_fault_in_the_log(command: Command, silent: str) -> None:
    """F14: uvicorn would call it an error of ours."""
    with contextlib.ExitStack() as stack:
        serving = stack.enter_context(command.script(ENDED_SOON, silent))
        stream = stack.enter_context(streaming(serving, "a"))
        code = serving.end(signal.SIGTERM, PATIENCE)
        reply, said = rest(*stream), serving.output.read()

    assert "1 answer broken off" in said
    assert "ERROR" not in said
    assert "Traceback" not in said
    assert is_broken_off(reply)
    assert code == 0
