"""The standalone proxy: change `base_url`, add one header."""

import contextlib
import gc
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial

from starlette.requests import Request as Page
from starlette.responses import JSONResponse, PlainTextResponse
from starlette.routing import Mount, Route, Router
from starlette.types import Lifespan, Receive, Scope, Send
from starlette.websockets import WebSocketClose

from cachemw._asgi_scope import AsgiRequest, path_below, raw_path_below
from cachemw.asgi import AsgiClient, CacheMiddleware
from cachemw.budget import Budget
from cachemw.cache.classify import body_limit, classify
from cachemw.cache.policy import Policy
from cachemw.drivers.recalling import Recaller
from cachemw.endpoints import endpoint_of
from cachemw.endpoints import errors as refusals
from cachemw.errors import ClientLeftError
from cachemw.gateway.routes import GatewayConfig
from cachemw.gateway.upstream import Gateway
from cachemw.ledger.ledger import Ledger
from cachemw.limits import Limits
from cachemw.messages import Unread
from cachemw.metrics.hook import Gauges, Metrics, metrics_beside
from cachemw.metrics.table import FLIGHT_BYTES, FLIGHTS, FLIGHTS_DETACHED, STORE_BREAKER
from cachemw.proxy.admission import HEALTH, READINESS
from cachemw.proxy.gate import Gate
from cachemw.proxy.gateways import gateway_of
from cachemw.proxy.lending import WARMING, is_api
from cachemw.proxy.logs import log_exchange
from cachemw.proxy.readiness import WatchedGateway, WatchedUpstream, readiness
from cachemw.proxy.reloading import on_hangup, read_anew
from cachemw.proxy.settings import Settings
from cachemw.proxy.tracing import tracer_of
from cachemw.report import Hook
from cachemw.stores import Store
from cachemw.upstreams.base import AsyncGateway, AsyncUpstream
from cachemw.upstreams.providers import PROVIDERS


