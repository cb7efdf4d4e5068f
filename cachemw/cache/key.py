"""The key: what selects a stored response. Its parts, their index and their proof."""

import base64
import hashlib
import hmac
from collections.abc import Iterable
from functools import lru_cache

import msgspec
import xxhash

from cachemw.cache.header_rules import HeaderRules, credentials, keyed
from cachemw.messages import (
    NOTHING_ATTESTED,
    AppTarget,
    Attested,
    Caller,
    ClientTarget,
    Headers,
    HttpRecipient,
    Kind,
    Recipient,
    Request,
    RouteTarget,
    Sends,
)
from cachemw.redaction import redacted_repr
from cachemw.wire.fields import CREDENTIALS, without

SCHEME = b"cachemw/2"
"""Changes whenever a request would get another key than before."""


_PART = b"part"


class Key(msgspec.Struct, frozen=True):
    """`parts` is everything an answer depends on; `index` finds a record, `proof` shows that it is the right one.

    xxh3-128 is no more than an index: two chat bodies with one digest are made in milliseconds.
    """

    parts: bytes
    index: bytes
    proof: bytes

    __repr__ = redacted_repr


def fingerprint(
    request: Request, canonical: bytes, partition: bytes, namespace: str | None, sample: int, rules: HeaderRules
) -> Key:
    """Return the key of an API call."""
    fields = keyed(request.headers, request.target.recipient, rules)
    parts = frame(
        (
            SCHEME,
            partition,
            b"" if namespace is None else b"=" + namespace.encode(),
            b"%d" % sample,
            _identity(request, rules),
            frame([part for field in fields for part in field]),
            canonical,
        )
    )
    return Key(parts, xxhash.xxh3_128_digest(parts), hashlib.sha256(parts).digest())


def index_beside(index: bytes, kind: Kind) -> bytes:
    """Return where the record of this kind lies that cannot be had from the one under a key's index.

    It is made of that index alone: whoever purges a key knows nothing else of it.
    """
    return xxhash.xxh3_128_digest(index + (b"stream" if kind.stream else b"JSON"))


def index_of_batch(index: bytes) -> bytes:
    """Return where it lies that the parts of the record under a key's index have in common: without it none is of use."""
    return xxhash.xxh3_128_digest(index + b"batch")


def indexes_beside(index: bytes) -> tuple[bytes, bytes, bytes]:
    """Return every place beside a key's index."""
    return index_beside(index, Kind(stream=False)), index_beside(index, Kind(stream=True)), index_of_batch(index)


def part_keys(whole: Key, canonical: bytes, bodies: Iterable[bytes]) -> list[Key]:
    """Return the keys of the parts of an answer: all that the whole's is made of, but for the body that asks for the part."""
    circumstances = frame((_PART,)) + whole.parts[: -len(frame((canonical,)))]
    every = [circumstances + frame((body,)) for body in bodies]
    return [Key(parts, xxhash.xxh3_128_digest(parts), hashlib.sha256(parts).digest()) for parts in every]


def frame(parts: Iterable[bytes]) -> bytes:
    """Put parts behind one another, each with its length before it, so that no two lists come out alike."""
    return b"".join([len(part).to_bytes(8) + part for part in parts])


def _identity(request: Request, rules: HeaderRules) -> bytes:
    """Say who answers; an app may answer by the caller's session, and by where it is mounted, unless that is inert."""
    target, session = request.target, request.attested.session
    if isinstance(target, AppTarget):
        root = b"" if b"root_path" in rules.inert else target.root
        asked = (target.name.encode(), root, target.path, target.raw_path, target.query)
        return frame((b"app", *asked, session) if session else (b"app", *asked))
    assert not isinstance(target, RouteTarget)  # noqa: S101 - a key is made for one of its targets
    if isinstance(target, ClientTarget) and target.host:
        return frame((b"http", target.url.encode(), target.host))
    return frame((b"http", target.url.encode()))


ANONYMOUS = b"anonymous"
ANONYMOUS_LENT = b"anonymous, with a lent key"
SHARED = b"shared"
_OF_CREDENTIAL = b"credential:"
_OF_CLIENT = b"client:"

