"""The dialect of Gemini's OpenAI endpoint: errors in an array, thoughts in the total alone, usage on every chunk if asked."""

from collections.abc import Iterator, Mapping, Sequence
from typing import ClassVar

from cachemw.simulator.answering import Call, Called, Choice, SimulatedAnswer
from cachemw.simulator.asking import SimulatedRefusal
from cachemw.simulator.dialects.base import thought_tokens
from cachemw.simulator.dialects.openai import OpenAI
from cachemw.simulator.failures import Hollow, SimulatedFailure, at_once
from cachemw.simulator.script import Json, RawHeaders

WORDS: dict[int, str] = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    429: "RESOURCE_EXHAUSTED",
    500: "INTERNAL",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}
OVER_QUOTA = "You exceeded your current quota, please check your plan and billing details."


def _google_error(code: int, message: str, word: str, *details: Json) -> Json:
    said: Json = {"code": code, "message": message, "status": word}
    return {"error": said | ({"details": list(details)} if details else {})}


def _rpc(name: str, **members: object) -> Json:
    """Return one of the details of an error, whose types Google names by a URL."""
    return {"@type": f"type.googleapis.com/google.rpc.{name}", **members}


def _exceeded(quota: str) -> Json:
    metric = "generativelanguage.googleapis.com/generate_content_free_tier_requests"
    return _rpc("QuotaFailure", violations=[{"quotaMetric": metric, "quotaId": quota, "quotaValue": "15"}])


class Gemini(OpenAI):
    endpoints: ClassVar[frozenset[str]] = frozenset({"chat", "embeddings"})
    failures: ClassVar[Mapping[str, SimulatedFailure]] = {
        "exhausted": at_once(
            429,
            [
                _google_error(
                    429,
                    f"{OVER_QUOTA} Please retry in 52s.",
                    "RESOURCE_EXHAUSTED",
                    _exceeded("GenerateRequestsPerMinutePerProjectPerModel-FreeTier"),
                    _rpc("RetryInfo", retryDelay="52s"),
                )
            ],
        ),
        "daily": at_once(
            429,
            [
                _google_error(
                    429,
                    OVER_QUOTA,
                    "RESOURCE_EXHAUSTED",
                    _exceeded("GenerateRequestsPerDayPerProjectPerModel-FreeTier"),
                    _rpc("RetryInfo", retryDelay="33s"),
                )
            ],
        ),
        "unavailable": at_once(503, [_google_error(503, "The model is overloaded. Please try again later.", "UNAVAILABLE")]),
        "key": at_once(
            400,
            [
                _google_error(
                    400,
                    "API key not valid. Please pass a valid API key.",
                    "INVALID_ARGUMENT",
                    _rpc("ErrorInfo", reason="API_KEY_INVALID", domain="googleapis.com"),
                )
            ],
        ),
        "billing": at_once(
            400,
            [
                _google_error(
                    400,
                    "Gemini API free tier is not available in your country. Please enable billing on your project.",
                    "FAILED_PRECONDITION",
                )
            ],
        ),
        "permission": at_once(403, [_google_error(403, "The caller does not have permission", "PERMISSION_DENIED")]),
        "too-large": at_once(
            400,
            [
                _google_error(
                    400,
                    "The input token count (1200000) exceeds the maximum number of tokens allowed (1048576).",
                    "INVALID_ARGUMENT",
                )
            ],
        ),
        "model": at_once(404, [_google_error(404, "models/simulated is not found for API version v1main.", "NOT_FOUND")]),
        "safety": Hollow("content_filter"),
        "empty": Hollow(None),
    }

    def usage(self, answer: SimulatedAnswer) -> Json:
        return _usage(answer, answer.completion_tokens)

    def identity(self, answer: SimulatedAnswer) -> Json:
        return {"id": answer.digest.hex()[:22], "created": answer.created, "model": answer.model}

    def call_id(self, call: Call) -> str:
        return f"function-call-{int(call.mark, 16) % 10**19}"

    def finish_reason(self, choice: Choice) -> str:
        return "stop" if isinstance(choice, Called) else choice.finish_reason

    def call_slices(self, call: Call) -> Iterator[Json | None]:
        return self._call_at_once(call)

    def chunk(self, answer: SimulatedAnswer, entry: Json, written: int, *, include_usage: bool) -> Json:
        chunk = super().chunk(answer, entry, written, include_usage=False)
        return chunk | ({"usage": _usage(answer, written)} if include_usage else {})

    def last_chunks(self, answer: SimulatedAnswer, entry: Json, *, include_usage: bool) -> Sequence[Json]:
        return [self.chunk(answer, entry, answer.completion_tokens, include_usage=include_usage)]

    def error(self, refusal: SimulatedRefusal) -> Json | list[Json]:
        return [self.error_event(refusal)]

    def error_event(self, refusal: SimulatedRefusal) -> Json:
        return _google_error(refusal.status, refusal.message, WORDS.get(refusal.status, "UNKNOWN"))

    def headers(self, digest: bytes) -> RawHeaders:
        return ((b"server-timing", b"gfet4t7; dur=120"), (b"x-gemini-service-tier", b"standard"))


def _usage(answer: SimulatedAnswer, written: int) -> Json:
    """Return the usage when so many tokens are written: each chunk tells it anew, and none is to be added."""
    total = answer.prompt_tokens + written + thought_tokens(answer)
    return {"prompt_tokens": answer.prompt_tokens, "completion_tokens": written, "total_tokens": total}
