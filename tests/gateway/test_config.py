"""The gateway's file: what it says, and all that can be wrong with it, at once and with its lines."""

import datetime

import pytest

from cachemw.errors import ConfigurationFaults
from cachemw.gateway.config import GATEWAY_TABLES, entry_of, has_gateway, unpriced
from cachemw.gateway.routes import (
    ClientEntry,
    GatewayConfig,
    HedgeEntry,
    ProviderEntry,
    RequestLimit,
    RouteEntry,
    SpendingLimit,
    TargetEntry,
)
from cachemw.money import Price, Rates
from cachemw.routing import Rewrite
from cachemw.upstreams.providers import PROVIDERS
from tests.gateway.configuring import ALL_SET, config_of

WHOLE = """
[serve]
port = "what is said here is read elsewhere"

[providers.cerebras]
[providers.openai]
key_env = "TEAM_OPENAI_KEY"
[providers.xai]
key_file = "/run/secrets/sk-of-the-team"
[providers.local]
base_url = "http://10.0.0.7:8000/v1/"
[providers.second]
base_url = "https://api.openai.com/v1"
key_env = ["A_KEY", "B_KEY"]

[routes.auto]
targets = ["cerebras/gpt-oss-120b", "groq/openai/gpt-oss-120b"]
pick = "fastest"
spares = ["openai/gpt-5.4-mini"]
hedge = { after = "p95", extra = 0.1 }
first_token = 10
answer = 60.5
on_refusal = "next"

[routes."gpt-oss-120b"]
targets = [{ name = "local/any", weight = 3 }, "cerebras/gpt-oss-120b"]
pick = "weighted"
hedge = { after = 1 }

[targets."mistral/mistral-large-latest"]
drop = ["logit_bias"]
set = { safe_prompt = false, a = [1, 2.5, "x", { b = 18_446_744_073_709_551_615 }] }
context = 131072
prices = { input = 2.0, output = 6, cached = 0.2, cache_write = 0.0000000001 }
[targets."cerebras/gpt-oss-120b"]
context = 65536

[clients.evals]
key_env = "EVALS_KEY"
routes = ["auto", "smart", "openai/gpt-5.4-mini"]
budget = { usd = 25.5, per = "day" }
rate = { requests = 60, per = "minute" }
expires = 2027-01-01
[clients."bob@example.org"]
key_sha256 = "sha256:ABCDEF0123456789abcdef0123456789abcdef0123456789abcdef0123456789"
[clients.carol]

[models]
smart = "gpt-oss-120b"
"meta-llama/any" = "groq/llama"

[accounting]
on_budget_error = "allow"
"""


@pytest.fixture(scope="module")
def whole() -> GatewayConfig:
    return config_of(WHOLE, variables=ALL_SET | {"TEAM_OPENAI_KEY", "B_KEY", "EVALS_KEY"}, keyed={"carol"})


def test_providers_are_those_that_are_known_and_those_of_the_file(whole: GatewayConfig) -> None:
    own = {name: entry for name, entry in whole.providers.items() if name not in PROVIDERS}

    assert set(whole.providers) == {*PROVIDERS, "local", "second"}
    assert own == {
        "local": ProviderEntry("local", "http://10.0.0.7:8000/v1"),
        "second": ProviderEntry("second", "https://api.openai.com/v1", ("A_KEY", "B_KEY"), None, "openai"),
    }
    assert whole.providers["openai"] == ProviderEntry(
        "openai", "https://api.openai.com/v1", ("TEAM_OPENAI_KEY",), None, "openai"
    )
    assert whole.providers["xai"] == ProviderEntry("xai", "https://api.x.ai/v1", (), "/run/secrets/sk-of-the-team", "xai")
    assert whole.providers["gemini"].key_env == ("GEMINI_API_KEY", "GOOGLE_API_KEY")


