"""Bombs in both directions: they pass as they came, nothing of them is kept, and nobody waits long for them.

S13, K9, H9: what is too much work to read is not read, and what is coded in a way we did not ask for is not decoded.
"""

import asyncio
import contextlib
import gzip
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import brotli  # type: ignore[import-untyped]
import httpx
import zstandard
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from cachemw import MemoryStore
from cachemw.proxy import Proxy
from cachemw.upstreams import HttpUpstream
from tests.faults.fault import ALL, Fault, Tally
from tests.faults.reflecting import asked, mount_of
from tests.faults.truth import question
from tests.mounts.mounting import MAKERS, PATH, Sent
from tests.serving import serving_in_thread
from tests.upstream import DONE, EVENT_STREAM, JSON, Told, Upstream, always, completion, event
from tests.wire.bombs import ANSWERS, REQUESTS, WORST, Make

ON = (b"content-type", b"application/json"), (b"cachemw", b"on")
LIMIT = 0.5
"""For how many seconds nothing else may run, on the slowest of machines. The aim is 0.05, and what was seen is noted."""

GROWTH = 160 * 2**20
"""By how many bytes memory may grow: a dozen copies of the largest body. What is decoded here would be 256 MiB."""

PIECE = 2**16
OTHERS = ("around an app", "WSGI around an app", "transport")


@dataclass(frozen=True, slots=True)
class Trial:
    """A bomb: what is asked, what the upstream tells, and what of it can be kept."""

    name: str
    asks: bytes
    told: Told
    is_kept: bool = False

    @property
    def body(self) -> bytes:
        return _body_of(self.told)


def trials() -> Iterator[Trial]:
    """Yield every bomb: requests, the worst of those that are read, and answers."""
    for name, make in REQUESTS.items():
        yield Trial(name, make(), completion())
    for name, make in WORST.items():
        yield Trial(f"{name} that are read", make(), completion(), is_kept=name != "trailing")
    for name, make in ANSWERS.items():
        yield Trial(f"{name} for an answer", question(0), _told(make(), JSON))
    for name, make in streams().items():
        yield Trial(f"{name} for a stream", question(0, stream=True), _told(make(), EVENT_STREAM))


