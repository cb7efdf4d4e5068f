"""What the mounts that are pulled give again: WSGI's environment, the transports' requests, hooks, budgets."""

import io
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest

import cachemw.httpx
from cachemw import DiskStore, ExchangeReport, Limits, MemoryStore, Policy, Store
from cachemw._wsgi_environ import Environ
from cachemw.drivers import metering, tally
from cachemw.upstreams import HttpUpstream
from cachemw.wsgi import CacheMiddleware
from tests.mounts.conftest import note_recalled, status_of
from tests.mounts.inner_transports import (
    ANSWER,
    BY_FAMILY,
    BY_KIND,
    TYPE,
    URL,
    answered,
    answering,
    asking,
    inner_of,
    says,
    transport_of,
)
from tests.mounts.mounting import PATH
from tests.mounts.test_wsgi import HIT, MISS, ON, Closing, Mount, giving
from tests.mounts.test_wsgi_input import served
from tests.upstream import prompt
from tests.wsgi_driver import Server, environ_for

pytestmark = pytest.mark.anyio

RECALLING = Limits(recall_bytes=2**26)
"""So that these recall, whatever others do in this run."""


def environ(**more: Any) -> Environ:
    return {**environ_for("POST", PATH, ON, prompt()), **more}


# WSGI.


class Certified:
    """A connection whose client has shown a certificate."""

    def __init__(self, certificate: bytes) -> None:
        self.certificate = certificate

    def getpeercert(self, binary_form: bool) -> bytes:
        return self.certificate


@pytest.mark.parametrize(
    ("name", "mine", "anothers"),
    [
        ("SCRIPT_NAME", "/acme", "/globex"),
        ("QUERY_STRING", "", "a=1"),
        ("RAW_URI", PATH, "/v1/chat/c%6Fmpletions"),
        ("REQUEST_URI", PATH, "/v1/chat/c%6Fmpletions"),
        ("REMOTE_USER", "alice", "bob"),
        ("SSL_CLIENT_S_DN", "CN=alice", "CN=bob"),
        ("OIDC_CLAIM_sub", "alice", "bob"),
        ("gunicorn.socket", Certified(b"alice"), Certified(b"bob")),
        ("asgi.scope", {"session": {"user": "alice"}}, {"session": {"user": "bob"}}),
        ("HTTP_HOST", "acme.example", "globex.example"),
        ("HTTP_COOKIE", "who=alice", "who=bob"),
        ("HTTP_AUTHORIZATION", "Bearer alice", "Bearer bob"),
    ],
)
def test_who_asks_and_for_what_is_told_apart_by_the_environment(name: str, mine: Any, anothers: Any) -> None:
    """I1, I9, I10, F89: known or not."""
    mount = Mount(giving([ANSWER]), limits=RECALLING)
    recalled = note_recalled(mount.app.driver)

    said = [
        status_of(served(mount.app, environ(**{name: value})).reply())
        for value in (mine, mine, mine, anothers, anothers, anothers, mine)
    ]

    assert said == [MISS, HIT, HIT, MISS, HIT, HIT, HIT]
    assert recalled == [True, True, True]


@pytest.mark.parametrize("name", ["repoze.who.identity", "beaker.session"])
def test_somebody_whom_no_key_can_hold_is_given_nothing_again(name: str) -> None:
    """I10: though nobody in particular was."""
    mount = Mount(giving([ANSWER]), limits=RECALLING)

    said = [status_of(served(mount.app, environ(**more)).reply()) for more in ({}, {}, {name: object()}, {name: object()}, {})]

    assert said == [MISS, HIT, *["fwd=bypass; detail=no-partition"] * 2, HIT]


@pytest.mark.parametrize("value", [None, 7, b"x", "/\ud800", ("a",), ["a"]], ids=ascii)
@pytest.mark.parametrize("name", ["SCRIPT_NAME", "QUERY_STRING", "RAW_URI"])
def test_what_is_asked_for_by_no_text_is_decided_each_time(name: str, value: Any) -> None:
    """H7."""
    mount = Mount(giving([ANSWER]), limits=RECALLING)
    recalled = note_recalled(mount.app.driver)

    said = [status_of(served(mount.app, environ(**{name: value})).reply()) for _ in range(3)]

    assert (said, recalled) == ([MISS, HIT, HIT], [])


def without_an_upstream() -> Any:
    return Mount(giving([ANSWER]), limits=RECALLING).app


def with_an_upstream() -> Any:
    upstream = HttpUpstream("https://api.example/v1", sync_transport=lambda: inner_of(httpx, answering))
    return CacheMiddleware(giving([]), upstream=upstream, store=MemoryStore(), limits=RECALLING)


BOTH = pytest.mark.parametrize("mount", [without_an_upstream, with_an_upstream])


