"""Our member of the `Cache-Status` list (RFC 9211)."""

import re

import http_sf

from cachemw.core.headers import without
from cachemw.core.messages import Headers
from cachemw.core.report import ExchangeReport

_TOKEN = re.compile(r"[A-Za-z*][!#$%&'*+\-.^_`|~0-9A-Za-z:/]*")


def member(report: ExchangeReport) -> bytes:
    """Return the list member for one exchange, as known so far."""
    said = [
        "cachemw",
        "hit" if report.hit else "",
        f"fwd={report.fwd}" if report.fwd else "",
        f"fwd-status={report.fwd_status}" if report.fwd_status is not None else "",
        f"ttl={report.ttl}" if report.ttl is not None else "",
        "stored" if report.stored else "",
        "collapsed" if report.collapsed else "",
        f'key="{report.key}"' if report.key else "",
        f"detail={_detail(report.details)}" if report.details else "",
    ]
    return "; ".join(filter(None, said)).encode()


def _detail(details: tuple[str, ...]) -> str:
    """A Token where there is one reason, a String where there are several."""
    if len(details) == 1 and _TOKEN.fullmatch(details[0]):
        return details[0]
    return http_sf.ser(", ".join(details))


def announce(headers: Headers, report: ExchangeReport, is_stream: bool) -> Headers:
    """Return response fields with what every answer to an opted-in request says; an earlier `Cache-Status` stays."""
    said = without(headers, (b"cache-control", b"cachemw"))
    if not is_stream:
        return (*said, (b"cache-control", b"private, no-store"), (b"cache-status", member(report)))
    return (
        *without(said, (b"x-accel-buffering",)),
        (b"cache-control", b"private, no-store, no-transform"),
        (b"x-accel-buffering", b"no"),
        (b"cache-status", member(report)),
    )
