"""The SDKs hang up at `[DONE]`. What they have read by then is stored by then."""

from pathlib import Path
from typing import Literal

import anyio
import pytest

from cachemw import DiskStore, MemoryStore, Policy
from tests.real.answers import lingering, numbered, request
from tests.real.proxied import Servers, is_chat
from tests.real.sdks import ON, Sdk, every_sdk, some_sdks
from tests.upstream import EVENT_STREAM, Asked, Told, completion, stream_events

PROMPTS = 40


@every_sdk
def test_an_sdk_hangs_up_at_done(sdk: Sdk, servers: Servers) -> None:
    """R1b: this is why `[DONE]` is held. The upstream here never ends its body, and sees its client leave."""

    def respond(asked: Asked) -> Told:
        return Told([*stream_events(), anyio.Event()], headers=EVENT_STREAM) if is_chat(asked) else completion()

    with servers.proxied(respond) as world, sdk.open(world.direct) as client:
        left = world.upstream.left = anyio.Event()
        answer = client.ask(request(stream=True))
        world.wait_for(left)

    assert answer.parsed[-1].choices[0].finish_reason == "stop"


@some_sdks
@pytest.mark.parametrize("on_abandon", ["finish", "cancel"])
def test_forty_prompts_asked_twice_make_forty_upstream_calls(
    on_abandon: Literal["finish", "cancel"], sdk: Sdk, servers: Servers
) -> None:
    """R1b: though the upstream ends its body only after `[DONE]`, and the SDK waits for no end."""
    policy = Policy(on_abandon=on_abandon)
    prompts = [request(f"prompt number {number}", stream=True) for number in range(PROMPTS)]

    with servers.proxied(lingering, policy=policy) as world, sdk.open(world.proxy, ON) as client:
        first = [client.ask(prompt).members for prompt in prompts]
        answers = [client.ask(prompt) for prompt in prompts]

        assert len(world.upstream.asked) == PROMPTS
    assert [answer.cache.get("hit") for answer in answers] == [True] * PROMPTS
    assert [answer.members for answer in answers] == first


@some_sdks
@pytest.mark.parametrize("stream", [True, False], ids=["stream", "json"])
@pytest.mark.parametrize("on_disk", [True, False], ids=["disk", "memory"])
def test_what_an_sdk_has_read_can_be_read_from_the_store_at_once(
    on_disk: bool, stream: bool, sdk: Sdk, servers: Servers, tmp_path: Path
) -> None:
    """P2: no sleep, no second try."""
    store = DiskStore(tmp_path) if on_disk else MemoryStore()
    answers = lingering if stream else numbered()

    with servers.proxied(answers, store) as world, sdk.open(world.proxy, ON) as client:
        for number in range(5):
            answer = client.ask(request(f"prompt number {number}", stream=stream))
            assert store.get(bytes.fromhex(answer.cache["key"])) is not None

    store.close()
