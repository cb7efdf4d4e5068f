"""What llhttp lets through, and we do not: requests that someone else may read in another way (RFC 9112 §11.2)."""

import re

from cachemw.core.messages import Headers, header_values

_TARGET = re.compile(rb"(?:https?://([^/?]+))?/[^#]*", re.IGNORECASE)
_BAD_ESCAPE = re.compile(rb"%(?![0-9a-f]{2})", re.IGNORECASE)
_VERSIONS = ("1.0", "1.1")
_UPGRADE = re.compile(rb"\r\nupgrade(?=:)", re.IGNORECASE)
_END = b"\r\n\r\n"
_CUT = tuple(text[:size] for text in (_END, b"\r\nupgrade:") for size in range(1, len(text)))

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
    head, end, rest = data.partition(_END)
    return _UPGRADE.sub(b"\r\n" + NO_UPGRADE, head) + end + rest


def held_back(data: bytes) -> int:
    """Return how many bytes at the end of a piece of a head may be the beginning of its end, or of a wish to upgrade.

    Nothing behind the head's end is held back: its client may be waiting for the answer.
    """
    tail = data[-max(map(len, _CUT)) :].lower()
    return 0 if _END in data else max([len(cut) for cut in _CUT if tail.endswith(cut)], default=0)


def _is_target(target: bytes, hosts: list[bytes]) -> bool:
    """A target that names a host names the one that `Host` does: which of the two counts is not the same for all."""
    matched = _TARGET.fullmatch(target)
    if matched is None or _BAD_ESCAPE.search(target):
        return False
    return matched[1] is None or [matched[1].lower()] == [host.lower() for host in hosts]
