"""`cachemw demo`: a simulated upstream, a proxy, and a client that asks everything twice."""

import re
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import httpx
import msgspec
from rich.console import Console
from rich.text import Text

from cachemw.cache.policy import Policy
from cachemw.cli.serve import running
from cachemw.proxy import Proxy
from cachemw.simulator import Simulator
from cachemw.stores import DiskStore
from cachemw.upstreams import cerebras
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
        return total_tokens(self.again.body) if self.again.is_hit and not self.again.calls else 0


@dataclass(frozen=True, slots=True)
class Promise:
    """A sentence, and whether it is true."""

    sentence: str
    is_true: bool


def ask(client: httpx.Client, question: Question, simulator: Simulator, path: str = "/v1/chat/completions") -> Reply:
    """Ask through the proxy, and watch the clock and the upstream."""
    calls_before, began = simulator.calls, time.perf_counter()
    with client.stream("POST", path, json=question, headers={"Cachemw": "on"}) as response:
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


@dataclass(frozen=True, slots=True)
class Point:
    """A line of the demo, and the claims that it stands for."""

    line: str
    claims: Sequence[Promise]

    @property
    def is_true(self) -> bool:
        return all(claim.is_true for claim in self.claims)


def round_claims(each: Round) -> list[Promise]:
    """Return what is claimed of a question that was asked twice."""
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


def unpaid_claims(rounds: Sequence[Round]) -> list[Promise]:
    """Return what is claimed of the second answers' cost."""
    unpaid = sum(each.unpaid_tokens for each in rounds)
    return [Promise(f"{unpaid:,} tokens were not paid for", unpaid > 0)]


def milliseconds(seconds: float) -> str:
    """Show a duration."""
    return f"{seconds * 1000:,.0f} ms"


def told_usage(body: bytes) -> Mapping[str, Any]:
    """Return the usage that an answer tells, the last of a stream; empty where it tells none."""
    documents = [body] if body.startswith(b"{") else [event.data for event in Parser().feed(body)]
    told = [msgspec.json.decode(document).get("usage") for document in documents if document.startswith(b"{")]
    return next((usage for usage in reversed(told) if usage), {})


def total_tokens(body: bytes) -> int:
    """Return the tokens that an answer says it cost."""
    return int(told_usage(body).get("total_tokens", 0))


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


MESSAGE: Question = {
    "model": "gpt-oss-120b",
    "max_tokens": 64,
    "messages": [{"role": "user", "content": "What do two dialects have in common?"}],
}
SAME_IN_CHAT: Question = {"max_completion_tokens" if name == "max_tokens" else name: MESSAGE[name] for name in MESSAGE}
"""What the upstream, which speaks chat alone, is asked for the message."""


@dataclass(frozen=True, slots=True)
class Dialects:
    """One question as Anthropic's clients ask it, for JSON and then for a stream, and as OpenAI's clients ask it."""

    message: Reply
    stream: Reply
    chat: Reply

    @property
    def texts(self) -> set[str]:
        """Return what each of them says."""
        events = [msgspec.json.decode(event.data) for event in Parser().feed(self.stream.body)]
        said = [event["delta"].get("text", "") for event in events if event["type"] == "content_block_delta"]
        blocks = msgspec.json.decode(self.message.body)["content"]
        choice = msgspec.json.decode(self.chat.body)["choices"][0]
        return {"".join(said), "".join(block.get("text", "") for block in blocks), choice["message"]["content"]}


def ask_in_dialects(client: httpx.Client, simulator: Simulator) -> Dialects:
    """Ask as Anthropic's clients do, and then the same as OpenAI's do."""
    message, stream = (ask(client, {**MESSAGE, "stream": is_stream}, simulator, "/v1/messages") for is_stream in (False, True))
    return Dialects(message, stream, ask(client, SAME_IN_CHAT, simulator))


def dialect_claims(dialects: Dialects) -> tuple[list[Promise], list[Promise]]:
    """Return what is claimed of Anthropic's clients, and of the record that they share with OpenAI's."""
    message, stream, chat = dialects.message, dialects.stream, dialects.chat
    is_message = message.is_miss and b'"type":"message"' in message.body
    is_stream = stream.is_hit and stream.body.startswith(b"event: message_start") and b"event: message_stop" in stream.body
    of_theirs = [
        Promise("the chat API was asked once for a message, and it was a message that came", is_message and message.calls == 1),
        Promise("the same as a stream was a hit, from message_start to message_stop", is_stream and stream.calls == 0),
    ]
    keys = {_KEY_OF.findall(reply.cache_status)[0] for reply in (message, stream, chat) if "key=" in reply.cache_status}
    of_both = [
        Promise("the same question in chat was a hit", chat.is_hit and chat.calls == 0),
        Promise("all three answers have one key", len(keys) == 1),
        Promise("all three answers say the same", chat.status == message.status == stream.status == 200 and _agree(dialects)),
    ]
    return of_theirs, of_both


def _agree(dialects: Dialects) -> bool:
    return len(dialects.texts) == 1 and dialects.texts != {""}


FIRST_TOKEN_SECONDS = 0.5
TOKENS_PER_SECOND = 45.0
DEMO_SECONDS = 30.0

