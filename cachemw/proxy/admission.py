"""Admission to the proxy: decided from the head of a request alone, before anything is read, looked up or forwarded."""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache

import msgspec

from cachemw.cache.header_rules import credentials
from cachemw.cache.key import callers_credentials
from cachemw.cache.policy import Policy
from cachemw.endpoints import endpoint_of, errors_at
from cachemw.endpoints import errors as refusals
from cachemw.endpoints.errors import ErrorResponse, ErrorShape
from cachemw.errors import ConfigurationError
from cachemw.limits import BODY_BYTES
from cachemw.messages import Caller, Headers, by_name
from cachemw.proxy.lending import Lent, LentPaths, lent, takes_uploads, what_is_lent
from cachemw.redaction import redacted_repr
from cachemw.wire.fields import names_websocket
from cachemw.wire.hosts import host_of, is_loopback, is_origin_of, origin_host, origin_of_url
from cachemw.wire.paths import climbs, is_target, segments

HEALTH, READINESS = b"/healthz", b"/readyz"
"""Probes ask for them by address and without a key; the one tells nothing, and the other two words."""

METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
"""No `TRACE`: what an upstream says it was sent would hold the server's key."""

_KEY = re.compile(rb"[\x21-\x2b\x2d-\x7e]+")
_PLACEHOLDER = b"cachemw"  # it stands in the README, for who has no key
_OF_PAGES = frozenset({b"sec-fetch-site", b"origin", b"referer"})
_BEARER = re.compile(rb"bearer +(\S+)", re.IGNORECASE)
_MEDIA_TYPE = re.compile(rb"[\w!#$&^.+-]+/[\w!#$&^.+-]+", re.ASCII)
_UPLOAD = b"multipart/form-data"
_SIMPLE = frozenset({b"text/plain", b"application/x-www-form-urlencoded", _UPLOAD})
"""The media types that any web page may send anywhere without being asked about it (Fetch §2.2.2)."""


@dataclass(frozen=True, slots=True)
class AccessRules:
    """The rules of whom the proxy answers and how much it reads.

    `hosts` may be named besides this machine's own and `own_hosts`, which it listens on; of the former web pages may ask too.
    With `client_keys`, or `named_keys`, a caller has to bring one of them; where it `is_open` nobody has to, beyond loopback.
    To both the server's key is lent, for endpoints that keep no state and for what it is told to `lend`. `named_keys` are the
    names of clients by the SHA-256 of their keys. Raises `ConfigurationError` for a key that cannot be one, or that is given
    with a name and without.
    """

    policy: Policy
    hosts: frozenset[str] = frozenset()
    client_keys: tuple[bytes, ...] = ()
    max_body: int = BODY_BYTES
    own_hosts: frozenset[str] = frozenset()
    is_open: bool = False
    lend: LentPaths = frozenset()
    named_keys: Mapping[bytes, str] = field(default_factory=dict, hash=False)
    by_digest: Mapping[bytes, str | None] = field(init=False, compare=False)
    """The names of all client keys, `None` for those without one, by their digests: time tells nothing of a key then."""
    demands_keys: bool = field(init=False, compare=False)
    """Whether a caller has to bring a client key."""

    __repr__ = redacted_repr

    def __post_init__(self) -> None:
        unnamed = {checked_digest(key): None for key in self.client_keys}
        if twice := unnamed.keys() & self.named_keys:
            name = min(self.named_keys[digest] for digest in twice)
            raise ConfigurationError(f"a client key is given twice, as that of {name} and without a name: leave one out")
        object.__setattr__(self, "by_digest", {**unnamed, **self.named_keys})
        object.__setattr__(self, "demands_keys", bool(self.by_digest))


def checked_digest(key: bytes) -> bytes:
    """Return the SHA-256 of a client key. Raises `ConfigurationError`, which does not show it, for what cannot be one."""
    if not _KEY.fullmatch(key):
        raise ConfigurationError("a client key has at least one character, all of them ASCII, no spaces and no commas")
    if key.lower() == _PLACEHOLDER:
        raise ConfigurationError('"cachemw" is what clients without a key send, so it cannot be a client key')
    return _digest(key)


