"""Replaying in the mounts: nothing is written, what is missing is said where it is, and why it is missing in plain words."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

import cachemw.asgi
import cachemw.wsgi
from cachemw import ConfigurationError, DiskStore, FileStore, MemoryStore, Policy, Store
from cachemw.proxy import Proxy
from cachemw.upstreams import HttpUpstream
from tests import asgi_driver
from tests.mounts.inner_transports import BY_FAMILY, BY_KIND, TYPE, URL, answering, inner_of
from tests.mounts.mounting import PATH
from tests.stores.test_files import snapshot
from tests.transport_driver import acall, call
from tests.upstream import prompt

pytestmark = pytest.mark.anyio

ASKED = "https://api.example:443/v1/chat/completions"
REPLAY = Policy(default="on, mode=replay", partition="shared", keep=None)
RECORD = Policy(default="on", partition="shared", keep=None)
STORES: dict[str, Callable[[Path], Store]] = {"disk": DiskStore, "files": FileStore}
IN_EACH = pytest.mark.parametrize("make", STORES.values(), ids=STORES.keys())


def only_file(directory: Path) -> Path:
    [path] = directory.iterdir()
    return path


def damage_all(directory: Path) -> None:
    for path in directory.iterdir():
        path.write_text("{")


async def ask(mount: Any, family: Any, is_async: bool, store: Store, policy: Policy, body: bytes, *fields: Any) -> Any:
    """Ask through a client of its own; an inner transport answers."""
    inner, kind = inner_of(family, answering), mount.AsyncCacheTransport if is_async else mount.CacheTransport
    transport = kind(inner, store=store, policy=policy)
    if is_async:
        async with family.AsyncClient(transport=transport, trust_env=False) as client:
            return await acall(client, "POST", URL, body, (TYPE, *fields)), inner
    with family.Client(transport=transport, trust_env=False) as client:
        return call(client, "POST", URL, body, (TYPE, *fields)), inner


@BY_FAMILY
@BY_KIND
@IN_EACH
async def test_a_replay_is_the_recording_and_changes_nothing(
    family: Any, mount: Any, is_async: bool, make: Callable[[Path], Store], tmp_path: Path
) -> None:
    """F3, E6: with another key, or none."""
    store = make(tmp_path / "cassette")
    recorded, _ = await ask(mount, family, is_async, store, RECORD, prompt(), (b"authorization", b"Bearer sk-mine"))
    store.close()
    before, store = snapshot(tmp_path), make(tmp_path / "cassette")

    replayed, inner = await ask(mount, family, is_async, store, REPLAY, prompt())
    refused, _ = await ask(mount, family, is_async, store, REPLAY, prompt(seed=9), (b"cachemw", b"mode=refresh"))
    store.close()

    assert (replayed.status, replayed.body) == (200, recorded.body)
    assert inner.requests == []
    assert refused.status == 200  # which the request itself asked for: it is forwarded, and not kept
    assert snapshot(tmp_path) == before


@BY_FAMILY
@BY_KIND
@IN_EACH
async def test_a_refusal_says_where_it_looked_and_how_much_is_there(
    family: Any, mount: Any, is_async: bool, make: Callable[[Path], Store], tmp_path: Path
) -> None:
    """F3."""
    store = make(tmp_path / "cassette")
    for seed in range(2):
        await ask(mount, family, is_async, store, RECORD, prompt(seed=seed))
    store.close()

    reply, _ = await ask(mount, family, is_async, store, REPLAY, prompt(seed=9))
    store.close()

    message = json.loads(reply.body)["error"]["message"]
    assert (reply.status, reply.headers[b"cache-status"]) == (504, b"cachemw; detail=not-cached")
    assert (
        f"the store in {tmp_path / 'cassette'} holds 2 records, and none answers this request, which asks {ASKED} for m"
        in message
    )


@BY_KIND
@IN_EACH
def test_what_is_not_there_cannot_be_replayed(
    is_async: bool, make: Callable[[Path], Store], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """F3: it is said when the mount is made, with the absolute path, and nothing is made there."""
    monkeypatch.chdir(tmp_path)
    mount = cachemw.httpx.AsyncCacheTransport if is_async else cachemw.httpx.CacheTransport
    with pytest.raises(ConfigurationError, match=re.escape(str(tmp_path / "tests" / "cassette"))):
        mount(store=make(Path("tests/cassette")), policy=REPLAY)

    assert list(tmp_path.iterdir()) == []


async def nobody(scope: Any, receive: Any, send: Any) -> None:
    raise AssertionError("nobody is asked")


MOUNTS: dict[str, Callable[[Store], Any]] = {
    "asgi": lambda store: cachemw.asgi.CacheMiddleware(nobody, name="bot", store=store, policy=REPLAY),
    "wsgi": lambda store: cachemw.wsgi.CacheMiddleware(lambda *_: [], name="bot", store=store, policy=REPLAY),
    "proxy": lambda store: Proxy(HttpUpstream("http://127.0.0.1:9/v1"), store=store, policy=REPLAY),
}


@pytest.mark.parametrize("mounted", MOUNTS.values(), ids=MOUNTS.keys())
@IN_EACH
def test_no_mount_replays_from_what_is_not_there(
    mounted: Callable[[Store], Any], make: Callable[[Path], Store], tmp_path: Path
) -> None:
    """F3."""
    with pytest.raises(ConfigurationError, match=re.escape(str(tmp_path / "cassette"))):
        mounted(make(tmp_path / "cassette"))


async def test_only_who_can_see_the_store_is_told_where_it_is() -> None:
    """I: a client of a proxy that others share learns nothing of its files."""
    store = MemoryStore()
    headers = ((b"content-type", b"application/json"), (b"cachemw", b"mode=replay"))
    told = {}
    for name, policy in (("not", Policy()), ("told", REPLAY)):
        proxy = Proxy(HttpUpstream("http://127.0.0.1:9/v1"), store=store, policy=policy)
        reply = await asgi_driver.call(proxy, "POST", PATH, prompt(), headers)
        told[name] = json.loads(reply.body)["error"]["message"]

    assert "MemoryStore" not in told["not"]
    assert "MemoryStore holds 0 records" in told["told"]


@BY_KIND
async def test_a_file_that_was_changed_is_named_and_neither_used_nor_removed(is_async: bool, tmp_path: Path) -> None:
    """F3, D1."""
    store = FileStore(tmp_path)
    await ask(cachemw.httpx, httpx, is_async, store, RECORD, prompt())
    path = only_file(tmp_path)
    path.write_text(path.read_text().replace('"status": 200', '"status": 201'))
    before = snapshot(tmp_path)

    reply, _ = await ask(cachemw.httpx, httpx, is_async, store, REPLAY, prompt())

    assert (reply.status, reply.headers[b"cache-status"]) == (504, b'cachemw; detail="not-cached, bad-record"')
    assert str(path) in json.loads(reply.body)["error"]["message"]
    assert snapshot(tmp_path) == before


async def test_many_changed_files_keep_no_other_from_being_used(tmp_path: Path) -> None:
    """F3: they are no failure of the store, which would be left alone for a while."""
    store = FileStore(tmp_path)
    for seed in range(8):
        await ask(cachemw.httpx, httpx, False, store, RECORD, prompt(seed=seed))
    damage_all(tmp_path)
    await ask(cachemw.httpx, httpx, False, store, RECORD, prompt(seed=8))
    transport = cachemw.httpx.CacheTransport(inner_of(httpx, answering), store=store, policy=REPLAY)

    with httpx.Client(transport=transport, trust_env=False) as client:
        statuses = [call(client, "POST", URL, prompt(seed=seed), (TYPE,)).status for seed in range(9)]

    assert statuses == [504] * 8 + [200]


@BY_KIND
async def test_what_is_changed_while_recording_is_recorded_anew(is_async: bool, tmp_path: Path) -> None:
    """D1."""
    store = FileStore(tmp_path)
    await ask(cachemw.httpx, httpx, is_async, store, RECORD, prompt())
    path = only_file(tmp_path)
    right = path.read_bytes()
    path.write_text("{")

    reply, inner = await ask(cachemw.httpx, httpx, is_async, store, RECORD, prompt())

    assert len(inner.requests) == 1
    assert b"bad-record" in reply.headers[b"cache-status"]
    assert json.loads(path.read_bytes())["body"] == json.loads(right)["body"]


def test_files_hold_their_requests_whatever_the_policy_says(tmp_path: Path) -> None:
    """D1."""
    mount = cachemw.httpx.CacheTransport(store=FileStore(tmp_path), policy=RECORD)

    assert (RECORD.keep_requests, mount.driver.policy.keep_requests) == (False, True)


def test_without_a_secret_callers_cannot_be_told_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """I1, D1: that is said at once; a secret that is given does."""
    with pytest.raises(ConfigurationError, match='partition="shared"'):
        cachemw.httpx.CacheTransport(store=FileStore(tmp_path))
    monkeypatch.setenv("CACHEMW_SECRET", "a secret of many bytes")

    cachemw.httpx.CacheTransport(store=FileStore(tmp_path))
