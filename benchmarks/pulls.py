"""What a hit and a miss cost in process where answers are pulled: under WSGI, and in a transport of httpx."""

import io
import itertools
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import httpx

from benchmarks.asking import HEADERS, PATH, chat
from benchmarks.inside import AFTER, BEFORE
from benchmarks.plan import Plan
from benchmarks.tables import Table
from benchmarks.timing import Elapsed, in_turn, timed
from cachemw._wsgi_environ import Environ, StartResponse, WsgiApp
from cachemw.httpx import CacheTransport
from cachemw.stores import DiskStore, MemoryStore, Store
from cachemw.wsgi import CacheMiddleware

ANSWER = b'{"choices":[{"index":0,"message":{"role":"assistant","content":"Hello"},"finish_reason":"stop"}]}'
FIELDS = [("Content-Type", "application/json"), ("Content-Length", str(len(ANSWER)))]
HIT = chat(1_000)
COLUMNS = ("who answers", "request, µs", "ratio")
NOTE = (
    "JSON requests of 1 KB, answered at once by an app or a transport; medians of {} rounds, in turn. Ratios to the bare one."
)

Ask = Callable[[bytes], object]


def pulls(plan: Plan) -> Table:
    """Measure one that answers at once: bare, behind us when we know the answer, and when we do not."""
    with ways() as found:
        seconds = in_turn(list(found.values()), plan)
    figures = dict(zip(found, [median(rounds) for rounds in seconds], strict=True))
    rows = [(name, figure * 1e6, figure / figures[name.partition(",")[0] + ", bare"]) for name, figure in figures.items()]
    return Table("pulls", "What the mounts cost that are pulled", COLUMNS, rows, NOTE.format(plan.rounds))


@contextmanager
def ways() -> Iterator[dict[str, Elapsed]]:
    """Give who answers, and how it is called so many times."""
    with TemporaryDirectory() as directory:
        memory, disk = MemoryStore(), DiskStore(Path(directory))
        yield {**_rows("WSGI", _asked_app, memory, disk), **_rows("httpx", _asked_transport, memory, disk)}
        disk.close()


def _rows(name: str, asked: Callable[[Store | None], Ask], memory: Store, disk: Store) -> dict[str, Elapsed]:
    return {
        f"{name}, bare": timed(partial(asked(None), HIT)),
        f"{name}, hit in memory": timed(partial(asked(memory), HIT)),
        f"{name}, hit on disk": timed(partial(asked(disk), HIT)),
        f"{name}, miss into memory": timed(_never_the_same(asked(memory))),
    }


def _never_the_same(ask: Ask) -> Callable[[], object]:
    numbers = itertools.count()
    return lambda: ask((BEFORE + b"%d" % next(numbers) + AFTER).replace(b'"stream":true', b'"stream":false'))


def _asked_app(store: Store | None) -> Ask:
    app: WsgiApp = _app if store is None else CacheMiddleware(_app, name="benchmarks", store=store)

    def ask(body: bytes) -> bytes:
        answer = app(_environ(body), lambda *_: lambda _: None)
        try:
            return b"".join(answer)
        finally:
            getattr(answer, "close", bool)()

    return ask


def _app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    environ["wsgi.input"].read()
    start_response("200 OK", list(FIELDS))
    return [ANSWER]


def _environ(body: bytes) -> Environ:
    fields = {"HTTP_" + name.decode().upper().replace("-", "_"): value.decode() for name, value in HEADERS}
    more = {"CONTENT_TYPE": "application/json", "CONTENT_LENGTH": str(len(body)), "wsgi.input": io.BytesIO(body)}
    return {"REQUEST_METHOD": "POST", "SCRIPT_NAME": "", "PATH_INFO": PATH, "QUERY_STRING": "", **fields, **more}


class _Inner(httpx.BaseTransport):
    def handle_request(self, request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, headers=FIELDS, stream=httpx.ByteStream(ANSWER))


def _asked_transport(store: Store | None) -> Ask:
    transport = _Inner() if store is None else CacheTransport(_Inner(), store=store)
    client: Any = httpx.Client(transport=transport)
    return lambda body: client.post(f"http://upstream.example{PATH}", content=body, headers=list(HEADERS)).read()
