"""The ASGI mount in an application: what passes untouched, and what a wrapped app sees."""

import contextvars
from typing import Any

import anyio
import httpx
import pytest
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Mount, Route
from starlette.testclient import TestClient
from starlette.types import Message, Receive, Scope, Send

from cachemw import ConfigurationError, DiskStore, ExchangeReport, Limits, MemoryStore, Policy
from cachemw.asgi import CacheMiddleware
from cachemw.stores import Inline
from cachemw.upstreams import HttpUpstream
from tests.asgi_driver import call, call_and_leave, scope_for
from tests.mounts.mounting import PATH
from tests.upstream import Told, Upstream, completion, prompt, stream_events

pytestmark = pytest.mark.anyio

ON = ((b"content-type", b"application/json"), (b"cachemw", b"on"))
CANCELLING = (*ON, (b"cachemw", b"abandon=cancel"))


class Untouched:
    """An app that remembers the very objects it was called with."""

    def __init__(self) -> None:
        self.called: tuple[Scope, Receive, Send] | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.called = scope, receive, send


async def nothing() -> Message:
    raise AssertionError("nobody reads this body")


async def nowhere(message: Message) -> None:
    raise AssertionError("nobody answers here")


@pytest.mark.parametrize(
    ("method", "path", "headers"),
    [
        ("POST", PATH, ()),
        ("POST", PATH, ((b"cachemw", b"off"),)),
        ("POST", PATH, ((b"cachemw", b"on=?0, ttl=5"),)),
        ("POST", PATH, ((b"cachemw", b""),)),
        ("GET", PATH, ()),
        ("POST", "/v1/embeddings", ()),
        ("GET", "/", ((b"cachemw", b"off"),)),
    ],
)
async def test_what_did_not_opt_in_is_not_touched(method: str, path: str, headers: Any, tmp_path: Any) -> None:
    """H1, D9: the identical objects; no body is read, no file opened."""
    app = Untouched()
    store = DiskStore(tmp_path / "store")
    mounted = CacheMiddleware(app, name="bot", store=store)
    scope = scope_for(method, path, headers)

    await mounted(scope, nothing, nowhere)

    assert app.called is not None
    assert all(given is got for given, got in zip((scope, nothing, nowhere), app.called, strict=True))
    assert not (tmp_path / "store").exists()


@pytest.mark.parametrize("kind", ["websocket", "something-new"])
async def test_other_scopes_pass(kind: str) -> None:
    """H1."""
    app = Untouched()
    scope = {**scope_for("GET", PATH, ON), "type": kind}

    await CacheMiddleware(app, name="bot", store=MemoryStore())(scope, nothing, nowhere)

    assert app.called is not None
    assert app.called[0] is scope


async def test_an_opted_in_request_that_is_not_chat_loses_the_header_and_passes() -> None:
    """Clients put it in their defaults, so /v1/models carries it too."""
    app = Untouched()

    await CacheMiddleware(app, name="bot", store=MemoryStore())(scope_for("GET", "/v1/models", ON), nothing, nowhere)

    assert app.called is not None
    assert app.called[0]["headers"] == [ON[0]]


def test_without_an_upstream_and_a_name_it_cannot_be_mounted() -> None:
    with pytest.raises(ConfigurationError):
        CacheMiddleware(Untouched())