@BOTH
@pytest.mark.parametrize("came", [0, 40])
def test_a_known_request_that_is_cut_short_is_no_hit(mount: Callable[[], Any], came: int) -> None:
    """H7, K9: its client left."""
    app = mount()
    unknown = served(mount(), environ(**{"wsgi.input": io.BytesIO(prompt()[:came])})).reply()
    for _ in range(2):
        served(app, environ())

    known = served(app, environ(**{"wsgi.input": io.BytesIO(prompt()[:came])})).reply()

    assert (known.status, known.body, known.raw_headers, known.error) == (
        unknown.status,
        unknown.body,
        unknown.raw_headers,
        unknown.error,
    )
    assert app.bodies._taken == 0


@BOTH
def test_what_is_given_again_holds_nothing_of_its_request(mount: Callable[[], Any]) -> None:
    """F95, P3: read or not, closed or not."""
    app = mount()
    recalled = note_recalled(app.driver)
    for _ in range(2):
        served(app, environ())

    body = app(environ(), Server().start_response)

    assert (recalled, app.bodies._taken) == ([True], 0)
    body.close()
    assert app.bodies._taken == 0


class Failing(io.RawIOBase):
    """A connection that was lost."""

    def read(self, size: int = -1) -> bytes:
        raise ConnectionResetError


def test_a_connection_that_is_lost_is_an_exception_as_itself() -> None:
    """P5."""
    mount = Mount(giving([ANSWER]), limits=RECALLING)
    for _ in range(2):
        served(mount.app, environ())

    reply = served(mount.app, environ(**{"wsgi.input": Failing()})).reply()

    assert isinstance(reply.error, ConnectionResetError)
    assert mount.app.bodies._taken == 0


@pytest.mark.parametrize("ending", ["read out", "closed", "read out and closed", "closed twice", "refused"])
def test_a_hit_is_counted_once_however_it_ends(ending: str) -> None:
    """H7, E1: when the server has it, and not before."""
    mount = Mount(giving([ANSWER]), limits=RECALLING)
    for _ in range(2):
        served(mount.app, environ())

    if ending == "refused":
        with pytest.raises(OSError):  # noqa: PT011
            mount.app(environ(), refusing)
    else:
        body: Any = mount.app(environ(), Server().start_response)
        assert len(mount.reports) == 2
        if "read out" in ending:
            assert b"".join(body) == ANSWER
        for _ in range(2 if "twice" in ending else "closed" in ending):
            body.close()

    assert [report.count for report in mount.reports] == [1, 1, 1]


def refusing(*_: Any) -> Any:
    raise OSError


def test_the_app_is_closed_as_often_as_it_was_called() -> None:
    """H7."""
    result = Closing([ANSWER])
    mount = Mount(giving(result), limits=RECALLING)

    for _ in range(4):
        served(mount.app, environ())

    assert result.closed == 1


# Transports.


async def in_time(pieces: list[bytes]) -> AsyncIterator[bytes]:
    for piece in pieces:
        yield piece


def in_pieces(family: Any, is_async: bool, body: bytes) -> Any:
    """Return a request whose body comes in pieces, of which nobody says how long they are together."""
    pieces = [body[at : at + 99] for at in range(0, len(body), 99)]
    return family.Request("POST", URL, content=in_time(pieces) if is_async else iter(pieces), headers=[TYPE])


@BY_FAMILY
@BY_KIND
async def test_a_known_head_with_another_body_is_sent_on_unharmed(family: Any, mount: Any, is_async: bool) -> None:
    """K1, D7: read whole within the limit; beyond it sent on as it comes."""
    bodies: list[bytes] = []
    inner = inner_of(family, answering)
    handle = inner.handle_request

    def noting(request: Any) -> Any:
        bodies.append(b"".join(request.stream))
        return handle(request)

    async def anoting(request: Any) -> Any:
        bodies.append(b"".join([piece async for piece in request.stream]))
        return handle(request)

    inner.handle_request, inner.handle_async_request = noting, anoting
    transport = transport_of(mount, is_async, inner, policy=Policy(default="on", max_request_bytes=5_000), limits=RECALLING)
    recalled = note_recalled(transport.driver)
    small, other, large = prompt("x" * 1_000), prompt("y" * 1_000), prompt("x" * 20_000)

    said = [
        says(await answered(transport, in_pieces(family, is_async, body)))
        for body in (small, small, small, other, large, large, small, other)
    ]

    assert said == ["miss", "hit", "hit", "miss", "bypass", "bypass", "hit", "hit"]
    assert bodies == [small, other, large, large]
    assert recalled == [True, False, True, False]


