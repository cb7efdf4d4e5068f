"""`cachemw warm`: ask many requests, so that their answers are stored when somebody asks."""

import asyncio
import json
import os
import stat
import sys
import uuid
from collections.abc import Callable, Sequence
from contextlib import closing
from typing import IO, Annotated

import typer

from cachemw.cli.addressing import AddressBook
from cachemw.cli.asking import AsClient, KeyVariable, Through, asked_by
from cachemw.cli.figures import counted
from cachemw.cli.options import AsJson, Config, Directory, Upstream
from cachemw.cli.pricing import Pricing
from cachemw.cli.progress import Tell, progress_bar
from cachemw.cli.serve import interrupt_on_sigterm
from cachemw.cli.store import settings_of
from cachemw.cli.telling import failure_lines
from cachemw.errors import CommandError
from cachemw.gateway.hints import waiting_hint
from cachemw.inventory.asking import WholeReply
from cachemw.inventory.batches import LONGEST_LINE, BatchRequest, FaultyLine, answer_line, failure_line, requests_in
from cachemw.inventory.warming import Allowance, Warming, WarmSums
from cachemw.money import in_dollars, nano_of
from cachemw.proxy import Settings

ENDED_BY_SIGNAL = 130
_OF_NOBODY = "note: clients bring keys, and none of them will find these answers: say by --client whose they shall be"
_PRIVATE = 0o600

Concurrency = Annotated[
    int, typer.Option("--concurrency", help="How many are asked at once, at most.", min=1, max=1000, metavar="NUMBER")
]
MaxUsd = Annotated[
    str, typer.Option("--max-usd", help="Stop before more than this could be spent.", metavar="DOLLARS", show_default=False)
]


def dollars(text: str, option: str = "--max-usd") -> int | None:
    """Return an amount in nano-dollars; `None` where none is given. Raises `typer.BadParameter`."""
    amount = nano_of(text) if text else None
    if text and amount is None:
        raise typer.BadParameter(f"{text!r} is no amount of dollars, as 5 or 0.25", param_hint=option)
    return amount


def warm(
    file: Annotated[
        str, typer.Argument(help="Lines of a batch's input, or bodies of requests; - is standard input.", metavar="FILE")
    ],
    through: Through = "",
    key_env: KeyVariable = "",
    client: AsClient = "",
    concurrency: Concurrency = 8,
    max_usd: MaxUsd = "",
    out: Annotated[
        str, typer.Option("--out", help="Where to write the answers, as a batch's output.", metavar="FILE", show_default=False)
    ] = "",
    upstream: Upstream = "",
    config: Config = "",
    as_json: AsJson = False,
    directory: Directory = "",
) -> None:
    """Ask every request of a file, so that its answer is stored; what is stored already is not asked for.

    So it goes on where it ended when it is run again. The exit code is 1 if any request failed.
    """
    interrupt_on_sigterm()
    settings, limit = settings_of(directory, upstream, config), dollars(max_usd)
    requests, faulty = read_requests(file)
    pricing = Pricing(AddressBook(settings))
    allowance = Allowance(most_of=pricing.most_of, cost_of=pricing.cost_of, limit=limit)
    _refuse_unbounded(allowance, requests, limit)
    if settings.demands_keys and settings.partition != "shared" and not (through or key_env or client):
        typer.echo(_OF_NOBODY, err=True)
    with closing(_Output(out)) as output:
        sums = _warm(settings, requests, allowance, concurrency, output, (through, key_env, client))
    sums.failed[:0] = [(f"{file}:{line.number}", line.why) for line in faulty]
    sums.total += len(faulty)
    typer.echo(_in_json(sums) if as_json else _in_words(sums))
    if output.fault:
        raise CommandError(output.fault)
    interrupted = sums.stopped == _CTRL_C
    raise typer.Exit(ENDED_BY_SIGNAL if interrupted else 1 if sums.failed else 0)


def _refuse_unbounded(allowance: Allowance, requests: Sequence[BatchRequest], limit: int | None) -> None:
    """Raise `CommandError` for a request of which nobody knows the most that it can cost, where there is a limit."""
    if refusal := allowance.refusal(requests):
        held = f"it cannot be held to ${in_dollars(limit or 0)}"
        raise CommandError(f"{refusal}, so {held}: leave --max-usd out, give prices, or max_tokens in the request")


_CTRL_C = "it was ended by a signal"


