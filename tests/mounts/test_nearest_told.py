"""The 504 of a replay names the record that is nearest, and what differs, to who can see the records anyway."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import httpx2
import openai
import pytest

import cachemw.asgi
import cachemw.httpx
import cachemw.wsgi
from cachemw import DiskStore, FileStore, MemoryStore, Policy, Store
from cachemw.cassette import Cassette
from cachemw.proxy import Proxy
from cachemw.upstreams import HttpUpstream
from tests import asgi_driver, transport_driver, wsgi_driver
from tests.mounts.inner_transports import BY_FAMILY, BY_KIND, TYPE, URL, answering, inner_of
from tests.mounts.mounting import PATH
from tests.mounts.test_replaying import RECORD, REPLAY, STORES, ask
from tests.mounts.test_wsgi import ANSWER, giving
from tests.upstream import Upstream, completion, prompt

pytestmark = pytest.mark.anyio

IN_EACH = pytest.mark.parametrize("make", STORES.values(), ids=STORES.keys())


def message_of(reply: Any) -> str:
    assert reply.status == 504
    return str(json.loads(reply.body)["error"]["message"])


@BY_FAMILY
@BY_KIND
@IN_EACH
async def test_a_replay_says_in_what_a_request_differs_from_the_nearest_record(
    family: Any, mount: Any, is_async: bool, make: Callable[[Path], Store], tmp_path: Path
) -> None:
    """O5: values are not told, though a cassette has them."""
    store = make(tmp_path / "cassette")
    for text in ("what is blue?", "what is red?"):
        await ask(mount, family, is_async, store, RECORD, prompt(text, seed=1234567))
    store.close()

    reply, _ = await ask(mount, family, is_async, store := make(tmp_path / "cassette"), REPLAY, prompt("what is red?", seed=7))
    store.close()

    told = message_of(reply)
    assert "; nearest: " in told
    assert "; seed differs from " in told
    assert "1234567" not in told


@IN_EACH
@pytest.mark.parametrize(
    ("body", "fields", "told"),
    [
        (prompt("what is green?", seed=1, top_p=0.5), (), "messages[0] differs from"),
        (prompt("what is blue?", seed=1), (), "top_p (only there) differs from"),
        (prompt("what is blue?", seed=1, top_p=0.5, user_id="x"), (), "user_id (only here) differs from"),
        (prompt("what is blue?", seed=2, top_p=0.1), (), "seed, top_p differ from"),
    ],
)
async def test_what_differs_is_named(
    make: Callable[[Path], Store], body: bytes, fields: tuple[Any, ...], told: str, tmp_path: Path
) -> None:
    """O5."""
    store = make(tmp_path)
    await ask(cachemw.httpx, httpx, False, store, RECORD, prompt("what is blue?", seed=1, top_p=0.5))

    reply, _ = await ask(cachemw.httpx, httpx, False, store, REPLAY, body, *fields)
    store.close()

    assert told in message_of(reply)


@pytest.mark.parametrize(
    ("make", "told"), [(DiskStore, "namespace (only here) differs"), (FileStore, "the namespace, the sample, a query or")]
)
async def test_what_is_not_of_the_body_is_named_where_it_is_known(
    make: Callable[[Path], Store], told: str, tmp_path: Path
) -> None:
    """O5: files hold their requests, and no more."""
    store = make(tmp_path)
    await ask(cachemw.httpx, httpx, False, store, RECORD, prompt())

    reply, _ = await ask(cachemw.httpx, httpx, False, store, REPLAY, prompt(), (b"cachemw", b"namespace=x"))
    store.close()

    assert told in message_of(reply)


@IN_EACH
async def test_where_nothing_is_near_nothing_is_named(make: Callable[[Path], Store], tmp_path: Path) -> None:
    store = make(tmp_path)
    await ask(cachemw.httpx, httpx, False, store, RECORD, prompt("what is blue?", seed=1, top_p=0.1))

    reply, _ = await ask(cachemw.httpx, httpx, False, store, REPLAY, prompt("is it?", seed=2, top_p=0.2))
    store.close()

    assert message_of(reply).endswith("for m")


async def test_the_very_same_of_another_caller_is_told_in_their_own_process_alone(tmp_path: Path) -> None:
    """I: a client of a proxy learns nothing of what others ask."""
    record, replay = Policy(default="on"), Policy(default="on, mode=replay")
    mine, yours = ((b"authorization", b"Bearer mine"), (b"authorization", b"Bearer yours"))
    store = DiskStore(tmp_path)
    await ask(cachemw.httpx, httpx, False, store, record, prompt(), mine)
    other, _ = await ask(cachemw.httpx, httpx, False, store, replay, prompt(), yours)
    store.close()

    proxy = Proxy(HttpUpstream("https://api.example/v1"), store=(store := DiskStore(tmp_path)), policy=replay)
    shared = await asgi_driver.call(proxy, "POST", PATH, prompt(), (TYPE, yours))
    store.close()

    assert "for another caller: its credential differs" in message_of(other)
    assert "nearest" not in message_of(shared)
    assert "caller" not in message_of(shared)


async def test_a_proxy_that_replays_says_what_differs_and_one_that_others_share_does_not() -> None:
    """O5, I."""
    store = MemoryStore()
    upstream = HttpUpstream("https://api.example/v1")
    await ask(cachemw.httpx, httpx, False, store, RECORD, prompt(seed=1))

    told = await asgi_driver.call(Proxy(upstream, store=store, policy=REPLAY), "POST", PATH, prompt(seed=2), (TYPE,))
    fields = (TYPE, (b"cachemw", b"mode=replay"))
    untold = await asgi_driver.call(Proxy(upstream, store=store, policy=RECORD), "POST", PATH, prompt(seed=2), fields)

    assert "seed" in message_of(told)
    assert "seed" not in message_of(untold)


async def test_around_an_app_it_is_said_too() -> None:
    """O5: under both interfaces."""
    store = MemoryStore()
    for policy, seed in ((RECORD, 1), (REPLAY, 2)):
        under_wsgi = cachemw.wsgi.CacheMiddleware(giving([ANSWER]), name="bot", store=store, policy=policy)
        replied = wsgi_driver.call(under_wsgi, "POST", PATH, prompt(seed=seed), (TYPE,))
    under_asgi = cachemw.asgi.CacheMiddleware(Upstream(lambda _: completion()), name="bot", store=store, policy=REPLAY)
    pushed = await asgi_driver.call(under_asgi, "POST", PATH, prompt(seed=3), (TYPE,))

    assert "; seed differs from " in message_of(replied)
    assert "; seed differs from " in message_of(pushed)


def test_an_sdk_raises_what_differs(tmp_path: Path) -> None:
    """O5: a cassette recorded with one seed, replayed with another one."""
    recorder, player = Cassette(tmp_path, "record"), Cassette(tmp_path, "replay")
    inner = inner_of(httpx2, answering)

    def asked(cassette: Cassette, seed: int) -> None:
        http = cassette.http_client(openai, inner)
        client = openai.OpenAI(api_key="sk-mine", base_url="https://api.example/v1", http_client=http)
        client.chat.completions.create(model="m", seed=seed, messages=[{"role": "user", "content": "hi"}])

    asked(recorder, 1)
    with pytest.raises(openai.APIStatusError, match=r"seed differs from [0-9a-f]{8}…"):
        asked(player, 2)
    recorder.close()
    player.close()


class Counting(MemoryStore):
    """Counts how often its records are gone through."""

    scans = 0

    def scan(self) -> Any:
        self.scans += 1
        return super().scan()


class Silent(Counting):
    """Does not say when it has changed, nor how much it holds."""

    def version(self) -> Any:
        return None

    def count(self) -> Any:
        return None


@pytest.mark.parametrize(("kind", "scans"), [(Counting, 2), (Silent, 3)])
def test_records_are_gone_through_again_only_where_there_are_others(kind: type[Counting], scans: int) -> None:
    """Many may be refused at once."""
    store = kind()
    replaying = cachemw.httpx.CacheTransport(inner_of(httpx, answering), store=store, policy=REPLAY)
    recording = cachemw.httpx.CacheTransport(inner_of(httpx, answering), store=store, policy=RECORD)
    with httpx.Client(transport=replaying) as player, httpx.Client(transport=recording) as recorder:

        def refused(**members: Any) -> str:
            return message_of(transport_driver.call(player, "POST", URL, prompt(**members), (TYPE,)))

        transport_driver.call(recorder, "POST", URL, prompt(seed=1), (TYPE,))
        told = [refused(seed=2), refused(seed=3)]
        transport_driver.call(recorder, "POST", URL, prompt(seed=1, top_p=0.5), (TYPE,))
        told.append(refused(seed=2, top_p=0.5))

    assert all("; seed differs from " in one for one in told)
    assert store.scans == scans


class Hostile(MemoryStore):
    """A store whose records cannot be gone through."""

    def scan(self) -> Any:
        raise ZeroDivisionError


async def test_a_store_that_cannot_be_gone_through_changes_nothing_else() -> None:
    """D1."""
    reply, _ = await ask(cachemw.httpx, httpx, False, Hostile(), REPLAY, prompt())

    assert message_of(reply).endswith("for m")
