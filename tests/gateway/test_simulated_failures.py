"""Each failure that the simulator has, in its provider's dialect, is what the gateway takes it for."""

import json

import pytest

from cachemw.gateway.failures import Failure, FailureKind, of_object, of_response
from cachemw.simulator.dialects import DIALECTS
from cachemw.simulator.failures import ErrorAnswer, ErrorWithin

K = FailureKind

SIMULATED: dict[str, dict[str, FailureKind]] = {
    "cerebras": {
        "rate": K.RATE,
        "tokens": K.RATE,
        "quota": K.QUOTA,
        "queue": K.OVERLOAD,
        "payment": K.QUOTA,
        "key": K.AUTH,
        "no-key": K.AUTH,
        "model": K.NO_MODEL,
        "too-large": K.TOO_LARGE,
        "unsupported": K.UNSUPPORTED,
        "unprocessable": K.UNSUPPORTED,
        "mid-stream": K.BROKEN,
    },
    "openai": {
        "rate": K.RATE,
        "tokens": K.RATE,
        "insufficient_quota": K.QUOTA,
        "billing": K.QUOTA,
        "key": K.AUTH,
        "permission": K.AUTH,
        "country": K.AUTH,
        "model": K.NO_MODEL,
        "too-large": K.TOO_LARGE,
        "parameter": K.UNSUPPORTED,
        "value": K.UNSUPPORTED,
        "policy": K.REFUSED,
        "filter": K.REFUSED,
        "slow-down": K.OVERLOAD,
        "overloaded": K.OVERLOAD,
        "server": K.BROKEN,
        "mid-stream": K.BROKEN,
    },
    "groq": {
        "tpm-too-large": K.TOO_LARGE,
        "rate": K.RATE,
        "rate-in-words": K.RATE,
        "daily": K.QUOTA,
        "flex": K.OVERLOAD,
        "busy": K.OVERLOAD,
        "tool-use": K.BAD_OUTPUT,
        "json": K.BAD_OUTPUT,
        "unsupported": K.UNSUPPORTED,
        "property": K.UNSUPPORTED,
        "key": K.AUTH,
        "model": K.NO_MODEL,
    },
    "gemini": {
        "exhausted": K.RATE,
        "daily": K.QUOTA,
        "unavailable": K.OVERLOAD,
        "key": K.AUTH,
        "billing": K.QUOTA,
        "permission": K.AUTH,
        "too-large": K.TOO_LARGE,
        "model": K.NO_MODEL,
    },
    "deepinfra": {
        "busy": K.OVERLOAD,
        "engine-overloaded": K.OVERLOAD,
        "key": K.AUTH,
        "key-in-detail": K.AUTH,
        "balance": K.QUOTA,
        "model": K.NO_MODEL,
    },
    "mistral": {
        "rate": K.RATE,
        "capacity": K.OVERLOAD,
        "capacity-503": K.OVERLOAD,
        "key": K.AUTH,
        "extra": K.UNSUPPORTED,
        "extra-within": K.UNSUPPORTED,
        "payment": K.QUOTA,
        "model": K.NO_MODEL,
    },
    "xai": {
        "spent": K.QUOTA,
        "spent-403": K.QUOTA,
        "no-credits": K.QUOTA,
        "rate": K.RATE,
        "argument": K.UNSUPPORTED,
        "parameter": K.UNSUPPORTED,
        "key": K.AUTH,
        "model": K.NO_MODEL,
    },
    "openrouter": {
        "rate": K.RATE,
        "overloaded": K.OVERLOAD,
        "unavailable": K.BROKEN,
        "payment": K.QUOTA,
        "afford": K.TOO_LARGE,
        "too-large": K.TOO_LARGE,
        "tokens": K.TOO_LARGE,
        "policy": K.REFUSED,
        "refusal": K.REFUSED,
        "guardrail": K.REFUSED,
        "key": K.AUTH,
        "model": K.NO_MODEL,
        "no-endpoints": K.NO_MODEL,
        "no-provider": K.UNSUPPORTED,
        "in-200": K.BROKEN,
        "mid-stream": K.BROKEN,
    },
    "anthropic": {
        "overloaded": K.OVERLOAD,
        "overloaded-event": K.OVERLOAD,
        "mid-stream": K.OVERLOAD,
        "rate": K.RATE,
        "credit": K.QUOTA,
        "key": K.AUTH,
        "permission": K.AUTH,
        "model": K.NO_MODEL,
        "context": K.TOO_LARGE,
        "too-large": K.TOO_LARGE,
        "server": K.BROKEN,
        "timeout": K.BROKEN,
    },
}
"""By provider and name; a 200 in which nothing is said is told by its choices, and stands elsewhere."""


def content_of(answer: ErrorAnswer) -> bytes:
    return answer.content if isinstance(answer.content, bytes) else json.dumps(answer.content).encode()


def taken(provider: str, name: str) -> list[Failure | None]:
    """Return what such an error is taken for: as an answer, and as an event where it is one too."""
    failure = DIALECTS[provider].failures[name]
    if isinstance(failure, ErrorWithin):
        whole = failure.whole
        return [of_response(provider, whole.status, whole.headers, content_of(whole)), of_object(provider, failure.event)]
    assert isinstance(failure, ErrorAnswer)
    return [of_response(provider, failure.status, failure.headers, content_of(failure))]


@pytest.mark.parametrize(("provider", "name"), [(provider, name) for provider, rows in SIMULATED.items() for name in rows])
def test_a_simulated_failure_is_what_its_provider_means_by_it(provider: str, name: str) -> None:
    """G12, G15, G21, G22."""
    for failure in taken(provider, name):
        assert failure is not None
        assert failure.kind is SIMULATED[provider][name]


def test_no_failure_of_the_simulator_is_left_out() -> None:
    for provider, dialect in DIALECTS.items():
        errors = {name for name, failure in dialect.failures.items() if isinstance(failure, ErrorAnswer | ErrorWithin)}

        assert errors == SIMULATED[provider].keys(), provider
