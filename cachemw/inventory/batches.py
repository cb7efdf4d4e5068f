"""Batches, as OpenAI's API has them: lines of requests, and lines of answers. Pure."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import msgspec
from msgspec.structs import replace

from cachemw.endpoints import endpoint_of
from cachemw.endpoints.base import Endpoint
from cachemw.endpoints.sent import sent_body
from cachemw.redaction import redacted_repr
from cachemw.routing import Rewrite
from cachemw.wire.strict_json import UNREADABLE

LONGEST_LINE = 64 * 2**20
"""The bytes of the longest line that is read."""

_BY_MEMBER = {"messages": "/v1/chat/completions", "prompt": "/v1/completions"}
"""Where a body is meant to go that says no URL, by a member that no other endpoint's has."""


class BatchRequest(msgspec.Struct, frozen=True):
    """A request of a batch; `id` is its `custom_id`, or the number of its line where it has none."""

    id: str
    endpoint: Endpoint
    path: str
    body: bytes

    __repr__ = redacted_repr

    def for_model(self, model: str) -> "BatchRequest":
        """Return the same request of another model."""
        return replace(self, body=sent_body(self.body, Rewrite(model)))


class BatchAnswer(msgspec.Struct, frozen=True):
    """An answer of a batch: its status, `None` where there was none, and its body."""

    id: str
    status: int | None
    body: bytes

    __repr__ = redacted_repr


class FaultyLine(msgspec.Struct, frozen=True):
    """A line of which nothing can be made, and why."""

    number: int
    why: str

    __repr__ = redacted_repr


class _RequestLine(msgspec.Struct):
    custom_id: str | None = None
    method: str = "POST"
    url: str | None = None
    body: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET

    __repr__ = redacted_repr


class _AnswerResponse(msgspec.Struct):
    status_code: int
    body: msgspec.Raw = msgspec.Raw(b"null")

    __repr__ = redacted_repr


class _AnswerLine(msgspec.Struct):
    custom_id: str
    response: _AnswerResponse | None = None

    __repr__ = redacted_repr


_requests = msgspec.json.Decoder(_RequestLine)
_answers = msgspec.json.Decoder(_AnswerLine)


def requests_in(lines: Iterable[bytes]) -> Iterator[BatchRequest | FaultyLine]:
    """Return the requests of a batch's input, or of a file that has nothing but bodies, and what is wrong with its lines."""
    seen: dict[str, int] = {}
    for number, line in _numbered(lines):
        read = _request_in(number, line)
        if isinstance(read, BatchRequest) and (before := seen.setdefault(read.id, number)) != number:
            read = FaultyLine(number, f"its custom_id is that of line {before}")
        yield read


def answers_in(lines: Iterable[bytes]) -> Iterator[BatchAnswer | FaultyLine]:
    """Return the answers of a batch's output, and what is wrong with its lines."""
    seen: dict[str, int] = {}
    for number, line in _numbered(lines):
        try:
            read = _answers.decode(line)
        except UNREADABLE:
            yield FaultyLine(number, "it is no line of a batch's output")
            continue
        if (before := seen.setdefault(read.custom_id, number)) != number:
            yield FaultyLine(number, f"its custom_id is that of line {before}")
        elif read.response is None:
            yield BatchAnswer(read.custom_id, None, b"")
        else:
            yield BatchAnswer(read.custom_id, read.response.status_code, bytes(read.response.body))


def model_in(body: bytes) -> str | None:
    """Return the model that the body of a request asks for; `None` where it names none."""
    try:
        model = msgspec.json.decode(body, type=dict[str, msgspec.Raw]).get("model")
        return None if model is None else msgspec.json.decode(model, type=str)
    except UNREADABLE:
        return None


def answer_line(custom_id: str, request_id: str, status: int, body: bytes) -> bytes:
    """Return a line of a batch's output."""
    said = {"status_code": status, "request_id": request_id, "body": msgspec.Raw(_json_in(body))}
    return msgspec.json.encode({"id": request_id, "custom_id": custom_id, "response": said, "error": None}) + b"\n"


def failure_line(custom_id: str, request_id: str, why: str) -> bytes:
    """Return a line of a batch's output for a request that got no answer."""
    error = {"code": "no_answer", "message": why}
    return msgspec.json.encode({"id": request_id, "custom_id": custom_id, "response": None, "error": error}) + b"\n"


def _json_in(body: bytes) -> bytes:
    """Return a body as it stands within a line: JSON in one line, or as a text what is none."""
    try:
        return msgspec.json.format(body, indent=-1)
    except UNREADABLE:
        return msgspec.json.encode(body.decode(errors="replace"))


def _numbered(lines: Iterable[bytes]) -> Iterator[tuple[int, bytes]]:
    return ((number, line) for number, line in enumerate(lines, 1) if line.strip())


def _request_in(number: int, line: bytes) -> BatchRequest | FaultyLine:
    try:
        read = _requests.decode(line)
        body = line.strip() if read.body is msgspec.UNSET else bytes(read.body)
        members: Mapping[str, Any] = msgspec.json.decode(body, type=dict[str, msgspec.Raw])
    except UNREADABLE:
        return FaultyLine(number, "it is no line of a batch's input, nor the body of a request")
    path = read.url or next((path for name, path in _BY_MEMBER.items() if name in members), None)
    if path is None:
        return FaultyLine(number, "it has no url, and its body could be meant for several endpoints")
    endpoint = endpoint_of(read.method, path, ("/chat/completions",))
    if endpoint is None:
        return FaultyLine(number, f"its url is that of no endpoint whose answers are cached: {read.method} {path}"[:200])
    return BatchRequest(read.custom_id or f"line-{number}", endpoint, path, body)
