"""K7: requests whose keys have one xxh3-128 digest.

In a whole block of 1,024 bytes its accumulators are sums: where two pieces of eight bytes have low halves that make the two
multipliers equal, their high halves can change places. One vector is therefore as good as any number of them: all other
bytes are free, and so are the high halves, but for the one bit that they differ in.
"""

import string
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache, partial
from random import Random
from typing import Any

import anyio
import anyio.to_thread

from cachemw import asgi
from cachemw.cache.key import ANONYMOUS, ANONYMOUS_LENT, Key
from cachemw.messages import AppTarget, ClientTarget, HttpTarget, Target
from tests.asgi_driver import Reply
from tests.cache.keying import key_of
from tests.faults.fault import Fault, Tally
from tests.faults.reflecting import KINDS, PATH, Ask, asked, is_hit, mount_of
from tests.faults.truth import true_body, truthful
from tests.mounts.gates import Gate
from tests.upstream import Asked, Told, prompt

BLOCK = 1024
LOW_HALVES = ((0, b"0000"), (768, b" 4*6"))
"""Where in a block the two pieces begin, and what they begin with."""

BIT = 0x08
"""In which the first bytes of the high halves differ."""

FREE = (string.ascii_letters + string.digits + " .,:;-+*/()[]{}<>#%&!?").encode()
MEMBERS = 128
HELD_EVERY = 10
"""Every how many-th pair is asked at the same time, too."""

ANSWERERS: dict[str, Target] = {
    "around an app": AppTarget("bot", b"", PATH.encode(), PATH.encode(), b""),
    "with an upstream": HttpTarget("https://api.example:443/v1/chat/completions"),
    "WSGI around an app": AppTarget("bot", b"", PATH.encode(), PATH.encode(), b""),
    "transport": ClientTarget("https://api.example:443/v1/chat/completions"),
}


@dataclass(frozen=True, slots=True)
class Shelf:
    """What stands before the text in a key's parts: the mount, and what the control header says."""

    kind: str
    namespace: str | None
    sample: int

    def key(self, text: str) -> Key:
        partition = ANONYMOUS_LENT if self.kind == "with an upstream" else ANONYMOUS  # that one has a key to lend
        return key_of(prompt(text), ANSWERERS[self.kind], partition=partition, namespace=self.namespace, sample=self.sample)

    @property
    def control(self) -> bytes:
        said = "on" if self.namespace is None else f'on, namespace="{self.namespace}"'
        return f"{said}, sample={self.sample}".encode()

    def ask(self, text: str, *, stream: bool) -> Ask:
        return PATH, body_of(text, stream=stream), ((b"cachemw", self.control),)


def body_of(text: str, *, stream: bool) -> bytes:
    return prompt(text, **({"stream": True} if stream else {}))


@lru_cache(1024)
def begins_at(shelf: Shelf) -> int:
    """Return the offset of the text in the key's parts."""
    return shelf.key("the text").parts.index(b"the text")


def texts(shelf: Shelf, number: int, blocks: int, random: Random) -> Iterator[str]:
    """Yield the 2 ** `blocks` texts that differ only in which of their pieces stands first, block by block."""
    opening = f"question {number}, {random.randint(20, 400)} bytes please ".encode()
    start = begins_at(shelf)
    first_block = (start + len(opening)) // BLOCK + 1
    size = (first_block + blocks) * BLOCK - start + random.randint(70, 300)
    text = bytearray(opening + bytes(random.choices(FREE, k=size - len(opening))))
    halves = [_high_halves(random) for _ in range(blocks)]
    for choice in range(2**blocks):
        for block in range(blocks):
            swapped = choice >> block & 1
            for (at, low), high in zip(LOW_HALVES, halves[block][:: -1 if swapped else 1], strict=True):
                place = (first_block + block) * BLOCK - start + at
                text[place : place + 8] = low + high
        yield text.decode()


def _high_halves(random: Random) -> tuple[bytes, bytes]:
    one = random.choice(b"1245abcdefgPQRS")
    rest = bytes(random.choices(FREE, k=3))
    return bytes([one]) + rest, bytes([one ^ BIT]) + rest


def check(shelf: Shelf, members: list[str]) -> None:
    """Raises where the keys have not one index and as many proofs: such a trial shows nothing."""
    keys = [shelf.key(text) for text in members]
    if len({key.index for key in keys}) != 1 or len({key.proof for key in keys}) != len(members):
        raise RuntimeError(f"{shelf}: no collision at {members[0][:20]!r}")


def judge(reply: Reply, ask: Ask, *, mismatched: bool, said: str) -> Tally:
    """Say whether an answer is what the upstream says to this very request."""
    status, truth = reply.headers.get(b"cache-status", b""), true_body(ask[1])
    if reply.status != 200 or not reply.complete:
        return Tally(failed=1, examples=(f"{said}: {reply.status}, {status.decode()}",))
    if reply.body != truth or is_hit(reply):
        return Tally(wrong=1, examples=(f"{said}: {status.decode()}",))
    if mismatched is not (b"key-mismatch" in status):
        return Tally(failed=1, examples=(f"{said}: says {status.decode()}",))
    return Tally()


