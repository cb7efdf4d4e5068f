"""The dialect of Mistral: usage on the finish chunk unasked, tool calls whole with ids of nine characters, flat errors."""

from collections.abc import Iterator, Mapping, Sequence
from typing import ClassVar

from cachemw.simulator.answering import Call, SimulatedAnswer
from cachemw.simulator.asking import SimulatedRefusal
from cachemw.simulator.dialects.openai import OpenAI, token_counts
from cachemw.simulator.failures import SimulatedFailure, at_once
from cachemw.simulator.script import Json, RawHeaders

CAPACITY = "Service tier capacity exceeded for this model."
EXTRA: list[Json] = [
    {"type": "extra_forbidden", "loc": ["body", "store"], "msg": "Extra inputs are not permitted", "input": False}
]


def _mistral_error(status: int, message: str, kind: str, code: str | None = None) -> Json:
    return {
        "object": "error",
        "message": message,
        "type": kind,
        "param": None,
        "code": code,
        "raw_status_code": status,
    }


class Mistral(OpenAI):
    endpoints: ClassVar[frozenset[str]] = frozenset({"chat", "embeddings"})
    failures: ClassVar[Mapping[str, SimulatedFailure]] = {
        "rate": at_once(
            429,
            _mistral_error(429, "Rate limit exceeded", "rate_limited", "1300"),
            x_ratelimitbysize_remaining_minute="0",
        ),
        "capacity": at_once(429, _mistral_error(429, CAPACITY, "service_tier_capacity_exceeded", "3505")),
        "capacity-503": at_once(503, _mistral_error(503, CAPACITY, "invalid_request_error")),
        "key": at_once(401, {"detail": "Unauthorized"}),
        "extra": at_once(422, {"detail": EXTRA}),
        "extra-within": at_once(
            422,
            {
                "object": "error",
                "message": {"detail": EXTRA},
                "type": "invalid_request_error",
                "param": None,
                "code": None,
            },
        ),
        "payment": at_once(402, _mistral_error(402, "Payment required", "payment_required")),
        "model": at_once(404, _mistral_error(404, "Invalid model: simulated", "invalid_model", "1500")),
    }

    def usage(self, answer: SimulatedAnswer) -> Json:
        return token_counts(answer)

    def identity(self, answer: SimulatedAnswer) -> Json:
        return {"id": answer.digest.hex()[:32], "created": answer.created, "model": answer.model}

    def call_id(self, call: Call) -> str:
        return call.mark[:9]

    def call_slices(self, call: Call) -> Iterator[Json | None]:
        return self._call_at_once(call)

    def chunk(self, answer: SimulatedAnswer, entry: Json, written: int, *, include_usage: bool) -> Json:
        return super().chunk(answer, entry, written, include_usage=False)

    def last_chunks(self, answer: SimulatedAnswer, entry: Json, *, include_usage: bool) -> Sequence[Json]:
        return [
            self.chunk(answer, entry, answer.completion_tokens, include_usage=include_usage) | {"usage": self.usage(answer)}
        ]

    def error(self, refusal: SimulatedRefusal) -> Json | list[Json]:
        return self.error_event(refusal)

    def error_event(self, refusal: SimulatedRefusal) -> Json:
        return _mistral_error(refusal.status, refusal.message, "rate_limited" if refusal.status == 429 else "error")

    def headers(self, digest: bytes) -> RawHeaders:
        return (
            (b"mistral-correlation-id", digest.hex()[:32].encode()),
            (b"x-ratelimitbysize-limit-minute", b"500000"),
            (b"x-ratelimitbysize-remaining-minute", b"499000"),
        )
