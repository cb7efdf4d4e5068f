"""Streams and completions, small enough to be read in a test, as records; and what is derived from them."""

import json
from collections.abc import Iterable
from itertools import accumulate
from typing import Any

from cachemw.endpoints.chat.transcode import derive
from cachemw.messages import Kind, StoredResponse
from cachemw.wire.sse import DONE, Parser, encode

Members = dict[str, Any]

JSON = Kind(stream=False)
STREAM = Kind(stream=True)
WITH_USAGE = Kind(stream=True, options=b'{"include_usage":true}')

FRAME: Members = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m"}
USAGE: Members = {"prompt_tokens": 2, "completion_tokens": 3, "total_tokens": 5}
TIMES: Members = {"queue_time": 0.25, "created": 1.5}


def record(body: bytes, kind: Kind, content_type: bytes = b"text/event-stream") -> StoredResponse:
    """Return a record; the events of a stream came a second apart."""
    parser = Parser()
    ends = tuple(event.end for event in (*parser.feed(body), *parser.end())) if kind.stream else ()
    return StoredResponse(
        status=200,
        headers=((b"Content-Type", content_type), (b"openai-version", b"2020-10-01")),
        body=body,
        event_ends=ends,
        arrivals=tuple(float(at) for at, _ in enumerate(ends)),
        kind=kind,
        proof=b"proof",
        stored_at=100.0,
        lifetime=60.0,
        endpoint="chat",
        request=b"{}",
    )


def piece(index: int = 0, finish: str | None = None, more: Members | None = None, **delta: Any) -> Members:
    """Return one choice of a chunk; `more` are members beside its delta."""
    return {"index": index, "delta": delta, "finish_reason": finish, **(more or {})}


def chunk(*pieces: Members, **members: Any) -> Members:
    """Return a chunk with these choices."""
    return {**FRAME, "choices": [*pieces], **members}


def says(*deltas: Members) -> list[Members]:
    """Return the chunks of an answer that is finished and has its usage: one for each delta, and one for the rest."""
    return [*(chunk(piece(**delta)) for delta in deltas), chunk(piece(finish="stop"), usage=USAGE)]


def completion(*messages: Members, finish: str = "stop", **members: Any) -> Members:
    """Return a completion with a choice for each message."""
    choices = [{"index": at, "message": message, "finish_reason": finish} for at, message in enumerate(messages)]
    return {"id": "c", "object": "chat.completion", "created": 1, "model": "m", "choices": choices, **members}


def body_of(chunks: Iterable[Members]) -> bytes:
    """Return the bytes of a stream."""
    return b"".join(encode(json.dumps(one).encode()) for one in chunks) + encode(DONE)


def as_json(chunks: Iterable[Members], recorded: Kind = WITH_USAGE) -> Any:
    """Return the completion that is derived from the chunks, or why there is none."""
    derived = derive(record(body_of(chunks), recorded), JSON)
    return derived if isinstance(derived, str) else json.loads(derived.body)


def as_stream(answer: Any, asked: Kind = WITH_USAGE) -> Any:
    """Return the chunks that are derived from the completion, or why there are none."""
    derived = derive(record(json.dumps(answer).encode(), JSON, b"application/json"), asked)
    return derived if isinstance(derived, str) else chunks_in(derived)


def chunks_in(stored: StoredResponse) -> list[Members]:
    """Return the chunks of a stream that is as one of ours must be: one line each, and `[DONE]`; every end is true."""
    pairs = zip((0, *stored.event_ends), stored.event_ends, strict=False)
    events = [stored.body[start:end] for start, end in pairs]

    assert b"".join(events) == stored.body
    assert len(stored.arrivals) == len(events)
    assert events[-1] == b"data: [DONE]\n\n"
    assert all(event.startswith(b"data: {") and event.endswith(b"}\n\n") and event.count(b"\n") == 2 for event in events[:-1])
    return [json.loads(event[6:]) for event in events[:-1]]


def ends_of(events: Iterable[bytes]) -> tuple[int, ...]:
    """Return where each of these ends, one after another."""
    return tuple(accumulate(map(len, events)))
