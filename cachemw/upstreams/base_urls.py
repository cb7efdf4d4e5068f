"""Base URLs as people write them: what is not the base of an API, and what was probably meant."""

import re

import httpx

from cachemw.errors import ConfigurationError
from cachemw.upstreams.checking import DEFAULT_PORTS, origin_of
from cachemw.upstreams.providers import PROVIDERS

_ENDPOINT = re.compile(r"/(?:chat/completions|completions|responses|messages|embeddings|models)\Z")
_BLANKS = re.compile(r"(?:%20)+\Z")
_VERSION = "/v1"
_HOST = re.compile(r"(?:[a-z0-9_-]+\.)+[a-z0-9_-]+(?::[0-9]{1,5})?|[a-z0-9_-]+:[0-9]{1,5}|localhost", re.IGNORECASE)
_NEAR = ("localhost", "127.")


def refuse_incomplete(base_url: str, place: str) -> None:
    """Refuse the URL of a server, or of an endpoint, in the place of an API's; `place` is where it was given.

    Every request would be answered with a 404. Raises `ConfigurationError`, which says what was probably meant.
    """
    meant = _meant(base_url)
    if meant is not None:
        raise ConfigurationError(
            f"{place}: {as_written(base_url)} is not the base URL of an API, which ends in its version segment: is it {meant}?"
        )


def refuse_without_scheme(text: str, place: str) -> None:
    """Refuse what is a host rather than a provider's name. Raises `ConfigurationError`, which says what was probably meant."""
    if "://" in text:
        return
    if "@" in text:  # not shown: there may be a password before it
        raise ConfigurationError(f"{place}: a base URL begins with https:// or http://, and holds no credentials")
    shown = re.split("[?#]", text, maxsplit=1)[0].rstrip("/")  # a query may hold a key
    host = shown.partition("/")[0]
    if _HOST.fullmatch(host):
        scheme = "http" if host.startswith(_NEAR) or ":" in host else "https"
        url = f"{scheme}://{shown}"
        raise ConfigurationError(f"{place}: {shown!r} is a URL without its scheme: is it {_meant(url) or url}?")


def _meant(base_url: str) -> str | None:
    """Return the base URL that was meant by another one, `None` where it may be one."""
    base = _ENDPOINT.sub("", _BLANKS.sub("", base_url))
    try:
        url = httpx.URL(base)
    except httpx.InvalidURL:
        return None
    path = re.sub("/+", "/", url.path.rstrip("/"))
    for provider in PROVIDERS.values():
        known = httpx.URL(provider.base_url)
        if origin_of(known) == origin_of(url) and base_url != _normal(known) and _is_part(path.lower(), known.path):
            return provider.base_url
    if not path:
        return as_written(base) + _VERSION
    return None if base == base_url else as_written(base)


def _is_part(path: str, known: str) -> bool:
    return known.startswith(path) or known.endswith(path)


def _normal(url: httpx.URL) -> str:
    return origin_of(url) + url.path


def as_written(base_url: str) -> str:
    """Write a URL as people do, without the port that its scheme has anyway."""
    url = httpx.URL(base_url)
    return str(url.copy_with(port=None) if url.port == DEFAULT_PORTS.get(url.scheme) else url).rstrip("/")
