"""The WSGI mount as PEP 3333 has it: what passes untouched, what a wrapped app sees, and how an answer ends."""

import io
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Any
from wsgiref.util import FileWrapper

import pytest

from cachemw import ConfigurationError, DiskStore, ExchangeReport, Limits, MemoryStore, Policy
from cachemw._wsgi_environ import Environ, StartResponse, WsgiApp
from cachemw.stores import Inline
from cachemw.wsgi import CacheMiddleware
from tests.asgi_driver import Reply
from tests.mounts.conftest import status_of
from tests.mounts.mounting import PATH
from tests.mounts.wsgi_upstream import WsgiUpstream
from tests.upstream import DONE, Upstream, completion, prompt, stream_events
from tests.wsgi_driver import Server, call, environ_for

TYPE = (b"content-type", b"application/json")
ON = (TYPE, (b"cachemw", b"on"))
JSON = [("content-type", "application/json")]
EVENTS = [("content-type", "text/event-stream")]
MISS = "fwd=miss; fwd-status=200; stored; key"
HIT = "hit; ttl=86400; key"
ANSWER = b"".join(part for part in completion().parts if isinstance(part, bytes))


class Mount:
    """An app inside of the mount, and what came of it."""

    def __init__(self, app: WsgiApp, **options: Any) -> None:
        self.store, self.reports = MemoryStore(), list[ExchangeReport]()
        self.app = CacheMiddleware(app, name="bot", store=self.store, hooks=[self.reports.append], **options)

    def ask(self, *, streaming: bool = False, **how: Any) -> Reply:
        return call(self.app, "POST", PATH, prompt(stream=streaming), ON, **how)


class Closing:
    """What an app returns, which counts how often it is closed."""

    def __init__(self, chunks: Iterable[bytes], close_raises: Exception | None = None) -> None:
        self.closed = 0
        self._chunks, self._close_raises = chunks, close_raises

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._chunks)

    def close(self) -> None:
        self.closed += 1
        if self._close_raises is not None:
            raise self._close_raises


def giving(result: Iterable[bytes], headers: list[tuple[str, str]] = JSON) -> WsgiApp:
    """Return an app that returns this very object."""

    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        start_response("200 OK", headers)
        return result

    return app


def raising(chunks: Iterable[bytes], error: BaseException) -> Iterator[bytes]:
    yield from chunks
    raise error


class Untouchable:
    """A body that nobody reads."""

    def __getattr__(self, name: str) -> Any:
        raise AssertionError(f"{name} of the body was asked for")


@pytest.mark.parametrize(
    ("method", "path", "headers"),
    [
        ("POST", PATH, ()),
        ("POST", PATH, ((b"cachemw", b"off"),)),
        ("POST", PATH, ((b"cachemw", b"on=?0, ttl=5"),)),
        ("GET", PATH, ()),
        ("POST", "/v1/embeddings", ()),
        ("GET", "/", ((b"cachemw", b"off"),)),
    ],
)
def test_what_did_not_opt_in_is_not_touched(method: str, path: str, headers: Any, tmp_path: Any) -> None:
    """H1, H7, D9: the identical objects, the app's own iterable; no body is read, no file opened."""
    called: list[Any] = []
    result = [b"", b"x"]

    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        called.extend([environ, start_response])
        return result

    environ = environ_for(method, path, headers) | {"wsgi.input": Untouchable()}
    before, server = dict(environ), Server()

    returned = CacheMiddleware(app, name="bot", store=DiskStore(tmp_path / "store"))(environ, server.start_response)

    assert returned is result
    assert called[0] is environ
    assert called[1] == server.start_response
    assert environ == before
    assert not (tmp_path / "store").exists()


def test_an_opted_in_request_that_is_not_chat_loses_the_header_and_passes() -> None:
    """H1, H7."""
    called: list[Environ] = []

    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        called.append(environ)
        return result

    result = [b"x"]
    environ = environ_for("GET", "/v1/models", ON) | {"wsgi.input": Untouchable()}

    returned = CacheMiddleware(app, name="bot", store=MemoryStore())(environ, Server().start_response)

    assert returned is result
    assert called[0] is environ
    assert "HTTP_CACHEMW" not in environ


def test_without_an_upstream_and_a_name_it_cannot_be_mounted() -> None:
    with pytest.raises(ConfigurationError):
        CacheMiddleware(giving([]))


