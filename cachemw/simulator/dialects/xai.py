"""The dialect of xAI: reasoning outside `completion_tokens`, cost in ticks of a dollar, errors of two strings."""

from collections.abc import Iterator, Mapping
from typing import ClassVar

from cachemw.simulator.answering import Call, SimulatedAnswer
from cachemw.simulator.asking import SimulatedRefusal
from cachemw.simulator.dialects.base import nano_dollars, thought_tokens
from cachemw.simulator.dialects.openai import OpenAI, token_counts
from cachemw.simulator.failures import SimulatedFailure, at_once
from cachemw.simulator.script import Json, RawHeaders

TICKS_PER_NANO_DOLLAR = 10
SPENT = (
    "has either used all available credits or reached its monthly spending limit. To continue making API requests,"
    " please purchase more credits or raise your spending limit."
)
CODES: dict[int, str] = {
    429: "Some resource has been exhausted",
    403: "The caller does not have permission to execute the specified operation",
    404: "Some requested entity was not found",
}
INVALID_ARGUMENT = "Client specified an invalid argument"


def _xai_error(status: int, text: str) -> Json:
    return {"code": CODES.get(status, INVALID_ARGUMENT if status < 500 else "Internal error"), "error": text}


class XAI(OpenAI):
    endpoints: ClassVar[frozenset[str]] = frozenset({"chat", "responses"})
    failures: ClassVar[Mapping[str, SimulatedFailure]] = {
        "spent": at_once(429, _xai_error(429, f"Your team simulated {SPENT}")),
        "spent-403": at_once(403, _xai_error(403, f"Your team simulated {SPENT}")),
        "no-credits": at_once(
            403, _xai_error(403, "Your newly created team doesn't have any credits yet. You can purchase credits.")
        ),
        "rate": at_once(429, _xai_error(429, "Too many requests for team simulated and model simulated: 1 per second.")),
        "argument": at_once(400, _xai_error(400, "Argument not supported on this model: presencePenalty")),
        "parameter": at_once(400, _xai_error(400, "Model simulated does not support parameter reasoningEffort.")),
        "key": at_once(400, _xai_error(400, "Incorrect API key provided. You can obtain one from the console.")),
        "model": at_once(404, _xai_error(404, "The model simulated does not exist or your team does not have access to it.")),
    }

    def usage(self, answer: SimulatedAnswer) -> Json:
        thought = thought_tokens(answer)
        return token_counts(answer, thought) | {
            "prompt_tokens_details": {"text_tokens": answer.prompt_tokens, "cached_tokens": 0},
            "completion_tokens_details": {"reasoning_tokens": thought},
            "num_sources_used": 0,
            "cost_in_usd_ticks": nano_dollars(answer, thought) * TICKS_PER_NANO_DOLLAR,
        }

    def call_id(self, call: Call) -> str:
        return f"call_{int(call.mark, 16) % 10**8:08d}"

    def call_slices(self, call: Call) -> Iterator[Json | None]:
        return self._call_at_once(call)

    def error(self, refusal: SimulatedRefusal) -> Json | list[Json]:
        return self.error_event(refusal)

    def error_event(self, refusal: SimulatedRefusal) -> Json:
        return _xai_error(refusal.status, refusal.message)

    def headers(self, digest: bytes) -> RawHeaders:
        return ((b"x-request-id", digest.hex()[:32].encode()),)
