"""Hosts, as `Host` and `Origin` name them, and which of them are this machine's own."""

import ipaddress
import re
from collections.abc import Iterable
from functools import lru_cache

from cachemw.errors import ConfigurationError

_AUTHORITY = re.compile(rb"(\[[0-9a-f:.]+\]|(?:[a-z0-9_-]+\.)*[a-z0-9_-]+\.?)(?::([0-9]{0,5}))?", re.IGNORECASE)
_ORIGIN = re.compile(rb"(https?)://(.+)", re.IGNORECASE)
_OF_URL = re.compile(rb"[^:/?#]+://[^/?#]*")
_LONGEST = 300
"""Bytes of a name and its port; a name has 253 at most."""


def host_of(authority: bytes) -> str | None:
    """Return the host of `host` or `host:port`, as it is compared: in lower case, without brackets or a last dot.

    `None` where it is written in no way that everyone reads alike: no userinfo, no escapes, no zones, no empty port.
    """
    read = _read(authority) if len(authority) <= _LONGEST else None
    return None if read is None else read[0]


@lru_cache(256)  # a client names the same one again and again
def _read(authority: bytes) -> tuple[str, int | None] | None:
    matched = _AUTHORITY.fullmatch(authority)
    if matched is None or int(matched[2] or 0) >= 2**16:
        return None
    host, port = matched[1].decode().lower(), int(matched[2]) if matched[2] else None  # an empty port is none
    if not host.startswith("["):
        return host.removesuffix("."), port
    try:
        address = ipaddress.IPv6Address(host[1:-1])
    except ValueError:
        return None
    return str(address.ipv4_mapped or address), port


def origin_host(origin: bytes) -> str | None:
    """Return the host of a web page's origin, as `host_of` does; of `null`, and of what is no web page's, `None`."""
    matched = _ORIGIN.fullmatch(origin)
    return host_of(matched[2]) if matched else None


def is_origin_of(origin: bytes, authority: bytes) -> bool:
    """Say whether a web page's origin has the host and the port of `authority`: where none is written, that of its scheme."""
    matched = _ORIGIN.fullmatch(origin)
    if matched is None or host_of(matched[2]) is None:
        return False
    default = 443 if matched[1].lower() == b"https" else 80
    return _with_port(matched[2], default) == _with_port(authority, default)


def origin_of_url(url: bytes) -> bytes:
    """Return the origin of a page's URL, as `Origin` would have it; nothing where it has none."""
    matched = _OF_URL.match(url)
    return matched[0] if matched else b""


def _with_port(authority: bytes, default: int) -> tuple[str, int] | None:
    read = _read(authority)
    return None if read is None else (read[0], default if read[1] is None else read[1])


@lru_cache(256)
def is_loopback(host: str) -> bool:
    """Say whether a host, as `host_of` gives it, is this machine whoever resolves it (RFC 6761 §6.3)."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def hosts_of(names: Iterable[str]) -> frozenset[str]:
    """Return the hosts an operator named, ports left out. Raises `ConfigurationError` for what is the name of none."""
    return frozenset(map(_host_named, names))


def _host_named(name: str) -> str:
    is_bare_address = name.count(":") > 1 and not name.startswith("[")
    authority = f"[{name}]" if is_bare_address else name
    host = host_of(authority.encode())
    if host is None:
        raise ConfigurationError(f"{name!r} is no host: give a name (in ASCII, without wildcards) or an address")
    return host
