"""I1: callers with credentials in every place ask one store the same questions. Nobody gets, or can time, another's answer."""

import http.client
import json
import math
import threading
import time
from bisect import bisect_right
from dataclasses import dataclass, field
from functools import partial
from random import Random
from typing import Any
from urllib.parse import urlsplit

import anyio
import anyio.to_thread
from starlette.types import ASGIApp, Receive, Scope, Send

from cachemw import MemoryStore, Policy, asgi
from tests.asgi_driver import Reply
from tests.faults.fault import Fault, Tally
from tests.faults.reflecting import KINDS, PATH, asked, is_hit, mount_of
from tests.serving import serving_in_thread
from tests.upstream import Asked, Told, Upstream, completion, prompt, stream

Fields = tuple[tuple[bytes, bytes], ...]

CREDENTIALS = (b"authorization", b"api-key", b"x-api-key", b"x-goog-api-key")
PLACEHOLDER = (b"authorization", b"Bearer cachemw")
THE_SERVERS = ((b"authorization", b"Bearer sk-of-the-server"),)
CALLERS: tuple[Fields, ...] = (
    (),
    (PLACEHOLDER,),
    ((b"authorization", b"bearer CACHEMW"),),
    ((b"authorization", b"Bearer sk-ada"),),
    ((b"authorization", b"Bearer sk-ben"),),
    ((b"authorization", b"Bearer sk-Ada"),),
    ((b"authorization", b"bearer sk-ada"),),
    ((b"authorization", b"Basic sk-ada"),),
    ((b"authorization", b"sk-ada"),),
    ((b"authorization", b"Bearer cachemw2"),),
    *(((name, b"sk-ada"),) for name in CREDENTIALS[1:]),
    *(((name, b"sk-ben"),) for name in CREDENTIALS[1:]),
    *((PLACEHOLDER, (name, b"sk-ada")) for name in CREDENTIALS[1:]),
    ((b"authorization", b"Bearer sk-ada"), (b"api-key", b"sk-ada")),
    ((b"authorization", b"Bearer sk-ada"), (b"api-key", b"sk-ben")),
    ((b"authorization", b"Bearer sk-ben"), (b"api-key", b"sk-ada")),
    ((b"api-key", b"sk-ada"), (b"x-api-key", b"sk-ben")),
    ((b"api-key", b"sk-adask-ben"),),
)
NAMESPACES = (None, "a", "sk-ada")
AT_ONCE = 16
SAMPLES = 250
COST = 0.002
"""Seconds an answer of the upstream takes in the audit, so that a hit would show."""

BY_CHANCE = 1e-6


@dataclass(frozen=True, slots=True)
class Question:
    """One request: who asks, and for what."""

    caller: Fields
    text: str
    namespace: str | None
    sample: int
    is_stream: bool

    def fields(self, random: Random) -> Fields:
        """Return its header fields: names in whatever case, and others beside them."""
        control = f"on, sample={self.sample}" + (f', namespace="{self.namespace}"' if self.namespace else "")
        spelled = tuple((random.choice([name, name.title(), name.upper()]), value) for name, value in self.caller)
        return (*spelled, (b"cachemw", control.encode()), (b"user-agent", random.choice([b"ada", b"ben"])))


@dataclass(slots=True)
class Signed:
    """An upstream whose answers say who asked, and have a number each."""

    given: dict[int, Told] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __call__(self, asked: Asked) -> Told:
        said = json.loads(asked.body)
        with self._lock:
            number = len(self.given)
            text = json.dumps([number, who(asked.headers), said["messages"][-1]["content"]])
            self.given[number] = stream(text) if said.get("stream") else completion(text)
            return self.given[number]


def who(headers: Fields) -> list[list[str]]:
    """Return who asks, as the upstream sees it."""
    return sorted([name.lower().decode(), value.decode()] for name, value in headers if name.lower() in CREDENTIALS)


def seen_as(kind: str, caller: Fields) -> list[list[str]]:
    """Return as whom an upstream must see a caller."""
    if kind != "with an upstream":
        return who(caller)
    own = tuple(one for one in caller if (one[0], one[1].lower()) != (PLACEHOLDER[0], PLACEHOLDER[1].lower()))
    return who(own or THE_SERVERS)


