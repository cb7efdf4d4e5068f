"""The view *Misses*: which part differed again and again, and what that cost."""

from collections.abc import Iterable, Iterator, Mapping, Sequence

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from cachemw.cache.sketch import Sketch
from cachemw.ledger.candidates import Candidates, sketched_rows
from cachemw.ledger.reader import LedgerReader
from cachemw.ledger.reading import Row, rows
from cachemw.ledger.reasons import OtherCaller, Purge, Reason, Unsketched, reason_before, reason_by, reason_in_row
from cachemw.page.grouping import grouped_misses
from cachemw.page.shell import Shell
from cachemw.page.spans import SPANS, span_of

MOST = 500
"""How many misses are explained: the last ones of the span."""

HISTORY = 50
"""How many exchanges of one key are looked at."""

_ENDLESS = 2**63 - 1
_PLACES = "SELECT place, key FROM exchanges WHERE key IN (SELECT value FROM json_each(?)) ORDER BY place DESC"
_AT_PLACES = "place IN (SELECT value FROM json_each(?))"
_PURGES = "SELECT at_ms, key FROM purges"


def misses(shell: Shell, request: Request) -> Response:
    """Show the misses of a span by what differed."""
    span = span_of(request.query_params.get("since"))
    since_ms = int((shell.clock() - span.seconds) * 1000)
    found = shell.rows(("at_ms >= ? AND outcome IN ('miss', 'not_cached')", (since_ms,)), limit=MOST + 1)
    explained = list(explained_misses(shell.reader, found[:MOST]))
    groups = grouped_misses(explained)
    return shell.render(
        request,
        "misses.html",
        span=span,
        spans=SPANS,
        groups=groups,
        count=len(explained),
        most=MOST if len(found) > MOST else None,
        largest=max((group.count for group in groups), default=0),
        near=[group for group in groups if group.is_near],
    )


def explained_misses(reader: LedgerReader, found: Sequence[Row]) -> Iterator[tuple[Row, Reason]]:
    """Yield these misses, each with its reason: what became of its record before, else what differs from what was stored."""
    open_ones: dict[str, Row] = {}
    earlier, purges = _earlier(reader, found), reader.query(_PURGES)
    for row in found:
        reason = reason_in_row(row) or _before(row, earlier, purges)
        if reason is None and row.sketch is not None and row.id is not None:
            open_ones[row.id] = row
        else:
            yield row, reason or Unsketched()
    if open_ones:
        yield from _by_sketches(reader, open_ones)


def _earlier(reader: LedgerReader, found: Sequence[Row]) -> Mapping[str, Sequence[Row]]:
    """Return by key what was before the last of these misses of it, newest first."""
    last: dict[str, int] = {}
    for row in found:
        last[row.key or ""] = max(row.place, last.get(row.key or "", 0))
    places: dict[str, list[int]] = {}
    for place, key in reader.query(_PLACES, (_listed(last),)):
        if place < last[key] and len(places.setdefault(key, [])) < HISTORY:
            places[key].append(place)
    wanted = [place for some in places.values() for place in some]
    by_key: dict[str, list[Row]] = {}
    for row in rows(reader, (_AT_PLACES, (_listed(wanted),)), limit=len(wanted)):
        by_key.setdefault(row.key or "", []).append(row)
    return by_key


def _listed(values: Iterable[object]) -> str:
    return msgspec.json.encode(list(values)).decode()


def _before(row: Row, earlier: Mapping[str, Sequence[Row]], purges: Sequence[Purge]) -> Reason | None:
    of_key = [one for one in earlier.get(row.key or "", ()) if one.place < row.place]
    return reason_before(of_key, [purge for purge in purges if purge[1] in ("", row.key)], row.at_ms)


def _by_sketches(reader: LedgerReader, open_ones: Mapping[str, Row]) -> Iterator[tuple[Row, Reason]]:
    candidates = Candidates()
    told = set()
    for known in sketched_rows(reader, _ENDLESS):
        row = open_ones.get(known.candidate.id or "")
        if row is not None:
            told.add(row.id)
            yield row, _by_sketch(candidates, known.sketch)
        if known.is_stored:
            candidates.add(known.sketch, known.candidate)
    yield from ((row, Unsketched()) for row in open_ones.values() if row.id not in told)


def _by_sketch(candidates: Candidates, sketch: Sketch) -> Reason:
    if (other := candidates.same_for_another(sketch)) is not None:
        return OtherCaller(other.client)
    nearest = candidates.nearest(sketch)
    return reason_by(None if nearest is None else nearest[1])
