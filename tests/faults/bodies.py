"""A7: clients of `cachemw serve` that hold their last bytes back. What is held of all of them together has a bound.

Whoever else asks is answered as before; the memory is given up when they leave; and a body that comes to its end after all
is answered for what it is, and is sent on byte for byte, also where there was no room to hold it.
"""

import asyncio
import contextlib
import hashlib
import http.client
import resource
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from tests.faults.fault import Fault, Tally
from tests.faults.slow_clients import CHAT, FIELDS, Normal, Served, asking, proc_is_missing, served
from tests.faults.truth import answer_to
from tests.serving import serving_in_thread
from tests.upstream import Told, Upstream, completion, prompt

MIB = 2**20
HELD = 60
SIZE = 10_000_000
KEPT_BACK = 100_000
"""Bytes of a body that are not sent at first."""

GROWTH = 300 * MIB
"""By how much memory may grow: the budget of 256 MiB, and what it takes to work."""

LEFT = 120 * MIB
"""How much of that may stay when nothing is held any more: an allocator's, for the next ones."""

P99 = 100.0
"""How many milliseconds others may wait."""

FINISHED = 3
"""How many of the first, and of the last, send their rest in the end."""

SILENCE = 2.0
TIMES = (10.0, 60.0)
PATIENCE = 30.0
SMALL = 4096


async def weighing(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer a large request with its length and digest, whatever it says, and a small one with the truth."""
    if scope["type"] != "http":
        await Upstream()(scope, receive, send)
        return
    digest, size, body = hashlib.sha256(), 0, b""
    async for chunk in Request(scope, receive).stream():
        digest.update(chunk)
        size, body = size + len(chunk), (body + chunk)[: SMALL + 1]
    told = answer_to(body) if size <= SMALL else weighed(size, digest.hexdigest())
    said = b"".join(part for part in told.parts if isinstance(part, bytes))
    fields = {name.decode(): value.decode() for name, value in told.headers}
    await Response(said, headers=fields)(scope, receive, send)


def weighed(size: int, digest: str) -> Told:
    """Return what is said of a large body."""
    return completion(f"{size} {digest}")


@dataclass(slots=True)
class Holder:
    """A client that sends a chat request but for its end; `port` is the proxy's."""

    port: int
    number: int
    body: bytes = field(init=False, repr=False)
    connection: http.client.HTTPConnection = field(init=False)

    def __post_init__(self) -> None:
        asked = prompt(f"body {self.number}, ")
        self.body = asked.replace(b", ", b", " + b"x" * (SIZE - len(asked)), 1)
        self.connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)

    def begin(self) -> None:
        """Send all but the end."""
        self.connection.connect()
        self.connection.putrequest("POST", CHAT)
        for name, value in {**FIELDS, "content-length": str(SIZE)}.items():
            self.connection.putheader(name, value)
        self.connection.endheaders()
        self.connection.send(self.body[:-KEPT_BACK])

    def finish(self, *, may_be_kept: bool) -> Tally:
        """Send the end, and judge the answer. Where there was no room for the body, the answer says so."""
        self.connection.send(self.body[-KEPT_BACK:])
        response = self.connection.getresponse()
        said, status = response.read(), response.getheader("cache-status", "")
        (truth,) = weighed(SIZE, hashlib.sha256(self.body).hexdigest()).parts
        if (response.status, said) != (200, truth):
            return Tally(wrong=1, examples=(f"body {self.number} was told {response.status} {said[:200]!r}",))
        if ("; stored" in status, "detail=busy" in status) != (may_be_kept, not may_be_kept):
            return Tally(wrong=1, examples=(f"body {self.number} was told {status}",))
        return Tally()

    def close(self) -> None:
        self.connection.close()


class Watch:
    """Looks twenty times a second how much memory a process takes."""

    def __init__(self, proxy: Served) -> None:
        self._statm = Path(f"/proc/{proxy.process.pid}/statm")
        self.highest, self._over = 0, threading.Event()

    def look(self) -> int:
        """Return how many bytes of it are in memory."""
        resident = int(self._statm.read_text().split()[1]) * resource.getpagesize()
        self.highest = max(self.highest, resident)
        return resident

    def settled(self, wanted: int) -> int:
        """Wait for that little; return what there is then, or in the end."""
        ends = time.monotonic() + PATIENCE / 3
        while (resident := self.look()) > wanted and time.monotonic() < ends:
            time.sleep(0.05)
        return resident

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self._look_on)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _look_on(self) -> None:
        while not self._over.wait(0.05):
            self.look()


async def _held(proxy: Served, count: int) -> Tally:
    """Measure the proxy and its other clients while so many bodies are held back, and when they have come or gone."""
    port = proxy.port
    async with asking(port):  # warms up
        await asyncio.sleep(1)
    with Watch(proxy) as watch, contextlib.ExitStack() as connections:
        before = watch.look()
        holders = [Holder(port, number) for number in range(count)]
        async with asking(port) as normal:
            for holder in holders:
                connections.callback(holder.close)
                await asyncio.to_thread(holder.begin)
            await asyncio.sleep(SILENCE)
        grown = watch.highest - before
        tally = normal.tally + _slow(normal)
        for holder in (*holders[:FINISHED], *holders[-FINISHED:]):
            tally += await asyncio.to_thread(holder.finish, may_be_kept=holder.number < FINISHED)
        connections.close()
        left = await asyncio.to_thread(watch.settled, before + LEFT) - before
        again = Holder(port, count)
        connections.callback(again.close)
        await asyncio.to_thread(again.begin)
        tally += await asyncio.to_thread(again.finish, may_be_kept=True)  # nothing of theirs is counted any more
    note = f"{grown // MIB} MiB more while {count} are held, {left // MIB} MiB afterwards; p99 of others {normal.p99():.1f} ms"
    return Tally(count) + tally + _too_much(grown, GROWTH) + _too_much(left, LEFT) + Tally(note=note)


def _slow(normal: Normal) -> Tally:
    if normal.seconds and normal.p99() < P99:
        return Tally()
    return Tally(failed=1, examples=(f"a hundredth of {len(normal.seconds)} others waited for {normal.p99():.0f} ms",))


def _too_much(size: int, limit: int) -> Tally:
    return Tally(leaks=1, examples=(f"{size // MIB} MiB are held, not {limit // MIB}",)) if size >= limit else Tally()


def hold_back(trials: int) -> Tally:
    """Hold the ends of so many bodies back at once."""
    with serving_in_thread(weighing) as url, served(url, *TIMES) as proxy:
        return asyncio.run(_held(proxy, trials))


FAULTS = (
    Fault(
        "60 bodies held back",
        "`cachemw serve`: clients send 9.9 of 10.0 MB and are silent; memory, and a normal client's hits meanwhile",
        HELD,
        HELD,
        hold_back,
        proc_is_missing,
    ),
)
