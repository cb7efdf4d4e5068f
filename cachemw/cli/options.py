"""The options that several commands have, and how their values are read."""

import time
from typing import Annotated, Any

import typer

from cachemw.formats import SECONDS
from cachemw.gateway.config import SETTINGS_TABLE
from cachemw.ledger.sums import SumsBy, span_start
from cachemw.proxy.settings import CONFIG_VARIABLE, SETTINGS


def _option_of(name: str) -> Any:
    """Return the option that a setting of the proxy has, for who takes no other."""
    setting = SETTINGS[name]
    return typer.Option(
        setting.option, envvar=setting.variable, help=setting.help_text, metavar=setting.form.metavar, show_default=False
    )


Directory = Annotated[str, _option_of("dir")]
Config = Annotated[
    str,
    typer.Option(
        "--config",
        help=f"A file with settings in [{SETTINGS_TABLE}], and with routes.  [env var: {CONFIG_VARIABLE}]",
        metavar="FILE",
        show_default=False,
    ),
]
Upstream = Annotated[str, _option_of("upstream")]
FiguresBy = Annotated[SumsBy, typer.Option(help="What to tell the figures apart by; days and hours are those of UTC.")]
AsJson = Annotated[bool, typer.Option("--json", help="Write it for programs: one JSON object a line.")]
Since = Annotated[
    str | None, typer.Option(help="How far back to look, as in 90m, 24h or 7d.", metavar="DURATION", show_default="all")
]


def seconds(duration: str, option: str) -> float:
    """Return a duration, which may have a unit, in seconds. Raises `typer.BadParameter`, which names the option."""
    try:
        return SECONDS.from_text(duration)
    except ValueError as exc:
        raise typer.BadParameter(str(exc), param_hint=option) from exc


def since_moment(duration: str | None, option: str = "--since") -> float | None:
    """Return when that long ago was, in seconds since the epoch; `None` for no limit. Raises `typer.BadParameter`."""
    return None if duration is None else span_start(time.time(), seconds(duration, option))
