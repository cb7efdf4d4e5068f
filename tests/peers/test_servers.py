"""Real servers, each in a process of its own: what the mounts promise holds over their sockets."""

import http.client
import itertools
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from tests.peers.running import (
    CHAT,
    DONE,
    GUNICORN,
    HYPERCORN,
    JSON,
    MOUNTS,
    ON,
    PATIENCE_SECONDS,
    UVICORN,
    Peer,
    Server,
    read_until,
    served,
    until,
)
from tests.upstream import prompt

pytestmark = [pytest.mark.peers, pytest.mark.timeout(600)]  # the first test of an environment makes it

ASGI = "tests.peers.servers.asgi:app"
WSGI = "tests.peers.servers.wsgi:app"

ON_ASGI = {
    "uvicorn": UVICORN + ASGI,
    "uvicorn-h11": UVICORN + "--http h11 --loop asyncio " + ASGI,
    "hypercorn": HYPERCORN + ASGI,
    "hypercorn-trio": HYPERCORN + "--worker-class trio " + ASGI,
}
ON_WSGI = {
    "gunicorn": GUNICORN + WSGI,
    "gunicorn-gthread": GUNICORN + "--worker-class gthread --threads 4 " + WSGI,
    "waitress": "-m tests.peers.servers.on_waitress {fd}",
}
IN_WORKERS = {
    "uvicorn": UVICORN + "--workers 2 " + ASGI,
    "hypercorn": HYPERCORN + "--workers 2 " + ASGI,
    "gunicorn": GUNICORN + "--workers 2 " + WSGI,
    "gunicorn-preload": GUNICORN + "--preload --workers 2 " + WSGI,
    "gunicorn-gthread-preload": GUNICORN + "--preload --workers 2 --threads 4 " + WSGI,
}
SERVERS = {name: Server("servers", arguments) for name, arguments in {**ON_ASGI, **ON_WSGI}.items()}

numbers = itertools.count()


@pytest.fixture(scope="module", params=[f"{server} {mount}" for server in SERVERS for mount in MOUNTS])
def peer(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Peer]:
    server, mount = request.param.split()
    with served(mount, SERVERS[server], tmp_path_factory.mktemp(server)) as running:
        yield running


def test_json_is_a_miss_and_then_a_hit(peer: Peer) -> None:
    text = f"plain {next(numbers)}"

    miss, hit = peer.ask(text), peer.ask(text)

    assert "fwd=miss" in miss.headers["cache-status"], miss.text
    assert "; hit;" in hit.headers["cache-status"]
    assert hit.content == miss.content
    assert peer.calls(text) == 1


def test_a_stream_is_a_miss_and_then_a_hit(peer: Peer) -> None:
    """S1, S2."""
    text = f"plain {next(numbers)}"

    miss, hit = peer.ask(text, stream=True), peer.ask(text, stream=True)

    assert "fwd=miss" in miss.headers["cache-status"], miss.text
    assert "; hit;" in hit.headers["cache-status"]
    assert hit.content == miss.content
    assert hit.content.endswith(DONE + b"\n\n")
    assert peer.calls(text) == 1


def test_a_stream_begins_before_its_end_was_produced(peer: Peer) -> None:
    """S6, H8: the head and the first event are there while the last is not; what is stored is what was sent."""
    text = f"hold {next(numbers)}"

    with peer.opened(text) as response:
        said = read_until(response, b"assistant")
        peer.release(text)
        said += response.read()
    hit = peer.ask(text, stream=True)

    assert "; hit;" in hit.headers["cache-status"]
    assert hit.content == said
    assert peer.calls(text) == 1


def test_a_client_that_hangs_up_at_done_finds_its_stream_stored(peer: Peer) -> None:
    """R1b, P2."""
    text = f"hold {next(numbers)}"

    with peer.opened(text) as response:
        read_until(response, b"assistant")
        peer.release(text)
        read_until(response, DONE)
    hit = peer.ask(text, stream=True)

    assert "; hit;" in hit.headers["cache-status"]
    assert peer.calls(text) == 1


def test_an_answer_ends_when_its_client_has_left(peer: Peer) -> None:
    """H3, H7: at once under ASGI, at one of the next writes under WSGI."""
    text = f"slow {next(numbers)}"

    with peer.opened(text, {"cachemw": "on, abandon=cancel"}) as response:
        read_until(response, b"word")
    journal = peer.settled(text)

    assert "part" in journal
    assert "ended" not in journal


def test_a_chunked_request_is_a_miss_and_then_a_hit(peer: Peer) -> None:
    """H2, H7: a body that nobody said the length of, to us and to the app."""
    body = prompt(f"plain {next(numbers)}")

    with httpx.Client(trust_env=False, timeout=PATIENCE_SECONDS) as client:
        answers = [client.post(peer.url + CHAT, content=iter([body[:9], body[9:]]), headers={**JSON, **ON}) for _ in range(2)]

    assert [answer.headers["cache-status"].split("; ")[1] for answer in answers] == ["fwd=miss", "hit"]
    assert answers[0].content == answers[1].content


