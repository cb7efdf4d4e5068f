"""`cachemw demo --routes`: three simulated providers, a proxy with routes to them, and a client that is always answered."""

import tempfile
import textwrap
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from rich.console import Console
from starlette.types import Message, Receive, Scope, Send

from cachemw.cache.policy import Policy
from cachemw.cli.demo import DEMO_SECONDS, judged, say
from cachemw.cli.demo_claims import (
    INPUT_PRICE,
    OUTPUT_PRICE,
    PRIMARY,
    SLOW,
    SLOW_SECONDS,
    SPARE,
    ProviderAnswer,
    RoutedReply,
    RoutedStory,
    routed_points,
)
from cachemw.cli.serve import running
from cachemw.cli.spend import read_spending, spending_notes, spending_table
from cachemw.gateway.upstream import Gateway
from cachemw.ledger.sums import Sums, SumsBy
from cachemw.proxy import Proxy
from cachemw.redaction import redacted_repr
from cachemw.simulator import Simulator
from cachemw.stores import DiskStore
from cachemw.upstreams.providers import PROVIDERS

KINDS = ("JSON", "stream")
FAIL_SCRIPTS: Mapping[str, str] = {  # the hint is in whole seconds: two, and it is over before them
    "cerebras": "ok x1, cerebras:quota for 1.9s, ok x2, cerebras:quota for 1.9s",
    "openrouter": "",
    "groq": f"slow:{SLOW_SECONDS}",
}
"""What goes wrong at each provider: in each kind cerebras answers once, then has no quota left, and is asked again later."""

ROUTES = f"""\
[routes.auto]
targets = ["{PRIMARY}"]
spares = ["{SPARE}"]

[routes.quick]
targets = ["{SLOW}", "{SPARE}"]
hedge = {{ after = 0.3, extra = 1.0 }}
"""
PRICES = "".join(
    f'[targets."{name}"]\nprices = {{ input = {INPUT_PRICE / 1000}, output = {OUTPUT_PRICE / 1000} }}\n'
    for name in (PRIMARY, SPARE, SLOW)
)
"""In dollars for a million tokens. OpenRouter says itself what an answer cost, and that goes before these."""

FIRST_WORD_SECONDS = 0.15
WORDS_PER_SECOND = 400.0
LONGEST_PAUSE = 5.0

_BEGINNING = f"""\
Three simulated LLM APIs, and cachemw before them with this file:

{textwrap.indent(ROUTES, "  ")}
Everything is asked as JSON, and as a stream.
"""
_ENDING = """
With real providers:
  export CEREBRAS_API_KEY=... OPENROUTER_API_KEY=... GROQ_API_KEY=...
  cachemw check cachemw.toml
  cachemw serve --config cachemw.toml
  client = OpenAI(base_url="http://127.0.0.1:8080/v1", api_key="cachemw",
                  default_headers={"Cachemw": "on"})
  client.chat.completions.create(model="auto", messages=[...])"""


class RecordedProvider:
    """A simulated provider, and all that it said."""

    def __init__(self, simulator: Simulator) -> None:
        self.simulator = simulator
        self.answers: list[ProviderAnswer] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self.simulator(scope, receive, send)
        head, body, is_whole = dict[str, Any](), bytearray(), False

        async def record(message: Message) -> None:
            nonlocal is_whole
            if message["type"] == "http.response.start":
                head.update(message)
            elif message["type"] == "http.response.body":
                body.extend(message["body"])
                is_whole = not message["more_body"]
            if is_whole:
                self._note(head, body, is_whole=True)
            await send(message)

        try:
            await self.simulator(scope, receive, record)
        finally:
            if not is_whole:
                self._note(head, body, is_whole=False)

    def _note(self, head: Mapping[str, Any], body: bytearray, *, is_whole: bool) -> None:
        retry_after = dict(head.get("headers", ())).get(b"retry-after", b"").decode()
        self.answers.append(ProviderAnswer(head.get("status", 0), bytes(body), is_whole, retry_after))


@dataclass(frozen=True, slots=True)
class RoutedPlay:
    """Everything that was asked, all that was said, and what it cost."""

    stories: Sequence[RoutedStory]
    said: Mapping[str, Sequence[ProviderAnswer]]
    spending: Sequence[Sums]

    __repr__ = redacted_repr


class Questioner:
    """Asks through the proxy, and watches who is asked there."""

    def __init__(self, client: httpx.Client, providers: Mapping[str, RecordedProvider], kind: str) -> None:
        self._client, self._providers, self._kind = client, providers, kind

    def ask(self, model: str, question: str) -> RoutedReply:
        """Ask a question in this kind: in the other one it would be answered from the same record."""
        body = {"model": model, "messages": [{"role": "user", "content": f"{question} ({self._kind})"}]}
        asked, began = self._calls(), time.monotonic()
        with self._client.stream(
            "POST", "/v1/chat/completions", json=body | {"stream": self._kind == "stream"}, headers={"Cachemw": "on"}
        ) as response:
            head_at = time.monotonic()
            content = b"".join(response.iter_raw())
        return RoutedReply(
            status=response.status_code,
            route=response.headers.get("cachemw-route", ""),
            is_hit="hit" in response.headers.get("cache-status", "").split("; "),
            body=content,
            seconds=time.monotonic() - began,
            head_at=head_at,
            asked=self._calls() - asked,
        )

    def _calls(self) -> Counter[str]:
        return Counter({name: provider.simulator.calls for name, provider in self._providers.items()})


