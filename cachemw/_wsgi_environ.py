"""PEP 3333's environment and callables, and the values they stand for."""

import contextlib
import io
import itertools
from collections.abc import Callable, Iterable, Iterator
from functools import cached_property, lru_cache
from http import HTTPStatus
from typing import Any
from urllib.parse import quote, unquote_to_bytes

from cachemw.budget import Budget
from cachemw.cache.context import attested_in_environ
from cachemw.cache.directives import CONTROL_HEADER
from cachemw.cache.header_rules import HeaderRules
from cachemw.drivers.recalling import Door, Recaller
from cachemw.errors import ClientLeftError
from cachemw.limits import PIECE_BYTES, Timeouts
from cachemw.messages import Head, Headers, Unread
from cachemw.upstreams.base import UpstreamRequest

Environ = dict[str, Any]
StartResponse = Callable[..., Callable[[bytes], object]]
WsgiApp = Callable[[Environ, StartResponse], Iterable[bytes]]

_WITHOUT_PREFIX = ("CONTENT_TYPE", "CONTENT_LENGTH")
_CONTROL = "HTTP_" + CONTROL_HEADER.decode().upper()
_ASKED = ("SCRIPT_NAME", "PATH_INFO", "QUERY_STRING", "REQUEST_URI", "RAW_URI")
"""All that a request's path and query are read from."""


class WsgiRequest:
    """A request as the server hands it over. Its body is read here within a limit, then handed on to whoever answers.

    `path` and `raw_path` are below `SCRIPT_NAME`.
    """

    def __init__(self, environ: Environ, budget: Budget) -> None:
        self.environ, self._budget = environ, budget
        self.method: str = environ["REQUEST_METHOD"]
        self.headers = _headers(environ)
        self._input = environ["wsgi.input"]
        self._declared = _declared_length(environ)
        self._ends_itself = bool(environ.get("wsgi.input_terminated"))
        self._size = 0  # of what was read
        self._has_more = self._ends_itself or bool(self._declared)
        self._read = b""
        self._taken = 0

    @cached_property
    def root(self) -> bytes:
        return _bytes(_text(self.environ, "SCRIPT_NAME"))

    @cached_property
    def path_bytes(self) -> bytes:
        return _bytes(_text(self.environ, "PATH_INFO"))

    @property
    def path(self) -> str:
        return self.path_bytes.decode(errors="replace")

    @cached_property
    def raw_path(self) -> bytes:
        return _raw_path(self.environ, self.path_bytes)

    @cached_property
    def query(self) -> bytes:
        return _bytes(_text(self.environ, "QUERY_STRING"))

    def door(self, recaller: Recaller) -> Door | None:
        """Return its door to what was decided before; `None` where nothing is recalled, or what is asked for is no text."""
        if not recaller.is_on:
            return None
        asked = (self.method, *map(self.environ.get, _ASKED, itertools.repeat("")))
        if set(map(type, asked)) != {str}:
            return None
        try:
            return recaller.door(asked, self.headers, attested_in_environ(self.environ))
        except UnicodeEncodeError:
            return None

    @property
    def target(self) -> bytes:
        """Path and query as they were sent."""
        return self.raw_path + b"?" + self.query if self.query else self.raw_path

    def read(self, limit_bytes: int | None) -> bytes | Unread:
        """Return the body, if it is within the limit; 0 only looks whether there is one, `None` does not even that.

        Raises `ClientLeftError`.
        """
        if limit_bytes is None:
            return Unread.LEFT_ALONE
        held = bytearray()  # one buffer, for the memory of many small ones is never given back
        is_within_budget = True
        try:
            while self._has_more and self._size <= limit_bytes and is_within_budget and (chunk := self._next(PIECE_BYTES)):
                held += chunk
                self._taken += len(chunk)
                is_within_budget = self._budget.take(len(chunk))
        finally:
            self._read = bytes(held)
        if is_within_budget or not self._has_more:
            return self._read if self._size <= limit_bytes else Unread.TOO_LARGE
        return Unread.BUSY

    def let_go(self) -> None:
        """Hold nothing more of the body: the request is over."""
        self._budget.give_back(self._taken)
        self._taken = 0

    def outgoing(self, rules: HeaderRules, timeouts: Timeouts) -> UpstreamRequest:
        """Return it as an upstream is asked; its body is whole, or what was read and then piece by piece."""
        body = self._pieces() if self._has_more else self._read
        return UpstreamRequest(self.method, self.raw_path, self.query, self.headers, body, rules, timeouts=timeouts)

    def handed_on(self, recorded: bool) -> Environ:
        """Return the server's own environment, with what was read of the body before what was not."""
        environ = without_control(self.environ)
        if self._has_more:
            environ["wsgi.input"] = io.BufferedReader(_Rest(self._read, self._rest))
        elif self._ends_itself or not _is_chunked(self.environ):  # else nobody knows where it ends
            environ["wsgi.input"] = io.BytesIO(self._read)
        if recorded:
            environ["HTTP_ACCEPT_ENCODING"] = "identity"
        return environ

    def _pieces(self) -> Iterator[bytes]:
        if self._read:
            yield self._read
        while chunk := self._next(PIECE_BYTES):
            yield chunk

    def _rest(self, size: int) -> bytes:
        """Return what is left to who reads it himself: whether it is whole is his to judge."""
        with contextlib.suppress(ClientLeftError):
            return self._next(size)
        return b""

    def _next(self, size: int) -> bytes:
        """Return the next chunk of what was not read yet, nothing at the end."""
        if not self._has_more:
            return b""
        left = size if self._ends_itself or self._declared is None else min(size, self._declared - self._size)
        chunk: bytes = self._input.read(left)
        self._size += len(chunk)
        self._has_more = bool(chunk) and (self._ends_itself or self._size != self._declared)
        if not chunk and self._declared is not None and self._size < self._declared:
            raise ClientLeftError("the client left before its request was whole")
        return chunk


