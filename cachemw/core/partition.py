"""Whose answer it is: the part of the key that keeps one caller's answers from another's."""

import hmac
from functools import lru_cache

from cachemw.core.headers import credentials
from cachemw.core.messages import Headers

ANONYMOUS = b"anonymous"
SHARED = b"shared"

PLACEHOLDER = (b"authorization", b"bearer cachemw")
"""What SDKs that cannot send no key at all are told to send to an HTTP upstream; it names nobody, and is not forwarded."""


def callers_credentials(headers: Headers, over_http: bool) -> Headers:
    """Return the credentials the caller sent; over HTTP without the placeholder."""
    found = credentials(headers)
    return without_placeholder(found) if over_http else found


def without_placeholder(headers: Headers) -> Headers:
    """Return the fields that are not the placeholder."""
    return tuple((name, value) for name, value in headers if (name.lower(), value.lower()) != PLACEHOLDER)


def by_credential(secret: bytes, sent: Headers) -> bytes:
    """Return the partition of a caller with these credentials; without any, the anonymous one needs no secret."""
    if not sent:
        return ANONYMOUS
    # Lengths, so that no two lists read alike; keyed, because a bare hash of an API key can be searched.
    framed = b"".join([len(part).to_bytes(4) + part for field in sent for part in field])
    code = _keyed(secret).copy()
    code.update(framed)
    return b"credential:" + code.digest()


@lru_cache(8)
def _keyed(secret: bytes) -> hmac.HMAC:
    """Return an HMAC that has taken in nothing yet: to set one up costs more than to copy it."""
    return hmac.new(secret, digestmod="sha256")


def by_name(name: bytes | None) -> bytes:
    """Return the partition an operator's function named; `None` is the anonymous one."""
    return ANONYMOUS if name is None else b"named:" + name
