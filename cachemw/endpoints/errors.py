"""Error responses of our own, in the shape that the clients of an endpoint read."""

import math
from collections.abc import Callable, Iterable, Mapping

import msgspec

from cachemw.errors import Cause, KeyMissing, TruncatedResponse, UnusableHead, UpstreamError, UpstreamTimeout
from cachemw.messages import Head
from cachemw.redaction import redacted_repr
from cachemw.wire.fields import without
from cachemw.wire.sse import encode

ErrorResponse = tuple[Head, bytes]

_INVALID = "invalid_request_error"


class Refusal(msgspec.Struct, frozen=True):
    """The content of an error, whatever its shape."""

    status: int
    message: str
    type: str = "cachemw_error"
    param: str | None = None
    code: str = ""

    __repr__ = redacted_repr


class ErrorShape(msgspec.Struct, frozen=True):
    """The shape in which clients of an endpoint read errors: as the body of a response, and as the last event of a stream.

    That event has the name `event_name`, unless that is empty.
    """

    body: Callable[[Refusal], bytes]
    event: Callable[[Refusal], bytes]
    event_name: bytes = b""

    __repr__ = redacted_repr


def _members(refusal: Refusal) -> dict[str, object]:
    error = {"message": refusal.message, "type": refusal.type, "param": refusal.param, "code": refusal.code}
    return {"error": error}


def _openai_body(refusal: Refusal) -> bytes:
    return msgspec.json.encode(_members(refusal))


def _openai_event(refusal: Refusal) -> bytes:
    """Return an event that says the status, too: without it the Cerebras SDK says that it is 200."""
    return encode(msgspec.json.encode({**_members(refusal), "status_code": refusal.status}))


OPENAI = ErrorShape(_openai_body, _openai_event)
"""The SDKs of OpenAI and of Cerebras both read it."""

_ANTHROPIC_TYPES: Mapping[int, str] = {
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
    504: "timeout_error",
    529: "overloaded_error",
}


def anthropic_type(status: int) -> str:
    """Return the type that Anthropic's errors have at a status."""
    return _ANTHROPIC_TYPES.get(status, "api_error" if status >= 500 else _INVALID)


def _anthropic_body(refusal: Refusal) -> bytes:
    """Return an error as Anthropic's clients read it, with what ours says besides."""
    besides = {name: value for name, value in (("param", refusal.param), ("code", refusal.code)) if value}
    error = {"type": anthropic_type(refusal.status), "message": refusal.message, **besides}
    return msgspec.json.encode({"type": "error", "error": error})


def _anthropic_event(refusal: Refusal) -> bytes:
    return encode(_anthropic_body(refusal), b"error")


ANTHROPIC = ErrorShape(_anthropic_body, _anthropic_event, b"error")
"""As the SDKs of Anthropic read it, and whoever speaks Messages."""

_NO_RETRY = (b"x-should-retry", b"false")
_CHALLENGE = (b"www-authenticate", b"Bearer")
_NOT_LENT = "endpoint_not_lent"
_SHOWN_BYTES = 200  # of a path that was asked for


def invalid_control(param: str, message: str, shape: ErrorShape = OPENAI) -> ErrorResponse:
    """Return the 400 for a control header that cannot be obeyed; SDKs need not try again."""
    return _answer(Refusal(400, message, _INVALID, param, "invalid_cachemw"), (_NO_RETRY,), shape)


def not_cached(shape: ErrorShape = OPENAI, why: str = "") -> ErrorResponse:
    """Return the 504 for what only the store may answer and does not hold (RFC 9111 §5.2.1.7)."""
    message = "no stored response answers this request, and forwarding it was ruled out" + (f": {why}" if why else "")
    return _answer(Refusal(504, message, code="not_cached"), (_NO_RETRY,), shape)


def upstream_failed(error: UpstreamError, shape: ErrorShape = OPENAI) -> ErrorResponse:
    """Return the 502 or 504 for an upstream that gave no complete answer, and the 401 for who has no key for it."""
    more = (_CHALLENGE, _NO_RETRY) if isinstance(error, KeyMissing) else error.advice
    return _answer(failure(error), more, shape)


LONGEST_RETRY = 60.0
"""The seconds that SDKs sleep at most where a response says when to try again; beyond it they need not."""


def declined(refusal: Refusal, retry_after: float | None, shape: ErrorShape = OPENAI) -> ErrorResponse:
    """Return a gateway's own answer where nobody is asked; `retry_after` is in how many seconds that may change."""
    is_soon = retry_after is not None and retry_after <= LONGEST_RETRY
    after = () if retry_after is None else ((b"retry-after", b"%d" % math.ceil(retry_after)),)
    return _answer(refusal, after if is_soon else (*after, _NO_RETRY), shape)


def shutting_down() -> ErrorResponse:
    """Return the 503 for who waits for an answer when the server ends; there may be another one in a moment."""
    return _answer(Refusal(503, "cachemw is shutting down, and there is no answer yet", code="shutting_down"))


