"""A record as a text of JSON that people read and compare, and back: without loss, or without times.

What is JSON in a record stands there parsed wherever to encode it again gives the same bytes; else as text, or in base64.
"""

import base64
import json
import math
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any

import msgspec
import xxhash

from cachemw.cache import record as codec
from cachemw.errors import RecordError
from cachemw.messages import Kind, StoredResponse, Usage
from cachemw.redaction import redacted_repr

_MOMENT = "%Y-%m-%dT%H:%M:%SZ"
_LAST = 253_402_300_799.0
"""The last second that the calendar has: the end of the year 9999."""

_CHECKSUM = "xxh3:"
_BLANKS = b" \t\r\n"
_BEFORE, _BEHIND = b"data: ", b"\n\n"
_NAMED = re.compile(rb"event: ([a-z._]+)\n")
"""How the events of messages and of responses begin."""


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON")


def _once_each(members: list[tuple[str, Any]]) -> dict[str, Any]:
    named = dict(members)
    if len(named) < len(members):
        raise ValueError("a name stands there twice")
    return named


def _loads(text: str | bytes) -> Any:
    return json.loads(text, parse_constant=_refuse_constant, object_pairs_hook=_once_each)


def _encoding(**options: Any) -> Callable[[Any], bytes]:
    return lambda value: json.dumps(value, allow_nan=False, **options).encode()


_COMPACT = "compact"
_FORMS: Mapping[str, Callable[[Any], bytes]] = {
    _COMPACT: msgspec.json.encode,
    "compact, as Python": _encoding(separators=(",", ":"), ensure_ascii=False),
    "compact, ASCII": _encoding(separators=(",", ":")),
    "spaced": _encoding(ensure_ascii=False),
    "spaced, ASCII": _encoding(),
    "indented": _encoding(indent=2, ensure_ascii=False),
    "indented, ASCII": _encoding(indent=2),
}
"""The ways in which servers write JSON, by the names that files have for them."""