class Proxy:
    """An ASGI app that answers API calls from the store or the upstream, and passes all others to the upstream.

    In the place of the upstream there may be a `gateway`, which asks one of several.
    The default store is `DiskStore()`, closed with the lifespan. `metrics` are written while that lasts; `closes` are called
    when it has ended.
    """

    def __init__(
        self,
        upstream: AsyncUpstream | None = None,
        *,
        gateway: AsyncGateway | None = None,
        store: Store | None = None,
        policy: Policy | None = None,
        limits: Limits = Limits(),
        hooks: Iterable[Hook] = (),
        ledger: bool = True,
        metrics: Metrics | None = None,
        closes: Iterable[Callable[[], None]] = (),
    ) -> None:
        hooks = hooks if metrics is None else (*hooks, metrics)
        counted = contextlib.nullcontext if metrics is None else metrics.written
        pages = Router(
            [
                Route("/", _front),
                Route(HEALTH.decode(), _healthy),
                Route(READINESS.decode(), self._readiness),
                *[Route(path.decode(), _warm) for path in WARMING],
                Mount("/", self._pass_on),
            ],
            lifespan=_lifespan(counted, self._tell, tuple(closes)),
        )
        watched = None if gateway is None else WatchedGateway(gateway)
        alone = None if upstream is None else WatchedUpstream(upstream)
        self._cache = CacheMiddleware(
            pages, upstream=alone, gateway=watched, store=store, policy=policy, limits=limits, hooks=hooks, ledger=ledger
        )
        self._upstream = watched or alone
        self._pages = pages
        if metrics is not None:
            driver = self._cache.driver
            metrics.sample, driver.store.guarded.note = self._gauges, metrics.note_call
            metrics.ledger = next((hook for hook in driver.hooks if isinstance(hook, Ledger)), None)

    @property
    def bodies(self) -> Budget:
        """Return the budget of all request bodies together."""
        return self._cache.bodies

    @property
    def recaller(self) -> Recaller:
        """Return what recalls the plain hits."""
        return self._cache.driver.recaller

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        is_page = scope["type"] == "http" and not (self._is_api(scope) and self._is_call(scope))
        await (self._pages if is_page else self._cache)(scope, receive, send)

    def _is_api(self, scope: Scope) -> bool:
        return is_api(raw_path_below(scope), self._cache.policy)

    def _is_call(self, scope: Scope) -> bool:
        return endpoint_of(scope["method"], path_below(scope), self._cache.policy.paths) is not None

    def _tell(self) -> None:
        self.recaller.tally.tell()

    def _gauges(self) -> Gauges:
        self._tell()  # else recalled hits wait for one second here, and for another one to be written
        driver = self._cache.driver
        flights, (reading, writing) = driver.flights.here(), driver.store.guarded.left_alone
        return {
            (FLIGHTS.name,): len(flights),
            (FLIGHT_BYTES.name,): flights.held,
            (FLIGHTS_DETACHED.name,): flights.detached,
            (STORE_BREAKER.name, "read"): reading,
            (STORE_BREAKER.name, "write"): writing,
        }

    async def _readiness(self, _: Page) -> JSONResponse:
        assert self._upstream is not None  # noqa: S101 - the cache has one
        status, words = readiness(self._cache.driver.store.guarded, self._upstream)
        return JSONResponse(words, status)

    async def _pass_on(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await WebSocketClose()(scope, receive, send)
        elif self._is_api(scope):
            await self._relay(scope, receive, send)
        else:
            head, body = refusals.not_found()
            client = AsgiClient(send, AsgiRequest(scope, receive, self._cache.bodies))
            await client.start(head)
            await client.write(body, more=False)

    async def _relay(self, scope: Scope, receive: Receive, send: Send) -> None:
        policy, incoming = self._cache.policy, AsgiRequest(scope, receive, self._cache.bodies)
        classified = classify(incoming.method, incoming.path, incoming.headers, policy)
        try:
            is_read = self._cache.reads(classified, incoming)
            body = await incoming.read(body_limit(classified, policy, is_read=is_read) if is_read else 0)
            request = self._cache.request(incoming, body if is_read else Unread.LEFT_ALONE)
            await self._cache.drive(classified, request, incoming, send)
        except ClientLeftError:
            pass
        finally:
            incoming.let_go()


def create(
    limits: Limits = Limits(), named_keys: Mapping[bytes, str] | None = None, routes: GatewayConfig | None = None
) -> Gate:
    """Make the proxy that the environment describes, behind its gate; see `Settings.rules`. Raises `ConfigurationError`.

    Files are read, unless it is known which `named_keys` they hold, and which `routes`.
    """
    settings = Settings.from_environment()
    rules, limits = settings.rules(named_keys), settings.limits(limits)
    store = settings.store()
    gateway, tracer = gateway_of(settings, store, routes), tracer_of(settings)
    hooks = [log_exchange] if settings.access_log else []
    proxy = Proxy(
        settings.open_upstream() if gateway is None else None,
        gateway=gateway,
        store=store,
        policy=rules.policy,
        limits=limits,
        hooks=hooks if tracer is None else [*hooks, tracer],
        ledger=not settings.no_ledger,
        metrics=None if rules.policy.replays or settings.no_ledger else metrics_beside(store, partial(_is_provider, gateway)),
        closes=[store.close],
    )
    gate = Gate(proxy, rules, limits=limits, bodies=proxy.bodies, recaller=proxy.recaller)
    if settings.client_keys_file or gateway is not None:
        gate.meanwhile = partial(on_hangup, partial(read_anew, gate, settings, gateway))
    return gate


def _is_provider(gateway: Gateway | None, name: str) -> bool:
    return name in PROVIDERS or gateway is not None and name in gateway.config.providers


def _lifespan(
    counted: Callable[[], contextlib.AbstractAsyncContextManager[None]],
    tell: Callable[[], None],
    closes: Iterable[Callable[[], None]],
) -> Lifespan[Router]:
    @contextlib.asynccontextmanager
    async def lifespan(_: Router) -> AsyncIterator[None]:
        async with counted():
            yield
            tell()
        for close in closes:
            close()

    return lifespan


async def _front(_: Page) -> PlainTextResponse:
    return PlainTextResponse("cachemw, a response cache for LLM APIs: the API is below /v1\n")


async def _healthy(_: Page) -> JSONResponse:
    return JSONResponse({"status": "ok"})


async def _warm(_: Page) -> JSONResponse:
    return JSONResponse({})


@dataclass(slots=True)
class ProxyMaker:
    """Makes the proxy that the environment describes, in a process that has nothing else to do.

    `named_keys` are the client keys that its file held when it was last read, and `routes` what was said of a gateway: a worker
    that is begun later than the others, because one of them was killed, has to admit whom they admit, and to ask whom they
    ask, whatever became of the files.
    """

    limits: Limits
    named_keys: Mapping[bytes, str] = field(repr=False)
    routes: GatewayConfig | None = field(default=None, repr=False)

    def __call__(self) -> Gate:
        gc.collect()
        gc.freeze()  # what is imported stays: to look through it again and again is a good part of a hit's cost
        return create(self.limits, self.named_keys, self.routes)
