"""Base URLs as people write them, and what they probably meant."""

import pytest

from cachemw import ConfigurationError
from cachemw.proxy import Settings

REFUSED = {
    "https://api.openai.com": "https://api.openai.com/v1",
    "https://api.openai.com/": "https://api.openai.com/v1",
    "HTTPS://API.OpenAI.com:443": "https://api.openai.com/v1",
    "https://api.cerebras.ai": "https://api.cerebras.ai/v1",
    "https://api.groq.com": "https://api.groq.com/openai/v1",
    "https://api.groq.com/openai": "https://api.groq.com/openai/v1",
    "https://openrouter.ai/api/": "https://openrouter.ai/api/v1",
    "https://openrouter.ai/v1": "https://openrouter.ai/api/v1",
    "https://api.groq.com/v1": "https://api.groq.com/openai/v1",
    "https://api.deepinfra.com/v1": "https://api.deepinfra.com/v1/openai",
    "https://generativelanguage.googleapis.com/v1beta": "https://generativelanguage.googleapis.com/v1beta/openai",
    "https://api.openai.com/V1": "https://api.openai.com/v1",
    "https://api.openai.com//v1": "https://api.openai.com/v1",
    "https://api.openai.com/v1 ": "https://api.openai.com/v1",
    "https://llm.example/v2  ": "https://llm.example/v2",
    "https://api.openai.com/v1/chat/completions": "https://api.openai.com/v1",
    "https://llm.example/v3/responses": "https://llm.example/v3",
    "http://llm.example:8000/chat/completions": "http://llm.example:8000/v1",
    "http://127.0.0.1:11434": "http://127.0.0.1:11434/v1",
    "http://[::1]:8000/": "http://[::1]:8000/v1",
    "http://localhost": "http://localhost/v1",
    "api.openai.com": "https://api.openai.com/v1",
    "api.openai.com/v1": "https://api.openai.com/v1",
    "localhost:8000/v1": "http://localhost:8000/v1",
    "localhost": "http://localhost/v1",
    "127.0.0.1:11434": "http://127.0.0.1:11434/v1",
    "vllm:8000": "http://vllm:8000/v1",
}

TAKEN = [
    *(
        "https://api.openai.com/v1",
        "https://api.openai.com/v1/",
        "https://api.groq.com/openai/v1",
        "https://openrouter.ai/api/v1",
    ),
    *(
        "http://127.0.0.1:8000/v1",
        "https://llm.example/api/v3",
        "https://gateway.example/team/openai",
        "https://x.example/models/v1",
    ),
    *("https://api.openai.com/beta", "http://[::1]:8000/v1"),
]


@pytest.mark.parametrize("given", REFUSED)
def test_what_is_no_base_url_is_refused_with_what_was_probably_meant(given: str) -> None:
    """F9: else every call would be a 404."""
    with pytest.raises(ConfigurationError) as refused:
        Settings(upstream=given).open_upstream()

    assert str(refused.value).startswith("--upstream: ")
    assert str(refused.value).endswith(f" is it {REFUSED[given]}?")
    assert Settings(upstream=REFUSED[given]).open_upstream().base_url


@pytest.mark.parametrize("given", TAKEN)
def test_what_may_be_one_is_taken(given: str) -> None:
    assert Settings(upstream=given).open_upstream().base_url


def test_the_variable_of_a_providers_url_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """F9: Cerebras's own SDK leaves the version out, and nobody else's does."""
    monkeypatch.setenv("OPENAI_BASE_URL", "https://llm.example")
    monkeypatch.setenv("CEREBRAS_BASE_URL", "https://llm.example")

    with pytest.raises(ConfigurationError, match=r"^OPENAI_BASE_URL: https://llm\.example is not the base URL"):
        Settings(upstream="openai").open_upstream()
    assert Settings(upstream="cerebras").open_upstream().place == "https://llm.example:443/v1"


@pytest.mark.parametrize("given", ["user:sk-secret@llm.example/v1", "llm.example/v1?key=sk-secret", "llm.example/v1#sk-secret"])
def test_what_may_be_a_secret_in_it_is_not_shown(given: str) -> None:
    """F65, I4."""
    with pytest.raises(ConfigurationError) as refused:
        Settings(upstream=given).open_upstream()

    assert str(refused.value).startswith("--upstream: ")
    assert "sk-" not in str(refused.value)


@pytest.mark.parametrize("given", ["vllm:99999", "vllm:99999/v1", "llm.example/\x7f"])
def test_what_can_be_no_url_is_refused_all_the_same(given: str) -> None:
    with pytest.raises(ConfigurationError):
        Settings(upstream=given).open_upstream()


@pytest.mark.parametrize("given", ["nobody", "opnai", "", "ftp://example.org", "a b", "http://"])
def test_what_is_neither_is_refused_as_before(given: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        Settings(upstream=given).open_upstream()

    assert "is it" not in str(refused.value)
