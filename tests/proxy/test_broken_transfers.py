"""A transfer that we break off ourselves is no fault in the server's log."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

import anyio
import pytest
from starlette.types import Receive, Scope, Send

from cachemw import MemoryStore
from cachemw.proxy import Gate, Proxy
from cachemw.upstreams import HttpUpstream
from tests.proxy.guarded import RULES, listening, rest, status_of
from tests.upstream import prompt, stream_events
from tests.upstreams import raw
from tests.upstreams.raw import CHUNKED, chunk, head

pytestmark = pytest.mark.anyio

EVENTS = stream_events()
HEAD = b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nConnection: close\r\n"


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@contextmanager
def servers_log(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Hear what uvicorn logs: where it began, it has set its loggers up as it likes."""
    logger = logging.getLogger("uvicorn.error")
    level = logger.level
    logger.addHandler(caplog.handler)
    logger.setLevel(logging.INFO)
    yield
    logger.setLevel(level)
    logger.removeHandler(caplog.handler)


def asking(body: bytes, fields: bytes) -> bytes:
    return HEAD + fields + b"Content-Length: %d\r\n\r\n%s" % (len(body), body)


SAID = {
    "stream": CHUNKED + chunk(EVENTS[0]) + chunk(EVENTS[1])[:-4],
    "JSON": head(b"Content-Type: application/json", b"Content-Length: 500") + b'{"choices": [',
}


@pytest.mark.parametrize("fields", [b"Cachemw: on\r\n", b""], ids=["opted in", "not opted in"])
@pytest.mark.parametrize("kind", SAID)
async def test_a_stream_that_breaks_off_is_a_broken_transfer_and_no_line_of_an_error(
    kind: str, fields: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    """H10, real-traffic 17."""
    caplog.set_level(logging.INFO)
    async with raw.listening(SAID[kind]) as behind, raw.closing(HttpUpstream(behind.url)) as upstream:
        gate = Gate(Proxy(upstream, store=MemoryStore()), RULES)
        async with listening(gate) as port, await anyio.connect_tcp("127.0.0.1", port) as stream:
            with servers_log(caplog):
                await stream.send(asking(prompt(stream=kind == "stream"), fields))
                reply = await rest(stream)

    assert status_of(reply) == (502 if kind == "JSON" and fields else 200)
    assert not reply.endswith(b"0\r\n\r\n")
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING] == []
    host = behind.url.removeprefix("http://")
    assert f"the upstream {host} failed: truncated" in [record.getMessage() for record in caplog.records]


async def test_an_app_that_answers_nothing_is_still_a_fault(caplog: pytest.LogCaptureFixture) -> None:
    """Of ours: there is a 500, and a line that says so."""

    async def silent(scope: Scope, receive: Receive, send: Send) -> None:
        """Answer nothing."""

    async with listening(silent) as port, await anyio.connect_tcp("127.0.0.1", port) as stream:
        with servers_log(caplog):
            await stream.send(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            reply = await rest(stream)

    assert status_of(reply) == 500
    assert "ERROR" in [record.levelname for record in caplog.records if record.name == "uvicorn.error"]
