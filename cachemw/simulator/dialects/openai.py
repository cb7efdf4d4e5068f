"""The dialect of OpenAI: nulls as placeholders, tool arguments in slices, usage when it is asked for."""

from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import ClassVar

from cachemw.simulator.answering import Call, Called, Choice, Said, SimulatedAnswer
from cachemw.simulator.asking import SimulatedRefusal, simulated
from cachemw.simulator.failures import ErrorWithin, SimulatedFailure, at_once
from cachemw.simulator.prose import derive
from cachemw.simulator.script import Json, RawHeaders

KINDS: dict[int, tuple[str, str | None]] = {  # status: type, code
    401: ("invalid_request_error", "invalid_api_key"),
    404: ("invalid_request_error", "model_not_found"),
    429: ("requests", "rate_limit_exceeded"),
}

RATE_LIMITS: RawHeaders = (
    (b"x-ratelimit-limit-requests", b"10000"),
    (b"x-ratelimit-limit-tokens", b"200000"),
    (b"x-ratelimit-remaining-requests", b"9999"),
    (b"x-ratelimit-remaining-tokens", b"199000"),
    (b"x-ratelimit-reset-requests", b"8.64s"),
    (b"x-ratelimit-reset-tokens", b"132ms"),
)


def wrapped(message: str, kind: str, code: str | None = None, param: str | None = None) -> Json:
    """Return an error as OpenAI wraps it."""
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


def server_error() -> Json:
    return wrapped(simulated(500).message, "server_error")