def test_routes_are_as_they_are_written(whole: GatewayConfig) -> None:
    assert list(whole.routes.values()) == [
        RouteEntry(
            "auto",
            ("cerebras/gpt-oss-120b", "groq/openai/gpt-oss-120b"),
            ("openai/gpt-5.4-mini",),
            (),
            "fastest",
            HedgeEntry("p95", 0.1),
            10.0,
            60.5,
            "next",
        ),
        RouteEntry("gpt-oss-120b", ("local/any", "cerebras/gpt-oss-120b"), (), (3.0, 1.0), "weighted", HedgeEntry(1.0, 0.05)),
    ]


def test_targets_are_those_of_routes_and_those_with_words_of_their_own(whole: GatewayConfig) -> None:
    mistral = TargetEntry(
        "mistral",
        "mistral-large-latest",
        Rewrite(
            "mistral-large-latest",
            (("a", b'[1,2.5,"x",{"b":18446744073709551615}]'), ("safe_prompt", b"false")),
            frozenset({"logit_bias"}),
        ),
        131_072,
        Price(Rates(2_000_000_000, 6_000_000_000, 200_000_000, 1)),
    )

    assert tuple(whole.targets.values()) == (
        TargetEntry("cerebras", "gpt-oss-120b", Rewrite("gpt-oss-120b"), 65_536),
        TargetEntry("groq", "openai/gpt-oss-120b", Rewrite("openai/gpt-oss-120b")),
        TargetEntry("openai", "gpt-5.4-mini", Rewrite("gpt-5.4-mini")),
        TargetEntry("local", "any", Rewrite("any")),
        mistral,
    )
    assert [target.name for target in whole.targets.values()] == list(whole.targets)


def test_clients_have_what_they_may_do_and_where_their_keys_are(whole: GatewayConfig) -> None:
    digest = "abcdef0123456789" * 4

    assert list(whole.clients.values()) == [
        ClientEntry(
            "evals",
            ("auto", "gpt-oss-120b", "openai/gpt-5.4-mini"),
            SpendingLimit(25_500_000_000, "day"),
            RequestLimit(60, "minute"),
            datetime.date(2027, 1, 1),
            "EVALS_KEY",
        ),
        ClientEntry("bob@example.org", key_sha256=digest),
        ClientEntry("carol"),
    ]
    assert whole.models == {"smart": "gpt-oss-120b", "meta-llama/any": "groq/llama"}
    assert (whole.on_budget_error, whole.off, whole.warnings) == ("allow", {}, ())


@pytest.mark.parametrize("text", ["", "# nothing yet\n", "[serve]\n", "".join(f"[{table}]\n" for table in GATEWAY_TABLES)])
def test_a_file_that_says_nothing_has_the_known_providers_and_no_routes(text: str) -> None:
    config = config_of(text)

    assert list(config.providers) == list(PROVIDERS)
    assert (config.routes, config.targets, config.clients, config.models) == ({}, {}, {}, {})
    assert config.on_budget_error == "refuse"


@pytest.mark.parametrize("table", GATEWAY_TABLES)
def test_a_file_with_one_of_its_tables_is_a_gateways(table: str) -> None:
    assert has_gateway({"serve": {}, table: {}})
    assert not has_gateway({"serve": {}})


@pytest.mark.parametrize(
    ("name", "model"),
    [
        ("mistral/mistral-large-latest", "mistral-large-latest"),
        ("openrouter/openrouter/auto", "openrouter/auto"),
        ("local/x:y@z", "x:y@z"),
        ("gpt-4o", None),
        ("acme/gpt", None),
        ("openai/", None),
        ("openai/a b", None),
        ('openai/a"b', None),
        ("openai/é", None),
        ("", None),
    ],
)
def test_a_name_of_a_provider_and_a_model_is_a_target_in_the_file_or_not(
    whole: GatewayConfig, name: str, model: str | None
) -> None:
    """G9: each is asked for a model by its own name."""
    entry = entry_of(whole, name)

    assert (entry and (entry.model, entry.rewrite.model, entry.name)) == (model and (model, model, name))
    assert name not in whole.targets or entry is whole.targets[name]


