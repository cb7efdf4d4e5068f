"""`cachemw page`, and the child process of `serve --page`: listen, print the address with its token, and show the page."""

import os
import re
import secrets
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import Annotated
from urllib.parse import quote

import typer
from uvicorn import Config

from cachemw.cli.ending import EndingServer
from cachemw.cli.listening import EVERYWHERE, is_loopback, listen, own_names, url_of
from cachemw.cli.options import Directory
from cachemw.cli.serve import configured
from cachemw.errors import CommandError, ConfigurationError
from cachemw.gateway.price_tables import PriceTables
from cachemw.ledger.reader import LedgerReader
from cachemw.page.admission import PageRules
from cachemw.page.app import PageApp
from cachemw.page.shelf import Shelf
from cachemw.page.shell import Shell, read_templates
from cachemw.proxy import Settings
from cachemw.proxy.settings import PAGE_TOKEN_VARIABLE, SETTINGS, refuse_unknown_variables
from cachemw.wire.hosts import hosts_of

GOES_ALONG = frozenset(
    "PATH HOME USER LOGNAME LANG LANGUAGE TZ TMPDIR TERM COLUMNS NO_COLOR FORCE_COLOR VIRTUAL_ENV SYSTEMROOT".split()
)
GOES_ALONG_BEGINNING = ("LC_", "XDG_", "PYTHON")
"""The variables that the child process of `serve --page` gets besides the token of the page: no key is among them."""

SHORTEST_TOKEN = 32
"""Characters: so many random ones of an alphabet of 64 hold 192 bits."""

_TOKEN = re.compile(r"[A-Za-z0-9._~+/=-]+")  # as RFC 6750 §2.1 has it: it goes into a field and into a URL

SETTINGS_TOLD = "page_host page_port allow_host size_limit max_record_bytes allow_network log_level".split()
"""The settings of the proxy that its page goes by, besides the store's directory."""

PARTING_SECONDS = 3.0
"""The seconds that the child process has to end."""


def _setting(name: str) -> str:
    return f"{SETTINGS[name].help_text}  [env var: {SETTINGS[name].variable}; default: {SETTINGS[name].shown_default}]"


def page(
    directory: Directory = "",
    host: Annotated[str | None, typer.Option(help=_setting("page_host"), metavar="ADDRESS", show_default=False)] = None,
    port: Annotated[str | None, typer.Option(help=_setting("page_port"), metavar="NUMBER", show_default=False)] = None,
    allow_host: Annotated[
        list[str] | None,
        typer.Option(help=f"{SETTINGS['allow_host'].help_text} Repeatable.", metavar="NAME", show_default=False),
    ] = None,
    is_tied: Annotated[bool, typer.Option("--tied", hidden=True, help="End when standard input does.")] = False,
) -> None:
    """Show in a browser what is stored, why requests missed, and what was saved.

    It prints the address to open, which has a token in it; scripts send that as "Authorization: Bearer TOKEN", to /metrics
    for one. Who has the token reads everybody's records. CACHEMW_PAGE_TOKEN keeps one token over restarts.
    """
    refuse_unknown_variables(os.environ)
    given = {"dir": directory or None, "page_host": host, "page_port": port, "allow_host": tuple(allow_host or ()) or None}
    settings = Settings.read({name: value for name, value in given.items() if value is not None}, os.environ)
    serve_page(settings, typer.echo, is_tied=is_tied)


