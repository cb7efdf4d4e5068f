"""Classify a request: a call that opted in, one that did not, or another request; and choose the script that answers it."""

import msgspec
from msgspec.structs import replace

from cachemw.cache.directives import CONTROL_HEADER, Abandon, Directives, InvalidControl, read_directives
from cachemw.cache.effects import Exchange, InvalidPath, Script, Unacceptable
from cachemw.cache.exchange import exchange, refuse
from cachemw.cache.lookup import VerifiedRecords
from cachemw.cache.passing import bypass, early_report, pass_on, shape_of
from cachemw.cache.policy import Policy
from cachemw.cache.sent_call import translation_due
from cachemw.endpoints import endpoint_of
from cachemw.endpoints.base import Endpoint
from cachemw.endpoints.bodies import not_plain_json
from cachemw.limits import Limits
from cachemw.messages import Headers, Request, RouteTarget, Target
from cachemw.redaction import redacted_repr
from cachemw.report import ExchangeReport
from cachemw.wire.fields import without
from cachemw.wire.paths import climbs, is_target

_OTHER = "other-path"


class OtherRequest(msgspec.Struct, frozen=True):
    """Passes untouched; one that opted in all the same loses its control header, for clients put that in their defaults."""

    asked: Directives | InvalidControl | None
    headers: Headers

    __repr__ = redacted_repr


class NotOptedIn(msgspec.Struct, frozen=True):
    """An API call whose client did not opt in."""

    endpoint: Endpoint


class OptedIn(msgspec.Struct, frozen=True):
    """An API call whose client opted in, and what it asks of the cache; that may be more than can be read."""

    endpoint: Endpoint
    asked: Directives | InvalidControl

    __repr__ = redacted_repr


Classified = OtherRequest | NotOptedIn | OptedIn


def classify(method: str, path: str, headers: Headers, policy: Policy) -> Classified:
    """Say what a request is to us; `path` is below `root_path`."""
    asked = read_directives(headers, policy.default, policy.honour)
    endpoint = endpoint_of(method, path, policy.paths)
    if endpoint is not None:
        return NotOptedIn(endpoint) if asked is None else OptedIn(endpoint, asked)
    return OtherRequest(asked, headers if asked is None else without(headers, (CONTROL_HEADER,)))


def unfinished(classified: Classified) -> Classified:
    """Return what a request is to a mount that reads for its reader alone: what that one leaves cannot be finished."""
    if not isinstance(classified, OptedIn):
        return classified
    asked = classified.asked
    if not isinstance(asked, Directives) or asked.abandon is not Abandon.FINISH:
        return classified
    return OptedIn(classified.endpoint, replace(asked, abandon=None, ignored=(*asked.ignored, "abandon")))


def body_limit(classified: Classified, policy: Policy, *, is_read: bool = False) -> int | None:
    """Return how many bytes of the request's body are read before it is answered.

    0 only looks whether there is one; `None` leaves it alone, for nothing is going to be forwarded. `is_read`: it decides what
    is forwarded, or to whom.
    """
    match classified:
        case OptedIn(asked=Directives()):
            return policy.max_request_bytes
        case OptedIn():
            return None
        case _:
            return policy.max_request_bytes if is_read else 0


def is_read_through(classified: Classified, method: str, headers: Headers, target: Target) -> bool:
    """Say whether a request's body has to be read that is not read for the cache's sake anyway.

    That is so where a gateway is asked, for it may name a model, and where its target is asked in another dialect.
    """
    if isinstance(classified, OptedIn) or method != "POST":
        return False
    if isinstance(target, RouteTarget):
        return not_plain_json(headers) is None
    return isinstance(classified, NotOptedIn) and translation_due(classified.endpoint, target) is not None


def exchange_for(
    classified: Classified,
    request: Request,
    policy: Policy,
    limits: Limits,
    verified: VerifiedRecords,
    target: bytes | None = None,
) -> Exchange:
    """Return the exchange that a request begins.

    `target` is what an HTTP upstream beside the mount would be asked for, as it came; a wrapped app's path is its own matter.
    """
    report = first_report(classified, request)
    if target is not None and (climbs(target.partition(b"?")[0]) or not is_target(target)):
        return Exchange(_refuse_path(report, _endpoint_in(classified)), report, request.headers)
    return Exchange(_script_for(classified, request, report, policy, limits, verified), report, request.headers)


def first_report(classified: Classified, request: Request) -> ExchangeReport:
    """Return what is known of an exchange before anything was done."""
    match classified:
        case OptedIn(endpoint):
            return early_report(request, endpoint)
        case NotOptedIn(endpoint):
            return early_report(request, endpoint, opted_in=False)
        case OtherRequest(asked):
            return early_report(request, None, opted_in=asked is not None)


def _script_for(
    classified: Classified,
    request: Request,
    report: ExchangeReport,
    policy: Policy,
    limits: Limits,
    verified: VerifiedRecords,
) -> Script:
    match classified:
        case OptedIn(endpoint, Directives() as asked):
            return exchange(endpoint, request, asked, policy, limits, verified)
        case OptedIn(endpoint, InvalidControl() as invalid):
            return refuse(endpoint, request, invalid)
        case OtherRequest(asked=Directives() as asked):  # not even that is sent where the upstream must not be contacted
            return bypass(_OTHER, None, request, asked, policy)
        case OtherRequest(asked=InvalidControl()):  # it is nobody's there
            return pass_on(replace(report, fwd="bypass", stored=False, details=(_OTHER,)), None, request, policy)
        case _:
            return pass_on(report, _endpoint_in(classified), request, policy)


def _refuse_path(report: ExchangeReport, endpoint: Endpoint | None) -> Script:
    """Answer a request that would leave the upstream's base URL, or be spelt anew on the way there."""
    yield from ()
    return Unacceptable(replace(report, stored=False, details=("invalid-path",)), InvalidPath(), shape_of(endpoint))


def _endpoint_in(classified: Classified) -> Endpoint | None:
    return None if isinstance(classified, OtherRequest) else classified.endpoint
