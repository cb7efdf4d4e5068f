"""`cachemw demo`: a simulated upstream, a proxy, and a client that asks everything twice."""

import re
import tempfile
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass

import httpx
import msgspec
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from cachemw.cache.policy import Policy
from cachemw.cli.serve import running
from cachemw.proxy import Proxy
from cachemw.simulator import Simulator
from cachemw.stores import DiskStore
from cachemw.upstreams import HttpUpstream
from cachemw.wire.sse import Parser

Question = Mapping[str, object]

QUESTIONS: Mapping[str, Question] = {  # two prompts: a record of one kind answers the other kind too
    "JSON": {"messages": [{"role": "user", "content": "What does a cache do?"}]},
    "stream": {"messages": [{"role": "user", "content": "What is a stream?"}], "stream": True},
}


@dataclass(frozen=True, slots=True)
class Reply:
    """One answer as its client saw it; `calls`: how often the upstream was called for it."""

    status: int
    cache_status: str
    body: bytes
    first_byte_seconds: float
    seconds: float
    calls: int

    @property
    def is_hit(self) -> bool:
        return self.status == 200 and "hit" in self.cache_status.split("; ")

    @property
    def is_miss(self) -> bool:
        return self.status == 200 and "fwd=miss" in self.cache_status.split("; ")


@dataclass(frozen=True, slots=True)
class Round:
    """The same question twice; `kind` is "JSON" or "stream"."""

    kind: str
    first: Reply
    again: Reply

    @property
    def is_same(self) -> bool:
        return self.first.body == self.again.body != b""

    @property
    def unpaid_tokens(self) -> int:
        """Return what the second answer says it cost, where nobody was asked for it."""
        return total_tokens(self.again.body, self.kind) if self.again.is_hit and not self.again.calls else 0


@dataclass(frozen=True, slots=True)
class Promise:
    """A sentence, and whether it is true."""

    sentence: str
    is_true: bool


def ask(client: httpx.Client, question: Question, simulator: Simulator) -> Reply:
    """Ask through the proxy, and watch the clock and the upstream."""
    calls_before, began = simulator.calls, time.perf_counter()
    with client.stream("POST", "/v1/chat/completions", json=question, headers={"Cachemw": "on"}) as response:
        chunks = [(time.perf_counter(), chunk) for chunk in response.iter_raw()]
    ended = time.perf_counter()
    return Reply(
        status=response.status_code,
        cache_status=response.headers.get("cache-status", ""),
        body=b"".join(chunk for _, chunk in chunks),
        first_byte_seconds=(chunks[0][0] if chunks else ended) - began,
        seconds=ended - began,
        calls=simulator.calls - calls_before,
    )


def claims(rounds: Sequence[Round]) -> list[Promise]:
    """Return everything the demo claims."""
    unpaid = sum(each.unpaid_tokens for each in rounds)
    return [claim for each in rounds for claim in _claims(each)] + [Promise(f"{unpaid} tokens were not paid for", unpaid > 0)]


def _claims(each: Round) -> list[Promise]:
    first, again, kind = each.first, each.again, each.kind
    calls = first.calls + again.calls
    return [
        Promise(f"{kind}: the first request was a miss and went to the upstream", first.is_miss and first.calls == 1),
        Promise(f"{kind}: the same request again was a hit, and nothing was forwarded", again.is_hit and again.calls == 0),
        Promise(f"{kind}: two requests made the upstream work once (calls: {calls})", calls == 1),
        Promise(f"{kind}: both answers are the same, byte for byte", each.is_same),
        _faster(f"{kind}: the first byte of the hit came", again.first_byte_seconds, first.first_byte_seconds),
        _faster(f"{kind}: the whole of the hit came", again.seconds, first.seconds),
    ]


def _faster(what: str, seconds: float, miss_seconds: float) -> Promise:
    return Promise(f"{what} after {milliseconds(seconds)}, not {milliseconds(miss_seconds)}", seconds < miss_seconds)


def milliseconds(seconds: float) -> str:
    """Show a duration."""
    return f"{seconds * 1000:,.0f} ms"


def total_tokens(body: bytes, kind: str) -> int:
    """Return the tokens that an answer says it cost."""
    documents = [event.data for event in Parser().feed(body)] if kind == "stream" else [body]
    told = [msgspec.json.decode(document).get("usage") for document in documents if document.startswith(b"{")]
    return next((usage["total_tokens"] for usage in reversed(told) if usage), 0)


CALLERS = 10
SAME_STREAM: Question = {"messages": [{"role": "user", "content": "What do ten people ask at once?"}], "stream": True}


@dataclass(frozen=True, slots=True)
class Together:
    """The answers of ten callers, how often the upstream was called for them, and how long the slowest took, in seconds."""

    replies: Sequence[Reply]
    calls: int
    seconds: float

    @property
    def collapsed(self) -> int:
        """Return how many of them were answered by another's forward."""
        return sum("collapsed" in reply.cache_status.split("; ") for reply in self.replies)


def ask_as_the_other_kind(client: httpx.Client, simulator: Simulator) -> dict[str, Reply]:
    """Ask for what is stored as JSON as a stream, and the reverse."""
    as_stream = {**QUESTIONS["JSON"], "stream": True}
    as_json = {**QUESTIONS["stream"], "stream": False}
    return {"JSON": ask(client, as_stream, simulator), "stream": ask(client, as_json, simulator)}


def ask_together(client: httpx.Client, simulator: Simulator) -> Together:
    """Let ten callers ask for one stream at the same time."""
    before = simulator.calls
    with ThreadPoolExecutor(CALLERS) as callers:
        replies = list(callers.map(lambda _: ask(client, SAME_STREAM, simulator), range(CALLERS)))
    return Together(replies, simulator.calls - before, max(reply.seconds for reply in replies))