def serve_page(settings: Settings, say: Callable[[str], None], *, is_tied: bool = False) -> None:
    """Listen and show the page until a signal ends it, or, where it `is_tied`, the end of standard input."""
    token = page_token(settings.page_host, os.environ)
    store = settings.store()
    directory = Path(store.place)
    ending = threading.Event()
    with _listening(settings, is_tied=is_tied) as listener, closing(store), closing(LedgerReader(directory)) as reader:
        rules = PageRules(token, _names(settings), listener.getsockname()[1])
        tables = PriceTables(datetime.now(UTC).date())
        for read in (read_templates, tables.read):  # no view is to wait for that
            threading.Thread(target=read, name="cachemw-page", daemon=True).start()
        shell = Shell(directory, rules, reader, tables, store, Shelf(store), settings.size_limit, is_ending=ending.is_set)
        server = _PageServer(configured(PageApp(shell), settings.log_level), ending)
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, server.handle_exit)
        if is_tied:
            threading.Thread(target=_end_with_input, name="cachemw-tied", daemon=True).start()
        say(f"the page listens on {url_of(listener)}/#t={quote(token)} (Ctrl-C ends it)")
        server.run([listener])


def _listening(settings: Settings, *, is_tied: bool) -> socket.socket:
    try:
        return listen(settings.page_host, settings.page_port)
    except CommandError as exc:
        if not is_tied:
            raise
        told = str(exc).replace("--port", "--page-port").replace("--host", "--page-host")
        raise CommandError(f"there is no page: {told}") from exc


def page_token(host: str, environment: Mapping[str, str]) -> str:
    """Return the token that the environment gives, else a new one. Raises `CommandError` and `ConfigurationError`."""
    if given := environment.get(PAGE_TOKEN_VARIABLE):
        if len(given) < SHORTEST_TOKEN or not _TOKEN.fullmatch(given):
            raise ConfigurationError(
                f"{PAGE_TOKEN_VARIABLE} has at least {SHORTEST_TOKEN} characters, letters, digits and ._~+/=- only:"
                ' python -c "import secrets; print(secrets.token_urlsafe(32))" prints one'
            )
        return given
    if not is_loopback(host):
        raise CommandError(
            f"{host!r} is not a loopback address, and who has the page's token reads everybody's records: choose a token"
            f" ({PAGE_TOKEN_VARIABLE}), and have it travel over TLS"
        )
    return secrets.token_urlsafe(32)


def _names(settings: Settings) -> frozenset[str]:
    """Return the names under which the page answers, besides those of loopback."""
    if settings.page_host in EVERYWHERE:
        return hosts_of((*settings.allow_host, *own_names(settings.page_host)))
    return hosts_of((*settings.allow_host, settings.page_host))


class _PageServer(EndingServer):
    """The server of a page, whose streams of events have no end of their own: they are told of that of the server."""

    def __init__(self, config: Config, ending: threading.Event) -> None:
        super().__init__(config, "the page: ")
        self._told = ending

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self._told.set()
        super().handle_exit(sig, frame)


def _end_with_input() -> None:
    while os.read(sys.stdin.fileno(), 1024):  # a reader with a buffer would hold its lock when the interpreter ends
        """Nobody says anything there."""
    os.kill(os.getpid(), signal.SIGTERM)


@contextmanager
def page_beside(settings: Settings, environment: Mapping[str, str] = os.environ) -> Iterator[None]:
    """Show the page in a process of its own meanwhile. It ends with this one, whatever that ends by."""
    page_token(settings.page_host, environment)  # it would say what is wrong only later
    command = [sys.executable, "-m", "cachemw", "page", "--tied"]
    variables = page_environment(settings, environment)
    with subprocess.Popen(command, stdin=subprocess.PIPE, env=variables) as child:  # noqa: S603 - our own
        try:
            yield
        finally:
            child.terminate()
            with suppress(subprocess.TimeoutExpired):
                child.wait(PARTING_SECONDS)
            child.kill()


def page_environment(settings: Settings, environment: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of that process: it holds no key of a provider, nor of a client."""
    goes = (*GOES_ALONG, PAGE_TOKEN_VARIABLE)
    kept = {name: value for name, value in environment.items() if name in goes or name.startswith(GOES_ALONG_BEGINNING)}
    told = {name: SETTINGS[name].form.show(getattr(settings, name)) for name in SETTINGS_TOLD}
    return {**kept, **{SETTINGS[name].variable: value for name, value in {**told, "dir": settings.store().place}.items()}}
