"""Responses and their streams, small enough to be read in a test, as records; and what is said and made of them."""

import json
from collections.abc import Iterable
from typing import Any

from cachemw.cache.policy import FINISH_REASONS
from cachemw.endpoints import RESPONSES
from cachemw.endpoints.base import ApiCall, Bypass, Demands
from cachemw.endpoints.responses.request import read_response_call
from cachemw.limits import Work
from cachemw.messages import AppTarget, Headers, HttpRecipient, HttpTarget, Kind, Request, StoredResponse, Target
from cachemw.wire.sse import Parser, encode

Members = dict[str, Any]

TYPED: Headers = ((b"content-type", b"application/json"),)
UPSTREAM = HttpTarget("https://api.example:443/v1/responses", HttpRecipient())
APP = AppTarget("support-bot", b"", b"/v1/responses", b"/v1/responses", b"")

JSON = Kind(stream=False)
STREAM = Kind(stream=True)
UNPADDED = Kind(stream=True, options=b'{"include_obfuscation":false}')

USAGE: Members = {"input_tokens": 2, "output_tokens": 3, "total_tokens": 5}
THOUGHT: Members = {**USAGE, "output_tokens_details": {"reasoning_tokens": 3}}
FRAME: Members = {"id": "resp_1", "object": "response", "created_at": 1, "status": "completed", "error": None}


def asked(**members: Any) -> bytes:
    """Return a body; `members` override the usual ones, in their place."""
    return json.dumps({"model": "m", "input": "hello"} | members).encode()


def read(body: bytes, target: Target = UPSTREAM, headers: Headers = TYPED, **options: Any) -> ApiCall | Bypass:
    """Return the call that a body is, or why it is not cached."""
    return read_response_call(RESPONSES, Request("POST", "/v1/responses", headers, body, target), **options)


def call_of(body: bytes, target: Target = UPSTREAM, **options: Any) -> ApiCall:
    call = read(body, target, **options)
    assert isinstance(call, ApiCall), call
    return call


def reason_of(body: bytes, headers: Headers = TYPED, **options: Any) -> str:
    """Return why a request is not cached."""
    bypass = read(body, headers=headers, **options)
    assert isinstance(bypass, Bypass), bypass
    return bypass.detail


def text(said: str, **members: Any) -> Members:
    """Return a part of a message."""
    return {"type": "output_text", "annotations": [], "logprobs": [], "text": said, **members}


def message(*parts: Members, **members: Any) -> Members:
    """Return an item."""
    return {"id": "msg_1", "type": "message", "status": "completed", "content": [*parts], "role": "assistant", **members}


def function_call(arguments: Any = "{}", **members: Any) -> Members:
    """Return an item."""
    base = {"id": "fc_1", "type": "function_call", "status": "completed", "call_id": "call_1", "name": "f"}
    return {**base, "arguments": arguments, **members}


def reasoning(*summary: str, **members: Any) -> Members:
    """Return an item."""
    parts = [{"type": "summary_text", "text": said} for said in summary]
    return {"id": "rs_1", "type": "reasoning", "encrypted_content": "gAAA", "summary": parts, **members}


def response(*output: Members, **members: Any) -> Members:
    """Return a response with these items."""
    base = {**FRAME, "model": "m-1", "output": [*output], "incomplete_details": None, "usage": USAGE}
    return base | members


def cut_short(*output: Members, reason: str | None = "max_output_tokens", **members: Any) -> Members:
    """Return a response that was cut short."""
    return response(*output, **{"status": "incomplete", "incomplete_details": {"reason": reason}, **members})


HELLO = response(message(text("hello")))


def numbered(events: Iterable[Members]) -> list[Members]:
    """Return events with their numbers."""
    return [{"type": event["type"], "sequence_number": at, **event} for at, event in enumerate(events)]


