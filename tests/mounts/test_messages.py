"""Messages in Anthropic's own words, through the mounts: what is forwarded, kept and given again."""

import json
from typing import Any

import anthropic
import httpx
import httpx2
import pytest

from cachemw import MemoryStore, Policy
from cachemw.asgi import CacheMiddleware
from cachemw.httpx2 import CacheTransport
from cachemw.upstreams import HttpUpstream
from cachemw.upstreams.providers import PROVIDERS
from tests.asgi_driver import RawHeaders, Reply, call
from tests.endpoints.messages import (
    BILLING,
    HELLO,
    TEXT,
    THINKING,
    TOOL,
    Members,
    asked,
    ending,
    message,
    read_by_sdk,
    start,
    stream_of,
    told,
)
from tests.endpoints.transcoding import JSON as DOCUMENT
from tests.endpoints.transcoding import STREAM
from tests.mounts.conftest import Mounted, status_of
from tests.upstream import EVENT_STREAM, JSON, Asked, Told, Upstream, always

pytestmark = pytest.mark.anyio

PATH = "/v1/messages"
TYPE = (b"content-type", b"application/json")
ON = (TYPE, (b"cachemw", b"on"))
HIT = "hit; ttl=86400; key"

WHOLE = json.dumps(message(THINKING, TEXT, TOOL, stop_reason="tool_use"), indent=1).encode()
EVENTS = stream_of(told(*HELLO)).partition(b"event: message_delta")
PIECES = [EVENTS[0], *(bytes([byte]) for byte in EVENTS[1] + EVENTS[2])]
"""A stream whose end comes byte by byte."""


def answer(request: Asked) -> Told:
    """Return a message, in the kind that was asked for."""
    if json.loads(request.body).get("stream"):
        return Told(PIECES, headers=EVENT_STREAM)
    return Told([WHOLE], headers=(*JSON, (b"content-length", b"%d" % len(WHOLE))))


def question(**members: Any) -> bytes:
    return json.dumps(asked(**members), indent=1).encode()


@pytest.mark.parametrize("path", [PATH, PATH + "?beta=true"])
@pytest.mark.parametrize("stream", [False, True], ids=["json", "stream"])
async def test_a_message_is_a_hit_with_every_byte_of_it(mounted: Mounted, stream: bool, path: str) -> None:
    """T10: the request is forwarded with every byte, too."""
    mounted.upstream.respond = answer
    body = question(stream=stream)

    first, again = [await mounted.ask("on", body, path=path) for _ in range(2)]

    assert first.body == again.body == (b"".join(PIECES) if stream else WHOLE)
    assert status_of(again) == HIT
    assert [request.body for request in mounted.upstream.asked] == [body]
    assert (mounted.upstream.asked[0].path, mounted.upstream.asked[0].query) == (PATH, path.partition("?")[2].encode())


@pytest.mark.parametrize("stream", [False, True], ids=["json first", "stream first"])
async def test_one_message_serves_both_kinds(mounted: Mounted, stream: bool) -> None:
    """§1.5, T10: and Anthropic's SDK reads the same in both."""
    mounted.upstream.respond = answer

    recorded = await mounted.ask("on", question(stream=stream), path=PATH)
    other = await mounted.ask("on", question(stream=not stream), path=PATH)

    assert status_of(other) == f"{HIT}; detail=transcoded"
    kinds = (STREAM, DOCUMENT) if stream else (DOCUMENT, STREAM)
    assert read_by_sdk(recorded.body, kinds[0]) == read_by_sdk(other.body, kinds[1])
    assert mounted.upstream.calls == 1


