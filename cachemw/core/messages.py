"""The values that flow: what was asked, what is answered, what is kept."""

import msgspec

from cachemw.core.discreet import sizes_only

Headers = tuple[tuple[bytes, bytes], ...]
"""Raw, ordered, repeats kept. Names as they came, in any case."""


class HttpAnswerer(msgspec.Struct, frozen=True):
    """An HTTP upstream: the absolute URL that is requested, after all mapping."""

    url: str

    __repr__ = sizes_only


class AppAnswerer(msgspec.Struct, frozen=True):
    """A wrapped application: the name its mount gave it, and what it is asked for below `root_path`."""

    name: str
    path: bytes
    query: bytes

    __repr__ = sizes_only


class DirectAnswerer(msgspec.Struct, frozen=True):
    """An HTTP upstream behind a transport in the client's own process: all that the request says reaches it.

    `host` is what the request's `Host` field says, where that is not what the URL says.
    """

    url: str
    host: bytes = b""

    __repr__ = sizes_only


Answerer = HttpAnswerer | AppAnswerer | DirectAnswerer


class Request(msgspec.Struct, frozen=True):
    """A chat request as it arrived. `path` is below the mount's `root_path`; `body` is whole."""

    method: str
    path: str
    headers: Headers
    body: bytes
    answerer: Answerer

    __repr__ = sizes_only

    def values(self, name: str) -> list[bytes]:
        """Return every value of the header `name`, in order."""
        return header_values(self.headers, name.lower().encode("latin-1"))


class Kind(msgspec.Struct, frozen=True):
    """Which form of the answer was asked for: JSON or an event stream, and with which stream options."""

    stream: bool
    options: bytes = b"{}"

    __repr__ = sizes_only


class Head(msgspec.Struct, frozen=True):
    """Status and header fields of a response. Not `delimited`: its body ends where the connection does (RFC 9112 §6.3)."""

    status: int
    headers: Headers
    delimited: bool = True

    __repr__ = sizes_only


class StoredResponse(msgspec.Struct, frozen=True):
    """A complete response, what it answers, and when its last byte came.

    `event_ends` are offsets into `body`, `arrivals` seconds since the head, one for each event; both are empty for JSON.
    `stored_at` is in seconds since the epoch, `lifetime` in seconds.
    """

    status: int
    headers: Headers
    body: bytes
    event_ends: tuple[int, ...]
    arrivals: tuple[float, ...]
    kind: Kind
    proof: bytes
    stored_at: float
    lifetime: float
    request: bytes | None = None

    __repr__ = sizes_only


def header_values(headers: Headers, lower_name: bytes) -> list[bytes]:
    """Return every value of the field whose lower-case name is given, in order."""
    size = len(lower_name)  # sorts out nearly all, and costs less than the other letter case
    return [value for name, value in headers if len(name) == size and name.lower() == lower_name]
