"""The transports: which two requests of a client are the same, and which of them contact nobody."""

from collections.abc import Callable
from typing import Any

import pytest

from cachemw import MemoryStore
from tests.mounts.inner_transports import (
    ANSWER,
    BY_FAMILY,
    BY_KIND,
    TYPE,
    URL,
    answered,
    answering,
    asking,
    inner_of,
    says,
    transport_of,
)
from tests.upstream import JSON, prompt

pytestmark = pytest.mark.anyio


def key_of(response: Any) -> str:
    key: str = response.extensions["cachemw"].key
    return key


@BY_FAMILY
@BY_KIND
async def test_another_host_than_the_urls_is_another_upstream(family: Any, mount: Any, is_async: bool) -> None:
    """K2, K10: many are behind one address; what the URL says anyway changes nothing."""
    transport = transport_of(mount, is_async, inner_of(family, answering))
    hosts = [None, "api.example", "API.example", "api.example:443", "eu.example", "us.example"]

    keys = [key_of(await answered(transport, asking(family, **({} if host is None else {"host": host})))) for host in hosts]

    assert len(set(keys[:4])) == 1
    assert len(set(keys[3:])) == 3


@BY_FAMILY
@BY_KIND
async def test_another_target_than_the_urls_is_another_upstream(family: Any, mount: Any, is_async: bool) -> None:
    """K2: what the inner transport asks for is what counts."""
    transport = transport_of(mount, is_async, inner_of(family, answering))
    keys = []
    for target in (None, b"/v1/chat/completions", b"/v2/chat/completions", b"/v1/chat/completions?a=1"):
        request = asking(family)
        request.extensions.update({} if target is None else {"target": target})
        keys.append(key_of(await answered(transport, request)))

    assert keys[0] == keys[1]
    assert len(set(keys)) == 3


@BY_FAMILY
@BY_KIND
@pytest.mark.parametrize("control", ["mode=replay", "on"])
async def test_where_only_the_store_may_answer_nothing_is_contacted(
    family: Any, mount: Any, is_async: bool, control: str
) -> None:
    """E6: not even for what is no chat, as an SDK asks when it is made."""
    inner = inner_of(family, answering)
    fields = {"cachemw": control} if control == "mode=replay" else {"cache-control": "only-if-cached"}
    warm = family.Request("GET", "https://api.example/v1/tcp_warming", headers=fields)

    responses = [await answered(transport_of(mount, is_async, inner), sent) for sent in (warm, asking(family, **fields))]

    assert inner.requests == []
    assert [(response.status_code, says(response)) for response in responses] == [
        (504, "not-cached other-path"),
        (504, "not-cached"),
    ]


def setting(cookie: bytes) -> Callable[[Any], Any]:
    """Answer anything, and set a cookie."""
    return lambda request: ((*JSON, (b"set-cookie", cookie + b"; Path=/")), [ANSWER], None)


def asked_with(client: Any, **more: str) -> str:
    """Ask once more through a client that keeps cookies."""
    return says(client.post(URL, content=prompt(), headers={"content-type": "application/json", **more}))


@BY_FAMILY
def test_a_cookie_that_came_with_an_answer_is_not_who_asks(family: Any, mount: Any) -> None:
    """K1: a client's jar sends it back; one that its caller set counts, wherever it comes from."""
    store = MemoryStore()

    def client() -> Any:
        transport = mount.CacheTransport(inner_of(family, setting(b"lb=7")), store=store)
        return family.Client(transport=transport, trust_env=False)

    first, second, known = client(), client(), client()
    known.cookies.set("who", "alice")

    assert [asked_with(first), asked_with(first), asked_with(second)] == ["miss", "hit", "hit"]
    assert first.cookies.get("lb") == "7"
    assert [asked_with(known), asked_with(known), asked_with(known)] == ["miss", "hit", "hit"]
    assert asked_with(client(), cookie="lb=7") == "miss"


@BY_FAMILY
@BY_KIND
async def test_a_cookie_of_an_edge_is_never_who_asks(family: Any, mount: Any, is_async: bool) -> None:
    """K1: whoever set it."""
    transport = transport_of(mount, is_async, inner_of(family, answering))
    cookies = ["__cf_bm=a", "__cf_bm=b; _cfuvid=c", "__cf_bm=a; who=alice", "who=alice"]

    said = [says(await answered(transport, asking(family, cookie=cookie))) for cookie in cookies]

    assert said == ["miss", "hit", "miss", "hit"]


@BY_FAMILY
@BY_KIND
async def test_a_cookie_that_came_with_anything_but_chat_is_who_asks(family: Any, mount: Any, is_async: bool) -> None:
    """K10, I1: a login, for one."""
    answers = iter([setting(b"who=alice"), answering, answering])
    transport = transport_of(mount, is_async, inner_of(family, lambda request: next(answers)(request)))
    login = family.Request("POST", "https://api.example/login", content=b"{}", headers=[TYPE])
    alice = asking(family, cookie="who=alice")

    said = [says(await answered(transport, sent)) for sent in (login, asking(family), alice, alice)]

    assert said == ["bypass", "miss", "miss", "hit"]
