"""The whole answer of an outcome that needs no upstream any more."""

from cachemw.core import refusals, replay
from cachemw.core.cache_status import announce
from cachemw.core.directives import InvalidControl
from cachemw.core.effects import Failed, Serve, Unacceptable, Unsatisfiable
from cachemw.core.messages import Head
from cachemw.core.transfer import Emission

Concluded = Serve | Unsatisfiable | Failed | Unacceptable


def conclude(outcome: Concluded) -> tuple[Emission, ...]:
    """Return the head and the chunks to send."""
    match outcome:
        case Serve(stored, report, now):
            return (replay.head(stored, report, now), *replay.pieces(stored))
        case Unsatisfiable(report):
            head, body = refusals.not_cached()
        case Failed(report, error):
            head, body = refusals.upstream_failed(error)
        case Unacceptable(report, InvalidControl(param, message)):
            head, body = refusals.invalid_control(param, message)
        case Unacceptable(report):
            head, body = refusals.invalid_path()
    if report is None:
        return head, body
    return Head(head.status, announce(head.headers, report, is_stream=False)), body
