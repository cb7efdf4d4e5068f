"""The dialect of Groq: usage in `x_groq` without being asked, tool calls whole, an error under way with a name."""

from collections.abc import Iterator, Mapping, Sequence
from typing import ClassVar

from cachemw.simulator.answering import Call, SimulatedAnswer
from cachemw.simulator.dialects.openai import OpenAI, token_counts
from cachemw.simulator.failures import ErrorWithin, SimulatedFailure, at_once
from cachemw.simulator.script import Json, RawHeaders

PLACE = "in organization `org_simulated` service tier `on_demand`"
FAILED_TOOL: Json = {
    "message": "Failed to call a function. Please adjust your prompt. See 'failed_generation' for more details.",
    "type": "invalid_request_error",
    "code": "tool_use_failed",
    "failed_generation": '{"name": "get_weather", "arguments": {"town": 1}}',
}


def _groq_error(message: str, kind: str = "invalid_request_error", code: str | None = None, **more: str) -> Json:
    return {"error": {"message": message, "type": kind, **({} if code is None else {"code": code}), **more}}


class Groq(OpenAI):
    endpoints: ClassVar[frozenset[str]] = frozenset({"chat", "responses"})
    failures: ClassVar[Mapping[str, SimulatedFailure]] = {
        "tpm-too-large": at_once(
            413,
            _groq_error(
                f"Request too large for model `simulated` {PLACE} on tokens per minute (TPM): Limit 6000, Requested 12328,"
                " please reduce your message size and try again. Need more tokens? Upgrade to Dev Tier today at"
                " https://console.groq.com/settings/billing",
                "tokens",
                "rate_limit_exceeded",
            ),
            retry_after="1",
            x_ratelimit_remaining_tokens="6000",
        ),
        "rate": at_once(
            429,
            _groq_error(
                f"Rate limit reached for model `simulated` {PLACE} on tokens per minute (TPM): Limit 6000, Used 5034,"
                " Requested 1443. Please try again in 4.77s.",
                "tokens",
                "rate_limit_exceeded",
            ),
            retry_after="5",
            x_ratelimit_remaining_tokens="966",
            x_ratelimit_reset_tokens="4.77s",
        ),
        "rate-in-words": at_once(
            429,
            _groq_error(
                f"Rate limit reached for model `simulated` {PLACE} on requests per minute (RPM): Limit 30, Used 30,"
                " Requested 1. Please try again in 4.77s.",
                "requests",
                "rate_limit_exceeded",
            ),
        ),
        "daily": at_once(
            429,
            _groq_error(
                f"Rate limit reached for model `simulated` {PLACE} on tokens per day (TPD): Limit 100000, Used 99900,"
                " Requested 600. Please try again in 7m12s.",
                "tokens",
                "rate_limit_exceeded",
            ),
            retry_after="432",
        ),
        "flex": at_once(498, _groq_error("Flex tier capacity exceeded.", "invalid_request_error", "capacity_exceeded")),
        "busy": at_once(503, _groq_error("Service is over capacity. Please try again later.", "internal_server_error")),
        "tool-use": ErrorWithin(
            at_once(400, {"error": FAILED_TOOL}), {"error": FAILED_TOOL | {"status_code": 400}}, name="error", after=5
        ),
        "json": at_once(
            400,
            _groq_error(
                "Failed to generate JSON. Please adjust your prompt. See 'failed_generation' for more details.",
                code="json_validate_failed",
                failed_generation='{"city": ',
            ),
        ),
        "unsupported": at_once(400, _groq_error("`logprobs` is not supported with this model")),
        "property": at_once(400, _groq_error("'messages.0' : for 'role:user' the property 'name' is unsupported")),
        "key": at_once(401, _groq_error("Invalid API Key", code="invalid_api_key")),
        "model": at_once(
            404,
            _groq_error("The model `simulated` does not exist or you do not have access to it.", code="model_not_found"),
        ),
    }

    def usage(self, answer: SimulatedAnswer) -> Json:
        seconds = round(answer.completion_tokens / 500, 6)
        return token_counts(answer) | {"queue_time": 0.01, "completion_time": seconds, "total_time": round(seconds + 0.01, 6)}

    def call_id(self, call: Call) -> str:
        return f"fc_{call.mark}"

    def call_slices(self, call: Call) -> Iterator[Json | None]:
        return self._call_at_once(call)

    def completion(self, answer: SimulatedAnswer) -> Json:
        return super().completion(answer) | {"x_groq": _request(answer.digest)}

    def last_chunks(self, answer: SimulatedAnswer, entry: Json, *, include_usage: bool) -> Sequence[Json]:
        last, *rest = super().last_chunks(answer, entry, include_usage=include_usage)
        return [last | {"x_groq": _request(answer.digest) | {"usage": self.usage(answer)}}, *rest]

    def headers(self, digest: bytes) -> RawHeaders:
        return (
            (b"x-groq-region", b"simulated"),
            (b"x-ratelimit-limit-requests", b"14400"),
            (b"x-ratelimit-limit-tokens", b"6000"),
            (b"x-ratelimit-remaining-requests", b"14370"),
            (b"x-ratelimit-remaining-tokens", b"5997"),
            (b"x-ratelimit-reset-requests", b"2m59.56s"),
            (b"x-ratelimit-reset-tokens", b"7.66s"),
            (b"x-request-id", f"req_{digest.hex()[:26]}".encode()),
        )


def _request(digest: bytes) -> Json:
    return {"id": f"req_{digest.hex()[:26]}"}
