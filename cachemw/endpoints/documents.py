"""Read and judge the calls whose answer is one JSON document, and never a stream: what the small endpoints have in common."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from cachemw.endpoints.base import PLAIN, ApiCall, Beginning, Bypass, Demands, Endpoint, RawMembers, Saying
from cachemw.endpoints.bodies import model_in, read_object
from cachemw.endpoints.canonical import Shape, canonical, left_out
from cachemw.endpoints.deriving import OTHER_KIND
from cachemw.endpoints.judging import name_in, raw_members, value_in
from cachemw.errors import Unreadable
from cachemw.limits import Work
from cachemw.messages import Kind, Request, RouteTarget, StoredResponse
from cachemw.redaction import redacted_repr
from cachemw.wire.sse import Event
from cachemw.wire.strict_json import NULL, UNREADABLE

NO_INPUT = "no-input"
"""The request lacks what it must have, or it is not of the kind that it must be."""

AnswerFault = Callable[[RawMembers, ApiCall, Work], str | None]
"""Says why a document is no answer to a call; `None` where it is one. Raises `Unreadable` and what is `UNREADABLE`."""

Due = Callable[[Mapping[str, Any]], int | None]
"""Says how many answers are due to the body of a request; `None` where it is none."""


class DocumentCalls(msgspec.Struct, frozen=True, eq=False):
    """How the calls of an endpoint are read: the shape of their bodies, how many answers are due, and whether they divide."""

    shape: Shape
    due: Due
    divides: Callable[[Mapping[str, Any], int], bool] | None = None

    __repr__ = redacted_repr

    def __call__(
        self,
        endpoint: Endpoint,
        request: Request,
        bookkeeping: frozenset[str] = frozenset(),
        work: Work = Work(),
        cache_stored: bool = False,
    ) -> ApiCall | Bypass:
        """Read a request's body; `Bypass` where its answer cannot be cached."""
        body = read_object(request, work, NO_INPUT)
        if isinstance(body, Bypass):
            return body
        due = self.due(body)
        if due is None:
            return Bypass(NO_INPUT)
        return ApiCall(
            endpoint=endpoint,
            canonical=canonical(self.shape, body, left_out(self.shape, request.target, bookkeeping)),
            kind=PLAIN,
            model=model_in(body),
            choices=due,
            members=body if isinstance(request.target, RouteTarget) else None,
            divides=self.divides is not None and self.divides(body, due),
        )


class DocumentJudge:
    """Judges one answer that is a document, by what `look` says of it."""

    def __init__(self, look: AnswerFault, call: ApiCall, demands: Demands, work: Work = Work()) -> None:
        self.model: str | None = None
        self.usage: bytes | None = None
        self._look, self._call, self._work = look, call, work
        self._fault: str | None = "incomplete"

    def see(self, event: Event) -> None:
        """Take in an event: no answer of this kind has any."""
        self._fault = "unreadable-answer"

    def end(self) -> None:
        """Note that a stream ended, which no answer of this kind is."""

    def read(self, body: bytes) -> None:
        """Take in the document."""
        try:
            self._fault = self._take_in(raw_members(body, self._work))
        except UNREADABLE:
            self._fault = "unreadable-answer"
        except Unreadable as exc:
            self._fault = exc.detail

    def fault(self) -> str | None:
        """Return why the answer may not be kept; `None` where it may."""
        return self._fault

    def _take_in(self, members: RawMembers) -> str | None:
        if says_error(members, self._work):
            return "error-answer"
        usage = members.get("usage", NULL)
        self.usage = None if usage == NULL else bytes(usage)
        self.model = name_in(members.get("model", NULL))
        return self._look(members, self._call, self._work)


def document_beginning(said_in: Sequence[str], raw: bytes, *, is_whole: bool, work: Work = Work()) -> Beginning:
    """Return how an answer begins that is a document: it says everything, in a member of one of these names, or nothing."""
    try:
        members = raw_members(raw, work)
        if says_error(members, work):
            return Beginning(Saying.ERROR)
        is_said = any(_holds_something(members.get(name, NULL)) for name in said_in)
        return Beginning(Saying.SOMETHING if is_said else Saying.NOTHING)
    except UNREADABLE:
        return Beginning(Saying.UNREADABLE)
    except Unreadable:
        return Beginning(Saying.SOMETHING)


def _holds_something(value: msgspec.Raw) -> bool:
    """Say whether a value is there, and no list without anything in it."""
    return value != NULL and bytes(value).strip(b"[] \t\r\n") != b""


def same_kind(stored: StoredResponse, kind: Kind, work: Work = Work()) -> StoredResponse | str:
    """Return a stored document, of which there is one kind."""
    return stored if stored.kind == kind else OTHER_KIND


def says_error(members: RawMembers, work: Work) -> bool:
    """Say whether a document is an error: `{"error": …}`, Anthropic's, or the flat one of Cerebras and Cohere."""
    if (error := members.get("error", NULL)) != NULL and value_in(error, work):
        return True
    is_answer = not members.keys().isdisjoint(("data", "results", "choices", "input_tokens"))
    return not is_answer and name_in(members.get("message", NULL)) is not None
