"""Send a stored response again: verbatim, at once or at a pace; and give the answers that need no upstream."""

from bisect import bisect_right
from collections.abc import Iterator, Mapping
from itertools import accumulate

from msgspec.structs import replace

from cachemw.cache.directives import InvalidControl
from cachemw.cache.effects import Declined, Failed, Serve, Unacceptable, Unsatisfiable
from cachemw.cache.freshness import age
from cachemw.cache.live_response import Part
from cachemw.endpoints import errors
from cachemw.limits import PIECE_BYTES
from cachemw.messages import Head, StoredResponse
from cachemw.report import ExchangeReport
from cachemw.wire.cache_status import announce
from cachemw.wire.route_field import with_route


def head(stored: StoredResponse, report: ExchangeReport, now: float) -> Head:
    """Return the head of a replay. What another request's forward brought has no `Age`: it is new."""
    headers = stored.headers
    if not stored.kind.stream:
        headers = (*headers, (b"content-length", b"%d" % len(stored.body)))
    if report.hit or report.ttl is not None:  # stale-if-error answers from the store too, and is no hit
        headers = (*headers, (b"age", b"%d" % age(stored, now)))
    return Head(stored.status, with_route(announce(headers, report, stored.kind.stream), report))


def pieces(stored: StoredResponse) -> Iterator[bytes]:
    """Cut the body on event boundaries into pieces of up to 64 KiB, or of one larger event."""
    return _cut(stored, 0, len(stored.body))


def paced(stored: StoredResponse, speed: float, longest: float) -> Iterator[tuple[float, bytes]]:
    """Pair every piece with the seconds after the head at which it is due.

    `speed` 1 is as recorded, 2 twice as fast, 0 all at once. What would take more than `longest` seconds is sent faster.
    """
    start = 0
    for due, stop in _stops(stored, speed, longest).items():
        for piece in _cut(stored, start, stop):
            yield due, piece
        start = stop


def _stops(stored: StoredResponse, speed: float, longest: float) -> Mapping[float, int]:
    """Return how much of the body is due when. What follows the last event goes with it."""
    if not (speed and longest and stored.arrivals):
        return {0.0: len(stored.body)}
    arrivals = list(accumulate(stored.arrivals, max))  # a clock may have been set back
    rate = max(speed, arrivals[-1] / longest)
    dues = [min(arrival / rate, longest) for arrival in arrivals]
    return dict(zip(dues, stored.event_ends, strict=True)) | {dues[-1]: len(stored.body)}


def _cut(stored: StoredResponse, start: int, stop: int) -> Iterator[bytes]:
    body, ends = stored.body, stored.event_ends
    while stop - start > PIECE_BYTES:
        beyond = bisect_right(ends, start + PIECE_BYTES)  # the first event that does not fit
        end = ends[beyond - 1] if beyond else 0
        if end <= start:
            end = ends[beyond] if beyond < len(ends) else stop
        yield body[start:end]
        start = end
    if start < stop or not body:
        yield body[start:stop]


DirectOutcome = Serve | Unsatisfiable | Failed | Declined | Unacceptable


def respond(outcome: DirectOutcome) -> tuple[Part, ...]:
    """Return the head and the chunks to send."""
    match outcome:
        case Serve(stored, report, now):
            return (head(stored, report, now), *pieces(stored))
        case Unsatisfiable(report, shape, why):
            refusal, body = errors.not_cached(shape, why)
        case Failed(report, error, shape):
            refusal, body = errors.upstream_failed(error, shape)
        case Declined(report, closed, shape):
            refusal, body = errors.declined(closed.refusal, closed.retry_after, shape)
        case Unacceptable(report, InvalidControl(param, message), shape):
            refusal, body = errors.invalid_control(param, message, shape)
        case Unacceptable(report, _, shape):
            refusal, body = errors.invalid_path(shape)
    headers = announce(refusal.headers, report, is_stream=False) if report.opted_in else refusal.headers
    nobodys = replace(report, target=None)  # whom it was for, or who failed, is not whose answer this is
    return Head(refusal.status, with_route(headers, nobodys)), body
