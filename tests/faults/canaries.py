"""I4: a secret in every place that can hold one, and then a look everywhere: none of them is to be seen.

In every mount, and in the real command at its most talkative: in what our loggers say (in the command: all loggers), in
warnings, in what any object of ours shows of itself while a request is under way, in every exception of ours, in what hooks
are told, in the answers we make, and in the store's files. Whole, in part, encoded, or as a hash that anybody can compute.
"""

import base64
import contextlib
import gc
import hashlib
import logging
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path
from typing import Any

import anyio
import httpx
import xxhash

import cachemw
from cachemw import CacheError, DiskStore, ExchangeReport, Policy
from cachemw.messages import Request
from cachemw.upstreams import HttpUpstream
from tests.asgi_driver import Reply
from tests.faults.fault import ALL, Fault, Tally
from tests.faults.planted import CREDENTIALS, ECHO, PLACES, answered, on_the_wire, requests, secret
from tests.mounts.mounting import AROUND_AN_APP, KINDS, MAKERS, Sent, WsgiMount
from tests.serving import serving_in_thread
from tests.upstream import Asked, Told, Upstream


@cache
def forms() -> tuple[tuple[str, bytes], ...]:
    """Return what is looked for: each canary's beginning and end, its encodings, and hashes without a key."""
    return tuple((f"{place}, {how}", form) for place in PLACES for how, form in _forms(secret(place)))


def _forms(text: str) -> Iterator[tuple[str, bytes]]:
    raw = text.encode()
    yield from (("beginning", raw[:16]), ("end", raw[-16:]), ("hex", raw.hex().encode()), ("hex", raw.hex().upper().encode()))
    for before in range(3):  # as part of a longer text, too
        yield "base64", base64.b64encode(b"." * before + raw)[4 if before else 0 : -4]
    for whole in (raw, b"Bearer " + raw):
        for name in ("sha256", "sha1", "md5"):
            yield from _digests(name, hashlib.new(name, whole).digest())
        for name, hashed in (
            ("xxh3-64", xxhash.xxh3_64_digest),
            ("xxh3-128", xxhash.xxh3_128_digest),
            ("xxh64", xxhash.xxh64_digest),
        ):
            yield from _digests(name, hashed(whole))


def _digests(name: str, digest: bytes) -> Iterator[tuple[str, bytes]]:
    yield from ((name, digest), (name, digest.hex().encode()), (name, base64.b64encode(digest)[:-4]))


def is_kept(what: str, where: str) -> bool:
    """A record says of which kind it is, a stream's options are part of that; and which model was asked for, and answered.

    The ledger has the names of models and of namespaces, and the sums of metrics those of models.

    Who is told that nothing stored answers him reads which model he asked for (F3).
    """
    if where == "our own words in an answer":
        return what.startswith("model, ")
    if where.startswith("the file ledger.db"):
        return what.startswith(("namespace, ", "model, "))
    if where.startswith("the file cache.db"):
        return what.startswith(("unknown stream option, ", "model, "))
    return where == "the file 0.bin" and what.startswith("model, ")  # of metrics


@dataclass(slots=True)
class Seen:
    """What was said where; the classes whose objects were looked at."""

    texts: dict[str, list[bytes]] = field(default_factory=dict)
    classes: set[str] = field(default_factory=set)

    def note(self, where: str, *texts: object) -> None:
        known = self.texts.setdefault(where, [])
        known += [text if isinstance(text, bytes) else str(text).encode(errors="surrogateescape") for text in texts]

    def look_around(self) -> None:
        """Note what every object of ours shows of itself now, wherever it is held."""
        for one in ours():
            self.classes.add(type(one).__qualname__)
            self.note(f"{type(one).__module__}.{type(one).__qualname__}", repr(one), str(one))

    def leaks(self) -> list[str]:
        found: list[str] = []
        for where, texts in self.texts.items():
            text = b"\n".join(set(texts))
            found += [f"{what}: seen in {where}" for what, form in forms() if form in text and not is_kept(what, where)]
        return list(dict.fromkeys(found))

    def __add__(self, other: "Seen") -> "Seen":
        every = [*self.texts, *(where for where in other.texts if where not in self.texts)]
        texts = {where: [*self.texts.get(where, ()), *other.texts.get(where, ())] for where in every}
        return Seen(texts, self.classes | other.classes)


def ours() -> Iterator[object]:
    """Yield the objects of our classes that the collector knows, or that stand in a frame; and what they hold."""
    frames = [frame for top in sys._current_frames().values() for frame, _ in traceback.walk_stack(top)]
    held = [value for frame in frames for value in frame.f_locals.values()]
    known: set[int] = set()
    for one in [*gc.get_objects(), *held]:
        for seen in (one, *gc.get_referents(one)):
            if type(seen).__module__.partition(".")[0] == "cachemw" and id(seen) not in known:
                known.add(id(seen))
                yield seen


