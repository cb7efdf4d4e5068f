"""K10: an upstream that answers with everything it received finds any unkeyed input, without knowing its name."""

import json
from collections.abc import Callable
from random import Random
from typing import Any

import anyio
import httpx

from cachemw import MemoryStore, Policy, asgi, wsgi
from cachemw.endpoints.chat.request import BOOKKEEPING
from cachemw.httpx import CacheTransport
from cachemw.upstreams import HttpUpstream
from tests import wsgi_driver
from tests.asgi_driver import Reply, call
from tests.cache.keying import LEFT_OUT_AROUND_AN_APP, LEFT_OUT_OVER_HTTP, RICH
from tests.endpoints.test_canonical import reference, values_in
from tests.faults.fault import Fault, Tally
from tests.mounts.gates import Gate
from tests.mounts.wsgi_upstream import WsgiUpstream
from tests.upstream import Asked, Told, Upstream, completion
from tests.wire.spelling import spell

Ask = tuple[str, bytes, tuple[tuple[bytes, bytes], ...]]
"""Path and query, body, headers."""

PATH = "/v1/chat/completions"
ORIGIN = "https://api.example"

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


class Inner(httpx.AsyncBaseTransport, httpx.BaseTransport):
    """The upstream's end of an HTTP request: answers as `respond` says. The path it is asked for is the whole URL."""

    def __init__(self, respond: Callable[[Asked], Told]) -> None:
        self._respond = respond

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        await request.aread()
        told = self._told(request)
        for part in told.parts:
            if isinstance(part, Gate):
                await part.wait()
        return _response(told)

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        told = self._told(request)
        for part in told.parts:
            if isinstance(part, Gate):
                part.wait_here()
        return _response(told)

    def _told(self, request: httpx.Request) -> Told:
        url, headers = request.url, tuple(request.headers.raw)
        return self._respond(Asked(request.method, str(url), url.raw_path, url.query, headers, request.read()))


def _response(told: Told) -> httpx.Response:
    content = b"".join(part for part in told.parts if isinstance(part, bytes))
    return httpx.Response(told.status, headers=list(told.headers), content=content)


def reflect(asked: Asked) -> Told:
    """Answer with all that came."""
    fields = [(name.lower().decode("latin-1"), value.decode("latin-1")) for name, value in asked.headers]
    return completion(
        json.dumps([[asked.path, asked.raw_path.decode(), asked.query.decode()], fields, asked.body.decode("latin-1")])
    )


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
    return PATH, json.dumps(document, separators=(",", ":")).encode(), headers


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


def mount_of(kind: str, respond: Callable[[Asked], Told], **options: Any) -> Any:
    """Return a mount with a store of its own, unless `options` say otherwise."""
    options = {"store": MemoryStore(), **options}
    if kind == "around an app":
        return asgi.CacheMiddleware(Upstream(respond), name="bot", **options)
    if kind == "with an upstream":
        upstream = HttpUpstream(
            f"{ORIGIN}/v1",
            api_key="sk-of-the-server",
            credentials="pass",
            bookkeeping=BOOKKEEPING,
            transport=lambda: Inner(respond),
        )
        return asgi.CacheMiddleware(Upstream(), upstream=upstream, **options)
    if kind == "WSGI around an app":
        return wsgi.CacheMiddleware(WsgiUpstream(Upstream(respond)), name="bot", **options)
    options = {"policy": Policy(default="on", bookkeeping=BOOKKEEPING), **options}
    return CacheTransport(Inner(respond), **options)


KINDS = ("around an app", "with an upstream", "WSGI around an app", "transport")


async def asked(mount: Any, ask: Ask) -> Reply:
    """Send a chat request that opts in, unless it says otherwise."""
    path, body, headers = ask
    control = () if any(name == b"cachemw" for name, _ in headers) else ((b"cachemw", b"on"),)
    fields = [(b"content-type", b"application/json"), *control, *headers]
    if isinstance(mount, asgi.CacheMiddleware):
        return await call(mount, "POST", path, body, fields)
    return asked_here(mount, path, body, fields)


def asked_here(mount: Any, path: str, body: bytes, fields: list[tuple[bytes, bytes]]) -> Reply:
    """Send it to a mount that does not await."""
    if isinstance(mount, wsgi.CacheMiddleware):
        return wsgi_driver.call(mount, "POST", path, body, fields, is_validated=False)
    response = mount.handle_request(httpx.Request("POST", ORIGIN + path, headers=fields, content=body))
    chunks = (response.read(),)
    return Reply(response.status_code, dict(response.headers.raw), chunks, complete=True)


def is_hit(reply: Reply) -> bool:
    return reply.headers.get(b"cache-status", b"").startswith(b"cachemw; hit")


async def try_pair(kind: str, random: Random) -> tuple[Tally, bool]:
    """Ask a request and then a changed one of one store; say, too, whether the second was a hit."""
    one = first(random)
    other = one
    for change in random.choices(CHANGES, k=random.choice([1, 1, 2])):
        other = change(other, random)
    mount = mount_of(kind, reflect)
    said = await asked(mount, one)
    again = await asked(mount, other)
    if said.status != 200 or again.status != 200:
        return Tally(1, failed=1, examples=(f"{kind}: {said.status}, then {again.status}, for {one}, then {other}",)), False
    if not is_hit(again):
        came = json.loads(json.loads(again.body)["choices"][0]["message"]["content"])[2]
        return Tally(1, wrong=int(came.encode("latin-1") != other[1]), examples=()), False
    truth = await asked(mount_of(kind, reflect), other)
    left_out = LEFT_OUT_AROUND_AN_APP if kind.endswith("around an app") else LEFT_OUT_OVER_HTTP
    if again.body != said.body or reaches_the_model(said, left_out, kind) != reaches_the_model(truth, left_out, kind):
        return Tally(1, wrong=1, examples=(f"{kind}: {one} answered {other}",)), True
    return Tally(1), True


async def try_pairs(kind: str, count: int) -> Tally:
    """Raises where too few were hits, or too many, to show anything."""
    random, tally, hits = Random(kind), Tally(), 0
    for _ in range(count):
        tried, hit = await try_pair(kind, random)
        tally, hits = tally + tried, hits + hit
    if tally.is_clean and not count // 10 <= hits <= count - count // 10:
        raise RuntimeError(f"{kind}: {hits} hits in {count} pairs show nothing")
    return tally + Tally(note=f"{hits:,} hits")


def run(trials: int) -> Tally:
    """Try pairs of requests at every mount."""
    tallies = [anyio.run(try_pairs, kind, trials // len(KINDS)) for kind in KINDS]
    hits = sum(int(tally.note.split()[0].replace(",", "")) for tally in tallies)
    return sum(tallies, Tally()) + Tally(note=f"{hits:,} of the second requests were hits")


FAULTS = (Fault("reflecting upstream", "pairs of requests; the upstream answers with all it received", 5_000, 100_000, run),)
