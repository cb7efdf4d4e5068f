"""Answers of our own: errors in OpenAI's shape, which the SDKs of OpenAI and Cerebras both read."""

from collections.abc import Iterable

import msgspec

from cachemw.core.messages import Head
from cachemw.core.sse import encode
from cachemw.errors import TruncatedResponse, UpstreamError, UpstreamTimeout

Answer = tuple[Head, bytes]


def invalid_control(param: str, message: str) -> Answer:
    """Return the 400 for a control header that cannot be obeyed; SDKs need not try again."""
    error = _error(message, "invalid_request_error", param, "invalid_cachemw")
    return _answer(400, error, ((b"x-should-retry", b"false"),))


def not_cached() -> Answer:
    """Return the 504 for what only the store may answer and does not hold (RFC 9111 §5.2.1.7)."""
    error = _error("no stored response answers this request, and forwarding it was ruled out", code="not_cached")
    return _answer(504, error, ((b"x-should-retry", b"false"),))


def upstream_failed(error: UpstreamError) -> Answer:
    """Return the 502 or 504 for an upstream that gave no complete answer."""
    return _answer(*_failure(error))


def broken_stream(error: UpstreamError, at_boundary: bool) -> bytes:
    """Return the event that tells a stream's reader that it ended early; no `[DONE]` follows it."""
    status, body = _failure(error)
    event = encode(msgspec.json.encode({**body, "status_code": status}))  # without it the Cerebras SDK says status 200
    return event if at_boundary else b"\n\n" + event


def _failure(error: UpstreamError) -> tuple[int, dict[str, dict[str, str | None]]]:
    if isinstance(error, UpstreamTimeout):
        return 504, _error("the upstream did not answer in time", code="upstream_timeout")
    if isinstance(error, TruncatedResponse):
        return 502, _error("the upstream's answer ended before it was complete", code="upstream_truncated")
    return 502, _error("the upstream cannot be reached, or broke off", code="upstream_unreachable")


def _error(
    message: str, kind: str = "cachemw_error", param: str | None = None, code: str = ""
) -> dict[str, dict[str, str | None]]:
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


def _answer(status: int, body: object, more: Iterable[tuple[bytes, bytes]] = ()) -> Answer:
    raw = msgspec.json.encode(body)
    headers = ((b"content-type", b"application/json"), (b"content-length", b"%d" % len(raw)), *more)
    return Head(status, headers), raw
