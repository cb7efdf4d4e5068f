"""The values that flow: what was asked, what is answered, what is kept."""

from dataclasses import dataclass

Headers = tuple[tuple[bytes, bytes], ...]
"""Raw, ordered, repeats kept. Names as they came, in any case."""


@dataclass(frozen=True, slots=True)
class HttpAnswerer:
    """An HTTP upstream: the absolute URL that is requested, after all mapping."""

    url: str


@dataclass(frozen=True, slots=True)
class AppAnswerer:
    """A wrapped application: the name its mount gave it, and what it is asked for below `root_path`."""

    name: str
    path: bytes
    query: bytes


Answerer = HttpAnswerer | AppAnswerer


@dataclass(frozen=True, slots=True)
class Request:
    """A chat request as it arrived. `path` is below the mount's `root_path`; `body` is whole."""

    method: str
    path: str
    headers: Headers
    body: bytes
    answerer: Answerer

    def values(self, name: str) -> list[bytes]:
        """Return every value of the header `name`, in order."""
        return header_values(self.headers, name.lower().encode("latin-1"))


@dataclass(frozen=True, slots=True)
class Kind:
    """Which form of the answer was asked for: JSON or an event stream, and with which stream options."""

    stream: bool
    options: bytes = b"{}"


@dataclass(frozen=True, slots=True)
class Head:
    """Status and header fields of a response. Not `delimited`: its body ends where the connection does (RFC 9112 §6.3)."""

    status: int
    headers: Headers
    delimited: bool = True


@dataclass(frozen=True, slots=True)
class StoredResponse:
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


def header_values(headers: Headers, lower_name: bytes) -> list[bytes]:
    """Return every value of the field whose lower-case name is given, in order."""
    return [value for name, value in headers if name.lower() == lower_name]
