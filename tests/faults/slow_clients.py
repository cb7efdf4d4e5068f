"""Slow clients of `cachemw serve`: they say nothing, trickle their heads and their bodies, or hardly read.

S12: whoever else asks is answered as before, and who is too slow is hung up on within a second of the deadline.
"""

import asyncio
import contextlib
import http.client
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from cachemw import Limits
from tests.faults.fault import Fault, Tally
from tests.faults.truth import question, true_body, truthful
from tests.serving import serving_in_thread
from tests.upstream import Upstream

LARGE = 500
SHORT = (2.0, 3.0)
"""Seconds for a head and for a body, where only a few clients are tried."""
LATE = 1.0
DRIP = 0.25
"""Seconds between two bytes."""
HITS = [question(number, stream=number % 2 == 0) for number in range(20)]
HUGE = question(1000, 2_500_000)
CHAT = "/v1/chat/completions"
FIELDS = {"content-type": "application/json", "authorization": "Bearer alice", "cachemw": "on"}
PATIENCE = 30.0
LIMITS = Limits()

_WITH_LIMITS = """
import sys
from cachemw import Limits
from cachemw.cli.serve import serve_proxy
from cachemw.proxy import Settings
head_time, body_time = map(float, sys.argv[1:])
limits = Limits(head_time=head_time, body_time=body_time, derived_bytes=2**20)  # full soon: what fills up looks like a leak
serve_proxy(Settings.from_environment(), lambda said: print(said, flush=True), limits)
"""


@dataclass(frozen=True, slots=True)
class Served:
    """A `cachemw serve` that runs."""

    process: subprocess.Popen[str]
    port: int
    directory: Path

    def descriptors(self) -> int:
        """Count what it has open."""
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))


