"""The bytes of a request-target (RFC 9112 §3.2): whether it climbs out of its base, and what it is below the version."""

import re
from functools import lru_cache

_VERSION_SEGMENTS = re.compile(rb"\A(?:/v1){0,2}(?=/|\Z)")
_TARGET = re.compile(rb"[!\"$-~]+")
_ESCAPE = re.compile(rb"%[0-9a-fA-F]{2}")


@lru_cache(128)  # a client asks for the same ones again and again
def climbs(raw_path: bytes) -> bool:
    """Say whether anyone may read a path as one that leaves where it begins, or ends it early by a NUL."""
    return b"\0" in _decoded(raw_path) or b".." in segments(raw_path)


def segments(raw_path: bytes) -> list[bytes]:
    """Return a path's segments as the laxest of routers reads them: escapes of escapes, backslashes, parameters cut off."""
    return [segment.partition(b";")[0] for segment in _decoded(raw_path).replace(b"\\", b"/").split(b"/")]


@lru_cache(128)
def is_target(target: bytes) -> bool:
    """Say whether these bytes may be a request-target: visible ASCII and no fragment. What is none is not re-spelt."""
    return _TARGET.fullmatch(target) is not None


def below_version(raw_path: bytes) -> bytes:
    """Return a path without the version segment, which a client's base URL may have brought once more."""
    return _VERSION_SEGMENTS.sub(b"", raw_path, count=1)


def _decoded(raw_path: bytes) -> bytes:
    """Decode until nothing changes, in one go: by passes over it, a few thousand nested escapes would take minutes."""
    if b"%" not in raw_path:
        return raw_path
    decoded = bytearray()
    for byte in raw_path:
        decoded.append(byte)
        while decoded[-3:-2] == b"%" and _ESCAPE.fullmatch(decoded[-3:]):  # what one escape gives may end another
            decoded[-3:] = bytes([int(decoded[-2:], 16)])
    return bytes(decoded)
