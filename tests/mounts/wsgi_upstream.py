"""`Upstream` as a WSGI app: the same answers, in the server's thread."""

from collections.abc import Iterator
from http import HTTPStatus
from urllib.parse import quote

from cachemw._wsgi_environ import Environ, StartResponse
from tests.mounts.gates import Gate
from tests.upstream import Asked, Part, Told, Upstream


class BrokenOffError(Exception):
    """How an app of WSGI ends an answer that does not end."""


class WsgiUpstream:
    """Answers as `upstream` says, which remembers what it was asked."""

    def __init__(self, upstream: Upstream) -> None:
        self._upstream = upstream

    def __call__(self, environ: Environ, start_response: StartResponse) -> "Answer":
        asked = asked_by(environ)
        self._upstream.asked.append(asked)
        told = self._upstream.respond(asked)
        fields = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in told.headers]
        start_response(f"{told.status} {HTTPStatus(told.status).phrase}", fields)
        return Answer(told, self._upstream)


class Answer:
    """An answer's chunks; closed before its end, its client has left."""

    def __init__(self, told: Told, upstream: Upstream) -> None:
        self._parts: Iterator[Part] = iter(told.parts)
        self._ends, self._upstream = told.ends, upstream
        self._has_ended = False

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        for part in self._parts:
            if isinstance(part, BaseException):
                raise part
            if isinstance(part, Gate):
                part.wait_here()
            else:
                assert isinstance(part, bytes), "a thread cannot wait for an event loop's"
                if part:
                    return part
        self._has_ended = True
        if not self._ends:
            raise BrokenOffError
        raise StopIteration

    def close(self) -> None:
        if not self._has_ended and self._upstream.left is not None:
            self._upstream.left.set()


def asked_by(environ: Environ) -> Asked:
    """Return the request as it arrived, body and all."""
    length = int(environ.get("CONTENT_LENGTH") or 0)
    names = [name for name in environ if name.startswith("HTTP_")] + [
        name for name in ("CONTENT_TYPE", "CONTENT_LENGTH") if environ.get(name)
    ]
    fields = [
        (name.removeprefix("HTTP_").replace("_", "-").lower().encode(), environ[name].encode("latin-1")) for name in names
    ]
    return Asked(
        environ["REQUEST_METHOD"],
        environ["PATH_INFO"],
        quote(environ["PATH_INFO"]).encode(),
        environ["QUERY_STRING"].encode(),
        tuple(fields),
        environ["wsgi.input"].read(length),
    )
