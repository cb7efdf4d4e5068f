"""What requests cost: at most before they are made, and by their usage afterwards, as far as the tables of prices know."""

import datetime

import msgspec
from msgspec.structs import replace

from cachemw.cli.addressing import AddressBook
from cachemw.endpoints.sent import sent_body
from cachemw.errors import Unreadable
from cachemw.gateway.budgets import most_of
from cachemw.gateway.needs import needs_of
from cachemw.gateway.price_tables import PriceTables
from cachemw.gateway.routes import TargetEntry
from cachemw.inventory.asking import WholeReply, usage_in
from cachemw.inventory.batches import BatchRequest, model_in
from cachemw.messages import Usage
from cachemw.money import Price, cost_of
from cachemw.redaction import redacted_repr
from cachemw.routing import NO_REWRITE, Rewrite
from cachemw.upstreams.providers import provider_name
from cachemw.wire.strict_json import parse


class PricedTarget(msgspec.Struct, frozen=True):
    """One who may be asked: its price, how many tokens it takes in all, and what is made of the body on the way there."""

    price: Price | None
    context: int | None
    rewrite: Rewrite = NO_REWRITE

    __repr__ = redacted_repr


class Pricing:
    """The costs of requests to whoever the settings say is asked. Of a route it is the dearest that counts."""

    def __init__(self, book: AddressBook) -> None:
        self._book, self._tables = book, PriceTables(datetime.datetime.now(datetime.UTC).date())

    def most_of(self, request: BatchRequest) -> int | None:
        """Return the most nano-dollars that a request can cost; `None` where nobody knows."""
        if request.endpoint.is_free:
            return 0
        return _dearest([_most(request, one) for one in self._targets(request)])

    def cost_of(self, request: BatchRequest, reply: WholeReply) -> int | None:
        """Return what an answer cost, or the most that it may have; `None` where nobody knows."""
        return self.cost_of_usage(request, usage_in(request.endpoint, reply))

    def cost_of_usage(self, request: BatchRequest, usage: Usage | None) -> int | None:
        """Return what an answer costs that takes so many tokens; `None` where nobody knows."""
        if request.endpoint.is_free:
            return 0
        costs = [cost_of(usage, one.price) for one in self._targets(request)]
        return _dearest([None if cost is None else cost.nano for cost in costs])

    def _targets(self, request: BatchRequest) -> list[PricedTarget]:
        model = model_in(request.body) or ""
        entries = self._book.entries(model)
        if entries:
            return [self._of_entry(entry) for entry in entries]
        provider = self._book.default.recipient.provider or provider_name(self._book.default.base_url)
        return [PricedTarget(self._tables.price(provider, model), self._tables.context(provider, model))]

    def _of_entry(self, entry: TargetEntry) -> PricedTarget:
        assert self._book.config is not None  # noqa: S101 - it has entries
        known, model = self._book.config.providers[entry.provider].known, entry.model
        price, context = entry.price or self._tables.price(known, model), entry.context or self._tables.context(known, model)
        return PricedTarget(price, context, replace(entry.rewrite, model=model))


def _most(request: BatchRequest, target: PricedTarget) -> int | None:
    if target.price is None:
        return None
    try:
        body = parse(sent_body(request.body, target.rewrite))
    except Unreadable:
        return 0  # nobody is asked what cannot be read
    needs = needs_of(body if isinstance(body, dict) else {})
    return most_of(
        target.price,
        text_bytes=needs.most_input_tokens,
        images=needs.images,
        choices=needs.choices,
        max_tokens=needs.max_tokens if request.endpoint.writes else 0,
        limit=target.context,
    )


def _dearest(amounts: list[int | None]) -> int | None:
    known = [amount for amount in amounts if amount is not None]
    return max(known) if known and len(known) == len(amounts) else None
