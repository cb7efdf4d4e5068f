"""A gateway that plans by another file from now on: requests that were planned before keep their plan, and whom it names."""

from pathlib import Path

import pytest

from cachemw import ConfigurationError
from cachemw.cache.plans import AskedBid, AskedBids, Plan
from cachemw.endpoints import CHAT
from cachemw.gateway import Gateway
from cachemw.gateway.accounts import MemoryAccounts
from cachemw.gateway.files import read_gateway
from cachemw.messages import ANONYMOUS_CALLER, Caller, Request
from cachemw.simulator import Simulator
from cachemw.upstreams.base import UpstreamRequest
from tests.gateway.town import KEYS, PEERS, PRICES, Town, town
from tests.serving import serving_in_thread
from tests.upstream import prompt

PATH = b"/v1/chat/completions"
JSON = ((b"content-type", b"application/json"),)


def planned(gateway: Gateway) -> Plan:
    body = prompt().replace(b'"model":"m"', b'"model":"auto"')
    request = Request("POST", PATH.decode(), JSON, body, gateway.target(PATH, b""))
    return gateway.plan(request, None, CHAT)


def asked_by(gateway: Gateway, plan: Plan) -> int:
    """Ask by a plan; return the status."""
    bids = tuple(AskedBid(place, plan.bids[place], prompt(), (), CHAT) for place in plan.order)
    asked = AskedBids(plan, bids, is_stream=False, caller=ANONYMOUS_CALLER)
    response = gateway.open(UpstreamRequest("POST", PATH, b"", JSON, b"", bids=asked))
    while response.read(None) is not None:
        pass
    response.close()
    return response.head.status


def renew(gateway: Gateway, town: Town, text: str) -> None:
    town.path.write_text(text)
    gateway.renew(read_gateway(str(town.path), KEYS))


def test_a_request_that_was_planned_before_asks_whom_its_plan_names(tmp_path: Path) -> None:
    """G9: else what one server says would be kept under another one's key."""
    elsewhere = Simulator()
    with town(tmp_path) as here, serving_in_thread(elsewhere) as url:
        gateway = here.gateway()
        before = planned(gateway)
        renew(gateway, here, f'[providers.cerebras]\nbase_url = "{url}/v1"\n[routes.auto]\ntargets = ["cerebras/m"]\n')

        assert asked_by(gateway, before) == 200
        assert (here.first.calls, elsewhere.calls) == (1, 0)
        assert asked_by(gateway, planned(gateway)) == 200
        assert (here.first.calls, elsewhere.calls) == (1, 1)
        gateway.close()


def test_of_whom_the_file_says_the_same_the_connections_stay(tmp_path: Path) -> None:
    with town(tmp_path) as here:
        gateway = here.gateway()
        before = list(gateway._contacts)
        renew(gateway, here, here.path.read_text() + '[routes.more]\ntargets = ["groq/m"]\n')

        assert list(gateway._contacts) == before
        assert set(gateway.config.routes) == {"auto", "more"}
        gateway.close()


@pytest.mark.parametrize("text", ["[routes.auto]\ntargets = []\n", "[routes", "[clients.a]\nbudget = 1\n"])
def test_a_file_that_is_wrong_changes_nothing(text: str, tmp_path: Path) -> None:
    with town(tmp_path) as here:
        gateway = here.gateway()
        with pytest.raises(ConfigurationError):
            renew(gateway, here, text)

        assert set(gateway.config.routes) == {"auto"}
        assert asked_by(gateway, planned(gateway)) == 200
        gateway.close()


def test_targets_of_the_same_name_keep_their_standing(tmp_path: Path) -> None:
    with town(tmp_path, first="cerebras:quota") as here:
        gateway = here.gateway()
        assert asked_by(gateway, planned(gateway)) == 200
        renew(gateway, here, here.path.read_text().replace(PRICES, "").replace(PEERS, PEERS + 'pick = "weighted"\n'))

        assert planned(gateway).order == (1,)
        gateway.close()


def test_what_was_reserved_is_settled_though_clients_have_no_budget_any_more(tmp_path: Path) -> None:
    """E10."""
    client = f'[clients.alice]\nkey_sha256 = "{"0" * 64}"\nbudget = {{ usd = 1.0, per = "total" }}\n'
    with town(tmp_path, routes=PEERS + PRICES + client) as here:
        accounts = MemoryAccounts()
        gateway = Gateway(read_gateway(str(here.path), KEYS), environment=KEYS, accounts=accounts)
        limit = gateway.config.clients["alice"].budget
        assert limit is not None
        plan = planned(gateway)
        body = prompt(max_tokens=1000)
        bids = AskedBids(plan, (AskedBid(0, plan.bids[0], body, (), CHAT),), is_stream=False, caller=Caller(name="alice"))
        response = gateway.open(UpstreamRequest("POST", PATH, b"", JSON, b"", bids=bids))
        reserved = accounts.taken("alice", limit, 0.0)

        renew(gateway, here, here.path.read_text().replace(client, ""))
        while response.read(None) is not None:
            pass
        gateway.close()

        assert 0 < accounts.taken("alice", limit, 0.0) < reserved
