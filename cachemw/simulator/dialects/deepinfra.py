"""The dialect of DeepInfra: usage says what the answer is estimated to cost; errors have few words."""

from collections.abc import Mapping
from typing import ClassVar

from cachemw.simulator.answering import SimulatedAnswer
from cachemw.simulator.asking import SimulatedRefusal
from cachemw.simulator.dialects.base import dollars, nano_dollars
from cachemw.simulator.dialects.openai import OpenAI, token_counts
from cachemw.simulator.failures import SimulatedFailure, at_once
from cachemw.simulator.script import Json, RawHeaders


class DeepInfra(OpenAI):
    endpoints: ClassVar[frozenset[str]] = frozenset({"chat", "embeddings"})
    failures: ClassVar[Mapping[str, SimulatedFailure]] = {
        "busy": at_once(429, {"error": {"message": "Model busy, retry later"}}),
        "engine-overloaded": at_once(
            429,
            {"error": {"message": "The engine is currently overloaded, please try again later", "type": "engine_overloaded"}},
        ),
        "key": at_once(401, {"error": {"message": "User is not authenticated"}}),
        "key-in-detail": at_once(401, {"detail": "User is not authenticated"}),
        "balance": at_once(402, {"detail": {"error": "Balance is too low: please add funds"}}),
        "model": at_once(404, {"error": {"message": "Model is not available"}}),
    }

    def usage(self, answer: SimulatedAnswer) -> Json:
        return token_counts(answer) | {"prompt_tokens_details": None, "estimated_cost": dollars(nano_dollars(answer))}

    def identity(self, answer: SimulatedAnswer) -> Json:
        return {"id": f"chatcmpl-{answer.digest.hex()[:22]}", "created": answer.created, "model": answer.model}

    def error(self, refusal: SimulatedRefusal) -> Json | list[Json]:
        return self.error_event(refusal)

    def error_event(self, refusal: SimulatedRefusal) -> Json:
        return {"error": {"message": refusal.message}}

    def headers(self, digest: bytes) -> RawHeaders:
        return ((b"x-deepinfra-request-id", digest.hex()[:24].encode()),)
