"""Files of a gateway: its own, and those with keys of providers."""

import os
from pathlib import Path

import pytest

from cachemw.errors import ConfigurationError, ConfigurationFaults
from cachemw.gateway.files import LARGEST_CONFIG, LARGEST_KEY, provider_key, read_gateway
from cachemw.gateway.routes import ProviderEntry

ROUTE = "[routes.auto]\ntargets = ['cerebras/a']\n"


def written(directory: Path, content: str | bytes, name: str = "cachemw.toml") -> str:
    path = directory / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return str(path)


def test_a_file_is_read_with_the_variables_that_are_set(tmp_path: Path) -> None:
    path = written(tmp_path, ROUTE)
    environment = {"CEREBRAS_API_KEY": "x", "GROQ_API_KEY": "", "XAI_BASE_URL": "http://127.0.0.1:9/v1"}

    config = read_gateway(path, environment)

    assert list(config.routes) == ["auto"]
    assert "cerebras" not in config.off
    assert config.off["groq"] == "GROQ_API_KEY is not set"
    assert config.providers["xai"].base_url == "http://127.0.0.1:9/v1"


def test_faults_name_the_file(tmp_path: Path) -> None:
    path = written(tmp_path, "[routes.auto]\ntargets = []\n")

    with pytest.raises(ConfigurationFaults) as refused:
        read_gateway(path, {})

    assert refused.value.faults == (f"{path}:2: targets in [routes.auto]: it is empty: a route has a target at least",)


def test_clients_are_read_refused_or_left_out(tmp_path: Path) -> None:
    path = written(tmp_path, "[clients.alice]\n")

    assert list(read_gateway(path, {}, keyed={"alice"}).clients) == ["alice"]
    assert not read_gateway(path, {}, clients="ignore").clients
    with pytest.raises(ConfigurationFaults, match="clients=False"):
        read_gateway(path, {}, clients="refuse")


@pytest.mark.parametrize(
    ("base_url", "meant"),
    [
        ("http://10.0.0.7:8000", "http://10.0.0.7:8000/v1"),
        ("https://llm.example/v1/chat/completions", "https://llm.example/v1"),
    ],
)
def test_what_is_no_base_url_is_told_with_what_was_probably_meant(tmp_path: Path, base_url: str, meant: str) -> None:
    """F9."""
    text = f"[providers.one]\nbase_url = '{base_url}'\n[providers.two]\nbase_url = '{base_url}'\n"
    path = written(tmp_path, text)

    with pytest.raises(ConfigurationFaults) as refused:
        read_gateway(path, {})

    one, two = refused.value.faults
    assert one.startswith(f"{path}: base_url in [providers.one]: ")
    assert one.endswith(f"is it {meant}?")
    assert two.startswith(f"{path}: base_url in [providers.two]: ")


@pytest.mark.parametrize("content", [b"\xff", b"#" * (LARGEST_CONFIG + 1), None], ids=["no UTF-8", "too large", "a directory"])
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, content: bytes | None) -> None:
    path = str(tmp_path) if content is None else written(tmp_path, content)

    with pytest.raises(ConfigurationError, match=path) as refused:
        read_gateway(path, {})

    assert not isinstance(refused.value, ConfigurationFaults)


@pytest.mark.parametrize("path", ["/there/is/none", "a\0b"])
def test_a_file_that_is_not_there_is_named(path: str) -> None:
    with pytest.raises(ConfigurationError, match="cannot read "):
        read_gateway(path, {})


def test_a_key_is_that_of_the_first_variable_that_is_set() -> None:
    entry = ProviderEntry("gemini", "https://x.example/v1", ("A", "B"))

    assert provider_key(entry, {"A": "", "B": "sk-b"}) == "sk-b"
    assert provider_key(entry, {"A": "sk-a", "B": "sk-b"}) == "sk-a"
    assert provider_key(entry, {}) is None
    assert provider_key(ProviderEntry("local", "http://x.example/v1"), {"A": "sk-a"}) is None


def filed(path: str) -> ProviderEntry:
    return ProviderEntry("groq", "https://x.example/v1", (), path)


def test_a_key_in_a_file_is_read_without_the_end_of_its_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    path = written(tmp_path, "sk-in-a-file\r\n", "key")

    assert provider_key(filed(path), {}) == "sk-in-a-file"
    assert provider_key(filed("~/key"), {}) == "sk-in-a-file"


@pytest.mark.parametrize(
    "content", ["", " \n", "sk-" + "a" * LARGEST_KEY, b"sk-\xff"], ids=["empty", "blank", "large", "binary"]
)
def test_a_file_without_a_key_is_named_and_not_shown(tmp_path: Path, content: str | bytes) -> None:
    """I4."""
    path = written(tmp_path, content, "key")

    with pytest.raises(ConfigurationError, match=path) as refused:
        provider_key(filed(path), {})

    assert "sk-" not in str(refused.value)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no pipes with names here")
def test_a_pipe_that_nobody_writes_to_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "key")

    with pytest.raises(ConfigurationError, match="is not a file"):
        provider_key(filed(str(tmp_path / "key")), {})