class Admitted(msgspec.Struct, frozen=True):
    """A request that may come in. Not `sized`: how large its body is will be known when it has come.

    `caller` is who brought which client key; `None` where nobody has to. `by_body`: only if its body says what `lending.judge`
    lets in.
    """

    caller: Caller | None
    sized: bool
    by_body: bool = False

    __repr__ = redacted_repr


class Refused(msgspec.Struct, frozen=True):
    """A request that may not, and the answer that says why. `closes`: what else comes on the connection is not read."""

    answer: ErrorResponse
    closes: bool

    __repr__ = redacted_repr


Fields = Mapping[bytes, list[bytes]]
"""The values of a request's header fields by their names in lower case."""

_NONE: list[bytes] = []


def admit(method: str, raw_path: bytes, headers: Headers, rules: AccessRules) -> Admitted | Refused:
    """Decide about a request; `raw_path` is below `root_path`, as it was sent."""
    fields = by_name(headers)
    is_sized = b"transfer-encoding" not in fields
    if raw_path in (HEALTH, READINESS) and method in ("GET", "HEAD"):
        return Admitted(None, is_sized)
    is_lent = _lent(method, raw_path, headers, rules)
    answer = (
        _misdirected(fields, rules)
        or (None if method in METHODS else refusals.method_not_allowed(METHODS))
        or _unknown(headers, rules.by_digest)
        or (refusals.websocket_refused() if method == "GET" and _wants_websocket(fields) else None)
        or (refusals.invalid_path() if climbs(raw_path) or not is_target(raw_path) else None)
        or (_not_lent(method, raw_path, rules) if is_lent is Lent.NO else None)
        or _too_large(fields, rules.max_body)
        or _mistyped(method, raw_path, fields, rules.policy)
    )
    if answer is not None:  # who waits for a 100 may send the body all the same, or not: nobody can tell (RFC 9110 §10.1.1)
        sends_more = _has_body(fields) or b"expect" in fields
        answer = refusals.said_in(shape_at(raw_path, rules.policy), answer)
        return Refused(answer, closes=sends_more or answer[0].status in (400, 405, 501))
    return Admitted(_client(headers, rules) if rules.demands_keys else None, is_sized, is_lent is Lent.BY_BODY)


def shape_at(raw_path: bytes, policy: Policy) -> ErrorShape:
    """Return the shape in which those read errors who ask for a path."""
    return errors_at(_as_routers_read(raw_path), policy.paths)


def _has_body(fields: Fields) -> bool:
    return fields.get(b"content-length", _NONE) not in ([], [b"0"]) or b"transfer-encoding" in fields


def _misdirected(fields: Fields, rules: AccessRules) -> ErrorResponse | None:
    """Keep out web pages: by their own origin, and by the name they had to give this machine to come here."""
    named = fields.get(b"host", _NONE)
    host = host_of(named[0]) if len(named) == 1 else None
    if host is None:
        return refusals.invalid_host()
    is_ours = host in rules.hosts or host in rules.own_hosts or is_loopback(host)
    if not (is_ours or rules.demands_keys):  # a page whose host was given our address has no key
        return refusals.unknown_host(host)
    return refusals.foreign_origin() if is_foreign(fields, named[0], rules.hosts) else None


def is_foreign(fields: Fields, authority: bytes, hosts: frozenset[str]) -> bool:
    """Say whether a web page asks that is not of the very host and port that it asks, nor of a host that was allowed."""
    if not fields.keys() & _OF_PAGES:
        return False
    sites, origins = fields.get(b"sec-fetch-site", _NONE), fields.get(b"origin", _NONE)
    referers = [origin_of_url(url) for url in fields.get(b"referer", _NONE) if url]
    are_ours = all(is_origin_of(origin, authority) or origin_host(origin) in hosts for origin in origins or referers)
    if b"cross-site" in sites or len(origins) > 1 or origins and not are_ours:
        return True
    if origins or sites in ([b"same-origin"], [b"none"]):
        return False
    return not are_ours or bool(sites) and not referers  # images and scripts have no `Origin`, and old browsers only a referrer


