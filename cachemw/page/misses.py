"""The view *Misses*: which part differed again and again, and what that cost."""

from starlette.requests import Request
from starlette.responses import Response

from cachemw.ledger.miss_reasons import MissReasons
from cachemw.ledger.reading import ANY_MISS
from cachemw.ledger.sums import SumsBy, in_all
from cachemw.page.grouping import grouped_misses
from cachemw.page.shell import Shell
from cachemw.page.spans import SPANS, span_of

EXPLAINED = 500
"""How many misses are explained: the last ones of the span."""

_MISSES = f"at_ms >= ? AND {ANY_MISS[0]}"


def misses(shell: Shell, request: Request) -> Response:
    """Show the misses of a span by what differed."""
    span = span_of(request.query_params.get("since"))
    since_ms = int((shell.clock() - span.seconds) * 1000)
    found = shell.rows((_MISSES, (since_ms,)), limit=EXPLAINED + 1)
    reasons = MissReasons(shell.reader)
    groups = grouped_misses([(row, reasons.of(row).reason) for row in reversed(found[:EXPLAINED])])
    return shell.render(
        request,
        "misses.html",
        span=span,
        spans=SPANS,
        groups=groups,
        count=sum(group.count for group in groups),
        most=EXPLAINED if len(found) > EXPLAINED else None,
        largest=max((group.count for group in groups), default=0),
        dropped=in_all(shell.sums(SumsBy.OUTCOME, since_ms / 1000)).dropped,
        near=[group for group in groups if group.is_near],
    )
