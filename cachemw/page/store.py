"""The view *Store*: how much it holds, how old that is, of which models; and the purge, of which a dry run comes first."""

from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import Response

from cachemw.errors import InvalidSetting
from cachemw.inventory.demand import demand_for
from cachemw.inventory.entry import Entry, Role
from cachemw.inventory.filters import EVERYTHING, FILTER_MEMBERS, Filter, Subject
from cachemw.inventory.removing import planned, remove
from cachemw.inventory.survey import AGES, Stats, survey
from cachemw.page import figures
from cachemw.page.charts import Chart, Column, stacked
from cachemw.page.shell import Shell, plain, read_form
from cachemw.redaction import redacted_repr

SHOWN_KEYS = 50
"""How many records are listed."""

RECORD_FIELDS = tuple(member for member in FILTER_MEMBERS.values() if Subject.RECORDS in member.subjects)
"""The conditions that there are on records."""

TODAY = 86_400.0

TRIED_FOR = 3600.0
"""The seconds for which what was tried may be removed; later it is tried again."""

_ROLES = (Role.ANSWER, Role.BATCH, Role.BESIDE, Role.PART)

PURGE = "purge"
"""The word under which forms of the purge are sealed."""


def store(shell: Shell, request: Request) -> Response:
    """Show what there is, and those records that a filter means."""
    now = shell.clock()
    meant, fault = _filter(dict(request.query_params))
    every = shell.shelf.entries(EVERYTHING, now)
    found = [] if fault else shell.shelf.entries(meant, now)
    stats = survey(every, now)
    return shell.render(
        request,
        "store.html",
        status=400 if fault else 200,
        fault=fault,
        exists=shell.store.exists(),
        stats=stats,
        size_limit=shell.size_limit,
        disk_bytes=shell.records().size(),
        ages=ages_chart(stats),
        models=list(stats.models.items()),
        fields=RECORD_FIELDS,
        given=request.query_params,
        meant=meant,
        hidden=meant.to_query(),
        seal=shell.rules.seal(PURGE, "try"),
        found=by_key(found)[:SHOWN_KEYS],
        found_count=len(found),
        found_bytes=sum(entry.size for entry in found),
        now=now,
    )


@dataclass(frozen=True, slots=True)
class Shelved:
    """All that is stored under one key: the entry that stands for it, how many there are, and their bytes."""

    entry: Entry
    count: int
    size: int

    __repr__ = redacted_repr


def by_key(found: Sequence[Entry]) -> list[Shelved]:
    """Return entries by their keys, in the order in which they come; an answer, or a batch, stands for the rest."""
    keys: dict[str, list[Entry]] = {}
    for entry in found:
        keys.setdefault(entry.key, []).append(entry)
    return [
        Shelved(min(some, key=lambda one: _ROLES.index(one.role)), len(some), sum(one.size for one in some))
        for some in keys.values()
    ]


def ages_chart(stats: Stats) -> Chart:
    """Return how old the records are."""
    names = [figures.duration(bound) for bound in AGES]
    bounds = [*(f"<{figures.THIN}{name}" for name in names), f"≥{figures.THIN}{names[-1]}"]
    columns = [
        Column((count,), f"{count:,} stored {bound.replace('<', 'less than ').replace('≥', 'at least ')} ago", bound)
        for count, bound in zip(stats.ages, bounds, strict=True)
    ]
    return stacked(columns, ("stored",), unit="records", summary=f"The ages of {sum(stats.ages):,} records.")


async def purge(shell: Shell, request: Request) -> Response:
    """Say what a purge would remove; remove it when its form comes back from there."""
    form = await read_form(request)
    if form is None:
        return plain(400, "This is no form of this page.")
    meant, fault = _filter(form)
    if fault:
        return plain(400, f"{fault.place}: {fault.reason}")
    seal, tried_at, words = form.get("seal", ""), form.get("tried_at", ""), urlencode(meant.to_query())
    if shell.rules.is_sealed(seal, PURGE, "remove", tried_at, words):
        if shell.clock() - float(tried_at) <= TRIED_FOR:
            return await shell.answered_elsewhere(_remove, request, meant, float(tried_at))
        return await shell.answered_elsewhere(_try, request, meant)
    if shell.rules.is_sealed(seal, PURGE, "try"):
        return await shell.answered_elsewhere(_try, request, meant)
    return plain(403, "This form was not written by this page, or by one that has another token. Nothing was removed.")


def _try(shell: Shell, request: Request, meant: Filter) -> Response:
    """Say what would go, and change nothing."""
    now, words = shell.clock(), urlencode(meant.to_query())
    removal = planned(shell.records(), meant, now)
    return shell.render(
        request,
        "purge.html",
        meant=meant,
        removal=removal,
        demand=demand_for(shell.reader, removal.places, now - TODAY),
        removed=None,
        hidden={**meant.to_query(), "tried_at": f"{now}"},
        back=f"/store?{words}",
        seal=shell.rules.seal(PURGE, "remove", f"{now}", words),
    )


def _remove(shell: Shell, request: Request, meant: Filter, tried_at: float) -> Response:
    """Remove what was meant when it was tried: what has become old since then stays."""
    removal = planned(shell.records(), meant, tried_at)
    removed = remove(shell.store, removal, shell.clock()) if removal.records else 0
    shell.shelf.forget()
    return shell.render(
        request, "purge.html", meant=meant, removal=removal, demand=None, removed=removed, hidden={}, back="/store", seal=""
    )


def _filter(given: dict[str, str]) -> tuple[Filter, InvalidSetting | None]:
    """Return the filter of an address or a form, as far as it is about records, and what is wrong with it."""
    try:
        return Filter.from_query({member.word: given.get(member.word, "") for member in RECORD_FIELDS}), None
    except InvalidSetting as exc:
        return EVERYTHING, exc
