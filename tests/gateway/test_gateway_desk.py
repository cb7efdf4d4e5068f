"""The desk of one request: what is reserved for its attempts, and how many requests are hedged."""

from pathlib import Path
from typing import Any

import msgspec
import pytest

from cachemw.cache.plans import AskedBid, AskedBids
from cachemw.endpoints import CHAT
from cachemw.errors import RequestDeclined
from cachemw.gateway import Gateway
from cachemw.gateway.files import read_gateway
from cachemw.messages import Caller, Request
from cachemw.upstreams.base import UpstreamRequest
from tests.gateway.town import KEYS, PEERS, PRICES, town

PATH = b"/v1/chat/completions"
JSON = ((b"content-type", b"application/json"),)
CLIENT = '[clients.evals]\nkey_env = "EVALS_KEY"\nbudget = { usd = 25.0, per = "day" }\n'
ASKED = {"model": "auto", "messages": [{"role": "user", "content": "Say hello."}]}


def gateway_of(path: Path, more: str) -> Gateway:
    path.write_text(path.read_text() + more)
    environment = {**KEYS, "EVALS_KEY": "sk-evals"}
    return Gateway(read_gateway(str(path), environment), environment=environment)


def asked(gateway: Gateway, body: bytes) -> UpstreamRequest:
    caller = Caller(name="evals")
    plan = gateway.plan(Request("POST", PATH.decode(), JSON, body, gateway.target(PATH, b""), caller=caller), None, CHAT)
    bids = tuple(AskedBid(place, plan.bids[place], body, (), CHAT) for place in plan.order)
    return UpstreamRequest("POST", PATH, b"", JSON, body, bids=AskedBids(plan, bids, is_stream=False, caller=caller))


def reserved_for(gateway: Gateway, request: UpstreamRequest) -> int:
    """Return how many nano-dollars the first attempt reserves. Raises `RequestDeclined`."""
    desk = gateway._desk(request)
    assert request.bids is not None
    desk.reserve(request.bids.asked[0])
    [reservation] = desk._reserved.values()
    return reservation.nano


@pytest.mark.parametrize(
    ("members", "output"),
    [
        ({"max_tokens": 100}, 100),
        ({}, 131_072),  # what the tables say that the model takes in all
        ({"max_tokens": 100, "n": 3}, 300),
    ],
)
def test_the_most_that_an_answer_can_cost_is_reserved(members: dict[str, Any], output: int, tmp_path: Path) -> None:
    """E10: who sets no limit is bounded by what its model takes."""
    with town(tmp_path) as here:
        gateway = gateway_of(here.path, CLIENT)
        body = msgspec.json.encode(ASKED | members)

        nano = reserved_for(gateway, asked(gateway, body))

        assert output * 2_000 <= nano <= output * 2_000 + len(body) * 1_000  # two dollars, and one, for a million
        gateway.close()


def test_a_context_in_the_file_stands_over_the_tables(tmp_path: Path) -> None:
    """E10."""
    own = PRICES.replace("prices =", "context = 1000\nprices =")
    with town(tmp_path, routes=PEERS + own) as here:
        gateway = gateway_of(here.path, CLIENT)

        nano = reserved_for(gateway, asked(gateway, msgspec.json.encode(ASKED)))

        assert 2_000_000 <= nano <= 2_200_000
        gateway.close()


@pytest.mark.parametrize("body", [b'{"model":"gpt-oss-120b","model":"x"}', b'{"model":', b"\xef\xbb\xbf{}"])
def test_what_cannot_be_read_cannot_be_bounded(body: bytes, tmp_path: Path) -> None:
    """E10: the default provider would get it as it is."""
    with town(tmp_path) as here:
        gateway = gateway_of(here.path, CLIENT)

        with pytest.raises(RequestDeclined) as declined:
            reserved_for(gateway, asked(gateway, body))

        assert declined.value.closed.refusal.code == "no_cost_bound"
        gateway.close()


def test_a_share_of_the_requests_that_are_forwarded_may_be_hedged(tmp_path: Path) -> None:
    """A hit earns nothing: nobody is asked for it."""
    routes = PEERS + "hedge = { after = 0.0, extra = 0.5 }\n" + PRICES
    with town(tmp_path, routes=routes) as here:
        gateway = gateway_of(here.path, "")
        body = msgspec.json.encode(ASKED)

        def may_hedge() -> bool:
            plan = gateway.plan(Request("POST", PATH.decode(), JSON, body, gateway.target(PATH, b"")), None, CHAT)
            return plan.hedge is not None

        def forward(*, hedged: bool) -> None:
            request = asked(gateway, body)
            assert request.bids is not None
            desk = gateway._desk(request)
            for one in request.bids.asked[: 1 + hedged]:
                desk.begun(one)

        assert may_hedge()
        forward(hedged=True)
        assert [may_hedge() for _ in range(100)] == [False] * 100
        forward(hedged=False)
        assert may_hedge()
        gateway.close()
