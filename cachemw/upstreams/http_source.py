"""What an httpx transport gives and raises, as the values of ours; and its answers without `await`."""

import time
from collections.abc import Iterator
from typing import cast

import aiohttp
import httpx

from cachemw.core.messages import Head
from cachemw.errors import UpstreamError, UpstreamTimeout
from cachemw.upstreams.timing import Timeouts

DEFAULT_PORTS = {"http": 80, "https": 443}
TROUBLE = (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError, aiohttp.ClientError, OSError)


class HttpSource:
    """An upstream's answer, pulled. Raises `UpstreamError` when it is made, and when it is read."""

    def __init__(self, transport: httpx.BaseTransport, request: httpx.Request, timeouts: Timeouts) -> None:
        self._timeouts, self._began = timeouts, time.monotonic()
        waits = request.extensions["timeout"]
        waits.update(read=timeouts.first_byte, write=timeouts.first_byte)
        try:
            self._response = transport.handle_request(request)
        except TROUBLE as exc:
            raise translated(exc) from exc
        waits["read"] = timeouts.idle  # it is looked up anew when the body is begun
        self.head = head_of(request.method, self._response)
        self._chunks: Iterator[bytes] = iter(cast(httpx.SyncByteStream, self._response.stream))

    def read(self) -> bytes | None:
        """Return the next chunk, `None` at the end."""
        try:
            chunk = next(filter(None, self._chunks), None)
        except TROUBLE as exc:
            raise translated(exc) from exc
        if chunk is not None and time.monotonic() - self._began > self._timeouts.total:
            raise UpstreamTimeout("the upstream took too long in all")
        return chunk

    def close(self) -> None:
        """Close the connection, unless all has been read."""
        self._response.close()


def absolute(url: httpx.URL) -> str:
    """Return an absolute URL as it is in the key: scheme and host in lower case, port written, path and query as sent."""
    return f"{origin_of(url)}{url.raw_path.decode()}"


def origin_of(url: httpx.URL) -> str:
    """Return scheme, host and port."""
    host = f"[{url.host}]" if ":" in url.host else url.raw_host.decode()
    return f"{url.scheme}://{host}:{url.port or DEFAULT_PORTS[url.scheme]}"


def head_of(method: str, response: httpx.Response) -> Head:
    """Return a response's head."""
    fields = tuple(response.headers.raw)
    framed = any(name.lower() in (b"content-length", b"transfer-encoding") for name, _ in fields)
    return Head(response.status_code, fields, framed or method == "HEAD" or response.status_code in (204, 304))


def translated(exc: Exception) -> UpstreamError:
    """Return one of `TROUBLE` as an error of ours."""
    cause = exc.__cause__
    own = cause if isinstance(cause, aiohttp.ClientError) else exc  # the transport calls a dropped connection a timeout
    if isinstance(own, TimeoutError | httpx.TimeoutException):
        return UpstreamTimeout("the upstream cannot be reached in time")
    return UpstreamError("the upstream cannot be reached, or broke off")
