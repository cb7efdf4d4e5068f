"""A lent key on `/responses`: what it answers is cached, and what it does not answer reaches neither store nor upstream."""

import json
from collections.abc import AsyncIterator

import httpx
import pytest

from cachemw import Policy
from cachemw.proxy.admission import AccessRules
from tests.endpoints.responding import HELLO, Members, asked, body_of, told
from tests.proxy.guarded import Guarded, guarding
from tests.upstream import EVENT_STREAM, JSON, Asked, Told

pytestmark = pytest.mark.anyio

KEYED = AccessRules(Policy(), client_keys=(b"sk-alice", b"sk-bob"))
STREAM = body_of(told(HELLO))


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module")
async def server(anyio_backend: str) -> AsyncIterator[Guarded]:
    async with guarding(rules=KEYED) as keyed:
        yield keyed


@pytest.fixture
def keyed(server: Guarded) -> Guarded:
    fresh = server.fresh()
    fresh.upstream.respond = answered
    return fresh


def answered(request: Asked) -> Told:
    is_stream = json.loads(request.body).get("stream") is True
    return Told([STREAM], headers=EVENT_STREAM) if is_stream else Told([json.dumps(HELLO).encode()], headers=JSON)


async def ask(keyed: Guarded, body: bytes, client: str = "alice", control: str = "on") -> httpx.Response:
    fields = {"content-type": "application/json", "authorization": f"Bearer sk-{client}", "cachemw": control}
    async with httpx.AsyncClient(base_url=keyed.url, trust_env=False, timeout=10) as http:
        return await http.post("/v1/responses", content=body, headers=fields)


@pytest.mark.parametrize("is_stream", [False, True], ids=["JSON", "stream"])
async def test_a_response_that_keeps_nothing_is_cached_for_its_client(keyed: Guarded, is_stream: bool) -> None:
    """A4, T26, ruling F7: with the server's key upstream, and never for another client."""
    body = asked(store=False, stream=is_stream)

    first, again = [await ask(keyed, body) for _ in range(2)]
    other = await ask(keyed, body, "bob")

    assert first.content == again.content == other.content
    assert "; hit; " in again.headers["cache-status"]
    assert "fwd=miss" in other.headers["cache-status"]
    assert [one.header(b"authorization") for one in keyed.upstream.asked] == [b"Bearer sk-server"] * 2


REFUSED: list[Members] = [
    {},
    {"store": True},
    {"store": None},
    {"store": False, "previous_response_id": "resp_1"},
    {"store": False, "conversation": "conv_1"},
    {"store": False, "background": True},
    {"store": False, "prompt": {"id": "pmpt_1", "version": "1"}},
    {"store": False, "input": [{"type": "item_reference", "id": "msg_1"}]},
]


@pytest.mark.parametrize("members", REFUSED, ids=str)
@pytest.mark.parametrize("control", ["on", "mode=replay", "off"])
async def test_one_that_keeps_or_builds_on_something_is_refused_before_it_is_looked_for(
    keyed: Guarded, members: Members, control: str
) -> None:
    """A4, F126: opted in or not."""
    await ask(keyed, asked(store=False))

    reply = await ask(keyed, asked(**members), control=control)

    assert (reply.status_code, reply.json()["error"]["code"]) == (403, "endpoint_not_lent")
    assert keyed.upstream.calls == 1


async def test_what_a_lent_key_may_ask_and_the_cache_may_not_keep_passes(keyed: Guarded) -> None:
    """A4, R2: tools of the server keep no state."""
    body = asked(store=False, tools=[{"type": "web_search"}])

    replies = [await ask(keyed, body) for _ in range(2)]

    assert [reply.headers["cache-status"] for reply in replies] == ["cachemw; fwd=bypass; detail=server-tool"] * 2
    assert keyed.upstream.calls == 2
