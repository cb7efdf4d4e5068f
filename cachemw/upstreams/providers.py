"""Providers as data; Cerebras first."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache

import httpx

from cachemw.endpoints.chat.request import BOOKKEEPING
from cachemw.errors import ConfigurationError
from cachemw.messages import DIALECTS, Closing
from cachemw.upstreams.checking import Credentials, origin_of
from cachemw.upstreams.http import HttpUpstream, KeyNeed

_URLS_REMEMBERED = 256


@dataclass(frozen=True, slots=True)
class Provider:
    """The place of a provider's API, and the environment variables that say so and hold its key.

    The key is that of the first of these variables that is set, and goes there as a bearer token. `bookkeeping` names the
    members of a request's body by which it only counts and pays: answers do not depend on them. `version` is the segment that
    its own SDK leaves out of the base URL, and all other tools write. `open_paths` are the beginnings, below it, of what it
    shows to who has no key. `store_when` names finish reasons of its own with which an answer is whole; not `done`: its streams
    end without `[DONE]`. `has_slashes`: so have the names of its models. It `speaks` these of chat, messages and
    responses itself. Its key goes in the `key_field`, on all paths but those of chat.
    """

    base_url: str
    key_variables: tuple[str, ...]
    url_variable: str
    bookkeeping: frozenset[str] = frozenset()
    version: str = ""
    open_paths: tuple[bytes, ...] = field(default=(), repr=False)
    store_when: frozenset[str] = frozenset()
    done: bool = True
    has_slashes: bool = False
    speaks: frozenset[str] = frozenset({"chat"})
    key_field: str = "authorization"

    @property
    def closing(self) -> Closing:
        """Return the way in which its answers end."""
        return Closing(self.store_when, self.done)

    def key_variable(self, environment: Mapping[str, str]) -> str:
        """Return the variable that its key is read from: the first that is set, else the one that its own tools read."""
        return next((name for name in self.key_variables if environment.get(name)), self.key_variables[0])

    def url(self, environment: Mapping[str, str]) -> str:
        """Return the base URL of its API, in these surroundings."""
        return self.at(environment.get(self.url_variable) or self.base_url)

    def at(self, url: str) -> str:
        """Return the base URL of its API by the URL that its own SDK, or another tool, is given."""
        return url.rstrip("/").removesuffix(self.version) + self.version


_CEREBRAS = frozenset({"user", "service_tier", "prompt_cache_key"})
_USER_AND_TIER = frozenset({"user", "service_tier"})
_USER = frozenset({"user"})
_ANTHROPIC = frozenset({"user", "metadata", "service_tier", "diagnostics", "cache_control", "cch"})
"""Of chat its documentation says of each that it is ignored; of Messages, that it says who asks, who pays, what is kept ready.

