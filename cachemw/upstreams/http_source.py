"""What an httpx transport gives and raises, as the values of ours; and its answers without `await`."""

import contextlib
import threading
import time
from collections.abc import Iterator
from typing import Any, cast

import aiohttp
import httpx

from cachemw.core.messages import Head
from cachemw.core.upstream_head import sayable
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
        try:
            self.head = sayable(request.method, head_of(request.method, self._response))
        except UpstreamError:
            self._response.close()
            raise
        self._chunks: Iterator[bytes] = iter(cast(httpx.SyncByteStream, self._response.stream))

    def read(self, within: float | None) -> bytes | None:
        """Return the next chunk, `None` at the end."""
        try:
            with hurried(self._response, within):
                chunk = next(filter(None, self._chunks), None)
        except TROUBLE as exc:
            raise translated(exc) from exc
        if chunk is not None and time.monotonic() - self._began > self._timeouts.total:
            raise UpstreamTimeout("the upstream took too long in all")
        return chunk

    def close(self) -> None:
        """Close the connection, unless all has been read."""
        self._response.close()


@contextlib.contextmanager
def hurried(response: Any, within: float | None) -> Iterator[None]:
    """Let a read of a response's body take no longer than `within` seconds, if that is possible.

    httpcore has fixed the time of its reads by then, but shows the connection that it reads from. When the body ends, that
    connection is any other thread's at once: what is changed holds in this one alone.
    """
    stream = response.extensions.get("network_stream")
    if within is None or not hasattr(stream, "__dict__"):
        yield
        return
    read, here = stream.read, threading.get_ident()

    def sooner(max_bytes: int, timeout: float | None = None) -> bytes:
        is_ours = threading.get_ident() == here
        data: bytes = read(max_bytes, min(within, timeout or within) if is_ours else timeout)
        return data

    stream.read = sooner
    try:
        yield
    finally:
        del stream.read


def origin_of(url: httpx.URL) -> str:
    """Return the origin of a URL as it is in the key: scheme and host in lower case, port written."""
    host = f"[{url.host}]" if ":" in url.host else url.raw_host.decode()
    return f"{url.scheme}://{host}:{url.port or DEFAULT_PORTS.get(url.scheme, 0)}"


def head_of(method: str, response: httpx.Response) -> Head:
    """Return a response's head. Only in HTTP/1 can the end of a connection be all the end a body has (RFC 9112 §6.3)."""
    fields = tuple(response.headers.raw)
    framed = any(name.lower() in (b"content-length", b"transfer-encoding") for name, _ in fields)
    framed = framed or response.extensions.get("http_version") not in (b"HTTP/1.0", b"HTTP/1.1")
    return Head(response.status_code, fields, framed or method == "HEAD" or response.status_code in (204, 304))


def translated(exc: Exception) -> UpstreamError:
    """Return one of `TROUBLE` as an error of ours."""
    cause = exc.__cause__
    own = cause if isinstance(cause, aiohttp.ClientError) else exc  # the transport calls a dropped connection a timeout
    if isinstance(own, TimeoutError | httpx.TimeoutException):
        return UpstreamTimeout("the upstream cannot be reached in time")
    return UpstreamError("the upstream cannot be reached, or broke off")
