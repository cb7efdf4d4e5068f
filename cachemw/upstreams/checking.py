"""What an upstream is made of, as it is given: its URL, its key, its fields, and what it speaks. All of it is checked."""

import re
from collections.abc import Iterable, Mapping
from typing import Literal

import httpx

from cachemw.cache.header_rules import NEVER_FORWARDED
from cachemw.errors import ConfigurationError
from cachemw.messages import DIALECTS, Headers, Sends
from cachemw.wire.fields import CREDENTIALS

DEFAULT_PORTS = {"http": 80, "https": 443}

Credentials = Literal["replace", "pass", "lend"]

_FIELD_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_KEY = re.compile(r"[!-~](?:[ -~]*[!-~])?")


def origin_of(url: httpx.URL) -> str:
    """Return the origin of a URL as it is in the key: scheme and host in lower case, port written."""
    host = f"[{url.host}]" if ":" in url.host else url.raw_host.decode()
    return f"{url.scheme}://{host}:{url.port or DEFAULT_PORTS.get(url.scheme, 0)}"


def checked_url(base_url: str) -> str:
    """Return the base URL of an API, with its port and without a slash at the end. Raises `ConfigurationError`."""
    try:
        url = httpx.URL(base_url)
    except httpx.InvalidURL:
        raise ConfigurationError("the base URL is none") from None  # what it says may be a password
    if url.userinfo or "@" in base_url:  # also where it is not read as one
        raise ConfigurationError("a base URL holds no credentials: give an api_key")
    is_port = url.port is None or 0 < url.port < 2**16
    if url.scheme not in DEFAULT_PORTS or not url.host or not is_port or b"?" in url.raw_path or url.fragment:
        shown = re.split("[?#]", base_url, maxsplit=1)[0]  # a query may hold a key
        raise ConfigurationError(f"{shown!r} is not the absolute http or https URL of an API")
    return origin_of(url) + url.raw_path.decode().rstrip("/")


def what_it_sends(credentials: Credentials, has_key: bool) -> Sends:
    """Return the credential that an upstream is sent. Raises `ConfigurationError` for a word that says none."""
    match credentials:
        case "lend":
            return Sends.OURS
        case "replace":
            return Sends.OURS if has_key else Sends.CALLERS
        case "pass":
            return Sends.CALLERS_OR_OURS if has_key else Sends.CALLERS
    raise ConfigurationError('the credentials of an upstream are "replace", "pass" or "lend"')


def checked_fields(fields: Mapping[str, str]) -> Headers:
    """Return header fields of the operator's, sorted, names in lower case. Raises `ConfigurationError`."""
    for name, value in fields.items():
        if not (_FIELD_NAME.fullmatch(name) and (value == "" or _KEY.fullmatch(value))):  # what it says may be secret
            raise ConfigurationError(f"{name!r}, or what it says, can be no header field of a request")
        if name.lower().encode() in {*NEVER_FORWARDED, *CREDENTIALS}:
            raise ConfigurationError(
                f"{name} is not the operator's to say: a key is given as api_key, the rest is made for each request"
            )
    return tuple(sorted((name.lower().encode(), value.encode()) for name, value in fields.items()))


def checked_dialects(names: Iterable[str]) -> frozenset[str]:
    """Return what an upstream speaks. Raises `ConfigurationError` for what none can."""
    dialects = frozenset(names)
    if isinstance(names, str) or not dialects or not dialects <= frozenset(DIALECTS):
        raise ConfigurationError(f"an upstream speaks some of {', '.join(DIALECTS)}, given as a collection")
    return dialects


def bearer(key: bytes) -> Headers:
    """Return a key as a bearer token, in the field that it goes in."""
    return ((b"authorization", b"Bearer " + key),) if key else ()


def checked_key(api_key: str | None) -> bytes:
    """Return a key as bytes. Raises `ConfigurationError`, which does not show it, for what no request can carry."""
    if api_key and not _KEY.fullmatch(api_key):  # not shown: it is a secret all the same
        raise ConfigurationError(
            "the upstream's API key holds what no header field can: a line end, another control character, blanks around"
            " it, or what is not ASCII (is it from a file with line ends of its own?)"
        )
    return (api_key or "").encode()