async def one_after_the_other(mount: Any, shelf: Shelf, pair: list[str], random: Random) -> Tally:
    """The second finds the record of the first, and so does the first that of the second."""
    one, other = (shelf.ask(text, stream=random.random() < 0.4) for text in pair)
    tally = Tally()
    for ask, mismatched in ((one, False), (other, True), (one, True)):
        tally += judge(await asked(mount, ask), ask, mismatched=mismatched, said=f"{shelf.kind}, one after the other")
    again = await asked(mount, one)
    return tally if is_hit(again) and again.body == true_body(one[1]) else tally + _lost(shelf, again)


def _lost(shelf: Shelf, reply: Reply) -> Tally:
    return Tally(failed=1, examples=(f"{shelf.kind}: not stored, {dict(reply.headers)}",))


class Holding:
    """Answers truthfully; the request that is held only once the gate is open."""

    def __init__(self, held: bytes) -> None:
        self.asked: list[bytes] = []
        self.gate = Gate()
        self._held = held

    def __call__(self, asked: Asked) -> Told:
        self.asked.append(asked.body)
        told = truthful(asked)
        return Told([self.gate, *told.parts], headers=told.headers) if asked.body == self._held else told


async def at_the_same_time(shelf: Shelf, pair: list[str], *, stream: bool) -> Tally:
    """The second is asked, and answered, while the first is under way: it must not be taken for the same."""
    one, other = (shelf.ask(text, stream=stream) for text in pair)
    respond = Holding(one[1])
    mount = mount_of(shelf.kind, respond)
    replies: dict[int, Reply] = {}

    async def ask(number: int, ask: Ask) -> None:
        if isinstance(mount, asgi.CacheMiddleware):
            replies[number] = await asked(mount, ask)
        else:
            replies[number] = await anyio.to_thread.run_sync(partial(anyio.run, asked, mount, ask))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(ask, 0, one)
        await _until(lambda: bool(respond.asked))
        tasks.start_soon(ask, 1, other)
        is_alone = await _until(lambda: 1 in replies)
        respond.gate.set()
    said = f"{shelf.kind}, at the same time"
    tally = sum((judge(replies[at], ask, mismatched=False, said=said) for at, ask in enumerate((one, other))), Tally())
    return tally if is_alone and len(respond.asked) == 2 else tally + Tally(wrong=1, examples=(f"{said}: it joined the other",))


async def _until(happened: Callable[[], bool]) -> bool:
    """Wait two seconds at most for what may happen in another thread."""
    with anyio.move_on_after(2):
        while not happened():  # noqa: ASYNC110 - in another thread there is no event for it
            await anyio.sleep(0.001)
    return happened()


async def all_members(shelf: Shelf, random: Random) -> Tally:
    """Ask all of a set with one index: of one store, one after the other, then of an empty one, all at once."""
    members = list(texts(shelf, 0, MEMBERS.bit_length() - 1, random))
    check(shelf, members)
    asks = [shelf.ask(text, stream=False) for text in members]
    mount, said, tally = mount_of(shelf.kind, truthful), f"{shelf.kind}, {MEMBERS} of them", Tally(1)
    for number, ask in enumerate(asks):
        tally += judge(await asked(mount, ask), ask, mismatched=number > 0, said=said)
    if not isinstance(mount, asgi.CacheMiddleware):
        return tally
    mount, replies = mount_of(shelf.kind, truthful), dict[int, Reply]()

    async def put(number: int) -> None:
        replies[number] = await asked(mount, asks[number])

    async with anyio.create_task_group() as tasks:
        for number in range(MEMBERS):
            tasks.start_soon(put, number)
    wrong = [number for number in range(MEMBERS) if replies[number].body != true_body(asks[number][1])]
    return tally + Tally(wrong=len(wrong), examples=tuple(f"{said}, at once: {wrong}" for _ in wrong[:1]))


async def try_kind(kind: str, count: int) -> Tally:
    """Try so many pairs at one mount, and the large set."""
    random, mount = Random(kind), mount_of(kind, truthful)
    tally = Tally()
    for number in range(count):
        shelf = Shelf(kind, random.choice([None, "evals", "a longer namespace"]), random.choice([0, 1, 12345]))
        pair = list(texts(shelf, number, 1, random))
        check(shelf, pair)
        tally += Tally(1) + await one_after_the_other(mount, shelf, pair, random)
        if number % HELD_EVERY == 0:
            tally += await at_the_same_time(shelf, pair, stream=kind in KINDS[:2] and random.random() < 0.5)
    return tally + await all_members(Shelf(kind, None, 0), random)


def run(trials: int) -> Tally:
    """Try pairs at every mount."""
    tally = sum((anyio.run(try_kind, kind, trials // len(KINDS)) for kind in KINDS), Tally())
    return tally + Tally(note=f"every pair one digest; among them {len(KINDS)} sets of {MEMBERS}")


FAULTS = (Fault("xxh3-128 collision pairs", "two requests, one digest: stored and asked, and both at once", 200, 10_000, run),)
