"""Admit an answer that comes from no upstream of ours: under the key of its request, and judged as a fresh one is."""

from collections.abc import Sequence
from enum import Enum

import msgspec
from msgspec.structs import replace

from cachemw.cache.key import Key, fingerprint
from cachemw.cache.order import Order
from cachemw.cache.policy import Policy
from cachemw.cache.recording import KeptRequest, Terms, head_fault, start
from cachemw.cache.sent_call import SentCall, said_to, translation_due
from cachemw.cache.sketch import Sketch, read_sketch, sketch_of, sketch_of_body
from cachemw.endpoints.base import ApiCall, Bypass, Demands, Endpoint, Judge
from cachemw.endpoints.sent import sent_body
from cachemw.limits import Limits
from cachemw.messages import Head, Headers, Kind, Request, StoredResponse, Target
from cachemw.redaction import redacted_repr
from cachemw.routing import NO_REWRITE, Rewrite
from cachemw.wire.sse import Parser

VERSION_FIELD = b"anthropic-version"
SDK_VERSIONS = (b"2026-10-21", b"2023-06-01")
"""What Anthropic's SDKs send in that field, or have sent, the latest first: it is in the key."""

_JSON = ((b"content-type", b"application/json"),)
_UNORDERED = Order(0, 0, 0)


class AskedCircumstances(msgspec.Struct, frozen=True):
    """All that an answer's key is made of besides its request and who answers: whose it is, and how it was asked for."""

    partition: bytes
    namespace: str | None = None
    sample: int = 0
    fields: Headers = ()

    __repr__ = redacted_repr


class KeyedCall(msgspec.Struct, frozen=True):
    """A call, the key of its answer in a `partition`, and the name of who answers; what `received` holds is as in `Terms`."""

    call: ApiCall
    partition: bytes
    key: Key
    target: str
    demands: Demands
    received: KeptRequest | None = None

    __repr__ = redacted_repr


class Addressee(msgspec.Struct, frozen=True):
    """Who is asked, and what is made of the body on the way there; `name` is what records call it, if that is a name given."""

    target: Target
    rewrite: Rewrite = NO_REWRITE
    name: str | None = None

    __repr__ = redacted_repr


def path_of(endpoint: Endpoint) -> str:
    """Return the path at which clients of a proxy ask for an endpoint."""
    return endpoint.paths[0] if endpoint.paths[0].startswith("/v1/") else f"/v1{endpoint.paths[0]}"


def asked_as(body: bytes, kind: Kind) -> bytes:
    """Return the body of a request, a canonical one, that asks for an answer of this kind."""
    if not kind.stream:
        return body
    options = b"" if kind.options == b"{}" else b',"stream_options":' + kind.options
    inside = body.strip()[1:-1]
    return b"{" + inside + (b"," if inside.strip() else b"") + b'"stream":true' + options + b"}"


def keyed_call(
    endpoint: Endpoint, body: bytes, addressee: Addressee, circumstances: AskedCircumstances, policy: Policy, limits: Limits
) -> KeyedCall | str:
    """Return a request to an endpoint with its key, as if its client asked now; or the `detail` that says why it has none."""
    target, rewrite = addressee.target, addressee.rewrite
    request = Request("POST", path_of(endpoint), (*_JSON, *circumstances.fields), body, target)
    came = read_call(endpoint, request, policy, limits)
    if isinstance(came, str):
        return came
    spoken, received = endpoint, None
    if (translation := translation_due(endpoint, target)) is not None:
        said = said_to(translation, endpoint, request, policy, limits.work, rewrite)
        if not isinstance(said, SentCall):
            return "untranslatable"
        request, spoken, received = said.request, said.endpoint, KeptRequest(endpoint.name, came.canonical)
    else:
        request = replace(request, body=sent_body(body, rewrite))
    call = read_call(spoken, request, policy, limits)
    if isinstance(call, str):
        return call
    key = fingerprint(
        *(request, call.canonical, circumstances.partition, circumstances.namespace, circumstances.sample),
        policy.header_rules,
    )
    name = addressee.name or request.target.called(call.model)
    return KeyedCall(call, circumstances.partition, key, name, policy.demands_on(request.target), received)


