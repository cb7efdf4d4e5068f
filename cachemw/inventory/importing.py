"""Import records: files and lines as `export` writes them, changed or not, and answers that came in a batch."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from hmac import compare_digest

import msgspec
from msgspec.structs import replace

from cachemw.cache import record as codec
from cachemw.cache.freshness import Keep, retention
from cachemw.cache.key import SHARED, index_beside
from cachemw.cache.lookup import are_times_sound, is_sound
from cachemw.cache.policy import Policy
from cachemw.cache.sketch import sketch_of
from cachemw.endpoints import BY_NAME
from cachemw.endpoints.base import Demands, Endpoint
from cachemw.endpoints.errors import ANTHROPIC
from cachemw.errors import RecordError, RecordTooLarge
from cachemw.inventory.admitting import (
    SDK_VERSIONS,
    VERSION_FIELD,
    Addressee,
    Agreement,
    AskedCircumstances,
    KeyedCall,
    agreement,
    asked_as,
    fault_of,
    is_of_secret,
    keyed_call,
    path_of,
    read_call,
    recorded,
)
from cachemw.inventory.batches import BatchAnswer, BatchRequest, model_in
from cachemw.inventory.exporting import seal_of
from cachemw.limits import Limits
from cachemw.messages import AppTarget, Headers, Kind, Recipient, Request, StoredResponse
from cachemw.redaction import redacted_repr
from cachemw.stores.base import Store
from cachemw.stores.file import form

_JSON = ((b"content-type", b"application/json"),)
_OF_ANOTHER = "it was made under another store's secret, and nobody would find it"
_NOBODY = AppTarget("", b"", b"", b"", b"")

ByName = Callable[[str, bytes, bytes], Addressee | None]
"""Returns who answers at one path, by the name that records have of it, as it is asked at another; `None`: nobody known."""

ByModel = Callable[[str | None, bytes], Addressee]
"""Returns who is asked at a path for a model."""

Whose = Callable[[Recipient], bytes]
"""Returns the partition of who is to find an answer, of those who ask this recipient."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportTerms:
    """The terms on which records come in.

    `whose` says whose they shall be; `None`: whose they were, but those that were changed, which are `of_changed`'s. What was
    asked in a `namespace`, or with these header `fields`, is found by who asks so again. `secret` is the store's,
    `origin` that of another one that records may come from, and `keep` how long the store holds what comes.
    """

    by_name: ByName
    policy: Policy
    limits: Limits = Limits()
    whose: Whose | None = None
    of_changed: Whose | None = None
    namespace: str | None = None
    sample: int = 0
    fields: Headers = ()
    secret: bytes | None = None
    origin: bytes | None = None
    keep: Keep = "windows"

    __repr__ = redacted_repr

    def circumstances(self, recipient: Recipient, whose: Whose) -> AskedCircumstances:
        """Return what is in the key of an answer besides its request and its target."""
        return AskedCircumstances(whose(recipient), self.namespace, self.sample, self.fields)

    @property
    def secrets(self) -> tuple[bytes, ...]:
        """The secrets under which a record may have been made whose sketch is to be read."""
        return (*(secret for secret in (self.secret, self.origin) if secret is not None), b"")

    def sketch(self, keyed: KeyedCall) -> bytes | None:
        """Return the sketch of a key, as a miss would have it; `None` where there is none to be."""
        secret = b"" if keyed.partition == SHARED else self.secret
        return None if secret is None or not self.policy.sketch else sketch_of(keyed.key, secret)


class IncomingRecord(msgspec.Struct, frozen=True):
    """A record on its way in, and the index that it goes under; `until` is when its time is over, in seconds since the epoch.

    `is_rekeyed`: under another key than it had. `is_changed`: somebody changed its file.
    """

    index: bytes
    record: bytes
    stored: StoredResponse
    until: float | None
    is_rekeyed: bool = False
    is_changed: bool = False

    __repr__ = redacted_repr


