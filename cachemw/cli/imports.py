"""`cachemw import`: take records in, of files as `export` writes them, and of batches that are finished."""

import json
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Annotated, TypeVar

import typer

from cachemw.cache.key import SHARED, by_client, by_credential, is_lent
from cachemw.cassette import POLICIES
from cachemw.cli.addressing import AddressBook, refuse_unknown_client
from cachemw.cli.export import secret_of
from cachemw.cli.options import AsJson, Config, Directory, Upstream
from cachemw.cli.progress import progress_bar
from cachemw.cli.store import settings_of, translated_errors
from cachemw.cli.telling import failure_lines
from cachemw.errors import CommandError, RecordError
from cachemw.inventory.batches import BatchAnswer, BatchRequest, FaultyLine, answers_in, requests_in
from cachemw.inventory.importing import ImportTerms, IncomingRecord, Placement, Whose, from_batch, place, read_in
from cachemw.limits import Limits
from cachemw.messages import Headers, Recipient
from cachemw.proxy import Settings
from cachemw.redaction import redacted_repr
from cachemw.stores import FileStore, Store
from cachemw.stores.base import absolute, records
from cachemw.stores.file.folder import LARGEST_RECORD_FILE, Folder

_LINES = ".jsonl"


class PartitionName(StrEnum):
    """Whose answers shall be, in the words of an option; a client with a name has an option of its own."""

    SHARED = "shared"
    ANONYMOUS = "anonymous"


Places = Annotated[
    list[str],
    typer.Argument(
        help="Directories or files as `export` writes them, or its lines: a .jsonl file, - for standard input.",
        metavar="DIR|FILE",
        show_default=False,
    ),
]
NewPartition = Annotated[
    PartitionName | None,
    typer.Option(help="Whose the answers shall be: each gets a new key, made of its request.", show_default=False),
]
ForClient = Annotated[
    str, typer.Option("--client", help="The client, by its name, whose they shall be.", metavar="NAME", show_default=False)
]
Namespace = Annotated[str, typer.Option(help="The namespace they are asked for in.", metavar="NAME", show_default=False)]
AsSample = Annotated[int, typer.Option(help="The sample that they are asked for as.", metavar="NUMBER", min=0)]
AskedFields = Annotated[
    list[str] | None,
    typer.Option(
        "--header", help="A field that they are asked for with. Repeatable.", metavar="NAME:VALUE", show_default=False
    ),
]
IsBatch = Annotated[bool, typer.Option("--batch", help="Take a finished batch: its input and its output file.")]
Model = Annotated[str, typer.Option(help="With --batch: the model that clients ask for.", metavar="NAME", show_default=False)]
IntoCassette = Annotated[
    str, typer.Option("--cassette", help="Into files, shared by all, that a test replays.", metavar="DIR", show_default=False)
]


@dataclass(slots=True)
class ImportSums:
    """The sums of an import; `refused` are the files and lines that did not come in, and why."""

    imported: int = 0
    rekeyed: int = 0
    changed: int = 0
    present: int = 0
    older: int = 0
    refused: list[tuple[str, str]] = field(default_factory=list)

    __repr__ = redacted_repr

    def add(self, name: str, incoming: IncomingRecord | str, placement: Placement | None) -> None:
        """Count one."""
        if isinstance(incoming, str):
            self.refused.append((name, incoming))
        elif placement is Placement.IMPORTED:
            self.imported += 1
            self.rekeyed += incoming.is_rekeyed
            self.changed += incoming.is_changed
        elif placement is Placement.TOO_LARGE:
            self.refused.append((name, "it is too large for the store"))
        else:
            self.present += placement is Placement.PRESENT
            self.older += placement is Placement.NEWER