class Load:
    """Random requests at one mount, and what came of them."""

    def __init__(self, kind: str, count: int) -> None:
        self.kind, self.upstream = kind, Signed()
        self._texts = [f"question {number}" for number in range(2 + count // 400)]  # so that about half are hits
        self.mount = mount_of(kind, self.upstream)
        self.hits = 0
        self.tally = Tally()
        self._random, self._lock = Random(f"{kind} {count}"), threading.Lock()
        self._owners: dict[int, tuple[Any, ...]] = {}

    async def ask(self, count: int) -> None:
        """Ask so many questions, one after the other."""
        for _ in range(count):
            with self._lock:
                random = Random(self._random.random())
            question = Question(
                random.choice(CALLERS),
                random.choice(self._texts),
                random.choice(NAMESPACES),
                random.randint(0, 1),
                random.random() < 0.3,
            )
            body = prompt(question.text, **({"stream": True} if question.is_stream else {}))
            reply = await asked(self.mount, (PATH, body, question.fields(random)))
            with self._lock:
                self.hits += is_hit(reply)
                self.tally += self._judge(question, reply)

    def _judge(self, question: Question, reply: Reply) -> Tally:
        if reply.status != 200 or not reply.complete:
            return Tally(1, failed=1, examples=(f"{self.kind}: {reply.status} for {question}",))
        number, asker, text = json.loads(said_in(reply))
        its_own = (seen_as(self.kind, question.caller), question.text, question.namespace, question.sample)
        owner = self._owners.setdefault(number, its_own)  # another sample's answer is wrong, too
        is_true = (asker, text) == its_own[:2] and owner == its_own and self._is_untouched(number, reply)
        return Tally(1) if is_true else Tally(1, wrong=1, examples=(f"{self.kind}: {question} got {asker}, {text}",))

    def _is_untouched(self, number: int, reply: Reply) -> bool:
        if b"transcoded" in reply.headers[b"cache-status"]:
            return True
        return reply.body == b"".join(part for part in self.upstream.given[number].parts if isinstance(part, bytes))


def said_in(reply: Reply) -> str:
    """Return the text of an answer, of either kind."""
    if not reply.headers[b"content-type"].startswith(b"text/event-stream"):
        return str(json.loads(reply.body)["choices"][0]["message"]["content"])
    events = [json.loads(line[6:]) for line in reply.body.splitlines() if line.startswith(b"data: {")]
    return "".join(choice["delta"].get("content") or "" for event in events for choice in event["choices"])


async def mixed_load(kind: str, count: int) -> tuple[Tally, int]:
    """Ask `AT_ONCE` at a time, in tasks or in threads; return how many were hits, too."""
    load = Load(kind, count)
    async with anyio.create_task_group() as tasks:
        for number in range(AT_ONCE):
            share = count // AT_ONCE + (number < count % AT_ONCE)
            if isinstance(load.mount, asgi.CacheMiddleware):
                tasks.start_soon(load.ask, share)
            else:
                tasks.start_soon(anyio.to_thread.run_sync, partial(anyio.run, load.ask, share))
    if load.tally.is_clean and not count // 5 < load.hits < count:
        raise RuntimeError(f"{kind}: {load.hits} hits in {count} requests show nothing")
    return load.tally, load.hits


@dataclass(frozen=True, slots=True)
class Audit:
    """Can one caller tell from the time that answers take what another one has asked? `chance`: that none can."""

    hits: int
    chance: float


def audited(policy: Policy) -> Audit:
    """One primes questions; another times those and as many that nobody asked before, in random order, over a socket."""
    random = Random("audit")
    primed = [f"primed {number}" for number in range(SAMPLES)]
    fresh = [f"fresh {number}" for number in range(SAMPLES)]
    app = asgi.CacheMiddleware(costly(Upstream()), name="bot", store=MemoryStore(), policy=policy)
    with serving_in_thread(app) as url:
        victim, attacker = (Caller(url, credential) for credential in ("Bearer sk-victim", "Bearer sk-attacker"))
        for text in random.sample(primed, SAMPLES):
            victim.ask(text)
        attacker.ask("warming up")
        took = {text: attacker.ask(text) for text in random.sample([*primed, *fresh], 2 * SAMPLES)}
        victim.close()
        attacker.close()
    chance = same_distribution([took[text][0] for text in primed], [took[text][0] for text in fresh])
    return Audit(sum(hit for _, hit in took.values()), chance)


def costly(app: ASGIApp) -> ASGIApp:
    async def slow(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await anyio.sleep(COST)
        await app(scope, receive, send)

    return slow


class Caller:
    """One with a credential, over a connection that stays open."""

    def __init__(self, url: str, credential: str) -> None:
        self._connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=30)
        self._headers = {"authorization": credential, "content-type": "application/json", "cachemw": "on"}

    def ask(self, text: str) -> tuple[float, bool]:
        """Return how many seconds an answer took, and whether it says that it is a hit."""
        began = time.perf_counter()
        self._connection.request("POST", PATH, prompt(text), self._headers)
        response = self._connection.getresponse()
        response.read()
        return time.perf_counter() - began, (response.getheader("cache-status") or "").startswith("cachemw; hit")

    def close(self) -> None:
        self._connection.close()


def same_distribution(one: list[float], other: list[float]) -> float:
    """Return the chance that two samples of one distribution differ as much (Kolmogorov-Smirnov, asymptotic)."""
    one, other = sorted(one), sorted(other)
    apart = max(abs(bisect_right(one, at) / len(one) - bisect_right(other, at) / len(other)) for at in (*one, *other))
    root = math.sqrt(len(one) * len(other) / (len(one) + len(other)))
    scaled = (root + 0.12 + 0.11 / root) * apart
    terms = (2 * (-1) ** (k - 1) * math.exp(-2 * (k * scaled) ** 2) for k in range(1, 101))
    return min(1.0, max(0.0, sum(terms))) if scaled > 0.2 else 1.0


def audits() -> Tally:
    """By default nothing shows; where all share, all of it does, or else the audit would show nothing."""
    apart, shared = audited(Policy()), audited(Policy(partition="shared"))
    told = [f"apart: {apart}"] if apart.hits or apart.chance < BY_CHANCE else []
    told += [f"shared: {shared}"] if shared.hits != SAMPLES or shared.chance > BY_CHANCE else []
    note = f"audit p = {apart.chance:.2g}, {apart.hits} hits; shared p = {shared.chance:.1g}, {shared.hits} hits"
    return Tally(0, wrong=len(told), examples=tuple(told), note=note)


def run(trials: int) -> Tally:
    """Put every mount under load, then audit the time that answers take."""
    tally, hits = Tally(), 0
    for kind in KINDS:
        tried, found = anyio.run(mixed_load, kind, trials // len(KINDS))
        tally, hits = tally + tried, hits + found
    audit = audits()
    return tally + audit + Tally(note=f"{hits:,} hits; {audit.note}")


FAULTS = (Fault("two credentials, mixed load", "random requests of many callers; then a timing audit", 5_000, 100_000, run),)
