"""Our errors, one tree.

CacheError
├── ConfigurationError     a policy, store or upstream that cannot work; raised at construction
│   ├── InvalidSetting     a setting whose value is not what it takes
│   └── ConfigurationFaults  all that is wrong with a gateway's file, each with its line
├── CommandError           a command that cannot do what it was asked; its text is the line that the user reads
├── Unreadable             a request body that is not JSON in one reading: it bypasses the cache
├── Loss                   an answer that cannot be had in another kind: a miss (in `transcode`, which it never leaves)
├── PartitionError         nobody can say whose request this is: it bypasses the cache
├── BookError              an account or the ledger cannot be read or written; told to who spends, or logged
├── StoreError             never reaches a client: becomes a miss or an unsaved response
│   ├── StoreTimeout       it did not answer in time; what it was asked may still be done
│   ├── PlaceRefused       records would be lost in the place that was named for them
│   ├── RecordRefused      the store works, and does not take this record
│   │   ├── RecordTooLarge larger than all of the store may be: it is not kept, and nothing goes for it
│   │   ├── Superseded     one is there that was asked for later
│   │   └── Purged         there was a purge since it was asked for
│   └── RecordError        bytes that are not a record we can trust
└── UpstreamError          __cause__ is the original
    ├── KeyMissing         it takes a key, and there is none to send it
    ├── RequestDeclined    a gateway may not ask it for this caller
    ├── UpstreamTimeout    it did not answer, or fell silent, within its time
    ├── UnusableHead       the head of its answer cannot be passed on
    └── TruncatedResponse  it ended before it was complete; nothing is stored
"""

from enum import Enum
from typing import Any


class CacheError(Exception):
    """Root of everything this package raises on its own account."""


class ConfigurationError(CacheError):
    """A policy, store or upstream that cannot work."""


class InvalidSetting(ConfigurationError):
    """A setting whose value is not what it takes: `place` is where it stands, `reason` says what it takes."""

    def __init__(self, place: str, reason: str) -> None:
        super().__init__(f"{place}: {reason}")
        self.place, self.reason = place, reason


class ConfigurationFaults(ConfigurationError):
    """All that is wrong with a gateway's file, at once; each of the `faults` names its place."""

    def __init__(self, faults: tuple[str, ...]) -> None:
        super().__init__("\n".join(faults))
        self.faults = faults


class CommandError(CacheError):
    """A command that cannot do what it was asked. Its text is the one line that the user reads."""


class Unreadable(CacheError):
    """A body that is not JSON, or can be read in two ways; `detail` says which."""

    def __init__(self, detail: str) -> None:
        super().__init__(detail)
        self.detail = detail


class PartitionError(CacheError):
    """Nobody can say whose request this is."""


class BookError(CacheError):
    """An account, or the ledger, cannot be read or written."""


class StoreError(CacheError):
    """The store cannot answer: a broken store is an empty store."""


class StoreTimeout(StoreError):
    """The store did not answer in time; what it was asked may still be done."""


class PlaceRefused(StoreError):
    """A place that was named for the store, in which records would be lost."""


class RecordRefused(StoreError):
    """The store works, and does not take this record; `detail` says why, as `Cache-Status` tells it."""

    detail = "store-failed"


class RecordTooLarge(RecordRefused):
    """A record larger than all of the store may be."""

    detail = "record-too-large"


class Superseded(RecordRefused):
    """A record that was asked for before the one that is there."""

    detail = "superseded"


class Purged(RecordRefused):
    """A record that was asked for before a purge."""

    detail = "purged"


class RecordError(StoreError):
    """Bytes that are not a record we can trust."""


UNREACHABLE = "unreachable"
"""The detail of an upstream that gave no head; its cause says more."""


class Cause(Enum):
    """The causes of which an upstream fails: the word for logs, and what people are told of it, with the host before that."""

    REFUSED = "refused", "refuses connections (is it running there, on this port?)"
    DNS = "dns", "cannot be found: its name does not resolve"
    TLS = "tls", "cannot be spoken to over TLS (is it plain http?)"
    CERTIFICATE = "tls", "has a certificate that is not trusted here (SSL_CERT_FILE names whom to trust)"
    PROXY = "proxy", "cannot be reached through the proxy that the environment names"
    TIMEOUT = "timeout", "did not answer in time"
    NETWORK = "network", "cannot be reached over the network"
    CLOSED = "closed", "closed the connection before it had answered"
    REQUEST = "request", "cannot be asked for this path"
    UNKNOWN = "unknown", "cannot be reached"

    def __init__(self, word: str, sentence: str) -> None:
        self.word, self.sentence = word, sentence


class UpstreamError(CacheError):
    """The upstream cannot be reached, or broke off; `__cause__` is the original.

    `host` is where an HTTP upstream is, with its port, and empty for a wrapped app; `cause` says why it failed. `status` is
    that of a response that broke off; `detail` says why there is no answer, as `Cache-Status` tells it. `advice` are header
    fields that the client is told with it. Where several targets were asked, `routed` is the `Routed` that says so.
    """

    host = ""
    cause = Cause.UNKNOWN
    status: int | None = None
    advice: tuple[tuple[bytes, bytes], ...] = ()
    routed: Any = None

    @property
    def detail(self) -> str:
        return UNREACHABLE if self.status is None else "truncated"


class KeyMissing(UpstreamError):
    """The upstream takes a key, and neither has `variable` one, nor did the caller bring one where it `can_be_sent`."""

    detail = "no-key"
    cause = Cause.REQUEST

    def __init__(self, variable: str, *, can_be_sent: bool) -> None:
        super().__init__("there is no key for the upstream")
        self.variable, self.can_be_sent = variable, can_be_sent


class RequestDeclined(UpstreamError):
    """A gateway may not ask anybody for this caller: `closed` says why (`cachemw.cache.plans.Closed`)."""

    detail = "declined"
    cause = Cause.REQUEST

    def __init__(self, closed: Any) -> None:
        super().__init__("the caller may not have this forwarded")
        self.closed = closed


class UpstreamTimeout(UpstreamError):
    """The upstream did not answer, or fell silent, within its time."""

    detail = "timeout"
    cause = Cause.TIMEOUT


class UnusableHead(UpstreamError):
    """The head of the upstream's answer cannot be passed on: `reason` says why, in plain words, and `detail` in one."""

    detail = "invalid-head"

    def __init__(self, reason: str, detail: str = "invalid-head") -> None:
        super().__init__(reason)
        self.reason, self.detail = reason, detail


class TruncatedResponse(UpstreamError):
    """The response ended before it was complete."""

    detail = "truncated"
    cause = Cause.CLOSED


class ClientLeftError(OSError):
    """The client went away before its request was whole. No error of ours: nobody is there to be told."""
