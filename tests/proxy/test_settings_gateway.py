"""The proxy's file with tables for a gateway: what the settings know of it, and what workers are told."""

import hashlib
from pathlib import Path

import pytest

from cachemw.errors import ConfigurationError, ConfigurationFaults
from cachemw.proxy import Settings
from cachemw.proxy.client_keys import with_clients
from cachemw.proxy.settings import SETTINGS, refuse_unknown_variables
from tests.gateway.configuring import config_of

ROUTE = "[routes.auto]\ntargets = ['cerebras/a', 'groq/b']\n"
CLIENT = "[clients.evals]\nkey_env = 'EVALS_KEY'\nroutes = ['auto']\n"
KEYS = {"CEREBRAS_API_KEY": "sk-cerebras", "EVALS_KEY": "sk-of-evals"}


def digest(key: str) -> bytes:
    return hashlib.sha256(key.encode()).digest()


def file_of(directory: Path, text: str) -> str:
    path = directory / "cachemw.toml"
    path.write_text(text)
    return str(path)


def settings_of(directory: Path, text: str, **environment: str) -> Settings:
    return Settings.read({}, environment, file_of(directory, text))


@pytest.fixture(autouse=True)
def keys_are_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in KEYS.items():
        monkeypatch.setenv(name, value)


@pytest.mark.parametrize("text", ["", "[serve]\nport = 1\n"])
def test_a_file_with_settings_alone_is_no_gateways(text: str, tmp_path: Path) -> None:
    settings = settings_of(tmp_path, text)

    assert (settings.config, settings.has_clients, settings.gateway_config()) == ("", False, None)


def test_a_file_has_settings_and_a_gateway(tmp_path: Path) -> None:
    settings = settings_of(tmp_path, f"[serve]\nport = 1\nupstream = 'groq'\n{ROUTE}")

    config = settings.gateway_config()

    assert settings == Settings(port=1, upstream="groq", config=str(tmp_path / "cachemw.toml"))
    assert config is not None
    assert list(config.routes) == ["auto"]
    assert config.default == "groq"


def test_it_is_read_anew_each_time_that_it_is_asked_for(tmp_path: Path) -> None:
    settings = settings_of(tmp_path, ROUTE)
    file_of(tmp_path, ROUTE.replace("auto", "other"))

    config = settings.gateway_config()

    assert config is not None
    assert list(config.routes) == ["other"]


def test_its_faults_are_told_at_once_when_it_is_asked_for(tmp_path: Path) -> None:
    """The settings themselves are sound: what is wrong with routes is for those who have routes."""
    settings = settings_of(tmp_path, "[routes.a]\n[routes.b]\n[router]\n")

    with pytest.raises(ConfigurationFaults) as refused:
        settings.gateway_config()

    path = tmp_path / "cachemw.toml"
    assert [fault[:45] for fault in refused.value.faults] == [
        f"{path}:1: [routes.a]: it has no targets"[:45],
        f"{path}:2: [routes.b]: it has no targets"[:45],
        f"{path}:3: [router]: unknown (is it routes?)"[:45],
    ]


def test_workers_are_told_of_the_file_and_read_nothing_else_in_it(tmp_path: Path) -> None:
    """E5: whatever becomes of its settings while the proxy runs."""
    settings = settings_of(tmp_path, f"[serve]\nport = 1\n{ROUTE}{CLIENT}")
    environment = settings.to_environment()
    file_of(tmp_path, f"[serve]\nport = true\n{ROUTE}{CLIENT}")

    told = Settings.from_environment({"CACHEMW_CONFIG": "/gone/cachemw.toml", **environment})

    assert told == settings
    assert told.has_clients
    assert told.gateway_config() == settings.gateway_config()
    refuse_unknown_variables(environment)


def test_a_gateways_file_is_no_setting(tmp_path: Path) -> None:
    """Nobody sets it but by `--config`, and workers of a proxy without one are told of none."""
    assert not {"config", "has_clients"} & SETTINGS.keys()
    assert Settings.from_environment(Settings().to_environment()).config == ""


def test_a_client_of_the_file_is_let_in_by_its_key(tmp_path: Path) -> None:
    path = tmp_path / "keys.toml"
    path.write_text("alice = 'sk-of-alice'\nevals2 = 'sk-2'\n")
    path.chmod(0o600)
    settings = settings_of(tmp_path, f"{ROUTE}{CLIENT}[clients.evals2]\n", CACHEMW_CLIENT_KEYS_FILE=str(path))

    assert settings.demands_keys
    assert settings.rules().named_keys == {
        digest("sk-of-alice"): "alice",
        digest("sk-2"): "evals2",
        digest("sk-of-evals"): "evals",
    }


def test_clients_alone_are_enough_for_keys_to_be_demanded(tmp_path: Path) -> None:
    settings = settings_of(tmp_path, ROUTE + CLIENT)

    assert settings.demands_keys
    assert settings.rules().demands_keys
    assert not settings_of(tmp_path, f"{ROUTE}[clients]\n").demands_keys


def test_where_no_client_has_a_key_nobody_is_let_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """I4: a variable that somebody forgot opens nothing."""
    monkeypatch.delenv("EVALS_KEY")

    with pytest.raises(ConfigurationError, match="clients bring keys, and no client in"):
        settings_of(tmp_path, ROUTE + CLIENT).rules()


@pytest.mark.parametrize("key", ["cachemw", "a b", ""])
def test_a_key_of_a_client_that_cannot_be_one_is_refused_and_not_shown(
    key: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """I4."""
    monkeypatch.setenv("EVALS_KEY", key)

    with pytest.raises(ConfigurationError) as refused:
        settings_of(tmp_path, ROUTE + CLIENT).rules()

    assert "a b" not in str(refused.value)


def test_a_key_in_two_places_for_one_client_is_a_fault(tmp_path: Path) -> None:
    """D2 of the rulings."""
    path = tmp_path / "keys.toml"
    path.write_text("evals = 'sk-of-evals'\n")
    path.chmod(0o600)

    with pytest.raises(ConfigurationFaults, match="its key stands in the file of client keys too"):
        settings_of(tmp_path, ROUTE + CLIENT, CACHEMW_CLIENT_KEYS_FILE=str(path)).gateway_config()


def test_two_clients_with_one_key_are_refused() -> None:
    config = config_of(
        f"[clients.a]\nkey_sha256 = '{digest('sk-x').hex()}'\n[clients.b]\nkey_env = 'B'\n[clients.c]\nkey_env = 'C'\n"
    )

    assert with_clients({}, config, {"B": "sk-b"}) == {digest("sk-x"): "a", digest("sk-b"): "b"}
    for named, environment in (({}, {"B": "sk-x"}), ({digest("sk-b"): "alice"}, {"B": "sk-b"})):
        with pytest.raises(ConfigurationError, match="have the same key") as refused:
            with_clients(named, config, environment)
        assert "sk-" not in str(refused.value)