def told(answer: Members, ending: str = "response.completed", padding: str | None = "xyz") -> list[Members]:
    """Return the events of a short stream: it begins, says a word, and ends."""
    begun = answer | {"status": "in_progress", "output": [], "usage": None}
    word = {"type": "response.output_text.delta", "item_id": "msg_1", "output_index": 0, "content_index": 0, "delta": "hello"}
    added = {"type": "response.output_item.added", "output_index": 0, "item": message(status="in_progress")}
    part = {"type": "response.content_part.added", "item_id": "msg_1", "output_index": 0, "content_index": 0, "part": text("")}
    return numbered(
        [
            {"type": "response.created", "response": begun},
            {"type": "response.in_progress", "response": begun},
            added,
            part,
            word | {"logprobs": []} | ({} if padding is None else {"obfuscation": padding}),
            {"type": ending, "response": answer},
        ]
    )


def body_of(events: Iterable[Members], *, named: bool = True) -> bytes:
    """Return the bytes of a stream."""
    return b"".join(encode(json.dumps(one).encode(), one["type"].encode() if named else b"") for one in events)


def json_fault(answer: Any, *, bounded: bool = False, store_when: frozenset[str] = FINISH_REASONS, work: Work = Work()) -> Any:
    """Return why a whole answer is not kept; `None` where it is."""
    body = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
    judge = RESPONSES.judge(ApiCall(RESPONSES, b"{}", JSON, bounded=bounded), Demands(store_when), work)
    judge.read(body)
    return judge.fault()


def stream_fault(
    body: bytes, *, bounded: bool = False, store_when: frozenset[str] = FINISH_REASONS, work: Work = Work()
) -> Any:
    """Return why a stream is not kept that ended by itself; `None` where it is."""
    judge = RESPONSES.judge(ApiCall(RESPONSES, b"{}", STREAM, bounded=bounded), Demands(store_when), work)
    parser = Parser(ends=RESPONSES.ends)
    for event in (*parser.feed(body), *parser.end()):
        judge.see(event)
    if not parser.is_within_event:
        judge.end()
    return judge.fault()


def record(body: bytes, kind: Kind) -> StoredResponse:
    """Return a record; the events of a stream came a second apart."""
    parser = Parser(ends=RESPONSES.ends)
    ends = tuple(event.end for event in (*parser.feed(body), *parser.end())) if kind.stream else ()
    return StoredResponse(
        status=200,
        headers=((b"Content-Type", b"text/event-stream" if kind.stream else b"application/json"), (b"openai-version", b"1")),
        body=body,
        event_ends=ends,
        arrivals=tuple(float(at) for at, _ in enumerate(ends)),
        kind=kind,
        proof=b"proof",
        stored_at=100.0,
        lifetime=60.0,
        endpoint="responses",
        request=b"{}",
    )


def derived(body: bytes, recorded: Kind, wanted: Kind, work: Work = Work()) -> StoredResponse | str:
    """Return a record in another kind, or why it cannot be had."""
    return RESPONSES.derive(record(body, recorded), wanted, work)


def streamed(answer: Any, wanted: Kind = STREAM, work: Work = Work()) -> list[Members] | str:
    """Return the events that are derived from a response, or why there are none."""
    body = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
    stream = derived(body, JSON, wanted, work)
    return stream if isinstance(stream, str) else events_in(stream)


def events_in(stored: StoredResponse) -> list[Members]:
    """Return the events of a stream that is as one of ours must be: a name and one line of data each; every end is true."""
    pairs = zip((0, *stored.event_ends), stored.event_ends, strict=False)
    frames = [stored.body[start:end] for start, end in pairs]

    assert b"".join(frames) == stored.body
    assert len(stored.arrivals) == len(frames)
    events = [json.loads(frame.partition(b"\ndata: ")[2]) for frame in frames]
    assert [
        encode(json.dumps(event, separators=(",", ":"), ensure_ascii=False).encode(), event["type"].encode())
        for event in events
    ] == frames
    return events
