"""Tell how an attempt failed: by its response, by an error within one, or by what the upstream raised."""

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from cachemw.errors import UNREACHABLE, Cause, KeyMissing, UpstreamError, UpstreamTimeout
from cachemw.gateway.dialects import recognised, status_named
from cachemw.gateway.error_words import NO_WORDS, ErrorWords, document_of, has_error, words_of
from cachemw.gateway.failure_kinds import TREATMENTS, Failure, FailureKind, SameAgain, ScopeKind, wait_to_repeat
from cachemw.gateway.hints import bucket_hint, text_hint, waiting_hint
from cachemw.messages import Headers, header_values
from cachemw.redaction import redacted_repr

__all__ = ["Failure", "FailureKind", "ScopeKind", "of_error", "of_no_output", "of_object", "of_response", "wait_to_repeat"]

_WITHHELD = frozenset({"content_filter", "safety", "prohibited_content", "blocklist", "spii", "refusal"})
"""Finish reasons of answers that a provider withholds."""

_UNNAMED = 500
_TELLS_IN_TEXT = "groq"


def of_response(
    provider: str | None, status: int, headers: Headers, body: bytes, *, now: float | None = None
) -> Failure | None:
    """Return how a response fails, by as much of its body as is there; `None` for a 2xx without an error in it.

    `provider` is the name of the one whose dialect it speaks, where that is known. `now`, in seconds since the epoch, is for
    dates in a response that does not say when it was sent.
    """
    document = document_of(body)
    if 200 <= status < 300:
        return of_object(provider, document, headers=headers, now=now) if has_error(document) else None
    words = NO_WORDS if document is None else words_of(document)
    return _failure(provider, status, words, _Said(headers, now), status)


def of_object(
    provider: str | None,
    error: Mapping[str, Any] | list[Any] | bytes | None,
    *,
    headers: Headers = (),
    now: float | None = None,
) -> Failure | None:
    """Return how an answer with status 200 fails by a document or an event, as JSON or read; `None` where it has no error."""
    document = document_of(error) if isinstance(error, bytes) else error
    if not has_error(document):
        return None
    words = words_of(document)
    status = status_named(words)
    return _failure(provider, status or _UNNAMED, words, _Said(headers, now), status)


def of_no_output(finish_reasons: Iterable[object]) -> Failure:
    """Return how an answer fails that has nothing in it, by the finish reasons of its choices."""
    is_withheld = any(isinstance(reason, str) and reason.lower() in _WITHHELD for reason in finish_reasons)
    return _plain(FailureKind.REFUSED if is_withheld else FailureKind.BAD_OUTPUT, 200)


def of_error(error: UpstreamError) -> Failure:
    """Return how an attempt fails that ended without a head, or within an answer."""
    if isinstance(error, KeyMissing):
        return _plain(FailureKind.AUTH)
    if isinstance(error, UpstreamTimeout):
        return _plain(FailureKind.SLOW, error.status)
    if error.cause is Cause.REQUEST:
        return _plain(FailureKind.BAD_REQUEST)
    has_head = error.status is not None or error.detail != UNREACHABLE
    return _plain(FailureKind.BROKEN if has_head else FailureKind.UNREACHABLE, error.status)


class _Said(msgspec.Struct, frozen=True):
    """The header fields of a response, and the time when it came."""

    headers: Headers
    now: float | None

    __repr__ = redacted_repr

    @property
    def may_repeat(self) -> bool:
        return b"false" not in header_values(self.headers, b"x-should-retry")

    def wait(self, words: ErrorWords) -> float | None:
        """Return the hint that holds for whatever it comes with."""
        return waiting_hint(self.headers, self.now) or words.retry_delay

    def refill(self, provider: str | None, words: ErrorWords) -> float | None:
        """Return the hint about how much may be asked in a time."""
        in_fields = bucket_hint(self.headers + words.headers, self.now)
        return in_fields or (text_hint(words.message) if provider == _TELLS_IN_TEXT else None)


def _failure(provider: str | None, status: int, words: ErrorWords, said: _Said, shown: int | None) -> Failure:
    wait = said.wait(words)
    refill = wait or said.refill(provider, words)
    row = recognised(provider, status, words, refill)
    scope = row.scope or TREATMENTS[row.kind].scope
    hint = row.seconds or (refill if scope is ScopeKind.KEY_MODEL else wait)
    return Failure(row.kind, shown, None if scope is None else hint, scope, said.may_repeat and _repeats(row.kind))


def _plain(kind: FailureKind, status: int | None = None) -> Failure:
    return Failure(kind, status, None, TREATMENTS[kind].scope, _repeats(kind))


def _repeats(kind: FailureKind) -> bool:
    return TREATMENTS[kind].repeats is not SameAgain.NEVER
