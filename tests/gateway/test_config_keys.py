"""No key stands in a gateway's file; and none is shown that does, whatever else there is."""

import json
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cachemw.errors import ConfigurationFaults
from cachemw.gateway.config import GATEWAY_TABLES, entry_of
from cachemw.gateway.routes import GatewayConfig
from tests.gateway.configuring import config_of

SECRETS = (
    "sk-never-to-be-seen-1",
    "csk-0123456789abcdef",
    "gsk_Zx81kQ0aPq93LmNb72Vc",
    "Zx81kQ0aPq93LmNb72VcXeRt5YuIoP12",
    "AIzaSyD-1234567890",
)
SLOTS = (
    "[providers.groq]\nkey = {}",
    "[providers.groq]\nkey_env = {}",
    "[providers.groq]\nkey_env = [{}]",
    "[providers.groq]\nbase_url = {}",
    "[providers.groq]\n{} = 1",
    "[providers.groq.{}]",
    "[providers.{}]",
    "[providers.{}]\nbase_url = 1\n[routes.a]\ntargets = ['acme/x']",
    "[{}]\n[routes]",
    "[routes.{}]",
    "[routes.a]\ntargets = [{}]",
    "[routes.a]\ntargets = {}",
    "[routes.a]\nspares = [{}, {}]",
    "[routes.a]\npick = {}",
    "[routes.a]\nhedge = {{ after = {} }}",
    "[targets.{}]",
    "[targets.'xai/x']\nset = {{ model = {} }}",
    "[targets.'xai/x']\nset.{} = 2027-01-01",
    "[targets.'xai/x']\ndrop = [{}]\nset = {{ {} = 1 }}",
    "[targets.'xai/x']\nprices = {}",
    "[clients.{}]",
    "[clients.a]\nkey_sha256 = {}",
    "[clients.a]\nroutes = [{}]",
    "[clients.a]\nexpires = {}",
    "[models]\n{} = 1",
    "[models]\na = {}",
    "[accounting]\non_budget_error = {}",
    "[routes.{}]\n[models]\n{} = 'a'",
)


@pytest.mark.parametrize("slot", SLOTS)
@pytest.mark.parametrize("secret", SECRETS)
def test_no_key_that_stands_in_the_file_is_shown(slot: str, secret: str) -> None:
    """I4: wherever somebody put it."""
    for quoted in (f'"{secret}"', f"'{secret}'"):
        with pytest.raises(ConfigurationFaults) as refused:
            config_of(slot.replace("{{", "<").replace("}}", ">").replace("{}", quoted).replace("<", "{").replace(">", "}"))

        assert secret not in str(refused.value)
        assert secret not in repr(refused.value)


@pytest.mark.parametrize("value", ["sk-never-to-be-seen-1", "Bearer x", "https://u:sk-never-to-be-seen-1@x.example/v1"])
def test_what_looks_like_a_key_is_refused_wherever_it_stands(value: str) -> None:
    """I4: also where any text would be taken."""
    for text in (f"[targets.'xai/x']\nset.a = ['{value}']", f"[models]\n\n'{value}' = 'xai/x'", f"[routes.'{value}']"):
        with pytest.raises(ConfigurationFaults, match="no key stands in this file") as refused:
            config_of(text)

        assert value not in str(refused.value)


@pytest.mark.parametrize("name", ["HF_TOKEN", "TEAM_SK_KEY", "GSK_PRODUCTION", "task_key"])
def test_names_of_variables_are_no_keys(name: str) -> None:
    assert config_of(f"[providers.groq]\nkey_env = '{name}'").providers["groq"].key_env == (name,)


WORDS = [
    *("cerebras", "openai", "acme", "auto", "cerebras/a", "groq/b", "acme/c", "/", "", "é", "first", "p95", "day", "set"),
    *(
        "base_url",
        "key_env",
        "key_file",
        "key",
        "http://x/v1",
        "targets",
        "spares",
        "pick",
        "hedge",
        "after",
        "weights",
        "name",
    ),
    *("weight", "drop", "context", "prices", "input", "output", "cached", "routes", "budget", "usd", "per", "rate", "requests"),
    *("expires", "key_sha256", "model", "stream", "on_budget_error", "refuse", SECRETS[0], f"x/{SECRETS[3]}"),
]
SCALARS = st.one_of(
    *(st.sampled_from(WORDS).map(json.dumps), st.text(max_size=5).map(json.dumps), st.booleans().map(json.dumps)),
    st.integers().map(str),
    *(st.floats().map(repr), st.dates().map(str), st.datetimes().map(lambda found: found.isoformat())),
)


def inline(members: dict[str, str]) -> str:
    return "{" + ", ".join(f"{json.dumps(name)} = {value}" for name, value in members.items()) + "}"


VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3).map(lambda items: f"[{', '.join(items)}]"),
        st.dictionaries(st.sampled_from(WORDS), inner, max_size=4).map(inline),
    ),
    max_leaves=12,
)
LINES = """
[providers.local]
base_url = "http://10.0.0.7:8000/v1"
[routes.auto]
targets = ["cerebras/a", "groq/b"]
spares = ["local/c"]
[targets."cerebras/a"]
[models]
smart = "auto"
[clients.evals]
key_env = "EVALS_KEY"
routes = ["auto"]
"""
FILES = st.dictionaries(st.sampled_from((*GATEWAY_TABLES, "serve", "router")), VALUES).map(
    lambda tables: "\n".join(f"{name} = {value}" for name, value in tables.items())
)


@given(FILES | st.text() | st.lists(st.sampled_from(LINES.split("\n"))).map("\n".join))
def test_whatever_stands_in_it_is_read_or_told_and_no_key_is_shown(text: str) -> None:
    """I4: and nothing else is ever raised."""
    config, faults = read(text)

    assert bool(faults) is (config is None)
    assert [fault for fault in faults for secret in SECRETS if secret in fault] == []
    if config is not None:
        assert_consistent(config)


def read(text: str) -> tuple[GatewayConfig | None, tuple[str, ...]]:
    try:
        return config_of(text), ()
    except ConfigurationFaults as refused:
        return None, refused.faults


def assert_consistent(config: GatewayConfig) -> None:
    assert all(config.targets[name].name == name for route in config.routes.values() for name in route.targets + route.spares)
    assert all(entry_of(config, name) is entry for name, entry in config.targets.items())
    assert all(named in config.routes or entry_of(config, named) for named in named_in(config))


def named_in(config: GatewayConfig) -> Iterator[str]:
    yield from config.models.values()
    for client in config.clients.values():
        yield from client.routes