def read_in(raw: bytes, digits: str | None, terms: ImportTerms, now: float) -> IncomingRecord | str:
    """Return the record of a text, which lay under a name with these `digits`; else why it cannot come in."""
    try:
        found = form.parse(raw)
        stored = codec.decode(found.record)
    except RecordError as exc:
        return str(exc)
    until = _until(stored, found.expires, terms)
    if until is not None and until <= now:
        return "its time is over"
    if not are_times_sound(stored, now):
        return "it cannot have been stored when it says"
    is_changed = not found.is_intact or digits not in (None, found.index.hex())
    if stored.request is None:
        return _without_request(found, stored, terms, until, is_changed=is_changed, now=now)
    whose = terms.whose or (terms.of_changed if is_changed else None)
    if whose is not None:
        return _rekeyed(found, stored, terms, whose, until, is_changed=is_changed, now=now)
    if is_changed:
        return "it was changed, so that it needs a new key: say by --partition whose it shall be"
    return _as_it_is(found, stored, terms, until, now)


def _until(stored: StoredResponse, expires: float | None, terms: ImportTerms) -> float | None:
    if expires is not None:
        return expires
    keep = retention(terms.keep, stored.lifetime, terms.policy.window)
    return None if keep is None else stored.stored_at + keep


def _without_request(
    found: form.FileRecord, stored: StoredResponse, terms: ImportTerms, until: float | None, *, is_changed: bool, now: float
) -> IncomingRecord | str:
    """Return a record that holds no request: nobody can tell what it answers but by its key, so that must be as it was."""
    if is_changed:
        return "it was changed, and holds no request to make a new key of"
    if terms.whose is not None:
        return "it holds no request to make a new key of: import it without --partition"
    if not _is_sealed(found, terms.secret):
        return "it holds no request, and was not exported from a store with this one's secret"
    if not is_sound(stored, now):
        return "it is not what a recording comes to"
    return IncomingRecord(found.index, found.record, stored, until)


def _is_sealed(found: form.FileRecord, secret: bytes | None) -> bool:
    if secret is None or found.seal is None:
        return False
    return compare_digest(found.seal.encode(), seal_of(secret, found.index, found.record).encode())


def _as_it_is(
    found: form.FileRecord, stored: StoredResponse, terms: ImportTerms, until: float | None, now: float
) -> IncomingRecord | str:
    """Return a record under the key that it had: found by who asked for it, wherever the store has the same secret."""
    if not is_sound(stored, now):
        return "it is not what a recording comes to"
    if len(stored.body) > terms.policy.max_record_bytes:
        return "its answer cannot be kept: record-too-large"
    endpoint = BY_NAME.get(stored.endpoint)
    if endpoint is None:
        return "it is of no endpoint that is known here"
    if not stored.asked_endpoint and (fault := _fault_in(stored, endpoint, terms)):
        return f"its answer cannot be kept: {fault}"
    if why := _why_not_ours(found, stored, terms):
        return f"{why}: say by --partition whose it shall be"
    return IncomingRecord(found.index, found.record, stored, until)


def _why_not_ours(found: form.FileRecord, stored: StoredResponse, terms: ImportTerms) -> str | None:
    """Return why a record may be none of this store's; `None` where its sketch, or its key, is what this store would make."""
    if stored.asked_endpoint:  # its sketch is of what was made of the request
        return None if _is_sealed(found, terms.secret) else _OF_ANOTHER
    if stored.sketch is None:
        return None if _is_everybodys(found, stored, terms) else "it has no sketch by which to know it for this store's"
    is_ours = is_of_secret(stored.sketch, stored.request or b"", (terms.secret or b"", b""))
    return None if is_ours else _OF_ANOTHER


def _is_everybodys(found: form.FileRecord, stored: StoredResponse, terms: ImportTerms) -> bool:
    """Say whether a record lies under the key that its request has where one answer is for all: no secret is in that."""
    keyed = _keyed(stored, terms, lambda _: SHARED)
    return isinstance(keyed, KeyedCall) and found.index in (keyed.key.index, index_beside(keyed.key.index, stored.kind))


