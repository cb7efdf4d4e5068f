"""The dialect of OpenAI: nulls as placeholders, tool arguments in slices, usage when it is asked for."""

from collections.abc import Iterator, Sequence
from functools import lru_cache

from cachemw.simulator.answering import Call, Called, Choice, Said, SimulatedAnswer
from cachemw.simulator.asking import SimulatedRefusal
from cachemw.simulator.dialect import Json, RawHeaders
from cachemw.simulator.prose import derive

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


class OpenAI:
    def completion(self, answer: SimulatedAnswer) -> Json:
        return {
            "id": _id(answer),
            "object": "chat.completion",
            "created": answer.created,
            "model": answer.model,
            "choices": [_whole(choice) for choice in answer.choices],
            "usage": _usage(answer),
            "system_fingerprint": _fingerprint(answer.model),
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
            _entry(choice, {"tool_calls": [{"index": index, **part}]})
            for index, call in enumerate(choice.calls)
            for part in _slices(call)
        ]

    def closing(self, choice: Choice) -> Json:
        return _entry(choice, {}) | {"finish_reason": choice.finish_reason}

    def chunk(self, answer: SimulatedAnswer, entry: Json, *, include_usage: bool) -> Json:
        return _envelope(answer, [entry]) | ({"usage": None} if include_usage else {})

    def last_chunks(self, answer: SimulatedAnswer, entry: Json, *, include_usage: bool) -> Sequence[Json]:
        usage = [_envelope(answer, []) | {"usage": _usage(answer)}] if include_usage else []
        return [self.chunk(answer, entry, include_usage=include_usage), *usage]

    def error(self, refusal: SimulatedRefusal) -> Json:
        otherwise = "server_error" if refusal.status >= 500 else "invalid_request_error"
        kind, code = KINDS.get(refusal.status, (otherwise, None))
        return {"error": {"message": refusal.message, "type": kind, "param": refusal.param, "code": code}}

    def error_event(self, refusal: SimulatedRefusal) -> Json:
        return self.error(refusal)

    def headers(self, digest: bytes) -> RawHeaders:
        request_id = f"req_{digest.hex()[:32]}".encode()
        return ((b"x-request-id", request_id), (b"openai-version", b"2020-10-01"), *RATE_LIMITS)


def _whole(choice: Choice) -> Json:
    message: Json = {"role": "assistant", "content": choice.text if isinstance(choice, Said) else None}
    if isinstance(choice, Called):
        message["tool_calls"] = [_tool_call(call, call.arguments) for call in choice.calls]
    return {
        "index": choice.index,
        "message": message | {"refusal": None},
        "logprobs": _logprobs(choice, 0, choice.tokens),
        "finish_reason": choice.finish_reason,
    }


def _envelope(answer: SimulatedAnswer, choices: list[Json]) -> Json:
    return {
        "id": _id(answer),
        "object": "chat.completion.chunk",
        "created": answer.created,
        "model": answer.model,
        "system_fingerprint": _fingerprint(answer.model),
        "choices": choices,
    }


def _entry(choice: Choice, delta: Json, logprobs: Json | None = None) -> Json:
    return {"index": choice.index, "delta": delta, "logprobs": logprobs, "finish_reason": None}


def _logprobs(choice: Choice, start: int, end: int) -> Json | None:
    if isinstance(choice, Called) or choice.scores is None:
        return None
    return {"content": [score.shown() for score in choice.scores[start:end]], "refusal": None}


def _tool_call(call: Call, arguments: str) -> Json:
    return {"id": f"call_{call.mark}", "type": "function", "function": {"name": call.name, "arguments": arguments}}


def _slices(call: Call) -> Iterator[Json]:
    yield _tool_call(call, "")
    for piece in call.pieces:
        yield {"function": {"arguments": piece}}


def _usage(answer: SimulatedAnswer) -> Json:
    return {
        "prompt_tokens": answer.prompt_tokens,
        "completion_tokens": answer.completion_tokens,
        "total_tokens": answer.prompt_tokens + answer.completion_tokens,
        "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
        "completion_tokens_details": {
            "reasoning_tokens": 0,
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    }


def _id(answer: SimulatedAnswer) -> str:
    return f"chatcmpl-{answer.digest.hex()[:29]}"


@lru_cache(maxsize=16)  # the same on every chunk of a stream
def _fingerprint(model: str) -> str:
    return f"fp_{derive(b'openai', model).hex()[:10]}"
