"""Records whose checksum and proof are right, and which say what was never recorded: such a record is none.

Served, they would break HTTP, raise, or go round in circles.
"""

import math
import signal
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from random import Random
from typing import Any, NoReturn

import httpx
from msgspec.structs import replace

from cachemw import MemoryStore, Policy
from cachemw.asgi import CacheMiddleware
from cachemw.cache import record as codec
from cachemw.httpx import CacheTransport
from cachemw.messages import Kind, StoredResponse
from cachemw.wsgi import CacheMiddleware as WsgiCacheMiddleware
from tests import transport_driver, wsgi_driver
from tests.asgi_driver import RawHeaders, Reply, call
from tests.faults.asking import ASKED, PATH, judge
from tests.faults.fault import Tally
from tests.faults.truth import question, true_body, truthful
from tests.mounts.wsgi_upstream import WsgiUpstream
from tests.upstream import Asked, Upstream


async def ask_for_lies(first: int, count: int) -> Tally:
    """Change what a record says, seal it again, and ask for it."""
    signal.signal(signal.SIGALRM, _called_back)
    ways = [Way(name, make) for name, make in MAKERS.items()]
    cases = [await way.case(body, asked) for way in ways for body in RECORDED for asked in (body, _other_kind(body))]
    tally = Tally()
    for number in range(first, first + count):
        random = Random(number)
        case = random.choice(cases)
        what, changed = _hostile(case.stored, random)
        case.way.store.put(case.index, codec.encode(changed), None)
        speed = random.choice((b"on", b"on, speed=1000", b"on, mode=replay"))
        reply = await case.way.send(case.asked, (*ASKED[:1], (b"cachemw", speed)))
        if b"replay" in speed and is_refused(reply):
            tally += Tally(1)  # nothing that may answer, and nobody to be asked
        else:
            tally += _judged(reply, case, f"{number}: {what}, {case.way.name}, {speed!r}")
    return tally


@dataclass(frozen=True, slots=True)
class Case:
    """A record, and a request that finds it; `truths` may come of that."""

    way: "Way"
    asked: bytes
    index: bytes
    stored: StoredResponse
    truths: tuple[bytes, bytes]


class Way:
    """A mount over a store of its own."""

    def __init__(self, name: str, make: "Callable[[MemoryStore], Send]") -> None:
        self.name, self.store = name, MemoryStore()
        self._send = make(self.store)

    async def send(self, body: bytes, headers: RawHeaders) -> Reply | Exception:
        """Return what came of a request, or what was raised; what goes round in circles is called back."""
        signal.setitimer(signal.ITIMER_REAL, 5.0)
        try:
            return await self._send(body, headers)
        except Exception as exc:  # noqa: BLE001 - whatever it is, it is to be counted
            return exc
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0.0)

    async def case(self, recorded: bytes, asked: bytes) -> Case:
        """Have an answer recorded, and see it served."""
        for index, _ in list(self.store.scan()):
            self.store.delete(index)
        await self.send(recorded, ASKED)
        ((index, record),) = self.store.scan()
        served = await self.send(asked, ASKED)
        assert isinstance(served, Reply), served
        return Case(self, asked, index, codec.decode(record), (served.body, true_body(asked)))


Send = Callable[[bytes, RawHeaders], Awaitable[Reply]]
RECORDED = (question(2, 600), question(3, 900, stream=True), question(4, 25_000, stream=True))
SOON = Policy(max_replay=0.05)


def _other_kind(body: bytes) -> bytes:
    return body.replace(b',"stream":true', b"") if b',"stream":true' in body else body[:-1] + b',"stream":true}'


def is_refused(reply: Reply | Exception) -> bool:
    """Say whether only the store might have answered, and could not."""
    return isinstance(reply, Reply) and reply.status == 504 and b"not-cached" in reply.headers.get(b"cache-status", b"")


def _judged(reply: Reply | Exception, case: Case, what: str) -> Tally:
    told = judge(reply, case.truths, what)
    if isinstance(reply, Reply) and told.is_clean:
        types = [value.partition(b";")[0] for name, value in reply.raw_headers if name.lower() == b"content-type"]
        if types != [b"text/event-stream" if b',"stream":true' in case.asked else b"application/json"]:
            return Tally(1, wrong=1, examples=(f"{what}: the content type {types}",))
    return told


def _asgi(store: MemoryStore) -> Send:
    app = CacheMiddleware(Upstream(truthful), name="truth", store=store, policy=SOON)
    return lambda body, headers: call(app, "POST", PATH, body, headers)


def _wsgi(store: MemoryStore) -> Send:
    app = WsgiCacheMiddleware(WsgiUpstream(Upstream(truthful)), name="truth", store=store, policy=SOON)

    async def send(body: bytes, headers: RawHeaders) -> Reply:
        return wsgi_driver.call(app, "POST", PATH, body, headers)

    return send


