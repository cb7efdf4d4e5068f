"""Admission to the page: decided from the head of a request alone. Nobody without the token is told anything."""

import hashlib
import hmac
import re
from dataclasses import dataclass
from enum import Enum

from cachemw.messages import Headers, by_name
from cachemw.proxy.admission import Fields, is_foreign
from cachemw.redaction import redacted_repr
from cachemw.wire.hosts import host_of, is_loopback

SESSION_PATH = "/session"
"""Where the token is traded for a cookie, by POST."""

_BEARER = re.compile(rb"bearer +(\S+)", re.IGNORECASE)
_METHODS = frozenset({"GET", "HEAD", "POST"})


class Verdict(Enum):
    """What is decided of a request: the status that refuses it, 0 where it may come in, and the reason in plain words."""

    SESSION = 0, "it brings the cookie that was traded for the token"
    BEARER = 0, "it brings the token itself"
    TRADE = 0, "it wants to trade the token for a cookie"
    NO_TOKEN = 401, "The page answers nobody without its token."
    WRONG_TOKEN = 401, "This is not the token of this page."
    BAD_HOST = 400, "A request names one host."
    UNKNOWN_HOST = 403, "This page does not answer to that name: --allow-host gives it another one."
    FOREIGN = 403, "Another site's page asked. Open the address in a tab of its own."
    METHOD = 405, "There are GET, HEAD and POST."

    def __init__(self, status: int, reason: str) -> None:
        self.status, self.reason = status, reason


@dataclass(frozen=True, slots=True)
class PageRules:
    """The rules of whom the page answers: who brings this `token`, under the name of this machine or of one of `hosts`."""

    token: str
    hosts: frozenset[str] = frozenset()
    port: int = 0

    __repr__ = redacted_repr

    @property
    def cookie(self) -> str:
        """Return the name of the session's cookie: with the port, for cookies are shared by all ports of a host."""
        return f"cachemw-page-{self.port}"

    @property
    def session(self) -> str:
        """Return the value of the session's cookie. The token cannot be had from it."""
        return self.seal("session")

    def seal(self, *words: str) -> str:
        """Return what proves that this page itself wrote these words into a form."""
        framed = b"".join(len(word.encode()).to_bytes(4) + word.encode() for word in words)
        return hmac.digest(self.token.encode(), framed, hashlib.sha256).hex()

    def is_sealed(self, seal: str, *words: str) -> bool:
        """Say whether this page wrote these words; how long that takes tells nothing."""
        return hmac.compare_digest(seal.encode(errors="replace"), self.seal(*words).encode())

    def is_token(self, brought: bytes) -> bool:
        """Say whether this is the token; how long that takes tells nothing."""
        return hmac.compare_digest(hashlib.sha256(brought).digest(), hashlib.sha256(self.token.encode()).digest())


def admit_to_page(method: str, path: str, headers: Headers, rules: PageRules) -> Verdict:
    """Decide about a request. Host and origin are looked at first: a foreign page is not even told that there is a token."""
    fields = by_name(headers)
    named = fields.get(b"host", [])
    host = host_of(named[0]) if len(named) == 1 else None
    if host is None:
        return Verdict.BAD_HOST
    if not (is_loopback(host) or host in rules.hosts):  # DNS rebinding gives a web page's own name to this machine
        return Verdict.UNKNOWN_HOST
    if is_foreign(fields, named[0], frozenset()):
        return Verdict.FOREIGN
    if method not in _METHODS:
        return Verdict.METHOD
    if method == "POST" and path == SESSION_PATH:
        return Verdict.TRADE
    return _by_token(fields, rules)


def _by_token(fields: Fields, rules: PageRules) -> Verdict:
    brought = fields.get(b"authorization", [])
    if brought:
        bearer = _BEARER.fullmatch(brought[0].strip(b" \t")) if len(brought) == 1 else None
        return Verdict.BEARER if bearer and rules.is_token(bearer[1]) else Verdict.WRONG_TOKEN
    cookies = [value for field in fields.get(b"cookie", []) for value in _cookies(field, rules.cookie.encode())]
    if any(hmac.compare_digest(value, rules.session.encode()) for value in cookies):
        return Verdict.SESSION
    return Verdict.NO_TOKEN


def _cookies(field: bytes, name: bytes) -> list[bytes]:
    """Return the values of one name in a `Cookie` field (RFC 6265 §4.2.1)."""
    pairs = [pair.strip(b" \t").partition(b"=") for pair in field.split(b";")]
    return [value for found, _, value in pairs if found == name]
