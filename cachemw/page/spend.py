"""The view *Spend*: what was spent and saved, by client, target, model, route, endpoint and day."""

from collections.abc import Sequence

from starlette.requests import Request
from starlette.responses import Response

from cachemw.ledger.sums import Sums, SumsBy, filled, in_all, span_start
from cachemw.money import NANO
from cachemw.page.charts import Chart, Column, stacked
from cachemw.page.figures import dollars, share
from cachemw.page.shell import Shell
from cachemw.page.spans import SPANS, PageSpan, span_of

BY = tuple(by for by in SumsBy if by not in (SumsBy.OUTCOME, SumsBy.HOUR))
"""What the figures may be told apart by."""


def spend(shell: Shell, request: Request) -> Response:
    """Show where the money goes."""
    span, at = span_of(request.query_params.get("since"), "7d"), shell.clock()
    chosen = request.query_params.get("by", "")
    by = SumsBy(chosen) if chosen in BY else SumsBy.CLIENT
    since = span_start(at, span.seconds)
    found = shell.sums(by, since)
    return shell.render(
        request,
        "spend.html",
        by=by,
        every_by=BY,
        span=span,
        spans=SPANS,
        found=[named(summed, by, span) for summed in found],
        total=in_all(found),
        line=money_chart(filled(shell.sums(span.step, since), span.step, since, at), span),
    )


def named(summed: Sums, by: SumsBy, span: PageSpan) -> tuple[str, Sums]:
    """Return sums with the name that people know them by."""
    return (span.day(int(summed.name)) if by is SumsBy.DAY else summed.name), summed


def money_chart(line: Sequence[Sums], span: PageSpan) -> Chart:
    """Return what each step cost, and above that what it would have cost besides."""
    columns = []
    for step in line:
        begins = int(step.name)
        said = f"{span.title(begins)}: {dollars(step.spent)} spent, {dollars(step.saved)} saved"
        columns.append(Column((step.spent / NANO, step.saved / NANO), said, span.label(begins)))
    total = in_all(line)
    would = share(total.saved, total.saved + total.spent)
    summary = f"In the last {span.name} {dollars(total.spent)} were spent and {dollars(total.saved)} saved, {would} of both."
    return stacked(columns, ("forwarded", "stored"), unit="USD", summary=summary, whole=False)
