"""Derive one kind of an answer from the kind that was recorded."""

from collections.abc import Callable, Iterable
from typing import Protocol

import msgspec

from cachemw.endpoints.chat.transcode.aggregate import aggregate
from cachemw.endpoints.chat.transcode.reading import NO_USAGE, choices_of, is_padding, read_stream
from cachemw.endpoints.chat.transcode.synthesise import synthesise
from cachemw.endpoints.deriving import (
    OTHER_KIND,
    PADDING,
    JsonObject,
    Loss,
    as_document,
    as_stream,
    read_answer,
    slice_length,
)
from cachemw.limits import Work
from cachemw.messages import Kind, StoredResponse
from cachemw.wire import sse
from cachemw.wire.strict_json import UNREADABLE

_NO_ANSWER = frozenset({"choices", "usage"})


def adapt(stored: StoredResponse, work: Work, *, include_usage: bool, include_obfuscation: bool) -> list[tuple[bytes, float]]:
    """Return the events for these options, each with its arrival. One that needs no change keeps its bytes."""
    stream = read_stream(stored.body, stored.event_ends, work.answer)
    if len(stored.arrivals) != len(stream.chunks) + len(stream.ends):
        raise Loss
    chunks = [members for _, members in stream.chunks]
    wanted = _with_usage(chunks) if include_usage else _without_usage(chunks)
    events = []
    for (event, members), chunk, arrival in zip(stream.chunks, wanted, stored.arrivals, strict=False):
        if chunk is not None:
            chunk = chunk if include_obfuscation else _less(chunk, PADDING)
            as_recorded = stored.body[event.start : event.end]
            events.append((as_recorded if chunk is members else sse.encode(msgspec.json.encode(chunk)), arrival))
    ends = zip(stream.ends, stored.arrivals[len(stream.chunks) :], strict=True)
    return [*events, *((stored.body[event.start : event.end], arrival) for event, arrival in ends)]


def _with_usage(chunks: list[JsonObject]) -> list[JsonObject | None]:
    """Usage on a chunk of its own comes once. On others it is part of the dialect."""
    if all(chunk.get("usage") is None for chunk in chunks):
        raise Loss(NO_USAGE)
    last = max((at for at, chunk in enumerate(chunks) if _is_usage(chunk)), default=0)
    said = _said(chunks)
    return [_unsaid(chunk, said) if _is_usage(chunk) and at < last else chunk for at, chunk in enumerate(chunks)]


def _without_usage(chunks: list[JsonObject]) -> list[JsonObject | None]:
    said = _said(chunks)
    return [
        _unsaid(chunk, said) if _is_usage(chunk) else _less(chunk, "usage") if chunk.get("usage") is None else chunk
        for chunk in chunks
    ]


def _is_usage(chunk: JsonObject) -> bool:
    return not choices_of(chunk) and chunk.get("usage") is not None


def _said(chunks: list[JsonObject]) -> set[str]:
    """Return the members that the stream has without its chunks of usage."""
    return {name for chunk in chunks if not _is_usage(chunk) for name, value in chunk.items() if value is not None}


def _unsaid(chunk: JsonObject, said: set[str]) -> JsonObject | None:
    """Return a chunk of usage without it, if something is left that no other chunk says: moderation comes that way too."""
    names = {name for name, value in chunk.items() if value is not None and not is_padding(name, value)} - said - _NO_ANSWER
    return _less(chunk, "usage") if names else None


def _less(chunk: JsonObject, name: str) -> JsonObject:
    """Return the chunk without a member: itself, where it has none of this name."""
    return {other: value for other, value in chunk.items() if other != name} if name in chunk else chunk


class Options(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The stream options that we know how to meet."""

    include_usage: bool = False
    include_obfuscation: bool = True


_options = msgspec.json.Decoder(Options)


Aggregate = Callable[[Iterable[JsonObject]], JsonObject]
"""Makes a whole answer of the chunks of a stream. Raises `Loss`."""


class Synthesise(Protocol):
    """Makes the chunks of a stream of a whole answer."""

    def __call__(self, completion: JsonObject, limit: int, /, *, include_usage: bool, slice_chars: int) -> list[JsonObject]:
        """Return the chunks, `limit` at most, with texts in slices of so many characters. Raises `Loss`."""


class Derive(Protocol):
    """Derives one kind of an answer from the kind that was recorded."""

    def __call__(self, stored: StoredResponse, kind: Kind, work: Work = Work(), /) -> StoredResponse | str:
        """Return the stored response in another kind, or the `detail` that says why it cannot be had without loss."""


def deriving(aggregate: Aggregate, synthesise: Synthesise) -> Derive:
    """Return what derives one kind of an endpoint's answers from the other, by what makes whole answers and chunks there."""

    def derive(stored: StoredResponse, kind: Kind, work: Work = Work()) -> StoredResponse | str:
        if stored.kind == kind:
            return stored
        try:
            _understood(stored.kind)
            asked = _understood(kind)
            if not kind.stream:
                return _as_json(stored, kind, work, aggregate)
            return (
                _adapted(stored, kind, asked, work)
                if stored.kind.stream
                else _synthesised(stored, kind, asked, work, synthesise)
            )
        except Loss as exc:
            return exc.detail
        except RecursionError:  # JSON that is nested too deeply to be taken apart
            return OTHER_KIND

    return derive


derive = deriving(aggregate, synthesise)
"""Derives one kind of a chat completion from the kind that was recorded."""


def _understood(kind: Kind) -> Options:
    if not kind.stream and kind.options != b"{}":
        raise Loss
    try:
        return _options.decode(kind.options)
    except UNREADABLE:
        raise Loss from None


def _as_json(stored: StoredResponse, kind: Kind, work: Work, aggregate: Aggregate) -> StoredResponse:
    chunks = read_stream(stored.body, stored.event_ends, work.answer).chunks
    completion = aggregate(members for _, members in chunks)
    if completion.get("usage") is None:
        raise Loss(NO_USAGE)
    return as_document(stored, kind, msgspec.json.encode(completion))


def _synthesised(stored: StoredResponse, kind: Kind, asked: Options, work: Work, synthesise: Synthesise) -> StoredResponse:
    completion = read_answer(stored.body, work.answer)
    chunks = synthesise(completion, work.pieces, include_usage=asked.include_usage, slice_chars=slice_length(stored.body))
    lines = (*map(msgspec.json.encode, chunks), sse.DONE)
    return as_stream(stored, kind, [sse.encode(line) for line in lines], (0.0,) * len(lines))


def _adapted(stored: StoredResponse, kind: Kind, asked: Options, work: Work) -> StoredResponse:
    events = adapt(stored, work, include_usage=asked.include_usage, include_obfuscation=asked.include_obfuscation)
    return as_stream(stored, kind, [event for event, _ in events], tuple(arrival for _, arrival in events))