PLACEHOLDERS = ((b"authorization", b"bearer cachemw"), (b"x-api-key", b"cachemw"))
"""The placeholders of SDKs that cannot send no key at all; they name nobody, and are not forwarded."""


def callers_credentials(headers: Headers, over_http: bool) -> Headers:
    """Return the credentials the caller sent; over HTTP without the placeholders."""
    found = credentials(headers)
    return without_placeholder(found) if over_http else found


def caller_of(headers: Headers, recipient: Recipient, attested: Attested = NOTHING_ATTESTED) -> Caller:
    """Return who asks, where no client key has told it."""
    return Caller(callers_credentials(headers, isinstance(recipient, HttpRecipient)), attested.credentials)


def client_code(caller: Caller, partition: bytes) -> str | None:
    """Return what reports call a caller: the name of its key, else a code of its credential; `None` where it has neither.

    A partition of that kind is an HMAC: nobody can search for what it is made of, nor for it by its digest.
    """
    if caller.name is not None or not partition.startswith(_OF_CREDENTIAL):
        return caller.name
    return _code_of(partition)


@lru_cache(1024)  # one caller asks again and again
def _code_of(partition: bytes) -> str:
    return hashlib.sha256(partition).digest()[:8].hex()


def without_placeholder(headers: Headers) -> Headers:
    """Return the fields that are no placeholder."""
    return tuple((name, value) for name, value in headers if (name.lower(), value.lower()) not in PLACEHOLDERS)


def is_lent(brought: Headers, recipient: Recipient) -> bool:
    """Say whether an upstream is sent the operator's credential for a caller who brought these, and none of the caller's."""
    if not isinstance(recipient, HttpRecipient):
        return False
    return recipient.sends is Sends.OURS or recipient.sends is Sends.CALLERS_OR_OURS and not brought


def by_credential(secret: bytes, lent: bool, sent: Headers) -> bytes:
    """Return the partition of a caller with these credentials; without any, the anonymous one needs no secret.

    What was answered to the operator's credential, which was `lent`, is not what would be answered to a caller's own.
    """
    if not sent:
        return ANONYMOUS_LENT if lent else ANONYMOUS
    return _OF_CREDENTIAL + code(secret, b"lent" if lent else b"own", *[part for field in sent for part in field])


def by_client(secret: bytes, lent: bool, name: str, realm: bytes = b"") -> bytes:
    """Return the partition of a client with a name, whichever of its keys it brought.

    `realm` tells those apart who share a store and give one name to two clients.
    """
    return _OF_CLIENT + code(secret, b"lent" if lent else b"own", name.encode(), realm)


def by_name(name: bytes | None) -> bytes:
    """Return the partition an operator's function named; `None` is the anonymous one."""
    return ANONYMOUS if name is None else b"named:" + name


def code(secret: bytes, *parts: bytes) -> bytes:
    """Return a code of these parts that nobody can search for who has not the secret (HMAC-SHA-256)."""
    keyed = _keyed(secret).copy()
    keyed.update(b"".join([len(part).to_bytes(4) + part for part in parts]))  # lengths, so that no two lists read alike
    return keyed.digest()


@lru_cache(8)
def _keyed(secret: bytes) -> hmac.HMAC:
    """Return an HMAC that has taken in nothing yet: to set one up costs more than to copy it."""
    return hmac.new(secret, digestmod="sha256")


def idempotency_key(secret: bytes, sent: Headers, *bound_to: bytes) -> Headers:
    """Return the `Idempotency-Key` for an upstream in the place of the caller's: one for this caller and question alone.

    An upstream knows one key, and may give whoever brings the same value the same answer.
    """
    value = b", ".join([value for name, value in sent if name.lower() == b"idempotency-key"])
    digest = code(secret, b"idempotency-key", *bound_to, value)
    return ((b"idempotency-key", base64.urlsafe_b64encode(digest).rstrip(b"=")),)


def with_credential(fields: Headers, recipient: HttpRecipient, ours: Headers) -> Headers:
    """Return the fields for an HTTP upstream with the credential that it is sent; `ours` are the operator's fields for it."""
    if not is_lent(callers_credentials(fields, over_http=True), recipient):
        return without_placeholder(fields)
    return (*without(fields, CREDENTIALS), *ours)
