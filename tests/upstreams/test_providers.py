"""Providers by name, by URL and by environment."""

from collections.abc import Callable

import pytest

from cachemw.errors import ConfigurationError
from cachemw.upstreams import HttpUpstream, cerebras, upstream_of
from cachemw.upstreams.providers import KEY_VARIABLE, PROVIDERS, providers_in
from tests.upstreams.raw import ask, closing, listening

PLACES = {
    "cerebras": "https://api.cerebras.ai:443/v1",
    "openai": "https://api.openai.com:443/v1",
    "groq": "https://api.groq.com:443/openai/v1",
    "gemini": "https://generativelanguage.googleapis.com:443/v1beta/openai",
    "deepinfra": "https://api.deepinfra.com:443/v1/openai",
    "mistral": "https://api.mistral.ai:443/v1",
    "xai": "https://api.x.ai:443/v1",
    "openrouter": "https://openrouter.ai:443/api/v1",
    "anthropic": "https://api.anthropic.com:443/v1",
}


@pytest.fixture(autouse=True)
def nothing_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the machine has set."""
    monkeypatch.delenv(KEY_VARIABLE, raising=False)
    for provider in PROVIDERS.values():
        for variable in provider.key_variables:
            monkeypatch.delenv(variable, raising=False)
        monkeypatch.delenv(provider.url_variable, raising=False)


@pytest.mark.parametrize(("name", "place"), PLACES.items(), ids=PLACES)
def test_a_provider_is_known_by_its_name(name: str, place: str) -> None:
    assert upstream_of(name).base_url == place


def test_every_provider_is_in_the_table_above() -> None:
    assert list(PROVIDERS) == list(PLACES)


def test_keys_and_places_are_said_by_the_variables_that_the_providers_own_tools_read() -> None:
    said = {name: (*provider.key_variables, provider.url_variable) for name, provider in PROVIDERS.items()}

    assert said == {
        "cerebras": ("CEREBRAS_API_KEY", "CEREBRAS_BASE_URL"),
        "openai": ("OPENAI_API_KEY", "OPENAI_BASE_URL"),
        "groq": ("GROQ_API_KEY", "GROQ_BASE_URL"),
        "gemini": ("GEMINI_API_KEY", "GOOGLE_API_KEY", "GEMINI_BASE_URL"),
        "deepinfra": ("DEEPINFRA_API_KEY", "DEEPINFRA_TOKEN", "DEEPINFRA_BASE_URL"),
        "mistral": ("MISTRAL_API_KEY", "MISTRAL_BASE_URL"),
        "xai": ("XAI_API_KEY", "XAI_BASE_URL"),
        "openrouter": ("OPENROUTER_API_KEY", "OPENROUTER_BASE_URL"),
        "anthropic": ("ANTHROPIC_API_KEY", "ANTHROPIC_BASE_URL"),
    }


SEVERAL = [name for name, provider in PROVIDERS.items() if len(provider.key_variables) > 1]


@pytest.mark.parametrize("name", SEVERAL)
def test_of_several_variables_the_first_that_is_set_has_the_key(name: str) -> None:
    first, second = PROVIDERS[name].key_variables

    assert PROVIDERS[name].key_variable({second: "x"}) == second
    assert PROVIDERS[name].key_variable({first: "", second: "x"}) == second
    assert PROVIDERS[name].key_variable({first: "x", second: "x"}) == first
    assert PROVIDERS[name].key_variable({}) == first


def test_providers_are_where_the_surroundings_say_that_they_are() -> None:
    found = providers_in({"ANTHROPIC_BASE_URL": "http://127.0.0.1:9", "XAI_BASE_URL": "http://127.0.0.1:9/v1/"})

    assert {name: row.base_url for name, row in found.items() if row != PROVIDERS[name]} == {
        "anthropic": "http://127.0.0.1:9/v1",
        "xai": "http://127.0.0.1:9/v1",
    }
    assert list(found) == list(PROVIDERS)


@pytest.mark.parametrize(
    "said",
    ["https://gateway.example", "https://gateway.example/", "https://gateway.example/v1", "https://gateway.example/v1/"],
)
@pytest.mark.parametrize("given_by", ["environment", "argument"])
def test_the_cerebras_url_is_taken_with_and_without_its_version(
    said: str, given_by: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its own SDK leaves the segment out, as Anthropic's does, and all other tools write it."""
    if given_by == "environment":
        monkeypatch.setenv("CEREBRAS_BASE_URL", said)
        upstreams = [cerebras(), upstream_of("cerebras")]
    else:
        monkeypatch.setenv("CEREBRAS_BASE_URL", "https://elsewhere.example")
        upstreams = [cerebras(base_url=said)]

    assert {upstream.base_url for upstream in upstreams} == {"https://gateway.example:443/v1"}