@pytest.mark.parametrize(
    "told_last",
    [
        pytest.param([EVENTS[0]], id="a cut"),
        pytest.param([stream_of((start(), *HELLO, ending("refusal"), {"type": "message_stop"}))], id="a refusal"),
        pytest.param(
            [EVENTS[0], b'event: error\ndata: {"type":"error","error":{"type":"overloaded_error"}}\n\n'], id="an error"
        ),
        pytest.param([EVENTS[0], stream_of((start(),)), *EVENTS[1:]], id="two beginnings"),
    ],
)
async def test_what_is_no_whole_message_is_passed_on_and_not_kept(mounted: Mounted, told_last: list[bytes]) -> None:
    mounted.upstream.respond = always(Told(told_last, headers=EVENT_STREAM))

    replies = [await mounted.ask("on", question(stream=True), path=PATH) for _ in range(2)]

    assert [reply.body for reply in replies] == [b"".join(told_last)] * 2
    assert mounted.upstream.calls == 2
    assert not list(mounted.store.scan())


async def test_a_call_that_cannot_be_repeated_is_not_kept(mounted: Mounted) -> None:
    mounted.upstream.respond = answer
    body = question(tools=[{"type": "web_search_20250305", "name": "web_search"}])

    replies = [await mounted.ask("on", body, path=PATH) for _ in range(2)]

    assert [status_of(reply) for reply in replies] == ["fwd=bypass; detail=server-tool"] * 2
    assert [request.body for request in mounted.upstream.asked] == [body] * 2


async def test_other_paths_of_the_api_are_not_messages(mounted: Mounted) -> None:
    mounted.upstream.respond = answer

    for path in (PATH + "/batches", PATH + "/"):
        await mounted.ask("on", question(), path=path)
        await mounted.ask("on", question(), path=path)

    assert mounted.upstream.calls == 4


# Around an app, and at Anthropic.


class Api:
    """What stands for Anthropic's API, and an ASGI app that asks it."""

    def __init__(self) -> None:
        self.sent: list[httpx.Request] = []
        row = PROVIDERS["anthropic"]
        transport = httpx.MockTransport(self._answer)
        upstream = HttpUpstream(
            row.base_url, provider="anthropic", bookkeeping=row.bookkeeping, transport=lambda: transport, closing=row.closing
        )
        self.app = CacheMiddleware(Upstream(), upstream=upstream, store=MemoryStore())

    def _answer(self, request: httpx.Request) -> httpx.Response:
        self.sent.append(request)
        return httpx.Response(200, headers=[TYPE], content=WHOLE)

    async def ask(self, body: bytes, *fields: tuple[bytes, bytes]) -> str:
        reply = await call(self.app, "POST", PATH, body, (*ON, *fields))
        return status_of(reply).partition(";")[0]


def system(*texts: str) -> list[Members]:
    return [{"type": "text", "text": text} for text in texts]


async def test_a_digest_of_the_body_makes_no_other_request_and_is_forwarded() -> None:
    """T15: a coding agent puts another one into every request."""
    api = Api()
    bodies = [question(system=system(BILLING.replace("0a1b2", digest), "Be brief.")) for digest in ("0a1b2", "fffff")]

    said = [await api.ask(body) for body in bodies]
    refreshed = await call(api.app, "POST", PATH, bodies[1], (TYPE, (b"cachemw", b"mode=refresh")))

    assert said == ["fwd=miss", "hit"]
    assert refreshed.status == 200
    assert [request.content for request in api.sent] == bodies
    assert b"cch=fffff" in api.sent[-1].content


async def test_what_the_provider_only_counts_by_makes_no_other_request() -> None:
    api = Api()
    control = {"type": "ephemeral"}
    kept = [system("a")[0] | {"cache_control": control}]

    said = [
        await api.ask(body)
        for body in (
            question(metadata={"user_id": "session_1"}, system=kept),
            question(metadata={"user_id": "session_2"}, system=system("a"), service_tier="auto", cache_control=control),
            question(system=system("b")),
        )
    ]

    assert said == ["fwd=miss", "hit", "fwd=miss"]


