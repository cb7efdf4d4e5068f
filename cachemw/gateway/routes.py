"""The values of a gateway's file: providers, targets, routes and clients. No secret is among them."""

import datetime
from typing import Literal

import msgspec

from cachemw.cache.plans import OnRefusal, Pick
from cachemw.money import Price
from cachemw.redaction import redacted_repr
from cachemw.routing import NO_REWRITE, Rewrite


class ProviderEntry(msgspec.Struct, frozen=True):
    """A provider as the file has it: where it is, and where its key is read from: the first variable that is set, or a file.

    `known` is the name of the row of data about it, where there is one; it `speaks` what that says, unless these are named.
    """

    name: str
    base_url: str
    key_env: tuple[str, ...] = ()
    key_file: str | None = None
    known: str | None = None
    speaks: tuple[str, ...] = ()

    __repr__ = redacted_repr


class TargetEntry(msgspec.Struct, frozen=True):
    """A target: a provider and the model that it is asked for, and what the operator says of it.

    `context` is how many tokens its input and output may have together.
    """

    provider: str
    model: str
    rewrite: Rewrite = NO_REWRITE
    context: int | None = None
    price: Price | None = None

    __repr__ = redacted_repr

    @property
    def name(self) -> str:
        return f"{self.provider}/{self.model}"


class HedgeEntry(msgspec.Struct, frozen=True):
    """When the next target is asked beside the first: after seconds, or after a percentile of what it took; `extra` is the
    share of requests that may be hedged.
    """

    after: float | Literal["p50", "p90", "p95", "p99"]
    extra: float = 0.05

    __repr__ = redacted_repr


class RouteEntry(msgspec.Struct, frozen=True):
    """A route: the names of its targets, which are peers, and of its spares, in order."""

    name: str
    targets: tuple[str, ...]
    spares: tuple[str, ...] = ()
    weights: tuple[float, ...] = ()
    pick: Pick = "first"
    hedge: HedgeEntry | None = None
    first_token: float = 20.0
    answer: float = 120.0
    on_refusal: OnRefusal = "stop"

    __repr__ = redacted_repr


Period = Literal["minute", "hour", "day", "month", "total"]


class SpendingLimit(msgspec.Struct, frozen=True):
    """The nano-dollars that a client may spend in a period (UTC)."""

    nano: int
    per: Period

    __repr__ = redacted_repr


class RequestLimit(msgspec.Struct, frozen=True):
    """The requests that a client may have forwarded in a period."""

    requests: int
    per: Period

    __repr__ = redacted_repr


class ClientEntry(msgspec.Struct, frozen=True):
    """A client: the routes and targets that it may use (empty: all), and what it may spend; its key lies elsewhere.

    `expires` is the first day (UTC) on which its key is no longer taken.
    """

    name: str
    routes: tuple[str, ...] = ()
    budget: SpendingLimit | None = None
    rate: RequestLimit | None = None
    expires: datetime.date | None = None
    key_env: str | None = None
    key_sha256: str | None = None

    __repr__ = redacted_repr


class GatewayConfig(msgspec.Struct, frozen=True):
    """A gateway's file, checked: all by name. `default` is the provider, or the URL, that other models go to.

    `targets` are those of routes, in the order of the file, and then those of which it says something besides. `models` are
    further names for routes and targets. `on_budget_error`: what becomes of a client with a budget where its account cannot be
    read. `off` says of each provider that cannot be asked why not, and `warnings` what else is to be told of the file.
    """

    providers: dict[str, ProviderEntry]
    targets: dict[str, TargetEntry]
    routes: dict[str, RouteEntry]
    clients: dict[str, ClientEntry] = {}
    models: dict[str, str] = {}
    default: str = "cerebras"
    on_budget_error: Literal["refuse", "allow"] = "refuse"
    off: dict[str, str] = {}
    warnings: tuple[str, ...] = ()

    __repr__ = redacted_repr
