"""What the demo asks, what came of it, and what is claimed about that: a claim is checked, never asserted."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import httpx
import msgspec

from cachemw.core.sse import Parser
from cachemw.simulator import Simulator

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
        """What the second answer says it cost, where nobody was asked for it."""
        return total_tokens(self.again.body, self.kind) if self.again.is_hit and not self.again.calls else 0


@dataclass(frozen=True, slots=True)
class Claim:
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


def claims(rounds: Sequence[Round]) -> list[Claim]:
    """Return everything the demo claims."""
    unpaid = sum(each.unpaid_tokens for each in rounds)
    return [claim for each in rounds for claim in _claims(each)] + [Claim(f"{unpaid} tokens were not paid for", unpaid > 0)]


def _claims(each: Round) -> list[Claim]:
    first, again, kind = each.first, each.again, each.kind
    calls = first.calls + again.calls
    return [
        Claim(f"{kind}: the first request was a miss and went to the upstream", first.is_miss and first.calls == 1),
        Claim(f"{kind}: the same request again was a hit, and nothing was forwarded", again.is_hit and again.calls == 0),
        Claim(f"{kind}: two requests made the upstream work once (calls: {calls})", calls == 1),
        Claim(f"{kind}: both answers are the same, byte for byte", each.is_same),
        _faster(f"{kind}: the first byte of the hit came", again.first_byte_seconds, first.first_byte_seconds),
        _faster(f"{kind}: the whole of the hit came", again.seconds, first.seconds),
    ]


def _faster(what: str, seconds: float, miss_seconds: float) -> Claim:
    return Claim(f"{what} after {milliseconds(seconds)}, not {milliseconds(miss_seconds)}", seconds < miss_seconds)


def milliseconds(seconds: float) -> str:
    """Show a duration."""
    return f"{seconds * 1000:,.0f} ms"


def total_tokens(body: bytes, kind: str) -> int:
    """Return the tokens that an answer says it cost."""
    documents = [event.data for event in Parser().feed(body)] if kind == "stream" else [body]
    told = [msgspec.json.decode(document).get("usage") for document in documents if document.startswith(b"{")]
    return next((usage["total_tokens"] for usage in reversed(told) if usage), 0)
