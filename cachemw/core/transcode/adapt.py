"""A stream with other options than it was recorded with."""

import msgspec

from cachemw.core import sse
from cachemw.core.messages import StoredResponse
from cachemw.core.transcode.loss import NO_USAGE, Loss
from cachemw.core.transcode.reading import PADDING, Members, choices_of, read_stream

_NO_ANSWER = frozenset({"choices", "usage", PADDING})


def adapt(stored: StoredResponse, *, include_usage: bool, include_obfuscation: bool) -> list[tuple[bytes, float]]:
    """Return the events for these options, each with its arrival. One that needs no change keeps its bytes."""
    stream = read_stream(stored.body, stored.event_ends)
    if len(stored.arrivals) != len(stream.chunks) + 1:
        raise Loss
    chunks = [members for _, members in stream.chunks]
    wanted = _with_usage(chunks) if include_usage else _without_usage(chunks)
    events = []
    for (event, members), chunk, arrival in zip(stream.chunks, wanted, stored.arrivals, strict=False):
        if chunk is not None:
            chunk = chunk if include_obfuscation else _less(chunk, PADDING)
            as_recorded = stored.body[event.start : event.end]
            events.append((as_recorded if chunk is members else sse.encode(msgspec.json.encode(chunk)), arrival))
    return [*events, (stored.body[stream.done.start : stream.done.end], stored.arrivals[-1])]


def _with_usage(chunks: list[Members]) -> list[Members | None]:
    """Usage on a chunk of its own comes once. On others it is part of the dialect."""
    if all(chunk.get("usage") is None for chunk in chunks):
        raise Loss(NO_USAGE)
    last = max((at for at, chunk in enumerate(chunks) if _is_usage(chunk)), default=0)
    said = _said(chunks)
    return [_unsaid(chunk, said) if _is_usage(chunk) and at < last else chunk for at, chunk in enumerate(chunks)]


def _without_usage(chunks: list[Members]) -> list[Members | None]:
    said = _said(chunks)
    return [
        _unsaid(chunk, said) if _is_usage(chunk) else _less(chunk, "usage") if chunk.get("usage") is None else chunk
        for chunk in chunks
    ]


def _is_usage(chunk: Members) -> bool:
    return not choices_of(chunk) and chunk.get("usage") is not None


def _said(chunks: list[Members]) -> set[str]:
    """Return the members that the stream has without its chunks of usage."""
    return {name for chunk in chunks if not _is_usage(chunk) for name, value in chunk.items() if value is not None}


def _unsaid(chunk: Members, said: set[str]) -> Members | None:
    """Return a chunk of usage without it, if something is left that no other chunk says: moderation comes that way too."""
    names = {name for name, value in chunk.items() if value is not None} - said - _NO_ANSWER
    return _less(chunk, "usage") if names else None


def _less(chunk: Members, name: str) -> Members:
    """Return the chunk without a member: itself, where it has none of this name."""
    return {other: value for other, value in chunk.items() if other != name} if name in chunk else chunk
