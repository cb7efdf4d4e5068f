"""`cachemw why`: why a request was not answered from the store, and in what it differs from the nearest that was stored."""

import os
import re
import sys
import time
from contextlib import closing
from pathlib import Path
from typing import Annotated

import typer

from cachemw.cli.addressing import AddressBook
from cachemw.cli.options import AsJson, Directory
from cachemw.cli.store import directory_of, settings_of, store_in
from cachemw.cli.why_lines import explanation_json, explanation_lines
from cachemw.cli.why_request import canonical_bodies, sent_bodies, sketches_of
from cachemw.errors import CommandError
from cachemw.ledger.explaining import Explainer, Explanation
from cachemw.ledger.reader import LedgerReader
from cachemw.ledger.reading import ANY_MISS, row_of, rows
from cachemw.ledger.schema import LEDGER_FILE
from cachemw.stores import MemoryStore, Store

STDIN = "-"

_LARGEST = 64 * 2**20
_KEY = re.compile(r"[0-9a-f]{1,32}")
_KEY_DIGITS = 32
_CLIENTS = "SELECT DISTINCT client FROM exchanges WHERE client != '' LIMIT 100"
_KEYS = "SELECT DISTINCT key FROM exchanges WHERE substr(key, 1, ?) = ? LIMIT 2"


def why(
    which: Annotated[
        str | None,
        typer.Argument(
            help="The id of an exchange, as the log has it, or a key, or the beginning of either; - reads a JSON body.",
            metavar="ID|KEY|-",
            show_default=False,
        ),
    ] = None,
    last: Annotated[bool, typer.Option("--last", help="The last request that was not answered from the store.")] = False,
    against: Annotated[
        str | None, typer.Option(help="Compare with this key, and not with the nearest.", metavar="KEY", show_default=False)
    ] = None,
    as_json: AsJson = False,
    directory: Directory = "",
) -> None:
    """Say why a request was not answered from the store, and which part of it differs from what is stored.

    Also `cachemw why < request.json`. The exit code is 0 if the same request would be answered from the store now, else 1.
    """
    place = directory_of(directory)
    with closing(LedgerReader(place)) as reader, closing(_store_in(directory, place)) as store:
        explanation = _Question(reader, store).explained(which, is_last=last, against=against)
        if as_json:
            typer.echo(explanation_json(explanation))
        else:
            typer.echo("\n".join(explanation_lines(explanation)))
    raise typer.Exit(0 if explanation.is_stored else 1)


class _Question:
    """What is asked about a store, and the ledger beside it."""

    def __init__(self, reader: LedgerReader, store: Store) -> None:
        self._reader, self._store = reader, store
        self._explainer = Explainer(reader, store, time.time)

    def explained(self, which: str | None, *, is_last: bool, against: str | None) -> Explanation:
        if is_last and which is not None:
            raise typer.BadParameter("give an id, or --last, and not both")
        other = None if against is None else self._key(against)
        if is_last:
            return self._last(other)
        if which == STDIN or which is None and not sys.stdin.isatty():
            if other is not None:
                raise typer.BadParameter("a request that is read is compared with the nearest", param_hint="--against")
            return self._request(sys.stdin.buffer.read(_LARGEST))
        if which is None:
            raise typer.BadParameter("give the id of an exchange, a key, --last, or a request: cachemw why < request.json")
        row = row_of(self._reader, which)
        return self._explainer.of_key(self._key(which), other) if row is None else self._explainer.of_row(row, other)

    def _last(self, other: str | None) -> Explanation:
        found = rows(self._reader, ANY_MISS, limit=1)
        if not found:
            raise CommandError(f"the ledger in {self._reader.path.parent} has no request that was not answered from the store")
        return self._explainer.of_row(found[0], other)

    def _request(self, body: bytes) -> Explanation:
        settings = settings_of("")
        sent = sent_bodies(body, AddressBook(settings).entries) if settings.config else [body]
        bodies = [form for each in sent for form in canonical_bodies(each, settings.policy())]
        clients = [str(name) for (name,) in self._reader.query(_CLIENTS)]
        return self._explainer.of_request(sketches_of(bodies, self._store, clients, os.environ), bodies[0])

    def _key(self, beginning: str) -> str:
        """Return the key that begins so. Raises `CommandError` where there is none, or there are several."""
        beginning = beginning.lower()
        if not _KEY.fullmatch(beginning):
            raise CommandError(f"{beginning!r} is neither the id of an exchange in {self._reader.path} nor a key")
        if len(beginning) == _KEY_DIGITS:
            return beginning
        found = {str(key) for (key,) in self._reader.query(_KEYS, (len(beginning), beginning))}
        found = found or {index.hex() for index in self._store.indexes() if index.hex().startswith(beginning)}
        if len(found) != 1:
            raise CommandError(f"{'several keys begin' if found else 'no id and no key begins'} with {beginning!r}")
        return found.pop()


def _store_in(directory: str, place: Path) -> Store:
    """Return the store in a directory, to be read; an empty one where it is gone, and its ledger is left."""
    try:
        return store_in(directory).read_only()
    except CommandError:
        if not (place / LEDGER_FILE).exists():
            raise
        return MemoryStore()
