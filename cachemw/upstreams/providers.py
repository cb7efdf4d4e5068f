"""Providers as data; Cerebras first."""

import os
from collections.abc import Mapping
from dataclasses import dataclass

from cachemw.errors import ConfigurationError
from cachemw.upstreams.http import HttpUpstream
from cachemw.upstreams.timing import Timeouts


@dataclass(frozen=True, slots=True)
class Provider:
    """Where a provider's API is, and the environment variables that say so and hold its key.

    `version` is the segment that its own SDK leaves out of the base URL, and all other tools write.
    """

    base_url: str
    key_variable: str
    url_variable: str
    version: str = ""


PROVIDERS: Mapping[str, Provider] = {
    "cerebras": Provider("https://api.cerebras.ai/v1", "CEREBRAS_API_KEY", "CEREBRAS_BASE_URL", version="/v1"),
    "openai": Provider("https://api.openai.com/v1", "OPENAI_API_KEY", "OPENAI_BASE_URL"),
    "groq": Provider("https://api.groq.com/openai/v1", "GROQ_API_KEY", "GROQ_BASE_URL"),
    "openrouter": Provider("https://openrouter.ai/api/v1", "OPENROUTER_API_KEY", "OPENROUTER_BASE_URL"),
}
KEY_VARIABLE = "CACHEMW_UPSTREAM_API_KEY"
"""The key for an upstream that is given as a URL."""


def cerebras(*, api_key: str | None = None, base_url: str | None = None, timeouts: Timeouts | None = None) -> HttpUpstream:
    """Return Cerebras as an upstream, by default with `CEREBRAS_API_KEY` at `CEREBRAS_BASE_URL`, with or without `/v1`."""
    return _upstream(PROVIDERS["cerebras"], api_key, base_url, timeouts)


def upstream_of(name_or_url: str, *, lends_key: bool = False) -> HttpUpstream:
    """Return the upstream of a provider's name, or of a URL. Raises `ConfigurationError` for a name nobody knows."""
    if "://" in name_or_url:
        return HttpUpstream(name_or_url, api_key=os.environ.get(KEY_VARIABLE), lends_key=lends_key)
    if name_or_url not in PROVIDERS:
        known = ", ".join(PROVIDERS)
        raise ConfigurationError(f"no provider is called {name_or_url!r}: give a URL, or one of {known}")
    return _upstream(PROVIDERS[name_or_url], None, None, None, lends_key=lends_key)


def _upstream(
    provider: Provider, api_key: str | None, base_url: str | None, timeouts: Timeouts | None, *, lends_key: bool = False
) -> HttpUpstream:
    url = (base_url or os.environ.get(provider.url_variable) or provider.base_url).rstrip("/")
    key = api_key or os.environ.get(provider.key_variable)
    url = url.removesuffix(provider.version) + provider.version
    return HttpUpstream(url, api_key=key, lends_key=lends_key, timeouts=timeouts)