def read_call(endpoint: Endpoint, request: Request, policy: Policy, limits: Limits) -> ApiCall | str:
    """Return the call that a request is, or the `detail` that says why its answer is not cached."""
    if isinstance(request.body, bytes) and len(request.body) > policy.max_request_bytes:
        return "request-too-large"
    read = endpoint.read(endpoint, request, policy.bookkeeping, limits.work, policy.cache_stored)
    return read.detail if isinstance(read, Bypass) else replace(read, members=None)


def recorded(
    keyed: KeyedCall, headers: Headers, body: bytes, policy: Policy, limits: Limits, now: float, *, keep_request: bool
) -> StoredResponse | str:
    """Return an answer as a recording of it would end `now`, or the `detail` that says why it is not kept."""
    head = Head(200, headers)
    if (fault := head_fault(head, keyed.call.kind.stream)) is not None:
        return fault
    recording = start(head, _terms(keyed, policy, limits, now, keep_request=keep_request), now)
    recording.feed(body, now)
    return recording.dropped or recording.finish(now)


class Agreement(Enum):
    """How sure it is that a stored answer was asked for as a key says, whoever asked."""

    SURE = "its sketch says so"
    UNKNOWN = "it has no sketch, or one that was made under a secret that nobody here knows"


def agreement(sketch: bytes | None, key: Key, secrets: Sequence[bytes]) -> Agreement | str:
    """Say whether a key has all that the one of a stored answer has, by its sketch, but for whose it is; else what differs."""
    old = None if sketch is None else read_sketch(sketch)
    if old is None:
        return Agreement.UNKNOWN
    every = [new for secret in secrets if (new := read_sketch(sketch_of(key, secret))) is not None]
    for new in every:
        if missing := _circumstances_in(old) - _circumstances_in(new):
            return f"it was asked for with {_shown(missing)}"
        if added := _circumstances_in(new) - _circumstances_in(old):
            return f"it was asked for without {_shown(added)}"
        if old.body == new.body:
            other = "it was asked for at another URL, in another namespace, as another sample or with other header fields"
            return Agreement.SURE if old.whole == new.whole else other
    return Agreement.UNKNOWN


def is_of_secret(sketch: bytes, canonical: bytes, secrets: Sequence[bytes]) -> bool:
    """Say whether a record's sketch is of this request, and was made under one of these secrets."""
    old = read_sketch(sketch)
    return old is not None and any(sketch_of_body(canonical, b"", secret).body == old.body for secret in secrets)


def _circumstances_in(sketch: Sketch) -> frozenset[str]:
    return frozenset(part.name for part in sketch.parts if part.name.startswith("@"))


def _shown(names: frozenset[str]) -> str:
    return ", ".join(sorted(name.lstrip("@") for name in names))


def fault_of(stored: StoredResponse, call: ApiCall, demands: Demands, limits: Limits) -> str | None:
    """Return why a stored answer to this call may not be kept; `None` where it may."""
    if stored.kind != call.kind:
        call = replace(call, kind=stored.kind, wants_usage=False)
    return judged(call, stored.body, demands, limits).fault()


def judged(call: ApiCall, body: bytes, demands: Demands, limits: Limits) -> Judge:
    """Return a judge who has read a whole answer to this call."""
    judge = call.endpoint.judge(call, demands, limits.work)
    if not call.kind.stream:
        judge.read(body)
        return judge
    parser = Parser(ends=call.endpoint.ends)
    for event in (*parser.feed(body), *parser.end()):
        judge.see(event)
    if not parser.is_within_event:
        judge.end()
    return judge


def _terms(keyed: KeyedCall, policy: Policy, limits: Limits, now: float, *, keep_request: bool) -> Terms:
    return Terms(
        call=keyed.call,
        key=keyed.key,
        lifetime=min(policy.lifetime_of(None), keyed.call.longest),
        keep=None,
        demands=keyed.demands,
        limit_bytes=policy.max_record_bytes,
        limits=limits,
        keep_request=keep_request,
        order=_UNORDERED,
        waits=False,
        target=keyed.target,
        asked_at=now,
        index=keyed.key.index,
        received=keyed.received,
    )
