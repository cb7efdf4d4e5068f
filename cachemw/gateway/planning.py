"""Make the plan of each request: whom its model names, whether its client may ask for that, and how its targets are."""

import datetime
import hashlib
import math
import random
import threading
import time
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, cast

from msgspec.structs import replace

from cachemw.cache.key import is_lent
from cachemw.cache.plans import Bid, Closed, Plan
from cachemw.endpoints import CHAT
from cachemw.endpoints.base import Bypass, Endpoint
from cachemw.endpoints.bodies import model_in, read_object
from cachemw.gateway.accounts import Treasurer
from cachemw.gateway.config import entry_of, named_by
from cachemw.gateway.health import Health
from cachemw.gateway.model_list import MODELS_BID, asks_for_models
from cachemw.gateway.needs import NO_NEEDS, Lacks, lacks_of, needs_of
from cachemw.gateway.plan import Circumstances, Contender, contenders_of, plan_of, plan_of_one
from cachemw.gateway.refusals import (
    all_off,
    invalid_wish,
    key_expired,
    no_such_provider,
    not_allowed,
    not_on_routes,
    route_needs_server_keys,
)
from cachemw.gateway.routes import ClientEntry, GatewayConfig, RouteEntry, TargetEntry
from cachemw.gateway.standings import Standings
from cachemw.gateway.wishes import InvalidWish, Wishes, read_wishes
from cachemw.limits import Work
from cachemw.messages import Caller, HttpTarget, Request, RouteTarget
from cachemw.money import Price
from cachemw.upstreams.http import HttpUpstream
from cachemw.upstreams.providers import PROVIDERS

NOT_ROUTED = "not-routed"
"""The body does not say, in one way, which model is asked: the default provider gets it as it is."""

OPERATORS_KEY = "ours"
"""What standings call the operator's key of a provider."""

_MEAN_OUTPUT, _WEIGHT = 400.0, 0.1


