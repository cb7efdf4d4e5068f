"""What commands listen on: ports, and Unix sockets."""

import os
import signal
import socket
import stat
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from cachemw.cli.listening import EVERYBODYS_SOCKET, OWNERS_SOCKET, holder_of, is_loopback, listening_at, own_names
from cachemw.errors import CommandError
from cachemw.simulator import Simulator
from tests.cli.command import PATIENCE, Command, Done, refusal

Here = Callable[..., Done]
SAID = 5


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.9.10", "::1", "localhost", "LocalHost"])
def test_a_loopback_address_is_one(host: str) -> None:
    assert is_loopback(host)


@pytest.mark.parametrize(
    "host", ["0.0.0.0", "::", "192.0.2.1", "example.org", "localhost.example.org", "128.0.0.1", "", "127.1"]
)
def test_any_other_host_is_none(host: str) -> None:
    """I2: beyond loopback everyone could spend the server's key."""
    assert not is_loopback(host)


def test_no_address_is_named_that_nobody_listens_at() -> None:
    """F7: IPv4 alone, where `0.0.0.0` is listened on."""
    assert not [name for name in own_names("0.0.0.0") if ":" in name]
    assert set(own_names("0.0.0.0")) <= set(own_names("::"))


def test_who_has_a_port_is_named() -> None:
    """F22."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        holder = holder_of(port)

    assert holder is not None
    assert holder.endswith(f"(process {os.getpid()})")
    assert holder_of(port) is None  # nobody has it now


def test_an_address_that_is_no_machines_of_ours_is_one_line(here: Here) -> None:
    """F22."""
    line = refusal(here("serve", "--port", 0, "--host", "192.0.2.77", "--client-key", "sk-a"))

    assert line.endswith("this machine has no address 192.0.2.77: choose another one with --host")


def connected(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as client:
        return client.connect_ex(str(path)) == 0


@pytest.mark.parametrize("mode", [OWNERS_SOCKET, EVERYBODYS_SOCKET])
def test_a_socket_has_its_mode_and_is_removed_in_the_end(tmp_path: Path, mode: int) -> None:
    """F20, I2: and one that was left by a program that was killed is replaced."""
    path = tmp_path / "cachemw.sock"
    for _ in range(2):
        with listening_at(str(path), mode):
            assert connected(path)
            assert stat.S_IMODE(path.lstat().st_mode) == mode
        assert not path.exists()
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(path))
    assert path.exists()

    with listening_at(str(path), mode):
        assert connected(path)


def test_a_socket_that_took_the_place_of_ours_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "cachemw.sock"
    with socket.socket(socket.AF_UNIX) as other:
        with listening_at(str(path), OWNERS_SOCKET):
            path.unlink()
            other.bind(str(path))

        assert path.exists()


def test_what_cannot_be_a_socket_is_said(tmp_path: Path) -> None:
    """F20: a program that listens is not robbed of its socket, nor a file of its content."""
    (tmp_path / "file").write_text("kept")
    taken, places = tmp_path / "taken.sock", {}
    with listening_at(str(taken), OWNERS_SOCKET):
        for place in (taken, tmp_path / "file", tmp_path / "none" / "x.sock", tmp_path / ("x" * 120)):
            with pytest.raises(CommandError) as refused, listening_at(str(place), OWNERS_SOCKET):
                pass
            places[place.name[:9]] = str(refused.value)
        assert connected(taken)

    assert places == {
        "taken.soc": f"cannot listen on {taken}: another program does (--uds)",
        "file": f"cannot listen on {tmp_path}/file: it is there, and is no socket (--uds)",
        "x.sock": f"cannot listen on {tmp_path}/none/x.sock: No such file or directory (--uds)",
        "x" * 9: f"cannot listen on {tmp_path}/{'x' * 120}: AF_UNIX path too long (--uds)",
    }
    assert (tmp_path / "file").read_text() == "kept"


@pytest.mark.parametrize("workers", [1, 2])
def test_it_serves_at_a_unix_socket(command: Command, simulated: tuple[Simulator, str], tmp_path: Path, workers: int) -> None:
    """F20: in every worker, recalled hits included; and the socket is gone in the end."""
    path = tmp_path / "cachemw.sock"
    options = ("--uds", path, "--upstream", simulated[1], "--default", "on", "--workers", workers)
    body = {"messages": [{"role": "user", "content": "over a socket"}]}

    with command.serving("serve", *options, lines=SAID) as serving:
        transport = httpx.HTTPTransport(uds=str(path))
        with httpx.Client(transport=transport, base_url="http://localhost", timeout=PATIENCE) as client:
            answers = [client.post("/v1/chat/completions", json=body) for _ in range(8)]
        mode = stat.S_IMODE(path.lstat().st_mode)
        code = serving.end(signal.SIGTERM)

    assert [answer.status_code for answer in answers] == [200] * 8
    assert "; hit; " in answers[-1].headers["cache-status"]
    assert f"only your own programs may connect: curl --unix-socket {path} http://localhost/v1/models" in serving.said
    assert (mode, code, path.exists()) == (OWNERS_SOCKET, 0, False)


def test_a_socket_and_a_port_are_not_both_listened_on(here: Here, tmp_path: Path) -> None:
    line = refusal(here("serve", "--uds", tmp_path / "x.sock", "--port", 8081))

    assert line == "a Unix socket (--uds) stands in the place of --host and --port: give one or the other"
