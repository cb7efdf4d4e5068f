"""The dialects in which providers tell of failures, as data: from the status and the words of an error to its kind."""

import re
from collections.abc import Mapping

import msgspec

from cachemw.gateway.error_words import NO_WORDS, ErrorWords
from cachemw.gateway.failure_kinds import FailureKind, ScopeKind
from cachemw.redaction import redacted_repr


class Recogniser(msgspec.Struct, frozen=True):
    """A failure of some `kind`, known by all of these: the status, one of the codes, the message, the hint.

    `message` is searched for, and a failure that cools is known by the beginning of it in a 400: what follows may be the
    client's own words. `hint_above` is in seconds. `scope` is what is cooled, in the place of what the kind says, and `seconds`
    is for how long.
    """

    kind: FailureKind
    statuses: frozenset[int] = frozenset()
    code: re.Pattern[str] | None = None
    message: re.Pattern[str] | None = None
    hint_above: float = 0.0
    scope: ScopeKind | None = None
    seconds: float | None = None

    __repr__ = redacted_repr

    def knows(self, status: int, words: ErrorWords, hint: float | None) -> bool:
        """Say whether an error is of this kind."""
        if self.statuses and status not in self.statuses or self.hint_above and (hint or 0.0) <= self.hint_above:
            return False
        if self.code is not None and not any(map(self.code.fullmatch, words.codes)):
            return False
        return self.message is None or self.message.search(words.message) is not None


def recognised(provider: str | None, status: int, words: ErrorWords, hint: float | None) -> Recogniser:
    """Return what an error is: by its provider's own dialect, else by what is unmistakable in all, else by its status."""
    rows = (*PROVIDER_DIALECTS.get(provider or "", ()), *ALL_DIALECTS)
    return next((row for row in rows if row.knows(status, words, hint)), None) or _by_status(status, words)


def status_named(words: ErrorWords) -> int | None:
    """Return the status that an error without one of its own would have had."""
    if words.status is not None:
        return words.status
    return next((_STATUS_OF_CODE[code] for code in words.codes if code in _STATUS_OF_CODE), None)


def _row(
    kind: FailureKind,
    *statuses: int,
    code: str | None = None,
    message: str | None = None,
    hint_above: float = 0.0,
    scope: ScopeKind | None = None,
    seconds: float | None = None,
) -> Recogniser:
    return Recogniser(
        kind,
        frozenset(statuses),
        None if code is None else re.compile(code),
        None if message is None else re.compile(message),
        hint_above,
        scope,
        seconds,
    )


_ONE_MODEL = ScopeKind.KEY_MODEL

PROVIDER_DIALECTS: Mapping[str, tuple[Recogniser, ...]] = {
    "groq": (
        _row(FailureKind.QUOTA, 429, message=r"per day \((?:tpd|rpd)\)", scope=_ONE_MODEL),
        _row(FailureKind.QUOTA, code="blocked_api_access"),
        _row(FailureKind.NO_MODEL, code="model_permission_blocked_(?:org|project)|model_terms_required", scope=_ONE_MODEL),
        _row(FailureKind.UNSUPPORTED, 400, message="not supported|unsupported|property '"),
    ),
    "gemini": (
        _row(FailureKind.QUOTA, 429, code=".*perday.*permodel.*", scope=_ONE_MODEL),
        _row(FailureKind.QUOTA, 429, code=".*perday.*"),
        _row(FailureKind.AUTH, 400, message=r"\A(?:api key not valid|api key expired|missing or invalid authorization)"),
        _row(FailureKind.AUTH, 400, code="failed_precondition", message="user location"),
        _row(FailureKind.QUOTA, 400, code="failed_precondition", message="billing|free tier"),
    ),
    "deepinfra": (_row(FailureKind.QUOTA, 403, message="balance|payment|billing|top up"),),
    "mistral": (
        _row(FailureKind.OVERLOAD, code="3505"),
        _row(FailureKind.RATE, 429, code="1300"),
    ),
    "xai": (
        _row(FailureKind.QUOTA, 403, message="(?:doesn't|does not) have any credits"),
        _row(FailureKind.UNSUPPORTED, 400, message="argument not supported|does not support parameter"),
    ),
    "openrouter": (
        _row(FailureKind.QUOTA, 403, message="key limit exceeded"),
        _row(FailureKind.REFUSED, 403, message="guardrail|moderation|flagged"),
        # What these lack depends on the request too, so that the model is not cooled for others.
        _row(FailureKind.UNSUPPORTED, 404, message="endpoints found (?:that|matching)|no allowed providers"),
        _row(FailureKind.UNSUPPORTED, 503, message="meets? your routing requirements"),
        _row(FailureKind.BROKEN, code="provider_unavailable"),
    ),
    "anthropic": (_row(FailureKind.QUOTA, 400, message=r"\Ayou have reached your specified api usage limits"),),
}
"""What a provider alone means by its words. Others follow where it says what all say."""

