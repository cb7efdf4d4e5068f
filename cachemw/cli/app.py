"""The commands of the command line, and their options."""

import os
import sys
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from functools import partial
from inspect import Parameter, Signature, signature
from io import TextIOWrapper
from typing import Annotated, Any

import typer
from rich.console import Console

import cachemw
from cachemw.cli import demo as demonstration
from cachemw.cli.check import examine
from cachemw.cli.demo_routes import perform_routes
from cachemw.cli.export import export_records
from cachemw.cli.finding import in_json, in_words
from cachemw.cli.imports import import_records
from cachemw.cli.listening import listen, url_of
from cachemw.cli.log import log
from cachemw.cli.ls import ls
from cachemw.cli.options import Config
from cachemw.cli.page import page, page_beside
from cachemw.cli.purge import purge
from cachemw.cli.serve import configured, interrupt_on_sigterm, serve_proxy
from cachemw.cli.serve import run as run_server
from cachemw.cli.show import show
from cachemw.cli.spend import spend
from cachemw.cli.stats import stats
from cachemw.cli.top import top
from cachemw.cli.verify import verify_records
from cachemw.cli.warm import warm
from cachemw.cli.why import why
from cachemw.errors import CacheError, InvalidSetting
from cachemw.gateway.config import SETTINGS_TABLE
from cachemw.proxy import Settings
from cachemw.proxy.settings import SETTINGS, Setting, refuse_unknown_variables
from cachemw.redaction import printable
from cachemw.simulator import DIALECTS, Simulator

app = typer.Typer(
    help="A response cache and gateway for the APIs of language models.",
    no_args_is_help=True,
    rich_markup_mode=None,  # its boxes cut the names of variables short
    pretty_exceptions_enable=False,  # they would show the values of variables
)


def run() -> None:
    """Run the command of this process's arguments, and exit; what went wrong is one line, which may name somebody's words."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a terminal of ASCII has no dash, and is to have the rest
    try:
        app()
    except CacheError as exc:
        sys.exit(printable(f"cachemw: {exc}", but="\n"))


def _option(setting: Setting) -> Any:
    """Return a setting's option, whose help says what else gives it; typer itself reads no variable."""
    variable = f"env var: {setting.variable}{', with commas' if setting.is_list else ''}"
    default = f"default: {shown}" if (shown := setting.shown_default) else ""
    notes = "; ".join(filter(None, (variable, default, setting.form.bounds)))
    help_text = f"{setting.help_text}{' Repeatable.' if setting.is_list else ''}  [{notes}]"
    return typer.Option(setting.option, help=help_text, metavar=setting.form.metavar or None, show_default=False)


def _parameter(setting: Setting) -> Parameter:
    """Return a setting as a parameter of a command, `None` where it is not given: a switch, a list or text."""
    kinds: Mapping[type, Any] = {bool: bool | None, tuple: list[str] | None}
    kind = kinds.get(type(setting.default), str | None)
    return Parameter(setting.name, Parameter.KEYWORD_ONLY, default=None, annotation=Annotated[kind, _option(setting)])