@contextlib.contextmanager
def listening_in(seen: Seen) -> Iterator[None]:
    """Note what our loggers say, with tracebacks, what is warned of, and every exception of ours that is made."""
    our_loggers, handler = logging.getLogger("cachemw"), _Noting(seen)
    level = our_loggers.level

    def noted(kind: type[CacheError], *args: Any, **more: Any) -> CacheError:
        error: CacheError = Exception.__new__(kind, *args, **more)
        seen.note("an exception of ours", repr(error), str(error), *args)
        return error

    our_loggers.addHandler(handler)
    our_loggers.setLevel(logging.DEBUG)
    CacheError.__new__ = noted  # type: ignore[method-assign, assignment]
    gc.freeze()  # what was there before is none of this
    try:
        with warnings.catch_warnings(record=True, action="always") as warned:
            yield
        seen.note("a warning", *(warning.message for warning in warned))
    finally:
        gc.unfreeze()
        del CacheError.__new__
        our_loggers.setLevel(level)
        our_loggers.removeHandler(handler)


class _Noting(logging.Handler):
    def __init__(self, seen: Seen) -> None:
        super().__init__(logging.DEBUG)
        self._seen = seen

    def emit(self, record: logging.LogRecord) -> None:
        self._seen.note("a log line", logging.Formatter().format(record), record.args)


def raising(request: Request) -> bytes | None:
    """Be a partition function that fails over what it is given."""
    raise LookupError(secret("partition's exception"), request.headers)


def looking(seen: Seen) -> Callable[[ExchangeReport], None]:
    """Return a hook that notes what it is told, and fails."""

    def hook(report: ExchangeReport) -> None:
        seen.note("a report", repr(report), str(report))
        raise RuntimeError(secret("hook's exception"))

    return hook


async def at_mount(kind: str, directory: Path, url: str) -> Seen:
    """Send every request to a mount, with a look around while its answers are under way."""
    seen = Seen()
    upstream = Upstream(_looked_at(seen))
    policies = (Policy(keep_requests=False), Policy(partition=raising))
    with serving_in_thread(upstream) as app_url:
        for at, policy in ((url, policies[0]), (app_url, policies[0]), (app_url, policies[1])):
            with listening_in(seen):
                store = DiskStore(directory)
                mount = MAKERS[kind](at, upstream, {"store": store, "policy": policy, "hooks": [looking(seen)]})
                await _send_all(mount, seen, is_on_the_wire=at == url and kind not in AROUND_AN_APP)
                seen.look_around()
                await mount.aclose()
                store.close()
    return seen


def _looked_at(seen: Seen) -> Callable[[Asked], Told]:
    def respond(asked: Asked) -> Told:
        seen.look_around()
        return answered(asked)

    return respond


async def _send_all(mount: Any, seen: Seen, *, is_on_the_wire: bool) -> None:
    if isinstance(mount, WsgiMount):
        mount.is_validated = False

    def hears(chunk: bytes) -> None:
        seen.look_around()

    for target, fields, raw in requests(is_on_the_wire):
        sent = [(name.encode(), value.encode()) for name, value in fields.items()]
        with contextlib.suppress(RuntimeError, LookupError, BaseExceptionGroup, httpx.HTTPError):
            reply = await mount.send(Sent(raw, sent, target, hears=hears if b"answer: stream" in raw else _nothing))
            seen.note("our own words in an answer", *_our_words(reply))


def _nothing(chunk: bytes) -> None:
    """Hear nothing."""


def _our_words(reply: Reply) -> Iterator[object]:
    """Yield what we have added to an answer; what is the upstream's own passes."""
    yield from (value for name, value in reply.raw_headers if name in (b"cache-status", b"cachemw", b"cache-control", b"age"))
    if reply.body.startswith(b'{"error"') and ECHO not in reply.body:
        yield reply.body
    if reply.error is not None and isinstance(reply.error, CacheError):
        yield repr(reply.error)


def made_of_secrets() -> Seen:
    """Make what is given a secret when it is made, or refuses to be."""
    seen = Seen()
    with listening_in(seen):
        kept = HttpUpstream("https://api.example/v1", api_key=secret("api_key argument"))
        for base_url in _with_secrets(secret("base URL's password"), secret("base URL's query")):
            with contextlib.suppress(CacheError):
                HttpUpstream(base_url)
        seen.look_around()
        del kept
    return seen