ALL_DIALECTS = (
    # Refusals first: nothing else that such an error says is to lead around them.
    _row(
        FailureKind.REFUSED,
        code="content_filter|content_policy_violation|responsibleaipolicyviolation|moderation_blocked|refusal|invalid_prompt",
    ),
    _row(
        FailureKind.REFUSED,
        *(400, 403, 451),
        message="content (?:management )?policy|content filtering policy|violates usage guidelines|usage polic(?:y|ies)"
        "|flagged as potentially|requires moderation",
    ),
    _row(FailureKind.TOO_LARGE, 402, message="can only afford [1-9]"),  # fewer max_tokens would do: the credits are not spent
    _row(
        FailureKind.QUOTA,
        code="insufficient_quota|insufficient_(?:credits?|balance|funds)|billing_hard_limit_reached|billing_not_active"
        "|billing_error|payment_required(?:_error)?",
    ),
    _row(FailureKind.QUOTA, 400, message=r"\Ayour credit balance is too low"),
    _row(
        FailureKind.QUOTA,
        *(402, 403, 429),
        message="used all available credits|spending limit|credit balance is too low|insufficient (?:balance|credits?|funds)",
    ),
    _row(FailureKind.QUOTA, code="token_quota_exceeded|too_many_tokens_error", hint_above=600.0, scope=_ONE_MODEL),
    _row(FailureKind.TOO_LARGE, 413),
    _row(FailureKind.TOO_LARGE, code="context_(?:length|window)_exceeded|request_too_large|token_limit_exceeded"),
    _row(FailureKind.TOO_LARGE, 429, message=r"\Arequest too large"),  # for the bucket when it is full, too
    _row(
        FailureKind.TOO_LARGE,
        *(400, 422),
        message="maximum context length|context window|context length|(?:prompt|input) is too long|maximum prompt length"
        "|token count .*exceeds|reduce the length of",
    ),
    _row(
        FailureKind.OVERLOAD,
        code="queue_exceeded|engine_overloaded|overloaded(?:_error)?|provider_overloaded|slow_down|server_overloaded"
        "|model_overloaded|server_is_overloaded",
    ),
    _row(FailureKind.OVERLOAD, 429, 500, 502, message="model busy|overloaded|service tier capacity exceeded"),
    _row(
        FailureKind.RATE,
        code="rate_limit_exceeded|rate_limit_error|rate_limited|request_quota_exceeded|token_quota_exceeded"
        "|too_many_(?:requests|tokens)_error|too_many_requests",
    ),
    _row(FailureKind.BAD_OUTPUT, code="tool_use_failed|json_validate_failed"),
    _row(
        FailureKind.NO_MODEL,
        code="model_not_found|invalid_model|model_decommissioned|model_deprecated|deploymentnotfound|unknown_model",
    ),
    _row(
        FailureKind.NO_MODEL, 400, message=r"\A(?:invalid model\b|\S+ is not a valid model|the model \S+ (?:does not|has been))"
    ),
    _row(
        FailureKind.NO_MODEL,
        403,
        message="access(?:ing)? (?:to )?(?:the )?model|must be verified to use|not allowed to sample",
        scope=_ONE_MODEL,
    ),
    _row(
        FailureKind.AUTH,
        code="invalid_api_key|wrong_api_key|expired_api_key|api_key_(?:invalid|expired)|authentication(?:_error)?"
        "|invalid_authentication|account_deactivated|organization_restricted|access_terminated",
    ),
    _row(FailureKind.AUTH, 400, message=r"\A(?:incorrect|invalid) api key"),
    _row(FailureKind.UNSUPPORTED, code="unsupported_(?:parameter|value)|extra_forbidden|unknown_parameter"),
    _row(
        FailureKind.UNSUPPORTED,
        *(400, 422),
        message="is unsupported|not supported|does not support|unrecognized request argument|extra inputs are not permitted"
        "|unsupported parameter|unknown parameter",
    ),
    _row(FailureKind.UNREACHABLE, 525, 526, seconds=300.0),  # a certificate: somebody has to do something about it
)
"""What is unmistakable whoever says it: many answer in another's shape."""

_STATUS_OF_CODE: Mapping[str, int] = {
    **dict.fromkeys(("invalid_request_error", "invalid_argument", "failed_precondition"), 400),
    **dict.fromkeys(("authentication_error", "unauthenticated"), 401),
    "billing_error": 402,
    **dict.fromkeys(("permission_error", "permission_denied"), 403),
    **dict.fromkeys(("not_found_error", "not_found"), 404),
    "request_too_large": 413,
    **dict.fromkeys(("rate_limit_error", "resource_exhausted"), 429),
    "unavailable": 503,
    **dict.fromkeys(("timeout_error", "deadline_exceeded"), 504),
    "overloaded_error": 529,
}
"""The statuses that codes go with, for errors that came in a 200."""

_STATUSES = {
    **dict.fromkeys((401, 403), FailureKind.AUTH),
    402: FailureKind.QUOTA,
    **dict.fromkeys((404, 410), FailureKind.NO_MODEL),
    **dict.fromkeys((408, 409, 425), FailureKind.BROKEN),
    413: FailureKind.TOO_LARGE,
    429: FailureKind.RATE,
    **dict.fromkeys((498, 503, 529), FailureKind.OVERLOAD),
}
_BY_STATUS = {status: Recogniser(kind) for status, kind in _STATUSES.items()}
_BAD_REQUEST, _BROKEN = Recogniser(FailureKind.BAD_REQUEST), Recogniser(FailureKind.BROKEN)


def _by_status(status: int, words: ErrorWords) -> Recogniser:
    """Return what a status says. Something in front of an API forbids one request or other, and says nothing of our key."""
    if status == 403 and words == NO_WORDS:
        return _BROKEN
    return _BY_STATUS.get(status, _BAD_REQUEST if 400 <= status < 500 else _BROKEN)