@BY_FAMILY
@BY_KIND
async def test_what_names_another_upstream_is_never_given_its_answer(family: Any, mount: Any, is_async: bool) -> None:
    """K2, K10: known or not."""
    transport = transport_of(mount, is_async, inner_of(family, answering), limits=RECALLING)
    recalled = note_recalled(transport.driver)

    def named(**how: Any) -> Any:
        request = asking(family, **({"host": how.pop("host")} if "host" in how else {}))
        request.url = request.url.copy_with(**how.pop("url", {}))
        request.extensions.update(how)
        return request

    plain: dict[str, Any] = {}
    others: list[dict[str, Any]] = [
        {"host": "eu.example"},
        {"target": b"/v2/chat/completions"},
        {"sni_hostname": "eu.example"},
        {"url": {"host": "eu.example"}},
        {"url": {"scheme": "http"}},
        {"url": {"port": 8443}},
        {"url": {"query": b"a=1"}},
    ]
    for other in others:
        asked = [plain, plain, plain, other, other, other, plain]
        responses = [await answered(transport, named(**how)) for how in asked]
        keys = [response.extensions["cachemw"].key for response in responses]

        assert len(set(keys)) == 2
        assert keys == [keys[0]] * 3 + [keys[3]] * 3 + [keys[0]]
        assert [says(response) for response in responses][3:] == ["miss", "hit", "hit", "hit"]
    assert all(recalled)


@BY_FAMILY
@BY_KIND
async def test_a_cookie_is_who_asks_until_it_came_with_an_answer(family: Any, mount: Any, is_async: bool) -> None:
    """K1, I1: what was given to who had it before is given to nobody by the other reading."""
    cookies = iter([b"", b"lb=7; Path=/"])

    def answer(request: Any) -> Any:
        return (TYPE, (b"set-cookie", next(cookies, b""))), [ANSWER], None

    transport = transport_of(mount, is_async, inner_of(family, answer), limits=RECALLING)
    before = [await answered(transport, asking(family, cookie="lb=7")) for _ in range(3)]
    setting = await answered(transport, asking(family, prompt("other")))
    after = [await answered(transport, asking(family, cookie="lb=7")) for _ in range(3)]

    assert [says(response) for response in (*before, setting, *after)] == ["miss", "hit", "hit", "miss", "miss", "hit", "hit"]
    assert len({response.extensions["cachemw"].key for response in (*before, *after)}) == 2


@BY_FAMILY
@BY_KIND
async def test_a_recalled_response_says_what_a_hit_says(family: Any, mount: Any, is_async: bool) -> None:
    """E1: its report has no id, for it is the head's."""
    transport = transport_of(mount, is_async, inner_of(family, answering), limits=RECALLING)
    transport.driver.clock = lambda: 1_000_000.0
    recalled = note_recalled(transport.driver)

    _, second, third = [await answered(transport, asking(family)) for _ in range(3)]

    assert recalled == [True]
    assert third.extensions == second.extensions
    assert third.headers.raw == second.headers.raw
    assert third.content == second.content == ANSWER


def test_what_one_has_found_gone_is_gone_for_all(tmp_path: Path) -> None:
    """R2: several digests may lead to one hit, and several threads ask by each."""
    store = DiskStore(tmp_path / "store")
    transport = cachemw.httpx.CacheTransport(inner_of(httpx, answering), store=store, limits=RECALLING)
    recaller, kept = transport.driver.recaller, list[tuple[bytes, bytes, Any]]()
    keep = recaller.recall.keep
    recaller.recall.keep = lambda *how: kept.append(how) or keep(*how)  # type: ignore[method-assign, func-returns-value]
    for _ in range(2):
        transport.handle_request(asking(httpx)).read()
    [(head, digest, recalled)] = kept
    keep(head, b"another", recalled)
    assert recaller.find(digest)
    assert recaller.find(b"another")

    store.clear()

    assert [recaller.find(digest), recaller.find(b"another")] == [None, None]
    store.close()


# Reports.


async def test_hits_in_an_event_loop_are_told_of_by_themselves(monkeypatch: pytest.MonkeyPatch) -> None:
    """E1: soon, as one; nobody closes anything."""
    monkeypatch.setattr(tally, "TALLY_TIME", 0.01)
    told, is_told = list[ExchangeReport](), anyio.Event()

    def hook(report: ExchangeReport) -> None:
        told.append(report)
        if len(told) == 3:
            is_told.set()

    transport = transport_of(cachemw.httpx, True, inner_of(httpx, answering), hooks=[hook], limits=RECALLING)
    transport.driver.clock = lambda: 1_000_000.0
    for _ in range(7):
        await answered(transport, asking(httpx))
    with anyio.fail_after(5):
        await is_told.wait()

    assert [report.count for report in told] == [1, 1, 5]


