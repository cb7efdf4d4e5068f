"""The shell around every view: its templates, its one style and script, and the header fields that let nothing else in."""

import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlencode

from anyio.to_thread import run_sync
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape
from starlette.requests import Request
from starlette.responses import Response

from cachemw.errors import BookError, StoreError
from cachemw.gateway.estimates import priced_row, priced_sums
from cachemw.gateway.price_tables import PriceTables
from cachemw.ledger.reader import LedgerReader
from cachemw.ledger.reading import EVERY, Condition, rows
from cachemw.ledger.row import Row
from cachemw.ledger.sums import By, Sums
from cachemw.page import figures
from cachemw.page.admission import SESSION_PATH, PageRules
from cachemw.page.shelf import Shelf
from cachemw.redaction import printable, redacted_repr
from cachemw.stores import MemoryStore, Store

_HERE = Path(__file__).parent
_THEMES = ("light", "dark")
THEME_COOKIE = "cachemw-theme"

_POLICY = (
    "default-src 'none'; script-src 'nonce-{0}'; style-src 'nonce-{0}'; connect-src 'self'; img-src data:;"
    " frame-ancestors 'none'; base-uri 'none'; form-action 'self'"
)
FORM_BYTES = 16_384
"""The largest form that is read."""

VIEWS = (
    ("/", "Now"),
    ("/traffic", "Traffic"),
    ("/misses", "Misses"),
    ("/why", "Why"),
    ("/store", "Store"),
    ("/spend", "Spend"),
)
"""The views that one can go to from everywhere."""


@dataclass(frozen=True, slots=True)
class Shell:
    """What every view has: where the store is, by which rules it answers, and the time; `is_ending` says when to let go."""

    directory: Path
    rules: PageRules
    reader: LedgerReader
    tables: PriceTables
    store: Store
    shelf: Shelf
    size_limit: int
    clock: Callable[[], float] = time.time
    is_ending: Callable[[], bool] = field(default=lambda: False)

    __repr__ = redacted_repr

    def sums(self, by: By, since: float | None = None, until: float | None = None) -> list[Sums]:
        """Return what the ledger has in sum, with a price on what has one. Raises `BookError`."""
        return priced_sums(self.reader, self.tables, by, since, until)

    def rows(self, where: Condition = EVERY, *, limit: int, before: int | None = None) -> list[Row]:
        """Return the newest exchanges that meet a condition, each with its price. Raises `BookError`."""
        return [priced_row(row, self.tables) for row in rows(self.reader, where, limit=limit, before=before)]

    def records(self) -> Store:
        """Return the store as who only reads has it; an empty one where there is none yet."""
        return self.store.read_only() if self.store.exists() else MemoryStore()

    def answered(self, view: Callable[..., Response], request: Request, *values: Any) -> Response:
        """Return a view, or why there is none just now: a ledger or a store that does not work is no fault of who asks."""
        try:
            return view(self, request, *values)
        except (BookError, StoreError) as exc:
            return self.render(request, "problem.html", status=503, problem=str(exc))

    async def answered_elsewhere(self, view: Callable[..., Response], request: Request, *values: Any) -> Response:
        """Return a view that is made in another thread, where the store and the ledger may be waited for."""
        return await run_sync(lambda: self.answered(view, request, *values))

    def render(self, request: Request, template: str, *, status: int = 200, **values: Any) -> Response:
        """Return a page made of a template; what it shows is text, and never markup."""
        nonce = secrets.token_urlsafe(16)
        theme = request.cookies.get(THEME_COOKIE)
        text = (
            _templates()
            .get_template(template)
            .render(
                views=VIEWS,
                path=request.scope["path"],
                theme=theme if theme in _THEMES else "",
                nonce=nonce,
                style=_static("page.css"),
                script=_static("page.js"),
                session_path=SESSION_PATH,
                directory=str(self.directory),
                now_ms=self.clock() * 1000,
                zone=datetime.fromtimestamp(self.clock()).astimezone().strftime("%Z"),
                **values,
            )
        )
        return Response(text, status, {"content-security-policy": _POLICY.format(nonce)}, "text/html")


def plain(status: int, text: str, **headers: str) -> Response:
    """Return a line of text, as programs and refused requests get it."""
    fields = {name.replace("_", "-"): value for name, value in headers.items()}
    return Response(f"{text}\n", status, fields, "text/plain")


def read_templates() -> None:
    """Read all templates now: no view is to wait for that."""
    made = _templates()
    for name in made.list_templates():
        made.get_template(name)


@cache
def _templates() -> Environment:
    made = Environment(
        loader=FileSystemLoader(_HERE / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    for name in ("amount", "size", "duration", "dollars", "share", "ago", "moment", "rate"):
        made.filters[name] = getattr(figures, name)
    made.filters.update(
        shown=printable, doubts=doubts, query=urlencode, span=figures.duration_in_short, sentence_case=_sentence, marked=marked
    )
    return made


async def read_form(request: Request) -> dict[str, str] | None:
    """Return the members of a form; `None` for what is none, or is too large to be one of ours."""
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > FORM_BYTES:
            return None
    try:
        return dict(parse_qsl(body.decode("ascii"), keep_blank_values=True, max_num_fields=64))
    except ValueError:
        return None


def doubts(total: Sums) -> str:
    """Say how far what was spent is known, where that is not all."""
    notes = (
        (total.unpriced, "of unknown price"),
        (total.least, "that may have cost more"),
        (total.dropped, "not written down"),
    )
    return ", ".join(f"{count:,} {what}" for count, what in notes if count)


def _sentence(text: str) -> str:
    """Return words with a capital at their beginning."""
    return text[:1].upper() + text[1:]


def marked(text: str) -> Markup:
    """Return words in which what stands between backticks is set as code."""
    pieces = [
        Markup("<code>{}</code>").format(piece) if place % 2 else escape(piece) for place, piece in enumerate(text.split("`"))
    ]
    return Markup("").join(pieces)


@cache
def _static(name: str) -> Markup:
    """Return our own style or script, to stand in the page itself."""
    return Markup((_HERE / "static" / name).read_text(encoding="utf-8"))  # noqa: S704 - a file of this package