def import_records(
    places: Places,
    partition: NewPartition = None,
    client: ForClient = "",
    namespace: Namespace = "",
    sample: AsSample = 0,
    header: AskedFields = None,
    batch: IsBatch = False,
    model: Model = "",
    cassette: IntoCassette = "",
    upstream: Upstream = "",
    config: Config = "",
    as_json: AsJson = False,
    directory: Directory = "",
) -> None:
    """Take stored answers in again, or those of a finished batch, each judged as a fresh one is.

    A file that was changed comes in under a key of its own, or not at all. The exit code is 1 if any was refused.
    """
    settings = settings_of(directory, upstream, config)
    if batch and len(places) != 2:
        raise typer.BadParameter("a batch has an input and an output file: give both", param_hint="--batch")
    if cassette and (client or partition is PartitionName.ANONYMOUS):
        raise typer.BadParameter(
            "the answers in a cassette are everybody's: no --client, no --partition", param_hint="--cassette"
        )
    if client:
        refuse_unknown_client(settings, client)
    with closing(FileStore(cassette) if cassette else settings.store()) as store, translated_errors(store):
        book = AddressBook(settings)
        whose = _whose(partition, client, store, is_cassette=bool(cassette))
        terms = _terms(settings, book, store, whose, namespace or None, sample, _fields(header or []))
        sums = _batch(places, terms, book, store, model) if batch else _files(places, terms, store)
    typer.echo(_in_json(sums) if as_json else _in_words(sums, store.place))
    raise typer.Exit(1 if sums.refused else 0)


def _fields(given: list[str]) -> Headers:
    fields = [field.partition(":") for field in given]
    for name, colon, value in fields:
        if not (colon and name.strip() and value.isascii() and value.isprintable()):
            raise typer.BadParameter(f"a header field is NAME:VALUE, not {name!r}", param_hint="--header")
    return tuple((name.strip().lower().encode(), value.strip().encode()) for name, _, value in fields)


def _whose(partition: PartitionName | None, client: str, store: Store, *, is_cassette: bool) -> Whose | None:
    """Return whose answers shall be; `None`: whose they were."""
    if client and partition:
        raise typer.BadParameter("answers are one client's, or --partition says whose: give one", param_hint="--client")
    if client:
        secret = store.secret()
        return lambda _: by_client(secret, True, client)  # clients with names use the server's key
    if partition is PartitionName.SHARED or is_cassette:
        return _everybody
    return _nobody if partition is PartitionName.ANONYMOUS else None


def _everybody(_: Recipient) -> bytes:
    return SHARED


def _nobody(recipient: Recipient) -> bytes:
    return by_credential(b"", is_lent((), recipient), ())


def _terms(
    settings: Settings,
    book: AddressBook,
    store: Store,
    whose: Whose | None,
    namespace: str | None,
    sample: int,
    fields: Headers,
) -> ImportTerms:
    policy = settings.policy()
    is_cassette = isinstance(store, FileStore)
    if is_cassette:
        policy = replace(
            POLICIES["record"], max_record_bytes=policy.max_record_bytes, max_request_bytes=policy.max_request_bytes
        )
    return ImportTerms(
        by_name=book.by_name,
        policy=policy,
        limits=settings.limits(Limits()),
        whose=whose,
        of_changed=_everybody if policy.partition == "shared" else None,
        namespace=namespace,
        sample=sample,
        fields=fields,
        secret=secret_of(store),
        origin=_origin(settings) if is_cassette else None,
        keep=policy.keep,
    )


def _origin(settings: Settings) -> bytes | None:
    """Return the secret of the proxy's own store, by which the sketches of its records can be read; `None` without one."""
    with closing(settings.store()) as store:
        return secret_of(store) if store.exists() else None


# Files.

Source = tuple[str, str | None, Callable[[], bytes]]
"""The name of what is imported, the digits in it if it is a file, and how to read it."""


def _files(places: list[str], terms: ImportTerms, store: Store) -> ImportSums:
    sums, sources = ImportSums(), [source for place in places for source in _sources(place)]
    with progress_bar("importing") as tell:
        for count, (name, digits, read) in enumerate(sources, 1):
            now = time.time()
            try:
                incoming = read_in(read(), digits, terms, now)
            except RecordError as exc:
                incoming = str(exc)
            sums.add(name, incoming, _placed(incoming, store, terms, now))
            tell(count, len(sources), f"{sums.imported:,} imported")
    return sums


def _placed(incoming: IncomingRecord | str, store: Store, terms: ImportTerms, now: float) -> Placement | None:
    return None if isinstance(incoming, str) else place(incoming, store, terms.limits, now)