def _with_secrets(password: str, query: str) -> Iterator[str]:
    """Yield base URLs that hold what they must not."""
    yield f"https://user:{password}@api.example/v1"
    yield f"https://user:{password}@api.example:port/v1"
    yield f"https:/user:{password}@api.example/v1"
    yield f"user:{password}@api.example/v1"
    yield f"https://api.example/v1?key={query}"
    yield f"https://api.example/v1#{query}"


def stored(directory: Path) -> Seen:
    """Read every byte that is kept."""
    seen = Seen()
    for path in sorted(directory.rglob("*")):
        if path.is_file():
            seen.note(f"the file {path.name}", path.read_bytes())
    return seen


TALKATIVE = "import logging; logging.basicConfig(level=logging.{level}); from cachemw.cli import main; main()"


LEVELS = (("debug", False), ("debug", True), ("info", False), ("warning", True), ("error", False), ("critical", True))
"""How much the command logs, and whether callers have to bring a key."""


def in_the_command(upstream: str, how: tuple[str, bool]) -> Seen:
    """Send every request to `cachemw serve`, in which every logger says what it can, and read all that it has said."""
    with tempfile.TemporaryDirectory() as home:
        return _served(upstream, Path(home), *how)


def _served(upstream: str, home: Path, level: str, client_key: bool) -> Seen:
    said = home / "said"
    environment = {
        "PATH": os.environ.get("PATH", ""),
        "HOME": str(home),
        "PYTHONPATH": str(Path(cachemw.__file__).parents[1]),
        "PYTHONWARNINGS": "always",
        "PYTHONDEVMODE": "1",
        "PYTHONUNBUFFERED": "1",
        "CEREBRAS_BASE_URL": upstream,
        "CEREBRAS_API_KEY": secret("CEREBRAS_API_KEY"),
        "CACHEMW_SECRET": secret("CACHEMW_SECRET"),
        **({"CACHEMW_CLIENT_KEYS": f"{secret('client key')},another"} if client_key else {}),
    }
    command = [sys.executable, "-c", TALKATIVE.format(level=level.upper()), "serve", "--port", "0", "--log-level", level]
    with said.open("wb") as output:
        process = subprocess.Popen(
            [*command, "--dir", str(home / "store")], env=environment, stdout=output, stderr=subprocess.STDOUT
        )
        try:
            _talk_to(_url_of(process, said), client_key=client_key)
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(20)
    seen = stored(home / "store")
    seen.note(f"what the command says at {level}", said.read_bytes())
    return seen


def _url_of(process: subprocess.Popen[bytes], said: Path) -> str:
    until = time.monotonic() + 30
    while not (found := re.search(rb"listens on (\S+)/v1 .*\n.*\n.*\n", said.read_bytes())):
        if process.poll() is not None or time.monotonic() > until:
            raise RuntimeError(f"the command does not listen: {said.read_text()}")
        time.sleep(0.02)
    return found[1].decode()


def _talk_to(url: str, *, client_key: bool) -> None:
    hits = 0
    with httpx.Client(trust_env=False, timeout=20) as client:
        for target, fields, raw in requests(is_on_the_wire=True):
            for own in ({}, {"authorization": f"Bearer {secret('client key')}"}) if client_key else ({}, {"authorization": ""}):
                page = {"referer": f"{url}/{fields['referer']}"}  # of another one they would all be refused
                kept = {name: value for name, value in (fields | page | own).items() if not own or name not in CREDENTIALS[1:]}
                with contextlib.suppress(httpx.HTTPError):
                    kept = {name: value for name, value in kept.items() if value}
                    hits += "cachemw; hit" in client.post(url + target, content=raw, headers=kept).headers.get(
                        "cache-status", ""
                    )
    if not hits:
        raise RuntimeError("not one answer came from the store: this shows nothing")


def run(_: int) -> Tally:
    """Look everywhere."""
    seen = made_of_secrets()
    with on_the_wire() as url:
        for kind in KINDS:
            with tempfile.TemporaryDirectory() as directory:
                seen += anyio.run(at_mount, kind, Path(directory), url)
                seen += stored(Path(directory))
        with ThreadPoolExecutor(3) as threads:
            seen = sum(threads.map(partial(in_the_command, url), LEVELS), seen)
    if len(seen.classes) < 40:
        raise RuntimeError(f"only {len(seen.classes)} classes were looked at")
    found = seen.leaks()
    size = sum(len(text) for texts in seen.texts.values() for text in texts)
    note = f"{len(forms()):,} forms in {size / 2**20:.0f} MiB of {len(seen.texts)} kinds, {len(seen.classes)} classes"
    return Tally(len(PLACES), leaks=len(found), examples=tuple(found[:20]), note=note)


FAULTS = (Fault("50 canary secrets", "a secret in every place that can hold one, then a look everywhere", ALL, ALL, run),)