def _takes_settings(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command an option for each setting, after those of its own."""
    own = [parameter for parameter in signature(command).parameters.values() if parameter.kind is not Parameter.VAR_KEYWORD]
    command.__signature__ = Signature([*own, *map(_parameter, SETTINGS.values())])  # type: ignore[attr-defined]
    return command


def _known_dialect(name: str | None) -> str | None:
    if name is not None and name not in DIALECTS:
        raise typer.BadParameter(f"'{name}' is none of {', '.join(DIALECTS)}")
    return name


FAIL_HELP = (
    "What goes wrong, request after request: steps with commas between them, each 'NAME x3' for so many requests,"
    " 'NAME for 2s', or, as the last, 'NAME' for good. A name is ok, groq:rate, status:503, cut:100, silent, …; a wrong one"
    " gets a list."
)


def _show_version(is_asked: bool) -> None:
    if is_asked:
        typer.echo(f"cachemw {cachemw.__version__}")
        raise typer.Exit


@app.callback()
def root(
    _: Annotated[bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version.")] = False,
) -> None:
    """A response cache and gateway for the APIs of language models."""


@app.command()
@_takes_settings
def serve(config: Config = "", **options: str | bool | list[str] | None) -> None:
    """Run the proxy: change your client's base URL, and add the header "Cachemw: on".

    Options go before the environment, and that before the file.
    """
    refuse_unknown_variables(os.environ)
    given = {name: tuple(value) if isinstance(value, list) else value for name, value in options.items() if value is not None}
    try:
        settings = Settings.read(given, os.environ, config)
    except InvalidSetting as exc:
        raise typer.BadParameter(exc.reason, param_hint=exc.place) from exc
    with page_beside(settings) if settings.page else nullcontext():
        serve_proxy(settings, typer.echo)


app.command()(page)


@app.command()
def check(
    file: Annotated[
        str,
        typer.Argument(
            help=f"A file with settings in [{SETTINGS_TABLE}], and with routes.", metavar="[FILE]", show_default=False
        ),
    ] = "",
    online: Annotated[bool, typer.Option("--online", help="Ask the upstream for its models, too.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Write it for programs.")] = False,
) -> None:
    """Check the settings, the keys and the store that `cachemw serve` would have.

    Nobody is contacted without --online; the exit code is 1 if anything is wrong.
    """
    findings = examine(os.environ, file, online=online)
    typer.echo(in_json(findings) if as_json else in_words(findings))
    raise typer.Exit(1 if any(finding.is_wrong for finding in findings) else 0)


@app.command()
def simulate(
    host: Annotated[str, typer.Option(help="Where to listen.", metavar="ADDRESS")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="0 is any free one.", min=0, max=65535, metavar="NUMBER")] = 8081,
    first_token_seconds: Annotated[float, typer.Option(help="Until the first token.", min=0, metavar="SECONDS")] = 0.0,
    tokens_per_second: Annotated[float, typer.Option(help="0 is as fast as possible.", min=0, metavar="NUMBER")] = 0.0,
    dialect: Annotated[
        str | None,
        typer.Option(
            help=f"Whose answers to imitate, and whose endpoints to have: {', '.join(DIALECTS)}. Nobody's: every endpoint.",
            metavar="NAME",
            callback=_known_dialect,
            show_default=False,
        ),
    ] = None,
    fail: Annotated[str, typer.Option(help=FAIL_HELP, metavar="SCRIPT", show_default=False)] = "",
) -> None:
    """Run a simulated upstream.

    It needs no network and takes any key; the same question has the same answer.
    """
    try:
        simulator = Simulator(
            first_token_seconds=first_token_seconds, tokens_per_second=tokens_per_second, dialect=dialect, fail=fail
        )
    except ValueError as exc:
        raise typer.BadParameter(str(exc), param_hint="--fail") from exc
    with listen(host, port) as listener:
        said = f"the simulator listens on {url_of(listener)}/v1 (Ctrl-C ends it)"
        run_server(configured(simulator, "warning"), listener, partial(typer.echo, said))


@app.command()
def demo(
    routes: Annotated[bool, typer.Option("--routes", help="Show routes to three providers, and what answers cost.")] = False,
) -> None:
    """Show a miss and a hit, and check them; with --routes, who answers when a provider fails or is slow.

    Everything runs on this machine, without a key; the exit code is 1 if anything that is claimed is not true.
    """
    interrupt_on_sigterm()
    raise typer.Exit(perform_routes(Console()) if routes else demonstration.perform(Console()))


app.command()(stats)
app.command()(log)
app.command()(why)
app.command()(top)
app.command()(spend)


app.command()(ls)
app.command()(show)
app.command()(purge)
app.command("export")(export_records)
app.command("import")(import_records)
app.command()(warm)
app.command("verify")(verify_records)
