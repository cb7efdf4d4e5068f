"""The commands of the command line, and their options."""

import os
import sys
import time
from enum import StrEnum
from functools import partial
from typing import Annotated, Any

import typer
from rich.console import Console

import cachemw
from cachemw import limits
from cachemw.cli import demo as demonstration
from cachemw.cli import store as upkeep
from cachemw.cli.serve import ListenAt, configured, interrupt_on_sigterm, listen, serve_proxy, url_of
from cachemw.cli.serve import run as run_server
from cachemw.errors import CacheError
from cachemw.proxy import Settings
from cachemw.proxy.settings import PREFIX, several
from cachemw.simulator import Simulator

app = typer.Typer(
    help="A response cache for OpenAI-style chat completions.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,  # its boxes cut the names of variables short
    pretty_exceptions_enable=False,  # they would show the values of variables
)


def run() -> None:
    """Run the command of this process's arguments, and exit; what went wrong is one line."""
    try:
        app()
    except CacheError as exc:
        sys.exit(f"cachemw: {exc}")


class LogLevel(StrEnum):
    """From silence to everything. uvicorn's `trace` is left out: it logs credentials."""

    CRITICAL = "critical"
    ERROR = "error"
    WARNING = "warning"
    INFO = "info"
    DEBUG = "debug"


class Usage(StrEnum):
    """Whose way of telling the usage the simulator has."""

    CEREBRAS = "cerebras"
    OPENAI = "openai"


def _option(name: str, help_text: str, **more: Any) -> Any:
    """Return an option that the environment may give too."""
    variable = PREFIX + name.removeprefix("--").replace("-", "_").upper()
    return typer.Option(name, envvar=variable, help=help_text, **more)


def _repeated(name: str, variable: str, help_text: str) -> Any:
    """Return an option that may be given several times; the values in its variable have commas between them."""
    return typer.Option(name, help=f"{help_text} Repeatable.  [env var: {variable}, with commas]")


def _from_variable(name: str) -> tuple[str, ...]:
    return several(os.environ.get(name, ""))


Directory = Annotated[str, _option("--dir", "The store's directory; by default one in your cache directory.")]
Port = Annotated[int, _option("--port", "0 is any free one.", min=0, max=65535)]
Host = Annotated[str, _option("--host", "Where to listen; beyond loopback only with client keys, or --insecure.")]
Upstream = Annotated[str, _option("--upstream", "A provider's name, or a base URL with its version segment.")]
Default = Annotated[str, _option("--default", 'A Cachemw dictionary for requests that say nothing: "off", "on, ttl=60".')]
PartitionName = Annotated[str, _option("--partition", "credential: everyone has answers of their own; or shared.")]
Lifetime = Annotated[float, _option("--lifetime", "Seconds an answer is fresh.", min=0)]
SizeLimit = Annotated[int, _option("--size-limit", "Bytes the store holds on disk.", min=1)]
AllowNetwork = Annotated[bool, _option("--allow-network", "Keep the store on a network file system all the same.")]
RecordBytes = Annotated[int, _option("--max-record-bytes", "The largest answer that is stored.", min=0)]
RequestBytes = Annotated[int, _option("--max-request-bytes", "The largest request that is read.", min=0)]
MaxBody = Annotated[int, _option("--max-body", "The largest request body that is taken; beyond it, 413.", min=0)]
AllowHost = Annotated[
    list[str], _repeated("--allow-host", "CACHEMW_ALLOW_HOST", "A name of this machine, besides localhost and the like.")
]
ClientKey = Annotated[
    list[str], _repeated("--client-key", "CACHEMW_CLIENT_KEYS", "A key that clients bring; the server's goes in its place.")
]
Bookkeeping = Annotated[
    list[str],
    _repeated(
        "--bookkeeping",
        "CACHEMW_BOOKKEEPING",
        "A member of requests, such as user, that the upstream only counts by: not in the key.",
    ),
]
Lend = Annotated[
    list[str],
    _repeated(
        "--lend", "CACHEMW_LEND", "An endpoint, such as files, that the server's key opens to clients without their own."
    ),
]
Insecure = Annotated[bool, _option("--insecure", "Listen beyond loopback without client keys: everyone uses the server's.")]
_NONE: list[str] = []
Workers = Annotated[int, _option("--workers", "Processes.", min=1)]
Level = Annotated[LogLevel, _option("--log-level", "How much is logged.")]


def _show_version(is_asked: bool) -> None:
    if is_asked:
        typer.echo(f"cachemw {cachemw.__version__}")
        raise typer.Exit