def test_what_a_loop_that_has_ended_did_not_tell_is_told_by_the_next() -> None:
    """E1: each promises for itself."""
    told: list[ExchangeReport] = []
    transport = transport_of(cachemw.httpx, True, inner_of(httpx, answering), hooks=[told.append], limits=RECALLING)
    transport.driver.clock = lambda: 1_000_000.0

    async def ask(is_last: bool) -> None:
        for _ in range(4):
            await answered(transport, asking(httpx))
        if is_last:
            await anyio.sleep(1.1 * tally.TALLY_TIME)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tally, "TALLY_TIME", 0.02)
        anyio.run(ask, False)
        assert [report.count for report in told] == [1, 1]
        anyio.run(ask, True)

    assert sum(report.count for report in told if report.hit) == 7


def test_of_many_threads_every_hit_is_told() -> None:
    """E1, P1: whoever tells."""
    told: list[ExchangeReport] = []
    app = CacheMiddleware(giving([ANSWER]), name="bot", store=MemoryStore(), limits=RECALLING, hooks=[told.append])
    transport = cachemw.httpx.CacheTransport(
        inner_of(httpx, answering), store=MemoryStore(), limits=RECALLING, hooks=[told.append]
    )

    def ask(_: int) -> None:
        served(app, environ())
        transport.handle_request(asking(httpx)).read()

    ask(0)
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(ask, range(400)))

    assert sum(report.count for report in told if report.hit) == 800


def test_where_the_loop_is_trios_hits_are_told_at_once() -> None:
    """E1, H8."""
    told: list[ExchangeReport] = []
    transport = transport_of(cachemw.httpx, True, inner_of(httpx, answering), hooks=[told.append], limits=RECALLING)

    async def ask() -> list[bool]:
        recalled = note_recalled(transport.driver)
        for _ in range(4):
            await answered(transport, asking(httpx))
        return recalled

    assert anyio.run(ask, backend="trio") == [True, True]
    assert [report.hit for report in told] == [False, True, True, True]


async def test_without_hooks_nothing_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody would hear of it."""

    def refuse(self: Any, report: Any) -> Any:
        raise AssertionError("it is measured")

    monkeypatch.setattr(metering.Meter, "complete", refuse)
    transports = [transport_of(cachemw.httpx, way, inner_of(httpx, answering), limits=RECALLING) for way in (False, True)]
    app = CacheMiddleware(giving([ANSWER]), name="bot", store=MemoryStore(), limits=RECALLING)

    for _ in range(3):
        assert [(await answered(transport, asking(httpx))).content for transport in transports] == [ANSWER] * 2
        assert served(app, environ()).reply().body == ANSWER


# Budgets: counts, not times.


def frames(call: Callable[[], object]) -> list[str]:
    """Return the packages of ours in which a function runs while something is called, as often as one does."""
    root, ran = str(Path(cachemw.__file__).parent), list[str]()

    def note(frame: Any, event: str, _: Any) -> None:
        if event == "call" and frame.f_code.co_filename.startswith(root):
            ran.append(frame.f_code.co_filename.removeprefix(root + "/"))

    sys.setprofile(note)
    try:
        call()
    finally:
        sys.setprofile(None)
    return ran


@pytest.fixture(params=[MemoryStore, DiskStore])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    store = MemoryStore() if request.param is MemoryStore else DiskStore(tmp_path / "store")
    yield store
    store.close()


def known_app(store: Store) -> Callable[[], object]:
    """Return what asks a WSGI app for what it has given before."""
    app = CacheMiddleware(giving([ANSWER]), name="bot", store=store, limits=RECALLING)
    return lambda: served(app, environ())


def known_transport(store: Store) -> Callable[[], object]:
    """Return what asks a transport for what it has given before."""
    transport = cachemw.httpx.CacheTransport(inner_of(httpx, answering), store=store, limits=RECALLING)
    return lambda: transport.handle_request(asking(httpx)).read()


KNOWN = ("cache/recall.py", "drivers/recalling.py", "stores/")
"""Where it is said what is given again, whichever mount asks."""


@pytest.mark.parametrize(("known", "own"), [(known_app, 35), (known_transport, 26)])
def test_a_recalled_hit_runs_few_functions(known: Callable[[Store], Callable[[], object]], own: int, store: Store) -> None:
    """A budget, in counts: of the mount itself, and of what it has in common with others."""
    ask = known(store)
    for _ in range(3):
        ask()

    ran = frames(ask)

    assert 0 < len([path for path in ran if not path.startswith(KNOWN)]) <= own
    assert 0 < len([path for path in ran if path.startswith(KNOWN)]) <= 34


@pytest.mark.parametrize("known", [known_app, known_transport])
def test_a_purge_is_heeded_at_once(known: Callable[[Store], Callable[[], object]], store: Store) -> None:
    """S1: by the store that is given, whichever it is."""
    ask = known(store)
    for _ in range(3):
        ask()
    records = list(store.scan())

    store.clear()
    ask()

    [(index, record)] = store.scan()
    assert [(index, record)] != records
