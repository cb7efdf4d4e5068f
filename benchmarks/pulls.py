"""What a hit and a miss cost in process where answers are pulled: under WSGI, and in a transport of httpx."""

import io
import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from time import process_time
from typing import Any

import httpx

from benchmarks import aims
from benchmarks.asking import HEADERS, PATH, chat
from benchmarks.cores import pinned
from benchmarks.inside import AFTER, BEFORE
from benchmarks.plan import Plan
from benchmarks.tables import Cell, Table
from benchmarks.timing import Elapsed, in_turn, timed
from cachemw._wsgi_environ import Environ, StartResponse, WsgiApp
from cachemw.httpx import CacheTransport
from cachemw.stores import DiskStore, MemoryStore, Store
from cachemw.wsgi import CacheMiddleware

ANSWER = b'{"choices":[{"index":0,"message":{"role":"assistant","content":"Hello"},"finish_reason":"stop"}]}'
FIELDS = [("Content-Type", "application/json"), ("Content-Length", str(len(ANSWER)))]
HIT = chat(1_000)
BEYOND_US = 40
COLUMNS = ("who answers", "request, µs", "beyond the bare, µs", *aims.COLUMNS)
NOTE = (
    "Processor time of JSON requests of 1 KB, answered at once by an app, or by a MockTransport under us; medians of {} rounds,"
    " in turn."
)

Ask = Callable[[bytes], object]


def pulls(plan: Plan) -> list[Table]:
    """Measure one that answers at once: bare, behind us when we know the answer, and when we do not."""
    with pinned(plan.cores.server), ways() as found:
        seconds = dict(zip(found, in_turn(list(found.values()), plan), strict=True))
    rows = [(name, *_figures(name, times, seconds[_bare(name)])) for name, times in seconds.items()]
    return [Table("pulls", "What the mounts cost that are pulled", COLUMNS, rows, NOTE.format(plan.rounds))]


def _bare(name: str) -> str:
    return f"{name.partition(',')[0]}, bare"


def _figures(name: str, times: Sequence[float], bare: Sequence[float]) -> tuple[Cell, ...]:
    """Return the medians of what a request takes, and of what it takes more than a bare one in the same round."""
    beyond = median(one - other for one, other in zip(times, bare, strict=True)) * 1e6
    aim = [aims.at_most(beyond, BEYOND_US, "µs beyond")] if ", hit" in name else []
    return (median(times) * 1e6, beyond, *aims.cells(aim))


@contextmanager
def ways() -> Iterator[dict[str, Elapsed]]:
    """Give who answers, and how it is called so many times."""
    with TemporaryDirectory() as directory:
        memory, disk = MemoryStore(), DiskStore(Path(directory))
        yield {**_rows("WSGI", _asked_app, memory, disk), **_rows("httpx", _asked_transport, memory, disk)}
        disk.close()


def _rows(name: str, asked: Callable[[Store | None], Ask], memory: Store, disk: Store) -> dict[str, Elapsed]:
    return {
        f"{name}, bare": _timed(partial(asked(None), HIT)),
        f"{name}, hit in memory": _timed(partial(asked(memory), HIT)),
        f"{name}, hit on disk": _timed(partial(asked(disk), HIT)),
        f"{name}, miss into memory": _timed(_never_the_same(asked(memory))),
    }


def _timed(call: Callable[[], object]) -> Elapsed:
    return timed(call, process_time)  # others on this machine take none of it


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


def _answered(request: httpx.Request) -> httpx.Response:
    return httpx.Response(200, headers=FIELDS, stream=httpx.ByteStream(ANSWER))


def _asked_transport(store: Store | None) -> Ask:
    bare = httpx.MockTransport(_answered)
    transport = bare if store is None else CacheTransport(bare, store=store)
    client: Any = httpx.Client(transport=transport)
    return lambda body: client.post(f"http://upstream.example{PATH}", content=body, headers=list(HEADERS)).read()
