"""The gateway: an upstream that has many, and plans for each request which of them is asked."""

import datetime
import os
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, Self

import anyio
from msgspec.structs import replace

from cachemw.cache.plans import Plan
from cachemw.endpoints.base import Endpoint
from cachemw.errors import ConfigurationFaults
from cachemw.gateway.accounts import Accounts, MemoryAccounts, Treasurer
from cachemw.gateway.budgets import Reservation
from cachemw.gateway.config import unpriced_budgets
from cachemw.gateway.contacts import Contacts
from cachemw.gateway.fallback import aopen_in_turn, open_in_turn
from cachemw.gateway.files import read_gateway
from cachemw.gateway.gateway_desk import GatewayDesk
from cachemw.gateway.model_list import MODELS_BID, AsyncOwnAnswer, SyncOwnAnswer, models_of
from cachemw.gateway.planning import RoutePlanner
from cachemw.gateway.price_tables import PriceTables, priced_by
from cachemw.gateway.race import aopen_hedged
from cachemw.gateway.repeats import Repeats
from cachemw.gateway.routes import GatewayConfig
from cachemw.gateway.standings import Standings
from cachemw.messages import HttpRecipient, Request, RouteTarget, Sends, header_values
from cachemw.upstreams.base import AsyncResponse, SyncResponse, UpstreamRequest
from cachemw.upstreams.checking import Credentials


