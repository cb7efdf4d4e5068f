"""The heads of requests, as bytes and as the parser found them: which can be read in one way only, and what they ask for."""

import re

from cachemw.messages import Headers, header_values

HEAD_END = b"\r\n\r\n"
"""The end of a head."""

_TARGET = re.compile(rb"(?:https?://([^/?]+))?/[^#]*", re.IGNORECASE)
_BAD_ESCAPE = re.compile(rb"%(?![0-9a-f]{2})", re.IGNORECASE)
_VERSIONS = ("1.0", "1.1")
_UPGRADE = re.compile(rb"\r\nupgrade(?=:)", re.IGNORECASE)
_CUT = tuple(text[:size] for text in (HEAD_END, b"\r\nupgrade:") for size in range(1, len(text)))
_IS_LATEST = re.compile(rb"[^\r\n]* HTTP/1\.1\r\n(?!.*\n[ \t])", re.DOTALL)
_UNUSUAL = re.compile(rb"[\r\n](?:upgrade|expect|transfer-encoding|te|trailer)[ \t]*:", re.IGNORECASE)
_CONNECTION = re.compile(rb"[\r\n]connection[ \t]*:([^\r\n]*)", re.IGNORECASE)

NO_UPGRADE = b"cachemw-no-upgrade"
"""The name under which the parser is given a field that it must not see."""


def is_sound(version: str, target: bytes, headers: Headers) -> bool:
    """Say whether a head that was parsed can be read in one way only, and is one of HTTP/1."""
    codings = header_values(headers, b"transfer-encoding")
    is_framed = not codings or version == "1.1" and len(codings) == 1 and codings[0].lower() == b"chunked"
    return version in _VERSIONS and is_framed and _is_target(target, header_values(headers, b"host"))


def without_upgrade(data: bytes) -> bytes:
    """Return a piece of a head in which nobody asks for another protocol: a server may ignore that (RFC 9110 §7.8).

    llhttp would drop the body. Java's own client and `curl --http2` ask whenever they may.
    """
    if _UPGRADE.search(data) is None:
        return data
    head, end, rest = data.partition(HEAD_END)
    return _UPGRADE.sub(b"\r\n" + NO_UPGRADE, head) + end + rest


def held_back(data: bytes) -> int:
    """Return how many bytes at the end of a piece of a head may be the beginning of its end, or of a wish to upgrade.

    Nothing behind the head's end is held back: its client may be waiting for the answer.
    """
    tail = data[-max(map(len, _CUT)) :].lower()
    return 0 if HEAD_END in data else max([len(cut) for cut in _CUT if tail.endswith(cut)], default=0)


def _is_target(target: bytes, hosts: list[bytes]) -> bool:
    """A target that names a host names the one that `Host` does: which of the two counts is not the same for all."""
    matched = _TARGET.fullmatch(target)
    if matched is None or _BAD_ESCAPE.search(target):
        return False
    return matched[1] is None or [matched[1].lower()] == [host.lower() for host in hosts]


def leaves_open(head: bytes) -> bool:
    """Say whether all that a head does to its connection is to leave it open behind a body of known length."""
    connection = [value.strip().lower() for value in _CONNECTION.findall(head)]
    return _IS_LATEST.match(head) is not None and _UNUSUAL.search(head) is None and connection in ([], [b"keep-alive"])
