"""Tell how a message begins: whether it could be shown to a client yet."""

from cachemw.endpoints.anthropic.reading import (
    MessageEvent,
    WholeMessage,
    is_error,
    read_event,
    read_message,
    says_something,
    text_in,
)
from cachemw.endpoints.base import Beginning, RawMembers, Saying
from cachemw.errors import Unreadable
from cachemw.limits import Work
from cachemw.wire.strict_json import UNREADABLE


def beginning_of(raw: bytes, *, is_whole: bool, work: Work = Work()) -> Beginning:
    """Return what an event says by which a stream begins, or a message that `is_whole`."""
    try:
        return _of_message(read_message(raw, work), work) if is_whole else _of_event(read_event(raw, work), work)
    except UNREADABLE:
        return Beginning(Saying.UNREADABLE)
    except Unreadable:
        return Beginning(Saying.SOMETHING)


def _of_message(message: WholeMessage, work: Work) -> Beginning:
    if is_error(message, work):
        return Beginning(Saying.ERROR)
    if message.content is None:
        return Beginning(Saying.UNREADABLE)
    return _saying(message.content, message.stop_reason, work)


def _of_event(said: MessageEvent, work: Work) -> Beginning:
    if is_error(said, work):
        return Beginning(Saying.ERROR)
    if not said.type:
        return Beginning(Saying.UNREADABLE)
    reason = text_in(said.delta or {}, "stop_reason", work) if said.type == "message_delta" else None
    pieces = [piece for piece in (said.content_block, said.delta) if piece is not None and said.type != "message_delta"]
    return _saying(pieces, reason, work)


def _saying(pieces: list[RawMembers], reason: str | None, work: Work) -> Beginning:
    """A message is one choice; the reason `refusal` is among those by which an answer is known to be withheld."""
    says = any(says_something(piece, work) for piece in pieces)
    return Beginning(Saying.SOMETHING if says else Saying.NOTHING, 1, (reason,) if reason else ())
