"""The seed's own example: Cerebras is out of its quota, the model is `auto`, and clients see one clean answer of another."""

import json
from pathlib import Path
from typing import Any

import pytest
from starlette.types import ASGIApp

from cachemw.simulator import Simulator
from tests.cassettes import cassette
from tests.gateway.crossroads import Crossroads, author, crossroads, price, route
from tests.real.sdks import ASYNC_OPENAI, KEY, OPENAI, Sdk, every_sdk, sdk_name
from tests.real.test_curl import CURL, curl
from tests.upstream import Told, Upstream, always

FIRST, SECOND = "cerebras/gpt-oss-120b", "groq/openai/gpt-oss-120b"
AUTO = route(FIRST, SECOND) + price(FIRST, SECOND)
USAGE = {"include_usage": True}

WALLS = ("rate", "tokens", "quota", "queue", "payment")
"""What the simulator's Cerebras says when it has had enough."""

KINDS = [pytest.param({}, id="JSON"), pytest.param({"stream": True, "stream_options": USAGE}, id="stream")]
openai_sdks = pytest.mark.parametrize("sdk", [OPENAI, ASYNC_OPENAI], ids=sdk_name)


def request(**members: Any) -> dict[str, Any]:
    return {"model": "auto", "messages": [{"role": "user", "content": "Say hello."}], **members}


def recorded_walls() -> list[Any]:
    """Return the 429 and 402 that Cerebras really said, by their codes; tests of them skip where there are no recordings."""
    codes = ("request_quota_exceeded", "queue_exceeded", "token_quota_exceeded", "payment_required")
    return [pytest.param(code, id=f"recorded-{code}") for code in codes]


def recorded(code: str) -> ASGIApp:
    """Return a Cerebras that always says this, with the body and the fields that were recorded."""
    rows = json.loads(cassette("cerebras_error_bodies.json"))
    row = next(row for row in rows if isinstance(row["body"], dict) and row["body"].get("code") == code)
    fields = {"content-type": "application/json", **row.get("headers", {})}
    headers = tuple((name.encode(), value.encode()) for name, value in fields.items())
    return Upstream(always(Told((json.dumps(row["body"]).encode(),), row["status"], headers)))


def simulated(wall: str) -> ASGIApp:
    return Simulator(dialect="cerebras", fail=f"cerebras:{wall}")


def both(first: ASGIApp) -> dict[str, ASGIApp]:
    """Return both providers, the first of which is this."""
    return {"cerebras": first, "groq": Simulator(dialect="groq")}


def assert_clean(answer: Any, here: Crossroads, **members: Any) -> None:
    """Check what an SDK made of the answer: one author's, whole, and its usage with it."""
    (said,) = here.providers["groq"].chats
    assert author(answer.headers["cachemw-route"]) == SECOND
    if not members.get("stream"):
        (completion,) = answer.parsed
        (choice,) = completion.choices
        assert (completion.model, choice.finish_reason) == ("openai/gpt-oss-120b", "stop")
        assert choice.message.content == json.loads(said.said)["choices"][0]["message"]["content"]
        assert completion.usage.total_tokens == completion.usage.prompt_tokens + completion.usage.completion_tokens > 0
        return
    chunks = answer.parsed
    assert {chunk.model for chunk in chunks} == {"openai/gpt-oss-120b"}
    assert len({chunk.id for chunk in chunks}) == 1
    assert [choice.finish_reason for chunk in chunks for choice in chunk.choices if choice.finish_reason] == ["stop"]
    assert "".join(choice.delta.content or "" for chunk in chunks for choice in chunk.choices)
    (usage,) = [chunk.usage for chunk in chunks if chunk.usage]
    assert usage.total_tokens == usage.prompt_tokens + usage.completion_tokens > 0


@every_sdk
@pytest.mark.parametrize("members", KINDS)
def test_a_wall_is_never_seen(sdk: Sdk, members: dict[str, Any], tmp_path: Path) -> None:
    """G1, G3, G9, G10: by none of the SDKs, which ask once and not again."""
    with crossroads(tmp_path, both(simulated("quota")), AUTO) as here, sdk.open(here.url, retries=2) as client:
        answer = client.ask(request(**members))

        assert len(here.proxy.chats) == 1
        assert here.asked == {"cerebras": 1, "groq": 1}
        assert_clean(answer, here, **members)
        for name, provider in here.providers.items():
            (chat,) = provider.chats
            assert chat.headers[b"authorization"] == f"Bearer sk-of-{name}".encode()
            assert KEY.encode() not in b" ".join(chat.headers.values())
            assert b"cachemw-route" not in chat.headers


@openai_sdks
@pytest.mark.parametrize("members", KINDS)
@pytest.mark.parametrize("wall", [*WALLS, *recorded_walls()])
def test_every_wall_of_cerebras_rolls_over(sdk: Sdk, wall: str, members: dict[str, Any], tmp_path: Path) -> None:
    """G1, G3, G15: as the simulator says it, and with the bodies and fields that it really said."""
    first = simulated(wall) if wall in WALLS else recorded(wall)
    with (
        crossroads(tmp_path, both(first), AUTO) as here,
        sdk.open(here.url, retries=2) as client,
    ):
        answer, again = client.ask(request(**members)), client.ask(request(**members))

        assert len(here.proxy.chats) == 2
        assert here.asked == {"cerebras": 1, "groq": 1}
        assert_clean(answer, here, **members)
        assert again.members == answer.members
        assert again.cache["hit"] is True
        miss, hit = here.reported(2)
        usage = answer.parsed[-1].usage
        assert miss.cost == hit.saved == usage.prompt_tokens * 1000 + usage.completion_tokens * 2000
        assert miss.status == hit.status == 200


@openai_sdks
def test_without_a_cache_it_is_the_same(sdk: Sdk, tmp_path: Path) -> None:
    """G21: the second request no longer asks who has a wall for a day."""
    with (
        crossroads(tmp_path, both(simulated("quota")), AUTO) as here,
        sdk.open(here.url, {"Cachemw": "off"}, retries=2) as client,
    ):
        answers = [client.ask(request(stream=stream)) for stream in (False, True, False)]

        assert here.asked == {"cerebras": 1, "groq": 3}
        assert len(here.proxy.chats) == 3
        assert [author(answer.headers["cachemw-route"]) for answer in answers] == [SECOND] * 3


@pytest.mark.skipif(CURL is None, reason="curl is not installed")
@pytest.mark.parametrize("stream", [False, True], ids=["JSON", "stream"])
@pytest.mark.parametrize("wall", [*WALLS, *recorded_walls()])
def test_curl_gets_the_bytes_of_the_one_that_answered(wall: str, stream: bool, tmp_path: Path) -> None:
    """G1, G3, G10: and a hit has them again."""
    first = simulated(wall) if wall in WALLS else recorded(wall)
    with crossroads(tmp_path, both(first), AUTO) as here:
        answers = [curl(here.url, request(stream=stream), tmp_path) for _ in range(2)]

        assert [(answer.exit_code, answer.status) for answer in answers] == [(0, 200)] * 2
        (said,) = here.providers["groq"].chats
        assert [answer.body for answer in answers] == [said.said] * 2
        assert [author(answer.headers["cachemw-route"]) for answer in answers] == [SECOND] * 2
        assert f'tried=("{FIRST}";status=' in answers[0].headers["cachemw-route"]
        assert "retry-after" not in answers[0].headers
        assert here.asked == {"cerebras": 1, "groq": 1}
