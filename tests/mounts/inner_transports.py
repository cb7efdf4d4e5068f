"""What is inside of a transport under test: an inner one that answers what the test says, in either family.

`Any` stands for a family's own class.
"""

import threading
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import httpx
import httpx2
import pytest

import cachemw.httpx
import cachemw.httpx2
from cachemw import MemoryStore
from tests.mounts.gates import Gate
from tests.mounts.mounting import PATH
from tests.upstream import JSON, completion, prompt

URL = "https://api.example" + PATH
TYPE = (b"content-type", b"application/json")
BY_FAMILY = pytest.mark.parametrize(
    ("family", "mount"), [(httpx, cachemw.httpx), (httpx2, cachemw.httpx2)], ids=["httpx", "httpx2"]
)
BY_KIND = pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
ANSWER = b"".join(part for part in completion().parts if isinstance(part, bytes))


class Body:
    """A response's body that notes that it was closed; sync and async."""

    def __init__(self, chunks: list[bytes], error: Exception | None = None) -> None:
        self.closed = 0
        self._chunks, self._error = chunks, error

    def __iter__(self) -> Iterator[bytes]:
        yield from self._chunks
        if self._error is not None:
            raise self._error

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for chunk in self:
            yield chunk

    def close(self) -> None:
        self.closed += 1

    async def aclose(self) -> None:
        self.closed += 1


def inner_of(family: Any, answer: Any) -> Any:
    """Return a transport, sync and async, that answers by `answer(request)`, or raises it; it keeps the requests."""

    class BothBody(Body, family.SyncByteStream, family.AsyncByteStream):  # type: ignore[misc]
        pass

    class Inner(family.BaseTransport, family.AsyncBaseTransport):  # type: ignore[misc]
        def __init__(self) -> None:
            self.requests: list[Any] = []
            self.closed = 0

        def handle_request(self, request: Any) -> Any:
            self.requests.append(request)
            given = answer(request)
            if isinstance(given, Exception):
                raise given
            headers, chunks, error = given
            self.body = BothBody(chunks, error)
            return family.Response(200, headers=list(headers), stream=self.body, extensions={"of": "inner"})

        async def handle_async_request(self, request: Any) -> Any:
            return self.handle_request(request)

        def close(self) -> None:
            self.closed += 1

        async def aclose(self) -> None:
            self.closed += 1

    return Inner()


def answering(request: Any) -> Any:
    return JSON, [ANSWER], None


def asking(family: Any, body: Any = None, **headers: str) -> Any:
    fields = {"content-type": "application/json", **headers}
    return family.Request("POST", URL, content=prompt() if body is None else body, headers=fields)


def transport_of(mount: Any, is_async: bool, inner: Any, **options: Any) -> Any:
    kind = mount.AsyncCacheTransport if is_async else mount.CacheTransport
    return kind(inner, **{"store": MemoryStore(), **options})


async def answered(transport: Any, request: Any) -> Any:
    """Return a transport's response to a request, read to its end."""
    if hasattr(transport, "handle_request"):
        response = transport.handle_request(request)
        response.read()
    else:
        response = await transport.handle_async_request(request)
        await response.aread()
    return response


def says(response: Any) -> str:
    """Return what a response says of itself, in short."""
    report = response.extensions["cachemw"]
    return "hit" if report.hit else report.fwd or " ".join(report.details)


class Refusing:
    """Lets the first attempt wait until all have looked; each is refused, by an exception of its own."""

    def __init__(self, refusal: Callable[[], Exception]) -> None:
        self.attempts = 0
        self.gate = Gate()
        self._refusal = refusal

    def __call__(self, request: Any) -> Exception:
        self.attempts += 1
        if threading.current_thread() is not threading.main_thread():
            self.gate.wait_here()
        return self._refusal()


class Watched(MemoryStore):
    """Opens a gate a moment after twenty have looked: the very next thing they do is to wait."""

    def __init__(self, gate: Gate) -> None:
        super().__init__()
        self._gate, self._looks = gate, list[bytes]()

    def get(self, index: bytes) -> bytes | None:
        self._looks.append(index)
        if len(self._looks) == 20:
            threading.Timer(0.05, self._gate.set).start()
        return super().get(index)
