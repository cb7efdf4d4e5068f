"""The dialect of Cerebras: no placeholders, tool calls whole, usage on the finish chunk without being asked."""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import ClassVar
from uuid import UUID

from cachemw.simulator.answering import Call, Choice, Said, SimulatedAnswer
from cachemw.simulator.asking import SimulatedRefusal, simulated
from cachemw.simulator.failures import ErrorWithin, SimulatedFailure, at_once
from cachemw.simulator.prose import derive, draw
from cachemw.simulator.script import Json, RawHeaders

PROMPT_TOKEN_SECONDS = 0.00004
COMPLETION_TOKEN_SECONDS = 0.0005

KINDS: dict[int, tuple[str, str | None, str | None]] = {  # status: type, param, code
    400: ("invalid_request_error", "validation_error", "wrong_api_format"),
    401: ("invalid_request_error", "api_key", "wrong_api_key"),
    402: ("payment_required_error", "quota", "payment_required"),
    404: ("not_found_error", "model", "model_not_found"),
    429: ("too_many_requests_error", "quota", "request_quota_exceeded"),
    503: ("too_many_requests_error", "queue", "queue_exceeded"),
}

RATE_LIMITS: RawHeaders = (
    (b"x-ratelimit-limit-requests-day", b"14400"),
    (b"x-ratelimit-limit-tokens-minute", b"60000"),
    (b"x-ratelimit-remaining-requests-day", b"14399"),
    (b"x-ratelimit-remaining-tokens-minute", b"59000"),
    (b"x-ratelimit-reset-requests-day", b"33011.382867"),
    (b"x-ratelimit-reset-tokens-minute", b"11.382867"),
)


def _flat(message: str, kind: str, param: str | None, code: str | None) -> Json:
    """Return an error as Cerebras has it, which wraps none."""
    return {"message": message, "type": kind, "param": param, "code": code}


class Cerebras:
    endpoints: ClassVar[frozenset[str]] = frozenset({"chat", "completions"})
    preamble: ClassVar[bytes] = b""
    failures: ClassVar[Mapping[str, SimulatedFailure]] = {
        "rate": at_once(
            429,
            _flat(simulated(429).message, "too_many_requests_error", "quota", "request_quota_exceeded"),
            retry_after="7",
        ),
        "tokens": at_once(
            429,
            _flat(
                "Tokens per minute limit exceeded - too many tokens processed.",
                "too_many_tokens_error",
                "quota",
                "token_quota_exceeded",
            ),
            x_ratelimit_remaining_tokens_minute="0",
        ),
        "quota": at_once(
            429,
            _flat(
                "Tokens per day limit exceeded - too many tokens processed.",
                "too_many_tokens_error",
                "quota",
                "token_quota_exceeded",
            ),
            retry_after="86399",
        ),
        "queue": at_once(429, _flat(simulated(503).message, "too_many_requests_error", "queue", "queue_exceeded")),
        "payment": at_once(
            402, _flat(simulated(402).message, "payment_required_error", "quota", "payment_required"), x_should_retry="false"
        ),
        "key": at_once(401, _flat(simulated(401).message, "invalid_request_error", "api_key", "wrong_api_key")),
        "no-key": at_once(403, {"detail": "Not authenticated"}),
        "model": at_once(404, _flat(simulated(404).message, "not_found_error", "model", "model_not_found")),
        "too-large": at_once(
            400,
            _flat(
                "Please reduce the length of the messages or completion. Current length is 140000 while limit is 131072",
                "invalid_request_error",
                "messages",
                "context_length_exceeded",
            ),
        ),
        "unsupported": at_once(
            400,
            _flat("store: property 'store' is unsupported", "invalid_request_error", "validation_error", "wrong_api_format"),
        ),
        "unprocessable": at_once(
            422,
            _flat("store: property 'store' is unsupported", "invalid_request_error", "validation_error", "wrong_api_format"),
        ),
        "mid-stream": ErrorWithin(
            at_once(500, _flat(simulated(500).message, "server_error", None, None)),
            {"error": {"id": "", **_flat(simulated(500).message, "server_error", None, None)}, "status_code": 500},
            after=5,
        ),
    }

    def completion(self, answer: SimulatedAnswer) -> Json:
        choices = [_whole(choice) for choice in answer.choices]
        return _envelope(answer, choices, "chat.completion") | _expense(answer)

    def opening(self, choice: Choice) -> Json:
        return _entry(choice, {"role": "assistant"})

    def entries(self, choice: Choice) -> Sequence[Json | None]:
        if isinstance(choice, Said):
            said = [_entry(choice, {"content": piece}) for piece in choice.pieces]
            scores = choice.scores or ()
            return [one | _logprobs([score.shown()]) for one, score in zip(said, scores, strict=True)] if scores else said
        return [
            shown
            for index, call in enumerate(choice.calls)
            for shown in (
                *[None] * (call.tokens - 1),
                _entry(choice, {"tool_calls": [_tool_call(call) | {"index": index}]}),
            )
        ]

    def closing(self, choice: Choice) -> Json:
        return {"delta": {}, "finish_reason": choice.finish_reason, "index": choice.index}

    def chunk(self, answer: SimulatedAnswer, entry: Json, written: int, *, include_usage: bool) -> Json:
        return _envelope(answer, [entry], "chat.completion.chunk")

    def last_chunks(self, answer: SimulatedAnswer, entry: Json, *, include_usage: bool) -> Sequence[Json]:
        return [self.chunk(answer, entry, answer.completion_tokens, include_usage=include_usage) | _expense(answer)]

    def error(self, refusal: SimulatedRefusal) -> Json | list[Json]:
        return _refused(refusal)

    def error_event(self, refusal: SimulatedRefusal) -> Json:
        return {"error": {"id": "", **_refused(refusal)}, "status_code": refusal.status}

    def headers(self, digest: bytes) -> RawHeaders:
        return ((b"inference-id", _id(digest).encode()), *RATE_LIMITS)


