"""A request that is handed to `cachemw why`: what the store would take it for, by whichever callers can be known here."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import msgspec
from msgspec.structs import replace

from cachemw.cache.key import ANONYMOUS, ANONYMOUS_LENT, SHARED, by_client, by_credential
from cachemw.cache.policy import Policy
from cachemw.cache.sketch import Sketch, sketch_of_body
from cachemw.endpoints import ENDPOINTS
from cachemw.endpoints.base import ApiCall
from cachemw.endpoints.sent import sent_body
from cachemw.errors import CommandError, StoreError
from cachemw.gateway.routes import TargetEntry
from cachemw.ledger.meanings import meaning_of
from cachemw.limits import Limits
from cachemw.messages import Headers, HttpRecipient, HttpTarget, Request
from cachemw.redaction import redacted_repr
from cachemw.stores import Store
from cachemw.upstreams.providers import KEY_VARIABLE, PROVIDERS

_JSON: Headers = ((b"content-type", b"application/json"),)
_NOWHERE = "http://localhost/"
_OF_OTHERS = frozenset({"no-messages", "no-input", "no-prompt", "no-max-tokens"})
"""The details of bodies that may be of another endpoint."""


class _Asked(msgspec.Struct):
    model: str | None = None

    __repr__ = redacted_repr


def sent_bodies(body: bytes, entries_of: Callable[[str], Sequence[TargetEntry]]) -> list[bytes]:
    """Return a body as each target is sent it that may answer its model; as it is where that is no gateway's."""
    try:
        model = msgspec.json.decode(body, type=_Asked).model
    except (msgspec.DecodeError, UnicodeDecodeError):  # it is told of as what it is
        return [body]
    entries = entries_of(model) if model else ()
    return [sent_body(body, replace(entry.rewrite, model=entry.model)) for entry in entries] or [body]


def canonical_bodies(body: bytes, policy: Policy) -> list[bytes]:
    """Return the canonical forms that a body has at the endpoints that take it, for upstreams of every kind that is known.

    Raises `CommandError` where none caches the answer, and says why.
    """
    counted = dict.fromkeys((frozenset[str](), *(provider.bookkeeping for provider in PROVIDERS.values())))
    found: dict[bytes, None] = {}
    for endpoint in ENDPOINTS:
        for bookkeeping in counted:
            request = Request("POST", endpoint.paths[0], _JSON, body, HttpTarget(_NOWHERE, HttpRecipient(None, bookkeeping)))
            call = endpoint.read(endpoint, request, policy.bookkeeping, Limits().work, True)
            if isinstance(call, ApiCall):
                found[call.canonical] = None
            elif not found and call.detail not in _OF_OTHERS:
                raise CommandError(f"the answer to this request is never stored: {call.detail} ({meaning_of(call.detail)})")
    if not found:
        raise CommandError("this is no request of an endpoint whose answers are stored: give the JSON body of one")
    return list(found)


def sketches_of(bodies: Iterable[bytes], store: Store, clients: Iterable[str], environment: Mapping[str, str]) -> list[Sketch]:
    """Return the sketches that bodies would have, for every caller that is known: without a credential, with a key of the
    environment's, and each of these clients, by its name."""
    try:
        secret = store.secret()
    except StoreError:  # then there is nobody to be told apart
        return [sketch_of_body(body, SHARED, b"") for body in bodies]
    partitions = dict.fromkeys(_partitions(secret, clients, environment))
    return [
        sketch
        for body in bodies
        for sketch in (sketch_of_body(body, SHARED, b""), *(sketch_of_body(body, one, secret) for one in partitions))
    ]


def _partitions(secret: bytes, clients: Iterable[str], environment: Mapping[str, str]) -> Iterator[bytes]:
    yield from (ANONYMOUS, ANONYMOUS_LENT, SHARED)
    fields = [("authorization", KEY_VARIABLE)]
    fields += [(provider.key_field, name) for provider in PROVIDERS.values() for name in provider.key_variables]
    for field, variable in fields:
        if key := environment.get(variable):
            value = f"Bearer {key}" if field == "authorization" else key
            yield by_credential(secret, False, ((field.encode(), value.encode(errors="surrogateescape")),))
    for client in clients:
        yield from (by_client(secret, is_lent, client) for is_lent in (False, True))
