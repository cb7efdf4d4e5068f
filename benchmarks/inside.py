"""An app called as a server calls it, in this process and without a socket: what is left is what the app costs."""

import asyncio
import gc
import itertools
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from time import perf_counter, process_time

from starlette.types import ASGIApp, Message, Scope

from benchmarks.asking import PATH, Fields, chat
from cachemw.cli.serve import configured

SEED = 1234567
BEFORE, AFTER = chat(1_000, stream=True, seed=SEED).split(b"%d" % SEED)


class Caller:
    """Asks an app one question after the other."""

    def __init__(self, runner: asyncio.Runner, app: ASGIApp, headers: Fields) -> None:
        self._runner, self._app, self._headers = runner, app, list(headers)
        self._numbers = itertools.count()

    def elapsed(self, calls: int) -> float:
        """Ask so many new questions, and return the seconds of processor time: others on this machine take none of it."""
        return self._runner.run(self._ask_anew(calls))

    def times(self, bodies: Iterable[bytes]) -> list[float]:
        """Ask these questions, and return the seconds that each took."""
        return self._runner.run(self._time(bodies))

    async def _ask_anew(self, calls: int) -> float:
        began = process_time()
        for number in itertools.islice(self._numbers, calls):
            await self._ask(BEFORE + b"%d" % number + AFTER)
        return process_time() - began

    async def _time(self, bodies: Iterable[bytes]) -> list[float]:
        times = []
        for body in bodies:
            began = perf_counter()
            await self._ask(body)
            times.append(perf_counter() - began)
        return times

    async def _ask(self, body: bytes) -> None:
        exchange = _Exchange(body)
        await self._app(self._scope(), exchange.receive, exchange.send)
        if not exchange.ended.is_set():
            raise RuntimeError("an answer without an end")

    def _scope(self) -> Scope:
        return {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1",
            "method": "POST",
            "scheme": "http",
            "path": PATH,
            "raw_path": PATH.encode(),
            "query_string": b"",
            "root_path": "",
            "headers": self._headers,
            "client": ("127.0.0.1", 50000),
            "server": ("127.0.0.1", 8000),
            "state": {},
        }


class _Exchange:
    """The server's side of one request; its client takes everything at once, and stays."""

    def __init__(self, body: bytes) -> None:
        self.ended = asyncio.Event()
        self._request: Message | None = {"type": "http.request", "body": body, "more_body": False}

    async def receive(self) -> Message:
        request, self._request = self._request, None
        if request is not None:
            return request
        await self.ended.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.body" and not message.get("more_body", False):
            self.ended.set()


@contextmanager
def event_loop(app: ASGIApp) -> Iterator[asyncio.Runner]:
    """Run an event loop as `cachemw serve` does: the one that uvicorn takes, and what is imported is looked through no more."""
    gc.collect()
    gc.freeze()
    try:
        with asyncio.Runner(loop_factory=configured(app, None).get_loop_factory()) as runner:
            yield runner
    finally:
        gc.unfreeze()
