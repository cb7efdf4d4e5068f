"""Our member of the `Cache-Status` list (RFC 9211)."""

import re
from functools import lru_cache
from typing import Any, cast

import http_sf
import msgspec

from cachemw.messages import Headers, header_values
from cachemw.redaction import redacted_repr
from cachemw.report import ExchangeReport
from cachemw.wire.fields import without

NAME = "cachemw"
"""The name of our member."""

_TOKEN = re.compile(r"[A-Za-z*][!#$%&'*+\-.^_`|~0-9A-Za-z:/]*")


class StatusMember(msgspec.Struct, frozen=True):
    """The member of ours as a client reads it: whether the answer was stored before, or is now, and under which key.

    `fwd_status` is what an upstream answered.
    """

    is_hit: bool = False
    is_stored: bool = False
    key: str = ""
    detail: str = ""
    fwd_status: int | None = None

    __repr__ = redacted_repr


def member_in(headers: Headers) -> StatusMember:
    """Return what our member of a response's `Cache-Status` says; nothing where there is none that can be read."""
    members = _members(b", ".join(header_values(headers, b"cache-status")))
    said: dict[str, Any] = next((parameters for name, parameters in members if str(name) == NAME), {})
    status = said.get("fwd-status")
    answered = status if isinstance(status, int) and not isinstance(status, bool) else None
    return StatusMember("hit" in said, "stored" in said, str(said.get("key", "")), str(said.get("detail", "")), answered)


def member(report: ExchangeReport) -> bytes:
    """Return the list member for one exchange, as known so far."""
    members = [
        NAME,
        "hit" if report.hit else "",
        f"fwd={report.fwd}" if report.fwd else "",
        f"fwd-status={report.fwd_status}" if report.fwd_status is not None else "",
        f"ttl={report.ttl}" if report.ttl is not None else "",
        "stored" if report.stored else "",
        "collapsed" if report.collapsed else "",
        f'key="{report.key}"' if report.key else "",
        f"detail={_detail(report.details)}" if report.details else "",
    ]
    return "; ".join(filter(None, members)).encode()


def _detail(details: tuple[str, ...]) -> str:
    """A Token where there is one reason, a String where there are several."""
    if len(details) == 1 and _TOKEN.fullmatch(details[0]):
        return details[0]
    return http_sf.ser(", ".join(details))


def _of_others(headers: Headers) -> Headers:
    """Return the fields without members of `Cache-Status` that are named as ours, and without a list that cannot be read.

    With the member that is added behind it nobody could read that one either (RFC 9651 §4.2).
    """
    values = header_values(headers, b"cache-status")
    if not values:
        return headers
    members = _members(b", ".join(values))
    others = [member for member in members if str(member[0]) != NAME]
    if members and len(others) == len(members):
        return headers
    kept = ((b"cache-status", http_sf.ser(others).encode()),) if others else ()
    return (*without(headers, (b"cache-status",)), *kept)


@lru_cache(64)
def _members(value: bytes) -> list[Any]:
    try:
        return cast(list[Any], http_sf.parse(value, tltype="list"))
    except http_sf.StructuredFieldError:
        return []


def announce(headers: Headers, report: ExchangeReport, is_stream: bool) -> Headers:
    """Return response fields with what every answer to an opted-in request says.

    What caches before us say stays, but for members that bear our name: whoever reads the first of those is told of this one.
    """
    kept = _of_others(without(headers, (b"cache-control", b"cachemw")))
    if not is_stream:
        return (*kept, (b"cache-control", b"private, no-store"), (b"cache-status", member(report)))
    return (
        *without(kept, (b"x-accel-buffering",)),
        (b"cache-control", b"private, no-store, no-transform"),
        (b"x-accel-buffering", b"no"),
        (b"cache-status", member(report)),
    )
