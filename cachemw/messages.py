"""The values that flow: requests, responses, and who answers."""

from collections.abc import Mapping
from enum import Enum
from typing import Any

import msgspec

from cachemw.redaction import redacted_repr

Headers = tuple[tuple[bytes, bytes], ...]
"""Raw, ordered, repeats kept. Names as they came, in any case."""


class Sends(Enum):
    """The credential that an HTTP upstream is sent."""

    CALLERS = "the caller's, if there is one"
    CALLERS_OR_OURS = "the caller's, else ours"
    OURS = "ours and never a caller's, also where there is none"


class Closing(msgspec.Struct, frozen=True):
    """The way in which a provider's answers end: finish reasons of its own that are sound, and whether streams say `[DONE]`."""

    store_when: frozenset[str] = frozenset()
    done: bool = True

    __repr__ = redacted_repr


USUAL_CLOSING = Closing()
"""That of all of whom nothing else is known."""


DIALECTS = ("chat", "messages", "responses")
"""The endpoints of which an upstream may speak some and not others; whoever is asked for anything else gets it as it is."""


class HttpRecipient(msgspec.Struct, frozen=True, cache_hash=True):
    """An HTTP upstream, as one that is sent the header fields and the body of a request.

    Of the header fields that are one provider's own it gets those of `provider`, and those of all where nobody knows which one
    it is. `bookkeeping` names the members of a body by which it only counts and pays. `fields` are the operator's, in lower
    case, and go in the place of a caller's. `closing` is how its answers end. `speaks` are those of the `DIALECTS` that it
    answers itself.
    """

    provider: str | None = None
    bookkeeping: frozenset[str] = frozenset()
    sends: Sends = Sends.CALLERS
    fields: Headers = ()
    closing: Closing = USUAL_CLOSING
    speaks: frozenset[str] = frozenset(DIALECTS)

    __repr__ = redacted_repr


URL_RECIPIENT = HttpRecipient()
"""That of a URL of which nobody knows anything."""


class Inside(Enum):
    """A recipient in this very process, which is given all of a request."""

    APP = "a wrapped app"
    TRANSPORT = "the transport that a client's own transport is around"

    __hash__ = object.__hash__  # there is one of each, and every request looks something up by it


Recipient = HttpRecipient | Inside


def host_in(url: str) -> str:
    """Return the host of a URL without credentials, with its port unless that is the scheme's own."""
    scheme, _, rest = url.partition("://")
    host = rest.partition("/")[0].partition("?")[0].rpartition("@")[2]
    return host.removesuffix({"http": ":80", "https": ":443"}.get(scheme, ":"))


class HttpTarget(msgspec.Struct, frozen=True):
    """An HTTP upstream: the absolute URL that is requested, after all mapping."""

    url: str
    recipient: HttpRecipient = URL_RECIPIENT

    __repr__ = redacted_repr

    @property
    def place(self) -> str:
        """Its host, as people name it: with its port unless that is the scheme's own."""
        return host_in(self.url)

    def called(self, model: str | None) -> str:
        """Return its name in reports: `provider/model`, or `provider` if no model was read; else the URL without its query."""
        provider = self.recipient.provider
        if provider is None:
            return self.url.partition("?")[0]
        return f"{provider}/{model}" if model else provider


class AppTarget(msgspec.Struct, frozen=True):
    """A wrapped application: the name its mount gave it, and what it is asked for.

    `root` is where it is mounted (`root_path`, `SCRIPT_NAME`), `path` is below that, and `raw_path` is the same as it was sent.
    """

    name: str
    root: bytes
    path: bytes
    raw_path: bytes
    query: bytes

    __repr__ = redacted_repr

    @property
    def recipient(self) -> Recipient:
        return Inside.APP

    @property
    def place(self) -> str:
        """Empty: it is in this process."""
        return ""

    def called(self, model: str | None) -> str:
        """Return what reports and records call it."""
        return self.name


class ClientTarget(msgspec.Struct, frozen=True):
    """An HTTP upstream behind a transport in the client's own process: all that the request says reaches it.

    `host` is what the request's `Host` field and its TLS name say, where that is not what the URL says; `bookkeeping` and
    `closing` are as in `HttpRecipient`.
    """

    url: str
    host: bytes = b""
    bookkeeping: frozenset[str] = frozenset()
    closing: Closing = USUAL_CLOSING

    __repr__ = redacted_repr

    @property
    def recipient(self) -> Recipient:
        return Inside.TRANSPORT

    @property
    def place(self) -> str:
        """Its host, as people name it: with its port unless that is the scheme's own."""
        return host_in(self.url)

    def called(self, model: str | None) -> str:
        """Return what reports and records call it: the URL without its query."""
        return self.url.partition("?")[0]


class RouteTarget(msgspec.Struct, frozen=True):
    """A gateway, which has many targets: to which of them a request goes is decided when it has been read.

    `raw_path` and `query` are the client's own. `recipient` stands for all of the targets; they differ in what is their own.
    """

    raw_path: bytes
    query: bytes
    recipient: HttpRecipient = URL_RECIPIENT

    __repr__ = redacted_repr

    @property
    def place(self) -> str:
        """Empty: it is in this process."""
        return ""

    def called(self, model: str | None) -> str:
        """Return what reports call it, until one of its targets has answered."""
        return "gateway"


