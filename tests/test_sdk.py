"""One name for the transports: it picks the family that an SDK speaks."""

import sys
from collections.abc import Callable
from types import ModuleType, SimpleNamespace
from typing import Any

import anthropic
import cerebras.cloud.sdk
import httpx
import httpx2
import openai
import pytest

import cachemw.httpx
import cachemw.httpx2
from cachemw import ConfigurationError, MemoryStore, sdk
from cachemw.simulator import Simulator
from tests.mounts.inner_transports import BY_FAMILY, BY_KIND, URL, answering, asking, inner_of


class OwnOpenAI(openai.OpenAI):
    """A client of one's own."""


class OwnClient(httpx.Client):
    """A client of one's own."""


def older(**members: Any) -> ModuleType:
    """Return an SDK that speaks httpx, as `openai` before 3 did."""
    module = ModuleType("older")
    module.__dict__.update(DefaultHttpxClient=OwnClient, **members)
    return module


SPOKEN: dict[str, tuple[Callable[[], Any], str]] = {
    "openai": (lambda: openai, "httpx2"),
    "OpenAI": (lambda: openai.OpenAI, "httpx2"),
    "AsyncOpenAI": (lambda: openai.AsyncOpenAI, "httpx2"),
    "AzureOpenAI": (lambda: openai.AzureOpenAI, "httpx2"),
    "a client of openai's": (lambda: openai.OpenAI(api_key="k", http_client=httpx2.Client()), "httpx2"),
    "an awaited client of openai's": (lambda: openai.AsyncOpenAI(api_key="k", http_client=httpx2.AsyncClient()), "httpx2"),
    "anthropic": (lambda: anthropic, "httpx2"),
    "Anthropic": (lambda: anthropic.Anthropic, "httpx2"),
    "AsyncAnthropic": (lambda: anthropic.AsyncAnthropic, "httpx2"),
    "a client of anthropic's": (lambda: anthropic.Anthropic(api_key="k", http_client=httpx2.Client()), "httpx2"),
    "one over httpx": (lambda: openai.OpenAI(api_key="k", http_client=httpx.Client()), "httpx"),  # type: ignore[arg-type]
    "a subclass": (lambda: OwnOpenAI, "httpx2"),
    "cerebras": (lambda: cerebras.cloud.sdk, "httpx"),
    "Cerebras": (lambda: cerebras.cloud.sdk.Cerebras, "httpx"),
    "AsyncCerebras": (lambda: cerebras.cloud.sdk.AsyncCerebras, "httpx"),
    "an older SDK": (older, "httpx"),
    "httpx": (lambda: httpx, "httpx"),
    "httpx2": (lambda: httpx2, "httpx2"),
    "a client of httpx": (httpx.Client, "httpx"),
    "a client's class": (lambda: OwnClient, "httpx"),
    "nothing": (lambda: None, "httpx2"),
}
FAMILIES: dict[str, tuple[Any, Any]] = {"httpx": (httpx, cachemw.httpx), "httpx2": (httpx2, cachemw.httpx2)}
MESSAGE: Any = {"model": "claude-opus-5", "max_tokens": 100, "messages": [{"role": "user", "content": "hi"}]}
IN_EACH = pytest.mark.parametrize(("told", "spoken"), SPOKEN.values(), ids=SPOKEN.keys())


@IN_EACH
def test_an_sdk_gets_the_transport_and_the_client_of_its_family(told: Callable[[], Any], spoken: str) -> None:
    """F16."""
    family, mount = FAMILIES[spoken]
    named, store = told(), MemoryStore()

    assert sdk.family_of(named) == spoken
    assert type(sdk.transport(named, store=store)) is mount.CacheTransport
    assert type(sdk.async_transport(named, store=store)) is mount.AsyncCacheTransport
    with sdk.http_client(named, store=store) as client:
        assert isinstance(client, family.Client)
    assert isinstance(sdk.async_http_client(named, store=store), family.AsyncClient)


@pytest.mark.parametrize("told", [object(), "openai", sys, SimpleNamespace(_client=7), str])
def test_what_is_no_sdk_is_refused_and_what_to_do_is_said(told: Any) -> None:
    """F16."""
    with pytest.raises(ConfigurationError, match=r"cachemw\.httpx or cachemw\.httpx2"):
        sdk.transport(told)


def test_the_clients_of_sdks_have_their_own_timeouts() -> None:
    with sdk.http_client(store=MemoryStore()) as client:
        assert type(client) is openai.DefaultHttpxClient
        assert client.timeout.read == 600


