"""Say a request in the dialect of its target, where that is another one than the caller's."""

import re
from collections.abc import Callable

import msgspec
from msgspec.structs import replace

from cachemw.cache.key import without_placeholder
from cachemw.cache.plans import Bid, Closed, Plan, TranslatedRequest
from cachemw.cache.policy import Policy
from cachemw.cache.presentation import Presentation, fields_of
from cachemw.endpoints import BY_NAME
from cachemw.endpoints.base import Bypass, Endpoint, RawMembers
from cachemw.endpoints.bodies import model_in, not_plain_json, read_object
from cachemw.endpoints.errors import ANTHROPIC, OPENAI, Refusal
from cachemw.endpoints.sent import sent_body
from cachemw.limits import Work
from cachemw.messages import DIALECTS, Caller, Headers, HttpTarget, Request, Target, Unread, header_values
from cachemw.redaction import redacted_repr
from cachemw.routing import NO_REWRITE, Rewrite
from cachemw.translation import TRANSLATIONS, Translation, fields_to_chat, fields_to_messages, translation_for
from cachemw.translation.base import Changes, Translated, Untranslatable
from cachemw.translation.models import ModelsView
from cachemw.translation.others_thinking import DROPPED, takes_only_own, without_others_thinking
from cachemw.wire.fields import CREDENTIALS
from cachemw.wire.paths import below_version

_MODELS = re.compile(r"[^?]*/models(?:/[^/?]+)?(?:\?.*)?")
_INVALID = "invalid_request_error"
_NOT_AN_OBJECT = "not-an-object"
_SAID_AS_MESSAGES = frozenset(row.asked for row in TRANSLATIONS if row.dialect == "messages")
"""The endpoints whose calls are in Anthropic's own dialect."""

_JSON = ((b"content-type", b"application/json"),)


class SentCall(msgspec.Struct, frozen=True):
    """A request as a target is sent it that does not get it as it came: the `endpoint` is the one that is called there."""

    request: Request
    endpoint: Endpoint
    presentation: Presentation

    __repr__ = redacted_repr

    @property
    def body(self) -> bytes:
        """The body that is sent."""
        body = self.request.body
        assert isinstance(body, bytes)  # noqa: S101 - it was made here
        return body

    @property
    def translated(self) -> TranslatedRequest | None:
        """What is sent in the place of what came; `None` where only the body is another one."""
        return translated_request(self.request, self.presentation)


def translated_request(request: Request, presentation: Presentation | None) -> TranslatedRequest | None:
    """Return what is sent of a request in another dialect than its caller's; `None` where its own is spoken."""
    if presentation is None or presentation.view is None or not isinstance(request.body, bytes):
        return None
    return TranslatedRequest(request.path.encode(), request.headers, request.body)


class LocalAnswer(msgspec.Struct, frozen=True):
    """An answer that we give ourselves, one JSON document, and the fields that say so."""

    body: bytes
    fields: Headers

    __repr__ = redacted_repr


def translation_due(endpoint: Endpoint | None, target: Target) -> Translation | None:
    """Return how calls of an endpoint are said to a target; `None`: as they came."""
    if endpoint is None or not isinstance(target, HttpTarget) or endpoint.name in target.recipient.speaks:
        return None
    return translation_for(endpoint.name, target.recipient.speaks)


def models_seen(request: Request) -> tuple[TranslatedRequest, Presentation] | None:
    """Return how models are asked for, and presented, where an upstream has them in the other dialect; `None`: as they come.

    Anthropic's clients name the version of its API with every request, and nobody else does.
    """
    target = request.target
    if request.method != "GET" or not isinstance(target, HttpTarget) or not _MODELS.fullmatch(target.url):
        return None
    speaks, is_anthropic = target.recipient.speaks, bool(header_values(request.headers, b"anthropic-version"))
    if ("messages" if is_anthropic else "chat") in speaks or speaks.isdisjoint({"chat", "messages"}):
        return None
    errors, fields = (ANTHROPIC, fields_to_chat) if is_anthropic else (OPENAI, fields_to_messages)
    asked = TranslatedRequest(None, fields(without_placeholder(request.headers)), b"")
    return asked, Presentation(ModelsView(errors), (), errors)


def said_for_bid(
    endpoint: Endpoint, request: Request, plan: Plan, bid: Bid, policy: Policy, work: Work = Work()
) -> SentCall | LocalAnswer | Closed | None:
    """Return a request as a bid's target is sent it that cannot have it as it came; `None`: as it came."""
    request, translation = replace(request, target=bid.target), translation_due(endpoint, bid.target)
    if translation is not None:
        return said_to(translation, endpoint, request, policy, work, bid.rewrite)
    if plan.route is not None and endpoint.name in DIALECTS and endpoint.name not in bid.target.recipient.speaks:
        message = f"no target of this route speaks {endpoint.name}: name a target whose provider does"
        return Closed(Refusal(404, message, _INVALID, "model", "endpoint_not_spoken"))
    return _with_own_thinking(endpoint, request, policy, work, bid.rewrite)


