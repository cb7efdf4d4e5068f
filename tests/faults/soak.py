"""A soak: all kinds of requests to a `cachemw serve` for as many seconds as there are trials, and what it holds meanwhile.

R17, D4, D7: memory, descriptors and threads stay what they are, the store keeps its size, every answer is the truth.
"""

import asyncio
import json
import os
import random
import re
import statistics
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import anyio
import httpx
from starlette.types import Receive, Scope, Send

from cachemw import Limits
from tests.faults.fault import Fault, Tally
from tests.faults.slow_clients import CHAT, FIELDS, Served, proc_is_missing, served
from tests.faults.truth import answer_to, question, true_body

RATE = 50
"""Requests a second."""
AT_ONCE = 40
KNOWN = 200
"""Questions that are asked again and again."""
STORE_BYTES = 2 * 2**20
LOG_BYTES = 8 * 2**20
"""What SQLite's log takes on top."""
PAUSE = 0.002
LONG = 600
"""Seconds from which on a trend in memory can be told from chance."""
SLOPE = 2**20
"""Bytes an hour."""
GROWTH = 8 * 2**20
"""Bytes between the halves of a short run."""
REFUSED = b'{"error": {"message": "refused", "type": "server_error", "param": null, "code": "refused"}}'
MODELS = b'{"object": "list", "data": []}'

# Like the gateways that APIs have, it keeps an idle connection for longer than we do: who closes later is never in our way.
_UPSTREAM = """
import socket, sys, uvicorn
from tests.faults.soak import upstream
listener = socket.create_server(("127.0.0.1", 0), backlog=512)
print(listener.getsockname()[1], flush=True)
config = uvicorn.Config(upstream, log_level="critical", lifespan="off", timeout_keep_alive=75)
uvicorn.Server(config).run([listener])
"""