def _refused(refusal: SimulatedRefusal) -> Json:
    otherwise = "server_error" if refusal.status >= 500 else "invalid_request_error"
    kind, param, code = KINDS.get(refusal.status, (otherwise, None, None))
    if refusal.code is not None:
        param, code = refusal.param, refusal.code
    return _flat(refusal.message, kind, param, code)


def _envelope(answer: SimulatedAnswer, choices: list[Json], kind: str) -> Json:
    return {
        "id": _id(answer.digest),
        "choices": choices,
        "created": answer.created,
        "model": answer.model,
        "system_fingerprint": _fingerprint(answer.model),
        "object": kind,
    }


def _whole(choice: Choice) -> Json:
    whole: Json = {"finish_reason": choice.finish_reason, "index": choice.index}
    if isinstance(choice, Said):
        scores = _logprobs([score.shown() for score in choice.scores]) if choice.scores is not None else {}
        return whole | scores | {"message": {"content": choice.text, "role": "assistant"}}
    return whole | {"message": {"tool_calls": [_tool_call(call) for call in choice.calls], "role": "assistant"}}


def _expense(answer: SimulatedAnswer) -> Json:
    """Usage, and how long it took: as deterministic as the rest."""
    usage = {
        "total_tokens": answer.prompt_tokens + answer.completion_tokens,
        "completion_tokens": answer.completion_tokens,
        "completion_tokens_details": {
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
            "reasoning_tokens": 0,
        },
        "prompt_tokens": answer.prompt_tokens,
        "prompt_tokens_details": {"cached_tokens": 0},
    }
    return {"usage": usage, "time_info": _time_info(answer)}


def _entry(choice: Choice, delta: Json) -> Json:
    return {"delta": delta, "index": choice.index}


def _logprobs(content: list[Json]) -> Json:
    return {"logprobs": {"content": content}}


def _tool_call(call: Call) -> Json:
    return {"function": {"name": call.name, "arguments": call.arguments}, "type": "function", "id": call.mark[:9]}


def _time_info(answer: SimulatedAnswer) -> Json:
    queue = draw(answer.digest, "queue", 5_000) / 1_000_000
    prompt = round(answer.prompt_tokens * PROMPT_TOKEN_SECONDS, 9)
    completion = round(answer.completion_tokens * COMPLETION_TOKEN_SECONDS, 9)
    return {
        "created": answer.created + draw(answer.digest, "fraction", 10**6) / 10**6,
        "queue_time": queue,
        "prompt_time": prompt,
        "completion_time": completion,
        "total_time": round(queue + prompt + completion, 9),
    }


@lru_cache(maxsize=16)  # the same on every chunk of a stream
def _id(digest: bytes) -> str:
    return f"chatcmpl-{UUID(bytes=digest[:16], version=4)}"


@lru_cache(maxsize=16)
def _fingerprint(model: str) -> str:
    return f"fp_{derive(b'cerebras', model).hex()[:20]}"