def streams() -> dict[str, Make]:
    """Return event streams that are too much to be kept."""
    end = event({"content": "hi"}) + event({}, "stop") + DONE
    size = 2**22 - 10_000
    return {
        "line feeds": lambda: b"\n" * size + end,
        "carriage returns": lambda: b"\r" * size + end,
        "comments": lambda: b":\n" * (size // 2) + end,
        "lines of data": lambda: b"data\n" * (size // 5) + b"\n" + end,
        "empty events": lambda: b"data:\n\n" * (size // 7) + end,
        **{name: partial(_framed, make) for name, make in ANSWERS.items()},
    }


def _framed(make: Make) -> bytes:
    return b"data: " + make().replace(b'"message"', b'"delta"') + b"\n\n" + DONE


def _body_of(told: Told) -> bytes:
    return b"".join(part for part in told.parts if isinstance(part, bytes))


def _told(body: bytes, headers: Any) -> Told:
    return Told([body[start : start + PIECE] for start in range(0, len(body), PIECE)], headers=headers)


# A proxy that runs in a process of its own.


class Watched:
    """Says at `/watch` for how long its event loop was kept, and how much its memory grew, since it was last asked."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._worst, self._resident = 0.0, 0
        self._looking: asyncio.Task[None] | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] != "/watch":
            await self._app(scope, receive, send)
            return
        self._looking = self._looking or asyncio.create_task(self._look())
        await asyncio.sleep(0.005)  # so that it has looked once more
        await JSONResponse(self._seen())(scope, receive, send)

    def _seen(self) -> dict[str, float]:
        """Return what was seen, and begin anew."""
        seen = {"seconds": self._worst, "bytes": _memory("VmHWM") - self._resident}
        Path("/proc/self/clear_refs").write_text("5")
        self._worst, self._resident = 0.0, _memory("VmRSS")
        return seen

    async def _look(self) -> None:
        while True:
            since = time.thread_time()  # not what other processes take: there may be many
            await asyncio.sleep(0.001)
            self._worst = max(self._worst, time.thread_time() - since)


def _memory(name: str) -> int:
    """Return a figure of this process, in bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(name))


def serve(upstream: str) -> None:
    """Run the proxy until nobody is there any more."""
    with serving_in_thread(Watched(Proxy(HttpUpstream(f"{upstream}/v1"), store=MemoryStore()))) as url:
        print(url, flush=True)
        sys.stdin.read()


@contextlib.contextmanager
def _proxy(upstream: str) -> Iterator[str]:
    code = f"from tests.faults.bombs import serve; serve({upstream!r})"
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        assert process.stdin
        try:
            yield process.stdout.readline().strip()
        finally:
            process.stdin.close()


def through_a_proxy() -> Tally:
    """Send every bomb twice, and see how long everybody else waits."""
    upstream, tally, worst, most = Upstream(), Tally(), (0.0, ""), 0
    with serving_in_thread(upstream) as origin, _proxy(origin) as url, httpx.Client(base_url=url, trust_env=False) as client:
        tally += _sent(client, Trial("what is no bomb", question(1), completion(), is_kept=True), upstream)  # what is made once
        client.get("/watch")
        for trial in trials():
            for _ in range(2):
                tally += _sent(client, trial, upstream)
                seen = client.get("/watch").json()
                worst, most = max(worst, (seen["seconds"], trial.name)), max(most, seen["bytes"])
    note = f"others waited {worst[0] * 1000:.0f} ms at most ({worst[1]}), memory grew by {most / 2**20:.0f} MiB at most"
    failed, leaks = worst[0] > LIMIT, most > GROWTH
    return tally + Tally(failed=failed, leaks=leaks, note=note, examples=(note,) if failed or leaks else ())


def _sent(client: httpx.Client, trial: Trial, upstream: Upstream) -> Tally:
    upstream.respond = always(trial.told)
    upstream.asked.clear()
    with client.stream("POST", PATH, content=trial.asks, headers=list(ON)) as response:
        try:
            body: bytes | None = b"".join(response.iter_raw())
        except httpx.HTTPError:
            body = None
    forwarded = [told.body for told in upstream.asked]
    is_wrong = body not in (None, trial.body) or forwarded != [trial.asks] and not (trial.is_kept and not forwarded)
    return _judged(f"{trial.name} through the proxy", is_wrong=is_wrong, is_failed=body is None or response.status_code != 200)


# Other mounts.


async def at_other_mounts() -> Tally:
    """Send every bomb once."""
    tally = Tally()
    for trial in trials():
        for kind in OTHERS:
            store = MemoryStore()
            reply = await asked(mount_of(kind, always(trial.told), store=store), (PATH, trial.asks, ()))
            is_wrong = reply.body != trial.body or any(store.scan()) is not trial.is_kept
            tally += _judged(f"{trial.name} through {kind}", is_wrong=is_wrong, is_failed=not reply.complete)
    return tally


# Codings.


def codings() -> dict[bytes, bytes]:
    """Return content codings, each with a small body that is 256 MiB when it is decoded."""
    zeros = bytes(2**20)
    packed = gzip.compress(zeros) * 256
    return {
        b"gzip": packed,
        b"identity, gzip": packed,
        b"gzip, gzip": gzip.compress(packed),
        b"br": _brotli(zeros),
        b"zstd": zstandard.compress(zeros) * 256,
        b"unknown": b"?" * 1000,
    }


def _brotli(piece: bytes) -> bytes:
    compressor = brotli.Compressor(quality=1)
    return b"".join(compressor.process(piece) for _ in range(256)) + bytes(compressor.finish())


async def of_codings() -> Tally:
    """Let the upstream answer in a coding nobody asked for, at every mount: nothing of ours decodes it (H9)."""
    tally, coded, upstream = Tally(), codings(), Upstream()
    with serving_in_thread(upstream) as url:
        for kind, make in MAKERS.items():
            store = MemoryStore()
            mount = make(url, upstream, {"store": store})
            for coding, body in coded.items():
                for headers in (JSON, EVENT_STREAM):
                    told = Told((body[:10], body[10:]), headers=(*headers, (b"content-encoding", coding)))
                    tally += await _coded(f"{coding.decode()} through {kind}", mount, upstream, told)
            await mount.aclose()
            tally += Tally(wrong=len(list(store.scan())))
    return tally


async def _coded(name: str, mount: Any, upstream: Upstream, told: Told) -> Tally:
    upstream.respond = always(told)
    upstream.asked.clear()
    sent = Sent(question(0, stream=told.headers[0] in EVENT_STREAM), ON)
    replies = [await mount.send(sent) for _ in range(2)]
    true = _body_of(told), told.headers[-1][1]
    is_changed = any((reply.body, reply.headers.get(b"content-encoding")) != true for reply in replies)
    return _judged(name, is_wrong=is_changed or upstream.calls != 2, is_failed=not all(reply.complete for reply in replies))


def _judged(name: str, *, is_wrong: bool, is_failed: bool) -> Tally:
    return Tally(1, wrong=is_wrong, failed=is_failed, examples=(name,) if is_wrong or is_failed else ())


def run(_: int) -> Tally:
    """Try every bomb there is."""
    return anyio.run(of_codings) + anyio.run(at_other_mounts) + through_a_proxy()


def why_not() -> str | None:
    """Return the reason where nobody says how much memory there is."""
    return None if Path("/proc/self/clear_refs").exists() else "no /proc/self/clear_refs"


FAULTS = (Fault("bombs", "what takes long to read, and codings nobody asked for, both ways", ALL, ALL, run, why_not),)
