"""Client keys with names: their partition, and keys that are read again while requests go on."""

import logging
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import anyio
import pytest
from anyio.abc import SocketStream

from cachemw import ExchangeReport, MemoryStore, Policy
from cachemw.proxy import Gate, Proxy
from cachemw.proxy.admission import AccessRules
from cachemw.proxy.client_keys import read_client_keys
from cachemw.proxy.reloading import read_anew
from cachemw.proxy.settings import Settings
from cachemw.upstreams import HttpUpstream
from tests.asgi_driver import Reply, call
from tests.proxy.guarded import status_of
from tests.proxy.recalling import Listener, chat, recalling
from tests.recalling import IS_ON
from tests.serving import serving, until
from tests.upstream import Upstream, answer_to, prompt

pytestmark = pytest.mark.anyio

CHAT = "/v1/chat/completions"


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class House:
    """A proxy whose client keys stand in a file."""

    def __init__(self, directory: Path, upstream_url: str, text: str) -> None:
        self.path, self.reports = directory / "keys.toml", list[ExchangeReport]()
        self.write(text)
        self.upstream = HttpUpstream(upstream_url + "/v1", api_key="sk-server", credentials="lend")
        self.store = MemoryStore()
        self.rules = AccessRules(Policy(default="on"), named_keys=read_client_keys(str(self.path)))
        proxy = Proxy(self.upstream, store=self.store, policy=self.rules.policy, hooks=[self.reports.append])
        self.gate = Gate(proxy, self.rules, bodies=proxy.bodies, recaller=proxy.recaller)

    def write(self, text: str) -> None:
        """Write the file anew, as editors do."""
        draft = self.path.with_suffix(".new")
        draft.touch(0o600)
        draft.write_text(text)
        draft.rename(self.path)

    def reload(self, text: str | None = None) -> None:
        """Write the file, and have it read."""
        if text is not None:
            self.write(text)
        read_anew(self.gate, Settings(client_keys_file=str(self.path)), None)

    async def ask(self, key: str, what: str = "hello", header: tuple[bytes, bytes] | None = None) -> Reply:
        credential = header or (b"authorization", b"Bearer " + key.encode())
        headers = [(b"host", b"localhost"), (b"content-type", b"application/json"), credential]
        return await call(self.gate, "POST", CHAT, prompt(what), headers)


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    async with serving(Upstream()) as url:
        house = House(tmp_path, url, 'alice = "sk-a1"\nbob = "sk-b1"')
        yield house
        await house.upstream.aclose()


def said(reply: Reply) -> str:
    """Return whether it was a hit, a miss, or refused."""
    told = reply.headers.get(b"cache-status", b"").decode()
    return "hit" if "; hit" in told else "miss" if "fwd=miss" in told else str(reply.status)


async def test_a_client_is_one_whichever_of_its_keys_it_brings_and_is_called_by_its_name(house: House) -> None:
    """F21, A3, D3, B1."""
    house.reload('alice = ["sk-a1", "sk-a2"]\nbob = "sk-b1"')

    told = [said(await house.ask(key)) for key in ("sk-a1", "sk-a2", "sk-b1", "sk-a1")]
    by_another_field = await house.ask("", header=(b"x-api-key", b"sk-a2"))

    assert (told, said(by_another_field)) == (["miss", "hit", "miss", "hit"], "hit")
    assert {report.client for report in house.reports} == {"alice", "bob"}


async def test_a_key_that_is_replaced_keeps_its_clients_records(house: House) -> None:
    """F21: and the old one is refused from then on, what it was given before included."""
    before = [said(await house.ask("sk-a1")) for _ in range(4)]

    house.reload('alice = "sk-a2"\nbob = "sk-b1"')

    assert before == ["miss", "hit", "hit", "hit"]
    assert [said(await house.ask(key)) for key in ("sk-a2", "sk-a1", "sk-b1", "sk-a2")] == ["hit", "401", "miss", "hit"]


async def test_two_clients_that_change_keys_do_not_change_records(house: House) -> None:
    """I1, C5: the very bytes that got one client's answer get the other's."""
    mine, theirs = [await house.ask("sk-a1") for _ in range(3)][-1], [await house.ask("sk-b1") for _ in range(3)][-1]

    house.reload('alice = "sk-b1"\nbob = "sk-a1"')
    after = [(await house.ask("sk-b1")).body for _ in range(3)], [(await house.ask("sk-a1")).body for _ in range(3)]

    assert after == ([mine.body] * 3, [theirs.body] * 3)


