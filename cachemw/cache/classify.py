"""Classify a request: a call that opted in, one that did not, or another request; and choose the script that answers it."""

import msgspec

from cachemw.cache.directives import CONTROL_HEADER, Abandon, Directives, InvalidControl, read_directives
from cachemw.cache.effects import InvalidPath, Script, Unacceptable
from cachemw.cache.exchange import bypass, exchange, pass_on, pass_on_other, refuse
from cachemw.cache.lookup import VerifiedRecords
from cachemw.cache.policy import Policy
from cachemw.messages import Headers, Request
from cachemw.redaction import redacted_repr
from cachemw.report import ExchangeReport
from cachemw.wire.fields import without
from cachemw.wire.paths import climbs, is_target


class OtherRequest(msgspec.Struct, frozen=True):
    """Passes untouched; one that opted in all the same loses its control header, for clients put that in their defaults."""

    asked: Directives | InvalidControl | None
    headers: Headers

    __repr__ = redacted_repr


class NotOptedIn(msgspec.Struct, frozen=True):
    """A chat request whose client did not opt in."""


Classified = OtherRequest | NotOptedIn | InvalidControl | Directives


def classify(method: str, path: str, headers: Headers, policy: Policy) -> Classified:
    """Say what a request is to us; `path` is below `root_path`."""
    asked = read_directives(headers, policy.default, policy.honour)
    if is_chat(method, path, policy.paths):
        return NotOptedIn() if asked is None else asked
    return OtherRequest(asked, headers if asked is None else without(headers, (CONTROL_HEADER,)))


def unfinished(classified: Classified) -> Classified:
    """Return what a request is to a mount that reads for its reader alone: what that one leaves cannot be finished."""
    if not isinstance(classified, Directives) or classified.abandon is not Abandon.FINISH:
        return classified
    return msgspec.structs.replace(classified, abandon=None, ignored=(*classified.ignored, "abandon"))


def body_limit(classified: Classified, policy: Policy) -> int | None:
    """Return how many bytes of the request's body are read before it is answered.

    0 only looks whether there is one; `None` leaves it alone, for nothing is going to be forwarded.
    """
    if isinstance(classified, InvalidControl):
        return None
    return policy.max_request_bytes if isinstance(classified, Directives) else 0


def script_for(
    classified: Classified, request: Request, policy: Policy, verified: VerifiedRecords, target: bytes | None = None
) -> Script:
    """Return the script that answers.

    `target` is what an HTTP upstream beside the mount would be asked for, as it came; a wrapped app's path is its own matter.
    """
    if target is not None and (climbs(target.partition(b"?")[0]) or not is_target(target)):
        return _refuse_path(classified)
    match classified:
        case Directives():
            return exchange(request, classified, policy, verified)
        case InvalidControl():
            return refuse(classified)
        case OtherRequest(asked=Directives() as asked):
            return bypass("not-chat", request, asked, policy)  # not even that is sent where the upstream must not be contacted
        case OtherRequest(asked=InvalidControl()):
            return pass_on_other(request, policy)
        case _:
            return pass_on(None, request, policy)


def _refuse_path(classified: Classified) -> Script:
    """Answer a request that would leave the upstream's base URL, or be spelt anew on the way there."""
    yield from ()
    has_opted_in = (
        classified.asked is not None if isinstance(classified, OtherRequest) else not isinstance(classified, NotOptedIn)
    )
    report = ExchangeReport(stored=False, details=("invalid-path",)) if has_opted_in else None
    return Unacceptable(report, InvalidPath())


def is_chat(method: str, path: str, suffixes: tuple[str, ...]) -> bool:
    """Say whether this is a chat completion: `path`, below `root_path`, ends in one of these."""
    return method == "POST" and path.endswith(suffixes)
