"""The view *Why*: the reason why one request was not answered from the store, and in what it differs from what was."""

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from cachemw.cache.differences import grouped, listed, shown
from cachemw.errors import CommandError
from cachemw.ledger.explaining import Explainer, Explanation
from cachemw.ledger.habits import hint
from cachemw.ledger.reading import ANY_MISS, row_of
from cachemw.ledger.reasons import NoMiss, OtherCircumstance, OtherFields, Reason, sentence
from cachemw.page.rows import cells
from cachemw.page.shell import Shell

_LATEST = 10


def why(shell: Shell, request: Request) -> Response:
    """Explain the exchange that the address names, or else the last miss."""
    latest = shell.rows(ANY_MISS, limit=_LATEST)
    name = request.path_params.get("name") or request.query_params.get("of", "").strip()
    fault = ""
    try:
        row = row_of(shell.reader, name) if name else (latest[0] if latest else None)
    except CommandError as exc:
        row, fault = None, str(exc)
    if row is None and name and not fault:
        fault = "No exchange has this number or id, or it was so long ago that the ledger has forgotten it."
    if row is not None and request.query_params.get("of"):
        return RedirectResponse(f"/why/{row.place}", 303)
    explained = None if row is None else Explainer(shell.reader, shell.records(), shell.clock).of_row(row)
    return shell.render(
        request,
        "why.html",
        status=404 if fault else 200,
        fault=fault,
        name=name,
        row=None if row is None else cells(row),
        explained=explained,
        reason=None if explained is None else sentence(explained.reason, explained.asked_ms),
        title="" if explained is None else title_of(explained.reason),
        fields=[] if explained is None else field_list(explained),
        hint=None if explained is None or explained.habit is None else hint(explained.habit),
        latest=[cells(each) for each in latest],
    )


def title_of(reason: Reason) -> str:
    """Return a reason in a few words."""
    if isinstance(reason, NoMiss):
        return "It was no miss"
    names = reason.names if isinstance(reason, OtherFields | OtherCircumstance) else ()
    if not names:
        return reason.word
    return f"{listed(names)} {'differs' if len(names) == 1 else 'differ'}"


def field_list(explained: Explanation) -> list[tuple[str, str, list[str]]]:
    """Return the parts of the request by how they compare with the nearest that was stored: class, words and names."""
    if explained.nearest is None:
        return []
    difference = explained.nearest.difference
    groups = (
        ("differs", "differs", difference.differing),
        ("differs", "only here", difference.only_here),
        ("differs", "only there", difference.only_there),
        ("unknown", "nobody can say", difference.unknown),
        ("equal", "equal", difference.equal),
    )
    return [(kind, words, list(map(shown, grouped(names)))) for kind, words, names in groups if names]
