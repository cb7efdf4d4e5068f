"""Two providers that are simulated, a file that routes to them, and the ways to a gateway of it: every mount there is."""

import asyncio
import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from starlette.types import Receive, Scope, Send

import cachemw.asgi
import cachemw.httpx
import cachemw.wsgi
from cachemw import ExchangeReport, MemoryStore, Policy
from cachemw._wsgi_environ import Environ, StartResponse
from cachemw.gateway import Gateway
from cachemw.proxy import Proxy
from cachemw.simulator import Simulator
from tests.serving import serving_in_thread

KEYS = {"CEREBRAS_API_KEY": "sk-cerebras", "GROQ_API_KEY": "sk-groq"}
"""The keys of both providers, as the environment has them."""

FIRST, SECOND = "cerebras/gpt-oss-120b", "groq/openai/gpt-oss-120b"

PEERS = f'[routes.auto]\ntargets = ["{FIRST}", "{SECOND}"]\n'
SPARE = f'[routes.auto]\ntargets = ["{FIRST}"]\nspares = ["{SECOND}"]\n'
PRICES = "".join(f'[targets."{name}"]\nprices = {{ input = 1.0, output = 2.0 }}\n' for name in (FIRST, SECOND))

MESSAGES = [{"role": "user", "content": "Say hello."}]


@dataclass
class Town:
    """Both providers, where their file is, and every report of the mounts in front of them."""

    first: Simulator
    second: Simulator
    path: Path
    reports: list[ExchangeReport] = field(default_factory=list)

    @property
    def asked(self) -> list[str]:
        """Return the models that the first and the second were asked for, in order, each with its number."""
        return [f"1 {model}" for model in self.first.models_asked] + [f"2 {model}" for model in self.second.models_asked]

    def gateway(self) -> Gateway:
        """Return a gateway of the file."""
        return Gateway.from_file(str(self.path), environment=KEYS)


@contextlib.contextmanager
def town(directory: Path, first: str = "", second: str = "", routes: str = PEERS + PRICES) -> Iterator[Town]:
    """Serve both providers, which fail as these scripts say."""
    providers = Simulator(dialect="cerebras", fail=first), Simulator(dialect="groq", fail=second)
    with serving_in_thread(providers[0]) as one, serving_in_thread(providers[1]) as other:
        path = directory / "cachemw.toml"
        urls = f'[providers.cerebras]\nbase_url = "{one}/v1"\n[providers.groq]\nbase_url = "{other}/v1"\n'
        path.write_text(urls + routes)
        yield Town(*providers, path)


Ask = Callable[..., httpx.Response]
"""Sends a chat request with these members, and the fields in `headers`; the response is read whole."""


def body_of(members: dict[str, Any]) -> dict[str, Any]:
    return {"model": "auto", "messages": MESSAGES} | members


@contextlib.contextmanager
def over_proxy(town: Town, policy: Policy) -> Iterator[Ask]:
    """Give the standalone proxy."""
    proxy = Proxy(gateway=town.gateway(), store=MemoryStore(), policy=policy, hooks=[town.reports.append])
    with serving_in_thread(proxy) as url, httpx.Client(base_url=url) as client:
        yield _asking(client)


@contextlib.contextmanager
def over_asgi(town: Town, policy: Policy) -> Iterator[Ask]:
    """Give the ASGI mount in an app."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        raise AssertionError("no chat request is the app's")

    options: Any = {"gateway": town.gateway(), "store": MemoryStore(), "policy": policy, "hooks": [town.reports.append]}
    mount = cachemw.asgi.CacheMiddleware(app, **options)
    with serving_in_thread(mount) as url, httpx.Client(base_url=url) as client:
        yield _asking(client)


@contextlib.contextmanager
def over_wsgi(town: Town, policy: Policy) -> Iterator[Ask]:
    """Give the WSGI mount in an app."""

    def app(environ: Environ, start_response: StartResponse) -> list[bytes]:
        raise AssertionError("no chat request is the app's")

    options: Any = {"gateway": town.gateway(), "store": MemoryStore(), "policy": policy, "hooks": [town.reports.append]}
    mount = cachemw.wsgi.CacheMiddleware(app, **options)
    with httpx.Client(transport=httpx.WSGITransport(mount), base_url="http://here") as client:
        yield _asking(client)
    mount.close()


@contextlib.contextmanager
def over_transport(town: Town, policy: Policy) -> Iterator[Ask]:
    """Give the transport that is called by threads."""
    transport = cachemw.httpx.CacheTransport(
        gateway=town.gateway(), store=MemoryStore(), policy=policy, hooks=[town.reports.append]
    )
    with httpx.Client(transport=transport, base_url="https://nowhere.example") as client:
        yield _asking(client)


@contextlib.contextmanager
def over_async_transport(town: Town, policy: Policy) -> Iterator[Ask]:
    """Give the transport that is awaited."""
    transport = cachemw.httpx.AsyncCacheTransport(
        gateway=town.gateway(), store=MemoryStore(), policy=policy, hooks=[town.reports.append]
    )
    with asyncio.Runner() as runner:
        client = httpx.AsyncClient(transport=transport, base_url="https://nowhere.example")

        def ask(headers: dict[str, str] | None = None, **members: Any) -> httpx.Response:
            return runner.run(client.post("/v1/chat/completions", json=body_of(members), headers=headers))

        yield ask
        runner.run(client.aclose())


def _asking(client: httpx.Client) -> Ask:
    def ask(headers: dict[str, str] | None = None, **members: Any) -> httpx.Response:
        return client.post("/v1/chat/completions", json=body_of(members), headers=headers)

    return ask


MOUNTS = {
    "proxy": over_proxy,
    "ASGI": over_asgi,
    "WSGI": over_wsgi,
    "transport": over_transport,
    "async transport": over_async_transport,
}
