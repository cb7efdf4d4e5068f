"""An app called as a server calls it, in this process and without a socket: what is left is what the app costs."""

import asyncio
import gc
import itertools
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from time import perf_counter, process_time

from starlette.types import ASGIApp, Message, Scope

from benchmarks.asking import PATH, Fields, chat
from cachemw.cli.serve import configured

SEED = 1234567
BEFORE, AFTER = chat(1_000, stream=True, seed=SEED).split(b"%d" % SEED)


def new_stream(number: int) -> bytes:
    """Return a question that no other number has."""
    return BEFORE + b"%d" % number + AFTER


@dataclass(frozen=True, slots=True)
class Spent:
    """The seconds that some calls took: of processor time, which others on this machine take none of, and in all."""

    cpu: float
    wall: float


class Caller:
    """Asks an app one question after the other; `question` makes them of their numbers."""

    def __init__(
        self, runner: asyncio.Runner, app: ASGIApp, headers: Fields, question: Callable[[int], bytes] = new_stream
    ) -> None:
        self._runner, self._app, self._headers, self._question = runner, app, list(headers), question
        self._numbers = itertools.count()

    def elapsed(self, calls: int) -> float:
        """Ask so many questions, and return the seconds of processor time."""
        return self.spent(calls).cpu

    def spent(self, calls: int) -> Spent:
        """Ask so many questions."""
        return self._runner.run(self._ask_anew(calls))

    def times(self, bodies: Iterable[bytes]) -> list[float]:
        """Ask these questions, and return the seconds that each took."""
        return self._runner.run(self._time(bodies))

    async def _ask_anew(self, calls: int) -> Spent:
        cpu, wall = process_time(), perf_counter()
        for number in itertools.islice(self._numbers, calls):
            await self._ask(self._question(number))
        return Spent(process_time() - cpu, perf_counter() - wall)

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
        if not exchange.ended.is_set() or exchange.status != 200:
            raise RuntimeError(f"an answer without an end, or an error: {exchange.status}")

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
        self.ended, self.status = asyncio.Event(), 0
        self._request: Message | None = {"type": "http.request", "body": body, "more_body": False}

    async def receive(self) -> Message:
        request, self._request = self._request, None
        if request is not None:
            return request
        await self.ended.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
        elif not message.get("more_body", False):
            self.ended.set()


async def spent_by(call: Callable[[], Awaitable[object]], calls: int) -> Spent:
    """Return what one of so many calls took."""
    cpu, wall = process_time(), perf_counter()
    for _ in range(calls):
        await call()
    return Spent((process_time() - cpu) / calls, (perf_counter() - wall) / calls)


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
