"""Frameworks as their users write them, on a real server: cachemw around what they answer, or with an upstream beside them."""

import contextlib
from collections.abc import Iterator

import pytest

from tests.peers.running import GUNICORN, MOUNTS, ON, UVICORN, Peer, Server, read_until, served
from tests.peers.test_servers import test_a_client_that_hangs_up_at_done_finds_its_stream_stored as test_done
from tests.peers.test_servers import test_a_stream_begins_before_its_end_was_produced as test_begins
from tests.peers.test_servers import test_a_stream_is_a_miss_and_then_a_hit as test_stream
from tests.peers.test_servers import test_an_answer_ends_when_its_client_has_left as test_ends
from tests.peers.test_servers import test_json_is_a_miss_and_then_a_hit as test_json

pytestmark = [pytest.mark.peers, pytest.mark.timeout(600)]  # the first test of an environment makes it

__all__ = ["test_begins", "test_done", "test_ends", "test_json", "test_stream"]  # with the peers of this module

FRAMEWORKS = {
    "starlette": Server("starlette", UVICORN + "tests.peers.starlette.app:app"),
    "fastapi": Server("fastapi", UVICORN + "tests.peers.fastapi.app:app"),
    "flask": Server("flask", GUNICORN + "--threads 4 tests.peers.flask.app:app"),
    "django": Server("django", GUNICORN + "--threads 4 tests.peers.django.on_wsgi:app"),
    "django-async": Server("django", UVICORN + "tests.peers.django.on_asgi:app"),
}


@pytest.fixture(scope="module", params=[f"{framework} {mount}" for framework in FRAMEWORKS for mount in MOUNTS])
def peer(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Peer]:
    framework, mount = request.param.split()
    with served(mount, FRAMEWORKS[framework], tmp_path_factory.mktemp(framework)) as running:
        yield running


@pytest.fixture(scope="module", params=["starlette", "fastapi"])
def with_tasks(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Peer]:
    with served("around", FRAMEWORKS[request.param], tmp_path_factory.mktemp(request.param)) as running:
        yield running


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("headers", [ON, {}], ids=["on", "off"])
def test_a_background_task_runs_once_after_its_answer(with_tasks: Peer, headers: dict[str, str], stream: bool) -> None:
    """H1."""
    with_tasks.ask(f"plain {headers} {stream}", headers, stream=stream)

    assert with_tasks.settled(f"plain {headers} {stream}")[-2:] == ["ended", "afterwards"]


@pytest.fixture(scope="module", params=["flask", "django"])
def in_context(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Peer]:
    with served("around", FRAMEWORKS[request.param], tmp_path_factory.mktemp(request.param)) as running:
        yield running


@pytest.mark.parametrize("headers", [ON, {}], ids=["on", "off"])
def test_a_generator_is_read_in_the_context_of_its_request(in_context: Peer, headers: dict[str, str]) -> None:
    """H7: `flask.request` and `flask.g`, or what a Django view left in its thread, are those of the request."""
    texts = [f"slow {headers} {number}" for number in range(3)]

    with contextlib.ExitStack() as clients:
        for response in [clients.enter_context(in_context.opened(text, headers)) for text in texts]:
            read_until(response, b"word")
    journals = [in_context.settled(text) for text in texts]

    assert all("part" in journal and "elsewhere" not in journal for journal in journals)