async def test_records_of_a_key_without_a_name_are_not_those_of_a_client(house: House) -> None:
    """A3: a name is another partition than any key is."""
    await house.ask("sk-a1")
    house.gate.admit_by(AccessRules(house.rules.policy, client_keys=(b"sk-a1",)))

    assert [said(await house.ask("sk-a1")) for _ in range(2)] == ["miss", "hit"]


BAD = {
    "not TOML": "alice = sk-a2",
    "nobody": "",
    "one key for two": 'alice = "sk-x"\nbob = "sk-x"',
}


@pytest.mark.parametrize("text", BAD.values(), ids=BAD)
async def test_a_file_that_has_become_bad_changes_nothing_and_is_one_line(
    house: House, text: str, caplog: pytest.LogCaptureFixture
) -> None:
    """F21, I4."""
    await house.ask("sk-a1")

    house.reload(text)

    assert [said(await house.ask(key)) for key in ("sk-a1", "sk-a2")] == ["hit", "401"]
    (line,) = caplog.messages
    assert line.startswith("client keys and routes stay as they were: ")
    assert "sk-" not in line


async def test_a_file_that_is_gone_or_open_to_others_changes_nothing(house: House, caplog: pytest.LogCaptureFixture) -> None:
    """F21."""
    house.path.chmod(0o644)
    house.reload()
    house.path.unlink()
    house.reload()

    assert said(await house.ask("sk-a1")) == "miss"
    assert [message.startswith("client keys and routes stay as they were: ") for message in caplog.messages] == [True, True]


async def test_that_keys_were_read_again_is_logged_without_them(house: House, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "cachemw"):
        house.reload('alice = ["sk-a1", "sk-a2"]')

    assert caplog.messages == ["client keys and routes are read again (keys: 2, clients: 1, routes: 0)"]


async def test_a_request_under_way_is_answered_and_not_remembered(tmp_path: Path) -> None:
    """F21, C5: who was let in before goes on, and brings nothing back that was revoked."""
    behind = Upstream()
    async with serving(behind) as url:
        house = House(tmp_path, url, 'alice = "sk-a1"')
        hold = anyio.Event()
        behind.respond = lambda asked: replace(told := answer_to(asked), parts=(hold, *told.parts))
        replies: list[Reply] = []

        async def ask() -> None:
            replies.append(await house.ask("sk-a1"))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(ask)
            await until(lambda: behind.calls == 1)
            house.reload('alice = "sk-a2"')
            hold.set()

        assert [reply.status for reply in replies] == [200]
        assert [said(await house.ask(key)) for key in ("sk-a1", "sk-a2", "sk-a1")] == ["401", "hit", "401"]
        await house.upstream.aclose()


JSON = chat(prompt("what is one and one"), b"Connection: keep-alive\r\n")


@pytest.mark.skipif(not IS_ON, reason="recall is off in this run")
async def test_a_revoked_key_is_refused_on_a_connection_that_was_given_recalled_hits() -> None:
    """C5, I1: before its head is parsed as well; and nothing is remembered by what began before."""
    rules = AccessRules(Policy(), client_keys=(b"sk-a", b"sk-b"), max_body=1_000_000)
    async with serving(Upstream()) as url:
        upstream = HttpUpstream(url + "/v1", api_key="k", credentials="lend")
        async with recalling(upstream, MemoryStore(), rules=rules) as listener, await listener.connect() as stream:
            statuses = [await _status(listener, stream) for _ in range(5)]
            ways = listener.whole_ways
            listener.gate.admit_by(AccessRules(Policy(), client_keys=(b"sk-b",), max_body=1_000_000))
            refused = [await _status(listener, stream), status_of(await listener.ask(JSON, 2))]
            listener.gate.admit_by(rules)
            again = status_of(await listener.ask(JSON, 5))
            ways_again = listener.whole_ways
        await upstream.aclose()

    assert (statuses, refused, again) == ([200] * 5, [401] * 2, 200)
    assert (ways, ways_again) == (3, 3 + 3 + 2)


async def _status(listener: Listener, stream: SocketStream) -> int:
    await listener.send(stream, JSON)
    with anyio.fail_after(5):
        reply = await stream.receive()
    return status_of(reply)
