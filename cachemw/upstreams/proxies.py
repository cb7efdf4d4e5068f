"""HTTP proxies on the way to an upstream, as the environment names them."""

import base64
import ipaddress
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import SplitResult, unquote, urlsplit

from cachemw.errors import ConfigurationError
from cachemw.redaction import redacted_repr
from cachemw.wire.hosts import is_loopback

_PORTS = {"http": 80, "https": 443}
_UNSPECIFIED = ("0.0.0.0", "::")  # noqa: S104 - who asks these asks this machine
_HOST = re.compile(r"[a-z0-9._-]+|[0-9a-f:.]*:[0-9a-f:.]*", re.IGNORECASE)
_ENTRY = re.compile(r"(?:\[(?P<address>[^\]]*)\]|(?P<name>[^:]*))(?::(?P<port>[0-9]+))?")


@dataclass(frozen=True, slots=True)
class HttpProxy:
    """A proxy: its URL without credentials, what it is sent as `Proxy-Authorization`, and the variable that named it."""

    url: str
    variable: str
    authorization: str | None = None

    __repr__ = redacted_repr

    @property
    def headers(self) -> dict[str, str]:
        """Return the fields that the proxy alone is sent."""
        return {"Proxy-Authorization": self.authorization} if self.authorization else {}


def proxy_for(url: str, environment: Mapping[str, str] = os.environ) -> HttpProxy | None:
    """Return the proxy through which a URL is asked, if any. What is on this machine is asked without one, always.

    Raises `ConfigurationError` where the variable for this URL names no HTTP proxy.
    """
    parts = urlsplit(url)
    host = (parts.hostname or "").removesuffix(".")
    if parts.scheme not in _PORTS or not host or is_loopback(host) or host in _UNSPECIFIED:
        return None
    variable = _variable(f"{parts.scheme}_proxy", environment)
    value = environment.get(variable, "").strip()
    port = parts.port or _PORTS[parts.scheme]
    excepted = environment.get(_variable("no_proxy", environment), "")
    if not value or any(_is_meant(entry, host, port) for entry in re.split(r"[\s,]+", excepted) if entry):
        return None
    return _read(variable, value)


def refuse_unusable_proxies(environment: Mapping[str, str] = os.environ) -> None:
    """Raise `ConfigurationError` for a variable that names no HTTP proxy: for who does not know yet what will be asked."""
    for name in ("http_proxy", "https_proxy"):
        variable = _variable(name, environment)
        if value := environment.get(variable, "").strip():
            _read(variable, value)


def _variable(name: str, environment: Mapping[str, str]) -> str:
    """Return which variable counts: the one in lower case where both are set.

    In a CGI program `HTTP_PROXY` is the `Proxy` field of whoever asks.
    """
    is_anybodys = name == "http_proxy" and "REQUEST_METHOD" in environment
    return name if name in environment or is_anybodys else name.upper()


def _is_meant(entry: str, host: str, port: int) -> bool:
    """Say whether an entry of `NO_PROXY` means a host: by its name, a domain it is in, its address, or a network."""
    if entry == "*":
        return True
    if (network := _network(entry)) is not None:
        return _is_in(host, network)
    matched = _ENTRY.fullmatch(entry)
    if matched is None or int(matched["port"] or port) != port:
        return False
    if matched["address"] is not None or (network := _network(matched["name"])) is not None:
        network = network or _network(matched["address"])
        return network is not None and _is_in(host, network)
    name = matched["name"].lower().removeprefix("*").strip(".")
    return bool(name) and (host == name or host.endswith("." + name) and _network(host) is None)


_Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def _network(text: str) -> _Network | None:
    try:
        return ipaddress.ip_network(text, strict=False)
    except ValueError:
        return None


def _is_in(host: str, network: _Network) -> bool:
    try:
        return ipaddress.ip_address(host) in network
    except ValueError:
        return False


def _read(variable: str, value: str) -> HttpProxy:
    """Read the URL of a proxy; without a scheme it is one of http. What it says may be a password, and is not shown."""
    try:
        parts = urlsplit(value if "://" in value else f"http://{value}")
        host, port = parts.hostname or "", parts.port
    except ValueError:
        raise _unusable(variable) from None
    if parts.scheme.startswith("socks"):
        raise ConfigurationError(f"{variable} names a SOCKS proxy, and only HTTP proxies are spoken to")
    is_url = parts.scheme in _PORTS and _HOST.fullmatch(host) and port != 0 and parts.path in ("", "/")
    if not is_url or parts.query or parts.fragment or not value.isascii() or not value.isprintable():
        raise _unusable(variable)
    authority = f"[{host}]" if ":" in host else host
    return HttpProxy(f"{parts.scheme}://{authority}:{port or _PORTS[parts.scheme]}", variable, _authorization(parts))


def _unusable(variable: str) -> ConfigurationError:
    return ConfigurationError(f"{variable} is not the URL of an HTTP proxy, such as http://proxy.example:3128")


def _authorization(parts: SplitResult) -> str | None:
    if parts.username is None:
        return None
    said = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
    return "Basic " + base64.b64encode(said.encode()).decode()
