"""Every row of providers, driven as the target of a route: by the simulator in that provider's dialect, and by recordings."""

import json
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.types import ASGIApp

from cachemw.cache.record import decode
from cachemw.simulator import Simulator
from cachemw.upstreams.providers import PROVIDERS
from tests.gateway.crossroads import Crossroads, Passage, author, crossroads, price, route, told
from tests.real.recordings import STORED, Recording, name_of
from tests.upstream import Asked, Told, Upstream

MODEL = "openai/gpt-oss-120b"
"""A model whose own name has a slash: only the first segment of a target is its provider."""

REPORTING = {
    "openrouter": lambda usage: round(usage["cost"] * 10**9),
    "xai": lambda usage: usage["cost_in_usd_ticks"] // 10,
    "deepinfra": lambda usage: round(usage["estimated_cost"] * 10**9),
}
"""The providers that say what an answer costs, and where (E11); the others are priced."""

USAGE = {"include_usage": True}
KINDS = [pytest.param({}, id="JSON"), pytest.param({"stream": True, "stream_options": USAGE}, id="stream")]
every_provider = pytest.mark.parametrize("provider", PROVIDERS)
PATHS = {"chat": "/chat/completions", "messages": "/messages"}
DRIVEN = [
    *[pytest.param(name, "chat", id=name) for name in PROVIDERS if name != "anthropic"],
    pytest.param("anthropic", "messages", id="anthropic"),
    pytest.param("anthropic", "chat", id="anthropic, its layer for chat"),
]
"""The providers, and what each of them is spoken to by who asks in chat."""


def said_usage(answer: bytes) -> dict[str, Any]:
    """Return what the answer says that it took: the last word of a stream counts."""
    lines = [answer] if answer.lstrip().startswith(b"{") else answer.splitlines()
    documents = [line.removeprefix(b"data: ") for line in lines if b"{" in line]
    says = [json.loads(document) for document in documents]
    found = [says.get("usage") or says.get("x_groq", {}).get("usage") for says in says]
    usage: dict[str, Any] = [one for one in found if one][-1]
    return usage


def tokens(usage: dict[str, Any]) -> tuple[int, int]:
    """Return input and output tokens; reasoning that some leave out of the latter is in the total (G16)."""
    return usage["prompt_tokens"], max(usage["completion_tokens"], usage["total_tokens"] - usage["prompt_tokens"])


def assert_counted(here: Crossroads, usage: dict[str, Any], provider: str) -> None:
    """Check what the report of a miss says of usage and cost, and what the report of its hit says."""
    miss, hit = here.reported(2)
    given, taken = tokens(usage)
    assert miss.usage is not None
    assert (miss.usage.input_tokens, miss.usage.output_tokens) == (given, taken)
    cost, basis = (REPORTING[provider](usage), "reported") if provider in REPORTING else (given * 1000 + taken * 2000, "priced")
    assert (miss.cost, miss.cost_basis, miss.cost_at_least) == (cost, basis, False)
    assert (hit.hit, hit.cost, hit.saved) == (True, 0, cost)


def assert_hit(miss: httpx.Response, hit: httpx.Response, said: bytes | None) -> None:
    """Check that both are the same, byte for byte: what the author said, once, or what that became in chat."""
    assert miss.status_code == hit.status_code == 200
    assert miss.content == hit.content
    assert said is None or miss.content == said
    assert "fwd=miss" in miss.headers["cache-status"]
    assert "; hit" in hit.headers["cache-status"]
    assert miss.headers["content-type"] == hit.headers["content-type"]


@pytest.mark.parametrize(("provider", "speaks"), DRIVEN)
@pytest.mark.parametrize("members", KINDS)
@pytest.mark.parametrize("is_second", [False, True], ids=["asked first", "after another has failed"])
def test_each_provider_is_driven_in_its_own_dialect(
    provider: str, speaks: str, members: dict[str, Any], is_second: bool, tmp_path: Path
) -> None:
    """G9, G10, G16, G17, E1, E11: its answer passes as it is, is stored, costs what it says, and is its own.

    T22: that of one who does not speak chat passes in chat, and is stored as it came.
    """
    other = "groq" if provider == "cerebras" else "cerebras"
    targets = [f"{provider}/{MODEL}", f"{other}/{MODEL}"]
    apps = {provider: Simulator(dialect=provider), other: Simulator(dialect=other, fail="status:503" if is_second else "")}
    order = reversed(targets) if is_second else targets
    with crossroads(tmp_path, apps, route(*order) + price(*targets), speaks={provider: [speaks]}) as here:
        miss, hit = here.ask(**members), here.ask(**members)

        assert here.called == {provider: [PATHS[speaks]], **({other: [PATHS["chat"]]} if is_second else {})}
        (call,) = here.providers[provider].calls
        assert_hit(miss, hit, call.said if speaks == "chat" else None)
        assert author(told(miss)) == author(told(hit)) == targets[0]
        assert call.model == MODEL
        assert key_in(call, speaks) == f"sk-of-{provider}"
        ((_, record),) = here.store.scan()
        assert decode(record).body == call.said
        ends = miss.content.endswith(b"data: [DONE]\n\n")
        assert ends is (bool(members) and (speaks != "chat" or PROVIDERS[provider].done))
        assert_counted(here, said_usage(miss.content), provider)


