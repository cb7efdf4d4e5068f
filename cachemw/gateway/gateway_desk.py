"""Serve the attempts of one request: contact its targets, keep their standings, and reserve and settle what they cost."""

import time
from collections.abc import Callable

import anyio.to_thread

from cachemw.cache.header_rules import forwarded
from cachemw.cache.plans import AskedBid, Closed
from cachemw.endpoints import CHAT
from cachemw.errors import RequestDeclined, Unreadable
from cachemw.gateway.accounts import Treasurer
from cachemw.gateway.billing import BillingWatch
from cachemw.gateway.budgets import Reservation, most_of
from cachemw.gateway.contacts import Contacts
from cachemw.gateway.failure_kinds import Failure, FailureKind
from cachemw.gateway.health import GONE, Gone, Good
from cachemw.gateway.needs import needs_of
from cachemw.gateway.planning import RoutePlanner, key_of, parts_of
from cachemw.gateway.repeats import Repeats
from cachemw.gateway.standings import BegunAttempt, Standings
from cachemw.messages import Usage
from cachemw.money import Cost
from cachemw.upstreams.base import UpstreamRequest
from cachemw.upstreams.http import HttpUpstream
from cachemw.upstreams.providers import PROVIDERS
from cachemw.wire.strict_json import parse

_FAULTS = {
    FailureKind.OVERLOAD: frozenset({b"queue_threshold"}),
    FailureKind.AUTH: frozenset({b"openai-organization", b"openai-project"}),
}
"""The fields of a caller that a failure of a kind may be about: how long it waits for a turn, and whose account is to pay."""


