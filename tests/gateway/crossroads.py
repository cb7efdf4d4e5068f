"""A proxy with a gateway, over real sockets: any apps as the providers behind it, each request counted on both sides of it."""

import contextlib
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

import httpx
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from cachemw import ExchangeReport, MemoryStore, Policy
from cachemw.gateway.files import read_gateway
from cachemw.gateway.standings import Standings
from cachemw.gateway.upstream import Gateway
from cachemw.proxy import Gate, Proxy
from cachemw.proxy.admission import AccessRules
from cachemw.upstreams.providers import PROVIDERS
from tests.patience import PATIENT
from tests.serving import serving_in_thread

KEYS = {row.key_variables[0]: f"sk-of-{name}" for name, row in PROVIDERS.items()}
"""A key of every provider, as the environment has them."""

PATIENCE = 5.0
ON = Policy(default="on")

MESSAGES = [{"role": "user", "content": "Say hello."}]
NOBODYS: Mapping[str, str] = {}
EACH_AS_IT_DOES: Mapping[str, Sequence[str]] = {}


@dataclass
class Passage:
    """One exchange as an app had it: what it was sent, and what it said, byte for byte."""

    path: str
    body: bytes = b""
    headers: Mapping[bytes, bytes] = field(default_factory=dict)
    status: int = 0
    said: bytes = b""
    is_over: bool = False

    @property
    def model(self) -> Any:
        return json.loads(self.body)["model"]


class Tapped:
    """An app, and all that passes through it."""

    def __init__(self, app: ASGIApp) -> None:
        self.passages: list[Passage] = []
        self._app = app

    @property
    def chats(self) -> list[Passage]:
        """Return the exchanges that were chat requests: SDKs send others to warm up."""
        return [passage for passage in self.passages if passage.path.endswith("/chat/completions")]

    @property
    def calls(self) -> list[Passage]:
        """Return the exchanges that were calls of an endpoint, whichever it was."""
        return [passage for passage in self.passages if passage.body]

    @property
    def open(self) -> int:
        """Return how many exchanges are under way."""
        return sum(not passage.is_over for passage in self.passages)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        passage = Passage(scope["path"], headers=dict(scope["headers"]))
        self.passages.append(passage)

        async def hear() -> Message:
            message = await receive()
            passage.body += message.get("body", b"")
            return message

        async def say(message: Message) -> None:
            passage.status = message.get("status", passage.status)
            passage.said += message.get("body", b"")
            await send(message)

        try:
            await self._app(scope, hear, say)
        finally:
            passage.is_over = True


@dataclass
class Crossroads:
    """What a test has: the proxy's address, what passes it and each provider, and the reports."""

    url: str
    proxy: Tapped
    providers: Mapping[str, Tapped]
    gateway: Gateway
    store: MemoryStore
    reports: list[ExchangeReport]
    client: httpx.Client

    @property
    def standings(self) -> Standings:
        return self.gateway._standings

    @property
    def asked(self) -> dict[str, int]:
        """Return how often each provider was asked."""
        return {name: len(provider.chats) for name, provider in self.providers.items()}

    @property
    def called(self) -> dict[str, list[str]]:
        """Return the paths below the version that each provider was called at, in order."""
        paths = {name: [call.path.removeprefix("/v1") for call in one.calls] for name, one in self.providers.items()}
        return {name: found for name, found in paths.items() if found}

    def reported(self, count: int) -> list[ExchangeReport]:
        """Wait for so many reports, which come after the answers, and return them: misses before their hits."""
        until = time.monotonic() + PATIENCE
        while sum(report.count for report in self.reports) < count and time.monotonic() < until:
            time.sleep(0.002)
        return sorted(self.reports, key=lambda report: report.hit)

    def ask(self, headers: Mapping[str, str] | None = None, **members: Any) -> httpx.Response:
        """Send a chat request with these members, and read the response whole."""
        return self.client.post(
            f"{self.url}/v1/chat/completions", json={"model": "auto", "messages": MESSAGES} | members, headers=headers
        )


@contextlib.contextmanager
def crossroads(
    directory: Path,
    providers: Mapping[str, ASGIApp],
    text: str,
    policy: Policy = ON,
    speaks: Mapping[str, Sequence[str]] = EACH_AS_IT_DOES,
    keys: Mapping[str, str] = NOBODYS,
) -> Iterator[Crossroads]:
    """Serve providers, and a proxy with a gateway of a file with this text, to which where they are is added.

    `speaks` are the dialects of those of them that shall speak others than their row says, `keys` those of clients by name:
    where there are some, everybody has to bring one.
    """
    with contextlib.ExitStack() as stack:
        tapped = {name: Tapped(app) for name, app in providers.items()}
        urls = {name: stack.enter_context(serving_in_thread(app)) for name, app in tapped.items()}
        path = directory / "cachemw.toml"
        path.write_text(where(urls, speaks) + text)
        gateway = Gateway(read_gateway(str(path), KEYS, keyed=frozenset(keys)), environment=KEYS)
        store, reports = MemoryStore(), list[ExchangeReport]()
        proxy = Proxy(gateway=gateway, store=store, policy=policy, limits=PATIENT, hooks=[reports.append])
        rules = AccessRules(policy, named_keys={sha256(key.encode()).digest(): name for name, key in keys.items()})
        tap = Tapped(Gate(proxy, rules) if keys else proxy)
        url = stack.enter_context(serving_in_thread(tap))
        client = stack.enter_context(httpx.Client(trust_env=False, timeout=30))
        yield Crossroads(url, tap, tapped, gateway, store, reports, client)


def where(urls: Mapping[str, str], speaks: Mapping[str, Sequence[str]] = EACH_AS_IT_DOES) -> str:
    """Return the tables that say where providers are, and what those speak of whom that is said."""
    spoken = {name: f"speaks = {json.dumps(list(dialects))}\n" for name, dialects in speaks.items()}
    return "".join(f'[providers.{name}]\nbase_url = "{url}/v1"\n{spoken.get(name, "")}' for name, url in urls.items())


def route(*targets: str, name: str = "auto", **words: str) -> str:
    """Return the table of a route to these targets; `words` are of TOML."""
    more = "".join(f"{member} = {value}\n" for member, value in words.items())
    return f"[routes.{name}]\ntargets = {json.dumps(targets)}\n{more}"


def price(*targets: str, more: str = "") -> str:
    """Return the tables with the prices of targets: a dollar for a million tokens of input, and two for output."""
    return "".join(f'[targets."{name}"]\nprices = {{ input = 1.0, output = 2.0 }}\n{more}' for name in targets)


def told(response: httpx.Response) -> str:
    """Return our response field about the route."""
    return str(response.headers.get("cachemw-route", ""))


def author(field_value: str) -> str:
    """Return whose answer that field says it is."""
    return field_value.partition('by="')[2].partition('"')[0]
