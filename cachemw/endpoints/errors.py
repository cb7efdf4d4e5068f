"""Error responses of our own, in OpenAI's shape, which the SDKs of OpenAI and Cerebras both read."""

from collections.abc import Iterable

import msgspec

from cachemw.errors import TruncatedResponse, UpstreamError, UpstreamTimeout
from cachemw.messages import Head
from cachemw.wire.sse import encode

ErrorResponse = tuple[Head, bytes]

_NO_RETRY = (b"x-should-retry", b"false")
_NOT_LENT = "endpoint_not_lent"
_SHOWN_BYTES = 200  # of a path that was asked for


def invalid_control(param: str, message: str) -> ErrorResponse:
    """Return the 400 for a control header that cannot be obeyed; SDKs need not try again."""
    error = _error(message, "invalid_request_error", param, "invalid_cachemw")
    return _answer(400, error, (_NO_RETRY,))


def not_cached() -> ErrorResponse:
    """Return the 504 for what only the store may answer and does not hold (RFC 9111 §5.2.1.7)."""
    error = _error("no stored response answers this request, and forwarding it was ruled out", code="not_cached")
    return _answer(504, error, (_NO_RETRY,))


def upstream_failed(error: UpstreamError) -> ErrorResponse:
    """Return the 502 or 504 for an upstream that gave no complete answer."""
    return _answer(*_failure(error))


def shutting_down() -> ErrorResponse:
    """Return the 503 for who waits for an answer when the server ends; there may be another one in a moment."""
    return _answer(503, _error("cachemw is shutting down, and there is no answer yet", code="shutting_down"))


def busy() -> ErrorResponse:
    """Return the 503 for a request that has to be read, while there is no room to."""
    return _answer(503, _error("cachemw holds too many large requests: try again in a moment", code="busy"))


def broken_stream(error: UpstreamError, at_boundary: bool) -> bytes:
    """Return the event that tells a stream's reader that it ended early; no `[DONE]` follows it."""
    status, body = _failure(error)
    event = encode(msgspec.json.encode({**body, "status_code": status}))  # without it the Cerebras SDK says status 200
    return event if at_boundary else b"\n\n" + event


def malformed() -> ErrorResponse:
    """Return the 400 for what is no request of HTTP, or is one in two ways."""
    return _refusal(400, "invalid_request", "the request is malformed, or can be read in two ways")


def invalid_host() -> ErrorResponse:
    """Return the 400 for a request without exactly one host that can be read (RFC 9112 §3.2)."""
    return _refusal(400, "invalid_host", "a request names one host, in its Host field")


def invalid_path() -> ErrorResponse:
    """Return the 400 for a path that climbs out of the API, however that is spelt, or that no request can carry."""
    return _refusal(400, "invalid_path", "the path leaves the API, by .. or in another spelling of it, or is none")


def not_found() -> ErrorResponse:
    """Return the 404 for what is outside of the API: it is not asked for upstream."""
    return _refusal(404, "not_found", "there is nothing here: the API is below /v1, such as /v1/chat/completions")


def unknown_host(host: str) -> ErrorResponse:
    """Return the 403 for a host that is not known: a web page may have given that name to this machine."""
    return _refusal(403, "unknown_host", f"{host} is not known here: --allow-host {host} where cachemw is started adds it")


def foreign_origin() -> ErrorResponse:
    """Return the 403 for a web page."""
    message = "web pages may not ask here: name the page's host by --allow-host where cachemw is started"
    return _refusal(403, "foreign_origin", message)


def endpoint_not_lent(method: str, raw_path: bytes, open_to_all: str) -> ErrorResponse:
    """Return the 403 for what the server's key is not lent for; `open_to_all` is what it is lent for."""
    came = f"{method} {raw_path[:_SHOWN_BYTES].decode('latin-1')}"
    message = f"{came} is not open to a lent key, which answers {open_to_all}; --lend where cachemw is started opens more"
    return _refusal(403, _NOT_LENT, message)


def response_not_lent(why: str, param: str | None = None) -> ErrorResponse:
    """Return the 403 for a response that would keep, or build on, what a lent key's other users could reach."""
    message = (
        f"a lent key answers POST /responses that keep nothing: {why}; --lend responses where cachemw is started opens all"
    )
    return _refusal(403, _NOT_LENT, message, param=param)


def method_not_allowed(methods: Iterable[str]) -> ErrorResponse:
    """Return the 405 for what is not passed on."""
    allowed = (b"allow", ", ".join(sorted(methods)).encode())
    return _refusal(405, "method_not_allowed", "this method is not passed on", (allowed,))


def unknown_key() -> ErrorResponse:
    """Return the 401 for who brings none of the client keys, or several."""
    challenge = (b"www-authenticate", b"Bearer")
    return _refusal(401, "invalid_api_key", "bring one of the keys that cachemw was started with", (challenge,))


def too_slow() -> ErrorResponse:
    """Return the 408 for a request that does not get here."""
    return _answer(408, _error("the request took too long to arrive", "invalid_request_error", code="request_timeout"))


def body_too_large(max_body: int) -> ErrorResponse:
    """Return the 413 for a body of more than `max_body` bytes."""
    return _refusal(413, "request_too_large", f"the request's body is larger than {max_body} bytes (--max-body)")


def unsupported_type() -> ErrorResponse:
    """Return the 415 for a media type that any web page may send."""
    return _refusal(415, "unsupported_media_type", "a request says what its body is: send Content-Type: application/json")


def head_too_large() -> ErrorResponse:
    """Return the 431 for too many header fields, or too much of them."""
    return _refusal(431, "request_head_too_large", "the request's head is too large")


def _refusal(
    status: int, code: str, message: str, more: Iterable[tuple[bytes, bytes]] = (), param: str | None = None
) -> ErrorResponse:
    """Return what is said to who is not let in; SDKs need not try again."""
    return _answer(status, _error(message, "invalid_request_error", param, code), (*more, _NO_RETRY))


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


def _answer(status: int, body: object, more: Iterable[tuple[bytes, bytes]] = ()) -> ErrorResponse:
    raw = msgspec.json.encode(body)
    headers = ((b"content-type", b"application/json"), (b"content-length", b"%d" % len(raw)), *more)
    return Head(status, headers), raw
