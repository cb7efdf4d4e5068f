"""The registry of endpoints, and what every one of them must be."""

import pytest

from cachemw.endpoints import CHAT, ENDPOINTS, MESSAGES, endpoint_of
from cachemw.endpoints.base import Endpoint, Place
from cachemw.messages import Usage

CHAT_PATHS = ("/chat/completions",)


@pytest.mark.parametrize(
    ("method", "path", "found"),
    [
        ("POST", "/v1/chat/completions", CHAT),
        ("POST", "/chat/completions", CHAT),
        ("GET", "/v1/chat/completions", None),
        ("POST", "/v1/chat/completions/", None),
        ("POST", "/v1/models", None),
        ("POST", "/v1/messages", MESSAGES),
        ("POST", "/api/v1/messages", MESSAGES),
        ("GET", "/v1/messages", None),
        ("POST", "/v1/messages/count_tokens", None),
        ("POST", "/v1/messages/batches", None),
    ],
)
def test_a_call_is_known_by_its_method_and_the_end_of_its_path(method: str, path: str, found: Endpoint | None) -> None:
    assert endpoint_of(method, path, CHAT_PATHS) is found


def test_the_operator_says_how_the_paths_of_chat_completions_end() -> None:
    assert endpoint_of("POST", "/api/ask", ("/ask",)) is CHAT
    assert endpoint_of("POST", "/v1/chat/completions", ("/ask",)) is None


@pytest.mark.parametrize("endpoint", ENDPOINTS, ids=lambda endpoint: endpoint.name)
def test_an_endpoint_says_of_its_fields_where_they_count(endpoint: Endpoint) -> None:
    """K1: a model answers, so that is in the key."""
    assert endpoint.fields["model"] is Place.KEY
    assert all(path.startswith("/") for path in endpoint.paths)
    assert len({other.name for other in ENDPOINTS}) == len(ENDPOINTS)


@pytest.mark.parametrize(
    ("raw", "usage"),
    [
        (b'{"prompt_tokens":3,"completion_tokens":4,"total_tokens":7}', Usage(3, 4)),
        (b'{"completion_tokens_details":{"reasoning_tokens":2},"completion_tokens":4}', Usage(None, 4, None, 2)),
        (b'{"prompt_tokens":-1}', None),
        (b'{"prompt_tokens":1e300}', None),
        (b"[]", None),
        (b"{}", Usage()),
    ],
)
def test_what_an_answer_took_is_read_and_not_guessed(raw: bytes, usage: Usage | None) -> None:
    assert CHAT.usage(raw) == usage
