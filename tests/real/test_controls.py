"""Every control, sent as the SDKs let one send a header; and what they make of our refusals."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest

from tests.real.answers import numbered, request
from tests.real.proxied import Servers, World
from tests.real.sdks import CEREBRAS, ON, OPENAI, Answer, Headers, Sdk, sdk_name, some_sdks

one_of_each = pytest.mark.parametrize("sdk", [OPENAI, CEREBRAS], ids=sdk_name)


@dataclass(frozen=True, slots=True)
class Row:
    """Two requests for the same prompt: what each asks of the cache, and what is said of the second."""

    name: str
    first: Headers
    second: Headers
    says: Mapping[str, Any]
    calls: int = field(kw_only=True)


CACHE_CONTROL = "Cache-Control"
ROWS = (
    Row("on", ON, ON, {"hit": True}, calls=1),
    Row("off", ON, {"Cachemw": "off"}, {}, calls=2),
    Row("ttl", {"Cachemw": "ttl=0"}, ON, {"fwd": "stale", "fwd-status": 200}, calls=2),
    Row("mode=read", {"Cachemw": "mode=read"}, ON, {"fwd": "miss", "fwd-status": 200}, calls=2),
    Row("mode=refresh", ON, {"Cachemw": "mode=refresh"}, {"fwd": "request", "fwd-status": 200}, calls=2),
    Row("mode=replay", ON, {"Cachemw": "mode=replay"}, {"hit": True}, calls=1),
    Row("namespace", ON, {"Cachemw": 'namespace="evals"'}, {"fwd": "miss", "fwd-status": 200}, calls=2),
    Row("sample", ON, {"Cachemw": "sample=1"}, {"fwd": "miss", "fwd-status": 200}, calls=2),
    Row("no-cache", ON, {**ON, CACHE_CONTROL: "no-cache"}, {"fwd": "request", "fwd-status": 200}, calls=2),
    Row("only-if-cached", ON, {**ON, CACHE_CONTROL: "only-if-cached"}, {"hit": True}, calls=1),
    Row("no-store", {**ON, CACHE_CONTROL: "no-store"}, ON, {"fwd": "miss", "fwd-status": 200}, calls=2),
    Row("unknown", ON, {"Cachemw": "on, spede=2"}, {"hit": True, "detail": "ignored-spede"}, calls=1),
)


def ask_each(sdk: Sdk, world: World, how: str, *headers: Headers) -> list[Answer]:
    """Send a request for each of these, in the request itself or from the client's defaults."""
    answers = []
    for each in headers:
        with sdk.open(world.proxy, each if how == "default_headers" else None) as client:
            answers.append(client.ask(request(), each if how == "extra_headers" else None))
    return answers


@some_sdks
@pytest.mark.parametrize("how", ["extra_headers", "default_headers"])
@pytest.mark.parametrize("row", ROWS, ids=[row.name for row in ROWS])
def test_every_control_can_be_sent_by_every_sdk(row: Row, how: str, sdk: Sdk, servers: Servers) -> None:
    """E3, E2: and each does what it says."""
    with servers.proxied(numbered()) as world:
        first, second = ask_each(sdk, world, how, row.first, row.second)

        assert world.calls == row.calls
    assert {name: second.cache.get(name) for name in row.says} == row.says
    assert bool(second.cache) == bool(row.says)
    assert (second.members == first.members) == (row.calls == 1)


@one_of_each
def test_a_header_of_one_request_overrides_the_clients_default(sdk: Sdk, servers: Servers) -> None:
    """E3: on for all, off for this one."""
    with servers.proxied(numbered()) as world, sdk.open(world.proxy, ON) as client:
        client.ask(request())
        second = client.ask(request(), {"Cachemw": "off"})

        assert world.calls == 2
    assert second.cache == {}


@one_of_each
@pytest.mark.parametrize("stream", [True, False], ids=["stream", "json"])
def test_what_was_refreshed_replaces_what_was_stored(stream: bool, sdk: Sdk, servers: Servers) -> None:
    """R5: streams too."""
    with servers.proxied(numbered()) as world, sdk.open(world.proxy, ON) as client:
        first = client.ask(request(stream=stream))
        refreshed = client.ask(request(stream=stream), {"Cachemw": "mode=refresh"})
        third = client.ask(request(stream=stream))

        assert world.calls == 2
    assert third.members == refreshed.members != first.members


@some_sdks
@pytest.mark.parametrize("stream", [True, False], ids=["stream", "json"])
def test_samples_are_independent_answers_from_the_first_request_on(stream: bool, sdk: Sdk, servers: Servers) -> None:
    """R4: three samples are three upstream calls, and each is replayed as itself."""
    samples = [{"Cachemw": f"sample={number}"} for number in range(3)]

    with servers.proxied(numbered()) as world, sdk.open(world.proxy) as client:
        first = [client.ask(request(stream=stream), sample) for sample in samples]
        again = [client.ask(request(stream=stream), sample) for sample in reversed(samples)]
        plain = client.ask(request(stream=stream), ON)

        assert world.calls == 3
    texts = [str(answer.members) for answer in first]
    assert len(set(texts)) == 3
    assert [str(answer.members) for answer in reversed(again)] == texts
    assert str(plain.members) == texts[0]  # sample 0 is what one gets who asks for none


@some_sdks
@pytest.mark.parametrize("stream", [True, False], ids=["stream", "json"])
@pytest.mark.parametrize(
    "headers", [{"Cachemw": "mode=replay"}, {**ON, CACHE_CONTROL: "only-if-cached"}], ids=["replay", "only-if-cached"]
)
def test_what_is_not_cached_is_refused_once(headers: Headers, stream: bool, sdk: Sdk, servers: Servers) -> None:
    """E3: a 504 would be tried three times; `x-should-retry` says not to, and nothing is contacted."""
    with servers.proxied(numbered()) as world:
        with sdk.open(world.proxy, retries=2) as client, pytest.raises(sdk.module.InternalServerError) as caught:
            client.ask(request(stream=stream), headers)

        assert [report.details for report in world.reports] == [("not-cached",)]
        assert world.upstream.asked == []
    assert caught.value.status_code == 504
    assert caught.value.response.json()["error"]["code"] == "not_cached"


@some_sdks
@pytest.mark.parametrize(
    ("control", "param"),
    [("ttl=soon", "ttl"), ("mode=fast", "mode"), ("on; ttl=60", "on"), ("sample=-1", "sample"), ("=", "cachemw")],
)
def test_a_bad_control_is_a_bad_request(control: str, param: str, sdk: Sdk, servers: Servers) -> None:
    """E7: never a silently paid call."""
    with servers.proxied(numbered()) as world:
        with sdk.open(world.proxy, retries=2) as client, pytest.raises(sdk.module.BadRequestError) as caught:
            client.ask(request(), {"Cachemw": control})

        assert world.upstream.asked == []
        assert len(world.reports) == 1
    error = caught.value.response.json()["error"]
    assert (error["code"], error["param"], error["type"]) == ("invalid_cachemw", param, "invalid_request_error")


def test_the_openai_sdk_has_the_code_and_the_param_on_the_exception(servers: Servers) -> None:
    """E7: as of an error of OpenAI's own."""
    with (
        servers.proxied(numbered()) as world,
        OPENAI.open(world.proxy) as client,
        pytest.raises(OPENAI.module.BadRequestError) as caught,
    ):
        client.ask(request(), {"Cachemw": "ttl=soon"})

    assert (caught.value.code, caught.value.param) == ("invalid_cachemw", "ttl")