def _httpx(store: MemoryStore) -> Send:
    transport = CacheTransport(httpx.MockTransport(_answer), store=store, policy=SOON)
    client = httpx.Client(transport=transport, trust_env=False)

    async def send(body: bytes, headers: RawHeaders) -> Reply:
        return transport_driver.call(client, "POST", f"http://truth{PATH}", body, headers)

    return send


def _answer(request: httpx.Request) -> httpx.Response:
    told = truthful(Asked("POST", "", b"", b"", (), request.read()))
    content = b"".join(part for part in told.parts if isinstance(part, bytes))
    return httpx.Response(200, headers=list(told.headers), content=content)


MAKERS = {"ASGI": _asgi, "WSGI": _wsgi, "httpx": _httpx}


def _hostile(stored: StoredResponse, random: Random) -> tuple[str, StoredResponse]:
    """Return what is said otherwise, and the record that says it."""
    name = random.choice(list(_SAID))
    values = _SAID[name](stored, random)
    value = random.choice(values)
    return f"{name} {value!r:.120}", replace(stored, **{name: value})


def _hostile_headers(stored: StoredResponse, random: Random) -> list[Any]:
    fields = [
        (b"content-language", b"en\r\nset-cookie: a=b"), (b"content-language\r\nx: y", b"en"), (b"openai-version", b"1\n2"),
        (b"set-cookie", b"a=b"), (b"transfer-encoding", b"chunked"), (b"content-length", b"5"), (b"content-encoding", b"gzip"),
        (b"cache-status", b"other; hit"), (b"age", b"99999"), (b"connection", b"close"), (b"location", b"http://evil"),
        (b"", b""), (b"x\0", b"\0"), (b"content-type", b"text/html"), (b":status", b"500"), (b"x-" * 5000, b"y" * 100_000),
    ]  # fmt: skip
    field = random.choice(fields)
    return [(*stored.headers, field), (field, *stored.headers), (field,), (), (*stored.headers, *stored.headers), (field,) * 9]


def _hostile_ends(stored: StoredResponse, random: Random) -> list[Any]:
    ends, size = stored.event_ends, len(stored.body)
    lists = [
        ends[::-1], (), ends[:-1], ends[1:], (*ends, size), (*ends, 2**63), (2**64 - 1,) * len(ends), (0,) * len(ends),
        tuple(random.sample(ends, len(ends))), tuple(random.randrange(size) for _ in ends), tuple(end + 1 for end in ends),
        (size,), (0,), (1,), (size // 2, 1, size), tuple(range(min(size, 3000))),
    ]  # fmt: skip
    return [tuple(ends) for ends in lists]


def _hostile_arrivals(stored: StoredResponse, random: Random) -> list[Any]:
    count = len(stored.arrivals)
    values = (math.nan, math.inf, -math.inf, -1.0, 1e308, -1e308, 5e-324)
    return [
        (random.choice(values),) * count,
        tuple(random.choice(values) for _ in range(count)),
        (),
        (0.0,) * (count + 1),
        (1.0,),
    ]


_TIMES = (math.nan, math.inf, -math.inf, 1e308, -1e308, -1.0, 0.0, 2.0**63, 4e9)
_SAID: dict[str, Callable[[StoredResponse, Random], list[Any]]] = {
    "headers": _hostile_headers,
    "event_ends": _hostile_ends,
    "arrivals": _hostile_arrivals,
    "status": lambda stored, random: [100, 101, 204, 206, 304, 404, 500, 0, -1, 2**40, 999, 201],
    "stored_at": lambda stored, random: list(_TIMES),
    "lifetime": lambda stored, random: list(_TIMES),
    "kind": lambda stored, random: [
        Kind(random.random() < 0.5, options)
        for options in (b"", b"no JSON", b"[]", b"null", b'{"include_usage":1}', b"[" * 9999, b"\xff", b"{}", b"{} ")
    ],
    "body": lambda stored, random: [
        b"", b" ", b"[]", b"null", b'{"error":{"message":"m"}}', stored.body[:-3], b"[" * 99_999, b"\xff", b"<html>", b"{",
        b'{"choices":[]}', b"data: [DONE]\n\n", b'data: {"choices":[]}\n\ndata: [DONE]\n\n', stored.body * 2,
    ],
    "proof": lambda stored, random: [b"", stored.proof[:-1], stored.proof + b"\0", bytes(32), random.randbytes(32)],
    "request": lambda stored, random: [b"", b"\xff" * 1000],
}  # fmt: skip


def _called_back(*_: object) -> NoReturn:
    raise TimeoutError("it does not end")
