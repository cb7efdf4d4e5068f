"""The checked-in keys of `tests/data/call_keys.json`, computed again: of calls as each provider's row has them sent."""

import json
import sys
from pathlib import Path
from typing import Any

from cachemw.cache.key import SHARED, Key, fingerprint
from cachemw.cache.policy import Policy
from cachemw.cache.sent_call import SentCall, said_to, translation_due
from cachemw.endpoints import endpoint_of
from cachemw.endpoints.base import ApiCall, Endpoint
from cachemw.limits import Work
from cachemw.messages import Headers, HttpRecipient, HttpTarget, Request
from cachemw.upstreams.providers import PROVIDERS

FILE = Path(__file__).parents[1] / "data" / "call_keys.json"
VERSION: Headers = ((b"anthropic-version", b"2023-06-01"),)
JSON: Headers = ((b"content-type", b"application/json"),)


def call_vectors() -> list[dict[str, Any]]:
    loaded: list[dict[str, Any]] = json.loads(FILE.read_text(encoding="utf-8"))
    return loaded


def key_of_call(vector: dict[str, Any], **members: Any) -> tuple[Key, str]:
    """Return the key of a vector's call at its provider, and the endpoint that is called there; members are added."""
    endpoint = endpoint_of("POST", vector["path"], ("/chat/completions",))
    assert endpoint is not None
    request = _request(vector, json.dumps(vector["body"] | members).encode())
    sent = translated(endpoint, request)
    request, spoken = (request, endpoint) if sent is None else (sent.request, sent.endpoint)
    return key_of(spoken, request), spoken.name


def translated(endpoint: Endpoint, request: Request) -> SentCall | None:
    """Return a request as its target is sent it in another dialect; `None` where it speaks the request's own."""
    translation = translation_due(endpoint, request.target)
    said = None if translation is None else said_to(translation, endpoint, request, Policy())
    assert said is None or isinstance(said, SentCall), said
    return said


def key_of(endpoint: Endpoint, request: Request) -> Key:
    """Return the key of a request that this endpoint is sent."""
    policy = Policy()
    call = endpoint.read(endpoint, request, policy.bookkeeping, Work(), policy.cache_stored)
    assert isinstance(call, ApiCall), call
    return fingerprint(request, call.canonical, SHARED, None, 0, policy.header_rules)


def _request(vector: dict[str, Any], body: bytes) -> Request:
    row = PROVIDERS.get(vector["provider"])
    recipient = HttpRecipient() if row is None else HttpRecipient(vector["provider"], row.bookkeeping, speaks=row.speaks)
    base = "https://upstream.example/v1" if row is None else row.base_url
    target = HttpTarget(base + vector["path"].removeprefix("/v1"), recipient)
    fields = VERSION if "/messages" in vector["path"] else ()
    return Request("POST", vector["path"], (*JSON, *fields), body, target)


if __name__ == "__main__":
    keys = [key_of_call(vector) for vector in call_vectors()]
    json.dump([{"index": key.index.hex(), "proof": key.proof.hex(), "called": name} for key, name in keys], sys.stdout)
