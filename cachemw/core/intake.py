"""What comes in: is it a chat request, did its client opt in, and which script answers it?"""

import msgspec

from cachemw.core.chat import is_chat
from cachemw.core.directives import CONTROL_HEADER, Abandon, Directives, InvalidControl, read_directives
from cachemw.core.discreet import sizes_only
from cachemw.core.effects import InvalidPath, Script, Unacceptable
from cachemw.core.exchange import bypass, exchange, not_chat, pass_on, refuse
from cachemw.core.headers import without
from cachemw.core.messages import Headers, Request
from cachemw.core.paths import climbs, is_target
from cachemw.core.policy import Policy
from cachemw.core.report import ExchangeReport
from cachemw.core.selection import Verified


class NotChat(msgspec.Struct, frozen=True):
    """Passes untouched; one that opted in all the same loses its control header, for clients put that in their defaults."""

    asked: Directives | InvalidControl | None
    headers: Headers

    __repr__ = sizes_only


class NotAsked(msgspec.Struct, frozen=True):
    """A chat request whose client did not opt in."""


TakenIn = NotChat | NotAsked | InvalidControl | Directives


def take_in(method: str, path: str, headers: Headers, policy: Policy) -> TakenIn:
    """Say what a request is to us; `path` is below `root_path`."""
    asked = read_directives(headers, policy.default, policy.honour)
    if is_chat(method, path, policy.paths):
        return NotAsked() if asked is None else asked
    return NotChat(asked, headers if asked is None else without(headers, (CONTROL_HEADER,)))


def unfinished(taken_in: TakenIn) -> TakenIn:
    """Return what a request is to a mount that reads for its reader alone: what that one leaves cannot be finished."""
    if not isinstance(taken_in, Directives) or taken_in.abandon is not Abandon.FINISH:
        return taken_in
    return msgspec.structs.replace(taken_in, abandon=None, ignored=(*taken_in.ignored, "abandon"))


def body_limit(taken_in: TakenIn, policy: Policy) -> int | None:
    """Return how many bytes of the request's body are read before it is answered.

    0 only looks whether there is one; `None` leaves it alone, for nothing is going to be forwarded.
    """
    if isinstance(taken_in, InvalidControl):
        return None
    return policy.max_request_bytes if isinstance(taken_in, Directives) else 0


def script_for(taken_in: TakenIn, request: Request, policy: Policy, verified: Verified, target: bytes | None = None) -> Script:
    """Return the script that answers.

    `target` is what an HTTP upstream beside the mount would be asked for, as it came; a wrapped app's path is its own matter.
    """
    if target is not None and (climbs(target.partition(b"?")[0]) or not is_target(target)):
        return _refuse_path(taken_in)
    match taken_in:
        case Directives():
            return exchange(request, taken_in, policy, verified)
        case InvalidControl():
            return refuse(taken_in)
        case NotChat(asked=Directives() as asked):
            return bypass("not-chat", request, asked, policy)  # not even that is sent where the upstream must not be contacted
        case NotChat(asked=InvalidControl()):
            return not_chat(request, policy)
        case _:
            return pass_on(None, request, policy)


def _refuse_path(taken_in: TakenIn) -> Script:
    """Answer a request that would leave the upstream's base URL, or be spelt anew on the way there."""
    yield from ()
    has_opted_in = taken_in.asked is not None if isinstance(taken_in, NotChat) else not isinstance(taken_in, NotAsked)
    report = ExchangeReport(stored=False, details=("invalid-path",)) if has_opted_in else None
    return Unacceptable(report, InvalidPath())
