"""The table of header fields: whether each is in the key, and whether it is forwarded.

The key, the forwarded request and the documentation all read it.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache
from operator import itemgetter

import msgspec

from cachemw.messages import Headers, HttpRecipient, Inside, Recipient, Sends
from cachemw.redaction import redacted_repr
from cachemw.wire.fields import CREDENTIALS, HOP_BY_HOP, end_to_end, nominated_by_connection

NEVER_FORWARDED = HOP_BY_HOP | {b"host", b"content-length", b"cookie", b"cachemw"}

STORED = frozenset({b"content-type", b"content-language", b"openai-version"})


class Counts(Enum):
    """The part that a member of a request plays."""

    KEYED = "in the key"
    CREDENTIAL = "in the partition"
    INERT = "not in the key"
    BYPASS = "not cached"


class Travels(Enum):
    """The fate of a header field on its way to an HTTP upstream."""

    FORWARDED = "forwarded"
    REWRITTEN = "rewritten"
    DROPPED = "dropped"


class Fate(msgspec.Struct, frozen=True):
    """The part of a header field, and its fate on the way. Around an app, and in a transport, all travel as they are."""

    counts: Counts
    travels: Travels


class FieldRow(msgspec.Struct, frozen=True):
    """Fields, in lower case, `*` for any end: what they count for around an app, in a transport and over HTTP, and why.

    Those of a `provider` are forwarded to that one, and to a URL of which nobody knows anything; elsewhere they are dropped.
    """

    names: str
    app: Counts
    transport: Counts
    http: Fate
    why: str
    provider: str | None = None

    __repr__ = redacted_repr


_FORWARDED_INERT = Fate(Counts.INERT, Travels.FORWARDED)
_REWRITTEN_INERT = Fate(Counts.INERT, Travels.REWRITTEN)
_DROPPED = Fate(Counts.INERT, Travels.DROPPED)
_KEYED, _INERT = Counts.KEYED, Counts.INERT

ROWS = (
    FieldRow(
        " ".join(name.decode() for name in CREDENTIALS),
        *(Counts.CREDENTIAL, Counts.CREDENTIAL, Fate(Counts.CREDENTIAL, Travels.FORWARDED)),
        "says who asks; where the upstream has a key of the operator's, that may go in its place",
    ),
    FieldRow(
        " ".join(sorted(name.decode() for name in HOP_BY_HOP)), _INERT, _INERT, _DROPPED, "of one connection (RFC 9110 §7.6.1)"
    ),
    FieldRow("host", _KEYED, _INERT, Fate(Counts.INERT, Travels.REWRITTEN), "whose app is asked; over HTTP the URL says that"),
    FieldRow("x-forwarded-host", _KEYED, _KEYED, _DROPPED, "whose app is asked, behind a proxy"),
    FieldRow("forwarded", _KEYED, _KEYED, _DROPPED, "of it only `host`, which says whose app is asked (RFC 7239 §5.3)"),
    FieldRow("content-type", _KEYED, _KEYED, Fate(_KEYED, Travels.FORWARDED), "of it only what is not plain JSON"),
    FieldRow("content-encoding", _INERT, _INERT, _FORWARDED_INERT, "a body that has one is not cached"),
    FieldRow("content-length accept-encoding", _INERT, _INERT, _REWRITTEN_INERT, "how bodies travel"),
    FieldRow("accept user-agent x-stainless-*", _INERT, _INERT, _FORWARDED_INERT, "which program asks, and what it can read"),
    FieldRow("accept-language", _KEYED, _INERT, _DROPPED, "an app may answer in that language; an API of this kind does not"),
    FieldRow("traceparent tracestate", _INERT, _INERT, _FORWARDED_INERT, "follows one request through machines"),
    FieldRow(
        "idempotency-key",
        *(_INERT, _INERT, _REWRITTEN_INERT),
        "says that two requests are one; upstreams get a code of it that fits this caller and question alone",
    ),
    FieldRow("baggage sentry-* x-request-id", _INERT, _INERT, _DROPPED, "follows one request through machines"),
    FieldRow("cache-control pragma cachemw", _INERT, _INERT, _DROPPED, "asks something of caches"),
    FieldRow("x-forwarded-for x-forwarded-port x-forwarded-proto via", _INERT, _INERT, _DROPPED, "which way a request came"),
    FieldRow(
        "origin referer sec-ch-* sec-fetch-* sec-gpc priority",
        *(_INERT, _INERT, _DROPPED),
        "what a browser says of itself, and of the page it shows",
    ),
    FieldRow("queue_threshold", _INERT, _INERT, _FORWARDED_INERT, "how long to wait for a turn", "cerebras"),
    FieldRow("x-cerebras-3rd-party-integration", _INERT, _INERT, _FORWARDED_INERT, "which program asks", "cerebras"),
    *(
        FieldRow(f"{prefix}-*", _KEYED, _KEYED, Fate(_KEYED, Travels.FORWARDED), "a provider's own", provider)
        for prefix, provider in (("x-cerebras", "cerebras"), ("openai", "openai"), ("anthropic", "anthropic"))
    ),
    FieldRow("cookie", _KEYED, _KEYED, _DROPPED, "says who asks, to an app; an upstream gets no caller's cookies"),
)
OTHERS = FieldRow("*", _KEYED, _KEYED, _DROPPED, "nobody knows what it does")
"""The row of every field that has none."""

_ACCOUNT = frozenset({b"openai-organization", b"openai-project", b"anthropic-workspace-id", b"anthropic-user-profile-id"})
"""The fields that say which account pays, where one key has several: with the operator's key that is the operator's to say."""

_OF_THE_ACCOUNT = (*_ACCOUNT, b"anthropic-organization-id", b"x-ratelimit-", b"anthropic-ratelimit-")
"""The beginnings of the response fields that say so, and how much is left to it."""

_NAMED: Mapping[bytes, FieldRow] = {name.encode(): row for row in ROWS for name in row.names.split() if not name.endswith("*")}
_PREFIXED = tuple((name[:-1].encode(), row) for row in ROWS for name in row.names.split() if name.endswith("*"))


@dataclass(frozen=True, slots=True, eq=False)  # compared by identity: there is one for each policy
class HeaderRules:
    """The operator's additions to the table, names in lower case."""

    vary: frozenset[bytes] = frozenset()
    inert: frozenset[bytes] = frozenset()
    forward: frozenset[bytes] = frozenset()


