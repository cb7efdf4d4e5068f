"""A gateway in every mount: one clean answer of one author, whichever provider fails, and a hit that is that author's."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import httpx
import pytest

from cachemw import MemoryStore, Policy
from cachemw.proxy import Proxy
from tests.gateway.town import FIRST, MOUNTS, PEERS, PRICES, SECOND, SPARE, Ask, Town, over_transport, over_wsgi, town
from tests.serving import serving_in_thread

ON = Policy(default="on")
OFF = Policy()

Over = Callable[[Town, Policy], AbstractContextManager[Ask]]
KINDS = [pytest.param({}, id="JSON"), pytest.param({"stream": True}, id="stream")]


@pytest.fixture(params=MOUNTS.values(), ids=list(MOUNTS))
def over(request: pytest.FixtureRequest) -> Over:
    way: Over = request.param
    return way


def by(response: httpx.Response) -> str:
    """Return whose answer a response is said to be."""
    return response.headers["cachemw-route"].partition('by="')[2].partition('"')[0]


def is_clean(response: httpx.Response, **members: Any) -> bool:
    """Say whether it is one whole answer, and nothing of another one."""
    if not members.get("stream"):
        return response.status_code == 200 and len(response.json()["choices"]) == 1
    events = [line for line in response.text.splitlines() if line.startswith("data:")]
    return response.status_code == 200 and events[-1] == "data: [DONE]" and "error" not in response.text


FAILURES = ["cerebras:quota", "cerebras:queue", "status:500", "html:502", "no-choices", "cut:40", "reset"]
ROWS = [
    pytest.param(way, failure, policy, id=f"{name}-{failure}-{'cached' if policy is ON else 'not cached'}")
    for name, way in MOUNTS.items()
    for policy in (ON, OFF)
    for failure in (FAILURES if name == "proxy" else FAILURES[:: 3 if policy is ON else 6])  # what fails is not the mount's
]


@pytest.mark.parametrize("members", KINDS)
@pytest.mark.parametrize(("over", "failure", "policy"), ROWS)
def test_another_one_answers(over: Over, failure: str, members: dict[str, Any], policy: Policy, tmp_path: Path) -> None:
    """G1, G3, G6, G21: a failure before the first substantive byte is nobody's but ours, streamed and not."""
    with town(tmp_path, first=failure) as here, over(here, policy) as ask:
        response = ask(**members)

        assert is_clean(response, **members)
        assert by(response) == SECOND
        assert here.second.models_asked == ["openai/gpt-oss-120b"]  # G9: its own name for it
        assert "attempts=2" in response.headers["cachemw-route"]


@pytest.mark.parametrize("members", KINDS)
def test_a_hit_is_exactly_what_its_author_answered(over: Over, members: dict[str, Any], tmp_path: Path) -> None:
    """G10: and it names the author."""
    with town(tmp_path, first="cerebras:quota") as here, over(here, ON) as ask:
        first, again = ask(**members), ask(**members)

        assert first.content == again.content
        assert by(first) == by(again) == SECOND
        assert "hit" in again.headers["cache-status"]
        assert len(here.second.models_asked) == 1


def test_a_pinned_request_and_a_route_share_the_record_of_their_target(over: Over, tmp_path: Path) -> None:
    with town(tmp_path) as here, over(here, ON) as ask:
        first, again = ask(), ask(model=FIRST)

        assert "hit" in again.headers["cache-status"]
        assert first.content == again.content
        assert here.asked == ["1 gpt-oss-120b"]


def test_what_a_spare_answered_never_becomes_the_primarys(over: Over, tmp_path: Path) -> None:
    """G25: after the primary recovers the primary is asked."""
    with town(tmp_path, first="status:500 x1, ok", routes=SPARE + PRICES) as here, over(here, ON) as ask:
        spares, primarys, again = ask(), ask(), ask()

        assert [by(spares), by(primarys), by(again)] == [SECOND, FIRST, FIRST]
        assert "hit" in again.headers["cache-status"]
        assert again.content == primarys.content