class OpenAI:
    """OpenAI's own; the dialects that resemble it say in what they differ."""

    endpoints: ClassVar[frozenset[str]] = frozenset({"chat", "completions", "responses", "embeddings", "moderations"})
    preamble: ClassVar[bytes] = b""
    failures: ClassVar[Mapping[str, SimulatedFailure]] = {
        "rate": at_once(
            429,
            wrapped("Rate limit reached for requests per minute. Please try again in 1.5s.", "requests", "rate_limit_exceeded"),
            retry_after_ms="1500",
            retry_after="2",
            x_ratelimit_remaining_requests="0",
            x_ratelimit_reset_requests="1.5s",
        ),
        "tokens": at_once(
            429,
            wrapped("Rate limit reached for tokens per minute.", "tokens", "rate_limit_exceeded"),
            x_ratelimit_remaining_tokens="0",
            x_ratelimit_reset_tokens="1m6.5s",
        ),
        "insufficient_quota": at_once(
            429,
            wrapped(
                "You exceeded your current quota, please check your plan and billing details.",
                "insufficient_quota",
                "insufficient_quota",
            ),
        ),
        "billing": at_once(
            429, wrapped("Billing hard limit has been reached", "invalid_request_error", "billing_hard_limit_reached")
        ),
        "key": at_once(401, wrapped("Incorrect API key provided.", "invalid_request_error", "invalid_api_key")),
        "permission": at_once(403, wrapped("You have insufficient permissions for this operation.", "invalid_request_error")),
        "country": at_once(
            403,
            wrapped(
                "Country, region, or territory not supported",
                "request_forbidden",
                "unsupported_country_region_territory",
            ),
        ),
        "model": at_once(
            404,
            wrapped("The model does not exist or you do not have access to it.", "invalid_request_error", "model_not_found"),
        ),
        "too-large": at_once(
            400,
            wrapped(
                "Your input exceeds the context window of this model. Please adjust your input and try again.",
                "invalid_request_error",
                "context_length_exceeded",
                "messages",
            ),
        ),
        "parameter": at_once(
            400,
            wrapped(
                "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead.",
                "invalid_request_error",
                "unsupported_parameter",
                "max_tokens",
            ),
        ),
        "value": at_once(
            400,
            wrapped(
                "Unsupported value: 'temperature' does not support 0 with this model.",
                "invalid_request_error",
                "unsupported_value",
                "temperature",
            ),
        ),
        "policy": at_once(
            400,
            wrapped(
                "Your request was rejected as a result of our safety system.",
                "invalid_request_error",
                "content_policy_violation",
            ),
        ),
        "filter": at_once(
            400,
            wrapped("The response was filtered.", "invalid_request_error", "content_filter", "prompt"),
        ),
        "slow-down": at_once(503, wrapped("Slow down.", "server_error", "slow_down")),
        "overloaded": at_once(
            503, wrapped("The engine is currently overloaded, please try again later", "server_error", "overloaded")
        ),
        "server": at_once(500, server_error()),
        "mid-stream": ErrorWithin(at_once(500, server_error()), server_error(), after=5),
    }

    def usage(self, answer: SimulatedAnswer) -> Json:
        """Return what an answer took."""
        return token_counts(answer) | {
            "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
            "completion_tokens_details": {
                "reasoning_tokens": 0,
                "audio_tokens": 0,
                "accepted_prediction_tokens": 0,
                "rejected_prediction_tokens": 0,
            },
        }

    def identity(self, answer: SimulatedAnswer) -> Json:
        """Return the members that every chunk has, and the whole answer."""
        return {
            "id": f"chatcmpl-{answer.digest.hex()[:29]}",
            "created": answer.created,
            "model": answer.model,
            "system_fingerprint": _fingerprint(answer.model),
        }

    def call_id(self, call: Call) -> str:
        return f"call_{call.mark}"

    def finish_reason(self, choice: Choice) -> str:
        return choice.finish_reason

    def call_slices(self, call: Call) -> Iterator[Json | None]:
        """Yield a streamed tool call: one part for each token, None where it shows nothing."""
        yield self._tool_call(call, "")
        for piece in call.pieces:
            yield {"function": {"arguments": piece}}

    def completion(self, answer: SimulatedAnswer) -> Json:
        return self.identity(answer) | {
            "object": "chat.completion",
            "choices": [self._whole(choice) for choice in answer.choices],
            "usage": self.usage(answer),
        }

    def opening(self, choice: Choice) -> Json:
        content = "" if isinstance(choice, Said) else None
        return _entry(choice, {"role": "assistant", "content": content, "refusal": None}, _logprobs(choice, 0, 0))

    def entries(self, choice: Choice) -> Sequence[Json | None]:
        if isinstance(choice, Said):
            return [
                _entry(choice, {"content": piece}, _logprobs(choice, place, place + 1))
                for place, piece in enumerate(choice.pieces)
            ]
        return [
            None if part is None else _entry(choice, {"tool_calls": [{"index": index, **part}]})
            for index, call in enumerate(choice.calls)
            for part in self.call_slices(call)
        ]

    def closing(self, choice: Choice) -> Json:
        return _entry(choice, {}) | {"finish_reason": self.finish_reason(choice)}

    def chunk(self, answer: SimulatedAnswer, entry: Json, written: int, *, include_usage: bool) -> Json:
        return self._envelope(answer, [entry]) | ({"usage": None} if include_usage else {})

    def last_chunks(self, answer: SimulatedAnswer, entry: Json, *, include_usage: bool) -> Sequence[Json]:
        usage = [self._envelope(answer, []) | {"usage": self.usage(answer)}] if include_usage else []
        return [self.chunk(answer, entry, answer.completion_tokens, include_usage=include_usage), *usage]

    def error(self, refusal: SimulatedRefusal) -> Json | list[Json]:
        return wrapped_refusal(refusal)

    def error_event(self, refusal: SimulatedRefusal) -> Json:
        return wrapped_refusal(refusal)

    def headers(self, digest: bytes) -> RawHeaders:
        request_id = f"req_{digest.hex()[:32]}".encode()
        return ((b"x-request-id", request_id), (b"openai-version", b"2020-10-01"), *RATE_LIMITS)

    def _envelope(self, answer: SimulatedAnswer, choices: list[Json]) -> Json:
        return self.identity(answer) | {"object": "chat.completion.chunk", "choices": choices}

    def _whole(self, choice: Choice) -> Json:
        message: Json = {"role": "assistant", "content": choice.text if isinstance(choice, Said) else None}
        if isinstance(choice, Called):
            message["tool_calls"] = [self._tool_call(call, call.arguments) for call in choice.calls]
        return {
            "index": choice.index,
            "message": message | {"refusal": None},
            "logprobs": _logprobs(choice, 0, choice.tokens),
            "finish_reason": self.finish_reason(choice),
        }

    def _tool_call(self, call: Call, arguments: str) -> Json:
        return {
            "id": self.call_id(call),
            "type": "function",
            "function": {"name": call.name, "arguments": arguments},
        }

    def _call_at_once(self, call: Call) -> Iterator[Json | None]:
        """Yield a tool call with its last token, for a provider that streams it whole."""
        yield from [None] * (call.tokens - 1)
        yield self._tool_call(call, call.arguments)


def token_counts(answer: SimulatedAnswer, thought: int = 0) -> Json:
    """Return the three counts of usage; what was thought is in the total alone."""
    return {
        "prompt_tokens": answer.prompt_tokens,
        "completion_tokens": answer.completion_tokens,
        "total_tokens": answer.prompt_tokens + answer.completion_tokens + thought,
    }


def wrapped_refusal(refusal: SimulatedRefusal) -> Json:
    otherwise = "server_error" if refusal.status >= 500 else "invalid_request_error"
    kind, code = KINDS.get(refusal.status, (otherwise, None))
    return wrapped(refusal.message, kind, refusal.code or code, refusal.param)


def _entry(choice: Choice, delta: Json, logprobs: Json | None = None) -> Json:
    return {"index": choice.index, "delta": delta, "logprobs": logprobs, "finish_reason": None}


def _logprobs(choice: Choice, start: int, end: int) -> Json | None:
    if isinstance(choice, Called) or choice.scores is None:
        return None
    return {"content": [score.shown() for score in choice.scores[start:end]], "refusal": None}


@lru_cache(maxsize=16)  # the same on every chunk of a stream
def _fingerprint(model: str) -> str:
    return f"fp_{derive(b'openai', model).hex()[:10]}"