def test_identical_requests_for_json_at_once_are_one_call(peer: Peer) -> None:
    """P1."""
    text = f"hold {next(numbers)}"

    with ThreadPoolExecutor(4) as callers:
        asked = [callers.submit(peer.ask, text) for _ in range(4)]
        peer.settled(text)
        peer.release(text)
    answers = [answer.result() for answer in asked]

    assert len({answer.content for answer in answers}) == 1
    assert [answer.status_code for answer in answers] == [200] * 4
    assert peer.calls(text) == 1


@pytest.mark.parametrize("mount", MOUNTS)
@pytest.mark.parametrize("server", SERVERS)
def test_a_stream_that_breaks_off_is_a_broken_transfer(server: str, mount: str, tmp_path: Path) -> None:
    """H10: one error event, no end; the server goes on."""
    with MOUNTS[mount](SERVERS[server], tmp_path) as peer:
        with peer.opened("broken") as response, pytest.raises(http.client.IncompleteRead) as raised:
            response.read()
        answer = peer.ask("plain")

    assert raised.value.partial.count(b'data: {"error"') == 1
    assert DONE not in raised.value.partial
    assert answer.status_code == 200


@pytest.fixture(scope="module", params=ON_ASGI)
def asgi_peer(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Peer]:
    with served("around", SERVERS[request.param], tmp_path_factory.mktemp(request.param)) as running:
        yield running


@pytest.mark.parametrize("headers", [ON, {}], ids=["on", "off"])
def test_under_asgi_a_client_that_leaves_in_silence_is_noticed(asgi_peer: Peer, headers: dict[str, str]) -> None:
    """H2, H3, H7."""
    text = f"hold {next(numbers)} last"

    with asgi_peer.opened(text, headers) as response:
        read_until(response, b"last")
    journal = asgi_peer.settled(text)

    assert journal[-2:] == ["left", "stopped"]


@pytest.fixture(scope="module", params=ON_WSGI)
def wsgi_peer(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Peer]:
    with served("around", SERVERS[request.param], tmp_path_factory.mktemp(request.param)) as running:
        yield running


@pytest.mark.parametrize("kind", ["plain", "late"])
@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("headers", [ON, {}], ids=["on", "off"])
def test_a_wsgi_app_is_read_in_its_thread_and_closed_once(
    wsgi_peer: Peer, kind: str, stream: bool, headers: dict[str, str]
) -> None:
    """H7: also where it calls `start_response` only when it is read, and where nobody opted in."""
    text = f"{kind} {next(numbers)}"

    answer = wsgi_peer.ask(text, headers, stream=stream)

    journal = wsgi_peer.settled(text)
    assert answer.status_code == 200
    assert (journal.count("asked"), journal.count("ended"), journal.count("closed")) == (1, 1, 1)
    assert "elsewhere" not in journal


@pytest.mark.parametrize("headers", [ON, {}], ids=["on", "off"])
def test_a_wsgi_app_is_closed_once_when_its_client_has_left(wsgi_peer: Peer, headers: dict[str, str]) -> None:
    """H7."""
    text = f"slow {next(numbers)}"

    with wsgi_peer.opened(text, headers) as response:
        read_until(response, b"word")
    journal = wsgi_peer.settled(text)

    assert (journal.count("ended"), journal.count("stopped"), journal.count("closed")) == (0, 1, 1)
    assert "elsewhere" not in journal


@pytest.mark.parametrize("headers", [ON, {}], ids=["on", "off"])
def test_under_wsgi_a_client_that_leaves_in_silence_is_not_noticed(wsgi_peer: Peer, headers: dict[str, str]) -> None:
    """H7: not before the next writes; then the app is closed, once."""
    text = f"hold {next(numbers)} last"

    with wsgi_peer.opened(text, headers) as response:
        read_until(response, b"last")
    silent = wsgi_peer.settled(text)
    wsgi_peer.release(text)
    until(lambda: "closed" in wsgi_peer.journal(text))

    assert silent[-1] == "part"
    assert wsgi_peer.settled(text).count("closed") == 1


@pytest.fixture(params=IN_WORKERS)
def workers(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Peer]:
    with served("around", Server("servers", IN_WORKERS[request.param]), tmp_path) as running:
        yield running


@pytest.mark.parametrize("stream", [False, True])
def test_what_one_worker_stores_every_worker_serves(workers: Peer, stream: bool) -> None:
    """E5, D3."""
    miss = workers.ask("plain", stream=stream)

    hits = [miss]
    with ThreadPoolExecutor(8) as callers:
        while len({answer.headers["x-process"] for answer in hits}) < 2:
            hits += callers.map(lambda _: workers.ask("plain", stream=stream), range(16))

    assert {answer.content for answer in hits} == {miss.content}
    assert all("; hit;" in answer.headers["cache-status"] for answer in hits[1:])
    assert workers.calls("plain") == 1
