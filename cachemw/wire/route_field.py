"""Our response field `Cachemw-Route`: who answered a routed request, who was tried before, and what that cost."""

import math
import re

from cachemw.messages import Headers
from cachemw.money import in_dollars
from cachemw.report import ExchangeReport
from cachemw.routing import Tried
from cachemw.wire.fields import without

ROUTE_HEADER = b"cachemw-route"
"""The field's name in lower case: of requests, too, where it holds a client's wishes."""

TRIED_LIMIT = 8
NAME_CHARACTERS = 256
"""The targets in `tried`, and the characters of a name: the model of a target that a client named is the client's text."""

_LONGEST_SECONDS = 999_999_999
_TOKEN = re.compile(r"[a-z][a-z0-9-]*")
_UNPRINTABLE = re.compile(r"[^ -~]")


def route_field(report: ExchangeReport) -> bytes | None:
    """Return the dictionary of RFC 9651 for one exchange, as known so far; `None` where no gateway had a part in it."""
    if report.tried is None:
        return None
    members = [
        f"by={quoted(report.target)}" if report.target is not None else "",
        f"route={quoted(report.route)}" if report.route is not None else "",
        f"attempts={report.attempts}",
        f"tried=({' '.join(map(_attempt, report.tried[:TRIED_LIMIT]))})" if report.tried else "",
        _cost(report),
        f"saved={quoted(in_dollars(report.saved))}" if report.saved is not None else "",
    ]
    return ", ".join(filter(None, members)).encode()


def with_route(headers: Headers, report: ExchangeReport) -> Headers:
    """Return response fields with ours, where there is one; none that an upstream sent stays, for it speaks in our name."""
    if report.tried is None:  # a hit without a gateway is made of few calls
        return headers
    field = route_field(report)
    return headers if field is None else (*without(headers, (ROUTE_HEADER,)), (ROUTE_HEADER, field))


def _cost(report: ExchangeReport) -> str:
    """Return the cost in dollars, a String: a Decimal of RFC 9651 ends at three digits."""
    if report.cost is None:
        return ""
    estimated = ";estimated" if report.cost_basis == "estimated" else ""
    return f"cost={quoted(in_dollars(report.cost))}{estimated}{';least' if report.cost_at_least else ''}"


def _attempt(tried: Tried) -> str:
    status = f";status={tried.status}" if tried.status is not None else ""
    why = f";why={tried.why if _TOKEN.fullmatch(tried.why) else quoted(tried.why)}"
    cooling = f";cooling={_whole(tried.cooling)}" if tried.cooling is not None else ""
    return f"{quoted(tried.name)}{status}{why}{cooling}"


def _whole(seconds: float) -> int:
    """Return whole seconds, rounded up: who comes back after them does not come too soon."""
    return math.ceil(min(max(seconds, 0.0), _LONGEST_SECONDS))


def quoted(text: str) -> str:
    """Return a String, which is of printable ASCII alone; of other characters it has the code, as Python writes it."""
    shown = _UNPRINTABLE.sub(lambda found: ascii(found.group())[1:-1], text[:NAME_CHARACTERS])
    escaped = shown.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
