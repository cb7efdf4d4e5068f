"""K10: an upstream that answers with everything it received finds any unkeyed input, without knowing its name."""

import json
import os
from collections.abc import Callable, Mapping
from random import Random
from typing import Any

import anyio
import httpx
import pytest

from cachemw import MemoryStore, asgi, wsgi
from cachemw.core.chat import LEFT_OUT_AROUND_AN_APP, LEFT_OUT_OVER_HTTP
from cachemw.httpx import CacheTransport
from cachemw.upstreams import HttpUpstream
from tests import wsgi_driver
from tests.asgi_driver import Reply, call
from tests.core.keying import RICH
from tests.core.spelling import spell
from tests.core.test_canonical import reference, values_in
from tests.mounts.wsgi_upstream import WsgiUpstream
from tests.upstream import Asked, Told, Upstream, completion

PAIRS = int(os.environ.get("CACHEMW_REFLECTING_PAIRS", "1600"))

Ask = tuple[str, bytes, tuple[tuple[bytes, bytes], ...]]  # path and query, body, headers

NAMES = (
    b"x-tenant cookie openai-organization openai-project openai-beta anthropic-version x-cerebras-version-patch"
    b" x-forwarded-user x-original-url x-rewrite-url accept-language authorization api-key x-api-key x-goog-api-key"
    b" x-cerebras-cache x-invented range if-none-match te upgrade x-http-method-override x-user date from".split()
)
INERT = (
    b"user-agent accept x-stainless-os x-stainless-retry-count traceparent tracestate baggage sentry-trace x-request-id"
    b" idempotency-key x-forwarded-for x-forwarded-host forwarded via origin referer sec-fetch-mode priority host pragma"
    b" queue_threshold x-cerebras-3rd-party-integration accept-encoding content-language".split()
)
LINES = [
    b"connection",
    b"cachemw",
    b"content-type",
    b"content-length",
    b"transfer-encoding",
    b"keep-alive",
    b"te",
    b"upgrade",
    *INERT,
]


class Reflecting(httpx.AsyncBaseTransport, httpx.BaseTransport):
    """The upstream's end of an HTTP request."""

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        await request.aread()
        return self.handle_request(request)

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        told = reflection(str(request.url), tuple(request.headers.raw), request.read())
        content = b"".join(part for part in told.parts if isinstance(part, bytes))
        return httpx.Response(200, headers=list(told.headers), content=content)


def reflection(target: str, headers: tuple[tuple[bytes, bytes], ...], body: bytes) -> Told:
    fields = [(name.lower().decode("latin-1"), value.decode("latin-1")) for name, value in headers]
    return completion(json.dumps([target, fields, body.decode("latin-1")]))


def reflect(asked: Asked) -> Told:
    return reflection(repr((asked.raw_path, asked.query)), asked.headers, asked.body)


def reaches_the_model(reply: Reply, left_out: frozenset[str], kind: str) -> object:
    """Return what of a reflection can change an answer: all of it but the documented lists."""
    target, fields, body = json.loads(json.loads(reply.body)["choices"][0]["message"]["content"])
    lines = [*LINES, b"accept-language"] if kind == "transport" else LINES
    kept = sorted((name, value) for name, value in fields if name.encode() not in lines)
    return target, kept, reference(body.encode("latin-1"), set(left_out))


def first(random: Random) -> Ask:
    document = dict(RICH) | random.choice(
        [{}, {"stop": None}, {"n": 1}, {"seed": 2**60}, {"user": "u1", "metadata": {"a": "b"}}]
    )
    headers = tuple((name, b"1") for name in random.sample(NAMES, 2))
    return "/v1/chat/completions", json.dumps(document, separators=(",", ":")).encode(), headers


def change_value(ask: Ask, random: Random) -> Ask:
    document = json.loads(ask[1])
    places = [path for path, value in values_in(document) if path and not isinstance(value, dict | list)]
    path = random.choice(places)
    holder = document
    for step in path[:-1]:
        holder = holder[step]
    holder[path[-1]] = random.choice([None, 0, 1, 1.0, "", "x", True, holder[path[-1]], str(holder[path[-1]]) + " "])
    return ask[0], json.dumps(document).encode(), ask[2]


def change_order(ask: Ask, random: Random) -> Ask:
    def shuffled(value: Any) -> Any:
        if isinstance(value, dict):
            names = list(value)
            if random.random() < 0.3:
                random.shuffle(names)
            return {name: shuffled(value[name]) for name in names}
        return [shuffled(item) for item in value] if isinstance(value, list) else value

    return ask[0], json.dumps(shuffled(json.loads(ask[1]))).encode(), ask[2]


def change_spelling(ask: Ask, random: Random) -> Ask:
    return ask[0], spell(json.loads(ask[1]), random), ask[2]


