"""`cachemw demo`: a simulated upstream, a proxy, and a client that asks everything twice."""

import re
import tempfile
from collections.abc import Sequence
from contextlib import closing

import httpx
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from cachemw.cli.demo_rounds import QUESTIONS, Claim, Reply, Round, ask, claims, milliseconds
from cachemw.cli.serving import running
from cachemw.core.policy import Policy
from cachemw.proxy import Proxy
from cachemw.simulator import Simulator
from cachemw.stores import DiskStore
from cachemw.upstreams import HttpUpstream

FIRST_TOKEN_SECONDS = 0.8
TOKENS_PER_SECOND = 30.0
PATIENCE = 30.0

COLUMNS = ("request", "first byte", "total", "calls", "answer", "Cache-Status")
_KEY = re.compile(r'(key="\w{4})\w+')  # the rest of it takes two lines and says nothing

BEGINNING = "A simulated upstream, as slow as a real one, and the proxy before it. Each question is asked twice."
ENDING = """\
With a real client:
  export CEREBRAS_API_KEY=...
  cachemw serve
  OpenAI(base_url="http://127.0.0.1:8080/v1", api_key="cachemw", default_headers={"Cachemw": "on"})"""


def perform(console: Console, *, simulator: Simulator | None = None, policy: Policy | None = None) -> int:
    """Show misses and hits; return the exit code: 0 if everything that was claimed about them is true, else 1."""
    upstream = simulator or Simulator(first_token_seconds=FIRST_TOKEN_SECONDS, tokens_per_second=TOKENS_PER_SECOND)
    _say(console, BEGINNING)
    with console.status("asking", spinner="line"):
        rounds = play(upstream, policy)
    console.print(_table(rounds))
    claimed = claims(rounds)
    for claim in claimed:
        _say(console, _judged(claim))
    _say(console, ENDING)
    return 0 if all(claim.is_true for claim in claimed) else 1


def play(simulator: Simulator, policy: Policy | None) -> list[Round]:
    """Start both servers, ask everything twice, and leave nothing behind."""
    with (
        tempfile.TemporaryDirectory(prefix="cachemw-demo-") as directory,
        closing(DiskStore(directory)) as store,
        running(simulator) as upstream_url,
        running(Proxy(HttpUpstream(f"{upstream_url}/v1"), store=store, policy=policy)) as proxy_url,
        httpx.Client(base_url=proxy_url, trust_env=False, timeout=PATIENCE) as client,
    ):
        return [
            Round(kind, ask(client, question, simulator), ask(client, question, simulator))
            for kind, question in QUESTIONS.items()
        ]


def _table(rounds: Sequence[Round]) -> Table:
    table = Table(*(Column(name, overflow="fold") for name in COLUMNS), box=SIMPLE_HEAD)
    for each in rounds:
        table.add_row(f"{each.kind}, first", *_cells(each.first), f"{len(each.first.body):,} bytes", _status(each.first))
        same = Text("the same") if each.is_same else Text("another", "bold red")
        table.add_row(f"{each.kind}, again", *_cells(each.again), same, _status(each.again))
    return table


def _cells(reply: Reply) -> tuple[str, str, str]:
    return milliseconds(reply.first_byte_seconds), milliseconds(reply.seconds), str(reply.calls)


def _status(reply: Reply) -> Text:
    return Text(_KEY.sub(r"\1...", reply.cache_status))


def _judged(claim: Claim) -> Text:
    verdict = Text(" true  ", "green") if claim.is_true else Text(" FALSE ", "bold red")
    return verdict.append(claim.sentence, "default" if claim.is_true else "red")


def _say(console: Console, text: str | Text) -> None:
    console.print(text, markup=False, highlight=False, soft_wrap=True)
