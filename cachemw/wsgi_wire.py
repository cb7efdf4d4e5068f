"""PEP 3333's environment and callables, and the values they stand for."""

import io
from collections.abc import Callable, Iterable, Iterator
from http import HTTPStatus
from typing import Any
from urllib.parse import quote

from cachemw.core.directives import CONTROL_HEADER
from cachemw.core.limits import PIECE_BYTES
from cachemw.core.messages import Head, Headers

Environ = dict[str, Any]
StartResponse = Callable[..., Callable[[bytes], object]]
WsgiApp = Callable[[Environ, StartResponse], Iterable[bytes]]

_WITHOUT_PREFIX = ("CONTENT_TYPE", "CONTENT_LENGTH")
_CONTROL = "HTTP_" + CONTROL_HEADER.decode().upper()


class Incoming:
    """A request as the server hands it over. Its body is read here within a limit, then handed on to whoever answers.

    `path` and `raw_path` are below `SCRIPT_NAME`.
    """

    def __init__(self, environ: Environ) -> None:
        self.environ = environ
        self.method: str = environ["REQUEST_METHOD"]
        path = environ.get("PATH_INFO", "").encode("latin-1")
        self.path = path.decode(errors="replace")
        self.raw_path = quote(path, safe="/:@!$&'()*+,;=~").encode()
        self.query: bytes = environ.get("QUERY_STRING", "").encode("latin-1")
        self.headers = _headers(environ)
        self._input, self._left = environ["wsgi.input"], _length(environ)
        self._read = b""

    def read(self, limit_bytes: int | None) -> bytes | None:
        """Return the body, `None` where it is larger than the limit; 0 only looks whether there is one, `None` does not."""
        if limit_bytes is None:
            return None
        chunks: list[bytes] = []
        size = 0
        while size <= limit_bytes and (chunk := self._next(PIECE_BYTES)):
            chunks.append(chunk)
            size += len(chunk)
        self._read = b"".join(chunks)
        return self._read if size <= limit_bytes else None

    def content(self) -> bytes | Iterator[bytes]:
        """Return the body to send on: whole, or what was read and then piece by piece."""
        return self._read if self._left == 0 else self._pieces()

    def handed_on(self, recorded: bool) -> Environ:
        """Return the server's own environment, with what was read of the body before what was not."""
        environ = without_control(self.environ)
        environ["wsgi.input"] = io.BytesIO(self._read) if self._left == 0 else io.BufferedReader(_Rest(self._read, self._next))
        if recorded:
            environ["HTTP_ACCEPT_ENCODING"] = "identity"
        return environ

    def _pieces(self) -> Iterator[bytes]:
        if self._read:
            yield self._read
        while chunk := self._next(PIECE_BYTES):
            yield chunk

    def _next(self, size: int) -> bytes:
        """Return the next chunk of what was not read yet, nothing at the end."""
        if self._left == 0:
            return b""
        chunk: bytes = self._input.read(size if self._left is None else min(size, self._left))
        if not chunk:
            self._left = 0
        elif self._left is not None:
            self._left -= len(chunk)
        return chunk


class _Rest(io.RawIOBase):
    """A request's body: what was read, and then what was not."""

    def __init__(self, read: bytes, more: Callable[[int], bytes]) -> None:
        self._read, self._more = read, more

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        chunk = self._read[: len(buffer)] or self._more(len(buffer))
        self._read = self._read[len(buffer) :]
        buffer[: len(chunk)] = chunk
        return len(chunk)


def start(start_response: StartResponse, head: Head) -> Callable[[bytes], object]:
    """Begin a response."""
    try:
        phrase = HTTPStatus(head.status).phrase
    except ValueError:
        phrase = "Unknown"
    fields = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in head.headers]
    return start_response(f"{head.status} {phrase}", fields)


def without_control(environ: Environ) -> Environ:
    """Return the server's own environment, without what was said to us."""
    environ.pop(_CONTROL, None)
    return environ


def _headers(environ: Environ) -> Headers:
    """Return the header fields; two of them CGI keeps elsewhere, and some servers there too."""
    fields = [
        (name[5:], value) for name, value in environ.items() if name.startswith("HTTP_") and name[5:] not in _WITHOUT_PREFIX
    ]
    fields += [(name, environ[name]) for name in _WITHOUT_PREFIX if environ.get(name)]
    return tuple([(name.replace("_", "-").lower().encode("latin-1"), value.encode("latin-1")) for name, value in fields])


def _length(environ: Environ) -> int | None:
    """Return how long the request's body is; `None` where it ends by itself, which a server must have said."""
    length = environ.get("CONTENT_LENGTH", "")
    if length.isdigit():
        return int(length)
    is_chunked = "chunked" in environ.get("HTTP_TRANSFER_ENCODING", "").lower()
    return None if is_chunked or environ.get("wsgi.input_terminated") else 0
