"""Say a list of models, or one of it, in the shape of the other dialect."""

import datetime
from typing import Any

import msgspec

from cachemw.endpoints.errors import ANTHROPIC, ErrorShape, Refusal
from cachemw.messages import Usage
from cachemw.translation.base import EventTranslator, Unsayable
from cachemw.wire.sse import Event
from cachemw.wire.strict_json import UNREADABLE

_EPOCH = "1970-01-01T00:00:00Z"
"""What Anthropic's own list says of a model of which it does not say since when there is one."""


def anthropic_models(names: list[str]) -> bytes:
    """Return a list of models as Anthropic's API gives it, all on one page."""
    return msgspec.json.encode(_anthropic_list([{"id": name} for name in names]))


class ModelsView:
    """A view of the models of an upstream: `errors` is the shape of the dialect that it is in, Anthropic's or OpenAI's."""

    def __init__(self, errors: ErrorShape) -> None:
        self._errors = errors
        self._is_anthropic = errors is ANTHROPIC

    def answer(self, body: bytes) -> bytes | Unsayable:
        """Return the list, or the one model, that an upstream gave."""
        try:
            given = msgspec.json.decode(body)
        except UNREADABLE:
            return Unsayable("it is no JSON")
        said = given.get("data") if isinstance(given, dict) else given
        if isinstance(said, list):
            models = [model for model in said if isinstance(model, dict) and isinstance(model.get("id"), str)]
            return msgspec.json.encode(_anthropic_list(models) if self._is_anthropic else _openai_list(models))
        if not (isinstance(given, dict) and isinstance(given.get("id"), str)):
            return Unsayable("it is no list of models")
        return msgspec.json.encode(_anthropic_model(given) if self._is_anthropic else _openai_model(given))

    def stream(self, known: Usage | None) -> EventTranslator:
        """Return a translator that says nothing: a list of models is no stream."""
        return _NoStream()

    def error(self, status: int, body: bytes) -> bytes:
        """Return an error in the other shape, with the words of the upstream."""
        return self._errors.body(Refusal(status, _message_in(body), code=""))


class _NoStream:
    ping = b""
    held = 0

    def __init__(self) -> None:
        self.fault: str | None = "it is no list of models"

    def feed(self, event: Event) -> bytes:
        return b""

    def end(self) -> bytes:
        return b""


def _anthropic_list(models: list[dict[str, Any]]) -> dict[str, Any]:
    rows = [_anthropic_model(model) for model in models]
    ids = [row["id"] for row in rows] or [None]
    return {"data": rows, "has_more": False, "first_id": ids[0], "last_id": ids[-1]}


def _anthropic_model(model: dict[str, Any]) -> dict[str, Any]:
    name = model.get("display_name") or model.get("name")
    shown = name if isinstance(name, str) else model["id"]
    return {"type": "model", "id": model["id"], "display_name": shown, "created_at": _time_of(model)}


def _time_of(model: dict[str, Any]) -> str:
    said = model.get("created")
    if not isinstance(said, int | float) or not 0 < said < 4e9:
        return _EPOCH
    return datetime.datetime.fromtimestamp(said, datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _openai_list(models: list[dict[str, Any]]) -> dict[str, Any]:
    return {"object": "list", "data": [_openai_model(model) for model in models]}


def _openai_model(model: dict[str, Any]) -> dict[str, Any]:
    return {"id": model["id"], "object": "model", "created": _seconds_in(model), "owned_by": "anthropic"}


def _seconds_in(model: dict[str, Any]) -> int:
    try:
        return int(datetime.datetime.fromisoformat(str(model.get("created_at"))).timestamp())
    except (ValueError, OverflowError):
        return 0


def _message_in(body: bytes) -> str:
    try:
        said = msgspec.json.decode(body)
    except UNREADABLE:
        said = None
    error = said.get("error", said) if isinstance(said, dict) else None
    message = error.get("message") if isinstance(error, dict) else None
    return message if isinstance(message, str) else "the upstream gave no list of models"