@pytest.mark.parametrize("members", KINDS)
@pytest.mark.parametrize("failure", FAILURES)
def test_a_stored_spare_never_makes_an_answer_worse(over: Over, failure: str, members: dict[str, Any], tmp_path: Path) -> None:
    """E6, G1: the primary alone is asked again, and what is wrong with its answer is nobody's but ours."""
    with town(tmp_path, first=failure, routes=SPARE + PRICES) as here, over(here, ON) as ask:
        first, again = ask(**members), ask(**members)

        assert is_clean(again, **members)
        assert by(again) == SECOND
        assert again.content == first.content
        assert len(here.second.models_asked) == 1


@pytest.mark.parametrize("failure", ["cerebras:quota", "status:500"])
def test_a_plain_model_is_the_default_providers_as_ever(over: Over, failure: str, tmp_path: Path) -> None:
    """G26: its error is passed on, and nobody else is asked."""
    with town(tmp_path, first=failure) as here, over(here, ON) as ask:
        response = ask(model="gpt-oss-120b")

        assert response.status_code == (429 if failure.startswith("cerebras") else 500)
        assert here.asked == ["1 gpt-oss-120b"]


def test_a_refusal_is_not_routed_around(over: Over, tmp_path: Path) -> None:
    """G23."""
    with town(tmp_path, first="openai:policy") as here, over(here, ON) as ask:
        response = ask()

        assert response.status_code == 400
        assert here.second.calls == 0


def test_when_all_fail_the_first_targets_own_error_is_said(over: Over, tmp_path: Path) -> None:
    with town(tmp_path, first="cerebras:quota", second="status:503") as here, over(here, ON) as ask:
        response = ask()

        assert response.status_code == 429
        assert "cerebras/gpt-oss-120b" in response.headers["cachemw-route"]
        assert "groq/openai/gpt-oss-120b" in response.headers["cachemw-route"]


@pytest.fixture(autouse=True)
def _plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENAI_API_KEY", "HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize("over", [over_wsgi, over_transport], ids=["WSGI", "transport"])
def test_one_thread_asks_in_turn_and_says_so(over: Over, tmp_path: Path) -> None:
    routes = PEERS + 'pick = "race"\n' + PRICES
    with town(tmp_path, routes=routes) as here, over(here, ON) as ask:
        response = ask()

        assert is_clean(response)
        assert "no-hedge" in response.headers["cache-status"]
        assert len(here.asked) == 1


def test_the_list_of_models_costs_nothing(tmp_path: Path) -> None:
    """G17: nobody is asked for it, so that its price is not unknown."""
    with town(tmp_path) as here:
        proxy = Proxy(gateway=here.gateway(), store=MemoryStore(), hooks=[here.reports.append])
        with serving_in_thread(proxy) as url:
            listed = httpx.get(f"{url}/v1/models").json()

    assert [model["id"] for model in listed["data"]] == ["auto", FIRST, SECOND]
    assert [(report.cost, report.attempts) for report in here.reports] == [(0, 0)]


@pytest.mark.parametrize("policy", [ON, OFF], ids=["on", "off"])
@pytest.mark.parametrize(
    ("wish", "detail"), [("hedge=0.5", "no-hedge"), ("pick=race", "no-hedge"), ("tries=3, spares", "ignored-tries")]
)
def test_a_wish_that_is_not_obeyed_is_told(over: Over, tmp_path: Path, wish: str, detail: str, policy: Policy) -> None:
    """E1: whether the request opted in or not; in its report where there is no `Cache-Status`."""
    with town(tmp_path) as here, over(here, policy) as ask:
        response = ask(headers={"Cachemw-Route": wish})

    assert response.status_code == 200
    assert [report.details for report in here.reports] == [(detail,)]
    assert policy is OFF or f"detail={detail}" in response.headers["cache-status"]
