"""The dialect of OpenRouter: comments before a stream, cost in usage, errors that say their kind, also inside a 200."""

from collections.abc import Mapping, Sequence
from typing import ClassVar

from cachemw.simulator.answering import Choice, SimulatedAnswer
from cachemw.simulator.asking import SimulatedRefusal
from cachemw.simulator.dialects.base import dollars, nano_dollars
from cachemw.simulator.dialects.openai import OpenAI, token_counts
from cachemw.simulator.failures import ErrorAnswer, ErrorWithin, SimulatedFailure, at_once
from cachemw.simulator.script import Json, RawHeaders

BROKEN_ENTRY: Json = {"index": 0, "delta": {"role": "assistant", "content": ""}, "finish_reason": "error"}
AFFORD = (
    "This request requires more credits, or fewer max_tokens. You requested up to 16384 tokens, but can only afford 3919."
    " To increase, visit https://openrouter.ai/settings/credits and upgrade to a paid account"
)


def _router_error(status: int, message: str, kind: str | None = None, **metadata: object) -> Json:
    about = metadata | ({} if kind is None else {"error_type": kind})
    return {"error": {"message": message, "code": status} | ({"metadata": about} if about else {})}


def _failed(status: int, message: str, kind: str | None = None, **headers: str) -> ErrorAnswer:
    return at_once(status, _router_error(status, message, kind), **headers)


UNAVAILABLE = _router_error(502, "Provider returned error", "provider_unavailable", provider_name="Simulated")


class OpenRouter(OpenAI):
    endpoints: ClassVar[frozenset[str]] = frozenset({"chat", "messages", "responses"})
    preamble: ClassVar[bytes] = b": OPENROUTER PROCESSING\n\n" * 2
    failures: ClassVar[Mapping[str, SimulatedFailure]] = {
        "rate": _failed(
            429,
            "Rate limit exceeded: limit_rpm",
            "rate_limit_exceeded",
            retry_after="9",
            x_ratelimit_limit="20",
            x_ratelimit_remaining="0",
        ),
        "overloaded": _failed(503, "Provider returned error", "provider_overloaded"),
        "unavailable": at_once(502, UNAVAILABLE),
        "payment": _failed(402, "Insufficient credits. Add more using https://openrouter.ai/credits", "payment_required"),
        "afford": at_once(402, _router_error(402, AFFORD, provider_name=None)),
        "too-large": _failed(
            400,
            "This endpoint's maximum context length is 131072 tokens. However, you requested about 140000 tokens.",
            "context_length_exceeded",
        ),
        "tokens": _failed(400, "Token limit exceeded", "token_limit_exceeded"),
        "policy": at_once(
            403,
            _router_error(
                403,
                "Your chosen model requires moderation and your input was flagged",
                "content_policy_violation",
                reasons=["violence"],
                provider_name="Simulated",
            ),
        ),
        "refusal": _failed(400, "The model refused to answer", "refusal"),
        "guardrail": _failed(403, "Request blocked by guardrail"),
        "key": _failed(401, "No auth credentials found", "authentication"),
        "model": _failed(404, "Model simulated was not found", "not_found"),
        "no-endpoints": _failed(404, "No endpoints found for simulated."),
        "no-provider": _failed(503, "There is no available model provider that meets your routing requirements"),
        "in-200": ErrorWithin(at_once(200, UNAVAILABLE), UNAVAILABLE, BROKEN_ENTRY),
        "mid-stream": ErrorWithin(at_once(200, UNAVAILABLE), UNAVAILABLE, BROKEN_ENTRY, after=5),
    }

    def usage(self, answer: SimulatedAnswer) -> Json:
        cost = dollars(nano_dollars(answer))
        return token_counts(answer) | {
            "cost": cost,
            "is_byok": False,
            "prompt_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
            "cost_details": {"upstream_inference_cost": cost},
            "completion_tokens_details": {"reasoning_tokens": 0},
        }

    def identity(self, answer: SimulatedAnswer) -> Json:
        return {
            "id": f"gen-{answer.created}-{answer.digest.hex()[:20]}",
            "created": answer.created,
            "model": answer.model,
            "provider": "Simulated",
        }

    def closing(self, choice: Choice) -> Json:
        return super().closing(choice) | {"native_finish_reason": choice.finish_reason}

    def last_chunks(self, answer: SimulatedAnswer, entry: Json, *, include_usage: bool) -> Sequence[Json]:
        finish, *_ = super().last_chunks(answer, entry, include_usage=False)
        return [finish, finish | {"usage": self.usage(answer)}]

    def chunk(self, answer: SimulatedAnswer, entry: Json, written: int, *, include_usage: bool) -> Json:
        return super().chunk(answer, entry, written, include_usage=False)

    def error(self, refusal: SimulatedRefusal) -> Json | list[Json]:
        return self.error_event(refusal)

    def error_event(self, refusal: SimulatedRefusal) -> Json:
        return _router_error(refusal.status, refusal.message)

    def headers(self, digest: bytes) -> RawHeaders:
        return ((b"x-generation-id", f"gen-{digest.hex()[:20]}".encode()),)
