"""The gate gives plain hits again: to whom, of what size, and what happens to a request whose body is awaited."""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import anyio
import pytest
from starlette.types import Message

from cachemw import ExchangeReport, Limits, MemoryStore, Policy
from cachemw.asgi import CacheMiddleware
from cachemw.budget import Budget
from cachemw.cache.recall import HEADS, RECALLED_BODY
from cachemw.proxy import Gate
from cachemw.proxy.admission import AccessRules
from tests.asgi_driver import scope_for
from tests.recalling import IS_ON
from tests.upstream import Upstream, prompt

pytestmark = [pytest.mark.anyio, pytest.mark.skipif(not IS_ON, reason="recall is off in this run")]

CHAT = "/v1/chat/completions"
JSON = (b"content-type", b"application/json")
HOST, ON = (b"host", b"localhost"), (b"cachemw", b"on")
ALICE, BOB, EVE = ((b"authorization", b"Bearer sk-" + name) for name in (b"alice", b"bob", b"eve"))
FIELDS = (HOST, JSON, ON)
OPEN = AccessRules(Policy())
KEYED = AccessRules(Policy(), client_keys=(b"sk-alice", b"sk-bob"))
BODY = prompt("again and again")


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@dataclass(slots=True)
class Client:
    """One request: its body comes in these pieces, `None` is that its client leaves; then it waits for ever."""

    pieces: list[bytes | None]
    sent: list[Message] = field(default_factory=list)
    breaks: type[BaseException] | None = None
    waits: asyncio.Event = field(default_factory=asyncio.Event)

    async def receive(self) -> Message:
        if not self.pieces:
            self.waits.set()
            await asyncio.Event().wait()
        piece = self.pieces.pop(0)
        if piece is None:
            return {"type": "http.disconnect"}
        return {"type": "http.request", "body": piece, "more_body": not piece.endswith(END)}

    async def send(self, message: Message) -> None:
        self.sent.append(message)
        if self.breaks is not None and message["type"] == "http.response.body":
            raise self.breaks

    @property
    def status(self) -> int | None:
        return self.sent[0]["status"] if self.sent else None

    @property
    def said(self) -> str:
        """Our `Cache-Status`, up to the key."""
        fields: dict[bytes, bytes] = dict(self.sent[0]["headers"])
        return fields.get(b"cache-status", b"").decode().partition("; key")[0]

    @property
    def answer(self) -> tuple[Any, ...]:
        head, *body = self.sent
        return head["status"], tuple(head["headers"]), tuple((part["body"], part["more_body"]) for part in body)


END = b"}"


class Watched(Budget):
    """A budget that says what is taken of it."""

    def __init__(self, limit_bytes: int) -> None:
        super().__init__(limit_bytes)
        self.held = 0

    def take(self, size: int) -> bool:
        self.held += size
        return super().take(size)

    def give_back(self, size: int) -> None:
        self.held -= size
        super().give_back(size)


class House:
    """A gate, the cache behind it and an app in that, in one process."""

    def __init__(
        self, rules: AccessRules = OPEN, *, limits: Limits = Limits(), holds: int = 10_000_000, hooks: bool = False
    ) -> None:
        self.upstream, self.store = Upstream(), MemoryStore()
        self.reports: list[ExchangeReport] = []
        self.cache = CacheMiddleware(
            self.upstream, name="bot", store=self.store, policy=rules.policy, limits=limits,
            hooks=[self.reports.append] if hooks else (),
        )  # fmt: skip
        self.bodies = self.cache.bodies = Watched(holds)
        self.gate = Gate(self.cache, rules, limits=limits, bodies=self.bodies, recaller=self.recaller)
        self.recalled = 0
        self._count()

    @property
    def recaller(self) -> Any:
        return self.cache.driver.recaller

    def _count(self) -> None:
        find = self.recaller.find

        def counting(digest: bytes) -> Any:
            found = find(digest)
            self.recalled += found is not None
            return found

        self.recaller.find = counting

    async def ask(
        self, *pieces: bytes | None, fields: Iterable[tuple[bytes, bytes]] = FIELDS, path: str = CHAT, **scope: Any
    ) -> Client:
        """Send a request, and stay until it is over."""
        client = Client(list(pieces or (BODY,)), breaks=scope.pop("breaks", None))
        await self.gate({**scope_for("POST", path, fields), **scope}, client.receive, client.send)
        return client

    async def remembered(self, *pieces: bytes, **more: Any) -> Client:
        """Have a request remembered: a miss, and a hit."""
        await self.ask(*pieces, **more)
        return await self.ask(*pieces, **more)