NO_RULES = HeaderRules()


def fate(name: bytes, recipient: Recipient, rules: HeaderRules) -> Fate:
    """Say what becomes of the header field with this lower-case name on its way to a target."""
    row = _row(name)
    counts, travels = _in_row(name, row, recipient)
    if isinstance(recipient, HttpRecipient) and name in rules.forward:
        counts, travels = _KEYED, Travels.FORWARDED
    if row.app is Counts.CREDENTIAL:
        return Fate(Counts.CREDENTIAL, travels)
    if name in rules.vary:
        counts = _KEYED
    elif name in rules.inert:
        counts = _INERT
    return Fate(counts, travels)


def _row(name: bytes) -> FieldRow:
    return _NAMED.get(name) or next((row for prefix, row in _PREFIXED if name.startswith(prefix)), OTHERS)


def _in_row(name: bytes, row: FieldRow, recipient: Recipient) -> tuple[Counts, Travels]:
    if recipient is Inside.APP:
        return row.app, Travels.FORWARDED
    if recipient is Inside.TRANSPORT:
        is_rewritten = row.http.travels is Travels.REWRITTEN and name == b"idempotency-key"
        return row.transport, Travels.REWRITTEN if is_rewritten else Travels.FORWARDED
    assert isinstance(recipient, HttpRecipient)  # noqa: S101 - there is no other
    is_its_own = row.provider is None or recipient.provider in (None, row.provider)
    if not is_its_own or recipient.sends is Sends.OURS and name in _ACCOUNT:
        return _INERT, Travels.DROPPED
    return row.http.counts, row.http.travels


def keyed(headers: Headers, recipient: Recipient, rules: HeaderRules) -> Headers:
    """Return the fields that belong in the key: names in lower case and sorted, values of one name in their order."""
    fields: list[tuple[bytes, bytes]] = []
    for name, at, part in _keyed_positions(tuple([name for name, _ in headers]), recipient, rules):
        value = headers[at][1] if part is None else part(headers[at][1])
        if value or part is None:
            fields.append((name, value))
    if not isinstance(recipient, HttpRecipient):
        return tuple(fields)
    if fields:
        dropped = nominated_by_connection(headers)  # they do not reach the upstream
        fields = [field for field in fields if field[0] not in dropped]
    return _with_operators(fields, recipient, rules) if recipient.fields else tuple(fields)


