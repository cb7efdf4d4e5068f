"""The events of a streamed answer, and of one that fails under way."""

from collections.abc import Iterator
from itertools import zip_longest

from msgspec import json

from cachemw.simulator.answering import SimulatedAnswer
from cachemw.simulator.dialects.base import Dialect
from cachemw.simulator.script import Json, ScriptEvent

DONE_EVENT = b"data: [DONE]\n\n"


def events(answer: SimulatedAnswer, dialect: Dialect, *, include_usage: bool) -> tuple[ScriptEvent, ...]:
    """Return the events of a stream; the deltas of several choices are interleaved."""
    *entries, (token, last) = _entries(answer, dialect)
    chunks = [(token, dialect.chunk(answer, entry, token, include_usage=include_usage)) for token, entry in entries]
    chunks += [(token, chunk) for chunk in dialect.last_chunks(answer, last, include_usage=include_usage)]
    return (*(ScriptEvent(token, event(chunk)) for token, chunk in chunks), ScriptEvent(token, DONE_EVENT))


def without_choices(answer: SimulatedAnswer, dialect: Dialect) -> tuple[ScriptEvent, ...]:
    """Return the events of a stream whose only chunk has no choices."""
    chunk = dialect.chunk(answer, {}, 0, include_usage=False) | {"choices": []}
    return (ScriptEvent(0, event(chunk)), ScriptEvent(0, DONE_EVENT))


def failing(stream: tuple[ScriptEvent, ...], after: int, error: bytes) -> tuple[ScriptEvent, ...]:
    """Return the stream as it is when the provider gives up after so many events: an error, and no end mark."""
    kept = stream[:-1][:after]
    token = kept[-1].token if kept else 0
    return (*kept, ScriptEvent(token, error))


def event(content: Json, name: str = "") -> bytes:
    """Return an event with this content; few providers name theirs."""
    line = f"event: {name}\n".encode() if name else b""
    return line + b"data: " + json.encode(content) + b"\n\n"


def _entries(answer: SimulatedAnswer, dialect: Dialect) -> Iterator[tuple[int, Json]]:
    yield from ((0, dialect.opening(choice)) for choice in answer.choices)
    for token, row in enumerate(zip_longest(*(dialect.entries(choice) for choice in answer.choices))):
        yield from ((token, entry) for entry in row if entry is not None)
    yield from ((max(0, answer.longest - 1), dialect.closing(choice)) for choice in answer.choices)