def other_kind_claims(replies: dict[str, Reply]) -> list[Promise]:
    """Return what is claimed of one record and both kinds."""
    return [
        Promise(
            f"{kind}: the stored answer also came as the other kind, and nothing was forwarded",
            reply.is_hit and reply.calls == 0 and "detail=transcoded" in reply.cache_status,
        )
        for kind, reply in replies.items()
    ]


def together_claims(together: Together, alone: Reply) -> list[Promise]:
    """Return what is claimed of ten callers; `alone` is a stream of about the same length that nobody shared."""
    bodies = {reply.body for reply in together.replies}
    whole = all(reply.status == 200 and reply.body.endswith(b"data: [DONE]\n\n") for reply in together.replies)
    live = max(reply.first_byte_seconds for reply in together.replies) < min(reply.seconds for reply in together.replies)
    return [
        Promise(f"ten callers of one stream made the upstream work once (calls: {together.calls})", together.calls == 1),
        Promise("nine of them read the forward of the tenth, and say so", together.collapsed == CALLERS - 1),
        Promise("all ten got the same stream, whole", len(bodies) == 1 and whole),
        Promise("every one of them had its first byte before any had its last", live),
        Promise(
            "the slowest of the ten did not wait for two answers one after the other", together.seconds < 2 * alone.seconds
        ),
    ]


FIRST_TOKEN_SECONDS = 0.5
TOKENS_PER_SECOND = 45.0
DEMO_SECONDS = 30.0

COLUMNS = ("request", "first byte", "total", "calls", "answer", "Cache-Status")
_KEY = re.compile(r'(key="\w{4})\w+')  # the rest of it takes two lines and says nothing

BEGINNING = """\
A simulated upstream, as slow as a real one, and the proxy before it. Each question is asked twice,
then as the other kind; then ten callers ask for one stream at the same time."""
ENDING = """\
With a real client:
  export CEREBRAS_API_KEY=...
  cachemw serve
  OpenAI(base_url="http://127.0.0.1:8080/v1", api_key="cachemw", default_headers={"Cachemw": "on"})"""


@dataclass(frozen=True, slots=True)
class Played:
    """Everything that was asked."""

    rounds: Sequence[Round]
    other_kind: dict[str, Reply]
    together: Together

    def claims(self) -> list[Promise]:
        """Return everything that is claimed of it."""
        alone = self.rounds[-1].first
        return [*claims(self.rounds), *other_kind_claims(self.other_kind), *together_claims(self.together, alone)]


def perform(console: Console, *, simulator: Simulator | None = None, policy: Policy | None = None) -> int:
    """Show misses and hits; return the exit code: 0 if everything that was claimed about them is true, else 1."""
    upstream = simulator or Simulator(first_token_seconds=FIRST_TOKEN_SECONDS, tokens_per_second=TOKENS_PER_SECOND)
    _say(console, BEGINNING)
    with console.status("asking", spinner="line"):
        played = play(upstream, policy)
    console.print(_table(played))
    claimed = played.claims()
    for claim in claimed:
        _say(console, _judged(claim))
    _say(console, ENDING)
    return 0 if all(claim.is_true for claim in claimed) else 1


def play(simulator: Simulator, policy: Policy | None) -> Played:
    """Start both servers, ask everything, and leave nothing behind."""
    with (
        tempfile.TemporaryDirectory(prefix="cachemw-demo-") as directory,
        closing(DiskStore(directory)) as store,
        running(simulator) as upstream_url,
        running(Proxy(HttpUpstream(f"{upstream_url}/v1"), store=store, policy=policy)) as proxy_url,
        httpx.Client(base_url=proxy_url, trust_env=False, timeout=DEMO_SECONDS) as client,
    ):
        rounds = [
            Round(kind, ask(client, question, simulator), ask(client, question, simulator))
            for kind, question in QUESTIONS.items()
        ]
        return Played(rounds, ask_as_the_other_kind(client, simulator), ask_together(client, simulator))


def _table(played: Played) -> Table:
    table = Table(*(Column(name, overflow="fold") for name in COLUMNS), box=SIMPLE_HEAD)
    for each in played.rounds:
        table.add_row(f"{each.kind}, first", *_cells(each.first), _size(each.first), _status(each.first))
        same = Text("the same") if each.is_same else Text("another", "bold red")
        table.add_row(f"{each.kind}, again", *_cells(each.again), same, _status(each.again))
    for kind, reply in played.other_kind.items():
        other = "stream" if kind == "JSON" else "JSON"
        table.add_row(f"{kind}, as {other}", *_cells(reply), _size(reply), _status(reply))
    last = played.together.replies[-1]
    cells = (milliseconds(last.first_byte_seconds), milliseconds(played.together.seconds), str(played.together.calls))
    table.add_row("ten at once", *cells, _size(last), _status(last))
    return table


def _size(reply: Reply) -> str:
    return f"{len(reply.body):,} bytes"


def _cells(reply: Reply) -> tuple[str, str, str]:
    return milliseconds(reply.first_byte_seconds), milliseconds(reply.seconds), str(reply.calls)


def _status(reply: Reply) -> Text:
    return Text(_KEY.sub(r"\1...", reply.cache_status))


def _judged(claim: Promise) -> Text:
    verdict = Text(" true  ", "green") if claim.is_true else Text(" FALSE ", "bold red")
    return verdict.append(claim.sentence, "default" if claim.is_true else "red")


def _say(console: Console, text: str | Text) -> None:
    console.print(text, markup=False, highlight=False, soft_wrap=True)
