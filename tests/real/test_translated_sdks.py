"""The official SDKs before an upstream that speaks the other's API: over sockets, each hangs up at its own end."""

import contextlib
from collections.abc import Iterator
from typing import Any

import anthropic
import openai
import pytest

from cachemw import MemoryStore, Policy
from cachemw.proxy import Proxy
from cachemw.upstreams import HttpUpstream
from tests.mounts.gates import Gate
from tests.mounts.translating import CHAT, MESSAGES, OTHER, PIECES, TEXT, THOUGHT, Client
from tests.serving import serving_in_thread
from tests.upstream import EVENT_STREAM, JSON, Asked, Told, Upstream

HELLO: Any = [{"role": "user", "content": "hi"}]


@contextlib.contextmanager
def proxied(client: Client, upstream: Upstream, **policy: Any) -> Iterator[str]:
    """Serve a proxy whose upstream speaks the other dialect than this client."""
    with serving_in_thread(upstream) as there:
        target = HttpUpstream(f"{there}/v1", speaks={OTHER[client].dialect})
        proxy = Proxy(target, store=MemoryStore(), policy=Policy(default="on", **policy))
        with serving_in_thread(proxy) as url:
            yield url


def lingering(client: Client) -> Upstream:
    """Return an upstream that never ends the body of a stream: it waits for its client to hang up."""

    def respond(asked: Asked) -> Told:
        told = OTHER[client].answers(asked)
        return Told([*told.parts, Gate()], headers=told.headers) if told.headers == EVENT_STREAM else told

    return Upstream(respond)


def text_by_anthropic(url: str, stream: bool) -> tuple[str, str]:
    with anthropic.Anthropic(api_key="k", base_url=url, max_retries=0) as client:
        asked: Any = {"model": "m", "max_tokens": 64, "messages": HELLO}
        if stream:
            with client.messages.stream(**asked) as said:
                message: Any = said.get_final_message()
        else:
            message = client.messages.create(**asked)
    blocks = {block.type: block for block in message.content}
    return blocks["thinking"].thinking, blocks["text"].text


def text_by_openai(url: str, stream: bool) -> tuple[str, str]:
    with openai.OpenAI(api_key="k", base_url=f"{url}/v1", max_retries=0) as client:
        if not stream:
            said: Any = client.chat.completions.create(model="m", messages=HELLO).choices[0].message
            return said.reasoning_content, said.content
        thought, text = "", ""
        for chunk in client.chat.completions.create(model="m", messages=HELLO, stream=True):
            delta: Any = chunk.choices[0].delta if chunk.choices else None
            thought += getattr(delta, "reasoning_content", None) or ""
            text += getattr(delta, "content", None) or ""
        return thought, text


ASK = {MESSAGES: text_by_anthropic, CHAT: text_by_openai}
EACH = pytest.mark.parametrize("client", ASK, ids=["anthropic", "openai"])


@EACH
@pytest.mark.parametrize("stream", [True, False], ids=["stream", "json"])
@pytest.mark.parametrize("on_abandon", ["finish", "cancel"])
def test_what_an_sdk_has_read_is_a_hit_the_next_time(client: Client, stream: bool, on_abandon: str) -> None:
    """R1b, T9."""
    upstream = Upstream(OTHER[client].answers)
    with proxied(client, upstream, on_abandon=on_abandon) as url:
        said = [ASK[client](url, stream) for _ in range(3)]

    assert said == [(THOUGHT, TEXT)] * 3
    assert upstream.calls == 1


def test_the_openai_sdk_hangs_up_at_its_end_before_an_upstream_that_waits_for_that() -> None:
    """S6: Anthropic's reads on to the end of the body."""
    upstream = lingering(CHAT)
    upstream.left = Gate()
    with proxied(CHAT, upstream, on_abandon="cancel") as url:
        said = text_by_openai(url, True)
        upstream.left.wait_here()

    assert said == (THOUGHT, TEXT)


@EACH
@pytest.mark.parametrize("status", [401, 429, 500])
def test_an_sdk_raises_what_it_raises_for_its_own_api(client: Client, status: int) -> None:
    """§3.3."""
    told = Told([b'{"error":{"message":"no","type":"x"}}'], status=status, headers=(*JSON, (b"retry-after", b"7")))
    sdk: Any = {MESSAGES: anthropic, CHAT: openai}[client]
    kinds = {401: sdk.AuthenticationError, 429: sdk.RateLimitError, 500: sdk.InternalServerError}
    for stream in (True, False):
        with proxied(client, Upstream(lambda _: told)) as url, pytest.raises(kinds[status]) as raised:
            ASK[client](url, stream)

        assert raised.value.response.headers["retry-after"] == "7"
        assert "no" in str(raised.value)


@EACH
def test_an_sdk_raises_where_a_stream_is_cut(client: Client) -> None:
    """R1: and takes no half of an answer for a whole one."""
    events = OTHER[client].event_stream()
    told = Told(events[:5], headers=EVENT_STREAM, ends=False)
    sdk: Any = {MESSAGES: anthropic, CHAT: openai}[client]

    with proxied(client, Upstream(lambda _: told)) as url, pytest.raises(sdk.APIError, match="broke off"):
        ASK[client](url, True)

    assert any(piece in b"".join(events[:5]) for piece in PIECES)