def key_in(call: Passage, spoken: str) -> str:
    """Return the key that came with a call, in the field that this dialect has for it, and in no other one."""
    field, other = (b"x-api-key", b"authorization") if spoken == "messages" else (b"authorization", b"x-api-key")
    assert other not in call.headers
    return call.headers[field].decode().removeprefix("Bearer ")


@pytest.mark.parametrize(("provider", "speaks"), DRIVEN)
def test_a_stream_that_was_not_asked_for_its_usage_is_still_accounted(provider: str, speaks: str, tmp_path: Path) -> None:
    """G16, G17: as the provider says it unasked, else as an estimate; never as nothing."""
    target = f"{provider}/{MODEL}"
    text = route(target) + price(target)
    with crossroads(tmp_path, {provider: Simulator(dialect=provider)}, text, speaks={provider: [speaks]}) as here:
        answer = here.ask(stream=True)

        (report,) = here.reported(1)
        (call,) = here.providers[provider].calls
        assert speaks != "chat" or answer.content == call.said
        is_said = b'"usage":{' in call.said
        assert report.cost
        basis = ("reported" if provider in REPORTING else "priced") if is_said else "estimated"
        assert report.cost_basis == basis


@every_provider
def test_json_says_its_cost_in_the_head(provider: str, tmp_path: Path) -> None:
    """E1: as a decimal number of dollars in a String."""
    target = f"{provider}/{MODEL}"
    with crossroads(tmp_path, {provider: Simulator(dialect=provider)}, route(target) + price(target)) as here:
        miss, hit = told(here.ask()), told(here.ask())

        cost = here.reported(2)[0].cost
        assert cost is not None
        dollars = f"{cost / 10**9:.9f}".rstrip("0")
        assert f'cost="{dollars}"' in miss
        assert f'cost="0", saved="{dollars}"' in hit


@every_provider
def test_a_provider_without_a_price_is_unknown_and_not_free(provider: str, tmp_path: Path) -> None:
    """G17"""
    target = f"{provider}/nobody-has-heard-of-it"
    with crossroads(tmp_path, {provider: Simulator(dialect=provider)}, route(target)) as here:
        field_value = told(here.ask())

        (report,) = here.reported(1)
        assert (report.cost is None) is (provider not in REPORTING)
        assert ("cost=" in field_value) is (provider in REPORTING)


def provider_of(recording: Recording) -> str:
    """Return whose row a recording drives: that of the provider it came from, or that of whom it imitates."""
    name = recording.name.partition("_")[0]
    return name if name in PROVIDERS else "openai"


@pytest.mark.parametrize("recording", STORED, ids=name_of)
@pytest.mark.parametrize("is_second", [False, True], ids=["asked first", "after another has failed"])
def test_each_recording_passes_through_a_route_as_it_was(recording: Recording, is_second: bool, tmp_path: Path) -> None:
    """G10, G16, E13: a target that answers what was recorded, in awkward pieces; it is stored, and its hit is equal."""
    provider = provider_of(recording)
    other = "mistral"
    target, spare = f"{provider}/{recording.name}", f"{other}/unused"
    answer = recording.told()

    def replay(asked: Asked) -> Told:
        assert json.loads(asked.body)["model"] == recording.name
        return answer

    apps: dict[str, ASGIApp] = {
        provider: Upstream(replay),
        other: Simulator(dialect=other, fail="mistral:capacity" if is_second else ""),
    }
    order = (spare, target) if is_second else (target, spare)
    with crossroads(tmp_path, apps, route(*order) + price(target, spare)) as here:
        request = {**recording.request(), "model": "auto"}
        miss, hit = here.ask(**request), here.ask(**request)

        assert here.asked[provider] == 1
        assert_hit(miss, hit, recording.body())
        assert author(told(miss)) == author(told(hit)) == target
        report = here.reported(2)[0]
        if b'"usage":{' in recording.body().replace(b" ", b""):
            given, taken = tokens(said_usage(recording.body()))
            assert report.usage is not None
            assert (report.usage.input_tokens, report.usage.output_tokens) == (given, taken)
        assert report.cost
        assert report.cost_basis in ("reported", "priced", "estimated")
