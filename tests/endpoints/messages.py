"""Requests for messages and answers to them, small enough to be read in a test; and what Anthropic's SDK makes of these."""

import json
from collections.abc import Iterable
from typing import Any

import anthropic
import httpx2

from cachemw.cache.policy import FINISH_REASONS
from cachemw.endpoints import MESSAGES
from cachemw.endpoints.base import ApiCall, Bypass, Demands, Judge
from cachemw.limits import Work
from cachemw.messages import AppTarget, Headers, HttpRecipient, HttpTarget, Kind, Request, StoredResponse, Target
from cachemw.upstreams.providers import PROVIDERS
from cachemw.wire.sse import Parser, encode
from tests.endpoints.transcoding import JSON as DOCUMENT
from tests.endpoints.transcoding import STREAM, record

Members = dict[str, Any]

PATH = "/v1/messages"
JSON: Headers = ((b"content-type", b"application/json"),)
ANTHROPIC = HttpTarget(
    "https://api.anthropic.com:443/v1/messages", HttpRecipient("anthropic", PROVIDERS["anthropic"].bookkeeping)
)
URL = HttpTarget("https://api.example:443/v1/messages")
APP = AppTarget("bot", b"", PATH.encode(), PATH.encode(), b"")
BILLING = "x-anthropic-billing-header: cc_version=2.1.37.fbe; cc_entrypoint=cli; cch=0a1b2;"


def asked(**members: Any) -> Members:
    """Return a request's body; `members` are added, or stand in for its own."""
    return {"model": "claude", "max_tokens": 64, "messages": [{"role": "user", "content": "hello"}], **members}


def reading(body: Members | bytes, target: Target = ANTHROPIC, named: Iterable[str] = ()) -> ApiCall | Bypass:
    """Return what is read of a request."""
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return MESSAGES.read(MESSAGES, Request("POST", PATH, JSON, raw, target), frozenset(named), Work(), False)


def call_of(body: Members | bytes, target: Target = ANTHROPIC, named: Iterable[str] = ()) -> ApiCall:
    call = reading(body, target, named)
    assert isinstance(call, ApiCall), call
    return call


def form_of(body: Members, target: Target = ANTHROPIC, named: Iterable[str] = ()) -> bytes:
    """Return the canonical form of a body."""
    return call_of(body, target, named).canonical


# Answers.

USAGE: Members = {"input_tokens": 3, "cache_read_input_tokens": 4, "cache_creation_input_tokens": None, "output_tokens": 5}
TEXT: Members = {"type": "text", "text": "Hello, you."}
TOOL: Members = {"type": "tool_use", "id": "toolu_1", "name": "look", "input": {"at": [1, 2.5, "é"], "on": None}}
NO_INPUT: Members = {"type": "tool_use", "id": "toolu_2", "name": "wait", "input": {}}
THINKING: Members = {"type": "thinking", "thinking": "Let me think.", "signature": "c2lnbmVk"}
HIDDEN: Members = {"type": "redacted_thinking", "data": "c2VjcmV0"}
CITATION: Members = {"type": "char_location", "cited_text": "Hello", "document_index": 0, "document_title": None}
CITED: Members = {"type": "text", "text": "Hello.", "citations": [CITATION, CITATION | {"cited_text": "Bye"}]}


def message(*content: Any, **members: Any) -> Members:
    """Return a whole message with these blocks."""
    return {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "claude-1",
        "content": list(content),
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "usage": USAGE,
        **members,
    }


def start(**members: Any) -> Members:
    said = message(**{"stop_reason": None, "usage": {"input_tokens": 3, "output_tokens": 1}, **members})
    return {"type": "message_start", "message": said}


def opened(index: int = 0, **block: Any) -> Members:
    return {"type": "content_block_start", "index": index, "content_block": block or {"type": "text", "text": ""}}


def delta(index: int = 0, **piece: Any) -> Members:
    return {"type": "content_block_delta", "index": index, "delta": piece or {"type": "text_delta", "text": "Hello"}}


def stopped(index: int = 0) -> Members:
    return {"type": "content_block_stop", "index": index}


def ending(reason: str | None = "end_turn", usage: Any = None, **members: Any) -> Members:
    said = {"stop_reason": reason, "stop_sequence": None, **members}
    return {"type": "message_delta", "delta": said, "usage": usage or {"output_tokens": 5}}


PING: Members = {"type": "ping"}
STOP: Members = {"type": "message_stop"}
HELLO = (opened(), delta(), stopped())


def told(*events: Members) -> tuple[Members, ...]:
    """Return the events of a whole stream in which these stand between its beginning and its end."""
    return (start(), *events, ending(), STOP)


def stream_of(events: Iterable[Members | bytes]) -> bytes:
    """Return the bytes of a stream; bytes are written as they are."""
    return b"".join(
        one if isinstance(one, bytes) else encode(json.dumps(one).encode(), str(one["type"]).encode()) for one in events
    )


def judged(body: bytes, *, stream: bool, store_when: frozenset[str] = FINISH_REASONS, work: Work = Work()) -> Judge:
    """Judge an answer that ended by itself."""
    judge = MESSAGES.judge(call_of(asked(stream=stream)), Demands(store_when), work)
    if not stream:
        judge.read(body)
        return judge
    parser = Parser(ends=MESSAGES.ends)
    for event in (*parser.feed(body), *parser.end()):
        judge.see(event)
    if not parser.is_within_event:
        judge.end()
    return judge


def derived(body: bytes, *, stream: bool, work: Work = Work()) -> StoredResponse | str:
    """Return the other kind of a stream, or of a document."""
    kinds = (STREAM, DOCUMENT) if stream else (DOCUMENT, STREAM)
    content_type = b"text/event-stream" if stream else b"application/json"
    return MESSAGES.derive(record(body, kinds[0], content_type), kinds[1], work)


def read_by_sdk(body: bytes, kind: Kind) -> Members:
    """Return the message that Anthropic's own SDK reads in an answer; without what is null."""
    content_type = "text/event-stream" if kind.stream else "application/json"
    response = httpx2.Response(200, headers={"content-type": content_type}, content=body)
    inner = httpx2.Client(transport=httpx2.MockTransport(lambda _: response))
    with anthropic.Anthropic(api_key="k", base_url="https://api.example", http_client=inner, max_retries=0) as client:
        question: Any = {"model": "claude", "max_tokens": 64, "messages": [{"role": "user", "content": "hello"}]}
        if not kind.stream:
            whole: anthropic.types.Message = client.messages.create(**question)
            return whole.to_dict(exclude_none=True)
        with client.messages.stream(**question) as stream:
            return stream.get_final_message().to_dict(exclude_none=True)
