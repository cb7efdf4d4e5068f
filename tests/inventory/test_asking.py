"""A question is asked as a client asks it, of a mount in this process or over a socket, and its whole answer is read."""

import json
from typing import Any

import anyio
import pytest

from cachemw import MemoryStore, Policy
from cachemw.asgi import CacheMiddleware
from cachemw.endpoints import CHAT, MESSAGES
from cachemw.inventory.asking import Asker, ClientQuestion, WholeReply, in_process, through, usage_in
from cachemw.messages import Caller
from cachemw.simulator import Simulator
from cachemw.upstreams import HttpUpstream
from tests.serving import nobody_there, serving_in_thread

BODY: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": "Why?"}], "max_tokens": 50}


def question(endpoint: Any = CHAT, path: str = "/v1/chat/completions", **members: Any) -> ClientQuestion:
    return ClientQuestion(endpoint, path, json.dumps({**BODY, **members}).encode())


async def twice(asked: Asker, one: ClientQuestion) -> list[WholeReply]:
    return [await asked.ask(one), await asked.ask(one)]


@pytest.mark.parametrize("members", [{}, {"stream": True, "stream_options": {"include_usage": True}}])
def test_a_mount_in_this_process_answers_and_says_what_is_stored(members: dict[str, Any]) -> None:
    async def ask(url: str) -> list[WholeReply]:
        mount = CacheMiddleware(Simulator(), upstream=HttpUpstream(f"{url}/v1"), store=MemoryStore(), policy=Policy())
        async with in_process(mount) as asked:
            replies = await twice(asked, question(**members))
        await mount.aclose()
        return replies

    with serving_in_thread(Simulator()) as url:
        first, second = anyio.run(ask, url)

    assert (first.is_answer, second.is_answer, first.body == second.body) == (True, True, True)
    assert (first.standing.is_hit, second.standing.is_hit) == (False, True)
    assert first.standing.key == second.standing.key != ""
    used = usage_in(CHAT, second)
    assert used is not None
    assert used.output_tokens


def test_a_client_with_a_name_has_answers_of_its_own() -> None:
    async def ask(url: str) -> list[bool]:
        mount = CacheMiddleware(Simulator(), upstream=HttpUpstream(f"{url}/v1"), store=MemoryStore(), policy=Policy())
        hits = []
        for name in ("alice", "bob", "alice"):
            async with in_process(mount, caller=Caller(name=name)) as asked:
                hits.append((await asked.ask(question())).standing.is_hit)
        await mount.aclose()
        return hits

    with serving_in_thread(Simulator()) as url:
        assert anyio.run(ask, url) == [False, False, True]


def test_messages_are_asked_in_the_version_of_the_sdks() -> None:
    async def ask(url: str) -> WholeReply:
        async with through(f"{url}/v1/") as asked:
            return await asked.ask(question(MESSAGES, "/v1/messages"))

    with serving_in_thread(Simulator(dialect="anthropic")) as url:
        reply = anyio.run(ask, url)

    assert reply.is_answer
    assert usage_in(MESSAGES, reply) is not None


def test_where_nobody_answers_that_is_said_and_nothing_raised() -> None:
    async def ask(url: str) -> WholeReply:
        async with through(url) as asked:
            return await asked.ask(question())

    with nobody_there() as url:
        reply = anyio.run(ask, url)

    assert (reply.status, reply.is_answer, reply.why) == (None, False, "no answer: ConnectError")