class RecordTimes(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """The times of a record that a file without times has not: to the fraction of a second, and of each event."""

    stored_at: float
    took: float | None = None
    arrivals: tuple[float, ...] = ()


class RecordDocument(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """The members of a file, in their order. Of `record` and all that stands for it there is one."""

    cachemw: int
    key: str
    model: str | None = None
    endpoint: str = ""
    target: str = ""
    request: Any = msgspec.UNSET
    request_text: str | None = None
    request_base64: str | None = None
    asked_endpoint: str = ""
    status: int = 0
    headers: tuple[tuple[str, str], ...] = ()
    stored_at: str = ""
    lifetime: float = -1.0
    expires: str | None = None
    kind: Any = msgspec.UNSET
    form: str = _COMPACT
    events: list[Any] | None = None
    rest: str | dict[str, str] | None = None
    body: Any = msgspec.UNSET
    body_end: str = ""
    body_text: str | None = None
    body_base64: str | None = None
    times: RecordTimes | None = None
    usage: dict[str, int] | None = None
    proof: str = ""
    sketch: str | None = None
    record: str | None = None
    seal: str | None = None
    checksum: str = ""

    __repr__ = redacted_repr


class FileRecord(msgspec.Struct, frozen=True):
    """The content of a file: the `record`, its `index` as the file has it, and when its time is over.

    `is_intact`: it is as it was written. `seal` is whatever the writer set under it; see `write`.
    """

    index: bytes
    record: bytes
    expires: float | None
    seal: str | None
    is_intact: bool

    __repr__ = redacted_repr


_USAGE = {name.removesuffix("_tokens"): name for name in Usage.__struct_fields__}


def without_times(record: bytes) -> bytes:
    """Return a record as a file holds it: of times only when it was stored, in whole seconds. What is no record stays."""
    try:
        stored = codec.decode(record)
    except RecordError:
        return record
    if not math.isfinite(stored.stored_at):
        return record
    at, arrivals = float(math.floor(stored.stored_at)), (0.0,) * len(stored.arrivals)
    return codec.encode(msgspec.structs.replace(stored, stored_at=at, arrivals=arrivals, took=None))


def write(
    index: bytes, record: bytes, expires: float | None, *, times: bool = False, seal: Callable[[bytes], str] | None = None
) -> str:
    """Return a record as text; `expires` is when its time is over, in seconds since the epoch.

    `times`: with all of its times. `seal` makes of the record that the text holds what is set under it.
    """
    written, until = record if times else without_times(record), None if expires is None else _moment(min(expires, _LAST))
    try:
        text = _text(_sealed(_described(codec.decode(written)), index, written, until, seal))
        if read(index, text.encode()) == (written, _seconds(until)):
            return text
    except (RecordError, ValueError, TypeError, OverflowError, OSError, RecursionError):
        pass  # it holds what is told in no other way, such as a time that no calendar has
    return _text(_sealed({"record": _base64(record)}, index, record, until, seal))


def read(index: bytes, raw: bytes) -> tuple[bytes, float | None]:
    """Return the record of a text, and when its time is over. Raises `RecordError` for what was not written so."""
    found = parse(raw)
    if found.index != index:
        raise RecordError("its key is not that of its name")
    if not found.is_intact:
        raise RecordError("it was changed: its checksum differs")
    return found.record, found.expires


def parse(raw: bytes) -> FileRecord:
    """Return what a text says, changed or not. Raises `RecordError` for what is no record's, or of another version."""
    document = _document(raw)
    if document.cachemw != codec.VERSION:
        raise RecordError(f"it is of version {document.cachemw}, not {codec.VERSION}")
    try:
        index = bytes.fromhex(document.key)
        record = base64.b64decode(document.record, validate=True) if document.record is not None else _record(document)
        expires = _seconds(document.expires)
    except (ValueError, TypeError, KeyError, OverflowError, OSError, RecursionError, msgspec.MsgspecError) as exc:
        raise RecordError("it was changed, and is no record any more") from exc
    is_intact = document.checksum == _checksum(index, record, document.expires)
    return FileRecord(index, record, expires, document.seal, is_intact)


def model_of(record: bytes) -> str | None:
    """Return the model that a record is named after: the one that was asked for, else the one that answered."""
    try:
        stored = codec.decode(record)
        asked = msgspec.json.decode(stored.request or b"{}")
    except (RecordError, msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    name = asked.get("model") if isinstance(asked, dict) else None
    return name if isinstance(name, str) else stored.model


def _document(raw: bytes) -> RecordDocument:
    try:
        return msgspec.convert(_loads(raw), RecordDocument)
    except (ValueError, RecursionError, msgspec.ValidationError) as exc:
        raise RecordError("it is not JSON as cachemw writes it") from exc


def _sealed(
    members: dict[str, Any], index: bytes, record: bytes, until: str | None, seal: Callable[[bytes], str] | None
) -> dict[str, Any]:
    sealed = {"cachemw": codec.VERSION, "key": index.hex(), **members, "checksum": _checksum(index, record, until)}
    if until is not None:
        sealed["expires"] = until
    if seal is not None:
        sealed["seal"] = seal(record)
    return {name: sealed[name] for name in RecordDocument.__struct_fields__ if name in sealed}


def _checksum(index: bytes, record: bytes, until: str | None) -> str:
    sealed = b"".join(len(part).to_bytes(8) + part for part in (index, record, (until or "").encode()))
    return _CHECKSUM + xxhash.xxh3_64_hexdigest(sealed)


# A record in words.


def _described(stored: StoredResponse) -> dict[str, Any]:
    return {
        "endpoint": stored.endpoint,
        "target": stored.target,
        "status": stored.status,
        "headers": [[name.decode("latin-1"), value.decode("latin-1")] for name, value in stored.headers],
        "stored_at": _moment(stored.stored_at),
        "lifetime": int(stored.lifetime) if stored.lifetime.is_integer() else stored.lifetime,
        "kind": {"stream": stored.kind.stream, "options": _loads(stored.kind.options)},
        "proof": stored.proof.hex(),
        **({} if stored.model is None else {"model": stored.model}),
        **({} if stored.request is None else _request(stored.request)),
        **({"asked_endpoint": stored.asked_endpoint} if stored.asked_endpoint else {}),
        **(_stream(stored) if stored.event_ends else _body(stored.body)),
        **_times(stored),
        **({} if stored.usage is None else {"usage": _counts(stored.usage)}),
        **({} if stored.sketch is None else {"sketch": _base64(stored.sketch)}),
    }


def _times(stored: StoredResponse) -> dict[str, Any]:
    """Return the times that nothing else tells: none of a record without them."""
    is_told = stored.took is None and not any(stored.arrivals) and stored.stored_at == math.floor(stored.stored_at)
    return {} if is_told else {"times": msgspec.to_builtins(RecordTimes(stored.stored_at, stored.took, stored.arrivals))}


def _request(request: bytes) -> dict[str, Any]:
    value = _parsed(request, _COMPACT)
    return _as_text("request", request) if value is None else {"request": value[0]}


def _body(body: bytes) -> dict[str, Any]:
    content = body.rstrip(_BLANKS)
    for form in _FORMS:
        if value := _parsed(content, form):
            end = body[len(content) :].decode()
            told = {} if form == _COMPACT else {"form": form}
            return {**told, "body": value[0], **({"body_end": end} if end else {})}
    return _as_text("body", body)


def _as_text(name: str, raw: bytes) -> dict[str, str]:
    text = _piece(raw)
    return {f"{name}_text": text} if isinstance(text, str) else {f"{name}_base64": text["base64"]}


def _stream(stored: StoredResponse) -> dict[str, Any]:
    events = [stored.body[start:end] for start, end in pairwise((0, *stored.event_ends))]
    rest = stored.body[stored.event_ends[-1] :]
    form = next((form for form in _FORMS if any(_event(event, form) for event in events[:2])), _COMPACT)
    return {
        **({} if form == _COMPACT else {"form": form}),
        "events": [_event(event, form) or _piece(event) for event in events],
        **({"rest": _piece(rest)} if rest else {}),
    }


def _event(event: bytes, form: str) -> dict[str, Any] | None:
    named = _NAMED.match(event)
    told, rest = ({"event": named[1].decode()}, event[named.end() :]) if named else ({}, event)
    if not (rest.startswith(_BEFORE) and rest.endswith(_BEHIND)):
        return None
    value = _parsed(rest[len(_BEFORE) : -len(_BEHIND)], form)
    return None if value is None else {**told, "data": value[0]}


def _parsed(raw: bytes, form: str) -> tuple[Any] | None:
    """Return the value of a text of JSON that is encoded in this form again; `None` where it is not."""
    try:
        value = _loads(raw.decode())
        return (value,) if _FORMS[form](value) == raw else None
    except (ValueError, RecursionError, TypeError, OverflowError, msgspec.MsgspecError):
        return None


def _piece(raw: bytes) -> str | dict[str, str]:
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return {"base64": _base64(raw)}


def _base64(raw: bytes) -> str:
    return base64.b64encode(raw).decode()


def _counts(usage: Usage) -> dict[str, int]:
    return {name: count for name, member in _USAGE.items() if (count := getattr(usage, member)) is not None}


def _moment(seconds: float) -> str:
    return datetime.fromtimestamp(math.floor(seconds), UTC).strftime(_MOMENT)


# A record of words.


def _record(document: RecordDocument) -> bytes:
    kind, (body, ends) = document.kind, _content(document)
    times = document.times or RecordTimes(_seconds(document.stored_at) or 0.0)
    if _moment(times.stored_at) != document.stored_at:
        raise ValueError("it says two times")
    return codec.encode(
        StoredResponse(
            status=document.status,
            headers=tuple((name.encode("latin-1"), value.encode("latin-1")) for name, value in document.headers),
            body=body,
            event_ends=ends,
            arrivals=times.arrivals or (0.0,) * len(ends),
            kind=Kind(kind["stream"] is True, msgspec.json.encode(kind["options"])),
            proof=bytes.fromhex(document.proof),
            stored_at=times.stored_at,
            lifetime=float(document.lifetime),
            endpoint=document.endpoint,
            request=_bytes_of("request", document),
            target=document.target,
            model=document.model,
            took=times.took,
            usage=None if document.usage is None else Usage(**{_USAGE[name]: count for name, count in document.usage.items()}),
            sketch=None if document.sketch is None else base64.b64decode(document.sketch, validate=True),
            asked_endpoint=document.asked_endpoint,
        )
    )


def _content(document: RecordDocument) -> tuple[bytes, tuple[int, ...]]:
    """Return the body, and where its events end."""
    if document.events is None:
        return (_bytes_of("body", document) or b"") + document.body_end.encode(), ()
    body, ends = bytearray(), []
    for event in document.events:
        body += _event_bytes(event, document.form)
        ends.append(len(body))
    body += b"" if document.rest is None else _piece_bytes(document.rest)
    return bytes(body), tuple(ends)


def _event_bytes(event: Any, form: str) -> bytes:
    if isinstance(event, dict) and "data" in event:
        name = f"event: {event['event']}\n" if "event" in event else ""
        return name.encode() + _BEFORE + _FORMS[form](event["data"]) + _BEHIND
    return _piece_bytes(event)


def _piece_bytes(piece: Any) -> bytes:
    return piece.encode() if isinstance(piece, str) else base64.b64decode(piece["base64"], validate=True)


def _bytes_of(name: str, document: RecordDocument) -> bytes | None:
    value, text, coded = (getattr(document, member) for member in (name, f"{name}_text", f"{name}_base64"))
    if value is not msgspec.UNSET:
        form = document.form if name == "body" else _COMPACT
        return _FORMS[form](value)
    if text is not None:
        return str(text).encode()
    return None if coded is None else base64.b64decode(coded, validate=True)


def _seconds(moment: str | None) -> float | None:
    return None if moment is None else datetime.strptime(moment, _MOMENT).replace(tzinfo=UTC).timestamp()


_LINE_EACH = ("events", "headers")
_INDENTED = ("request", "body")


def _text(members: dict[str, Any]) -> str:
    """Return JSON with a line for every member that is short, and for every event."""
    lines = [f"  {json.dumps(name)}: {_value(name, value)}" for name, value in members.items()]
    return "{\n" + ",\n".join(lines) + "\n}\n"


def _value(name: str, value: Any) -> str:
    if name in _LINE_EACH and value:
        return "[\n" + ",\n".join(f"    {_dumps(item)}" for item in value) + "\n  ]"
    if name in _INDENTED:
        return _dumps(value, indent=2).replace("\n", "\n  ")
    return _dumps(value)


def _dumps(value: Any, **options: Any) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False, **options)
