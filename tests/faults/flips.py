"""Every stored byte flipped: in records, in the database of a closed store, and in one that is being asked.

What is damaged is never served: it is a miss, and gone. Where the database itself is damaged, a store serves again soon.
"""

import itertools
import os
import shutil
import sys
import tempfile
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random

import anyio

from cachemw import DiskStore, MemoryStore
from cachemw.asgi import CacheMiddleware
from tests.asgi_driver import Reply
from tests.faults.asking import IF_CACHED, apart, ask, ask_and_judge, caches_again, judge, mounted, quiet, tell
from tests.faults.fault import Fault, Tally
from tests.faults.truth import question
from tests.upstream import DONE, EVENT_STREAM, Asked, Told, completion, event, prompt

HEADERS = ((b"openai-version", b"2020-10-01"), (b"content-language", b"en"))
USAGE = {"total_tokens": 7}
PAGE = 4096
BATCH = 500
SOON = 3.0
"""Within how many seconds a store must keep records again; it is a second, and this machine has others to serve."""


def flip(trials: int) -> Tally:
    """Most flips are in records, which is quick; each of the others takes a whole database."""
    closed, busy = max(1, trials // 20), max(1, trials // 200)
    tally = anyio.run(_records, max(1, trials - closed - busy))
    slowest: dict[str, float] = {}
    for how, count in (("closed", closed), ("busy", busy)):
        for start in range(0, count, BATCH):
            told = apart("tests.faults.flips", how, start, min(BATCH, count - start))
            tally, slowest[how] = tally + told, max(float(told.note or SOON), slowest.get(how, 0.0))
    again = f"kept records again after {slowest['closed']:.2f} s at most, under load {slowest['busy']:.2f} s"
    return tally + Tally(note=again)


# Records.


@dataclass(frozen=True, slots=True)
class Case:
    """A record of one question's answer, asked for by another of the same key; `truths` may come of that."""

    name: str
    asked: bytes
    index: bytes
    record: bytes
    truths: tuple[bytes, bytes]


async def _records(count: int) -> Tally:
    """Turn every byte over, in turn, and ask. It is gone then, be it that a new one took its place."""
    store, random = MemoryStore(), Random(1)
    app = mounted(store, _respond)
    cases = [await _case(name, app, store, *kinds) for name, kinds in KINDS.items()]
    places = [(case, at) for case in cases for at in range(len(case.record))]
    tally = Tally()
    for turn, (case, at) in zip(range(count), itertools.cycle(places), strict=False):
        mask = random.choice((1 << random.randrange(8), 0xFF, random.randrange(1, 256)))
        damaged = case.record[:at] + bytes([case.record[at] ^ mask]) + case.record[at + 1 :]
        store.put(case.index, damaged, None)
        may_forward = (turn + turn // len(places)) % 2 == 0
        tally += await _asked(app, case, may_forward, f"{case.name}, byte {at} ^ {mask:#x}")
        if store.get(case.index) == damaged:
            tally += Tally(wrong=1, examples=(f"{case.name}, byte {at} ^ {mask:#x}: it is still there",))
    return tally


async def _asked(app: CacheMiddleware, case: Case, may_forward: bool, what: str) -> Tally:
    if may_forward:
        reply = await ask(app, case.asked)
        served = isinstance(reply, Reply) and b"fwd=miss" not in reply.headers[b"cache-status"]
        return judge(reply, case.truths, what) + Tally(wrong=int(served), examples=(f"{what}: served",) * served)
    reply = await ask(app, case.asked, IF_CACHED)
    if isinstance(reply, Reply) and reply.status == 504:
        return Tally(1)
    return Tally(1, wrong=1, examples=(f"{what}: {reply!r}",))


async def _case(name: str, app: CacheMiddleware, store: MemoryStore, recorded: bytes, asked: bytes) -> Case:
    """Have an answer recorded, and see it served."""
    await ask(app, recorded)
    ((index, record),) = store.scan()
    hit = await ask(app, asked, IF_CACHED)
    assert isinstance(hit, Reply), hit
    assert hit.status == 200, hit
    store.delete(index)
    told = _respond(Asked("POST", "", b"", b"", (), asked))
    return Case(name, asked, index, record, (hit.body, b"".join(part for part in told.parts if isinstance(part, bytes))))


def _respond(asked: Asked) -> Told:
    if b'"stream":true' not in asked.body:
        told = completion("it is so", usage=USAGE)
        return Told(told.parts, headers=(*told.headers, *HEADERS))
    events = [event({"content": "it "}), event({"content": "is so"}), event({}, "stop", usage=USAGE), DONE]
    return Told(events, headers=(*EVENT_STREAM, *HEADERS))


_JSON, _STREAM = prompt("is it so?"), prompt("is it so?", stream=True)
KINDS = {
    "JSON": (_JSON, _JSON),
    "a stream": (_STREAM, _STREAM),
    "JSON of a stream": (_STREAM, _JSON),
    "a stream of JSON": (_JSON, _STREAM),
}


# Databases.


def _flip_bits(raw: bytearray, random: Random) -> None:
    for _ in range(random.choice((1, 1, 2, 8, 64))):
        raw[random.randrange(len(raw))] ^= 1 << random.randrange(8)


def _noise(raw: bytearray, random: Random) -> None:
    start = random.randrange(len(raw))
    stop = min(len(raw), start + random.choice((1, 8, 100, PAGE, 9 * PAGE)))
    raw[start:stop] = random.randbytes(stop - start)


def _zeros(raw: bytearray, random: Random) -> None:
    start = random.randrange(len(raw)) // PAGE * PAGE
    stop = min(len(raw), start + random.choice((16, PAGE, 4 * PAGE)))
    raw[start:stop] = bytes(stop - start)


def _swapped(raw: bytearray, random: Random) -> None:
    one, other = (random.randrange(max(1, len(raw) // PAGE)) * PAGE for _ in range(2))
    raw[one : one + PAGE], raw[other : other + PAGE] = raw[other : other + PAGE], raw[one : one + PAGE]


def _repeated(raw: bytearray, random: Random) -> None:
    one, other = (random.randrange(max(1, len(raw) // PAGE)) * PAGE for _ in range(2))
    raw[one : one + PAGE] = raw[other : other + PAGE]


def _cut(raw: bytearray, random: Random) -> None:
    del raw[random.choice((0, 1, 100, random.randrange(len(raw)), random.randrange(len(raw)) // PAGE * PAGE)) :]


def _grown(raw: bytearray, random: Random) -> None:
    raw += random.randbytes(random.choice((1, 100, PAGE)))


def _no_head(raw: bytearray, random: Random) -> None:
    raw[: random.choice((1, 16, 100))] = random.randbytes(1)


DAMAGES: tuple[Callable[[bytearray, Random], None], ...] = (
    _flip_bits, _flip_bits, _noise, _noise, _zeros, _swapped, _repeated, _cut, _grown, _no_head
)  # fmt: skip


def _file_of(path: Path, random: Random) -> Path:
    return random.choice([file for file in sorted(path.iterdir()) if file.name.startswith("cache.db")])


def _damaged(file: Path, random: Random) -> str:
    """Damage a file in its place, as a disk would; return how."""
    raw, damage = bytearray(file.read_bytes()), random.choice(DAMAGES)
    if not raw:
        return f"{file.name} was empty"
    damage(raw, random)
    with file.open("r+b") as opened:
        opened.write(raw)
        opened.truncate(len(raw))
    return f"{file.name} {damage.__name__.lstrip('_')}"


QUESTIONS = [question(number, 40 * 3**number % 19_000, stream=number % 2 == 1) for number in range(16)]


async def _templates(directory: Path) -> tuple[Path, Path]:
    """Return a store that was closed, and one whose process was killed: that one has a log."""
    open_one, killed = directory / "closed", directory / "killed"
    store = DiskStore(open_one)
    for body in QUESTIONS:
        await ask(mounted(store), body)
    killed.mkdir(mode=0o700)
    for name in ("cache.db", "cache.db-wal", "lock"):
        shutil.copy2(open_one / name, killed / name)
    store.close()
    return open_one, killed


Try = Callable[[Path, Random, Iterator[bytes], int], Awaitable[tuple[Tally, float]]]


async def _each(tried: Try, first: int, count: int) -> Tally:
    """Try it with a copy of one of the directories each time."""
    tally, slowest, fresh = Tally(), 0.0, _new_questions()
    with tempfile.TemporaryDirectory() as name:
        templates = await _templates(Path(name))
        for number in range(first, first + count):
            random, path = Random(number), Path(name, "tried")
            shutil.copytree(random.choice(templates), path)
            told, took = await tried(path, random, fresh, number)
            tally, slowest = tally + told, max(slowest, took)
            shutil.rmtree(path)
    return tally + Tally(note=str(slowest))


async def _closed(path: Path, random: Random, fresh: Iterator[bytes], number: int) -> tuple[Tally, float]:
    """Damage what lies there, then open it and ask everything."""
    whats = [_damaged(_file_of(path, random), random) for _ in range(random.choice((1, 1, 2)))]
    return await _survives(path, fresh, f"{number}: {', '.join(whats)}")


async def _survives(path: Path, fresh: Iterator[bytes], what: str) -> tuple[Tally, float]:
    store = DiskStore(path)
    app, tally = mounted(store), Tally(trials=1)
    for body in QUESTIONS:
        told = await ask_and_judge(app, body, what)
        tally += Tally(wrong=told.wrong, failed=told.failed, examples=told.examples)
    told, took = await _recovered(app, path, fresh, what)
    store.close()
    return tally + told, took


async def _recovered(app: CacheMiddleware, path: Path, fresh: Iterator[bytes], what: str) -> tuple[Tally, float]:
    """See that records are kept again, and that no more than one damaged database is."""
    took = await caches_again(app, fresh, SOON)
    aside = _set_aside(path)
    tally = Tally(leaks=max(0, len(aside) - 1), examples=(f"{what}: {aside}",) * (len(aside) > 1))
    if took is None:
        return tally + Tally(failed=1, examples=(f"{what}: nothing is kept any more",)), SOON
    return tally, took


def _set_aside(path: Path) -> list[str]:
    return [file.name for file in path.iterdir() if ".corrupt-" in file.name and not file.name.endswith(("-wal", "-shm"))]


def _new_questions() -> Iterator[bytes]:
    return (question(number) for number in itertools.count(1_000_000))


async def _busy(path: Path, random: Random, fresh: Iterator[bytes], number: int) -> tuple[Tally, float]:
    """Damage the database of a store that is asked meanwhile."""
    store = DiskStore(path)
    app, tallies, whats = mounted(store), [Tally(trials=1)], [f"busy {number}"]
    for body in QUESTIONS[:3]:  # the rest of its pages are yet to be read
        await ask(app, body)

    async def go_on_asking() -> None:
        while True:
            body = random.choice(QUESTIONS) if random.random() < 0.7 else next(fresh)
            told = await ask_and_judge(app, body, ", ".join(whats))
            tallies.append(Tally(wrong=told.wrong, failed=told.failed, examples=told.examples))

    async with anyio.create_task_group() as tasks:
        for _ in range(4):
            tasks.start_soon(go_on_asking)
        for _ in range(random.choice((1, 2))):
            await anyio.sleep(random.uniform(0.01, 0.08))
            whats.append(await anyio.to_thread.run_sync(_damage_in_place, path, random.random()))
        await anyio.sleep(0.05)
        told, took = await _recovered(app, path, fresh, ", ".join(whats))
        tasks.cancel_scope.cancel()
    await anyio.to_thread.run_sync(store.close)
    return sum([*tallies, told], Tally()), took


def _damage_in_place(path: Path, seed: float) -> str:
    """Write into an open database, or cut it short. Its shared memory is SQLite's own: not that."""
    random = Random(seed)
    file = path / random.choice(("cache.db", "cache.db-wal"))
    how, length = random.choice(("cut", "noise", "zeros", "emptied")), random.choice((100, PAGE, 9 * PAGE))
    try:
        _write_into(file, how, length, random)
    except FileNotFoundError:  # it is just being set aside
        return f"{file.name} is gone"
    return f"{file.name} {how}"


def _write_into(file: Path, how: str, length: int, random: Random) -> None:
    size = file.stat().st_size
    if how in ("cut", "emptied"):
        os.truncate(file, random.randrange(size + 1) if how == "cut" else 0)
        return
    with file.open("r+b") as opened:
        opened.seek(random.randrange(size + 1))
        opened.write(random.randbytes(length) if how == "noise" else bytes(length))


FAULTS: tuple[Fault, ...] = (
    Fault("every stored byte flipped", "records, pages of a closed store, pages under load", 2_000, 100_000, flip),
)

if __name__ == "__main__":
    with quiet():
        tell(anyio.run(_each, {"closed": _closed, "busy": _busy}[sys.argv[1]], int(sys.argv[2]), int(sys.argv[3])))
