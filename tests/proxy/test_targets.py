"""A request-target from the client's socket to the upstream's, byte by byte; what leaves the API goes nowhere."""

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

import pytest
from anyio import to_thread

from cachemw import MemoryStore, Policy
from cachemw.asgi import CacheMiddleware as AsgiMount
from cachemw.proxy import Gate, Proxy
from cachemw.proxy.admission import AccessRules
from cachemw.upstreams import HttpUpstream
from cachemw.wsgi import CacheMiddleware as WsgiMount
from tests import asgi_driver, wsgi_driver
from tests.proxy.conftest import say
from tests.proxy.guarded import listening as proxying
from tests.proxy.guarded import status_of
from tests.upstream import Upstream, completion, prompt
from tests.upstreams.raw import RawServer, answer, closing
from tests.upstreams.raw import listening as answering

pytestmark = pytest.mark.anyio

JSON = ((b"content-type", b"application/json"),)
ON = (*JSON, (b"cachemw", b"on"))
BODY = prompt()


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@dataclass(slots=True)
class Line:
    """The proxy as it is served, before an upstream that keeps every byte; its base URL ends in `/api/v1`."""

    url: str
    server: RawServer

    async def ask(self, method: bytes, target: bytes, body: bytes = b"", fields: bytes = b"") -> bytes:
        sized = b"Content-Type: application/json\r\nContent-Length: %d\r\n" % len(body) if body else b""
        head = method + b" " + target + b" HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n" + sized + fields + b"\r\n"
        return await say(self.url, head + body)

    def targets(self) -> list[bytes]:
        return [request.split(b" ", 2)[1] for request in self.server.requests]


@contextlib.asynccontextmanager
async def line(rules: AccessRules) -> AsyncIterator[Line]:
    async with (
        answering(answer(completion().parts[0], b"Content-Type: application/json")) as server,  # type: ignore[arg-type]
        closing(HttpUpstream(server.url + "/api/v1", api_key="sk-server")) as upstream,
    ):
        gate = Gate(Proxy(upstream, store=MemoryStore(), policy=rules.policy), rules)
        async with proxying(gate) as port:
            yield Line(f"http://127.0.0.1:{port}", server)


EXACT = [
    *(
        b"/v1/%63hat/completions",
        b"/v1/chat/completions?%63=%c3%C3",
        b"/v1/%c3%A9",
        b"/v1/a%2Fb%2fc",
        b"/v1/a%5cb",
        b"/v1/a\\b",
    ),
    *(
        b"/v1/a+b'c|d^e\"f`{}[]<>",
        b"/v1/x?a+b'c|d^e\"f`{}[]<>\\",
        b"/v1/~%7e%7E",
        b"/v1/./x",
        b"/v1/x//y/",
        b"/v1//x",
        b"/v1/a;b=c",
    ),
    *(
        b"/v1/%25%32%35",
        b"/v1/x?a=1&&b=../..",
        b"/v1/x?a=1?b=2",
        b"/v1/:@!$&()*,;=",
        b"/v1/%20x?%20+",
        b"/v1/x%23y",
        b"/v1/x?a=%00",
    ),
]


@pytest.mark.parametrize("target", EXACT, ids=repr)
async def test_the_bytes_of_a_target_go_on_as_they_came(target: bytes) -> None:
    """F121, A8: RFC 9112 §3.2: opted in, not opted in, with a body and without."""
    async with line(AccessRules(Policy())) as asked:
        replies = [
            await asked.ask(b"GET", target),
            await asked.ask(b"POST", target, BODY),
            await asked.ask(b"POST", target, BODY, b"Cachemw: on\r\n"),
        ]

    assert [status_of(reply) for reply in replies] == [200] * 3
    assert asked.targets() == [b"/api" + target] * 3


async def test_two_spellings_are_two_records() -> None:
    """K2: an upstream may tell them apart."""
    async with line(AccessRules(Policy())) as asked:
        replies = [
            await asked.ask(b"POST", spelling, BODY, b"Cachemw: on\r\n")
            for spelling in (
                b"/v1/chat/completions",
                b"/v1/%63hat/completions",
                b"/v1/v1/chat/completions",
                b"/v1/%63hat/completions",
            )
        ]

    assert [b"; hit" in reply for reply in replies] == [False, False, True, True]


CLIMBING = [
    *(b"/v1/..%2f..%2fadmin", b"/v1/%2e%2e%2fadmin", b"/v1/..%5cadmin", b"/v1/..\\admin", b"/v1/..;/admin", b"/v1/..;x/admin"),
    *(b"/v1/a%2f..%2f..%2f..%2fadmin", b"/v1/../admin", b"/v1/%252e%252e/admin", b"/../admin", b"/v1/%00", b"/v1/.."),
    *(b"/v1/../chat/completions", b"/v1/..%2fchat/completions"),
]


