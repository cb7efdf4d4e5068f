"""The view *Now*: how much was asked lately, what was answered from the store and what that saved, and the last exchanges."""

from collections.abc import Sequence
from pathlib import Path

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from cachemw.ledger.schema import ANSWERED_HERE, BOUGHT, LATENCIES
from cachemw.ledger.sums import Sums, SumsBy, filled, in_all, latencies, quantile, span_start
from cachemw.metrics.slots import read_slots
from cachemw.metrics.sums import gauged
from cachemw.metrics.table import FLIGHT_BYTES, FLIGHTS
from cachemw.page import figures
from cachemw.page.charts import Chart, Column, stacked
from cachemw.page.rows import cells
from cachemw.page.shell import Shell
from cachemw.page.spans import SPANS, PageSpan, span_of

LATEST_ROWS = 12
"""How many of the last exchanges are shown."""

RATE_MINUTES = 5
"""The minutes over which the rate is taken."""


def now(shell: Shell, request: Request) -> Response:
    """Show what is going on."""
    span, at = span_of(request.query_params.get("since")), shell.clock()
    since = span_start(at, span.seconds)
    found = latencies(shell.reader, since)
    here, asked = _all_of(found, ANSWERED_HERE), _all_of(found, BOUGHT)
    latest = shell.rows(limit=LATEST_ROWS)
    return shell.render(
        request,
        "now.html",
        span=span,
        spans=SPANS,
        total=in_all(shell.sums(SumsBy.OUTCOME, since)),
        in_progress=in_progress(shell.directory, at),
        rate=in_all(shell.sums(SumsBy.OUTCOME, at - 60 * RATE_MINUTES)).requests / RATE_MINUTES,
        requests=requests_chart(filled(shell.sums(span.step, since), span.step, since, at), span),
        times=times_chart(here, asked, span),
        here_median=quantile(here, 0.5),
        asked_median=quantile(asked, 0.5),
        latest=[cells(row) for row in latest],
        after=latest[0].place if latest else 0,
        row_count=LATEST_ROWS,
        query="",
    )


class InProgress(msgspec.Struct, frozen=True):
    """How many answers are under way beside this store, the bytes that they hold, and how many workers say so."""

    answers: int
    size: int
    workers: int


def in_progress(directory: Path, now: float) -> InProgress | None:
    """Return what the workers said a second ago; `None` where none is alive."""
    alive = [gauges for _, gauges in read_slots(directory, now) if gauges is not None]
    total = gauged(alive)
    if not alive:
        return None
    return InProgress(int(total.get((FLIGHTS.name,), 0)), int(total.get((FLIGHT_BYTES.name,), 0)), len(alive))


def requests_chart(line: Sequence[Sums], span: PageSpan) -> Chart:
    """Return how many requests each step had, those answered from the store below the others."""
    columns = []
    for step in line:
        begins, here = int(step.name), step.answered_here
        said = f"{span.title(begins)}: {here:,} of {step.requests:,} answered from the store"
        columns.append(Column((here, step.requests - here), said, span.label(begins)))
    total = in_all(line)
    summary = f"Requests in the last {span.name}: {total.answered_here:,} of {total.requests:,} were answered from the store."
    return stacked(columns, ("stored", "forwarded"), unit=f"per {figures.duration(span.step * 60)}", summary=summary)


def times_chart(here: Sequence[int], asked: Sequence[int], span: PageSpan) -> Chart:
    """Return how long answers took, by powers of two of a millisecond: shares of those from the store, and of the others."""
    last = max((place for place, count in enumerate(map(sum, zip(here, asked, strict=True))) if count), default=0)
    columns = [_time_column(power, here, asked) for power in range(min(max(last + 2, 13), len(LATENCIES)))]
    summary = (
        f"How long whole answers took in the last {span.name}: {sum(here):,} from the store, {sum(asked):,} from upstreams."
    )
    return stacked(columns, ("stored", "forwarded"), unit="% of each", summary=summary)


def _time_column(power: int, here: Sequence[int], asked: Sequence[int]) -> Column:
    bound = figures.duration(2**power / 1000)
    said = f"under {bound}" if power < len(LATENCIES) - 1 else "longer"
    label = f"<{figures.THIN}{bound}" if power % 3 == 0 else ""
    title = f"{said}: {here[power]:,} from the store, {asked[power]:,} from upstreams"
    return Column((100 * here[power] / max(sum(here), 1), 100 * asked[power] / max(sum(asked), 1)), title, label)


def _all_of(found: dict[str, tuple[int, ...]], outcomes: Sequence[str]) -> tuple[int, ...]:
    none = (0,) * len(LATENCIES)
    return tuple(map(sum, zip(*(found.get(outcome, none) for outcome in outcomes), strict=True)))