ROUTE = "[routes.auto]\ntargets = ['cerebras/a', 'deepinfra/b']\nspares = ['local/c']\n"
LOCAL = "[providers.local]\nbase_url = 'http://10.0.0.7:8000/v1'\n"


def test_who_has_no_key_is_off_and_that_is_told() -> None:
    config = config_of(LOCAL + ROUTE, variables={"CEREBRAS_API_KEY"})

    assert config.off["deepinfra"] == "none of DEEPINFRA_API_KEY, DEEPINFRA_TOKEN is set"
    assert config.off["groq"] == "GROQ_API_KEY is not set"
    assert not {"cerebras", "local"} & config.off.keys()
    assert config.warnings == ("F: none of DEEPINFRA_API_KEY, DEEPINFRA_TOKEN is set, so deepinfra is not asked: deepinfra/b",)
    assert config.routes["auto"].targets == ("cerebras/a", "deepinfra/b")


@pytest.mark.parametrize("variables", [{"DEEPINFRA_TOKEN"}, {"DEEPINFRA_API_KEY"}])
def test_one_of_several_variables_is_enough(variables: set[str]) -> None:
    assert "deepinfra" not in config_of("", variables=variables).off


def test_a_key_in_a_file_is_not_looked_for_here() -> None:
    assert "groq" not in config_of("[providers.groq]\nkey_file = '/there/is/none'", variables=set()).off


def test_a_route_of_which_nobody_can_be_asked_is_a_fault() -> None:
    text = "[routes.auto]\ntargets = ['cerebras/a']\nspares = ['groq/b']\n"

    assert config_of(text, variables={"GROQ_API_KEY"}).routes
    with pytest.raises(ConfigurationFaults) as refused:
        config_of(text, variables=set())

    assert refused.value.faults == (
        "F:1: [routes.auto]: nobody is left to ask: CEREBRAS_API_KEY is not set, GROQ_API_KEY is not set",
    )


def test_a_client_whose_variable_is_not_set_is_nobody_and_that_is_told() -> None:
    config = config_of("[clients.evals]\nkey_env = 'EVALS_KEY'", variables=set())

    assert config.warnings == ("F:1: [clients.evals]: EVALS_KEY is not set, so nobody is this client",)


def test_a_mount_refuses_clients_unless_it_leaves_them_out() -> None:
    """D2 of the rulings: a mount has no clients of its own."""
    text = ROUTE.replace("local", "groq") + "[clients.broken]\nkey = 'x'\n"

    with pytest.raises(ConfigurationFaults) as refused:
        config_of(text, clients="refuse")

    assert refused.value.faults == ("F:4: [clients]: clients are the proxy's: clients=False leaves them out",)
    assert config_of(text, clients="ignore").clients == {}
    assert config_of(ROUTE.replace("local", "groq"), clients="refuse").routes


def test_targets_of_unknown_price_are_named_for_clients_with_a_budget() -> None:
    """E10: what cannot be reserved cannot be allowed."""
    text = (
        ROUTE.replace("local", "groq")
        + "[targets.'groq/c']\nprices = { input = 1, output = 1 }\n[targets.'xai/d']\n[targets.'gemini/off']\n"
        + "[clients.rich]\nkey_env = 'A'\n"
        + "[clients.one]\nkey_env = 'B'\nbudget = { usd = 1, per = 'day' }\nroutes = ['auto']\n"
        + "[clients.all]\nkey_env = 'C'\nbudget = { usd = 1, per = 'day' }\n"
        + "[clients.pinned]\nkey_env = 'D'\nbudget = { usd = 1, per = 'day' }\nroutes = ['groq/c', 'mistral/e']\n"
    )
    config = config_of(text, variables=ALL_SET - {"GEMINI_API_KEY", "GOOGLE_API_KEY"})

    assert unpriced(config, {"cerebras/a"}) == {
        "one": ("deepinfra/b",),
        "all": ("deepinfra/b", "xai/d"),
        "pinned": ("mistral/e",),
    }
    assert unpriced(config, {"cerebras/a", "deepinfra/b", "xai/d", "mistral/e"}) == {}