@pytest.mark.parametrize("keys", [(), (b"sk-alice",)], ids=["own", "lent"])
async def test_nothing_leaves_the_base_urls_path(keys: tuple[bytes, ...]) -> None:
    """F120, A8: nobody is contacted."""
    async with line(AccessRules(Policy(), client_keys=keys)) as asked:
        for target in CLIMBING:
            for body, control in ((b"", b""), (BODY, b""), (BODY, b"Cachemw: on\r\n")):
                reply = await asked.ask(b"POST", target, body, control + b"Authorization: Bearer sk-alice\r\n")

                assert status_of(reply) == 400, target
                assert b'"code":"invalid_path"' in reply

    assert asked.targets() == []


async def test_what_is_outside_of_the_api_goes_nowhere() -> None:
    """F123, A8: whoever asks."""
    for keys in ((), (b"sk-alice",)):
        async with line(AccessRules(Policy(), client_keys=keys)) as asked:
            for target in (b"/favicon.ico", b"/docs", b"/metrics", b"/admin", b"/v1", b"/%761/files", b"/files", b"//v1/files"):
                reply = await asked.ask(b"GET", target, b"", b"Authorization: Bearer sk-alice\r\n")

                assert status_of(reply) == 404, target
                assert b"/v1" in reply
            front = await asked.ask(b"GET", b"/", b"", b"Authorization: Bearer sk-alice\r\n")

        assert status_of(front) == 200
        assert asked.targets() == []


# The mounts with an upstream.

REFUSED = [*(target for target in CLIMBING if target.endswith(b"/chat/completions")), b"/v1/\xff/chat/completions"]


def text(target: bytes) -> str:
    return target.decode("latin-1")


@pytest.mark.parametrize("headers", [JSON, ON, (*JSON, (b"cachemw", b"ttl=soon"))], ids=["off", "on", "invalid"])
@pytest.mark.parametrize("target", REFUSED, ids=repr)
async def test_a_mount_with_an_upstream_answers_the_same(target: bytes, headers: tuple[tuple[bytes, bytes], ...]) -> None:
    """F135, A8: where it was a 502; and what is no target is not spelt as one."""
    async with answering() as server, closing(HttpUpstream(server.url + "/api/v1")) as upstream:
        replies = [await by_asgi(upstream, target, headers), await by_wsgi(upstream, target, headers)]

    assert [reply.status for reply in replies] == [400, 400]
    assert all(b'"code":"invalid_path"' in reply.body for reply in replies)
    said = b"" if headers == JSON else b"cachemw; detail=invalid-path"
    assert [reply.headers.get(b"cache-status", b"") for reply in replies] == [said, said]
    assert server.requests == []


@pytest.mark.parametrize("query", [b"", b"%63=%c3&a+b'|"])
async def test_a_mount_with_an_upstream_passes_the_bytes_on(query: bytes) -> None:
    """F121, F122, A8."""
    target = b"/v1/%63h%C3%a9'|/chat/completions" + (b"?" + query if query else b"")
    async with answering() as server, closing(HttpUpstream(server.url + "/api/v1")) as upstream:
        for headers in (JSON, ON):
            await by_asgi(upstream, target, headers)
            await by_wsgi(upstream, target, headers)

    assert [request.split(b" ", 2)[1] for request in server.requests] == [b"/api" + target] * 4


async def by_asgi(upstream: HttpUpstream, target: bytes, headers: tuple[tuple[bytes, bytes], ...]) -> asgi_driver.Reply:
    path, _, query = target.partition(b"?")
    scope = {**asgi_driver.scope_for("POST", unquote(path.decode("latin-1")), headers), "raw_path": path, "query_string": query}
    return await asgi_driver.answered(AsgiMount(never, upstream=upstream, store=MemoryStore()), scope, BODY)


async def by_wsgi(upstream: HttpUpstream, target: bytes, headers: tuple[tuple[bytes, bytes], ...]) -> asgi_driver.Reply:
    environ = {
        **wsgi_driver.environ_for("POST", target.decode("latin-1"), headers, BODY),
        "REQUEST_URI": target.decode("latin-1"),
    }
    server = wsgi_driver.Server()
    await to_thread.run_sync(server.serve, WsgiMount(never, upstream=upstream, store=MemoryStore()), environ)
    return server.reply()


def never(*_: object) -> Any:
    raise AssertionError("the app is not asked")


async def test_around_an_app_a_path_is_its_own_matter() -> None:
    """H1."""
    app = Upstream()

    reply = await asgi_driver.call(AsgiMount(app, name="bot", store=MemoryStore()), "POST", "/v1/../chat/completions", BODY, ON)

    assert (reply.status, app.calls) == (200, 1)