async def test_the_third_is_given_what_the_second_was() -> None:
    """V1: byte by byte and piece by piece; nobody decides anything for it."""
    house = House()
    second = await house.remembered()

    third = await house.ask()

    assert house.recalled == 1
    assert third.answer == second.answer
    assert (second.said, house.upstream.calls) == ("cachemw; hit; ttl=86400", 1)


@pytest.mark.parametrize("pieces", [1, 2, 7])
async def test_a_body_may_come_in_pieces(pieces: int) -> None:
    """V1"""
    house = House()
    second = await house.remembered()
    size = -(-len(BODY) // pieces)

    third = await house.ask(*[BODY[at : at + size] for at in range(0, len(BODY), size)])

    assert (house.recalled, third.answer) == (1, second.answer)


def of_size(size: int) -> bytes:
    """Return a request of so many bytes."""
    return prompt("x" * (size - len(prompt(""))))


@pytest.mark.parametrize(("size", "recalled"), [(RECALLED_BODY - 1, 1), (RECALLED_BODY, 1), (RECALLED_BODY + 1, 0)])
@pytest.mark.parametrize("is_cut", [False, True])
async def test_a_body_of_256_kibibytes_is_recalled_and_no_larger_one(size: int, recalled: int, is_cut: bool) -> None:
    """C7: a larger one is a hit all the same."""
    house, body = House(), of_size(size)
    assert len(body) == size
    pieces = (body[:100_000], body[100_000:]) if is_cut else (body,)
    second = await house.remembered(*pieces)

    third = await house.ask(*pieces)

    assert (house.recalled, third.answer, house.upstream.calls) == (recalled, second.answer, 1)
    assert house.bodies.held == 0


# Who asks.


def with_field(name: bytes, value: bytes) -> dict[str, Any]:
    return {"fields": (*FIELDS, (name, value))}


def with_certificate(name: str) -> dict[str, Any]:
    return {"extensions": {"tls": {"client_cert_chain": [name], "client_cert_name": name}}}


A_CREDENTIAL, A_COOKIE = with_field(*ALICE), with_field(b"cookie", b"a=1")


@pytest.mark.parametrize(
    ("first", "others"),
    [
        pytest.param({}, [A_CREDENTIAL, A_COOKIE, with_certificate("CN=a"), {"session": {"who": "a"}}], id="nobody"),
        pytest.param(A_CREDENTIAL, [{}, with_field(*BOB)], id="a credential"),
        pytest.param(with_certificate("CN=a"), [{}, with_certificate("CN=b")], id="a certificate"),
        pytest.param({"session": {"who": "a"}}, [{}, {"session": {"who": "b"}}], id="a session"),
        pytest.param(A_COOKIE, [{}, with_field(b"cookie", b"a=2")], id="a cookie"),
        pytest.param({"root_path": "/one"}, [{}, {"root_path": "/two"}], id="where it is mounted"),
        pytest.param({"path": CHAT + "?a=1"}, [{}, {"path": CHAT + "?a=2"}], id="a query"),
        pytest.param(with_field(b"x-tenant", b"1"), [{}, with_field(b"x-tenant", b"2")], id="a field"),
    ],
)
async def test_nobody_is_given_what_another_was(first: dict[str, Any], others: list[dict[str, Any]]) -> None:
    """I1, C1: each is asked for anew, and then recalled for that one alone."""
    house = House()
    await house.remembered(**first)

    for number, other in enumerate(others, 2):
        assert (await house.ask(**other)).said.startswith("cachemw; fwd=miss")
        assert (house.recalled, house.upstream.calls) == (0, number)
    assert (await house.ask(**first)).said.startswith("cachemw; hit")
    assert house.recalled == 1


async def test_a_user_who_is_known_to_the_app_shuts_the_door() -> None:
    """I10, C1: nothing tells callers apart then."""
    house = House()
    await house.remembered()

    for _ in range(3):
        assert "no-partition" in dict((await house.ask(user="alice")).sent[0]["headers"])[b"cache-status"].decode()

    assert house.recalled == 0


async def test_one_key_is_one_client_however_it_is_sent_and_another_is_refused() -> None:
    """I1, I2: a refusal is at the head, and no body is awaited for it."""
    house = House(KEYED)
    hit = await house.remembered(fields=(*FIELDS, ALICE))

    same = [await house.ask(fields=(*FIELDS, (b"x-api-key", b"sk-alice"))) for _ in range(2)]
    refused = Client([])
    await house.gate(scope_for("POST", CHAT, (*FIELDS, EVE)), refused.receive, refused.send)

    assert [reply.answer for reply in same] == [hit.answer] * 2
    assert (house.recalled, house.upstream.calls, refused.status) == (1, 1, 401)
    assert (await house.ask(fields=(*FIELDS, BOB))).said.startswith("cachemw; fwd=miss")


@pytest.mark.parametrize(
    ("field", "status"),
    [
        ((b"host", b"evil.example"), 400),
        ((b"origin", b"https://evil.example"), 403),
        ((b"referer", b"https://evil.example/"), 403),
        ((b"sec-fetch-site", b"cross-site"), 403),
        ((b"content-type", b"text/plain"), 415),
        ((b"content-length", b"99999999999"), 413),
        ((b"content-length", b"x"), 400),
        ((b"cachemw", b"on=maybe"), 400),
    ],
)
async def test_what_is_refused_is_refused_though_the_like_of_it_was_not(field: tuple[bytes, bytes], status: int) -> None:
    """I8, C1"""
    house = House()
    await house.remembered()

    replies = [await house.ask(fields=(*FIELDS, field)) for _ in range(3)]

    assert [reply.status for reply in replies] == [status] * 3
    assert house.recalled == 0


@pytest.mark.parametrize("name", [b"traceparent", b"x-request-id", b"x-stainless-lang", b"user-agent", b"via"])
async def test_what_is_inert_does_not_matter(name: bytes) -> None:
    """C1"""
    house = House()
    second = await house.remembered()

    third = await house.ask(fields=((name, b"1"), *FIELDS, (name, b"2")))

    assert (house.recalled, third.answer) == (1, second.answer)


@pytest.mark.parametrize("control", [b"on, speed=1", b"on, speed=0.5"])
async def test_a_pace_is_kept_each_time(control: bytes) -> None:
    """C4: a recalled hit comes at once."""
    house, fields = House(), (HOST, JSON, (b"cachemw", control))
    for _ in range(3):
        reply = await house.ask(prompt(stream=True), fields=fields)

    assert reply.said == "cachemw; hit; ttl=86400"
    assert house.recalled == 0


async def test_a_ttl_of_another_caller_is_that_callers_and_what_is_left_is_told() -> None:
    """C4: `ttl` says how long an answer is kept by who stores it."""
    house = House()
    for control in (
        b"on, ttl=50",
        b"on, ttl=9",
        b"on, ttl=9",
        b"on",
        b"on, mode=refresh, ttl=7",
        b"on, ttl=9",
        b"on",
    ):  # the third is recalled
        reply = await house.ask(fields=(HOST, JSON, (b"cachemw", control)))

    assert (reply.said, house.recalled) == ("cachemw; hit; ttl=7", 1)
    assert (await house.ask()).said == "cachemw; hit; ttl=7"
    assert house.recalled == 2


# While a body is awaited.


async def test_who_leaves_while_the_body_is_awaited_leaves_nothing_behind() -> None:
    """H10, A7"""
    house = House(hooks=True)
    await house.remembered()

    for pieces in ((None,), (BODY[:20], None)):
        assert (await house.ask(*pieces)).sent == []

    assert (house.recalled, house.bodies.held, house.upstream.calls) == (0, 0, 1)
    assert (await house.ask()).status == 200


@pytest.mark.parametrize("first", [(), (BODY[:20],)])
@pytest.mark.parametrize("is_known", [False, True])
async def test_who_is_waited_for_when_the_server_ends_is_told_so(first: tuple[bytes, ...], is_known: bool) -> None:
    """P5: whether the head is known or not."""
    house = House()
    if is_known:
        await house.remembered()
    client = Client(list(first))
    task = asyncio.create_task(house.gate(scope_for("POST", CHAT, FIELDS), client.receive, client.send))
    await client.waits.wait()

    task.cancel()
    await task  # ends as itself: the server would call a cancelled one a fault of ours

    assert client.status == 503
    assert (b"connection", b"close") in client.sent[0]["headers"]
    assert house.bodies.held == 0


async def test_who_is_in_the_middle_of_a_recalled_answer_when_the_server_ends_hears_no_more() -> None:
    """P5: nor is that a fault of ours."""
    house = House(hooks=True)
    await house.remembered()
    client, has_begun = Client([BODY]), asyncio.Event()

    async def send(message: Message) -> None:
        client.sent.append(message)
        has_begun.set()
        await asyncio.Event().wait()

    task = asyncio.create_task(house.gate(scope_for("POST", CHAT, FIELDS), client.receive, send))
    await has_begun.wait()
    task.cancel()
    await task

    assert [message["type"] for message in client.sent] == ["http.response.start"]


@pytest.mark.parametrize(("budget", "is_stored"), [(1.5, True), (0.5, False)])
async def test_a_body_is_counted_once_though_two_hold_it(budget: float, is_stored: bool) -> None:
    """A7: a request that would be cached without recall is, and one that would not is not."""
    body = of_size(1000)
    house = House(holds=int(budget * len(body)))
    await house.remembered()

    reply = await house.ask(body)

    assert reply.said == ("cachemw; fwd=miss; fwd-status=200; stored" if is_stored else "cachemw; fwd=bypass; detail=busy")
    assert house.bodies.held == 0


async def test_a_body_that_is_too_large_for_the_policy_is_relayed_whole() -> None:
    """C7: behind a known head too, and every byte of it once."""
    house = House(AccessRules(Policy(max_request_bytes=300_000)))
    await house.remembered()
    large = of_size(400_000)

    replies = [await house.ask(*[large[at : at + 70_000] for at in range(0, len(large), 70_000)]) for _ in range(2)]

    assert [reply.status for reply in replies] == [200, 200]
    assert [asked.body == large for asked in house.upstream.asked] == [False, True, True]
    assert house.bodies.held == 0


# What is told.


async def test_hooks_hear_of_every_hit_whatever_becomes_of_it() -> None:
    """B2: also of those whose client left in the middle."""
    house = House(hooks=True)
    await house.remembered()

    for breaks in (None, OSError, None, BrokenPipeError, None):
        await house.ask(breaks=breaks)
    with pytest.raises(RuntimeError):
        await house.ask(breaks=RuntimeError)
    house.recaller.tally.tell()

    assert [report.count for report in house.reports] == [1, 1, 6]
    assert [report.outcome for report in house.reports] == ["miss", "hit", "hit"]
    assert house.recalled == 6


async def test_of_a_hundred_thousand_heads_those_that_are_used_stay_known() -> None:
    """V4, P1: and the others take a bounded part of memory."""
    house = House()
    await house.remembered()
    recall = house.recaller.recall
    for number in range(100_000):
        door = house.recaller.door((str(number),), FIELDS, None)
        assert not door.is_known
        recall.keep(door.head, door.head, next(iter(recall._kept.values())))
        if not number % 1_000:
            assert (await house.ask()).status == 200

    assert house.recalled == 100
    assert len(recall._heads) == HEADS
    assert 0 < recall.size <= Limits().recall_bytes


async def test_requests_at_once_are_each_given_their_own() -> None:
    """P4, I1: many callers, in one event loop."""
    house = House()
    bodies = [prompt(f"question {number}") for number in range(10)]
    right = {body: (await house.remembered(body)).answer for body in bodies}
    wrong: list[bytes] = []

    async def caller(seed: int) -> None:
        for step in range(20):
            body = bodies[(seed + step) % len(bodies)]
            client = Client([body[:9], body[9:]])
            await anyio.lowlevel.checkpoint()
            await house.gate(scope_for("POST", CHAT, FIELDS), client.receive, client.send)
            if client.answer != right[body]:
                wrong.append(body)

    async with anyio.create_task_group() as tasks:
        for seed in range(20):
            tasks.start_soon(caller, seed)

    assert (wrong, house.recalled) == ([], 400)