async def upstream(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer what is true, with pauses; some prompts are refused, some answers break off."""
    body = b""
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        body += message["body"]
        if not message["more_body"]:
            break
    status, headers, parts = _told(body)
    await send({"type": "http.response.start", "status": status, "headers": headers})
    for number, part in enumerate(parts):
        if b"break off" in body and number == len(parts) // 2:
            return
        await send({"type": "http.response.body", "body": part, "more_body": True})
        await anyio.sleep(PAUSE)
    await send({"type": "http.response.body", "body": b"", "more_body": False})


def _told(body: bytes) -> tuple[int, list[tuple[bytes, bytes]], list[bytes]]:
    if not body:
        return 200, [(b"content-type", b"application/json")], [MODELS]
    if b"refuse" in body:
        return 503, [(b"content-type", b"application/json")], [REFUSED]
    told = answer_to(body)
    return told.status, list(told.headers), [part for part in told.parts if isinstance(part, bytes)]


@contextmanager
def truthful_process() -> Iterator[str]:
    """Run that in a process of its own; gives its URL."""
    variables = {"PATH": os.environ["PATH"], "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    process = subprocess.Popen([sys.executable, "-c", _UPSTREAM], env=variables, stdout=subprocess.PIPE, text=True)
    with process:
        try:
            assert process.stdout is not None
            yield f"http://127.0.0.1:{int(process.stdout.readline())}"
        finally:
            process.kill()


@dataclass(slots=True)
class Load:
    """Clients of all kinds. `said` counts what was said of their requests."""

    client: httpx.AsyncClient
    dice: random.Random
    tally: Tally = field(default_factory=Tally)
    said: Counter[str] = field(default_factory=Counter)
    fresh: int = 10_000

    async def one(self) -> None:
        """Send one request, of some kind."""
        kinds: list[Callable[[], Awaitable[None]]] = [self.known, self.new, self.leave, self.refresh, self.other_kind]
        kinds += [self.refused, self.broken, self.ambiguous, self.page]
        (kind,) = self.dice.choices(kinds, [40, 15, 15, 8, 8, 3, 3, 4, 4])
        try:
            await kind()
        except httpx.HTTPError as exc:
            self._fault("failed", f"{kind.__name__}: {exc!r}")

    async def known(self) -> None:
        number = self.dice.randrange(KNOWN)
        await self._ask(question(number, 300, stream=number % 2 == 0))

    async def new(self) -> None:
        self.fresh += 1
        await self._ask(question(self.fresh, 2000, stream=self.fresh % 3 == 0))

    async def refresh(self) -> None:
        number = self.dice.randrange(KNOWN)
        await self._ask(question(number, 300, stream=number % 2 == 0), **{"cache-control": "no-cache"})

    async def other_kind(self) -> None:
        """Ask JSON of what was a stream, and the reverse."""
        number = self.dice.randrange(KNOWN)
        await self._ask(question(number, 300, stream=number % 2 == 1))

    async def leave(self) -> None:
        """Read a little of a stream, or nothing, and leave."""
        self.fresh += 1
        wish = self.dice.choice(["on", "on, abandon=finish", "on, abandon=cancel", "off"])
        body, size = question(self.fresh, 1500, stream=self.dice.random() < 0.8), self.dice.choice([0, 1, 400, 3000])
        with anyio.move_on_after(self.dice.random() * 0.1):
            async with self.client.stream("POST", CHAT, content=body, headers={**FIELDS, "cachemw": wish}) as reply:
                said = 0
                async for chunk in reply.aiter_raw():
                    said += len(chunk)
                    if said > size:
                        break
        self.said["left"] += 1

    async def refused(self) -> None:
        reply = await self._post(question(self.dice.randrange(50), 300).replace(b"please", b"refuse"))
        self._compare_reply(reply, 503, REFUSED)

    async def broken(self) -> None:
        """Ask for what breaks off: a stream has no end, JSON is an error."""
        self.fresh += 1
        body = question(self.fresh, 1500, stream=self.dice.random() < 0.7).replace(b"please", b"break off")
        try:
            reply = await self._post(body)
        except httpx.RemoteProtocolError:
            self.said["broken"] += 1
            return
        if reply.status_code == 200:
            self._fault("wrong", f"a broken answer was shown whole: {reply.content[-80:]!r}")

    async def ambiguous(self) -> None:
        """Ask what can be read in two ways: it is passed on, and not kept."""
        body = question(self.dice.randrange(KNOWN), 300)
        doubled = body.replace(b'{"model":"m",', b'{"model":"m","model":"m",')
        await self._ask(doubled)

    async def page(self) -> None:
        reply = await self.client.get("/v1/models", headers=FIELDS)
        self._compare_reply(reply, 200, MODELS)

    async def _ask(self, body: bytes, **headers: str) -> None:
        reply = await self._post(body, **headers)
        if "transcoded" in reply.headers.get("cache-status", ""):  # it says the same in other bytes
            self.said["transcoded"] += 1
            self._compare(_text(reply.content), _text(true_body(body)), "transcoded")
        else:
            self._compare_reply(reply, 200, true_body(body))

    async def _post(self, body: bytes, **headers: str) -> httpx.Response:
        reply = await self.client.post(CHAT, content=body, headers={**FIELDS, **headers})
        said = re.search(r"hit|fwd=\w+", reply.headers.get("cache-status", ""))
        self.said[said.group() if said else "nothing"] += 1
        return reply

    def _compare_reply(self, reply: httpx.Response, status: int, body: bytes) -> None:
        if reply.status_code == status:
            self._compare(reply.content, body, str(status))
        else:
            self._fault("failed", f"{reply.status_code} for {status}: {reply.content[:150]!r}")

    def _compare(self, got: object, true: object, what: str) -> None:
        if got != true:
            self._fault("wrong", f"{what}: {str(got)[:150]} for {str(true)[:80]}")

    def _fault(self, kind: str, example: str) -> None:
        self.tally += Tally(wrong=kind == "wrong", failed=kind == "failed", examples=(example,))


def _text(said: bytes) -> str:
    """Return the text of an answer of either kind."""
    if not said.startswith(b"data:"):
        return str(json.loads(said)["choices"][0]["message"]["content"])
    events = [json.loads(line[6:]) for line in said.splitlines() if line.startswith(b"data: {")]
    return "".join(event["choices"][0]["delta"].get("content") or "" for event in events if event["choices"])


@dataclass(frozen=True, slots=True)
class Held:
    """What the proxy holds at one moment."""

    at: float
    memory: int
    descriptors: int
    threads: int
    stored: int

    @classmethod
    def by(cls, proxy: Served) -> "Held":
        """Look."""
        status = Path(f"/proc/{proxy.process.pid}/status").read_text()
        lines = dict(line.split(":", 1) for line in status.splitlines())
        memory = int(lines["VmRSS"].split()[0]) * 1024
        return cls(time.monotonic(), memory, proxy.descriptors(), int(lines["Threads"]), _size_of(proxy.directory))


def _size_of(directory: Path) -> int:
    size = 0
    for path in directory.glob("*"):
        try:
            size += path.stat().st_size
        except FileNotFoundError:
            continue
    return size


async def _soak(proxy: Served, seconds: int) -> Tally:
    """Ask for so long, look once a second, and look again when all is quiet."""
    moments: list[Held] = []
    async with httpx.AsyncClient(
        base_url=f"http://127.0.0.1:{proxy.port}", trust_env=False, timeout=60, verify=False
    ) as client:
        load = Load(client, random.Random(17))
        quiet = Held.by(proxy)
        ends = time.monotonic() + seconds
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(_ask_on, load, ends)
            while time.monotonic() < ends:
                await anyio.sleep(1)
                moments.append(Held.by(proxy))
    await anyio.sleep(2)
    moments.append(Held.by(proxy))
    return load.tally + _judge(moments, quiet, seconds, load.said)


async def _ask_on(load: Load, ends: float) -> None:
    limiter, began, count = anyio.CapacityLimiter(AT_ONCE), time.monotonic(), 0

    async def one() -> None:
        async with limiter:
            await load.one()

    async with anyio.create_task_group() as tasks:
        while (now := time.monotonic()) < ends:
            if limiter.statistics().tasks_waiting < AT_ONCE:  # else it is the machine that is slow
                tasks.start_soon(one)
                count += 1
            await anyio.sleep(max(0.0, began + count / RATE - now))


def _judge(moments: list[Held], quiet: Held, seconds: int, said: Counter[str]) -> Tally:
    """Count what is not flat after the warm-up, and what is left when nobody asks."""
    warm = moments[len(moments) // 3 : -1]
    half = len(warm) // 2
    growth = statistics.median(held.memory for held in warm[half:]) - statistics.median(held.memory for held in warm[:half])
    slope = _slope([held.at for held in warm], [held.memory for held in warm]) * 3600
    last, largest = moments[-1], max(held.stored for held in moments)
    faults = {
        "memory grows": slope > SLOPE if seconds >= LONG else growth > GROWTH,
        "descriptors are left": last.descriptors > quiet.descriptors + STANDING,
        "threads are left": last.threads > quiet.threads + THREADS,
        "the store is too large": largest > STORE_BYTES * 1.1 + LOG_BYTES,
    }
    found = tuple(what for what, is_so in faults.items() if is_so)
    trend = f"{slope / 2**20:+.2f} MiB an hour" if seconds >= LONG else f"{growth / 2**20:+.1f} MiB between the halves"
    memory = f"{last.memory / 2**20:.0f} MiB, {trend}"
    files = f"{last.descriptors} descriptors, {last.threads} threads, store {largest / 2**20:.1f} MiB at most"
    asked = ", ".join(f"{count:,} {what}" for what, count in said.most_common())
    return Tally(len(moments), leaks=len(found), note=f"{memory}; {files}; {asked}", examples=found)


STANDING = AT_ONCE + 5
"""Connections to the upstream that are kept alive, and the store's."""
THREADS = 6
"""What Python's own pools start when they are needed."""


def _slope(xs: list[float], ys: list[int]) -> float:
    return statistics.linear_regression(xs, ys).slope if len(xs) > 1 else 0.0


def soak(trials: int) -> Tally:
    """Ask for so many seconds."""
    limits, settings = Limits(), {"CACHEMW_SIZE_LIMIT": str(STORE_BYTES)}
    with truthful_process() as url, served(url, limits.head_time, limits.body_time, **settings) as proxy:
        return asyncio.run(_soak(proxy, trials))


FAULTS = (
    Fault(
        "soak",
        f"hits, misses, streams, leaving clients, refresh, other kinds, errors, bypasses; {RATE} a second",
        20,
        3600,
        soak,
        proc_is_missing,
    ),
)
