"""Follow an answer to its end, and settle what it cost: to the report, and to its client's account."""

from collections.abc import Callable

from cachemw.endpoints.base import Endpoint
from cachemw.gateway.usage import UsageWatch
from cachemw.messages import Usage
from cachemw.money import Cost, Price
from cachemw.routing import Bill

_NOTHING = Cost(0, "priced")


class BillingWatch:
    """Sees the bytes of one answer, and settles its bill at the end; `settled` is told of both.

    `bytes_in` is the size of the request's body; `endpoint` is the one that was called, where that is one of ours. Not
    `is_certain`: others were asked beside or before whose cost nobody will know.
    """

    def __init__(
        self,
        bytes_in: int,
        price: Price | None,
        settled: Callable[[Cost | None, Usage | None], None],
        *,
        is_certain: bool,
        endpoint: Endpoint | None = None,
    ) -> None:
        self.bill = Bill()
        self._bytes_in, self._price, self._settled, self._is_certain = bytes_in, price, settled, is_certain
        self._endpoint = endpoint
        self._watch, self._bytes_out = UsageWatch(), 0

    def feed(self, chunk: bytes) -> None:
        """See what has come."""
        self._bytes_out += len(chunk)
        self._watch.feed(chunk)

    def end(self, complete: bool) -> None:
        """Settle the bill: by what the answer says it took, else by its size, as where its client hung up before that came."""
        usage = self._watch.end()
        cost = self._cost(complete and usage is not None)
        if cost is not None and not self._is_certain:
            cost = Cost(cost.nano, cost.basis, at_least=True)
        self.bill.cost, self.bill.usage = cost, usage
        self._settled(cost, usage)

    def _cost(self, is_told: bool) -> Cost | None:
        endpoint = self._endpoint
        if endpoint is not None and endpoint.is_free:
            return _NOTHING
        if is_told:
            return self._watch.cost(self._price)
        if not self._bytes_out:
            return None
        written = self._bytes_out if endpoint is None or endpoint.writes else 0
        return self._watch.partial_cost(self._price, self._bytes_in, written)
