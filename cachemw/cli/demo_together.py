"""The demo's second act: one record asked for as the other kind, and ten callers of one stream at the same time."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import httpx

from cachemw.cli.demo_rounds import QUESTIONS, Claim, Question, Reply, ask
from cachemw.simulator import Simulator

CALLERS = 10
SAME_STREAM: Question = {"messages": [{"role": "user", "content": "What do ten people ask at once?"}], "stream": True}


@dataclass(frozen=True, slots=True)
class Together:
    """What ten callers got, how often the upstream was called for them, and how long the slowest took, in seconds."""

    replies: Sequence[Reply]
    calls: int
    seconds: float

    @property
    def collapsed(self) -> int:
        """How many of them were answered by another's forward."""
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


def other_kind_claims(replies: dict[str, Reply]) -> list[Claim]:
    """Return what is claimed of one record and both kinds."""
    return [
        Claim(
            f"{kind}: the stored answer also came as the other kind, and nothing was forwarded",
            reply.is_hit and reply.calls == 0 and "detail=transcoded" in reply.cache_status,
        )
        for kind, reply in replies.items()
    ]


def together_claims(together: Together, alone: Reply) -> list[Claim]:
    """Return what is claimed of ten callers; `alone` is a stream of about the same length that nobody shared."""
    bodies = {reply.body for reply in together.replies}
    whole = all(reply.status == 200 and reply.body.endswith(b"data: [DONE]\n\n") for reply in together.replies)
    live = max(reply.first_byte_seconds for reply in together.replies) < min(reply.seconds for reply in together.replies)
    return [
        Claim(f"ten callers of one stream made the upstream work once (calls: {together.calls})", together.calls == 1),
        Claim("nine of them read the forward of the tenth, and say so", together.collapsed == CALLERS - 1),
        Claim("all ten got the same stream, whole", len(bodies) == 1 and whole),
        Claim("every one of them had its first byte before any had its last", live),
        Claim("the slowest of the ten did not wait for two answers one after the other", together.seconds < 2 * alone.seconds),
    ]