_KEY = re.compile(r'(key="\w{4})\w+')  # the rest of it is long, and says nothing
_KEY_OF = re.compile(r'key="(\w+)"')

BEGINNING = """\
A simulated LLM API, as slow as a real one, and cachemw before it.
Each question is asked twice, ten callers ask one at the same time, and one
is asked in two dialects.
"""
ENDING = """
With a real client:
  export CEREBRAS_API_KEY=...
  cachemw serve
  client = OpenAI(base_url="http://127.0.0.1:8080/v1", api_key="cachemw",
                  default_headers={"Cachemw": "on"})
  client = Anthropic(base_url="http://127.0.0.1:8080", api_key="cachemw",
                     default_headers={"Cachemw": "on"})"""


@dataclass(frozen=True, slots=True)
class Played:
    """Everything that was asked."""

    rounds: Sequence[Round]
    other_kind: dict[str, Reply]
    together: Together
    dialects: Dialects

    def replies(self) -> Iterator[tuple[str, Reply]]:
        """Yield one answer of each sort, and what it is called."""
        for each in self.rounds:
            yield f"{each.kind}, first", each.first
            yield f"{each.kind}, again", each.again
        for kind, reply in self.other_kind.items():
            yield f"{kind}, as {'stream' if kind == 'JSON' else 'JSON'}", reply
        yield "ten at once", self.together.replies[-1]
        yield "message, first", self.dialects.message
        yield "its stream", self.dialects.stream
        yield "the same in chat", self.dialects.chat

    def points(self) -> list[Point]:
        """Return everything that is claimed of it, as it is told."""
        json, stream = self.rounds
        one_and_ten, *live = together_claims(self.together, stream.first)
        unpaid = unpaid_claims(self.rounds)
        of_messages, of_both = dialect_claims(self.dialects)
        return [
            Point(f"JSON: {_times(json.first.seconds, json.again.seconds)}, the same bytes", round_claims(json)),
            Point(
                f"stream: first word after {_times(stream.first.first_byte_seconds, stream.again.first_byte_seconds)}",
                round_claims(stream),
            ),
            Point("the stored JSON was also given as a stream, the stored stream as JSON", other_kind_claims(self.other_kind)),
            Point(f"{CALLERS} callers of one stream at once: {_calls(self.together.calls)} of the API", [one_and_ten]),
            Point("each of them read it live, as it was written", live),
            Point("an Anthropic client got a message of the same chat API, and its stream", of_messages),
            Point("an OpenAI client that asked the same was given that answer, as a chat", of_both),
            Point(unpaid[0].sentence, unpaid),
        ]


def _times(first: float, again: float) -> str:
    return f"{milliseconds(first)} the first time, {milliseconds(again)} from the cache"


def _calls(count: int) -> str:
    return "1 call" if count == 1 else f"{count} calls"


def perform(console: Console, *, simulator: Simulator | None = None, policy: Policy | None = None) -> int:
    """Show misses and hits; return the exit code: 0 if everything that was claimed about them is true, else 1."""
    upstream = simulator or Simulator(
        first_token_seconds=FIRST_TOKEN_SECONDS, tokens_per_second=TOKENS_PER_SECOND, dialect="cerebras"
    )
    say(console, BEGINNING)
    with console.status("asking", spinner="line"):
        played = play(upstream, policy)
    points = played.points()
    for point in points:
        for line in judged(point, console):
            say(console, line)
    say(console, "\nEach answer says in its Cache-Status header what happened:")
    for name, reply in played.replies():
        say(console, f"  {name:<16} {_status(reply)}")
    say(console, ENDING)
    return 0 if all(point.is_true for point in points) else 1


def play(simulator: Simulator, policy: Policy | None) -> Played:
    """Start both servers, ask everything, and leave nothing behind."""
    with (
        tempfile.TemporaryDirectory(prefix="cachemw-demo-") as directory,
        closing(DiskStore(directory)) as store,
        running(simulator) as upstream_url,
        running(Proxy(cerebras(api_key="simulated", base_url=upstream_url), store=store, policy=policy)) as proxy_url,
        httpx.Client(base_url=proxy_url, trust_env=False, timeout=DEMO_SECONDS) as client,
    ):
        rounds = [
            Round(kind, ask(client, question, simulator), ask(client, question, simulator))
            for kind, question in QUESTIONS.items()
        ]
        other_kind, together = ask_as_the_other_kind(client, simulator), ask_together(client, simulator)
        return Played(rounds, other_kind, together, ask_in_dialects(client, simulator))


def _status(reply: Reply) -> str:
    return _KEY.sub(r"\1...", reply.cache_status)


def judged(point: Point, console: Console) -> Iterator[Text]:
    """Say whether a point is true; below one that is not, each claim that is false."""
    good, bad = ("ok", "NO") if console.options.ascii_only else ("\N{CHECK MARK}", "\N{BALLOT X}")
    if point.is_true:
        yield Text(f" {good} ", "bold green").append(point.line, "default")
        return
    yield Text(f" {bad} ", "bold red").append(point.line, "red")
    for claim in point.claims:
        if not claim.is_true:
            yield Text(f"   not true: {claim.sentence}", "red")


def say(console: Console, text: str | Text) -> None:
    """Print a line as it is."""
    console.print(text, markup=False, highlight=False, soft_wrap=True)