def test_opted_in_an_app_gets_the_servers_own_environment_and_a_body_to_read() -> None:
    """H2, H7, H9: the same dictionary, for frameworks keep things in it; no content coding is asked for."""
    called: list[Environ] = []

    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        called.append(environ)
        body = environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"]))
        start_response("200 OK", JSON)
        return [body]

    environ = environ_for("POST", PATH, (*ON, (b"accept-encoding", b"gzip")), prompt()) | {"of.a.framework": object()}
    mark, server = environ["of.a.framework"], Server()

    server.serve(CacheMiddleware(app, name="bot", store=MemoryStore()), environ)

    assert called[0] is environ
    assert environ["of.a.framework"] is mark
    assert "HTTP_CACHEMW" not in environ
    assert environ["HTTP_ACCEPT_ENCODING"] == "identity"
    assert server.reply().body == prompt()


@pytest.mark.parametrize("streaming", [False, True], ids=["json", "stream"])
def test_start_response_may_come_late(streaming: bool) -> None:
    """H7: with the first chunk, as in a generator that is an app."""

    def app(environ: Environ, start_response: StartResponse) -> Iterator[bytes]:
        start_response("200 OK", EVENTS if streaming else JSON)
        yield from stream_events() if streaming else [ANSWER]

    mount = Mount(app)

    miss, hit = mount.ask(streaming=streaming), mount.ask(streaming=streaming)

    assert status_of(miss) == (MISS.replace("stored; ", "") if streaming else MISS)
    assert status_of(hit) == HIT
    assert miss.body == hit.body == (b"".join(stream_events()) if streaming else ANSWER)


def test_before_the_first_byte_a_head_may_be_replaced() -> None:
    """H7: by one that tells of an error; empty chunks are no bytes."""

    def app(environ: Environ, start_response: StartResponse) -> Iterator[bytes]:
        start_response("200 OK", EVENTS)
        yield b""
        try:
            raise ZeroDivisionError
        except ZeroDivisionError as exc:
            start_response("500 Internal Server Error", JSON, (type(exc), exc, exc.__traceback__))
        yield b"{}"

    mount = Mount(app)

    reply = mount.ask()

    assert (reply.status, reply.body, reply.headers[b"content-type"]) == (500, b"{}", b"application/json")
    assert status_of(reply) == "fwd=miss; fwd-status=500; key; detail=not-200"
    assert not list(mount.store.scan())


def test_after_the_first_byte_start_response_raises_what_it_is_given() -> None:
    """H7."""
    error = ZeroDivisionError()

    def app(environ: Environ, start_response: StartResponse) -> Iterator[bytes]:
        start_response("200 OK", EVENTS)
        yield stream_events()[0]
        start_response("500 Internal Server Error", JSON, (type(error), error, None))
        raise AssertionError("it goes on")

    mount = Mount(app)

    reply = mount.ask(streaming=True)

    assert reply.error is error
    assert reply.status == 200
    assert not list(mount.store.scan())


def test_an_app_that_never_starts_is_a_bug_and_says_so() -> None:
    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        return [b"x"]

    assert isinstance(Mount(app).ask().error, RuntimeError)


def test_a_second_head_without_an_error_is_a_bug_and_says_so() -> None:
    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        start_response("200 OK", JSON)
        start_response("200 OK", JSON)
        return [b"x"]

    assert isinstance(Mount(app).ask().error, RuntimeError)


@pytest.mark.parametrize("streaming", [False, True], ids=["json", "stream"])
def test_no_empty_chunk_is_given_to_the_server(streaming: bool) -> None:
    """H7: to some it is the end."""
    events = [b"", *stream_events()] if streaming else [b"", ANSWER[:5], b"", ANSWER[5:], b""]
    mount = Mount(giving([part for event in events for part in (event, b"")], EVENTS if streaming else JSON))

    chunks = [
        list(mount.app(environ_for("POST", PATH, ON, prompt(stream=streaming)), Server().start_response)) for _ in range(2)
    ]

    assert all(b"".join(given) == b"".join(events) and all(given) for given in chunks)
    assert [report.hit for report in mount.reports] == [False, True]