@pytest.mark.parametrize("name", [b"anthropic-version", b"anthropic-beta"])
async def test_another_version_of_the_api_is_another_request(name: bytes) -> None:
    api = Api()

    said = [await api.ask(question(), (name, value)) for value in (b"a,b", b"a,b", b"b,a")]

    assert said == ["fwd=miss", "hit", "fwd=miss"]
    assert [request.headers[name.decode()] for request in api.sent] == ["a,b", "b,a"]


KEYS: tuple[RawHeaders, ...] = (
    ((b"x-api-key", b"alice"),),
    ((b"authorization", b"Bearer alice"),),
    ((b"x-api-key", b"bob"),),
    (),
)


async def test_a_key_and_a_token_are_two_credentials() -> None:
    """Each has its own answers, and each goes upstream as it came."""
    api = Api()

    for fields in KEYS:
        assert [await api.ask(question(), *fields) for _ in range(2)] == ["fwd=miss", "hit"]

    assert [request.headers.get("x-api-key") for request in api.sent] == ["alice", None, "bob", None]
    assert [request.headers.get("authorization") for request in api.sent] == [None, "Bearer alice", None, None]


async def test_around_an_app_nothing_but_the_kind_is_left_out() -> None:
    upstream = Upstream(answer)
    app = CacheMiddleware(upstream, name="bot", store=MemoryStore())
    bodies = [question(), question(stream=False), question(metadata={}), question(system=system(BILLING))]
    bodies.append(question(system=system(BILLING.replace("0a1b2", "fffff"))))

    said = [status_of(await call(app, "POST", PATH, body, ON)).partition(";")[0] for body in bodies]

    assert said == ["fwd=miss", "hit", "fwd=miss", "fwd=miss", "fwd=miss"]
    assert [request.body for request in upstream.asked] == [bodies[0], *bodies[2:]]


# Errors of our own.


async def refused(path: str = PATH) -> Reply:
    app = CacheMiddleware(Upstream(answer), name="bot", store=MemoryStore())
    return await call(app, "POST", path, question(), (TYPE, (b"cachemw", b"ttl=soon")))


async def test_a_bad_control_is_refused_in_the_shape_that_is_read_there() -> None:
    reply = await refused()
    error = json.loads(reply.body)

    assert reply.status == 400
    assert (error["type"], error["error"]["type"]) == ("error", "invalid_request_error")
    assert "ttl" in error["error"]["message"]
    assert "type" not in json.loads((await refused("/v1/chat/completions")).body)


async def test_the_sdk_reads_what_is_refused() -> None:
    reply = await refused()
    response = httpx2.Response(reply.status or 0, headers=list(reply.raw_headers), content=reply.body)
    inner = httpx2.Client(transport=httpx2.MockTransport(lambda _: response))

    with (
        anthropic.Anthropic(api_key="k", base_url="https://api.example", http_client=inner) as client,
        pytest.raises(anthropic.BadRequestError, match="ttl"),
    ):
        client.messages.create(model="m", max_tokens=1, messages=[{"role": "user", "content": "hello"}])


def test_the_sdk_itself_may_hold_the_cache() -> None:
    """A stream that its own helper reads is the same from the store; who is counted there is known by the host."""
    calls: list[bytes] = []

    def respond(request: httpx2.Request) -> httpx2.Response:
        calls.append(request.content)
        return httpx2.Response(200, headers={"content-type": "text/event-stream"}, content=b"".join(PIECES))

    cache = CacheTransport(httpx2.MockTransport(respond), store=MemoryStore(), policy=Policy(default="on"))
    with anthropic.Anthropic(api_key="k", http_client=httpx2.Client(transport=cache)) as client:
        said = []
        for user in ("alice", "bob"):
            with client.messages.stream(
                model="m", max_tokens=1, messages=[{"role": "user", "content": "hello"}], metadata={"user_id": user}
            ) as stream:
                said.append(stream.get_final_message().to_dict())

    assert said[0] == said[1]
    assert len(calls) == 1
