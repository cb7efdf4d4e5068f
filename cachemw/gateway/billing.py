"""Follow an answer to its end, and settle what it cost: to the report, and to its client's account."""

from collections.abc import Callable

from cachemw.gateway.usage import UsageWatch
from cachemw.messages import Usage
from cachemw.money import Cost, Price
from cachemw.routing import Bill


class BillingWatch:
    """Sees the bytes of one answer, and settles its bill at the end; `settled` is told of both.

    `bytes_in` is the size of the request's body. Not `is_certain`: others were asked beside or before whose cost nobody will
    know.
    """

    def __init__(
        self, bytes_in: int, price: Price | None, settled: Callable[[Cost | None, Usage | None], None], *, is_certain: bool
    ) -> None:
        self.bill = Bill()
        self._bytes_in, self._price, self._settled, self._is_certain = bytes_in, price, settled, is_certain
        self._watch, self._bytes_out = UsageWatch(), 0

    def feed(self, chunk: bytes) -> None:
        """See what has come."""
        self._bytes_out += len(chunk)
        self._watch.feed(chunk)

    def end(self, complete: bool) -> None:
        """Settle the bill: by what the answer says it took, else by its size, as where its client hung up before that came."""
        usage = self._watch.end()
        if complete and usage is not None:
            cost = self._watch.cost(self._price)
        elif self._bytes_out:
            cost = self._watch.partial_cost(self._price, self._bytes_in, self._bytes_out)
        else:
            cost = None
        if cost is not None and not self._is_certain:
            cost = Cost(cost.nano, cost.basis, at_least=True)
        self.bill.cost, self.bill.usage = cost, usage
        self._settled(cost, usage)