@pytest.mark.parametrize("streaming", [False, True], ids=["json", "stream"])
@pytest.mark.parametrize("ending", ["read out", "closed early", "never begun", "raises", "raises at once"])
def test_what_the_app_returned_is_closed_once_however_it_ends(streaming: bool, ending: str) -> None:
    """H7."""
    whole = stream_events() if streaming else [ANSWER]
    chunks = {"raises": raising(whole[:1], ZeroDivisionError()), "raises at once": raising([], ZeroDivisionError())}
    result = Closing(chunks.get(ending, whole))
    mount = Mount(giving(result, EVENTS if streaming else JSON))

    reply = mount.ask(streaming=streaming, leave_after={"closed early": 1, "never begun": 0}.get(ending))

    assert result.closed == 1
    assert len(mount.reports) == 1
    assert reply.complete == (ending == "read out")
    assert len(list(mount.store.scan())) == (ending == "read out" or not streaming and "raises" not in ending)


@pytest.mark.parametrize("streaming", [False, True], ids=["json", "stream"])
def test_what_a_server_closes_twice_is_closed_once(streaming: bool) -> None:
    """H7."""
    result = Closing(stream_events() if streaming else [ANSWER])
    mount = Mount(giving(result, EVENTS if streaming else JSON))

    body: Any = mount.app(environ_for("POST", PATH, ON, prompt(stream=streaming)), Server().start_response)
    body.close()
    body.close()

    assert result.closed == 1
    assert len(mount.reports) == 1


def test_a_close_that_raises_is_heard_of() -> None:
    """H7, P5: as itself; the answer was whole, and is kept."""
    error = ZeroDivisionError()
    mount = Mount(giving(Closing([ANSWER], close_raises=error)))

    reply = mount.ask()

    assert (reply.body, reply.error) == (ANSWER, error)
    assert status_of(mount.ask()) == HIT


def test_what_is_written_passes_and_is_not_kept() -> None:
    """H7: before what is returned, at once."""

    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        write = start_response("200 OK", JSON)
        write(ANSWER[:5])
        seen.append(len(server_heard))
        write(b"")
        write(ANSWER[5:9])
        return [b"", ANSWER[9:]]

    seen: list[int] = []
    server_heard: list[bytes] = []
    mount = Mount(app)

    reply = mount.ask(hears=server_heard.append)

    assert reply.chunks == (ANSWER[:5], ANSWER[5:9], ANSWER[9:])
    assert seen == [1]
    assert status_of(reply) == "fwd=miss; fwd-status=200; key; detail=not-iterated"
    assert not list(mount.store.scan())
    assert mount.reports[0].stored is False


def test_an_app_that_breaks_off_what_it_writes_raises_as_itself() -> None:
    """H7, P5."""
    error = ZeroDivisionError()

    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        start_response("200 OK", JSON)(ANSWER[:5])
        raise error

    mount = Mount(app)

    reply = mount.ask()

    assert (reply.chunks, reply.error) == ((ANSWER[:5],), error)
    assert [report.stored for report in mount.reports] == [False]


def test_a_file_for_the_server_to_send_is_the_very_same_object() -> None:
    """H7: it may be sent by the kernel; whose it is closes it."""
    file = io.BytesIO(ANSWER)
    results: list[Any] = []

    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        start_response("200 OK", JSON)
        results.append(environ["wsgi.file_wrapper"](file))
        return results[0]  # type: ignore[no-any-return]

    mount, server = Mount(app), Server()
    environ = environ_for("POST", PATH, ON, prompt()) | {"wsgi.file_wrapper": FileWrapper}

    returned = mount.app(environ, server.start_response)

    assert returned is results[0]
    assert not file.closed
    assert status_of(server.reply()) == "fwd=miss; fwd-status=200; key; detail=not-iterated"
    assert file.read() == ANSWER
    assert not list(mount.store.scan())
    assert [report.stored for report in mount.reports] == [False]


def reading(how: Callable[[Any], bytes]) -> tuple[WsgiApp, list[bytes]]:
    """Return an app that reads its body in this way, and what it has read."""
    bodies: list[bytes] = []

    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        bodies.append(how(environ["wsgi.input"]))
        start_response("200 OK", JSON)
        return [ANSWER]

    return app, bodies


WAYS: dict[str, Callable[[Any], bytes]] = {
    "read()": lambda body: body.read(),
    "read(-1)": lambda body: body.read(-1),
    "read(7)": lambda body: b"".join(iter(lambda: body.read(7), b"")),
    "readline()": lambda body: b"".join(iter(lambda: body.readline(), b"")),
    "readlines()": lambda body: b"".join(body.readlines()),
    "iteration": lambda body: b"".join(body),
}
BODY = prompt("a\nb\n" * 50_000)