def add_member(ask: Ask, random: Random) -> Ask:
    name = random.choice(
        ["invented", "user", "metadata", "service_tier", "prompt_cache_key", "stream_options", "store", "top_k", "n"]
    )
    value = random.choice([None, False, 1, "a", {"a": "b"}])
    return ask[0], json.dumps(json.loads(ask[1]) | {name: value}).encode(), ask[2]


def repeat_member(ask: Ask, random: Random) -> Ask:
    name = random.choice(['"model"', '"\\u006dodel"', '"temperature"'])
    return ask[0], b"{" + name.encode() + b":" + random.choice([b'"llama3.1-8b"', b"0.5"]) + b"," + ask[1].lstrip()[1:], ask[2]


def change_header(ask: Ask, random: Random) -> Ask:
    name = random.choice([*NAMES, *INERT])
    spelled = random.choice([name, name.upper(), name.title()])
    headers = [field for field in ask[2] if random.random() < 0.8]
    headers.insert(random.randint(0, len(headers)), (spelled, random.choice([b"1", b"2", b"", b"Bearer cachemw"])))
    return ask[0], ask[1], tuple(headers)


def nominate(ask: Ask, random: Random) -> Ask:
    return ask[0], ask[1], (*ask[2], (b"connection", random.choice([*NAMES, b"authorization, close"])))


def change_target(ask: Ask, random: Random) -> Ask:
    return (
        random.choice(["/v1/v1/chat/completions", "/chat/completions", "/v2/chat/completions"])
        + random.choice(["", "?a=1", "?a=1&b=2", "?b=2&a=1", "?A=1", "?a=%31"]),
        ask[1],
        ask[2],
    )


CHANGES: list[Callable[[Ask, Random], Ask]] = [
    change_value, change_order, change_spelling, add_member, repeat_member, change_header, nominate, change_target
]  # fmt: skip


KINDS = ["around an app", "with an upstream", "WSGI around an app", "transport"]


@pytest.mark.parametrize("kind", KINDS)
def test_no_answer_is_given_to_a_request_that_would_have_been_answered_otherwise(kind: str) -> None:
    """K10, K2, K6, H11: for any two requests whose reflections differ in what can reach the model, no hit."""

    async def run() -> tuple[int, int]:
        random, hits, differing = Random(kind), 0, 0
        left_out = LEFT_OUT_AROUND_AN_APP if kind.endswith("around an app") else LEFT_OUT_OVER_HTTP
        for _ in range(PAIRS // len(KINDS)):
            one = first(random)
            other = one
            for change in random.choices(CHANGES, k=random.choice([1, 1, 2])):
                other = change(other, random)
            said, again, truth = await ask_both(kind, one, other)
            if again.headers[b"cache-status"].startswith(b"cachemw; hit"):
                hits += 1
                assert reaches_the_model(said, left_out, kind) == reaches_the_model(truth, left_out, kind), (one, other)
            else:
                differing += 1
        return hits, differing

    hits, differing = anyio.run(run)

    assert hits > PAIRS // 40  # else this would show nothing
    assert differing > PAIRS // 40


async def ask_both(kind: str, one: Ask, other: Ask) -> tuple[Reply, Reply, Reply]:
    """Ask one and then the other of one store, and the other of an empty one."""
    mount = MOUNTS[kind]()
    said = await asked(mount, one)
    again = await asked(mount, other)
    return said, again, await asked(MOUNTS[kind](), other)


MOUNTS: Mapping[str, Callable[[], Any]] = {
    "around an app": lambda: asgi.CacheMiddleware(Upstream(reflect), name="bot", store=MemoryStore()),
    "with an upstream": lambda: asgi.CacheMiddleware(
        Upstream(), upstream=HttpUpstream("https://api.example/v1", transport=Reflecting), store=MemoryStore()
    ),
    "WSGI around an app": lambda: wsgi.CacheMiddleware(WsgiUpstream(Upstream(reflect)), name="bot", store=MemoryStore()),
    "transport": lambda: CacheTransport(Reflecting(), store=MemoryStore()),
}


async def asked(mount: Any, ask: Ask) -> Reply:
    path, body, headers = ask
    fields = [(b"content-type", b"application/json"), (b"cachemw", b"on"), *headers]
    if isinstance(mount, asgi.CacheMiddleware):
        return await call(mount, "POST", path, body, fields)
    if isinstance(mount, wsgi.CacheMiddleware):
        return wsgi_driver.call(mount, "POST", path, body, fields, is_validated=False)
    request = httpx.Request("POST", f"https://api.example{path}", headers=fields, content=body)
    response = mount.handle_request(request)
    return Reply(response.status_code, dict(response.headers.raw), (response.read(),), complete=True)
