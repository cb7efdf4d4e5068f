"""A small, strict WSGI server (PEP 3333) in the calling thread: what an app returned, in which chunks, how it ended."""

import io
import sys
import time
from collections.abc import Callable, Iterable
from typing import Any
from urllib.parse import unquote
from wsgiref.util import is_hop_by_hop
from wsgiref.validate import validator

from cachemw._wsgi_environ import Environ, WsgiApp
from tests.asgi_driver import Hears, RawHeaders, Reply, ignore


def call(
    app: WsgiApp,
    method: str,
    path: str,
    body: bytes = b"",
    headers: RawHeaders = (),
    *,
    leave_after: int | None = None,
    hears: Hears = ignore,
    is_validated: bool = True,
) -> Reply:
    """Send a request and iterate the answer until it ends, or so many chunks have come; then close it.

    `is_validated`: `wsgiref` looks on, which refuses an answer without a content type.
    """
    server = Server(leave_after, hears)
    server.serve(validator(app) if is_validated else app, environ_for(method, path, headers, body))
    return server.reply()


def environ_for(method: str, path: str, headers: RawHeaders = (), body: bytes = b"") -> Environ:
    """Return the environment of a request with a length; a query string may follow the path."""
    bare, _, query = path.partition("?")
    environ: Environ = {
        "REQUEST_METHOD": method,
        "SCRIPT_NAME": "",
        "PATH_INFO": unquote(bare, "latin-1"),
        "QUERY_STRING": query,
        "SERVER_NAME": "127.0.0.1",
        "SERVER_PORT": "8000",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": "http",
        "wsgi.input": Socket(body),
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": True,
        "wsgi.multiprocess": False,
        "wsgi.run_once": False,
    }
    for name, value in ((b"content-length", b"%d" % len(body)), *headers):
        key = _key(name.decode("latin-1"))
        values = [environ[key]] if key in environ and key != "CONTENT_LENGTH" else []
        environ[key] = ", ".join([*values, value.decode("latin-1")])  # as servers do with what is repeated
    return environ


class Socket(io.BytesIO):
    """A request's body: to read more than there is would wait for ever."""

    def read(self, size: int | None = -1) -> bytes:
        assert size is not None
        assert 0 <= size <= len(self.getbuffer()) - self.tell(), "more is read than is coming"
        return super().read(size)


class Server:
    """The server's side of one request."""

    def __init__(self, leave_after: int | None = None, hears: Hears = ignore) -> None:
        self.status: int | None = None
        self.headers: tuple[tuple[bytes, bytes], ...] = ()
        self._leave_after, self._hears = leave_after, hears
        self._chunks: list[tuple[float, bytes]] = []
        self._has_ended = False
        self._error: Exception | None = None
        self._began_at = time.monotonic()

    def serve(self, app: WsgiApp, environ: Environ) -> None:
        """Run the app. What it raises breaks the transfer off; what is a fault of ours comes out."""
        try:
            result = app(environ, self.start_response)
            try:
                self._has_ended = self._iterate(result)
            finally:
                if hasattr(result, "close"):
                    result.close()
        except AssertionError:
            raise
        except Exception as exc:  # noqa: BLE001 - whatever it is
            self._error = exc

    def start_response(self, status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Callable[[bytes], None]:
        """Take a head; another one only instead of it, and before the first byte."""
        assert (self.status is None) or exc_info, "start_response was called twice"
        if self._chunks and exc_info:
            raise exc_info[1].with_traceback(exc_info[2])
        assert not [name for name, _ in headers if is_hop_by_hop(name)], "what is the server's to say"
        self.status = int(status[:3])
        self.headers = tuple((name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers)
        return self._take

    def reply(self) -> Reply:
        """Return what came. A body shorter than its length is not complete."""
        body_bytes = sum(len(chunk) for _, chunk in self._chunks)
        declared = dict(self.headers).get(b"content-length", b"%d" % body_bytes)
        return Reply(
            status=self.status,
            headers=dict(self.headers),
            chunks=tuple(chunk for _, chunk in self._chunks),
            complete=self._has_ended and self._error is None and int(declared) == body_bytes,
            arrivals=tuple(at for at, _ in self._chunks),
            raw_headers=self.headers,
            error=self._error,
        )

    def _iterate(self, result: Iterable[bytes]) -> bool:
        """Say whether it was read to its end."""
        if self._leave_after == 0:
            return False
        for chunk in result:
            self._take(chunk)
            if len(self._chunks) == self._leave_after:
                return False
        return True

    def _take(self, chunk: bytes) -> None:
        assert self.status is not None, "a byte before the head"
        assert type(chunk) is bytes
        assert chunk, "an empty chunk"
        self._chunks.append((time.monotonic() - self._began_at, chunk))
        self._hears(chunk)


def _key(name: str) -> str:
    key = name.upper().replace("-", "_")
    return key if key in ("CONTENT_TYPE", "CONTENT_LENGTH") else f"HTTP_{key}"
