"""Providers as data; Cerebras first."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field

import httpx

from cachemw.endpoints.chat.request import BOOKKEEPING
from cachemw.errors import ConfigurationError
from cachemw.messages import Closing
from cachemw.upstreams.http import Credentials, HttpUpstream, KeyNeed, origin_of


@dataclass(frozen=True, slots=True)
class Provider:
    """The place of a provider's API, and the environment variables that say so and hold its key.

    `bookkeeping` names the members of a request's body by which it only counts and pays: answers do not depend on them.
    `version` is the segment that its own SDK leaves out of the base URL, and all other tools write. `open_paths` are the
    beginnings, below it, of what it shows to who has no key. `store_when` names finish reasons of its own with which an answer
    is whole; not `done`: its streams end without `[DONE]`.
    """

    base_url: str
    key_variable: str
    url_variable: str
    bookkeeping: frozenset[str]
    version: str = ""
    open_paths: tuple[bytes, ...] = field(default=(), repr=False)
    store_when: frozenset[str] = frozenset()
    done: bool = True

    @property
    def closing(self) -> Closing:
        """Return the way in which its answers end."""
        return Closing(self.store_when, self.done)


_CEREBRAS = frozenset({"user", "service_tier", "prompt_cache_key"})
_GROQ = frozenset({"user", "service_tier"})
_OPENROUTER = frozenset({"user"})

PROVIDERS: Mapping[str, Provider] = {
    "cerebras": Provider("https://api.cerebras.ai/v1", "CEREBRAS_API_KEY", "CEREBRAS_BASE_URL", _CEREBRAS, "/v1"),
    "openai": Provider("https://api.openai.com/v1", "OPENAI_API_KEY", "OPENAI_BASE_URL", BOOKKEEPING),
    "groq": Provider("https://api.groq.com/openai/v1", "GROQ_API_KEY", "GROQ_BASE_URL", _GROQ),
    "openrouter": Provider(
        "https://openrouter.ai/api/v1",
        "OPENROUTER_API_KEY",
        "OPENROUTER_BASE_URL",
        _OPENROUTER,
        open_paths=(b"/models", b"/providers"),
    ),
}
_BY_ORIGIN = {origin_of(httpx.URL(provider.base_url)): provider for provider in PROVIDERS.values()}

KEY_VARIABLE = "CACHEMW_UPSTREAM_API_KEY"
"""The key for an upstream that is given as a URL."""


def cerebras(
    *,
    api_key: str | None = None,
    base_url: str | None = None,
    credentials: Credentials = "replace",
) -> HttpUpstream:
    """Return Cerebras as an upstream, by default with `CEREBRAS_API_KEY` at `CEREBRAS_BASE_URL`, with or without `/v1`.

    `credentials` says whose credential it is sent, as for `HttpUpstream`.
    """
    return _upstream("cerebras", api_key, base_url, credentials)


def provider_at(origin: str) -> Provider | None:
    """Return the provider at this origin, as `origin_of` gives it; `None` where nobody knows it."""
    return _BY_ORIGIN.get(origin)


def upstream_of(name_or_url: str, *, credentials: Credentials = "replace") -> HttpUpstream:
    """Return the upstream of a provider's name, or of a URL. Raises `ConfigurationError` for a name nobody knows."""
    if "://" in name_or_url:
        provider = _provider_at(name_or_url)
        need = KeyNeed(KEY_VARIABLE, provider.open_paths) if provider else None
        return HttpUpstream(name_or_url, api_key=os.environ.get(KEY_VARIABLE), credentials=credentials, key_needed=need)
    if name_or_url not in PROVIDERS:
        known = ", ".join(PROVIDERS)
        raise ConfigurationError(f"no provider is called {name_or_url!r}: give a URL, or one of {known}")
    return _upstream(name_or_url, None, None, credentials)


def _upstream(name: str, api_key: str | None, base_url: str | None, credentials: Credentials) -> HttpUpstream:
    provider = PROVIDERS[name]
    url = (base_url or os.environ.get(provider.url_variable) or provider.base_url).rstrip("/")
    key = api_key or os.environ.get(provider.key_variable)
    url = url.removesuffix(provider.version) + provider.version
    return HttpUpstream(
        url,
        api_key=key,
        credentials=credentials,
        provider=name,
        bookkeeping=provider.bookkeeping,
        key_needed=KeyNeed(provider.key_variable, provider.open_paths),
        closing=provider.closing,
    )


def _provider_at(url: str) -> Provider | None:
    """Return the provider whose API a URL is; what is no URL is nobody's."""
    try:
        return provider_at(origin_of(httpx.URL(url)))
    except httpx.InvalidURL:
        return None