class Gateway:
    """Answers each request by one of several targets: `Gateway.from_file("cachemw.toml")`.

    It is an upstream in both colours, and the planner of its requests. `credentials` says whose key targets are sent, as for
    `HttpUpstream`: by default the file's, never a caller's. `accounts` are those of clients with limits; by default they last
    as long as this. Raises `ConfigurationError`, which names all that is wrong.
    """

    def __init__(
        self,
        config: GatewayConfig,
        *,
        environment: Mapping[str, str] = os.environ,
        credentials: Credentials = "lend",
        accounts: Accounts | None = None,
    ) -> None:
        self._accounts = MemoryAccounts() if accounts is None else accounts
        self._standings, self._repeats = Standings(), Repeats()
        self._bookkeeper: ThreadPoolExecutor | None = None
        self._contacts = Contacts(environment, credentials)
        self._recipient = HttpRecipient(sends=Sends.OURS if credentials == "lend" else Sends.CALLERS_OR_OURS)
        self.renew(config)

    @classmethod
    def from_file(cls, path: str, *, environment: Mapping[str, str] = os.environ, clients: bool = True) -> Self:
        """Make the gateway of a file. A mount has no clients: a file with some is refused, unless `clients=False`.

        Raises `ConfigurationError`.
        """
        return cls(read_gateway(path, environment, clients="refuse" if clients else "ignore"), environment=environment)

    @property
    def config(self) -> GatewayConfig:
        """Return the file as it holds now, with the prices that are known."""
        return self._planner.config

    @property
    def place(self) -> str:
        """Return where requests go, as people are told of it."""
        return f"{len(self.config.routes)} routes"

    def renew(self, config: GatewayConfig) -> None:
        """Plan by another file from now on; requests under way keep their plans, and targets of the same name their standing.

        Raises `ConfigurationError`, and nothing has changed then.
        """
        tables = PriceTables(datetime.datetime.now(datetime.UTC).date())
        tables.read()  # clients may name what the file does not
        priced = priced_by(tables, config)
        if faults := unpriced_budgets(priced):
            raise ConfigurationFaults(faults)
        made = self._contacts.made_for(priced)
        treasurer = Treasurer(self._accounts, priced.on_budget_error) if priced.clients else None
        planner = RoutePlanner(
            priced,
            self._contacts.take(made),
            self._standings,
            treasurer=treasurer,
            price=lambda entry: tables.price(_known(priced, entry.provider), entry.model),
            context=lambda entry: tables.context(_known(priced, entry.provider), entry.model),
        )
        self._planner, self._treasurer = planner, treasurer

    def target(self, raw_path: bytes, query: bytes) -> RouteTarget:
        """Return what stands as a request's target until its plan names one."""
        return RouteTarget(raw_path, query, self._recipient)

    def plan(self, request: Request, members: Mapping[str, Any] | None = None, endpoint: Endpoint | None = None) -> Plan:
        """Return the plan for a request; `members` and `endpoint` are as in `AskPlan`."""
        return self._planner.plan(request, members, endpoint)

    def open(self, request: UpstreamRequest) -> SyncResponse:
        """Ask the bids of a request in turn, in this thread. Raises `UpstreamError`."""
        if self._is_own(request):
            return SyncOwnAnswer(self._models(request), request.method)
        assert request.bids is not None  # noqa: S101 - the script sends no request without
        time.sleep(request.bids.plan.waits)
        return open_in_turn(self._still_ready(request), self._desk(request))

    async def aopen(self, request: UpstreamRequest) -> AsyncResponse:
        """Ask the bids of a request in turn, or side by side where its plan says so. Raises `UpstreamError`."""
        if self._is_own(request):
            return AsyncOwnAnswer(self._models(request), request.method)
        assert request.bids is not None  # noqa: S101 - the script sends no request without
        plan = request.bids.plan
        if plan.waits:
            await anyio.sleep(plan.waits)
        request = self._still_ready(request)
        ask = aopen_in_turn if plan.hedge is None or _is_alone(request) else aopen_hedged
        desk = self._desk(request)
        try:
            return await ask(request, desk)
        except BaseException:  # its client left while it was being reserved, too
            desk.give_back()
            raise

    def close(self) -> None:
        """Close the connections that were opened without `await`. May be called twice, and before first use."""
        for contact in self._contacts:
            contact.close()
        self._end_books()

    async def aclose(self) -> None:
        """Close the connections of the running event loop. May be called twice, and before first use."""
        for contact in self._contacts:
            await contact.aclose()
        self._end_books()

    def _desk(self, request: UpstreamRequest) -> GatewayDesk:
        assert request.bids is not None  # noqa: S101 - the script sends no request without
        treasurer = self._treasurer
        settle = partial(self._settle, treasurer)
        return GatewayDesk(request, self._planner, self._contacts, self._standings, self._repeats, treasurer, settle)

    def _settle(self, treasurer: Treasurer | None, reservation: Reservation, nano: int | None) -> None:
        """Book in a thread of its own: another process may be writing, and nobody here waits for that."""
        assert treasurer is not None  # noqa: S101 - it has reserved
        if self._bookkeeper is None:
            self._bookkeeper = ThreadPoolExecutor(1, "cachemw-accounts")
        self._bookkeeper.submit(treasurer.settle, reservation, nano)

    def _end_books(self) -> None:
        bookkeeper, self._bookkeeper = self._bookkeeper, None
        if bookkeeper is not None:
            bookkeeper.shutdown()
        self._accounts.close()

    def _still_ready(self, request: UpstreamRequest) -> UpstreamRequest:
        """Leave out who cools by now, or is being tried by another request: one finds out how a target is, and no crowd."""
        bids = request.bids
        if bids is None or _is_alone(request):
            return request
        ready = tuple([asked for asked in bids.asked if self._planner.is_ready(asked.bid, bids.caller)])
        return replace(request, bids=replace(bids, asked=ready)) if ready and len(ready) < len(bids.asked) else request

    def _is_own(self, request: UpstreamRequest) -> bool:
        return request.bids is not None and request.bids.asked[0].bid is MODELS_BID

    def _models(self, request: UpstreamRequest) -> bytes:
        client = None if request.bids is None else self.config.clients.get(request.bids.caller.name or "")
        is_anthropic = bool(header_values(request.headers, b"anthropic-version"))
        return models_of(self.config, () if client is None else client.routes, as_anthropic=is_anthropic)


def _is_alone(request: UpstreamRequest) -> bool:
    return request.bids is None or len(request.bids.asked) == 1


def _known(config: GatewayConfig, provider: str) -> str | None:
    entry = config.providers.get(provider)
    return provider if entry is None else entry.known