class RoutePlanner:
    """Plans by one file, for as long as that holds. Thread-safe.

    `price` gives the price of a target that the file does not name, and `context` how many tokens one may take.
    """

    def __init__(
        self,
        config: GatewayConfig,
        contacts: Mapping[str, HttpUpstream],
        standings: Standings,
        *,
        treasurer: Treasurer | None = None,
        price: Callable[[TargetEntry], Price | None] = lambda _: None,
        context: Callable[[TargetEntry], int | None] = lambda _: None,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], float] = time.time,
        roll: Callable[[], float] = random.random,
    ) -> None:
        self.config, self._contacts, self._standings = config, contacts, standings
        self._treasurer, self._price, self._context = treasurer, price, context
        self._clock, self._now, self._roll = clock, now, roll
        self._lacks = {name: lacks_of(_known(config, entry.provider), entry) for name, entry in config.targets.items()}
        self._contenders = lru_cache(256)(self._contenders_at)
        self._flow = {name: _Flow() for name in config.routes}

    def plan(self, request: Request, members: Mapping[str, Any] | None = None, endpoint: Endpoint | None = None) -> Plan:
        """Return the plan of a request whose target is a `RouteTarget`; `members` and `endpoint` are as in `AskPlan`."""
        target = request.target
        assert isinstance(target, RouteTarget)  # noqa: S101 - the script asks for no other
        client = self.config.clients.get(request.caller.name or "")
        if client is not None and (closed := self._overdue(client)):
            return _closed(closed)
        if asks_for_models(request.method, target.raw_path):
            return Plan((MODELS_BID,), (0,))
        wishes = read_wishes(request.headers)
        if isinstance(wishes, InvalidWish):
            return _closed(invalid_wish(wishes))
        if endpoint is not None and endpoint.is_free:
            wishes = replace(wishes, max_cost=None)
        body = _members_of(request) if members is None else members
        plan = self._planned(request, body or {}, wishes, client, endpoint)
        if body is None and request.method == "POST":
            plan = replace(plan, detail=NOT_ROUTED)
        elif plan.detail is None and wishes.ignored:
            plan = replace(plan, detail=f"ignored-{wishes.ignored[0]}")
        until = math.inf if client is None or client.expires is None else _midnight(client.expires)
        return replace(plan, is_stream=(body or {}).get("stream") is True, until=until)

    def is_ready(self, bid: Bid, caller: Caller) -> bool:
        """Say whether a target may be asked now."""
        key, is_callers = key_of(caller, bid.target)
        return self._health(bid.name, key, is_callers).readiness != "cooling"

    def answered(self, route: str, output_tokens: int) -> None:
        """Note how long an answer of a route was."""
        if route in self._flow:
            self._flow[route].answered(output_tokens)

    def asked(self, route: str, *, is_hedge: bool, is_first: bool) -> None:
        """Note that a target of a route is asked: as the first for a request, or beside another one."""
        if route in self._flow:
            extra = self.config.routes[route].hedge
            self._flow[route].spend(float(is_hedge) - (extra.extra if extra is not None and is_first else 0.0))

    def _overdue(self, client: ClientEntry) -> Closed | None:
        is_over = client.expires is not None and self._now() >= _midnight(client.expires)
        return key_expired(client.name) if is_over else None

    def _planned(
        self, request: Request, body: Mapping[str, Any], wishes: Wishes, client: ClientEntry | None, endpoint: Endpoint | None
    ) -> Plan:
        model = model_in(body)
        name = "" if model is None else named_by(self.config, model)
        if client is not None and client.routes and not self._may_use(client, name):
            return _closed(not_allowed(client.name, name))
        named = self._named(name)
        if isinstance(named, RouteEntry) and endpoint is None:
            return _closed(not_on_routes(named.name))
        if isinstance(named, Closed):
            return _closed(named)
        if client is not None and self._treasurer and (closed := self._treasurer.closed(client, self._now())):
            return replace(self._plan_for(named, name, request, body, wishes, endpoint), closed=closed, order=())
        return self._plan_for(named, name, request, body, wishes, endpoint)

    def _plan_for(
        self,
        named: RouteEntry | TargetEntry | None,
        name: str,
        request: Request,
        body: Mapping[str, Any],
        wishes: Wishes,
        endpoint: Endpoint | None,
    ) -> Plan:
        if isinstance(named, RouteEntry):
            return self._plan_route(named, request, body, wishes, endpoint)
        return self._plan_one(named, name, request, body, wishes)

    def _may_use(self, client: ClientEntry, name: str) -> bool:
        return name in client.routes

    def _named(self, name: str) -> RouteEntry | TargetEntry | Closed | None:
        """Return what a model's name is of this file; `None`: it is the default provider's own."""
        if name in self.config.routes:
            return self.config.routes[name]
        entry, default = entry_of(self.config, name), PROVIDERS.get(self.config.default)
        has_slashes = default is not None and default.has_slashes
        if entry is not None:
            is_defaults = entry.provider in self.config.off and has_slashes and name not in self.config.targets
            return None if is_defaults else entry
        return no_such_provider(name) if "/" in name and default is not None and not has_slashes else None

    def _plan_route(
        self, route: RouteEntry, request: Request, body: Mapping[str, Any], wishes: Wishes, endpoint: Endpoint | None
    ) -> Plan:
        target = cast(RouteTarget, request.target)
        contenders = self._contenders(route.name, target.raw_path, target.query, endpoint)
        if not contenders:
            return _closed(all_off(route.name))
        key, is_callers = key_of(request.caller, contenders[0].bid.target)
        providers = {one.bid.name.partition("/")[0] for one in contenders}
        if is_callers and len(providers) > 1:
            return _closed(route_needs_server_keys(route.name))
        healths = {one.bid.name: self._health(one.bid.name, key, is_callers) for one in contenders}
        flow = self._flow[route.name]
        circumstances = Circumstances(self._clock(), self._roll(), flow.preferred, flow.may_hedge, flow.mean_output)
        plan = plan_of(route, contenders, needs_of(body), healths, circumstances, wishes=wishes)
        flow.preferred = plan.preferred
        return plan

    def _plan_one(
        self, entry: TargetEntry | None, name: str, request: Request, body: Mapping[str, Any], wishes: Wishes
    ) -> Plan:
        target = cast(RouteTarget, request.target)
        bid = self._bid(entry, name, target.raw_path, target.query)
        key, is_callers = key_of(request.caller, bid.target)
        health, circumstances = self._health(bid.name, key, is_callers), Circumstances(self._clock(), self._roll())
        needs = NO_NEEDS if wishes.max_cost is None else needs_of(body)  # nothing else of them counts here
        return plan_of_one(bid, health, circumstances, needs=needs, wishes=wishes, is_callers=is_callers)

    def _health(self, name: str, key: str, is_callers: bool) -> Health:
        provider, model = parts_of(name, self.config.default)
        return self._standings.health(provider, model, key, is_callers=is_callers)

    def _contenders_at(self, route: str, raw_path: bytes, query: bytes, endpoint: Endpoint | None) -> tuple[Contender, ...]:
        bids = {
            name: self._bid(entry, name, raw_path, query)
            for name, entry in self.config.targets.items()
            if entry.provider not in self.config.off
        }
        lacks = {name: _lacks_for(endpoint, bid.target, self._lacks[name]) for name, bid in bids.items()}
        return contenders_of(self.config.routes[route], bids, lacks)

    def _bid(self, entry: TargetEntry | None, name: str, raw_path: bytes, query: bytes) -> Bid:
        """Return the bid of a target, or of the default provider for a model of its own."""
        provider = self.config.default if entry is None else entry.provider
        target = self._contacts[provider].target(raw_path, query)
        if entry is None:
            named = f"{provider}/{name}" if name else provider
            if "://" in provider or not name:
                return Bid(named, target)
            own = TargetEntry(provider, name)
            return Bid(named, target, price=self._price(own), context=self._context(own))
        rewrite, price = replace(entry.rewrite, model=entry.model), entry.price or self._price(entry)
        return Bid(entry.name, target, rewrite, price=price, context=entry.context or self._context(entry))


