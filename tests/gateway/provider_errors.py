"""The errors of providers, each with what it is taken for: status, header fields and body as they send them."""

import json
from dataclasses import dataclass, field
from typing import Any

from cachemw.gateway.failures import FailureKind, ScopeKind
from cachemw.messages import Headers

KEY, KEY_MODEL, PROVIDER_MODEL = ScopeKind.KEY, ScopeKind.KEY_MODEL, ScopeKind.PROVIDER_MODEL

OF_KIND = {
    **dict.fromkeys(
        (
            *(FailureKind.UNREACHABLE, FailureKind.SLOW, FailureKind.BROKEN, FailureKind.OVERLOAD),
            *(FailureKind.NO_MODEL, FailureKind.BAD_OUTPUT),
        ),
        PROVIDER_MODEL,
    ),
    FailureKind.RATE: KEY_MODEL,
    **dict.fromkeys((FailureKind.QUOTA, FailureKind.AUTH), KEY),
}
"""What each kind is about, where a row says nothing else; the other kinds cool nothing."""


@dataclass(frozen=True)
class ProviderError:
    """An error, and the kind, scope and hint that it has."""

    provider: str | None
    status: int
    kind: FailureKind
    body: Any = b""
    fields: dict[str, str] = field(default_factory=dict)
    scope: ScopeKind | None = None
    hint: float | None = None

    @property
    def content(self) -> bytes:
        return self.body if isinstance(self.body, bytes) else json.dumps(self.body).encode()

    @property
    def headers(self) -> Headers:
        return tuple((name.encode(), value.encode()) for name, value in self.fields.items())

    @property
    def cooled(self) -> ScopeKind | None:
        return self.scope or OF_KIND.get(self.kind)


def flat(code: str | None, message: str, type_: str = "", param: str | None = None) -> dict[str, Any]:
    return {"message": message, "type": type_, "param": param, "code": code}


def wrapped(code: str | None, message: str, type_: str | None = "invalid_request_error", **more: Any) -> dict[str, Any]:
    return {"error": {"message": message, "type": type_, "param": None, "code": code, **more}}


def gemini(code: int, status: str, message: str, *details: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"error": {"code": code, "message": message, "status": status, "details": list(details)}}]


def exceeded(quota: str) -> dict[str, Any]:
    return {"@type": "type.googleapis.com/google.rpc.QuotaFailure", "violations": [{"quotaId": quota, "quotaValue": "20"}]}