class _Rest(io.RawIOBase):
    """A request's body: what was read, and then what was not."""

    def __init__(self, read: bytes, more: Callable[[int], bytes]) -> None:
        self._read, self._more = io.BytesIO(read), more

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        chunk = self._read.read(len(buffer)) or self._more(len(buffer))
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
    return tuple(
        [
            (field, value.encode("latin-1", "backslashreplace"))
            for name, field in _fields(tuple(environ))
            if isinstance(value := environ[name], str) and (value or name not in _WITHOUT_PREFIX)
        ]
    )


@lru_cache(128)  # one server gives the same names again and again
def _fields(names: tuple[str, ...]) -> tuple[tuple[str, bytes], ...]:
    """Return which members are header fields, with the names of those."""
    prefixed = [(name, name[5:]) for name in names if name.startswith("HTTP_") and name[5:] not in _WITHOUT_PREFIX]
    others = [(name, name) for name in _WITHOUT_PREFIX if name in names]
    return tuple([(name, _bytes(field.replace("_", "-").lower())) for name, field in prefixed + others])


def _text(environ: Environ, name: str) -> str:
    value = environ.get(name)
    return "" if value is None else str(value)


def _bytes(text: str) -> bytes:
    return text.encode("latin-1", "backslashreplace")  # servers give nothing else, but test clients do


def _declared_length(environ: Environ) -> int | None:
    """Return how long the request's body is said to be; of one in chunks nothing is."""
    length = str(environ.get("CONTENT_LENGTH") or "").strip()
    is_number = length.isascii() and length.isdigit() and len(length) < 20
    return int(length) if is_number and not _is_chunked(environ) else None


def _is_chunked(environ: Environ) -> bool:
    return "chunked" in str(environ.get("HTTP_TRANSFER_ENCODING") or "").lower()


def _raw_path(environ: Environ, path: bytes) -> bytes:
    """Return the path below `SCRIPT_NAME` as it was sent, where the server says so and nobody has changed it since."""
    sent = _bytes(_text(environ, "REQUEST_URI") or _text(environ, "RAW_URI")).partition(b"?")[0]
    below = sent.removeprefix(quote(_bytes(_text(environ, "SCRIPT_NAME"))).encode())
    if unquote_to_bytes(below) == path and below.startswith(b"/"):
        return below
    return quote(path, safe="/:@!$&'()*+,;=~").encode()
