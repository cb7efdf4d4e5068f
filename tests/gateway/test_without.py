"""Without a gateway nothing is another: every answer, key and byte is what one upstream says, whatever it is called."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from cachemw import MemoryStore, Policy
from cachemw.proxy import Proxy
from cachemw.simulator import Simulator
from cachemw.upstreams import HttpUpstream
from tests.gateway.crossroads import MESSAGES, ON, Tapped, crossroads, route
from tests.patience import PATIENT
from tests.serving import serving_in_thread
from tests.upstream import Told, Upstream, always, completion

FAILURES = [
    "ok",
    "cerebras:quota",
    "cerebras:queue",
    "status:500",
    "html:502",
    "empty:500",
    "no-choices",
    "huge-error",
    "groq:rate",
]
KINDS = [pytest.param({}, id="JSON"), pytest.param({"stream": True}, id="stream")]
OUR_OWN = {"cache-status", "cache-control", "x-accel-buffering", "age", "transfer-encoding", "content-length", "connection"}


class Alone:
    """One upstream, and the proxy before it."""

    def __init__(self, upstream: Tapped, direct: str, url: str, client: httpx.Client) -> None:
        self.upstream, self.direct, self.url, self.client = upstream, direct, url, client

    def ask(self, headers: dict[str, str] | None = None, *, directly: bool = False, **members: Any) -> httpx.Response:
        body = {"model": "auto", "messages": MESSAGES} | members
        return self.client.post(f"{self.direct if directly else self.url}/v1/chat/completions", json=body, headers=headers)


def alone(app: Any, policy: Policy = ON) -> Iterator[Alone]:
    upstream = Tapped(app)
    with serving_in_thread(upstream) as direct:
        proxy = Proxy(HttpUpstream(f"{direct}/v1"), store=MemoryStore(), policy=policy, limits=PATIENT)
        with serving_in_thread(proxy) as url, httpx.Client(trust_env=False, timeout=30) as client:
            yield Alone(upstream, direct, url, client)


@pytest.fixture(params=[ON, Policy()], ids=["cached", "not cached"])
def simulated(request: pytest.FixtureRequest) -> Iterator[Alone]:
    yield from alone(Simulator(), request.param)


@pytest.fixture
def answering() -> Iterator[Alone]:
    said = completion()
    yield from alone(Upstream(always(Told(said.parts, 200, (*said.headers, (b"cachemw-route", b'by="somebody"'))))))


@pytest.mark.parametrize("members", KINDS)
@pytest.mark.parametrize("failure", FAILURES)
@pytest.mark.parametrize("model", ["auto", "groq/openai/gpt-oss-120b", "nobody/m", "gpt-oss-120b"])
def test_what_the_upstream_says_is_what_the_client_gets(
    simulated: Alone, model: str, failure: str, members: dict[str, Any]
) -> None:
    """G26: status, body and fields; names with slashes, and failures, mean nothing here."""
    members = {"model": model, "simulate": {"fail": failure}, **members}
    answer, direct = simulated.ask(**members), simulated.ask(directly=True, **members)

    assert (answer.status_code, answer.content) == (direct.status_code, direct.content)
    ours, theirs = dict(answer.headers), dict(direct.headers)
    assert {name: value for name, value in ours.items() if name not in OUR_OWN} == {
        name: value for name, value in theirs.items() if name not in OUR_OWN
    }
    through, straight = simulated.upstream.chats
    assert through.body == straight.body
    assert through.model == model


@pytest.mark.parametrize("name", ["Cachemw-Route", "X-Tenant"])
def test_wishes_are_an_ordinary_field(simulated: Alone, name: str) -> None:
    """G26, E13: nobody reads it, it has no part in the key, and no upstream sees it."""
    answers = [simulated.ask({name: value}) for value in ('pick="?', 'only=("a/b")', "max-cost=0")]

    assert [answer.status_code for answer in answers] == [200] * 3
    assert not any("cachemw-route" in answer.headers for answer in answers)
    assert len({answer.headers.get("cache-status", "").partition("key=")[2] for answer in answers}) == 1
    assert not any(name.lower().encode() in chat.headers for chat in simulated.upstream.chats)


def test_an_upstreams_own_field_is_its_own(answering: Alone) -> None:
    """G26"""
    assert answering.ask().headers["cachemw-route"] == 'by="somebody"'


def test_a_route_never_says_what_an_upstream_says_in_our_name(tmp_path: Path) -> None:
    said = completion()
    forged = Told(said.parts, 200, (*said.headers, (b"Cachemw-Route", b'by="somebody"')))
    with crossroads(tmp_path, {"cerebras": Upstream(always(forged))}, route("cerebras/m")) as here:
        for _ in range(2):
            assert here.ask().headers.get_list("cachemw-route", split_commas=False)[0].startswith('by="cerebras/m"')


@pytest.mark.parametrize("members", KINDS)
def test_a_record_is_found_whichever_way_its_target_is_asked(members: dict[str, Any], tmp_path: Path) -> None:
    """G26: the key of a target that a gateway asks is that of the same upstream alone."""
    simulator = Simulator()
    with crossroads(tmp_path, {"cerebras": simulator}, route("cerebras/m")) as here:
        routed = here.ask({"authorization": "Bearer sk-a"}, **members)
        own = here.gateway.config.providers["cerebras"].base_url
        upstream = HttpUpstream(own, api_key="sk-of-cerebras", provider="cerebras", credentials="lend")
        proxy = Proxy(upstream, store=here.store, policy=ON, limits=PATIENT)
        with serving_in_thread(proxy) as url:
            body = {"model": "m", "messages": MESSAGES} | members
            found = here.client.post(f"{url}/v1/chat/completions", json=body, headers={"authorization": "Bearer sk-a"})

        assert "hit" in found.headers["cache-status"]
        assert found.content == routed.content
        assert here.asked == {"cerebras": 1}