def _fault_in(stored: StoredResponse, endpoint: Endpoint, terms: ImportTerms) -> str | None:
    path = path_of(endpoint).encode()
    addressee = terms.by_name(stored.target, path, path)
    policy, body = terms.policy, asked_as(stored.request or b"", stored.kind)
    request = Request("POST", path_of(endpoint), _JSON, body, _NOBODY if addressee is None else addressee.target)
    call = read_call(endpoint, request, policy, terms.limits)
    if isinstance(call, str):
        return call
    demands = Demands(policy.store_when, done=False) if addressee is None else policy.demands_on(addressee.target)
    return fault_of(stored, call, demands, terms.limits)


def _rekeyed(
    found: form.FileRecord,
    stored: StoredResponse,
    terms: ImportTerms,
    whose: Whose,
    until: float | None,
    *,
    is_changed: bool,
    now: float,
) -> IncomingRecord | str:
    """Return a record under the key that its request has for whoever it is to be for."""
    keyed = _keyed(stored, terms, whose)
    if isinstance(keyed, str):
        return keyed
    if stored.status != 200:
        return "its answer cannot be kept: not-200"
    again = recorded(keyed, stored.headers, stored.body, terms.policy, terms.limits, now, keep_request=True)
    if isinstance(again, str):
        return f"its answer cannot be kept: {again}"
    index = keyed.key.index
    if not is_changed and found.index in (index, index_beside(index, stored.kind)):
        return IncomingRecord(found.index, found.record, stored, until)
    arrivals = stored.arrivals if again.event_ends == stored.event_ends else again.arrivals
    times = {"stored_at": stored.stored_at, "lifetime": stored.lifetime, "took": stored.took, "arrivals": arrivals}
    new = replace(again, sketch=terms.sketch(keyed), **times)
    return IncomingRecord(index, codec.encode(new), new, until, is_rekeyed=index != found.index, is_changed=is_changed)


def _keyed(stored: StoredResponse, terms: ImportTerms, whose: Whose) -> KeyedCall | str:
    """Return a stored answer's call with its key; with which fields it was asked for, its sketch may tell."""
    endpoint = BY_NAME.get(stored.asked_endpoint or stored.endpoint)
    if endpoint is None:
        return "it is of no endpoint that is known here"
    ways = _ways_to_ask(endpoint, terms.fields)
    every = [_keyed_so(stored, endpoint, terms, whose, fields) for fields in ways]
    found = [(one, agreement(stored.sketch, one.key, terms.secrets)) for one in every if not isinstance(one, str)]
    if not found:
        return next(one for one in every if isinstance(one, str))
    sure = next((one for one, how in found if how is Agreement.SURE), None)
    unknown = next((one for one, how in found if how is Agreement.UNKNOWN), None)
    if sure is not None or unknown is not None and len({one.key.index for one, _ in found}) == 1:
        return _of_kind(sure or unknown or found[0][0], stored.kind)
    if unknown is not None:
        return f"it was asked for with an {VERSION_FIELD.decode()} that only its own store could tell: say it by --header"
    return f"{found[0][1]}: --namespace, --sample and --header say how it shall be found"


def _ways_to_ask(endpoint: Endpoint, fields: Headers) -> list[Headers]:
    """Return the fields with which an answer may have been asked for: what Anthropic's SDKs send is of their version."""
    if endpoint.errors is not ANTHROPIC or any(name == VERSION_FIELD for name, _ in fields):
        return [fields]
    return [(*fields, (VERSION_FIELD, version)) for version in SDK_VERSIONS] + [fields]


def _keyed_so(stored: StoredResponse, endpoint: Endpoint, terms: ImportTerms, whose: Whose, fields: Headers) -> KeyedCall | str:
    spoken = BY_NAME.get(stored.endpoint, endpoint)
    addressee = terms.by_name(stored.target, path_of(spoken).encode(), path_of(endpoint).encode())
    if addressee is None:
        return "it was answered by what is no upstream of these settings, nor one that is known"
    kind = Kind(stored.kind.stream) if stored.asked_endpoint else stored.kind
    circumstances = AskedCircumstances(whose(addressee.target.recipient), terms.namespace, terms.sample, fields)
    body = asked_as(stored.request or b"", kind)
    keyed = keyed_call(endpoint, body, addressee, circumstances, terms.policy, terms.limits)
    if isinstance(keyed, str):
        return f"its request cannot be cached: {keyed}"
    if (keyed.call.endpoint.name, keyed.target) != (stored.endpoint, stored.target):
        return "its request is not for who is said to have answered"
    return keyed


