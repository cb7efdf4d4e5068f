"""Calls of any endpoint, and what its judge says of answers to them."""

import json
from typing import Any

from cachemw.endpoints.base import ApiCall, Bypass, Demands, Endpoint
from cachemw.limits import Work
from cachemw.messages import AppTarget, Headers, HttpTarget, Kind, Request, StoredResponse, Target
from cachemw.wire.sse import Parser

STORE_WHEN = frozenset({"stop", "length"})
APP = AppTarget("app", b"", b"/", b"/", b"")
JSON_FIELDS: Headers = ((b"content-type", b"application/json"),)


def request_to(endpoint: Endpoint, body: bytes, target: Target | None = None) -> Request:
    """Return a request with this body."""
    path = "/v1" + endpoint.paths[0]
    return Request("POST", path, JSON_FIELDS, body, target or HttpTarget("https://api.example" + path))


def read(
    endpoint: Endpoint, body: bytes, named: frozenset[str] = frozenset(), target: Target | None = None
) -> ApiCall | Bypass:
    """Return what an endpoint makes of a body; `named` is what the operator says is bookkeeping."""
    return endpoint.read(endpoint, request_to(endpoint, body, target), named, Work(), False)


def called(endpoint: Endpoint, **members: Any) -> ApiCall:
    """Return the call with these members."""
    call = read(endpoint, json.dumps(members).encode())
    assert isinstance(call, ApiCall)
    return call


def fault_of(call: ApiCall, body: bytes, store_when: frozenset[str] = STORE_WHEN, *, done: bool = True) -> str | None:
    """Return why an answer, which came whole, may not be kept."""
    judge = call.endpoint.judge(call, Demands(store_when, done), Work())
    if call.kind.stream:
        parser = Parser(ends=call.endpoint.ends)
        for event in (*parser.feed(body), *parser.end()):
            judge.see(event)
        if not parser.is_within_event:
            judge.end()
    else:
        judge.read(body)
    return judge.fault()


def stored_answer(body: bytes, kind: Kind) -> StoredResponse:
    """Return a stored response with this body."""
    ends: tuple[int, ...] = ()
    if kind.stream:
        parser = Parser()
        ends = tuple(event.end for event in (*parser.feed(body), *parser.end()))
    media_type = b"text/event-stream" if kind.stream else b"application/json"
    headers = ((b"content-type", media_type),)
    return StoredResponse(200, headers, body, ends, (0.0,) * len(ends), kind, bytes(32), 1000.0, 60.0, "any")
