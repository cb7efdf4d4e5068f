"""The dialect of Anthropic: chat without details of usage, at every endpoint errors of its own shape, 529 for overload."""

from collections.abc import Mapping
from typing import ClassVar

from cachemw.simulator.answering import Call, SimulatedAnswer
from cachemw.simulator.asking import SimulatedRefusal
from cachemw.simulator.dialects.openai import OpenAI, token_counts
from cachemw.simulator.failures import ErrorAnswer, ErrorWithin, SimulatedFailure, at_once
from cachemw.simulator.script import Json, RawHeaders

TYPES: dict[int, str] = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    504: "timeout_error",
    529: "overloaded_error",
}


def _native(message: str, kind: str) -> Json:
    return {"type": "error", "error": {"type": kind, "message": message}, "request_id": "req_simulated"}


def _failed(status: int, message: str, kind: str, **headers: str) -> ErrorAnswer:
    return at_once(status, _native(message, kind), **headers)


OVERLOADED = _failed(529, "Overloaded", "overloaded_error", x_should_retry="true")


class Anthropic(OpenAI):
    endpoints: ClassVar[frozenset[str]] = frozenset({"chat", "messages", "count_tokens"})
    failures: ClassVar[Mapping[str, SimulatedFailure]] = {
        "overloaded": OVERLOADED,
        "overloaded-event": ErrorWithin(OVERLOADED, _native("Overloaded", "overloaded_error"), name="error"),
        "mid-stream": ErrorWithin(OVERLOADED, _native("Overloaded", "overloaded_error"), name="error", after=5),
        "rate": _failed(
            429,
            "This request would exceed your account's rate limit. Please try again later.",
            "rate_limit_error",
            retry_after="12",
            anthropic_ratelimit_requests_remaining="0",
        ),
        "credit": _failed(
            400,
            "Your credit balance is too low to access the Anthropic API. Please go to Plans & Billing to upgrade or"
            " purchase credits.",
            "invalid_request_error",
        ),
        "key": _failed(401, "invalid x-api-key", "authentication_error"),
        "permission": _failed(403, "Your API key does not have permission to use the specified resource.", "permission_error"),
        "model": _failed(404, "model: simulated", "not_found_error"),
        "context": _failed(400, "prompt is too long: 210000 tokens > 200000 maximum", "invalid_request_error"),
        "too-large": _failed(413, "Request exceeds the maximum size", "request_too_large"),
        "server": _failed(500, "Internal server error", "api_error"),
        "timeout": _failed(504, "Request timed out", "timeout_error"),
    }

    def usage(self, answer: SimulatedAnswer) -> Json:
        return token_counts(answer)

    def identity(self, answer: SimulatedAnswer) -> Json:
        return {"id": f"msg_{answer.digest.hex()[:24]}", "created": answer.created, "model": answer.model}

    def call_id(self, call: Call) -> str:
        return f"toolu_{call.mark}"

    def error(self, refusal: SimulatedRefusal) -> Json | list[Json]:
        return self.error_event(refusal)

    def error_event(self, refusal: SimulatedRefusal) -> Json:
        otherwise = "api_error" if refusal.status >= 500 else "invalid_request_error"
        return _native(refusal.message, TYPES.get(refusal.status, otherwise))

    def headers(self, digest: bytes) -> RawHeaders:
        return (
            (b"request-id", f"req_{digest.hex()[:24]}".encode()),
            (b"anthropic-ratelimit-requests-limit", b"4000"),
            (b"anthropic-ratelimit-requests-remaining", b"3999"),
        )
