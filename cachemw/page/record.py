"""The view *Record*: what one record says, how often it answered, and the request, where that was kept."""

import re

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from cachemw.cache.key import indexes_beside
from cachemw.errors import RecordError
from cachemw.inventory.answers import answer_text, finish_reasons
from cachemw.inventory.demand import demand_of
from cachemw.inventory.entry import sound
from cachemw.messages import StoredResponse
from cachemw.page.rows import cells
from cachemw.page.shell import Shell
from cachemw.page.store import PURGE
from cachemw.wire.strict_json import UNREADABLE

_LATEST = 10
LONGEST_TEXT = 200_000
"""The characters of an answer, or of a request, that are shown."""

_KEY = re.compile(r"[0-9a-f]{32}")


def record(shell: Shell, request: Request) -> Response:
    """Show what there is under a key."""
    key, now = request.path_params["key"].lower(), shell.clock()
    if not _KEY.fullmatch(key):
        return shell.render(request, "record.html", status=404, key=key, is_key=False, found=[], latest=[])
    found, is_damaged = _stored(shell, bytes.fromhex(key), now)
    latest = shell.rows(("key = ?", (key,)), limit=_LATEST)
    return shell.render(
        request,
        "record.html",
        status=200 if found or is_damaged or latest else 404,
        key=key,
        is_key=True,
        is_damaged=is_damaged,
        found=[(stored, size, _cut(answer_text(stored)), finish_reasons(stored), _pretty(stored)) for stored, size in found],
        latest=[cells(row) for row in latest],
        demand=demand_of(shell.reader, key),
        now=now,
        seal=shell.rules.seal(PURGE, "try"),
    )


def _stored(shell: Shell, index: bytes, now: float) -> tuple[list[tuple[StoredResponse, int]], bool]:
    """Return what is stored under a key, and beside it in the other kind, each with its size; and whether some is damaged."""
    found, is_damaged, store = [], False, shell.records()
    for place in (index, *indexes_beside(index)):
        try:
            encoded = store.get(place)
        except RecordError:
            is_damaged = True
            continue
        stored = None if encoded is None else sound(encoded, now)
        if encoded is not None and stored is not None:
            found.append((stored, len(encoded)))
        is_damaged = is_damaged or encoded is not None and stored is None
    return found, is_damaged


def _pretty(stored: StoredResponse) -> str | None:
    """Return the request as people read it; `None` where it was not kept."""
    if stored.request is None:
        return None
    try:
        return _cut(msgspec.json.format(stored.request, indent=2).decode())
    except UNREADABLE:
        return _cut(stored.request.decode(errors="backslashreplace"))


def _cut(text: str) -> str:
    return text if len(text) <= LONGEST_TEXT else f"{text[:LONGEST_TEXT]}…"
