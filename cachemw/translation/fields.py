"""The header fields of a request in another dialect: credentials go in the field that the upstream reads them from."""

import re

from cachemw.messages import Headers, header_values
from cachemw.wire.fields import CREDENTIALS, without

_VERSION = (b"anthropic-version", b"2023-06-01")
"""Anthropic's API answers nobody who does not name a version; there is no other one."""

_BEARER = re.compile(rb"bearer +(.+)", re.IGNORECASE)


def fields_to_chat(headers: Headers) -> Headers:
    """Return the fields for a Chat Completions upstream: a key goes as a bearer token, and Anthropic's own fields stay here."""
    kept = tuple([field for field in headers if not field[0].lower().startswith(b"anthropic-")])
    keys = header_values(kept, b"x-api-key")
    if not keys or header_values(kept, b"authorization"):
        return without(kept, (b"x-api-key",)) if keys else kept
    return (*without(kept, (b"x-api-key",)), *[(b"authorization", b"Bearer " + key) for key in keys])


def fields_to_messages(headers: Headers) -> Headers:
    """Return the fields for Anthropic's API: a bearer token goes as a key, with the version of the API."""
    kept = tuple([field for field in headers if not field[0].lower().startswith(b"openai-")])
    tokens = [found[1] for value in header_values(kept, b"authorization") if (found := _BEARER.fullmatch(value))]
    if tokens and not header_values(kept, b"x-api-key"):
        kept = (*without(kept, CREDENTIALS), *[(b"x-api-key", token) for token in tokens])
    return kept if header_values(kept, b"anthropic-version") else (*kept, _VERSION)