def parting_event(at_boundary: bool, shape: ErrorShape = OPENAI) -> bytes:
    """Return the event that tells a stream's reader that the server ends before it; no `[DONE]` follows it."""
    event = shape.event(Refusal(503, "cachemw is shutting down, and this answer is not whole", code="shutting_down"))
    return event if at_boundary else b"\n\n" + event


def busy() -> ErrorResponse:
    """Return the 503 for a request that has to be read, while there is no room to."""
    return _answer(Refusal(503, "cachemw holds too many large requests: try again in a moment", code="busy"))


def broken_stream(error: UpstreamError, at_boundary: bool, shape: ErrorShape = OPENAI) -> bytes:
    """Return the event that tells a stream's reader that it ended early; no `[DONE]` follows it."""
    event = shape.event(failure(error))
    return event if at_boundary else b"\n\n" + event


def malformed() -> ErrorResponse:
    """Return the 400 for what is no request of HTTP, or is one in two ways."""
    return _refusal(400, "invalid_request", "the request is malformed, or can be read in two ways")


def invalid_host() -> ErrorResponse:
    """Return the 400 for a request without exactly one host that can be read (RFC 9112 §3.2)."""
    return _refusal(400, "invalid_host", "a request names one host, in its Host field")


def invalid_path(shape: ErrorShape = OPENAI) -> ErrorResponse:
    """Return the 400 for a path that climbs out of the API, however that is spelt, or that no request can carry."""
    message = "the path leaves the API, by .. or in another spelling of it, or is none"
    return _answer(Refusal(400, message, _INVALID, code="invalid_path"), (_NO_RETRY,), shape)


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


def not_lent(below: bytes, why: str, param: str | None = None) -> ErrorResponse:
    """Return the 403 for a call of a path that would keep, or build on, what a lent key's other users could reach."""
    path = below[:_SHOWN_BYTES].decode("latin-1")
    message = f"a lent key answers POST {path} that keep nothing: {why}; --lend {path[1:]} where cachemw is started opens all"
    return _refusal(403, _NOT_LENT, message, param=param)


def method_not_allowed(methods: Iterable[str]) -> ErrorResponse:
    """Return the 405 for what is not passed on."""
    allowed = (b"allow", ", ".join(sorted(methods)).encode())
    return _refusal(405, "method_not_allowed", "this method is not passed on", (allowed,))


def unknown_key() -> ErrorResponse:
    """Return the 401 for who brings none of the client keys, or several."""
    return _refusal(401, "invalid_api_key", "bring one of the keys that cachemw was started with", (_CHALLENGE,))


def websocket_refused() -> ErrorResponse:
    """Return the 501 for who would open a WebSocket: what goes over one is no request, and cannot be cached."""
    return _refusal(501, "websocket_not_supported", "cachemw passes on no WebSockets: open this one at the upstream itself")


def too_slow() -> ErrorResponse:
    """Return the 408 for a request that does not get here."""
    return _answer(Refusal(408, "the request took too long to arrive", _INVALID, code="request_timeout"))


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
    return _answer(Refusal(status, message, _INVALID, param, code), (*more, _NO_RETRY))


class _Said(msgspec.Struct):
    message: str
    type: str = ""
    param: str | None = None
    code: str = ""

    __repr__ = redacted_repr


class _SaidBody(msgspec.Struct):
    error: _Said

    __repr__ = redacted_repr


_said_decoder = msgspec.json.Decoder(_SaidBody)


def said_in(shape: ErrorShape, answer: ErrorResponse) -> ErrorResponse:
    """Return a refusal of ours, which was made before it was known who reads it, in the shape of the endpoint it is for."""
    if shape is OPENAI:
        return answer
    head, raw = answer
    said = _said_decoder.decode(raw).error
    body = shape.body(Refusal(head.status, said.message, said.type, said.param, said.code))
    fields = without(head.headers, (b"content-length",))
    return Head(head.status, (*fields, (b"content-length", b"%d" % len(body)))), body


def failure(error: UpstreamError) -> Refusal:
    """Return what is said of a failure: its host is the operator's, and what it said itself stays here."""
    if isinstance(error, KeyMissing):
        what_else = ", or send yours" if error.can_be_sent else ""
        message = f"this proxy has no key of its own: start it with {error.variable}=…{what_else}"
        return Refusal(401, message, _INVALID, code="no_key")
    who = f"the upstream {error.host}" if error.host else "the upstream"
    if isinstance(error, UpstreamTimeout):
        return Refusal(504, f"{who} {Cause.TIMEOUT.sentence}", code="upstream_timeout")
    if isinstance(error, UnusableHead):
        return Refusal(502, f"{who} answered with a head that cannot be passed on: {error.reason}", code="upstream_invalid")
    if isinstance(error, TruncatedResponse) or error.status is not None:
        return Refusal(502, f"{who} broke off its answer before it was complete", code="upstream_truncated")
    return Refusal(502, f"{who} {error.cause.sentence}", code="upstream_unreachable")


def _answer(refusal: Refusal, more: Iterable[tuple[bytes, bytes]] = (), shape: ErrorShape = OPENAI) -> ErrorResponse:
    raw = shape.body(refusal)
    headers = ((b"content-type", b"application/json"), (b"content-length", b"%d" % len(raw)), *more)
    return Head(refusal.status, headers), raw
