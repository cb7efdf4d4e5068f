"""The logs of the proxy: lines of text or of JSON, and one line for each exchange. Nothing of what was asked or answered."""

import json
import logging
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

from uvicorn.config import LOGGING_CONFIG

from cachemw.money import in_dollars
from cachemw.report import ExchangeReport

SHOWN_NAME = 64
"""The characters that are shown of a name; callers choose those of models, as long as they like."""

_EXCHANGE = "exchange"
_PLAIN = "/:@+,~()[]!*="  # besides letters, digits and _.-: neither a blank nor what ends a line is among them

access = logging.getLogger("cachemw.access")


class JsonFormatter(logging.Formatter):
    """Write each record as one JSON object, in ASCII."""

    def format(self, record: logging.LogRecord) -> str:
        told: dict[str, Any] | None = getattr(record, _EXCHANGE, None)
        if told is None:
            told = {"message": record.getMessage()}
            if record.exc_info:
                told["exception"] = self.formatException(record.exc_info)
        head = {"time": _written(record.created), "level": record.levelname.lower(), "logger": record.name}
        return json.dumps({**head, **told}, separators=(",", ":"))


def logging_config(level: str, form: str = "text") -> dict[str, Any]:
    """Return what the loggers of uvicorn and ours write, and how: all of it to standard error."""
    shown = {"handlers": ["default"], "level": level.upper(), "propagate": False}
    exchanges = {"handlers": ["exchanges"], "level": "INFO", "propagate": False}
    formatters = {"default": LOGGING_CONFIG["formatters"]["default"], "exchanges": {"format": "%(message)s"}}
    if form == "json":
        formatters = {name: {"()": f"{__name__}.{JsonFormatter.__name__}"} for name in formatters}
    handler = LOGGING_CONFIG["handlers"]["default"]
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": formatters,
        "handlers": {"default": handler, "exchanges": {**handler, "formatter": "exchanges"}},
        "loggers": {"uvicorn": shown, "cachemw": shown, access.name: exchanges},
    }


def log_exchange(report: ExchangeReport) -> None:
    """Log one exchange, or all those that a report speaks for, in one line: a hook."""
    told = _members(report)
    access.info(_text(told), extra={_EXCHANGE: told})


def _members(report: ExchangeReport) -> dict[str, Any]:
    """Return what is told of an exchange; times are in seconds."""
    usage = report.usage
    told = {
        "time": None if report.at is None else _written(report.at),
        "id": report.id,
        "client": _name(report.client),
        "endpoint": report.endpoint,
        "model": _name(report.model),
        "outcome": report.outcome,
        "status": report.status,
        "first_byte": _to_the_microsecond(report.first_byte),
        "total": _to_the_microsecond(report.total),
        "input_tokens": usage and usage.input_tokens,
        "output_tokens": usage and usage.output_tokens,
        "key": report.key,
        "detail": _name(report.detail),
        "count": report.count,
    }
    return told if report.tried is None else told | _of_gateway(report)


def _of_gateway(report: ExchangeReport) -> dict[str, Any]:
    """Return what a gateway adds to it: who answered, by which route, and for how many dollars."""
    return {
        "target": _name(report.target),
        "route": _name(report.route),
        "attempts": report.attempts,
        "cost": None if report.cost is None else in_dollars(report.cost),
    }


def _text(told: dict[str, Any]) -> str:
    """Return a line of fields, one blank between two, `-` where one is absent."""
    words = [_or_dash(told[name]) for name in ("time", "client", "endpoint", "model", "outcome", "status")]
    words += [f"first={_milliseconds(told['first_byte'])}", f"total={_milliseconds(told['total'])}"]
    words += [f"tokens={_or_dash(told['input_tokens'])}/{_or_dash(told['output_tokens'])}"]
    names = ("target", "route", "attempts", "cost", "key", "detail", "id")  # the first four are a gateway's
    words += [f"{name}={_or_dash(told[name])}" for name in names if name in told]
    return " ".join([*words, *([f"×{told['count']}"] if told["count"] > 1 else [])])  # noqa: RUF001 - a count of times


def _or_dash(value: object) -> str:
    return "-" if value is None or value == "" else str(value)


def _to_the_microsecond(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 6)


def _milliseconds(seconds: float | None) -> str:
    return "-" if seconds is None else f"{seconds * 1000:.1f}ms"


def _name(name: str | None) -> str | None:
    """Return a name of which no line, and no field of one, can be forged: all but plain ASCII is escaped as in URLs."""
    if name is None:
        return None
    shown = quote(name[:SHOWN_NAME], safe=_PLAIN, errors="replace")
    return shown + "..." if len(name) > SHOWN_NAME else shown


def _written(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
