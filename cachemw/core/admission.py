"""Whom the proxy answers: decided from a request's head alone, before anything is read, looked up or forwarded."""

import hashlib
import hmac
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

import msgspec

from cachemw.core import limits, refusals
from cachemw.core.chat import is_chat
from cachemw.core.discreet import sizes_only
from cachemw.core.headers import CREDENTIALS, credentials, without
from cachemw.core.hosts import host_of, is_loopback, origin_host
from cachemw.core.messages import Headers, header_values
from cachemw.core.policy import Policy
from cachemw.core.refusals import Answer
from cachemw.errors import ConfigurationError

HEALTH = "/healthz"
"""Probes ask for it by address and without a key; it tells nothing."""

METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
"""No `TRACE`: what an upstream says it was sent would hold the server's key."""

_KEY = re.compile(rb"[\x21-\x2b\x2d-\x7e]+")
_PLACEHOLDER = b"cachemw"  # it stands in the README, for who has no key
_BEARER = re.compile(rb"bearer +(\S+)", re.IGNORECASE)
_MEDIA_TYPE = re.compile(rb"[\w!#$&^.+-]+/[\w!#$&^.+-]+", re.ASCII)
_SIMPLE = frozenset({b"text/plain", b"application/x-www-form-urlencoded", b"multipart/form-data"})
"""What any web page may send anywhere without being asked about it (Fetch §2.2.2)."""


@dataclass(frozen=True, slots=True)
class Rules:
    """Whom the proxy answers and how much it reads.

    `hosts` may be named besides this machine's own; with `client_keys` a caller has to bring one of them. Raises
    `ConfigurationError` for a key that cannot be one.
    """

    policy: Policy
    hosts: frozenset[str] = frozenset()
    client_keys: tuple[bytes, ...] = ()
    max_body: int = limits.BODY_BYTES
    by_digest: Mapping[bytes, bytes] = field(init=False, compare=False)
    """The client keys. By digest, so that it takes no longer to find one among thousands, and that time tells nothing."""

    __repr__ = sizes_only

    def __post_init__(self) -> None:
        object.__setattr__(self, "by_digest", {_digest(key): key for key in self.client_keys})
        for key in self.client_keys:
            if not _KEY.fullmatch(key):
                raise ConfigurationError("a client key has at least one character, all of them ASCII, no spaces and no commas")
            if key.lower() == _PLACEHOLDER:
                raise ConfigurationError('"cachemw" is what clients without a key send, so it cannot be a client key')


class Admitted(msgspec.Struct, frozen=True):
    """May come in, with these header fields. Not `sized`: how large its body is will be known when it has come."""

    headers: Headers
    sized: bool

    __repr__ = sizes_only


class Refused(msgspec.Struct, frozen=True):
    """Is told why not. `closes`: what else comes on the connection is not read."""

    answer: Answer
    closes: bool

    __repr__ = sizes_only


def admit(method: str, path: str, headers: Headers, rules: Rules) -> Admitted | Refused:
    """Decide about a request; `path` is below `root_path`."""
    is_sized = not header_values(headers, b"transfer-encoding")
    if path == HEALTH and method in ("GET", "HEAD"):
        return Admitted(headers, is_sized)
    answer = (
        _misdirected(headers, rules.hosts)
        or (None if method in METHODS else refusals.method_not_allowed(METHODS))
        or _unknown(headers, rules.by_digest)
        or _too_large(headers, rules.max_body)
        or (_simple(headers) if is_chat(method, _as_routers_read(path), rules.policy.paths) else None)
    )
    if answer is not None:  # who waits for a 100 may send the body all the same, or not: nobody can tell (RFC 9110 §10.1.1)
        sends_more = header_values(headers, b"content-length") not in ([], [b"0"]) or header_values(headers, b"expect")
        return Refused(answer, closes=not is_sized or bool(sends_more) or answer[0].status in (400, 405))
    return Admitted(_with_one_key(headers) if rules.client_keys else headers, is_sized)


def _as_routers_read(path: str) -> str:
    """Return a path as a router may read it that is less strict than we are."""
    segments = [segment.partition(";")[0] for segment in path.lower().split("/")]
    return "/" + "/".join(segment for segment in segments if segment not in ("", "."))


def _misdirected(headers: Headers, hosts: frozenset[str]) -> Answer | None:
    """Keep out web pages: by their own origin, and by the name they had to give this machine to come here."""
    named = header_values(headers, b"host")
    host = host_of(named[0]) if len(named) == 1 else None
    if host is None:
        return refusals.invalid_host()
    if not _is_ours(host, hosts):
        return refusals.unknown_host()
    if header_values(headers, b"sec-fetch-site") == [b"cross-site"]:  # a page's image or script, which has no `Origin`
        return refusals.foreign_origin()
    origins = header_values(headers, b"origin")
    origin = origin_host(origins[0]) if len(origins) == 1 else None
    return refusals.foreign_origin() if origins and (origin is None or not _is_ours(origin, hosts)) else None


def _is_ours(host: str, hosts: frozenset[str]) -> bool:
    return host in hosts or is_loopback(host)


def _unknown(headers: Headers, by_digest: Mapping[bytes, bytes]) -> Answer | None:
    if not by_digest:
        return None
    brought = {_key_in(name, value) for name, value in credentials(headers)}
    key = brought.pop() if len(brought) == 1 else b""
    is_known = hmac.compare_digest(by_digest.get(_digest(key), b""), key)
    return None if is_known and key else refusals.unknown_key()


def _digest(key: bytes) -> bytes:
    return hashlib.sha256(key).digest()


def _key_in(name: bytes, value: bytes) -> bytes:
    value = value.strip(b" \t")  # RFC 9110 §5.5: no part of it, and not every server takes them away
    if name != b"authorization":
        return value
    matched = _BEARER.fullmatch(value)
    return matched[1] if matched else b""


def _with_one_key(headers: Headers) -> Headers:
    """Return the fields with the caller's key in one of them, however it was sent: a key is one partition."""
    name, value = credentials(headers)[0]
    return (*without(headers, CREDENTIALS), (b"authorization", b"Bearer " + _key_in(name, value)))


def _too_large(headers: Headers, max_body: int) -> Answer | None:
    lengths = set(header_values(headers, b"content-length"))
    if not lengths:
        return None
    length = lengths.pop()
    if lengths or not length.isdigit():
        return refusals.malformed()
    return refusals.body_too_large(max_body) if len(length) > 18 or int(length) > max_body else None


def _simple(headers: Headers) -> Answer | None:
    types = header_values(headers, b"content-type")
    essence = types[0].partition(b";")[0].strip().lower() if len(types) == 1 else b""
    is_named = essence == b"application/json" or _MEDIA_TYPE.fullmatch(essence) and essence not in _SIMPLE
    return None if is_named else refusals.unsupported_type()