def retry_in(delay: str) -> dict[str, Any]:
    return {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": delay}


def open_router(code: int, message: str, **metadata: Any) -> dict[str, Any]:
    return {"error": {"code": code, "message": message, "metadata": metadata}, "user_id": "user_1"}


def anthropic(type_: str, message: str) -> dict[str, Any]:
    return {"type": "error", "error": {"type": type_, "message": message}, "request_id": "req_1"}


TOO_MANY_TOKENS = flat("token_quota_exceeded", "Tokens per minute limit exceeded.", "too_many_tokens_error", "quota")
TOKENS_PER_DAY = flat(
    "token_quota_exceeded", "Tokens per day limit exceeded - too many tokens processed.", "too_many_tokens_error", "quota"
)
REQUESTS = flat(
    "request_quota_exceeded",
    "Requests per minute limit exceeded - too many requests sent.",
    "too_many_requests_error",
    "quota",
)
QUEUE = flat("queue_exceeded", "We're experiencing high traffic right now!", "too_many_requests_error", "queue")
UNSUPPORTED_MEMBER = flat(
    "wrong_api_format", "store: property 'store' is unsupported", "invalid_request_error", "validation_error"
)
WRONG_KEY = flat("wrong_api_key", "Wrong API Key", "invalid_request_error", "api_key")
SPENT = flat("payment_required", "Payment required to access this resource.", "payment_required_error", "quota")
NO_SUCH_MODEL = flat("model_not_found", "Model does not exist or you do not have access to it.", "not_found_error", "model")
TOO_LONG = flat(
    "context_length_exceeded", "Please reduce the length of the messages or completion.", "invalid_request_error", "messages"
)

CEREBRAS = (
    ProviderError("cerebras", 429, FailureKind.RATE, REQUESTS, {"retry-after": "11"}, hint=11.0),
    ProviderError(
        *("cerebras", 429, FailureKind.RATE, REQUESTS),
        {
            "x-ratelimit-remaining-requests-day": "0",
            "x-ratelimit-reset-requests-day": "33011.5",
            "x-ratelimit-remaining-tokens-minute": "59000",
            "x-ratelimit-reset-tokens-minute": "11.3",
        },
        hint=33011.5,
    ),
    ProviderError("cerebras", 429, FailureKind.RATE, TOO_MANY_TOKENS, {"retry-after": "42"}, hint=42.0),
    ProviderError("cerebras", 429, FailureKind.RATE, TOO_MANY_TOKENS),
    ProviderError("cerebras", 429, FailureKind.QUOTA, TOKENS_PER_DAY, {"retry-after": "86399"}, KEY_MODEL, 86399.0),
    ProviderError("cerebras", 429, FailureKind.OVERLOAD, QUEUE),
    ProviderError("cerebras", 402, FailureKind.QUOTA, SPENT, {"x-should-retry": "false"}),
    ProviderError("cerebras", 401, FailureKind.AUTH, WRONG_KEY),
    ProviderError("cerebras", 403, FailureKind.AUTH, {"detail": "Not authenticated"}),
    ProviderError("cerebras", 403, FailureKind.BROKEN, b"error code: 1010"),  # of the caller's own User-Agent, and not our key
    ProviderError("cerebras", 404, FailureKind.NO_MODEL, NO_SUCH_MODEL),
    ProviderError("cerebras", 404, FailureKind.NO_MODEL, b""),
    ProviderError("cerebras", 400, FailureKind.TOO_LARGE, TOO_LONG),
    ProviderError("cerebras", 400, FailureKind.UNSUPPORTED, UNSUPPORTED_MEMBER),
    ProviderError("cerebras", 422, FailureKind.UNSUPPORTED, UNSUPPORTED_MEMBER),
    ProviderError("cerebras", 400, FailureKind.BAD_REQUEST, flat("wrong_api_format", "messages: Field required")),
)

OPENAI = (
    ProviderError(
        *("openai", 429, FailureKind.QUOTA),
        wrapped("insufficient_quota", "You exceeded your current quota, please check your plan.", "insufficient_quota"),
        {"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "1s"},
    ),
    ProviderError("openai", 429, FailureKind.QUOTA, wrapped("billing_hard_limit_reached", "Billing hard limit reached.")),
    ProviderError(
        *("openai", 429, FailureKind.RATE, wrapped("rate_limit_exceeded", "Rate limit reached for requests", "requests")),
        {
            "x-ratelimit-remaining-requests": "0",
            "x-ratelimit-reset-requests": "6m0s",
            "x-ratelimit-remaining-tokens": "10",
            "x-ratelimit-reset-tokens": "2h0m0s",
        },
        hint=360.0,
    ),
    ProviderError(
        *("openai", 429, FailureKind.RATE, wrapped("rate_limit_exceeded", "Rate limit reached for tokens", "tokens")),
        {"retry-after-ms": "1250", "retry-after": "2"},
        hint=1.25,
    ),
    ProviderError(
        *("openai", 429, FailureKind.TOO_LARGE),
        wrapped("rate_limit_exceeded", "Request too large for gpt-4o on tokens per min (TPM): Limit 30000.", "tokens"),
        {"retry-after": "1"},
    ),
    ProviderError("openai", 401, FailureKind.AUTH, wrapped("invalid_api_key", "Incorrect API key provided: sk-*.")),
    ProviderError(
        "openai",
        403,
        FailureKind.AUTH,
        wrapped("unsupported_country_region_territory", "Country not supported", "request_forbidden"),
    ),
    ProviderError("openai", 404, FailureKind.NO_MODEL, wrapped("model_not_found", "The model `x` does not exist.")),
    ProviderError(
        *("openai", 403, FailureKind.NO_MODEL),
        wrapped(None, "Your organization must be verified to use the model `x`."),
        scope=KEY_MODEL,
    ),
    ProviderError("openai", 400, FailureKind.TOO_LARGE, wrapped("context_length_exceeded", "Your input exceeds it.")),
    ProviderError(
        "openai", 400, FailureKind.TOO_LARGE, wrapped(None, "This model's maximum context length is 8192 tokens. However, …")
    ),
    ProviderError("openai", 400, FailureKind.UNSUPPORTED, wrapped("unsupported_parameter", "Use max_completion_tokens.")),
    ProviderError("openai", 400, FailureKind.UNSUPPORTED, wrapped("unsupported_value", "Unsupported value: 'temperature'")),
    ProviderError("openai", 400, FailureKind.REFUSED, wrapped("content_policy_violation", "Rejected by the safety system.")),
    ProviderError("openai", 400, FailureKind.REFUSED, wrapped("content_filter", "The response was filtered.")),
    ProviderError("openai", 503, FailureKind.OVERLOAD, wrapped("slow_down", "Slow down", "service_unavailable")),
    ProviderError("openai", 429, FailureKind.OVERLOAD, wrapped(None, "The engine is currently overloaded", "server_error")),
    ProviderError("openai", 500, FailureKind.BROKEN, wrapped(None, "The server had an error", "server_error")),
    ProviderError("openai", 400, FailureKind.BAD_REQUEST, wrapped("decimal_below_min_value", "Expected a value >= 0")),
)

GROQ = (
    ProviderError(
        *("groq", 413, FailureKind.TOO_LARGE),
        wrapped("rate_limit_exceeded", "Request too large for model `x` on tokens per minute (TPM): Limit 6000", "tokens"),
        {"retry-after": "1", "x-ratelimit-remaining-tokens": "6000", "x-ratelimit-limit-tokens": "6000"},
    ),
    ProviderError(
        *("groq", 429, FailureKind.RATE),
        wrapped("rate_limit_exceeded", "Rate limit reached on tokens per minute (TPM). Please try again in 4.77s.", "tokens"),
        hint=4.77,
    ),
    ProviderError(
        *("groq", 429, FailureKind.RATE, wrapped("rate_limit_exceeded", "Please try again in 4.77s.", "tokens")),
        {"retry-after": "5"},
        hint=5.0,
    ),
    ProviderError(
        *("groq", 429, FailureKind.QUOTA),
        wrapped("rate_limit_exceeded", "Rate limit reached on tokens per day (TPD). Please try again in 7m12.5s.", "tokens"),
        scope=KEY_MODEL,
        hint=432.5,
    ),
    ProviderError(
        *("groq", 429, FailureKind.QUOTA),
        wrapped("rate_limit_exceeded", "Rate limit reached on requests per day (RPD): Limit 1000.", "requests"),
        scope=KEY_MODEL,
    ),
    ProviderError("groq", 498, FailureKind.OVERLOAD, wrapped("capacity_exceeded", "Flex tier capacity exceeded")),
    ProviderError("groq", 400, FailureKind.BAD_OUTPUT, wrapped("tool_use_failed", "Failed to call", failed_generation="{")),
    ProviderError("groq", 400, FailureKind.BAD_OUTPUT, wrapped("json_validate_failed", "Failed", failed_generation="{")),
    ProviderError("groq", 400, FailureKind.UNSUPPORTED, wrapped(None, "`logprobs` is not supported with this model")),
    ProviderError("groq", 400, FailureKind.UNSUPPORTED, wrapped(None, "property 'store' is unsupported")),
    ProviderError("groq", 400, FailureKind.NO_MODEL, wrapped("model_decommissioned", "The model has been decommissioned")),
    ProviderError(
        "groq", 403, FailureKind.NO_MODEL, wrapped("model_permission_blocked_org", "The model is blocked"), scope=KEY_MODEL
    ),
)

PER_MINUTE = exceeded("GenerateRequestsPerMinutePerProjectPerModel-FreeTier")
PER_DAY = exceeded("GenerateRequestsPerDayPerProjectPerModel-FreeTier")

GEMINI = (
    ProviderError(
        *("gemini", 429, FailureKind.RATE),
        gemini(429, "RESOURCE_EXHAUSTED", "You exceeded your current quota, please check…", PER_MINUTE, retry_in("52s")),
        hint=52.0,
    ),
    ProviderError(
        *("gemini", 429, FailureKind.QUOTA),
        gemini(429, "RESOURCE_EXHAUSTED", "You exceeded your current quota, please check…", PER_DAY, retry_in("3600.5s")),
        scope=KEY_MODEL,
        hint=3600.5,
    ),
    ProviderError(
        *("gemini", 429, FailureKind.QUOTA),
        gemini(429, "RESOURCE_EXHAUSTED", "Quota exceeded", exceeded("GenerateRequestsPerDayPerProject")),
    ),
    ProviderError("gemini", 503, FailureKind.OVERLOAD, gemini(503, "UNAVAILABLE", "The model is overloaded.")),
    ProviderError(
        *("gemini", 400, FailureKind.AUTH),
        gemini(400, "INVALID_ARGUMENT", "API key not valid. Please pass a valid API key.", {"reason": "API_KEY_INVALID"}),
    ),
    ProviderError("gemini", 400, FailureKind.AUTH, gemini(400, "INVALID_ARGUMENT", "API key not valid.")),
    ProviderError(
        "gemini", 400, FailureKind.QUOTA, gemini(400, "FAILED_PRECONDITION", "Please enable billing on your project.")
    ),
    ProviderError(
        "gemini", 400, FailureKind.AUTH, gemini(400, "FAILED_PRECONDITION", "User location is not supported for the API use.")
    ),
    ProviderError("gemini", 403, FailureKind.AUTH, gemini(403, "PERMISSION_DENIED", "Permission denied")),
    ProviderError(
        *("gemini", 400, FailureKind.TOO_LARGE),
        gemini(400, "INVALID_ARGUMENT", "The input token count (9) exceeds the maximum number of tokens allowed (8)."),
    ),
    ProviderError("gemini", 404, FailureKind.NO_MODEL, gemini(404, "NOT_FOUND", "models/x is not found")),
    ProviderError("gemini", 400, FailureKind.BAD_REQUEST, gemini(400, "INVALID_ARGUMENT", "Invalid value at 'contents'")),
)

DEEPINFRA = (
    ProviderError("deepinfra", 429, FailureKind.OVERLOAD, wrapped("engine_overloaded", "Model busy, retry later")),
    ProviderError("deepinfra", 429, FailureKind.OVERLOAD, wrapped(None, "Model busy, retry later", None)),
    ProviderError("deepinfra", 429, FailureKind.OVERLOAD, {"detail": "Model busy, retry later"}),
    ProviderError("deepinfra", 429, FailureKind.RATE, {"detail": {"error": "Rate limited"}}),
    ProviderError("deepinfra", 401, FailureKind.AUTH, {"detail": "User is not authenticated"}),
    ProviderError("deepinfra", 402, FailureKind.QUOTA, {"detail": "Not enough balance"}),
    ProviderError("deepinfra", 403, FailureKind.QUOTA, {"detail": "Inference prohibited, please top up your balance."}),
    ProviderError("deepinfra", 403, FailureKind.AUTH, {"detail": "Forbidden"}),
)

MISTRAL = (
    ProviderError("mistral", 429, FailureKind.RATE, {"object": "error", **flat("1300", "Rate limit exceeded", "rate_limited")}),
    ProviderError("mistral", 429, FailureKind.OVERLOAD, {"object": "error", **flat("3505", "Service tier capacity exceeded")}),
    ProviderError("mistral", 429, FailureKind.OVERLOAD, {"message": "Service tier capacity exceeded for this model."}),
    ProviderError("mistral", 503, FailureKind.OVERLOAD, {"object": "error", "message": "busy", "code": 3505}),
    ProviderError("mistral", 401, FailureKind.AUTH, {"detail": "Unauthorized"}),
    ProviderError("mistral", 402, FailureKind.QUOTA, {"detail": "Payment required"}),
    ProviderError(
        *("mistral", 422, FailureKind.UNSUPPORTED),
        {"detail": [{"type": "extra_forbidden", "loc": ["body", "store"], "msg": "Extra inputs are not permitted"}]},
    ),
    ProviderError(
        *("mistral", 422, FailureKind.UNSUPPORTED),
        {"object": "error", "message": {"detail": [{"type": "extra_forbidden", "loc": ["body", "store"]}]}},
    ),
    ProviderError(
        "mistral", 400, FailureKind.NO_MODEL, {"object": "error", **flat("1500", "Invalid model: x", "invalid_model")}
    ),
    ProviderError(
        *("mistral", 400, FailureKind.TOO_LARGE),
        flat("3051", "Prompt contains 40000 tokens, too large for model with 32768 maximum context length"),
    ),
    ProviderError("mistral", 422, FailureKind.BAD_REQUEST, {"detail": [{"type": "missing", "msg": "Field required"}]}),
)

XAI = (
    ProviderError(
        *("xai", 429, FailureKind.QUOTA),
        {
            "code": "Some resource has been exhausted",
            "error": "Your team has either used all available credits or reached its monthly spending limit.",
        },
    ),
    ProviderError(
        *("xai", 403, FailureKind.QUOTA),
        {"code": "The caller does not have permission", "error": "Your newly created team doesn't have any credits yet."},
    ),
    ProviderError(
        *("xai", 429, FailureKind.RATE),
        {"code": "Some resource has been exhausted", "error": "Too many requests for team. Current RPS: 9, limit 8"},
    ),
    ProviderError(
        *("xai", 400, FailureKind.UNSUPPORTED),
        {"code": "Client specified an invalid argument", "error": "Argument not supported on this model: presencePenalty"},
    ),
    ProviderError(
        *("xai", 400, FailureKind.UNSUPPORTED),
        {"code": "Client specified an invalid argument", "error": "Model grok does not support parameter stop."},
    ),
    ProviderError(
        *("xai", 400, FailureKind.AUTH),
        {"code": "Client specified an invalid argument", "error": "Incorrect API key provided: xa***. You can obtain one."},
    ),
    ProviderError(
        *("xai", 403, FailureKind.REFUSED),
        {"code": "The caller does not have permission", "error": "Content violates usage guidelines."},
    ),
    ProviderError(
        *("xai", 400, FailureKind.TOO_LARGE),
        {"code": "Client specified an invalid argument", "error": "This model's maximum prompt length is 131072."},
    ),
    ProviderError(
        "xai", 404, FailureKind.NO_MODEL, {"code": "Some entity was not found", "error": "The model x does not exist"}
    ),
)

OPENROUTER = (
    ProviderError("openrouter", 429, FailureKind.RATE, open_router(429, "Limited", error_type="rate_limit_exceeded")),
    ProviderError(
        *("openrouter", 429, FailureKind.RATE),
        open_router(
            *(429, "Rate limit exceeded: free-models-per-day"),
            headers={
                "X-RateLimit-Limit": "50",
                "X-RateLimit-Remaining": "0",
                "X-RateLimit-Reset": "1764500000000",
                "X-Other": 1,
            },
        ),
        {"date": "Sun, 30 Nov 2025 10:00:00 GMT"},
        hint=3200.0,
    ),
    ProviderError("openrouter", 503, FailureKind.OVERLOAD, open_router(503, "Busy", error_type="provider_overloaded")),
    ProviderError("openrouter", 502, FailureKind.BROKEN, open_router(502, "Down", error_type="provider_unavailable")),
    ProviderError(
        "openrouter", 402, FailureKind.QUOTA, open_router(402, "Insufficient credits", error_type="payment_required")
    ),
    ProviderError(
        *("openrouter", 402, FailureKind.TOO_LARGE),
        open_router(402, "This request requires more credits, or fewer max_tokens. You can only afford 1234."),
    ),
    ProviderError("openrouter", 402, FailureKind.QUOTA, open_router(402, "You can only afford 0.")),
    ProviderError("openrouter", 403, FailureKind.QUOTA, open_router(403, "Key limit exceeded (total limit).")),
    ProviderError("openrouter", 400, FailureKind.TOO_LARGE, open_router(400, "Long", error_type="context_length_exceeded")),
    ProviderError("openrouter", 400, FailureKind.TOO_LARGE, open_router(400, "Long", error_type="token_limit_exceeded")),
    ProviderError(
        *("openrouter", 400, FailureKind.TOO_LARGE),
        open_router(400, "Provider returned error", raw='{"error":{"message":"maximum context length is 8192 tokens"}}'),
    ),
    ProviderError("openrouter", 400, FailureKind.REFUSED, open_router(400, "No", error_type="content_policy_violation")),
    ProviderError("openrouter", 400, FailureKind.REFUSED, open_router(400, "No", error_type="refusal")),
    ProviderError("openrouter", 403, FailureKind.REFUSED, open_router(403, "Blocked by a guardrail")),
    ProviderError("openrouter", 403, FailureKind.REFUSED, open_router(403, "Your input was flagged", reasons=["violence"])),
    ProviderError("openrouter", 401, FailureKind.AUTH, open_router(401, "User not found.", error_type="authentication")),
    ProviderError("openrouter", 404, FailureKind.NO_MODEL, open_router(404, "No such model", error_type="not_found")),
    ProviderError("openrouter", 404, FailureKind.NO_MODEL, open_router(404, "No endpoints found for x/y.")),
    ProviderError("openrouter", 404, FailureKind.UNSUPPORTED, open_router(404, "No endpoints found that support image input")),
    ProviderError("openrouter", 404, FailureKind.UNSUPPORTED, open_router(404, "No endpoints found matching your data policy")),
    ProviderError("openrouter", 404, FailureKind.UNSUPPORTED, open_router(404, "No allowed providers are available.")),
    ProviderError(
        "openrouter", 503, FailureKind.UNSUPPORTED, open_router(503, "No model provider that meets your routing requirements")
    ),
    ProviderError("openrouter", 400, FailureKind.NO_MODEL, open_router(400, "x/y is not a valid model ID")),
    ProviderError(
        *("openrouter", 200, FailureKind.BROKEN),
        {
            "id": "gen-1",
            "object": "chat.completion.chunk",
            "choices": [{"index": 0, "delta": {"content": ""}, "finish_reason": "error"}],
            "error": {"code": 502, "message": "Provider disconnected unexpectedly"},
        },
    ),
    ProviderError("openrouter", 200, FailureKind.RATE, open_router(429, "Limited", error_type="rate_limit_exceeded")),
    ProviderError(
        *("openrouter", 200, FailureKind.OVERLOAD),
        {"id": "gen-1", "choices": [{"error": {"code": 503, "message": "No capacity"}, "finish_reason": "error"}]},
    ),
)

ANTHROPIC = (
    ProviderError("anthropic", 529, FailureKind.OVERLOAD, anthropic("overloaded_error", "Overloaded")),
    ProviderError("anthropic", 200, FailureKind.OVERLOAD, anthropic("overloaded_error", "Overloaded")),
    ProviderError(
        *("anthropic", 429, FailureKind.RATE, anthropic("rate_limit_error", "This would exceed your rate limit.")),
        {"retry-after": "17", "anthropic-ratelimit-requests-remaining": "0"},
        hint=17.0,
    ),
    ProviderError(
        *("anthropic", 429, FailureKind.RATE, anthropic("rate_limit_error", "Rate limited")),
        {
            "date": "Sun, 30 Nov 2025 10:00:00 GMT",
            "anthropic-ratelimit-input-tokens-remaining": "0",
            "anthropic-ratelimit-input-tokens-reset": "2025-11-30T10:00:30Z",
        },
        hint=30.0,
    ),
    ProviderError(
        *("anthropic", 400, FailureKind.QUOTA),
        anthropic("invalid_request_error", "Your credit balance is too low to access the Anthropic API."),
    ),
    ProviderError(
        *("anthropic", 400, FailureKind.QUOTA),
        anthropic("invalid_request_error", "You have reached your specified API usage limits. You will regain access on …"),
    ),
    ProviderError("anthropic", 401, FailureKind.AUTH, anthropic("authentication_error", "invalid x-api-key")),
    ProviderError("anthropic", 200, FailureKind.AUTH, anthropic("authentication_error", "invalid x-api-key")),
    ProviderError("anthropic", 403, FailureKind.AUTH, anthropic("permission_error", "Not for your key")),
    ProviderError("anthropic", 404, FailureKind.NO_MODEL, anthropic("not_found_error", "model: claude-x")),
    ProviderError("anthropic", 413, FailureKind.TOO_LARGE, anthropic("request_too_large", "Request exceeds the maximum size")),
    ProviderError(
        *("anthropic", 400, FailureKind.TOO_LARGE),
        anthropic("invalid_request_error", "prompt is too long: 3333404 tokens > 200000 maximum"),
    ),
    ProviderError(
        *("anthropic", 400, FailureKind.REFUSED),
        anthropic("invalid_request_error", "Output blocked by content filtering policy"),
    ),
    ProviderError("anthropic", 500, FailureKind.BROKEN, anthropic("api_error", "Internal server error")),
    ProviderError("anthropic", 504, FailureKind.BROKEN, anthropic("timeout_error", "Timed out")),
    ProviderError("anthropic", 200, FailureKind.BROKEN, anthropic("api_error", "Internal server error")),
    ProviderError("anthropic", 200, FailureKind.BAD_REQUEST, anthropic("invalid_request_error", "No")),
)

PROVIDER_ERRORS = (*CEREBRAS, *OPENAI, *GROQ, *GEMINI, *DEEPINFRA, *MISTRAL, *XAI, *OPENROUTER, *ANTHROPIC)