def test_another_providers_url_is_taken_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", "https://gateway.example/openai/v2/")

    assert upstream_of("openai").base_url == "https://gateway.example:443/openai/v2"


def test_a_variable_that_is_empty_is_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CEREBRAS_BASE_URL", "")

    assert cerebras().base_url == PLACES["cerebras"]


@pytest.mark.parametrize("name", ["cerebra", "Cerebras", "", "api.cerebras.ai/v1", "localhost:8000"])
def test_an_unknown_name_is_refused_with_those_there_are(name: str) -> None:
    with pytest.raises(
        ConfigurationError, match="cerebras, openai, groq, gemini, deepinfra, mistral, xai, openrouter, anthropic"
    ):
        upstream_of(name)


@pytest.mark.parametrize("said", ["ftp://api.example/v1", "https://user:pw@api.example/v1", "https:///v1"])
def test_a_url_that_is_no_upstream_is_refused(said: str) -> None:
    with pytest.raises(ConfigurationError):
        upstream_of(said)


NO_KEYS = [
    *("sk-secret\r", "sk-secret\n", "sk-secret\r\n", "sk-se\x00cret", "sk-se\tcret", "sk-secret\x7f"),
    *("sk-s\u00e9cret", "sk-secret\u2019", "sk-secret\udcff", " sk-secret", "sk-secret ", "\tsk-secret", " "),
]


@pytest.mark.parametrize("key", NO_KEYS, ids=ascii)
@pytest.mark.parametrize(
    "make",
    [
        lambda key: HttpUpstream("https://api.example/v1", api_key=key),
        lambda key: cerebras(api_key=key),
        lambda _: cerebras(),
        lambda _: upstream_of("cerebras"),
        lambda _: upstream_of("https://api.example/v1"),
    ],
    ids=["to an upstream", "to a provider", "variable", "variable of a name", "variable of a URL"],
)
def test_a_key_that_no_request_can_carry_is_refused_and_not_shown(
    key: str, make: Callable[[str], HttpUpstream], monkeypatch: pytest.MonkeyPatch
) -> None:
    """F80, I4: a file of variables with the line ends of Windows is a usual way to come by one."""
    monkeypatch.setattr("os.environ", {"CEREBRAS_API_KEY": key, KEY_VARIABLE: key})

    with pytest.raises(ConfigurationError) as refused:
        make(key)

    assert "cret" not in str(refused.value)
    assert refused.value.__cause__ is refused.value.__context__ is None


@pytest.mark.anyio
@pytest.mark.parametrize("key", ["", None])
async def test_an_empty_key_is_none(key: str | None) -> None:
    async with listening() as server:
        await key_sent(HttpUpstream(server.url, api_key=key))

    assert server.sent(b"authorization") == []


async def key_sent(upstream: HttpUpstream, path: bytes = b"/v1/chat/completions") -> None:
    async with closing(upstream):
        await ask(upstream, path)


@pytest.mark.anyio
async def test_keys_come_from_the_variable_of_their_provider(monkeypatch: pytest.MonkeyPatch) -> None:
    """I1: a provider is never sent the key of another."""
    for number, provider in enumerate(PROVIDERS.values()):
        monkeypatch.setenv(provider.key_variables[-1], f"sk-{number}")
    monkeypatch.setenv(KEY_VARIABLE, "sk-of-a-url")

    for number, (name, provider) in enumerate(PROVIDERS.items()):
        async with listening() as server:
            monkeypatch.setenv(provider.url_variable, server.url)
            await key_sent(upstream_of(name))

        assert server.sent(b"authorization") == [b"Bearer sk-%d" % number]


@pytest.mark.anyio
async def test_a_url_takes_its_key_from_a_variable_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CEREBRAS_API_KEY", "sk-cerebras")

    async with listening() as server:
        await key_sent(upstream_of(server.url + "/openai/v1"))
        without = server.sent(b"authorization")
        monkeypatch.setenv(KEY_VARIABLE, "sk-of-a-url")
        await key_sent(upstream_of(server.url + "/openai/v1"))

    assert without == []
    assert server.sent(b"authorization") == [b"Bearer sk-of-a-url"]
    assert server.request_line() == b"POST /openai/v1/chat/completions HTTP/1.1"


@pytest.mark.anyio
async def test_an_argument_comes_before_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CEREBRAS_API_KEY", "sk-environment")

    async with listening() as server:
        await key_sent(cerebras(api_key="sk-argument", base_url=server.url))

    assert server.sent(b"authorization") == [b"Bearer sk-argument"]
    assert server.request_line() == b"POST /v1/chat/completions HTTP/1.1"
