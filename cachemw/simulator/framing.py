"""Answers as bytes: one JSON object, or the events of a stream, each with the token it comes with."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import zip_longest

from msgspec import json

from cachemw.simulator.answering import Answer
from cachemw.simulator.dialect import Dialect, Json
from cachemw.simulator.refusing import simulated

DONE = b"data: [DONE]\n\n"


@dataclass(frozen=True, slots=True)
class Event:
    """One event of a stream; `token` is the place, from 0, of the token that it waits for."""

    token: int
    chunk: bytes

    __repr__ = object.__repr__  # it holds what somebody said


def whole(content: Json) -> bytes:
    return json.encode(content)


def events(answer: Answer, dialect: Dialect, *, include_usage: bool) -> tuple[Event, ...]:
    """Return the events of a stream; the deltas of several choices are interleaved."""
    *entries, (token, last) = _entries(answer, dialect)
    chunks = [(token, dialect.chunk(answer, entry, include_usage=include_usage)) for token, entry in entries]
    chunks += [(token, chunk) for chunk in dialect.last_chunks(answer, last, include_usage=include_usage)]
    return (*(Event(token, _event(chunk)) for token, chunk in chunks), Event(token, DONE))


def failing(stream: tuple[Event, ...], after: int, dialect: Dialect) -> tuple[Event, ...]:
    """Return the stream as it is when the provider gives up after so many events: an error, and no end mark."""
    kept = stream[:-1][:after]
    token = kept[-1].token if kept else 0
    return (*kept, Event(token, _event(dialect.error_event(simulated(500)))))


def _entries(answer: Answer, dialect: Dialect) -> Iterator[tuple[int, Json]]:
    yield from ((0, dialect.opening(choice)) for choice in answer.choices)
    for token, row in enumerate(zip_longest(*(dialect.entries(choice) for choice in answer.choices))):
        yield from ((token, entry) for entry in row if entry is not None)
    yield from ((max(0, answer.longest - 1), dialect.closing(choice)) for choice in answer.choices)


def _event(content: Json) -> bytes:
    return b"data: " + json.encode(content) + b"\n\n"
