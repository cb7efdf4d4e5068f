"""`cachemw demo`: a simulated upstream, a proxy, and a client that asks everything twice."""

import re
import tempfile
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass

import httpx
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from cachemw.cli.demo_rounds import QUESTIONS, Claim, Reply, Round, ask, claims, milliseconds
from cachemw.cli.demo_together import Together, ask_as_the_other_kind, ask_together, other_kind_claims, together_claims
from cachemw.cli.serving import running
from cachemw.core.policy import Policy
from cachemw.proxy import Proxy
from cachemw.simulator import Simulator
from cachemw.stores import DiskStore
from cachemw.upstreams import HttpUpstream

FIRST_TOKEN_SECONDS = 0.5
TOKENS_PER_SECOND = 45.0
PATIENCE = 30.0

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

    def claims(self) -> list[Claim]:
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
        httpx.Client(base_url=proxy_url, trust_env=False, timeout=PATIENCE) as client,
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


def _judged(claim: Claim) -> Text:
    verdict = Text(" true  ", "green") if claim.is_true else Text(" FALSE ", "bold red")
    return verdict.append(claim.sentence, "default" if claim.is_true else "red")


def _say(console: Console, text: str | Text) -> None:
    console.print(text, markup=False, highlight=False, soft_wrap=True)