def tell_story(questioner: Questioner, kind: str) -> RoutedStory:
    """Ask everything in one kind; the pause ends when the first target says that it does."""
    ask = questioner.ask
    first, again = ask("auto", "What does a cache do?"), ask("auto", "What does a cache do?")
    at_the_quota = ask("auto", "What is a quota?")
    from_the_spare = ask("auto", "What is a quota?")
    left_alone = ask("auto", "What is a spare?")
    hedged = ask("quick", "What is a hedge?")
    time.sleep(min(LONGEST_PAUSE, max(0.0, at_the_quota.head_at + at_the_quota.cooling - time.monotonic())))
    recovered, again_recovered = ask("auto", "What is a quota?"), ask("auto", "What is a quota?")
    pinned_spare = ask(SPARE, "What is a quota?")
    return RoutedStory(
        kind,
        first,
        again,
        at_the_quota,
        from_the_spare,
        left_alone,
        hedged,
        recovered,
        again_recovered,
        pinned_spare,
    )


def play_routes(fail_scripts: Mapping[str, str], file: str, policy: Policy | None) -> RoutedPlay:
    """Start all servers, ask everything, and leave nothing behind."""
    providers = {
        name: RecordedProvider(
            Simulator(
                first_token_seconds=FIRST_WORD_SECONDS,
                tokens_per_second=WORDS_PER_SECOND,
                dialect=name,
                fail=fail_scripts[name],
            )
        )
        for name in fail_scripts
    }
    with tempfile.TemporaryDirectory(prefix="cachemw-demo-") as directory:
        path, place = Path(directory, "cachemw.toml"), Path(directory, "store")
        with _serving(providers) as urls:
            path.write_text("".join(f'[providers.{name}]\nbase_url = "{url}/v1"\n' for name, url in urls.items()) + file)
            with _client(path, place, policy) as client:
                stories = [tell_story(Questioner(client, providers, kind), kind) for kind in KINDS]
        said = {name: provider.answers for name, provider in providers.items()}
        return RoutedPlay(stories, said, read_spending(place, SumsBy.TARGET, None))


@contextmanager
def _serving(providers: Mapping[str, RecordedProvider]) -> Iterator[dict[str, str]]:
    with ExitStack() as stack:
        yield {name: stack.enter_context(running(provider)) for name, provider in providers.items()}


@contextmanager
def _client(path: Path, place: Path, policy: Policy | None) -> Iterator[httpx.Client]:
    """Give a client of a proxy with the gateway of this file, and a ledger beside its store."""
    keys = {variable: "simulated" for provider in PROVIDERS.values() for variable in provider.key_variables}
    gateway = Gateway.from_file(str(path), environment=keys)
    with closing(DiskStore(place)) as store:
        proxy = Proxy(gateway=gateway, store=store, policy=policy)
        with running(proxy) as url, httpx.Client(base_url=url, trust_env=False, timeout=DEMO_SECONDS) as client:
            yield client


def perform_routes(
    console: Console,
    *,
    fail_scripts: Mapping[str, str] = FAIL_SCRIPTS,
    file: str = ROUTES + PRICES,
    policy: Policy | None = None,
) -> int:
    """Show how routes answer; return the exit code: 0 if everything that was claimed about it is true, else 1."""
    say(console, _BEGINNING)
    with console.status("asking", spinner="line"):
        play = play_routes(fail_scripts, file, policy)
    points = routed_points(play.stories, play.said, play.spending)
    for point in points:
        for line in judged(point, console):
            say(console, line)
    say(console, "\nEach answer says in its Cachemw-Route header who gave it:")
    say(console, "\n".join(_fields(play.stories[0])))
    say(console, "\nWhat was spent, as cachemw spend shows it:")
    console.print(spending_table(play.spending, SumsBy.TARGET))
    say(console, "\n".join(spending_notes(play.spending, SumsBy.TARGET)))
    say(console, _ENDING)
    return 0 if all(point.is_true for point in points) else 1


def _fields(story: RoutedStory) -> Iterator[str]:
    """Yield the field of one answer of each sort, in lines that a terminal has room for."""
    for name, reply in (
        ("first", story.first),
        ("again", story.again),
        ("at its quota", story.at_the_quota),
        ("left alone", story.left_alone),
        ("recovered", story.recovered),
        ("hedged", story.hedged),
    ):
        yield from textwrap.wrap(
            reply.route or "nothing",
            width=78,
            initial_indent=f"  {name:<13}",
            subsequent_indent=" " * 15,
            break_long_words=False,
            break_on_hyphens=False,
        )
