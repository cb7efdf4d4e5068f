"""Questions to a mount over a store that suffers, each answer judged by what a truthful upstream says."""

import json
import logging
import re
import subprocess
import sys
from collections.abc import Callable, Collection, Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict
from pathlib import Path

import anyio
from starlette.types import ASGIApp

from cachemw import Store
from cachemw.asgi import CacheMiddleware
from cachemw.cache.header_rules import STORED
from tests.asgi_driver import RawHeaders, Reply, call
from tests.faults.fault import Tally
from tests.faults.truth import true_body, truthful
from tests.upstream import Asked, Told, Upstream

PATH = "/v1/chat/completions"
ASKED = ((b"content-type", b"application/json"), (b"cachemw", b"on"))
IF_CACHED = (*ASKED, (b"cache-control", b"only-if-cached"))
ROOT = Path(__file__).parents[2]

_OURS = STORED | {b"content-length", b"age", b"cache-control", b"cache-status", b"x-accel-buffering"}
_FIELD_NAME, _FIELD_VALUE = re.compile(rb"[!#$%&'*+.^_`|~0-9a-z-]+"), re.compile(rb"[\t\x20-\x7e\x80-\xff]*")


def mounted(store: Store, respond: Callable[[Asked], Told] = truthful) -> CacheMiddleware:
    """Return a mount around an app that tells the truth."""
    return CacheMiddleware(Upstream(respond), name="truth", store=store)


async def ask(app: ASGIApp, body: bytes, headers: RawHeaders = ASKED, *, within: float = 30.0) -> Reply | Exception:
    """Send a chat request; return what came of it, or what the mount raised."""
    try:
        with anyio.fail_after(within):
            return await call(app, "POST", PATH, body, headers)
    except Exception as exc:  # noqa: BLE001 - whatever it is, it is to be counted
        return exc


def judge(reply: Reply | Exception, truths: Collection[bytes], what: str = "", *, looks_at_head: bool = True) -> Tally:
    """Judge the answer to one request, which may be any of the `truths`; `what` says what was done to it.

    `looks_at_head`: it is all ours, and not an upstream's.
    """
    if isinstance(reply, Exception):
        return Tally(1, failed=1, examples=(f"{what}: {reply!r}",))
    if reply.status != 200 or not reply.complete:
        return Tally(1, failed=1, examples=(f"{what}: {reply.status}, complete: {reply.complete}, {reply.error!r}",))
    if reply.body not in truths:
        return Tally(1, wrong=1, examples=(f"{what}: {reply.body[:200]!r} {reply.raw_headers}",))
    if looks_at_head and (fault := head_fault(reply)):
        return Tally(1, wrong=1, examples=(f"{what}: {fault} {reply.raw_headers}",))
    return Tally(1)


async def ask_and_judge(app: ASGIApp, body: bytes, what: str = "") -> Tally:
    """Ask what the truthful upstream would answer."""
    return judge(await ask(app, body), (true_body(body),), what)


def head_fault(reply: Reply) -> str | None:
    """Return what is wrong with the head of an answer of ours; `None` if it is one that HTTP can carry."""
    for name, value in reply.raw_headers:
        if not _FIELD_NAME.fullmatch(name.lower()) or not _FIELD_VALUE.fullmatch(value):
            return f"the field {name!r} cannot be sent"
        if name.lower() not in _OURS:
            return f"the field {name!r} is nobody's to send"
    lengths = [value for name, value in reply.raw_headers if name.lower() == b"content-length"]
    return None if lengths in ([], [b"%d" % len(reply.body)]) else f"lengths {lengths} of {len(reply.body)}"


def is_hit(reply: Reply | Exception) -> bool:
    """Say whether it came from the store."""
    return isinstance(reply, Reply) and reply.headers.get(b"cache-status", b"").startswith(b"cachemw; hit")


async def caches_again(app: ASGIApp, fresh: Iterator[bytes], within: float) -> float | None:
    """Ask new questions twice until the second answer is a hit; return the seconds that took, `None` where it took too long."""
    began = anyio.current_time()
    while (waited := anyio.current_time() - began) <= within:
        body = next(fresh)
        await ask(app, body)
        if is_hit(await ask(app, body)):
            return waited
        await anyio.sleep(0.01)
    return None


def apart(module: str, *arguments: object, within: float = 1800.0) -> Tally:
    """Try it in a process of its own. One that a signal ends, that complains or does not end has failed its requests."""
    command = [sys.executable, "-W", "error", "-m", module, *map(str, arguments)]
    try:
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=within)
    except subprocess.TimeoutExpired:
        return Tally(1, failed=1, examples=(f"{arguments} did not end",))
    if done.returncode or done.stderr:
        return Tally(1, failed=1, examples=(f"{arguments} ended with {done.returncode}: {done.stderr[-1500:]}",))
    told = json.loads(done.stdout.splitlines()[-1])
    return Tally(**{**told, "examples": tuple(told["examples"])})


@contextmanager
def quiet() -> Iterator[None]:
    """Leave out what we log, so that whatever else is said on the way is seen."""
    logger, handler = logging.getLogger("cachemw"), logging.NullHandler()
    logger.addHandler(handler)
    with closing(handler):
        yield
    logger.removeHandler(handler)


def tell(tally: Tally) -> None:
    """Say what came of it to who called `apart`."""
    print(json.dumps(asdict(tally)))