def read_requests(file: str) -> tuple[list[BatchRequest], list[FaultyLine]]:
    """Return the requests in a file, and the lines of which nothing can be made. Raises `CommandError`."""
    try:
        with sys.stdin.buffer if file == "-" else open(file, "rb") as lines:
            every = list(requests_in(iter(lambda: lines.readline(LONGEST_LINE), b"")))
    except OSError as exc:
        raise CommandError(f"cannot read {file}: {exc.strerror}") from exc
    return [one for one in every if isinstance(one, BatchRequest)], [one for one in every if isinstance(one, FaultyLine)]


class _Output:
    """The file of answers, written line by line; without a name, nothing. `fault` says why it does not have all."""

    def __init__(self, name: str) -> None:
        self._name, self.fault = name, ""
        self._file: IO[bytes] | None = None
        if name:
            try:
                self._file = open(name, "wb", buffering=0, opener=_opened_for_owner)  # noqa: SIM115
            except OSError as exc:
                raise CommandError(f"cannot write to {name}: {exc.strerror}") from exc

    def write(self, request: BatchRequest, reply: WholeReply) -> None:
        if self._file is None or self.fault:
            return
        name = f"batch_req_{uuid.uuid4().hex}"
        if reply.status is None:
            line = failure_line(request.id, name, reply.why)
        else:
            line = answer_line(request.id, name, reply.status, reply.body)
        try:
            while line:
                line = line[self._file.write(line) :]
        except OSError as exc:  # the answers are in the store, and what comes goes there, too
            self.fault = f"cannot write to {self._name}: {exc.strerror}"

    def close(self) -> None:
        if self._file is not None:
            self._file.close()


def _opened_for_owner(name: str, flags: int) -> int:
    descriptor = os.open(name, flags, _PRIVATE)
    if stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.fchmod(descriptor, _PRIVATE)  # of a file that was there, too
    return descriptor


def _warm(
    settings: Settings,
    requests: list[BatchRequest],
    allowance: Allowance,
    concurrency: int,
    output: _Output,
    whom: tuple[str, str, str],
) -> WarmSums:
    """Ask, until all are answered or somebody ends it."""
    sums = WarmSums(len(requests))

    async def ask(tell: Tell) -> None:
        nonlocal sums
        async with asked_by(settings, store, *whom) as asked:
            note = _noting(output, tell, lambda: sums)
            warming = Warming(asked, requests, allowance, concurrency=concurrency, hint=waiting_hint, note=note)
            sums = warming.sums
            await warming.run()

    with closing(settings.store()) as store, progress_bar("warming") as tell:
        try:
            asyncio.run(ask(tell))
        except KeyboardInterrupt:
            sums.stopped = _CTRL_C
    return sums


def _noting(output: _Output, tell: Tell, sums: Callable[[], WarmSums]) -> Callable[[BatchRequest, WholeReply], None]:
    def note(request: BatchRequest, reply: WholeReply) -> None:
        output.write(request, reply)
        now = sums()
        tell(now.done, now.total, f"{now.hits:,} stored before, ${in_dollars(now.spent)}")

    return note


def _in_words(sums: WarmSums) -> str:
    lines = [
        f"{counted(sums.total, 'request')}: {sums.hits:,} stored before, {sums.fetched:,} asked and stored now",
        _spent(sums),
        *(f"{count:,} answered, and not stored: {detail}" for detail, count in sorted(sums.not_kept.items())),
    ]
    lines += failure_lines(sums.failed, "failed")
    if sums.stopped:
        lines += [f"{sums.left:,} left: {sums.stopped}", "run it again: what is stored is not asked for"]
    return "\n".join(lines)


def _spent(sums: WarmSums) -> str:
    unknown = f", and {counted(sums.unpriced, 'answer')} of unknown price" if sums.unpriced else ""
    return f"${in_dollars(sums.spent)} spent{unknown}"


def _in_json(sums: WarmSums) -> str:
    lines: list[object] = [{"failed": name, "why": why} for name, why in sums.failed]
    lines.append(
        {
            "requests": sums.total,
            "hits": sums.hits,
            "fetched": sums.fetched,
            "not_stored": dict(sums.not_kept),
            "failed": len(sums.failed),
            "left": sums.left,
            "stopped": sums.stopped or None,
            "spent_usd": in_dollars(sums.spent),
            "unpriced": sums.unpriced,
        }
    )
    return "\n".join(map(json.dumps, lines))