def _of_kind(keyed: KeyedCall, kind: Kind) -> KeyedCall:
    """Return a call whose answer came in this kind; what only the other kind is due is not asked of it."""
    if keyed.call.kind == kind:
        return keyed
    return replace(keyed, call=replace(keyed.call, kind=kind, wants_usage=False))


def from_batch(
    request: BatchRequest, answer: BatchAnswer, by_model: ByModel, terms: ImportTerms, whose: Whose, now: float
) -> IncomingRecord | str:
    """Return the record of an answer that came in a batch, under the key of who asks the same by itself."""
    if answer.status is None:
        return "it failed"
    if answer.status != 200:
        return f"it failed: status {answer.status}"
    addressee = by_model(model_in(request.body), path_of(request.endpoint).encode())
    circumstances = terms.circumstances(addressee.target.recipient, whose)
    keyed = keyed_call(request.endpoint, request.body, addressee, circumstances, terms.policy, terms.limits)
    if isinstance(keyed, str):
        return f"its request cannot be cached: {keyed}"
    if keyed.received is not None:
        return "its request would be translated for this upstream, and its answer is not of that dialect"
    keyed = _of_kind(keyed, Kind(stream=False))
    keep = terms.policy.keep_requests
    stored = recorded(keyed, _JSON, answer.body, terms.policy, terms.limits, now, keep_request=keep)
    if isinstance(stored, str):
        return f"its answer cannot be kept: {stored}"
    stored = replace(stored, took=None, sketch=terms.sketch(keyed))  # nobody was there to measure how long it took
    return IncomingRecord(keyed.key.index, codec.encode(stored), stored, _until(stored, None, terms), is_rekeyed=True)


class Placement(Enum):
    """What became of a record that came in."""

    IMPORTED = "imported"
    PRESENT = "there already"
    NEWER = "not imported, for another answer is there that is no older"
    TOO_LARGE = "too large for the store"


def place(incoming: IncomingRecord, store: Store, limits: Limits, now: float) -> Placement:
    """Keep a record that came in, unless it is there, or a newer answer is. Raises `StoreError`."""
    index, placement = _place_in(incoming, store, limits)
    if placement is not Placement.IMPORTED:
        return placement
    keep = None if incoming.until is None else max(0.0, incoming.until - now)
    try:
        store.put(index, incoming.record, keep)
    except RecordTooLarge:
        return Placement.TOO_LARGE
    return Placement.IMPORTED


def _place_in(incoming: IncomingRecord, store: Store, limits: Limits) -> tuple[bytes, Placement]:
    """Return where it is put: beside an answer of another kind that cannot be had in this one."""
    index, stored = incoming.index, incoming.stored
    there = _answer_in(store, index)
    if there is not None and incoming.is_rekeyed and _is_of_another_kind(there, stored, limits):
        index = index_beside(index, stored.kind)
        there = _answer_in(store, index)
    if there is None or there.stored_at < math.floor(stored.stored_at):  # a store of files holds whole seconds
        return index, Placement.IMPORTED
    return index, Placement.PRESENT if _is_same(there, stored) else Placement.NEWER


def _answer_in(store: Store, index: bytes) -> StoredResponse | None:
    try:
        record = store.get(index)
        return None if record is None else codec.decode(record)
    except RecordError:
        return None


def _is_of_another_kind(there: StoredResponse, stored: StoredResponse, limits: Limits) -> bool:
    endpoint = BY_NAME.get(there.endpoint)
    if endpoint is None or there.kind.stream == stored.kind.stream or there.proof != stored.proof:
        return False
    return isinstance(endpoint.derive(there, stored.kind, limits.work), str)


def _is_same(there: StoredResponse, stored: StoredResponse) -> bool:
    return (there.body, there.kind, there.proof) == (stored.body, stored.kind, stored.proof)