def said_to(
    translation: Translation,
    endpoint: Endpoint,
    request: Request,
    policy: Policy,
    work: Work = Work(),
    rewrite: Rewrite = NO_REWRITE,
) -> SentCall | LocalAnswer | Closed:
    """Return a request as its target is sent it, with what the operator sets and drops there.

    `Closed` where it cannot be said; `LocalAnswer` where nobody need be asked.
    """
    target = request.target
    assert isinstance(target, HttpTarget)  # noqa: S101 - others are sent everything as it came
    members = read_object(request, work, _NOT_AN_OBJECT)
    if isinstance(members, Bypass):
        return _unread(request, members)
    said = translation.request(members, target.recipient.provider, rewrite.model or model_in(members))
    if isinstance(said, Untranslatable):
        return _refused(said.member, said.why)
    if translation.estimate is not None and policy.count_tokens != "ask":
        return _own_count(translation.estimate, said, policy)
    told = (*said.told, *_dropped(said.body, rewrite))
    if told and policy.translation == "strict":
        return _inexact(told)
    sent = _sent(translation, request, target, sent_body(said.body, rewrite))
    return SentCall(sent, BY_NAME[translation.spoken], Presentation(said.view, told, endpoint.errors))


def _with_own_thinking(
    endpoint: Endpoint, request: Request, policy: Policy, work: Work, rewrite: Rewrite
) -> SentCall | Closed | None:
    """Return a request in Anthropic's own dialect without the thinking that others signed; `None` where it goes as it came.

    Its models refuse all of a request that has such, and on a route the last turn may have been another one's (T11).
    """
    target, body = request.target, request.body
    if endpoint.name not in _SAID_AS_MESSAGES or not isinstance(target, HttpTarget):
        return None
    if not isinstance(body, bytes) or b"thinking" not in body:
        return None
    members = read_object(request, work, _NOT_AN_OBJECT)
    if isinstance(members, Bypass) or not takes_only_own(target.recipient.provider, rewrite.model or model_in(members)):
        return None
    kept = without_others_thinking(body)
    if kept is None:
        return None
    if policy.translation == "strict":
        return _refused("messages", "thinking that another model signed would be dropped (--translation strict)")
    sent = replace(request, body=sent_body(kept, rewrite))
    return SentCall(sent, endpoint, Presentation(None, DROPPED, endpoint.errors))


def _sent(translation: Translation, request: Request, target: HttpTarget, body: bytes) -> Request:
    return replace(
        request,
        path=f"/v1{translation.path}",
        headers=translation.fields(without_placeholder(_plain(request.headers))),
        body=body,
        target=replace(target, url=_url_at(target.url, request.path, translation.path)),
        caller=sent_caller(translation, request.caller),
    )


def _own_count(estimate: Callable[[bytes], bytes], said: Translated, policy: Policy) -> LocalAnswer | Closed:
    if policy.count_tokens == "refuse":
        return Closed(Refusal(404, "this upstream counts no tokens (--count-tokens refuse)", code="not_found"))
    told: Changes = (("input_tokens", "estimated"), *said.told)
    return _inexact(told) if policy.translation == "strict" else LocalAnswer(estimate(said.body), fields_of(told))


def _inexact(told: Changes) -> Closed:
    """Return why a request is refused where nothing may be but exact."""
    member, became = told[0]
    return _refused(member, f"it would be {became}, and nothing may be (--translation strict)")


def _dropped(body: bytes, rewrite: Rewrite) -> Changes:
    """Return what is told of the members that the operator drops."""
    if not rewrite.drop:
        return ()
    sent = msgspec.json.decode(body, type=RawMembers).keys()
    return tuple([(_token(name), "dropped") for name in sorted(rewrite.drop & sent)])


def sent_caller(translation: Translation, caller: Caller) -> Caller:
    """Return who calls, by what is sent on: whoever brings one key is one caller, whichever dialect is spoken."""
    if len(caller.brought) != 1:  # of several not all are sent, and yet each may be what tells two callers apart
        return caller
    sent = translation.fields(caller.brought)
    return replace(caller, brought=tuple([field for field in sent if field[0].lower() in CREDENTIALS]))


def _plain(headers: Headers) -> Headers:
    """Return the fields with a content type that says what the body is by now."""
    return (*[field for field in headers if field[0].lower() not in (b"content-type", b"content-length")], *_JSON)


def _url_at(url: str, asked: str, path: str) -> str:
    """Return the URL of another endpoint of the same API."""
    below = below_version(asked.encode(errors="surrogatepass")).decode(errors="surrogatepass")
    return url.partition("?")[0].removesuffix(below).rstrip("/") + path


def _token(name: str) -> str:
    """Return a member's name as a key of a structured field can hold it (RFC 9651 §3.1.2)."""
    return "".join([letter if letter.isalnum() and letter.isascii() or letter in "_-." else "_" for letter in name.lower()])


def _refused(member: str, why: str) -> Closed:
    message = f"{member}: {why}" if member else why
    return Closed(Refusal(400, message, _INVALID, member or None, "untranslatable"))


def _unread(request: Request, why: Bypass) -> Closed:
    """Return why a request that has to be translated was not read."""
    coded = not_plain_json(request.headers)  # then nobody may have tried to read it
    if coded is None and request.body is Unread.TOO_LARGE:
        return Closed(Refusal(413, "the request is too large to be translated", _INVALID, code="request_too_large"))
    if coded is None and request.body is Unread.BUSY:
        return Closed(Refusal(503, "cachemw holds too many large requests: try again in a moment", code="busy"), 1.0)
    detail = coded or why.detail
    message = f"the body has to be one JSON object that can be read in one way ({detail}): this upstream speaks another API"
    return Closed(Refusal(400, message, _INVALID, code="untranslatable"))
