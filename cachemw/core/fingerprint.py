"""The key: what selects a stored response. Its parts, their index and their proof."""

import hashlib
from collections.abc import Iterable

import msgspec
import xxhash

from cachemw.core.discreet import sizes_only
from cachemw.core.headers import HeaderRules, keyed
from cachemw.core.messages import AppAnswerer, DirectAnswerer, Request

SCHEME = b"cachemw/2"
"""Changes whenever a request would get another key than before."""


class Key(msgspec.Struct, frozen=True):
    """`parts` is everything an answer depends on; `index` finds a record, `proof` shows that it is the right one.

    xxh3-128 is no more than an index: two chat bodies with one digest are made in milliseconds.
    """

    parts: bytes
    index: bytes
    proof: bytes

    __repr__ = sizes_only


def fingerprint(
    request: Request, canonical: bytes, partition: bytes, namespace: str | None, sample: int, rules: HeaderRules
) -> Key:
    """Return the key of a chat request."""
    fields = keyed(request.headers, request.answerer.target, rules)
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


def frame(parts: Iterable[bytes]) -> bytes:
    """Put parts behind one another, each with its length before it, so that no two lists come out alike."""
    return b"".join([len(part).to_bytes(8) + part for part in parts])


def _identity(request: Request, rules: HeaderRules) -> bytes:
    """Say who answers; an app may answer by the caller's session, and by where it is mounted, unless that is inert."""
    answerer, session = request.answerer, request.attested.session
    if isinstance(answerer, AppAnswerer):
        root = b"" if b"root_path" in rules.inert else answerer.root
        asked = (answerer.name.encode(), root, answerer.path, answerer.raw_path, answerer.query)
        return frame((b"app", *asked, session) if session else (b"app", *asked))
    if isinstance(answerer, DirectAnswerer) and answerer.host:
        return frame((b"http", answerer.url.encode(), answerer.host))
    return frame((b"http", answerer.url.encode()))