def chunked(body: bytes) -> Environ:
    """Return a request that ends by itself, as gunicorn gives it."""
    environ = environ_for("POST", PATH, (*ON, (b"transfer-encoding", b"chunked")))
    del environ["CONTENT_LENGTH"]
    return environ | {"wsgi.input": io.BytesIO(body), "wsgi.input_terminated": True}


@pytest.mark.parametrize("limit", [10_000_000, 1_000], ids=["read", "too large"])
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("is_chunked", [False, True], ids=["with a length", "chunked"])
def test_the_app_reads_the_body_that_was_sent_in_any_way(way: str, is_chunked: bool, limit: int) -> None:
    """H2, H7, D7: to its end and no further, though some of it was read before."""
    app, bodies = reading(WAYS[way])
    mount, server = Mount(app, policy=Policy(max_request_bytes=limit)), Server()

    server.serve(mount.app, chunked(BODY) if is_chunked else environ_for("POST", PATH, ON, BODY))

    assert bodies == [BODY]
    assert status_of(server.reply()) == (MISS if limit > 1_000 else "fwd=bypass; detail=request-too-large")


def test_a_chunked_request_is_the_same_request() -> None:
    """K1, H7."""
    app, bodies = reading(WAYS["read()"])
    mount, server = Mount(app), Server()
    call(mount.app, "POST", PATH, BODY, ON)

    server.serve(mount.app, chunked(BODY))

    assert status_of(server.reply()) == HIT
    assert len(bodies) == 1


def test_without_a_length_there_is_no_body() -> None:
    """H7: unless the server says that it ends, to read would be to wait for ever."""
    app, bodies = reading(WAYS["read()"])
    environ = environ_for("POST", PATH, ON)
    del environ["CONTENT_LENGTH"]
    mount, server = Mount(app), Server()

    server.serve(mount.app, environ | {"wsgi.input": Untouchable()})

    assert bodies == [b""]
    assert status_of(server.reply()) == "fwd=bypass; detail=invalid-json"


def test_a_body_shorter_than_it_said_is_passed_on_as_far_as_it_came() -> None:
    """H7, K9: its client left; that is not ours to judge."""
    app, bodies = reading(WAYS["read()"])
    environ = environ_for("POST", PATH, ON, prompt()) | {"wsgi.input": io.BytesIO(prompt()[:-9])}
    mount, server = Mount(app), Server()

    server.serve(mount.app, environ)

    assert bodies == [prompt()[:-9]]
    assert status_of(server.reply()) == ""
    assert not list(mount.store.scan())


def test_the_app_runs_in_the_thread_that_asks() -> None:
    """H7: its thread-locals are those of the server's thread, from its call to its close."""
    local, seen = threading.local(), list[tuple[str, str]]()
    local.who = "alice"

    class Result:
        def __iter__(self) -> Iterator[bytes]:
            for event in stream_events():
                seen.append(("read", local.who))
                yield event

        def close(self) -> None:
            seen.append(("close", local.who))

    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        seen.append(("call", local.who))
        start_response("200 OK", EVENTS)
        return Result()

    before = threading.active_count()
    Mount(app).ask(streaming=True)

    assert seen == [("call", "alice"), *[("read", "alice")] * len(stream_events()), ("close", "alice")]
    assert threading.active_count() == before


@pytest.mark.parametrize("streaming", [False, True], ids=["json", "stream"])
@pytest.mark.parametrize("when", ["called", "read at first"])
def test_an_exception_of_the_app_comes_out_as_itself(streaming: bool, when: str) -> None:
    """P5, H7: before anything has begun, for the server or the framework outside to answer."""
    error = ZeroDivisionError()

    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        if when == "called":
            raise error
        start_response("200 OK", EVENTS if streaming else JSON)
        return raising([], error)

    mount = Mount(app)

    reply = mount.ask(streaming=streaming)

    assert (reply.status, reply.error) == (None, error)
    assert [(report.fwd, report.stored) for report in mount.reports] == [("miss", False)]


def test_within_a_stream_it_comes_out_behind_an_event_that_tells_of_it() -> None:
    """H10, R1, P5."""
    error = ZeroDivisionError()
    mount = Mount(giving(raising(stream_events()[:2], error), EVENTS))

    reply = mount.ask(streaming=True)

    assert reply.error is error
    assert reply.chunks[:2] == tuple(stream_events()[:2])
    assert reply.chunks[2].startswith(b'data: {"error"')
    assert len(reply.chunks) == 3
    assert DONE not in reply.body
    assert not list(mount.store.scan())


