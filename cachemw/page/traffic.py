"""The view *Traffic*: exchanges one by one, filtered by what stands in the address, and the new ones as they are written."""

import asyncio
from collections.abc import AsyncIterator
from urllib.parse import urlencode

import msgspec
from anyio.to_thread import run_sync
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from cachemw.errors import BookError, InvalidSetting
from cachemw.gateway.estimates import priced_row
from cachemw.inventory.filters import FILTER_MEMBERS, Filter, Subject
from cachemw.ledger.reading import Tail
from cachemw.ledger.row import Row
from cachemw.page.rows import OUTCOMES, cells
from cachemw.page.shell import Shell, plain

PAGE_ROWS = 50
TICK = 0.25
"""The seconds between two looks for new rows."""

TICK_ROWS = 20
"""How many rows are sent at most at one look; of the others their number is."""

LOOK_ROWS = 2_000
"""How many rows are read at one look: who is further behind gets the rest at the next."""

SILENCE = 15.0
"""The seconds after which a line is sent that says nothing: else nobody notices that a client has gone."""

MOST_LISTENERS = 32
"""How many clients may listen at once; a browser opens six connections to one place at most."""

EXCHANGE_FIELDS = tuple(member for member in FILTER_MEMBERS.values() if Subject.EXCHANGES in member.subjects)
"""The conditions that there are on exchanges."""


def traffic(shell: Shell, request: Request) -> Response:
    """Show one page of exchanges, newest first."""
    chosen, fault = read_filter(request)
    before = place_in(request, "before")
    found = [] if fault else shell.rows(chosen.where(shell.clock()), limit=PAGE_ROWS + 1, before=before)
    query = chosen.to_query()
    return shell.render(
        request,
        "traffic.html",
        status=400 if fault else 200,
        fault=fault,
        fields=EXCHANGE_FIELDS,
        given=request.query_params,
        outcomes=OUTCOMES,
        latest=[cells(row) for row in found[:PAGE_ROWS]],
        is_live=before is None and not fault,
        is_filtered=not chosen.is_empty,
        after=found[0].place if found else 0,
        row_count=PAGE_ROWS,
        query=urlencode(query),
        older=f"/traffic?{urlencode({**query, 'before': found[PAGE_ROWS - 1].place})}" if len(found) > PAGE_ROWS else "",
        newest=f"/traffic?{urlencode(query)}" if before is not None else "",
    )


def read_filter(request: Request) -> tuple[Filter, InvalidSetting | None]:
    """Return the filter of an address, and what is wrong with it."""
    try:
        return Filter.from_query(request.query_params), None
    except InvalidSetting as exc:
        return Filter(), exc


def place_in(request: Request, name: str) -> int | None:
    """Return a place in the ledger that an address names; `None` where it names none."""
    return _place(request.query_params.get(name, ""))


def _place(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 19 else None


class Listeners:
    """How many clients listen now."""

    def __init__(self) -> None:
        self.count = 0


async def live(shell: Shell, listeners: Listeners, request: Request) -> Response:
    """Send rows as they are written, to who has seen those up to a place; who comes again goes on where it was."""
    chosen, fault = read_filter(request)
    if fault:
        return plain(400, str(fault))
    if listeners.count >= MOST_LISTENERS:
        return plain(503, f"{MOST_LISTENERS} clients listen already.", retry_after="10")
    seen = _place(request.headers.get("last-event-id", ""))
    after = place_in(request, "after") if seen is None else seen
    where = chosen.where(shell.clock())
    try:
        tail = await run_sync(lambda: Tail(shell.reader, where, after=after))
    except BookError as exc:
        return plain(503, str(exc), retry_after="10")
    headers = {"x-accel-buffering": "no"}  # a proxy is not to hold them back
    return StreamingResponse(_events(shell, listeners, tail), headers=headers, media_type="text/event-stream")


async def _events(shell: Shell, listeners: Listeners, tail: Tail) -> AsyncIterator[bytes]:
    listeners.count += 1
    try:
        yield b"retry: 1000\n\n"
        silent = 0.0
        while not shell.is_ending():
            event = await run_sync(_next_event, shell, tail)
            silent = 0.0 if event else silent + TICK
            if silent >= SILENCE:
                event, silent = b": still here\n\n", 0.0
            if event:
                yield event
            await asyncio.sleep(TICK)
    finally:
        listeners.count -= 1


def _next_event(shell: Shell, tail: Tail) -> bytes:
    """Return what has come since as an event; nothing where nothing has, or the ledger cannot be read just now."""
    try:
        found = tail.rows(LOOK_ROWS)
    except BookError:
        return b""
    return event_of([priced_row(row, shell.tables) for row in found], tail.place) if found else b""


def event_of(found: list[Row], place: int) -> bytes:
    """Return the event of these rows, oldest first: the newest of them, newest first, and how many are left out."""
    newest = [cells(row) for row in reversed(found[-TICK_ROWS:])]
    data = msgspec.json.encode({"rows": newest, "left_out": max(0, len(found) - TICK_ROWS)})
    return b"id: %d\nevent: rows\ndata: %s\n\n" % (place, data)