class _Flow:
    """What the answers of a route were like, and how many of its requests may yet be hedged."""

    def __init__(self) -> None:
        self.mean_output, self.preferred = _MEAN_OUTPUT, cast(str | None, None)
        self._credit, self._lock = 1.0, threading.Lock()

    def answered(self, output_tokens: int) -> None:
        self.mean_output += _WEIGHT * (output_tokens - self.mean_output)

    @property
    def may_hedge(self) -> bool:
        """Say whether one more request may be hedged."""
        return self._credit >= 1.0

    def spend(self, hedges: float) -> None:
        """Count what was hedged; a request that is forwarded earns its share of one, which is less than nothing."""
        with self._lock:
            self._credit = min(10.0, self._credit - hedges)


def _lacks_for(endpoint: Endpoint | None, target: HttpTarget, lacks: Lacks) -> Lacks:
    """Return what a target lacks for calls of an endpoint: which members it takes is known of chat, and of what it speaks."""
    if endpoint is CHAT and endpoint.name in target.recipient.speaks:
        return lacks
    return Lacks(context=lacks.context)


def parts_of(name: str, default: str) -> tuple[str, str]:
    """Return provider and model of a bid's name; a default that is a URL has slashes of its own."""
    if name == default or name.startswith(f"{default}/"):
        return default, name[len(default) + 1 :]
    provider, _, model = name.partition("/")
    return provider, model


def key_of(caller: Caller, target: HttpTarget) -> tuple[str, bool]:
    """Return a code of the key that a target is sent, and whether that is the caller's own."""
    if is_lent(caller.brought, target.recipient) or not caller.brought:
        return OPERATORS_KEY, False
    return hashlib.sha256(b"\0".join(value for _, value in caller.brought)).digest()[:16].hex(), True


def _midnight(day: datetime.date) -> float:
    return datetime.datetime(day.year, day.month, day.day, tzinfo=datetime.UTC).timestamp()


def _closed(closed: Closed) -> Plan:
    return Plan((), (), closed=closed)


def _known(config: GatewayConfig, provider: str) -> str | None:
    entry = config.providers.get(provider)
    return None if entry is None else entry.known


def _members_of(request: Request) -> dict[str, Any] | None:
    """Return the members of a request's body; `None` where it is not JSON that can be read in one way only."""
    body = read_object(request, Work(), "not-an-object")
    return None if isinstance(body, Bypass) else body