def _wants_websocket(fields: Fields) -> bool:
    """Say whether a GET would open a WebSocket (RFC 6455 §4.1); a proxy before us may have taken its `Upgrade` off."""
    return names_websocket(b",".join(fields.get(b"upgrade", _NONE))) or b"sec-websocket-key" in fields


def _unknown(headers: Headers, by_digest: Mapping[bytes, str | None]) -> ErrorResponse | None:
    if not by_digest:
        return None
    key = _key_of(headers)
    return None if key and _digest(key) in by_digest else refusals.unknown_key()


def _key_of(headers: Headers) -> bytes:
    """Return the one key that a request brings, in whichever fields; nothing where it brings none, or several."""
    brought = {_key_in(name, value) for name, value in credentials(headers)}
    return brought.pop() if len(brought) == 1 else b""


def _digest(key: bytes) -> bytes:
    return hashlib.sha256(key).digest()


def _key_in(name: bytes, value: bytes) -> bytes:
    value = value.strip(b" \t")  # RFC 9110 §5.5: no part of it, and not every server takes them away
    if name != b"authorization":
        return value
    matched = _BEARER.fullmatch(value)
    return matched[1] if matched else b""


def _client(headers: Headers, rules: AccessRules) -> Caller:
    """Return who asks with a known key, in whichever field it was sent: a name is one partition, and a key without one is."""
    key = _key_of(headers)
    name = rules.by_digest[_digest(key)]
    return Caller(name=name) if name is not None else Caller(brought=((b"authorization", b"Bearer " + key),))


def _too_large(fields: Fields, max_body: int) -> ErrorResponse | None:
    lengths = set(fields.get(b"content-length", _NONE))
    if not lengths:
        return None
    length = lengths.pop()
    if lengths or not length.isdigit():
        return refusals.malformed()
    return refusals.body_too_large(max_body) if len(length) > 18 or int(length) > max_body else None


def _lent(method: str, raw_path: bytes, headers: Headers, rules: AccessRules) -> Lent:
    """Say whether a request may be made with the server's key, or brings one that is not ours to lend."""
    is_lent = rules.demands_keys or rules.is_open and not callers_credentials(headers, over_http=True)
    return lent(method, raw_path, rules.policy, rules.lend) if is_lent else Lent.YES


def _not_lent(method: str, raw_path: bytes, rules: AccessRules) -> ErrorResponse:
    return refusals.endpoint_not_lent(method, raw_path, what_is_lent(rules.policy, rules.lend))


def _mistyped(method: str, raw_path: bytes, fields: Fields, policy: Policy) -> ErrorResponse | None:
    """Refuse what a web page may send unasked: no type, or a simple one; files are sent as one of those by everybody."""
    types = fields.get(b"content-type", _NONE)
    is_call = endpoint_of(method, _as_routers_read(raw_path), policy.paths) is not None
    if not types:
        return refusals.unsupported_type() if is_call or _has_body(fields) else None
    essence = types[0].partition(b";")[0].strip().lower() if len(types) == 1 else b""
    is_named = essence == b"application/json" or _MEDIA_TYPE.fullmatch(essence) and essence not in _SIMPLE
    is_upload = essence == _UPLOAD and takes_uploads(raw_path) and not is_call
    return None if is_named or is_upload else refusals.unsupported_type()


@lru_cache(128)  # a client asks for the same ones again and again
def _as_routers_read(raw_path: bytes) -> str:
    """Return a path as a router may read it that is less strict than we are."""
    read = [segment.decode("latin-1").lower() for segment in segments(raw_path)]
    return "/" + "/".join([segment for segment in read if segment not in ("", ".")])