Target = HttpTarget | AppTarget | ClientTarget | RouteTarget


class Attested(msgspec.Struct, frozen=True):
    """The words of a server about who asks, besides the header fields.

    `credentials` are in the partition, `session` is in the key. `is_nameless`: somebody is known to the app in a way that no
    key can hold.
    """

    credentials: Headers = ()
    session: bytes = b""
    is_nameless: bool = False

    __repr__ = redacted_repr


NOTHING_ATTESTED = Attested()


class Caller(msgspec.Struct, frozen=True):
    """The caller of a request. One without credentials and name is anonymous.

    `brought` are the credentials that the caller sent, `attested` those that the server vouches for; `name` is that of a client
    key of the operator's.
    """

    brought: Headers = ()
    attested: Headers = ()
    name: str | None = None

    __repr__ = redacted_repr

    @property
    def credentials(self) -> Headers:
        """Everything that tells this caller from others."""
        return (*self.brought, *self.attested) if self.attested else self.brought


ANONYMOUS_CALLER = Caller()
"""A caller who is anonymous."""


class Usage(msgspec.Struct, frozen=True, array_like=True):
    """The tokens that an answer took, as the upstream counted them; `None` where it does not say.

    `cached_tokens` are those of the input that the provider had cached, `cache_write_tokens` those that it was told to cache,
    `reasoning_tokens` those of the output nobody sees. `reported` is the cost as the provider says it, in nano-dollars.
    """

    input_tokens: int | None = None
    output_tokens: int | None = None
    cached_tokens: int | None = None
    reasoning_tokens: int | None = None
    cache_write_tokens: int | None = None
    reported: int | None = None


class Unread(Enum):
    """Why a request's body was not read to its end, as `Cache-Status` tells it."""

    LEFT_ALONE = "left-alone"  # told to nobody: nothing is forwarded, or nothing cached
    TOO_LARGE = "request-too-large"
    BUSY = "busy"


class Request(msgspec.Struct, frozen=True):
    """A request as it arrived. `path` is below the mount's `root_path`; `body` is whole, or says why it was not read.

    `context` is what the server, or the client, says of it besides: the ASGI scope, the WSGI environ, or httpx's extensions.
    """

    method: str
    path: str
    headers: Headers
    body: bytes | Unread
    target: Target
    attested: Attested = NOTHING_ATTESTED
    caller: Caller = ANONYMOUS_CALLER
    context: Mapping[str, Any] = msgspec.field(default_factory=dict)

    __repr__ = redacted_repr

    def values(self, name: str) -> list[bytes]:
        """Return every value of the header `name`, in order."""
        return header_values(self.headers, name.lower().encode("latin-1"))


class Kind(msgspec.Struct, frozen=True):
    """The form of the answer that was asked for: JSON or an event stream, and with which stream options."""

    stream: bool
    options: bytes = b"{}"

    __repr__ = redacted_repr


class Head(msgspec.Struct, frozen=True):
    """Status and header fields of a response. Not `delimited`: its body ends where the connection does (RFC 9112 §6.3)."""

    status: int
    headers: Headers
    delimited: bool = True

    __repr__ = redacted_repr


class StoredResponse(msgspec.Struct, frozen=True):
    """A complete response, what it answers, and when its last byte came.

    `event_ends` are offsets into `body`, `arrivals` seconds since the head, one for each event; both are empty for JSON.
    `stored_at` is in seconds since the epoch, `lifetime` and `took` in seconds. `endpoint` and `target` are names, `model` is
    the one that the answer names. `asked_endpoint` is the one that the `request` called, where that was translated.
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
    endpoint: str
    request: bytes | None = None
    target: str = ""
    model: str | None = None
    usage: Usage | None = None
    took: float | None = None
    sketch: bytes | None = None
    asked_endpoint: str = ""

    __repr__ = redacted_repr


def header_values(headers: Headers, lower_name: bytes) -> list[bytes]:
    """Return every value of the field whose lower-case name is given, in order."""
    size = len(lower_name)  # sorts out nearly all, and costs less than the other letter case
    return [value for name, value in headers if len(name) == size and name.lower() == lower_name]


def values_of_two(headers: Headers, first: bytes, second: bytes) -> tuple[list[bytes], list[bytes]]:
    """Return what `header_values` does for two fields whose names are not of one length, in one pass."""
    firsts: list[bytes] = []
    seconds: list[bytes] = []
    for name, value in headers:
        if len(name) == len(first):
            if name.lower() == first:
                firsts.append(value)
        elif len(name) == len(second) and name.lower() == second:
            seconds.append(value)
    return firsts, seconds


def by_name(headers: Headers) -> dict[bytes, list[bytes]]:
    """Return the values of all fields by their names in lower case, in order: for who asks for many."""
    found = {name.lower(): [value] for name, value in headers}
    if len(found) < len(headers):  # some stand there more than once
        found = {name: header_values(headers, name) for name in found}
    return found