`cch` is what its coding agent puts into the first text for the system: a digest of the body, which says nothing besides.
"""

_CHAT_AND_RESPONSES = frozenset({"chat", "responses"})

PROVIDERS: Mapping[str, Provider] = {
    "cerebras": Provider("https://api.cerebras.ai/v1", ("CEREBRAS_API_KEY",), "CEREBRAS_BASE_URL", _CEREBRAS, "/v1"),
    "openai": Provider(
        "https://api.openai.com/v1", ("OPENAI_API_KEY",), "OPENAI_BASE_URL", BOOKKEEPING, speaks=_CHAT_AND_RESPONSES
    ),
    "groq": Provider(
        "https://api.groq.com/openai/v1",
        ("GROQ_API_KEY",),
        "GROQ_BASE_URL",
        _USER_AND_TIER,
        has_slashes=True,
        speaks=_CHAT_AND_RESPONSES,
    ),
    "gemini": Provider(
        "https://generativelanguage.googleapis.com/v1beta/openai",
        ("GEMINI_API_KEY", "GOOGLE_API_KEY"),
        "GEMINI_BASE_URL",
        has_slashes=True,
    ),
    "deepinfra": Provider(
        "https://api.deepinfra.com/v1/openai",
        ("DEEPINFRA_API_KEY", "DEEPINFRA_TOKEN"),
        "DEEPINFRA_BASE_URL",
        _USER_AND_TIER,
        has_slashes=True,
    ),
    "mistral": Provider("https://api.mistral.ai/v1", ("MISTRAL_API_KEY",), "MISTRAL_BASE_URL"),
    "xai": Provider("https://api.x.ai/v1", ("XAI_API_KEY",), "XAI_BASE_URL", _USER, speaks=_CHAT_AND_RESPONSES),
    "openrouter": Provider(
        "https://openrouter.ai/api/v1",
        ("OPENROUTER_API_KEY",),
        "OPENROUTER_BASE_URL",
        _USER,
        open_paths=(b"/models", b"/providers"),
        has_slashes=True,
        speaks=frozenset(DIALECTS),
    ),
    "anthropic": Provider(
        "https://api.anthropic.com/v1",
        ("ANTHROPIC_API_KEY",),
        "ANTHROPIC_BASE_URL",
        _ANTHROPIC,
        version="/v1",
        speaks=frozenset({"messages"}),  # its compatibility layer for chat silently ignores much of what it is asked
        key_field="x-api-key",
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


@lru_cache(_URLS_REMEMBERED)
def provider_name(url: str) -> str | None:
    """Return the name of the provider whose API a URL is of; `None` where nobody knows it."""
    try:
        provider = provider_at(origin_of(httpx.URL(url)))
    except httpx.InvalidURL:
        return None
    return next((name for name, known in PROVIDERS.items() if known is provider), None)


def providers_in(environment: Mapping[str, str]) -> dict[str, Provider]:
    """Return all providers by name, each at the place that these variables give it."""
    return {name: replace(provider, base_url=provider.url(environment)) for name, provider in PROVIDERS.items()}


def upstream_of(
    name_or_url: str, *, credentials: Credentials = "replace", speaks: frozenset[str] | None = None
) -> HttpUpstream:
    """Return the upstream of a provider's name, or of a URL, which `speaks` these dialects, by default its own or all.

    Raises `ConfigurationError` for a name nobody knows.
    """
    if "://" in name_or_url:
        provider = _provider_at(name_or_url)
        need = KeyNeed(KEY_VARIABLE, provider.open_paths) if provider else None
        return HttpUpstream(
            name_or_url,
            api_key=os.environ.get(KEY_VARIABLE),
            credentials=credentials,
            key_needed=need,
            speaks=DIALECTS if speaks is None else speaks,
            key_field=provider.key_field if provider else "authorization",
        )
    if name_or_url not in PROVIDERS:
        known = ", ".join(PROVIDERS)
        raise ConfigurationError(f"no provider is called {name_or_url!r}: give a URL, or one of {known}")
    return _upstream(name_or_url, None, None, credentials, speaks)


def _upstream(
    name: str,
    api_key: str | None,
    base_url: str | None,
    credentials: Credentials,
    speaks: frozenset[str] | None = None,
) -> HttpUpstream:
    provider = PROVIDERS[name]
    variable = provider.key_variable(os.environ)
    return HttpUpstream(
        provider.at(base_url) if base_url else provider.url(os.environ),
        api_key=api_key or os.environ.get(variable),
        credentials=credentials,
        provider=name,
        bookkeeping=provider.bookkeeping,
        key_needed=KeyNeed(variable, provider.open_paths),
        closing=provider.closing,
        speaks=provider.speaks if speaks is None else speaks,
        key_field=provider.key_field,
    )


def _provider_at(url: str) -> Provider | None:
    """Return the provider whose API a URL is; what is no URL is nobody's."""
    try:
        return provider_at(origin_of(httpx.URL(url)))
    except httpx.InvalidURL:
        return None