@app.callback()
def root(
    _: Annotated[bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version.")] = False,
) -> None:
    """A response cache for OpenAI-style chat completions."""


@app.command()
def serve(
    host: Host = "127.0.0.1",
    port: Port = 8080,
    upstream: Upstream = "cerebras",
    directory: Directory = "",
    default: Default = "off",
    partition: PartitionName = "credential",
    lifetime: Lifetime = limits.LIFETIME,
    size_limit: SizeLimit = limits.STORE_BYTES,
    allow_network: AllowNetwork = False,
    max_record_bytes: RecordBytes = limits.RECORD_BYTES,
    max_request_bytes: RequestBytes = limits.REQUEST_BYTES,
    max_body: MaxBody = limits.BODY_BYTES,
    allow_host: AllowHost = _NONE,
    client_key: ClientKey = _NONE,
    lend: Lend = _NONE,
    bookkeeping: Bookkeeping = _NONE,
    insecure: Insecure = False,
    workers: Workers = 1,
    log_level: Level = LogLevel.WARNING,
) -> None:
    """Run the proxy: change your client's base URL, and add the header "Cachemw: on"."""
    settings = Settings(
        upstream=upstream,
        dir=directory,
        default=default,
        partition=partition,
        lifetime=lifetime,
        size_limit=size_limit,
        allow_network=allow_network,
        max_record_bytes=max_record_bytes,
        max_request_bytes=max_request_bytes,
        max_body=max_body,
        allow_host=tuple(allow_host) or _from_variable("CACHEMW_ALLOW_HOST"),
        client_keys=tuple(client_key) or _from_variable("CACHEMW_CLIENT_KEYS"),
        lend=tuple(lend) or _from_variable("CACHEMW_LEND"),
        bookkeeping=tuple(bookkeeping) or _from_variable("CACHEMW_BOOKKEEPING"),
    )
    serve_proxy(settings, ListenAt(host, port, workers, log_level.value, insecure), typer.echo)


@app.command()
def simulate(
    host: Annotated[str, typer.Option(help="Where to listen.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="0 is any free one.", min=0, max=65535)] = 8081,
    first_token_seconds: Annotated[float, typer.Option(help="Until the first token.", min=0)] = 0.0,
    tokens_per_second: Annotated[float, typer.Option(help="0 is as fast as possible.", min=0)] = 0.0,
    usage: Annotated[Usage, typer.Option(help="Whose answers to imitate.")] = Usage.CEREBRAS,
) -> None:
    """Run a simulated upstream.

    It needs no network and takes any key; the same question has the same answer.
    """
    simulator = Simulator(first_token_seconds=first_token_seconds, tokens_per_second=tokens_per_second, usage=usage.value)
    with listen(host, port) as listener:
        said = f"the simulator listens on {url_of(listener)}/v1 (Ctrl-C ends it)"
        run_server(configured(simulator, LogLevel.WARNING.value), listener, partial(typer.echo, said))


@app.command()
def demo() -> None:
    """Show a miss and a hit, and check them.

    Everything runs on this machine, without a key; the exit code is 1 if anything that is claimed is not true.
    """
    interrupt_on_sigterm()
    raise typer.Exit(demonstration.perform(Console()))


@app.command()
def stats(directory: Directory = "") -> None:
    """Show what a store holds."""
    with upkeep.opened(directory) as store:
        seen = upkeep.survey((record for _, record in store.scan()), time.time())
        typer.echo(str(store.path))
        Console().print(upkeep.table(seen, store.size()))


@app.command()
def purge(
    key: Annotated[str | None, typer.Option(help="The key of one record, as Cache-Status has it.")] = None,
    older_than: Annotated[float | None, typer.Option(help="Seconds since a record was stored.", min=0)] = None,
    everything: Annotated[bool, typer.Option("--all", help="Every record, damaged ones too.")] = False,
    directory: Directory = "",
) -> None:
    """Remove stored responses.

    Say which by exactly one of --key, --older-than and --all.
    """
    what = _what(key, older_than, everything)
    with upkeep.opened(directory) as store:
        removed = upkeep.purge(store, what, time.time())
    typer.echo("1 record removed" if removed == 1 else f"{removed:,} records removed")


def _what(key: str | None, older_than: float | None, everything: bool) -> upkeep.OfKey | upkeep.OlderThan | upkeep.All:
    match key, older_than, everything:
        case str(), None, False:
            return upkeep.OfKey(_index(key))
        case None, float(seconds), False:
            return upkeep.OlderThan(seconds)
        case None, None, True:
            return upkeep.All()
    raise typer.BadParameter("give exactly one of --key, --older-than and --all")


def _index(key: str) -> bytes:
    try:
        index = bytes.fromhex(key)
    except ValueError:
        index = b""
    if len(index) != 16:
        raise typer.BadParameter("a key is 32 hexadecimal digits", param_hint="--key")
    return index