@contextlib.contextmanager
def served(upstream_url: str, head_seconds: float, body_seconds: float, **settings: str) -> Iterator[Served]:
    """Run the proxy as a user does, but for how long it waits."""
    with tempfile.TemporaryDirectory() as home:
        variables = {"PATH": os.environ["PATH"], "HOME": home, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        store = Path(home) / "store"
        variables |= {"CACHEMW_PORT": "0", "CACHEMW_UPSTREAM": upstream_url + "/v1", "CACHEMW_DIR": str(store), **settings}
        command = [sys.executable, "-c", _WITH_LIMITS, str(head_seconds), str(body_seconds)]
        with (Path(home) / "log").open("w+") as log:
            process = subprocess.Popen(command, env=variables, stdout=subprocess.PIPE, stderr=log, text=True)
            with process:
                try:
                    assert process.stdout is not None
                    line = process.stdout.readline()
                    assert " listens on " in line, (line, (Path(home) / "log").read_text())
                    yield Served(process, int(line.partition("127.0.0.1:")[2].partition("/")[0]), store)
                finally:
                    process.kill()


def proc_is_missing() -> str | None:
    """Say why nobody can be asked here what they have open."""
    return None if Path("/proc/self/fd").is_dir() else "this system has no /proc"


def written(body: bytes, length: int | None = None) -> bytes:
    """Return a chat request as it is sent."""
    fields = {"host": "127.0.0.1", **FIELDS, "content-length": str(len(body) if length is None else length)}
    lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    return f"POST {CHAT} HTTP/1.1\r\n{lines}\r\n".encode() + body


@dataclass(slots=True)
class Normal:
    """A client that asks what is stored, one thing after another, over one connection, in a thread of its own."""

    port: int
    seconds: list[float] = field(default_factory=list)
    tally: Tally = field(default_factory=Tally)
    stop: threading.Event = field(default_factory=threading.Event)

    def ask_on(self) -> None:
        """Ask until it is stopped."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)
        with contextlib.closing(connection):
            while not self.stop.is_set():
                for body in HITS:
                    self._ask(connection, body)
                time.sleep(0.002)

    def _ask(self, connection: http.client.HTTPConnection, body: bytes) -> None:
        began = time.perf_counter()
        try:
            connection.request("POST", CHAT, body, FIELDS)
            response = connection.getresponse()
            said = response.read()
        except (OSError, http.client.HTTPException) as exc:
            self.tally += Tally(failed=1, examples=(f"a normal request failed: {exc!r}",))
            connection.close()
            return
        self.seconds.append(time.perf_counter() - began)
        if (response.status, said) != (200, true_body(body)):
            self.tally += Tally(wrong=1, examples=(f"a normal client was told {response.status} {said[:80]!r}",))

    def p99(self) -> float:
        """Return the milliseconds of the slowest of a hundred."""
        return sorted(self.seconds)[int(len(self.seconds) * 0.99)] * 1000 if self.seconds else 0.0


@contextlib.asynccontextmanager
async def asking(port: int) -> AsyncIterator[Normal]:
    """Have a normal client ask for a while."""
    normal = Normal(port)
    thread = asyncio.create_task(asyncio.to_thread(normal.ask_on))
    try:
        yield normal
    finally:
        normal.stop.set()
        await thread


Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def _silent(port: int) -> float:
    """Connect, and say nothing."""
    return await _trickle(port, b"", b"")


async def _slow_head(port: int) -> float:
    return await _trickle(port, f"POST {CHAT} HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Slow: ".encode(), b"x")


async def _slow_body(port: int) -> float:
    return await _trickle(port, written(b"", length=100_000), b" ")


async def _trickle(port: int, first: bytes, drop: bytes) -> float:
    """Say the first at once and then a byte at a time; return after how many seconds the proxy hung up."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    began = asyncio.get_running_loop().time()
    hung_up = asyncio.create_task(_end_of(reader))
    writer.write(first)
    while not hung_up.done():
        with contextlib.suppress(OSError):
            writer.write(drop)
        await asyncio.wait([hung_up], timeout=DRIP)
    writer.close()
    return asyncio.get_running_loop().time() - began


async def _end_of(reader: asyncio.StreamReader) -> None:
    with contextlib.suppress(OSError):
        while await reader.read(65_536):
            pass


async def _read_slowly(port: int, until: asyncio.Event) -> Tally:
    """Ask for something huge, and read it a little at a time; in the end all of it, which must be the truth."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=4096)
    writer.write(written(HUGE).replace(b"host:", b"connection: close\r\nhost:"))
    said = b""
    while not until.is_set():
        said += await reader.read(1024)
        await asyncio.sleep(DRIP)
    said += await reader.read()
    writer.close()
    if said.partition(b"\r\n\r\n")[2] == true_body(HUGE):
        return Tally(1)
    return Tally(1, failed=1, examples=(f"a slow reader got {len(said)} bytes, {said[:60]!r}",))


async def _hung_up(ask: Callable[[int], Awaitable[float]], port: int, deadline: float) -> Tally:
    """Be slow, and count a connection that is open too long; a patient server would keep it for ever."""
    try:
        took = await asyncio.wait_for(ask(port), deadline + LATE)
    except TimeoutError:
        return Tally(1, leaks=1, examples=(f"{ask.__name__} was not hung up on in {deadline + LATE} s",))
    if took < deadline - LATE:
        return Tally(1, failed=1, examples=(f"{ask.__name__} was hung up on after {took:.1f} s",))
    return Tally(1)


async def _crowded(proxy: Served, count: int, head_seconds: float, body_seconds: float) -> Tally:
    """Measure a normal client alone, and among the slow ones."""
    port = proxy.port
    for body in (*HITS, HUGE):
        await _tell(port, body)
    async with asking(port):  # warms up
        await asyncio.sleep(1)
    files = proxy.descriptors()
    async with asking(port) as alone:
        await asyncio.sleep(2)
    over, slow = asyncio.Event(), list[asyncio.Task[Tally]]()
    trickling = ((_silent, head_seconds), (_slow_head, head_seconds), (_slow_body, body_seconds))
    async with asking(port) as among:
        for number in range(count):
            ask, deadline = trickling[number % 3]
            is_reader = number % 8 == 7
            slow.append(asyncio.create_task(_read_slowly(port, over) if is_reader else _hung_up(ask, port, deadline)))
        await asyncio.sleep(body_seconds + LATE)
    over.set()
    tally = sum(await asyncio.gather(*slow), start=alone.tally + among.tally)
    note = f"p99 of hits {alone.p99():.1f} ms before, {among.p99():.1f} ms during"
    return tally + await _descriptors_left(proxy, files) + Tally(note=note)


async def _descriptors_left(proxy: Served, before: int) -> Tally:
    ends = time.monotonic() + PATIENCE / 3
    while (left := proxy.descriptors() - before) > 0 and time.monotonic() < ends:  # noqa: ASYNC110
        await asyncio.sleep(0.05)
    return Tally(leaks=max(0, left), examples=(f"{left} descriptors are left",) if left > 0 else ())


async def _tell(port: int, body: bytes) -> None:
    """Have an answer stored."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(written(body).replace(b"host:", b"connection: close\r\nhost:"))
    await reader.read()
    writer.close()


def be_slow(trials: int) -> Tally:
    """Have so many slow clients at once; where they are few, they are given less time."""
    head_seconds, body_seconds = SHORT if trials < LARGE else (LIMITS.head_time, LIMITS.body_time)
    with serving_in_thread(Upstream(truthful)) as url, served(url, head_seconds, body_seconds) as proxy:
        return asyncio.run(_crowded(proxy, trials, head_seconds, body_seconds))


FAULTS = (
    Fault(
        "500 slow clients",
        "`cachemw serve`: silent, slow in the head, in the body, in reading; a normal client's hits meanwhile",
        100,
        LARGE,
        be_slow,
        proc_is_missing,
    ),
)
