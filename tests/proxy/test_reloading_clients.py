"""SIGHUP with a file of routes: whether clients bring keys at all is decided once, when the server starts."""

from pathlib import Path

import httpx
import pytest

from cachemw import ConfigurationError, MemoryStore
from cachemw.proxy import Gate, Proxy
from cachemw.proxy.gateways import gateway_of
from cachemw.proxy.reloading import read_anew
from cachemw.proxy.settings import Settings
from tests.serving import serving_in_thread
from tests.upstream import Upstream

ALICE = '[clients.alice]\nkey_env = "ALICE_KEY"\n'
AUTO = '[routes.auto]\ntargets = ["local/m"]\n'


class Served:
    """A proxy by a file of routes, in front of one provider, as `serve` makes it."""

    def __init__(self, path: Path, provider: str, text: str) -> None:
        self.path, self._providers = path, f'[providers.local]\nbase_url = "{provider}/v1"\nkey_env = "LOCAL_KEY"\n'
        self._write(text)
        self.settings = Settings(config=str(path), has_clients="[clients" in text)
        rules = self.settings.rules()
        gateway = gateway_of(self.settings, MemoryStore())
        assert gateway is not None
        self.gateway = gateway
        self.gate = Gate(Proxy(gateway=gateway, store=MemoryStore(), policy=rules.policy), rules)

    def reload(self, text: str) -> None:
        self._write(text)
        read_anew(self.gate, self.settings, self.gateway)

    def _write(self, text: str) -> None:
        self.path.write_text(self._providers + text)


def ask(url: str, key: str | None) -> int:
    headers = {} if key is None else {"authorization": f"Bearer {key}"}
    body = {"model": "auto", "messages": [{"role": "user", "content": "hello"}]}
    return httpx.post(f"{url}/v1/chat/completions", json=body, headers=headers, trust_env=False).status_code


def test_a_worker_that_is_begun_later_takes_no_clients_that_the_others_do_not_have(tmp_path: Path) -> None:
    """G9: its gateway would be one for callers without client keys."""
    path = tmp_path / "cachemw.toml"
    path.write_text('[providers.local]\nbase_url = "http://127.0.0.1:9/v1"\nkey_env = "LOCAL_KEY"\n' + AUTO + ALICE)

    assert Settings(config=str(path), has_clients=True).rules().demands_keys
    with pytest.raises(ConfigurationError, match="restart"):
        Settings(config=str(path)).rules()


@pytest.fixture(autouse=True)
def _keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCAL_KEY", "sk-provider")
    monkeypatch.setenv("ALICE_KEY", "sk-alice")


def test_a_file_that_loses_its_last_client_opens_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Else everybody would be let in, and lent the provider's key."""
    upstream = Upstream()
    with serving_in_thread(upstream) as provider:
        served = Served(tmp_path / "cachemw.toml", provider, AUTO + ALICE)
        with serving_in_thread(served.gate) as url:
            before = [ask(url, None), ask(url, "sk-alice")]
            served.reload(AUTO)
            after = [ask(url, None), ask(url, "sk-alice")]

    assert (before, after) == ([401, 200], [401, 200])
    assert caplog.messages[0].startswith("client keys and routes stay as they were: ")


def test_a_file_that_gets_its_first_client_shows_no_provider_its_key(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """G9: until the server is started anew, keys that callers bring are theirs for the provider, and no client's."""
    upstream = Upstream()
    with serving_in_thread(upstream) as provider:
        served = Served(tmp_path / "cachemw.toml", provider, AUTO)
        with serving_in_thread(served.gate) as url:
            served.reload(AUTO + ALICE)
            statuses = [ask(url, None), ask(url, None)]

    assert statuses == [200, 200]
    assert caplog.messages[0].startswith("client keys and routes stay as they were: ")
    assert not served.gate.rules.demands_keys