@pytest.mark.parametrize(
    ("there", "spoken"),
    [
        ({"cerebras.cloud.sdk"}, "httpx"),
        ({"openai", "cerebras.cloud.sdk"}, "httpx2"),
        ({"anthropic"}, "httpx2"),
        ({"cerebras.cloud.sdk", "anthropic"}, "httpx"),
    ],
)
def test_by_default_it_is_the_sdk_that_is_installed(there: set[str], spoken: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sdk, "find_spec", lambda name: name if name in there else None)

    assert sdk.family_of() == spoken


def test_without_any_sdk_one_has_to_be_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sdk, "find_spec", lambda name: None)

    with pytest.raises(ConfigurationError, match=r"openai, cerebras\.cloud\.sdk, anthropic"):
        sdk.transport()


def test_an_sdk_is_answered_through_it() -> None:
    store = MemoryStore()
    for _ in range(2):
        inner = inner_of(httpx2, answering)
        with sdk.http_client(openai, inner, store=store) as http, openai.OpenAI(api_key="cachemw", http_client=http) as client:
            client.chat.completions.create(model="m", messages=[{"role": "user", "content": "hi"}])

    assert inner.requests == []


@pytest.mark.anyio
async def test_the_sdk_of_anthropic_is_answered_through_it() -> None:
    """F16: a message, and its stream from the same record."""
    simulator = Simulator(dialect="anthropic")
    http = sdk.async_http_client(anthropic.AsyncAnthropic, httpx2.ASGITransport(app=simulator), store=MemoryStore())
    async with anthropic.AsyncAnthropic(api_key="k", http_client=http) as client:
        first, again = [await client.messages.create(**MESSAGE) for _ in range(2)]
        async with client.messages.stream(**MESSAGE) as stream:
            text = await stream.get_final_text()

    assert type(http) is anthropic.DefaultAsyncHttpxClient
    assert first == again
    assert [block.text for block in first.content] == [text]
    assert simulator.calls == 1


@pytest.mark.parametrize(
    ("fail", "raised"),
    [
        ("anthropic:rate", anthropic.RateLimitError),
        ("anthropic:context", anthropic.BadRequestError),
        ("anthropic:overloaded", anthropic.APIStatusError),
    ],
)
@pytest.mark.anyio
async def test_an_error_through_it_is_the_own_of_anthropics_sdk(fail: str, raised: type[Exception]) -> None:
    """F16: what fails raises what it would raise without us, and is asked anew."""
    simulator = Simulator(dialect="anthropic", fail=fail)
    http = sdk.async_http_client(anthropic, httpx2.ASGITransport(app=simulator), store=MemoryStore())
    async with anthropic.AsyncAnthropic(api_key="k", http_client=http, max_retries=0) as client:
        for _ in range(2):
            with pytest.raises(raised):
                await client.messages.create(**MESSAGE)

    assert simulator.calls == 2


# The wrong family.

OTHERS = {httpx: httpx2, httpx2: httpx}


@pytest.mark.anyio
@BY_FAMILY
@BY_KIND
async def test_a_client_of_the_other_family_is_told_what_to_import(family: Any, mount: Any, is_async: bool) -> None:
    """F16."""
    other = OTHERS[family]
    transport = (mount.AsyncCacheTransport if is_async else mount.CacheTransport)(store=MemoryStore())

    client = (other.AsyncClient if is_async else other.Client)(transport=transport, trust_env=False)

    async def post() -> None:
        answer = client.post(URL, json={})
        await answer if is_async else None

    with pytest.raises(ConfigurationError, match=rf"client speaks {other.__name__}.*cachemw\.{other.__name__}.*cachemw\.sdk"):
        await post()


@BY_FAMILY
@BY_KIND
def test_an_inner_transport_of_the_other_family_is_refused(family: Any, mount: Any, is_async: bool) -> None:
    """F16."""
    other = OTHERS[family]
    inner = other.MockTransport(lambda request: other.Response(200))

    with pytest.raises(ConfigurationError, match=f"transport speaks {other.__name__}"):
        (mount.AsyncCacheTransport if is_async else mount.CacheTransport)(inner, store=MemoryStore())


@BY_FAMILY
def test_its_own_family_is_let_in(family: Any, mount: Any) -> None:
    transport = mount.CacheTransport(family.MockTransport(lambda request: family.Response(200)), store=MemoryStore())

    assert transport.handle_request(asking(family, cachemw="off")).status_code == 200
