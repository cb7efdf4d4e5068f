"""A record's answer, sent again: verbatim, at once."""

from bisect import bisect_right
from collections.abc import Iterator

from cachemw.core.cache_status import announce
from cachemw.core.freshness import age
from cachemw.core.limits import PIECE_BYTES
from cachemw.core.messages import Head, StoredResponse
from cachemw.core.report import ExchangeReport


def head(stored: StoredResponse, report: ExchangeReport, now: float) -> Head:
    """Return the head of a replay. What another request's forward brought has no `Age`: it is new."""
    headers = stored.headers
    if not stored.kind.stream:
        headers = (*headers, (b"content-length", b"%d" % len(stored.body)))
    if report.hit:
        headers = (*headers, (b"age", b"%d" % age(stored, now)))
    return Head(stored.status, announce(headers, report, stored.kind.stream))


def pieces(stored: StoredResponse) -> Iterator[bytes]:
    """Cut the body on event boundaries into pieces of up to 64 KiB, or of one larger event."""
    body, ends, start = stored.body, stored.event_ends, 0
    while len(body) - start > PIECE_BYTES:
        beyond = bisect_right(ends, start + PIECE_BYTES)  # the first event that does not fit
        end = ends[beyond - 1] if beyond else 0
        if end <= start:
            end = ends[beyond] if beyond < len(ends) else len(body)
        yield body[start:end]
        start = end
    if start < len(body) or not body:
        yield body[start:]