async def test_the_wrapped_app_reads_the_original_body_and_then_sees_a_real_disconnect() -> None:
    """H2."""
    seen: list[Any] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        seen.extend([await request.body(), await request.body(), await request.is_disconnected()])
        left.set()
        seen.append((await receive())["type"])

    left = anyio.Event()
    parts = [prompt()[:10], prompt()[10:]]

    async def receive() -> Message:
        if parts:
            return {"type": "http.request", "body": parts.pop(0), "more_body": bool(parts)}
        await left.wait()
        return {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        return

    await CacheMiddleware(app, name="bot", store=MemoryStore())(scope_for("POST", PATH, ON), receive, send)

    assert seen == [prompt(), prompt(), False, "http.disconnect"]


async def test_an_exception_of_the_app_arrives_outside_as_itself() -> None:
    """P5: never in a group; a background task's too."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        raise ZeroDivisionError

    async def later(scope: Scope, receive: Receive, send: Send) -> None:
        def fall_over() -> None:
            raise ZeroDivisionError

        await JSONResponse({}, background=BackgroundTask(fall_over))(scope, receive, send)

    for broken in (app, later):
        with pytest.raises(ZeroDivisionError):
            await call(CacheMiddleware(broken, name="bot", store=MemoryStore()), "POST", PATH, prompt(), ON)


async def test_an_app_that_raises_within_a_stream_breaks_it_and_nothing_is_kept() -> None:
    """H10, R1."""
    store = MemoryStore()
    upstream = Upstream(
        lambda _: Told([*stream_events()[:2], ZeroDivisionError()], headers=((b"content-type", b"text/event-stream"),))
    )
    messages: list[Message] = []

    async def send(message: Message) -> None:
        messages.append(message)

    async def receive() -> Message:
        if not messages and not upstream.asked:
            return {"type": "http.request", "body": prompt(stream=True)}
        await anyio.sleep_forever()
        raise AssertionError

    with pytest.raises(BaseException) as raised:  # noqa: PT011 - Upstream has a task group of its own
        await CacheMiddleware(upstream, name="bot", store=store)(scope_for("POST", PATH, ON), receive, send)

    assert raised.group_contains(ZeroDivisionError)
    assert b'data: {"error"' in messages[-1]["body"]
    assert messages[-1]["more_body"]
    assert not list(store.scan())


WHO = contextvars.ContextVar("WHO", default="nobody")


class AsAlice:
    """A middleware around us: says who asks."""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        WHO.set("alice")
        await self.app(scope, receive, send)


def bot(calls: list[str], told: list[str]) -> Starlette:
    """Return an app with a bot in it: `calls` has who asked it, `told` what it did after its answers."""

    async def chat(request: Request) -> Response:
        calls.append(WHO.get())
        body = await request.json()
        done = BackgroundTask(told.append, f"background of {len(calls)}")
        if body.get("stream"):
            return StreamingResponse(iter(stream_events()), media_type="text/event-stream", background=done)
        answer = completion().parts[0]
        assert isinstance(answer, bytes)
        return Response(answer, media_type="application/json", background=done)

    return Starlette(
        routes=[Route(PATH, chat, methods=["POST"]), Route("/hello", lambda _: PlainTextResponse("hi"))],
        middleware=[Middleware(AsAlice), Middleware(CacheMiddleware, name="support-bot", store=MemoryStore())],
    )


@pytest.mark.parametrize("streaming", [False, True], ids=["JSON", "stream"])
def test_in_starlette_with_everything_around_it(streaming: bool) -> None:
    """H1: lifespan, background tasks, mounted below a path, context variables, other routes."""
    calls, told = list[str](), list[str]()
    asked = {"messages": [{"role": "user", "content": "x"}], "stream": streaming}

    with TestClient(Starlette(routes=[Mount("/api", bot(calls, told))])) as client:
        miss, hit = [client.post("/api" + PATH, json=asked, headers={"Cachemw": "on"}) for _ in range(2)]
        hello = client.get("/api/hello", headers={"Cachemw": "on"})

    assert [answer.headers["cache-status"].split(";")[1] for answer in (miss, hit)] == [" fwd=miss", " hit"]
    assert miss.content == hit.content
    assert hello.text == "hi"
    assert "cache-status" not in hello.headers
    assert (calls, told) == (["alice"], ["background of 1"])


async def test_the_default_store_is_closed_with_the_lifespan(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    """A store that the mount opened is the mount's to close; one it was given is not."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    mounted = CacheMiddleware(Upstream(), name="bot", limits=Limits(store_opening=30.0, store_call=30.0))
    assert not list(tmp_path.iterdir())
    await call(mounted, "POST", PATH, prompt(), ON)
    store = mounted._store
    opened, sent = store.inline, list[str]()
    phases = iter(["lifespan.startup", "lifespan.shutdown"])

    async def receive() -> Message:
        return {"type": next(phases)}

    async def send(message: Message) -> None:
        sent.append(message["type"])

    await mounted({"type": "lifespan"}, receive, send)

    assert sent == ["lifespan.startup.complete", "lifespan.shutdown.complete"]
    assert (opened, store.inline) == (Inline.READS, Inline.NONE)


async def test_a_wrapped_app_is_asked_for_no_content_coding_when_its_answer_is_kept() -> None:
    """H9."""
    upstream = Upstream()
    headers = (*ON, (b"accept-encoding", b"gzip"), (b"x-tenant", b"7"))

    await call(CacheMiddleware(upstream, name="bot", store=MemoryStore()), "POST", PATH, prompt(), headers)

    assert upstream.asked[0].header(b"accept-encoding") == b"identity"
    assert upstream.asked[0].header(b"x-tenant") == b"7"


async def test_around_an_app_its_name_path_query_and_every_other_header_are_in_the_key() -> None:
    """K2, K10."""
    store, upstream = MemoryStore(), Upstream()
    mounts = {name: CacheMiddleware(upstream, name=name, store=store) for name in ("bot", "other")}
    requests: list[tuple[str, str, tuple[tuple[bytes, bytes], ...]]] = [
        ("bot", PATH, ()),
        ("other", PATH, ()),
        ("bot", "/v2/chat/completions", ()),
        ("bot", PATH + "?a=1", ()),
        ("bot", PATH, ((b"x-tenant", b"7"),)),
        ("bot", PATH, ((b"cookie", b"a=b"),)),
        ("bot", PATH, ((b"accept-language", b"de"),)),
    ]

    statuses = [
        (await call(mounts[name], "POST", path, prompt(), (*ON, *headers))).headers[b"cache-status"].split(b"; ")[1]
        for name, path, headers in requests * 2
    ]

    assert statuses == [b"fwd=miss"] * 7 + [b"hit"] * 7


async def test_the_operators_default_opts_in_and_a_replay_only_mount_never_calls_the_app() -> None:
    """E6, E2."""
    store, upstream = MemoryStore(), Upstream()
    record = CacheMiddleware(upstream, name="bot", store=store, policy=Policy(default="on", partition="shared", keep=None))
    replay = CacheMiddleware(Untouched(), name="bot", store=store, policy=Policy(default="on, mode=replay", partition="shared"))
    plain = ((b"content-type", b"application/json"),)

    live = await call(record, "POST", PATH, prompt(), (*plain, (b"authorization", b"Bearer A")))
    replay.driver.clock = lambda: 31_536_000.0 * 100  # a year and more later
    again = await call(replay, "POST", PATH, prompt(), (*plain, (b"authorization", b"Bearer B")))
    unknown = await call(replay, "POST", PATH, prompt("never asked"), plain)

    assert again.body == live.body
    assert unknown.status == 504
    assert unknown.headers[b"x-should-retry"] == b"false"
    assert upstream.calls == 1


class Mute(httpx.AsyncBaseTransport):
    """An upstream that never answers."""

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        await anyio.sleep_forever()
        raise AssertionError


async def test_hooks_are_told_of_a_client_that_left_before_there_was_a_head() -> None:
    """E1, H3."""
    reports: list[ExchangeReport] = []
    upstream = HttpUpstream("https://api.example/v1", transport=Mute)
    mounted = CacheMiddleware(Untouched(), upstream=upstream, store=MemoryStore(), hooks=[reports.append])

    with anyio.fail_after(10):
        reply = await call_and_leave(mounted, "POST", PATH, prompt(), CANCELLING, after=0)

    assert reply.status is None
    assert [(report.fwd, report.stored, report.details) for report in reports] == [("miss", False, ("client-left",))]