class GatewayDesk:
    """The desk of one request. `settle` books what an attempt cost, some time soon."""

    def __init__(
        self,
        request: UpstreamRequest,
        planner: RoutePlanner,
        contacts: Contacts,
        standings: Standings,
        repeats: Repeats,
        treasurer: Treasurer | None,
        settle: Callable[[Reservation, int | None], None],
    ) -> None:
        assert request.bids is not None  # noqa: S101 - the script sends no request without
        bids, self._path, self._query = request.bids, request.raw_path, request.query
        self._plan, self._caller = bids.plan, bids.caller
        self._planner, self._contacts, self._standings, self._repeats = planner, contacts, standings, repeats
        self._treasurer, self._book = treasurer, settle
        self._client = planner.config.clients.get(bids.caller.name or "")
        self._under_way: dict[int, BegunAttempt] = {}
        self._reserved: dict[int, Reservation] = {}
        self._is_counted = self._has_begun = False
        self._headers, self._rules = request.headers, request.rules

    def contact(self, asked: AskedBid) -> HttpUpstream:
        """Return the upstream of its provider."""
        return self._contacts.of(self._parts(asked)[0], asked.bid.target, self._path, self._query)

    def is_callers(self, asked: AskedBid) -> bool:
        """Say whether the caller's own credential is sent there."""
        return key_of(self._caller, asked.bid.target)[1]

    def begun(self, asked: AskedBid) -> None:
        """Note that it is being asked."""
        provider, model = self._parts(asked)
        key, is_callers = key_of(self._caller, asked.bid.target)
        if self._plan.route is not None:
            self._planner.asked(self._plan.route, is_hedge=bool(self._under_way), is_first=not self._has_begun)
        self._has_begun = True
        self._repeats.note(provider)
        self._under_way[asked.position] = self._standings.begun(provider, model, key, is_callers=is_callers)

    def ended(self, asked: AskedBid, result: Good | Failure | Gone) -> float | None:
        """Note how that ended. Return for how many seconds it is not asked now; `None`: it may be."""
        attempt = self._under_way.pop(asked.position, None)
        self._settle(asked, 0 if isinstance(result, Failure) and _is_free(result) else None)
        if isinstance(result, Failure) and (self._is_callers_doing(asked, result) or _is_about_path(asked, result)):
            result = GONE
        return None if attempt is None else self._standings.ended(attempt, result)

    def _is_callers_doing(self, asked: AskedBid, failure: Failure) -> bool:
        """Say whether a failure may be about a field that the caller sent: it says nothing of how others would fare."""
        fields = _FAULTS.get(failure.kind, frozenset())
        sent = {name.lower() for name, _ in forwarded(self._headers, asked.bid.target.recipient, self._rules)}
        return not fields.isdisjoint(sent)

    def may_repeat(self, asked: AskedBid) -> bool:
        """Say whether it may be asked the same again, within what there is for such attempts, and count it."""
        return self._repeats.take(self._parts(asked)[0])

    def watch(self, asked: AskedBid, unsettled: tuple[AskedBid, ...]) -> BillingWatch:
        """Watch the answer of one; the cost of attempts at the `unsettled` will never be known."""
        attempt = self._under_way.get(asked.position)
        if attempt is not None:
            self._standings.answering(attempt)

        def settled(cost: Cost | None, usage: Usage | None) -> None:
            if self._plan.route is not None and usage is not None and usage.output_tokens is not None:
                self._planner.answered(self._plan.route, usage.output_tokens)
            self._settle(asked, None if cost is None else cost.nano)

        size, price = len(asked.body or b""), asked.bid.price
        return BillingWatch(size, price, settled, is_certain=not unsettled, endpoint=asked.endpoint)

    def reserve(self, asked: AskedBid) -> None:
        """Reserve what an attempt may cost. Raises `RequestDeclined` where the caller cannot pay it, or asks too often."""
        client, treasurer = self._client, self._treasurer
        if client is None or treasurer is None:
            return
        now = time.time()
        if not self._is_counted and (closed := treasurer.count(client, now)):
            raise RequestDeclined(closed)
        self._is_counted = True
        reserved = treasurer.reserve(client, asked.bid.name, self._most(asked), now)
        if isinstance(reserved, Closed):
            raise RequestDeclined(reserved)
        if reserved is not None:
            self._reserved[asked.position] = reserved

    async def areserve(self, asked: AskedBid) -> None:
        """Do the same beside the event loop: an account is a file."""
        if self._client is not None and self._treasurer is not None:
            await anyio.to_thread.run_sync(self.reserve, asked)

    def give_back(self) -> None:
        """Release what was reserved for attempts that have not begun, and will not."""
        for position in self._reserved.keys() - self._under_way.keys():
            self._book(self._reserved.pop(position), 0)

    def _settle(self, asked: AskedBid, nano: int | None) -> None:
        """Book what an attempt cost; `None`: nobody knows, and what was reserved is booked."""
        reserved = self._reserved.pop(asked.position, None)
        if reserved is not None:
            self._book(reserved, nano)

    def _most(self, asked: AskedBid) -> int | None:
        """Return the most that an attempt can cost; `None` where nobody knows."""
        price, endpoint = asked.bid.price, asked.endpoint
        if endpoint is not None and endpoint.is_free:
            return 0
        if price is None or asked.body is None:
            return None
        try:
            body = parse(asked.body)
        except Unreadable:  # the default provider gets it as it came
            return None
        needs = needs_of(body if isinstance(body, dict) else {})
        return most_of(
            price,
            text_bytes=needs.most_input_tokens,
            images=needs.images,
            choices=needs.choices,
            max_tokens=needs.max_tokens if endpoint is None or endpoint.writes else 0,
            limit=asked.bid.context,
        )

    def _parts(self, asked: AskedBid) -> tuple[str, str]:
        return parts_of(asked.bid.name, self._planner.config.default)


def _is_about_path(asked: AskedBid, failure: Failure) -> bool:
    """Say whether a model may be missed only on the path that was called: not all have every endpoint.

    What a provider's row says that it speaks, it has.
    """
    endpoint, recipient = asked.endpoint, asked.bid.target.recipient
    is_sure = endpoint is CHAT or endpoint is not None and recipient.provider in PROVIDERS and endpoint.name in recipient.speaks
    return failure.kind is FailureKind.NO_MODEL and not is_sure


def _is_free(failure: Failure) -> bool:
    """Say whether nobody is paid for an attempt that ended so: it reached nobody, or was answered with an error."""
    return failure.kind is FailureKind.UNREACHABLE or (failure.status is not None and failure.status >= 400)
