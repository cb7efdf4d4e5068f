"""Which header fields are in the key, which are known to change nothing, and which travel on.

A request header is keyed, inert or dropped; there is no fourth kind. Credentials are in the key through the partition.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache
from operator import itemgetter

from cachemw.core.messages import Headers

CREDENTIALS = (b"authorization", b"api-key", b"x-api-key", b"x-goog-api-key")

# RFC 9110 §7.6.1, and the fields it tells an intermediary to remove
HOP_BY_HOP = frozenset(
    b"connection keep-alive proxy-authenticate proxy-authorization proxy-connection te trailer transfer-encoding"
    b" upgrade".split()
)
INERT = HOP_BY_HOP | frozenset(
    b"host accept accept-encoding user-agent traceparent tracestate baggage x-request-id idempotency-key cache-control pragma"
    b" cachemw x-forwarded-for x-forwarded-host x-forwarded-proto x-forwarded-port forwarded via origin referer priority"
    b" queue_threshold x-cerebras-3rd-party-integration".split()
)
INERT_PREFIXES = (b"content-", b"x-stainless-", b"sentry-", b"sec-")
INERT_OVER_HTTP = frozenset({b"accept-language"})  # not forwarded, so that it cannot reach the model

KEYED_OVER_HTTP_PREFIXES = (b"x-cerebras-", b"openai-", b"anthropic-")
FORWARDED = frozenset(CREDENTIALS) | frozenset(
    b"accept content-type content-encoding user-agent idempotency-key traceparent tracestate queue_threshold".split()
)
FORWARDED_PREFIXES = (b"x-stainless-", *KEYED_OVER_HTTP_PREFIXES)
NEVER_FORWARDED = HOP_BY_HOP | {b"host", b"content-length", b"cookie", b"cachemw"}

STORED = frozenset({b"content-type", b"content-language", b"openai-version"})


class Fate(Enum):
    """What becomes of a request header as far as the key is concerned."""

    KEYED = "keyed"
    CREDENTIAL = "credential"
    INERT = "inert"
    DROPPED = "dropped"


@dataclass(frozen=True, slots=True, eq=False)  # compared by identity: there is one for each policy
class HeaderRules:
    """The operator's additions to the lists, names in lower case."""

    vary: frozenset[bytes] = frozenset()
    inert: frozenset[bytes] = frozenset()
    forward: frozenset[bytes] = frozenset()


NO_RULES = HeaderRules()


def fate(name: bytes, over_http: bool, rules: HeaderRules) -> Fate:
    """Say what becomes of the header with this lower-case name, on its way to an HTTP upstream or to a wrapped app."""
    if name in CREDENTIALS:
        return Fate.CREDENTIAL
    if name in rules.vary or over_http and name in rules.forward - rules.inert:
        return Fate.KEYED
    if name in INERT or name in rules.inert or name.startswith(INERT_PREFIXES):
        return Fate.INERT
    if not over_http:
        return Fate.KEYED
    if name in INERT_OVER_HTTP:
        return Fate.INERT
    return Fate.KEYED if _is_forwarded(name, rules) else Fate.DROPPED


def _is_forwarded(name: bytes, rules: HeaderRules) -> bool:
    return name in FORWARDED or name in rules.forward or name.startswith(FORWARDED_PREFIXES)


def keyed(headers: Headers, over_http: bool, rules: HeaderRules) -> Headers:
    """Return the fields that belong in the key: names in lower case and sorted, values of one name in their order."""
    positions = _positions(tuple([name for name, _ in headers]), Fate.KEYED, over_http, rules)
    fields = tuple([(name, headers[at][1]) for name, at in positions])
    if not (fields and over_http):
        return fields
    dropped = nominated_by_connection(headers)  # they do not reach the upstream
    return tuple([field for field in fields if field[0] not in dropped])


def credentials(headers: Headers) -> Headers:
    """Return the fields that say who the caller is, names in lower case."""
    positions = _positions(tuple([name for name, _ in headers]), Fate.CREDENTIAL, False, NO_RULES)
    return tuple([(name, headers[at][1]) for name, at in sorted(positions, key=itemgetter(1))])


@lru_cache(128)  # one client sends the same names again and again
def _positions(names: tuple[bytes, ...], wanted: Fate, over_http: bool, rules: HeaderRules) -> tuple[tuple[bytes, int], ...]:
    """Return the lower-case names with that fate, sorted, and where they stand."""
    lower = [(name.lower(), at) for at, name in enumerate(names)]
    return tuple(sorted((name, at) for name, at in lower if fate(name, over_http, rules) is wanted))


def forwarded(headers: Headers, rules: HeaderRules) -> Headers:
    """Return what an HTTP upstream is sent of a client's header fields."""
    nominated = nominated_by_connection(headers)
    return tuple(
        (name, value)
        for name, value in headers
        if (lower := name.lower()) not in nominated and lower not in HOP_BY_HOP and _is_forwarded(lower, rules)
    )


def in_utf8(headers: Iterable[tuple[bytes, bytes]]) -> Headers:
    """Return fields that are UTF-8 each; what is not is taken for Latin-1.

    Of one that is not, httpx would take all others for Latin-1 too, those that are in the key, and say them in other bytes.
    """
    return tuple([(_in_utf8(name), _in_utf8(value)) for name, value in headers])


def _in_utf8(text: bytes) -> bytes:
    try:
        text.decode()
    except UnicodeDecodeError:
        return text.decode("latin-1").encode()
    return text


def end_to_end(headers: Headers) -> Headers:
    """Return the fields that may pass an intermediary (RFC 9110 §7.6.1)."""
    removed = HOP_BY_HOP | nominated_by_connection(headers)
    return tuple((name, value) for name, value in headers if name.lower() not in removed)


def nominated_by_connection(headers: Headers) -> frozenset[bytes]:
    """Return the fields that `Connection` names, lower case; credentials cannot be removed that way."""
    listed = (value.lower().split(b",") for name, value in headers if name.lower() == b"connection")
    return frozenset(item.strip() for items in listed for item in items) - frozenset(CREDENTIALS)


def storable(headers: Headers) -> Headers:
    """Return the response fields a stored response keeps."""
    return tuple((name.lower(), value) for name, value in end_to_end(headers) if name.lower() in STORED)


def without(headers: Headers, lower_names: Iterable[bytes]) -> Headers:
    """Return the fields whose names are not among `lower_names`."""
    removed = frozenset(lower_names)
    return tuple((name, value) for name, value in headers if name.lower() not in removed)


def content_length(headers: Headers) -> int | None:
    """Return how long a body is said to be; `None` where that is not said, or not in one way (RFC 9110 §8.6)."""
    fields = [value for name, value in headers if name.lower() == b"content-length"]
    lengths = {length.strip() for length in b",".join(fields).split(b",")}
    said = {int(length) if length.isdigit() and len(length) < 20 else None for length in lengths}
    return said.pop() if len(said) == 1 else None