KeyedPart = Callable[[bytes], bytes]
"""Takes what counts of a field's value, if not all of it does."""


@lru_cache(128)  # one client sends the same names again and again
def _keyed_positions(
    names: tuple[bytes, ...], recipient: Recipient, rules: HeaderRules
) -> tuple[tuple[bytes, int, KeyedPart | None], ...]:
    """Return the lower-case names that are in the key, sorted, where they stand, and what counts of them."""
    lower = sorted((name.lower(), at) for at, name in enumerate(names))
    return tuple([(name, at, _KEYED_IN_PART.get(name)) for name, at in lower if fate(name, recipient, rules).counts is _KEYED])


def _with_operators(fields: list[tuple[bytes, bytes]], recipient: HttpRecipient, rules: HeaderRules) -> Headers:
    """Put the operator's own fields among them, as if the caller had sent them and no others of their names."""
    names = {name for name, _ in recipient.fields}
    kept = [field for field in fields if field[0] not in names]
    own = [field for field in recipient.fields if _row(field[0]).http.counts is _KEYED or _row(field[0]) is OTHERS]
    return tuple(sorted(kept + own, key=itemgetter(0)))


_PLAIN_JSON = re.compile(rb'application/json[ \t]*(?:;[ \t]*(?:charset[ \t]*=[ \t]*"?utf-8"?[ \t]*)?)*', re.IGNORECASE)
_HOST_PARAMETER = re.compile(rb'(?:^|[;,])[ \t]*host[ \t]*=[ \t]*("(?:[^"\\]|\\.)*"|[^;,]*)', re.IGNORECASE)


@lru_cache(64)
def _beyond_plain_json(content_type: bytes) -> bytes:
    return b"" if _PLAIN_JSON.fullmatch(content_type) else content_type


def _forwarded_hosts(forwarded: bytes) -> bytes:
    return b",".join(_HOST_PARAMETER.findall(forwarded))


_KEYED_IN_PART: Mapping[bytes, KeyedPart] = {
    b"content-type": _beyond_plain_json,
    b"forwarded": _forwarded_hosts,
}


def credentials(headers: Headers) -> Headers:
    """Return the fields that say who the caller is, names in lower case, as they were sent."""
    return tuple([(name, headers[at][1]) for name, at in _credential_positions(tuple([name for name, _ in headers]))])


@lru_cache(128)
def _credential_positions(names: tuple[bytes, ...]) -> tuple[tuple[bytes, int], ...]:
    return tuple([(lower, at) for at, name in enumerate(names) if (lower := name.lower()) in CREDENTIALS])


def forwarded(headers: Headers, recipient: HttpRecipient, rules: HeaderRules) -> Headers:
    """Return what an HTTP upstream is sent as it is of a client's header fields, and the operator's own."""
    kept_back = nominated_by_connection(headers) | NEVER_FORWARDED | {name for name, _ in recipient.fields}
    passed = [
        (name, value)
        for name, value in headers
        if (lower := name.lower()) not in kept_back and fate(lower, recipient, rules).travels is Travels.FORWARDED
    ]
    return (*passed, *recipient.fields)


def unkeyed(headers: Headers, recipient: Recipient, rules: HeaderRules) -> Headers:
    """Return the fields that reach a target though they are not in the key: names in lower case and sorted."""
    seen = forwarded(headers, recipient, rules) if isinstance(recipient, HttpRecipient) else headers
    lower = [(name.lower(), value) for name, value in seen]
    left_out = HOP_BY_HOP | {b"content-length", b"accept-encoding", b"cachemw"}
    return tuple(
        sorted(
            (field for field in lower if field[0] not in left_out and _is_unkeyed(field[0], recipient, rules)),
            key=itemgetter(0),
        )
    )


def _is_unkeyed(name: bytes, recipient: Recipient, rules: HeaderRules) -> bool:
    return name in _KEYED_IN_PART or fate(name, recipient, rules).counts is Counts.INERT


def storable(headers: Headers) -> Headers:
    """Return the response fields a stored response keeps."""
    return tuple((name.lower(), value) for name, value in end_to_end(headers) if name.lower() in STORED)


def without_account(headers: Headers) -> Headers:
    """Return the response fields that do not say whose account was asked, and what is left to it."""
    return tuple([field for field in headers if not field[0].lower().startswith(_OF_THE_ACCOUNT)])