def _sources(given: str) -> Iterator[Source]:
    """Yield what is to be imported from a directory, from one file of it, or from lines. Raises `CommandError`."""
    path = absolute(given)
    if path.is_dir():
        folder = Folder(path)
        names = folder.names()
        if not names:
            raise CommandError(f"there are no records in {path}: no file is called NAME--KEY.json")
        yield from ((name, digits, _reading(folder, name)) for name, digits in sorted(names.items()))
    elif path.suffix == _LINES or given == "-":
        lines = _lines(given)
        yield from ((f"{given}:{number}", None, line.__bytes__) for number, line in enumerate(lines, 1) if line.strip())
    elif digits := Folder(path.parent).names().get(path.name):
        yield path.name, digits, _reading(Folder(path.parent), path.name)
    else:
        raise CommandError(f"there is nothing to import at {path}: no directory, no NAME--KEY.json, and no lines (.jsonl)")


def _reading(folder: Folder, name: str) -> Callable[[], bytes]:
    return lambda: folder.read(name) or b""


def _lines(given: str) -> Iterator[bytes]:
    """Yield the lines of a file, or of standard input; of one that is longer than a record may be, its beginning."""
    if given == "-":
        yield from iter(lambda: sys.stdin.buffer.readline(LARGEST_RECORD_FILE), b"")
        return
    try:
        with open(given, "rb") as file:
            yield from iter(lambda: file.readline(LARGEST_RECORD_FILE), b"")
    except OSError as exc:
        raise CommandError(f"cannot read {given}: {exc.strerror}") from exc


# Batches.


def _batch(places: list[str], terms: ImportTerms, book: AddressBook, store: Store, model: str) -> ImportSums:
    """Take in the answers of a batch, each with the request that it answers."""
    sums, whose = ImportSums(), terms.whose or (_everybody if terms.policy.partition == "shared" else _nobody)
    asked_file, answered_file = places
    requests = dict(_by_id(asked_file, requests_in(_lines(asked_file)), sums))
    answers = dict(_by_id(answered_file, answers_in(_lines(answered_file)), sums))
    for name in answers.keys() - requests.keys():
        sums.refused.append((f"{answered_file}: {name}", "nothing asked for it"))
    with progress_bar("importing") as tell:
        for count, (name, request) in enumerate(requests.items(), 1):
            now, answer = time.time(), answers.get(name)
            incoming = "it has no answer" if answer is None else _incoming(request, answer, book, terms, whose, model, now)
            sums.add(name, incoming, _placed(incoming, store, terms, now))
            tell(count, len(requests), f"{sums.imported:,} imported")
    sums.rekeyed = 0  # none had a key before
    return sums


def _incoming(
    request: BatchRequest, answer: BatchAnswer, book: AddressBook, terms: ImportTerms, whose: Whose, model: str, now: float
) -> IncomingRecord | str:
    if model:
        request = request.for_model(model)
    return from_batch(request, answer, book.by_model, terms, whose, now)


BatchLine = TypeVar("BatchLine", BatchRequest, BatchAnswer)


def _by_id(file: str, lines: Iterable[BatchLine | FaultyLine], sums: ImportSums) -> Iterator[tuple[str, BatchLine]]:
    for line in lines:
        if isinstance(line, FaultyLine):
            sums.refused.append((f"{file}:{line.number}", line.why))
        else:
            yield line.id, line


# What came of it.


def _in_words(sums: ImportSums, store: str) -> str:
    how = [
        (sums.rekeyed, "under a new key"),
        (sums.changed, "that somebody had changed"),
    ]
    told = ", ".join(f"{count:,} {what}" for count, what in how if count)
    lines = [f"{records(sums.imported)} imported into {store}{f': {told}' if told else ''}"]
    if sums.present:
        lines.append(f"{sums.present:,} there already")
    if sums.older:
        lines.append(f"{sums.older:,} not imported: another answer is there that is no older")
    return "\n".join([*lines, *failure_lines(sums.refused, "refused")])


def _in_json(sums: ImportSums) -> str:
    counts = {"imported": sums.imported, "rekeyed": sums.rekeyed, "changed": sums.changed, "present": sums.present}
    lines = [{"refused": name, "why": why} for name, why in sums.refused]
    return "\n".join(map(json.dumps, [*lines, {**counts, "older": sums.older, "refused": len(sums.refused)}]))
