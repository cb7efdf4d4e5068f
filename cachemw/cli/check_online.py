"""What `cachemw check --online` hears of upstreams: whether they answer and take the key, and which models they name."""

from contextlib import closing

import msgspec

from cachemw.cli.finding import Finding
from cachemw.errors import KeyMissing, UpstreamError
from cachemw.limits import MIB, Timeouts
from cachemw.messages import Head
from cachemw.upstreams.base import UpstreamRequest
from cachemw.upstreams.base_urls import as_written
from cachemw.upstreams.http import HttpUpstream

_ONLINE = Timeouts(first_byte=10.0, idle=10.0, total=20.0)
_LONGEST_LIST = 4 * MIB

_LISTS_FOR_OTHERS = frozenset({"anthropic"})
"""Those whose lists of models are for clients of their own API, whose keys are in another field."""


def asked(upstream: HttpUpstream, variable: str, subject: str = "upstream") -> tuple[Finding, frozenset[str]]:
    """Ask an upstream for the models there are; return what is to be said of that, and their names, where it gives any.

    `variable` is where its key is.
    """
    place = as_written(upstream.place)
    request = UpstreamRequest("GET", b"/v1/models", b"", ((b"accept", b"application/json"),), b"", timeouts=_ONLINE)
    try:
        with closing(upstream.open(request)) as response:
            head, body = response.head, b""
            while len(body) <= _LONGEST_LIST and (chunk := response.read(None)) is not None:
                body += chunk
    except KeyMissing:
        return Finding("note", subject, f"{place} was not asked: it takes a key", f"set {variable}"), frozenset()
    except UpstreamError as exc:
        cause = f": {exc.__cause__}" if exc.__cause__ is not None and str(exc.__cause__) not in str(exc) else ""
        return Finding("wrong", subject, f"{place}: {exc}{cause}", "is the URL right, and is it up?"), frozenset()
    if head.status in (401, 403) and upstream.recipient.provider in _LISTS_FOR_OTHERS:
        return Finding("note", subject, f"{place} answers; whether it takes the key is not known"), frozenset()
    models = _models(body) if head.status == 200 else None
    return _judged(place, head, models, variable, subject), frozenset(models or ())


def _judged(place: str, head: Head, models: list[str] | None, variable: str, subject: str) -> Finding:
    match head.status:
        case 200:
            how_many = "no models in a way that we read" if models is None else f"{len(models):,} models"
            return Finding("ok", subject, f"{place} answers, and names {how_many}")
        case 401 | 403:
            return Finding("wrong", subject, f"{place} refuses the key ({head.status})", f"is {variable} the right one?")
        case 404:
            return Finding("note", subject, f"{place} answers, and has no list of models (404)", "is it the API's base URL?")
    return Finding("wrong", subject, f"{place} answers with {head.status}")


def _models(body: bytes) -> list[str] | None:
    """Return the names in a list of models; `None` for what is none. One without a name counts as one."""
    try:
        listed = msgspec.json.decode(body)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        return None
    models = listed.get("data") if isinstance(listed, dict) else listed
    if not isinstance(models, list):
        return None
    return [str(model.get("id", "")) if isinstance(model, dict) else "" for model in models]