def test_where_a_stale_answer_stands_in_for_it_the_log_says_so(caplog: pytest.LogCaptureFixture) -> None:
    """R5: the client has its answer, and the log says what became of the other: to raise would break what was chosen."""
    error = ZeroDivisionError()
    results = iter([iter([ANSWER]), raising([], error)])

    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        start_response("200 OK", JSON)
        return next(results)

    mount = Mount(app)
    mount.app.driver.clock = lambda: 1_000_000.0
    mount.ask()
    mount.app.driver.clock = lambda: 1_086_500.0

    reply = mount.ask()

    assert (reply.status, reply.body) == (200, ANSWER)
    assert status_of(reply).startswith('fwd=stale; ttl=-100; key; detail="stale-if-error, ')
    assert reply.error is None
    assert "ZeroDivisionError" in caplog.text


@pytest.mark.parametrize("stop", [KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize("streaming", [False, True], ids=["json", "stream"])
def test_who_stops_the_thread_leaves_nothing_behind(stop: type[BaseException], streaming: bool) -> None:
    """H7, R1: gevent's and gunicorn's timeouts are no `Exception`; nobody waits for what was stopped."""
    stopped = Closing(raising(stream_events()[:2] if streaming else [ANSWER[:9]], stop()))
    results = iter([stopped, Closing(stream_events() if streaming else [ANSWER])])

    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        start_response("200 OK", EVENTS if streaming else JSON)
        return next(results)

    mount = Mount(app)

    with pytest.raises(stop):
        mount.ask(streaming=streaming)
    reply = mount.ask(streaming=streaming)

    assert stopped.closed == 1
    assert reply.complete
    assert status_of(reply).startswith("fwd=miss; fwd-status=200")


@pytest.mark.parametrize(("policy", "again"), [(Policy(), MISS), (Policy(inert=("root_path",)), HIT)])
def test_an_app_that_is_mounted_elsewhere_is_another_one_unless_the_operator_says_otherwise(policy: Policy, again: str) -> None:
    """I9, H7: it may be mounted once for each tenant."""
    upstream = Upstream()
    app, replies = CacheMiddleware(WsgiUpstream(upstream), name="bot", store=MemoryStore(), policy=policy), list[Reply]()
    for script in ("", "/acme", "/globex", "/acme"):
        server = Server()
        server.serve(app, environ_for("POST", PATH, ON, prompt()) | {"SCRIPT_NAME": script})
        replies.append(server.reply())

    assert [status_of(reply) for reply in replies] == [MISS, again, again, HIT]


def test_the_name_the_path_the_query_and_every_other_header_are_in_the_key() -> None:
    """K2, K10."""
    upstream, store = Upstream(), MemoryStore()
    mounts = {name: CacheMiddleware(WsgiUpstream(upstream), name=name, store=store) for name in ("bot", "other")}
    requests: list[tuple[str, str, tuple[tuple[bytes, bytes], ...]]] = [
        ("bot", PATH, ()),
        ("other", PATH, ()),
        ("bot", "/v2/chat/completions", ()),
        ("bot", "/v%C3%A9/chat/completions", ()),
        ("bot", PATH + "?a=1", ()),
        ("bot", PATH, ((b"x-tenant", b"7"),)),
        ("bot", PATH, ((b"cookie", b"a=b"),)),
        ("bot", PATH, ((b"accept-language", b"de"),)),
    ]

    says = [
        status_of(call(mounts[name], "POST", path, prompt(), (*ON, *headers))).split(";")[0]
        for name, path, headers in requests * 2
    ]

    assert says == ["fwd=miss"] * len(requests) + ["hit"] * len(requests)


def test_a_store_of_its_own_is_closed_with_the_mount(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    """One it was given is not its to close."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    mounted = CacheMiddleware(giving([ANSWER]), name="bot", limits=Limits(store_opening=30.0, store_call=30.0))
    assert not list(tmp_path.iterdir())
    call(mounted, "POST", PATH, prompt(), ON)
    store = mounted._store
    opened = store.inline

    mounted.close()
    mounted.close()

    assert (opened, store.inline) == (Inline.READS, Inline.NONE)
