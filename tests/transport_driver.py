"""Requests through a client of httpx or of httpx2: what came, in which raw chunks and when, and what broke it off.

`Any` stands for a family's own class.
"""

import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import httpx2

from tests.asgi_driver import Hears, RawHeaders, Reply, ignore

RAISED = (httpx.HTTPError, httpx2.HTTPError)

Body = bytes | Iterator[bytes] | AsyncIterator[bytes]


def call(
    client: Any,
    method: str,
    url: str,
    body: Body = b"",
    headers: RawHeaders = (),
    *,
    leave_after: int | None = None,
    hears: Hears = ignore,
) -> Reply:
    """Send a request and read the answer until it ends, or so many chunks have come; then close it."""
    response, heard = None, Heard(hears)
    try:
        response = client.send(client.build_request(method, url, content=body, headers=list(headers)), stream=True)
        try:
            chunks = response.iter_raw() if leave_after != 0 else iter(())
            for chunk in chunks:
                if heard.take(chunk) == leave_after:
                    break
            else:
                heard.has_ended = leave_after != 0
        finally:
            response.close()
    except RAISED as exc:
        heard.error = exc
    return heard.reply(response)


async def acall(
    client: Any,
    method: str,
    url: str,
    body: Body = b"",
    headers: RawHeaders = (),
    *,
    leave_after: int | None = None,
    hears: Hears = ignore,
) -> Reply:
    """Do the same, awaited."""
    response, heard = None, Heard(hears)
    try:
        response = await client.send(client.build_request(method, url, content=body, headers=list(headers)), stream=True)
        try:
            if leave_after != 0:
                async for chunk in response.aiter_raw():
                    if heard.take(chunk) == leave_after:
                        break
                else:
                    heard.has_ended = True
        finally:
            await response.aclose()
    except RAISED as exc:
        heard.error = exc
    return heard.reply(response)


class Heard:
    """What has come of one answer."""

    def __init__(self, hears: Hears) -> None:
        self.has_ended = False
        self.error: Exception | None = None
        self._hears = hears
        self._chunks: list[tuple[float, bytes]] = []
        self._began_at = time.monotonic()

    def take(self, chunk: bytes) -> int:
        """Note a chunk; return how many have come."""
        assert chunk, "an empty chunk"
        self._chunks.append((time.monotonic() - self._began_at, chunk))
        self._hears(chunk)
        return len(self._chunks)

    def reply(self, response: Any) -> Reply:
        """Return it all."""
        raw = () if response is None else tuple((name.lower(), value) for name, value in response.headers.raw)
        return Reply(
            status=None if response is None else response.status_code,
            headers=dict(raw),
            chunks=tuple(chunk for _, chunk in self._chunks),
            complete=self.has_ended and self.error is None,
            arrivals=tuple(at for at, _ in self._chunks),
            raw_headers=raw,
            error=self.error,
        )
