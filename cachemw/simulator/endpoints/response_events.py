"""A response object, its items, and the numbered events of its stream."""

from collections.abc import Iterator
from dataclasses import dataclass

from cachemw.simulator.answering import Call, Called, Said, SimulatedAnswer
from cachemw.simulator.events import event
from cachemw.simulator.failures import ErrorWithin
from cachemw.simulator.prose import derive
from cachemw.simulator.script import Json, ScriptEvent

NumberedEvent = tuple[int, str, Json]
"""The token that an event waits for, its type without `response.`, and its members."""

RESPONSE_SECONDS = 2  # that every response seems to take


@dataclass(frozen=True, slots=True)
class ResponseItem:
    """An item as it begins, as it ends, and what is told between, tokens counted from its own first."""

    begun: Json
    done: Json
    told: tuple[NumberedEvent, ...]
    tokens: int

    __repr__ = object.__repr__  # it holds what somebody said


@dataclass(frozen=True, slots=True)
class SpokenResponse:
    """An answer as a response."""

    said: SimulatedAnswer
    echo: Json
    is_summarised: bool = False
    is_encrypted: bool = False

    __repr__ = object.__repr__  # it holds what somebody said

    @property
    def tokens(self) -> int:
        return self.said.longest

    def whole(self) -> Json:
        return self._response(self._status, [item.done for item in self._items()])

    def events(self) -> tuple[ScriptEvent, ...]:
        begun: Json = {"response": self._response("in_progress", [])}
        last = max(0, self.tokens - 1)
        told: tuple[NumberedEvent, ...] = (
            (0, "created", begun),
            (0, "in_progress", begun),
            *self._item_events(),
            (last, self._status, {"response": self.whole()}),
        )
        return tuple(ScriptEvent(token, _numbered(kind, place, members)) for place, (token, kind, members) in enumerate(told))

    def failure(self, error: ErrorWithin, place: int) -> bytes:
        """Say it twice, as OpenAI does: as an error, and as a response that failed."""
        told: Json = {"type": "error", "sequence_number": place, **error.event}
        said = error.event.get("error")
        members = said if isinstance(said, dict) else error.event
        response = self._response("failed", []) | {
            "error": {"code": members.get("code") or "server_error", "message": members.get("message")}
        }
        return event(told, "error") + _numbered("failed", place + 1, {"response": response})

    @property
    def _status(self) -> str:
        return "completed" if self._cut_by is None else "incomplete"

    @property
    def _cut_by(self) -> str | None:
        reasons = {"length": "max_output_tokens", "content_filter": "content_filter"}
        return next((reasons[one.finish_reason] for one in self.said.choices if one.finish_reason in reasons), None)

    def _response(self, status: str, output: list[Json]) -> Json:
        is_over = status in ("completed", "incomplete")
        return {
            "id": self._id("resp"),
            "object": "response",
            "created_at": self.said.created,
            "status": status,
            "background": False,
            "completed_at": self.said.created + RESPONSE_SECONDS if status == "completed" else None,
            "error": None,
            "incomplete_details": {"reason": self._cut_by} if status == "incomplete" else None,
            "model": self.said.model,
            "output": output,
            **self.echo,
            "usage": self._usage() if is_over else None,
        }

    def _usage(self) -> Json:
        written = self.said.completion_tokens
        return {
            "input_tokens": self.said.prompt_tokens,
            "input_tokens_details": {"cached_tokens": 0},
            "output_tokens": written,
            "output_tokens_details": {"reasoning_tokens": len(self.said.thoughts)},
            "total_tokens": self.said.prompt_tokens + written,
        }

    def _id(self, kind: str, place: int = 0) -> str:
        return f"{kind}_{derive(self.said.digest, f'{kind} {place}').hex()[:50]}"

    def _items(self) -> Iterator[ResponseItem]:
        if self.said.thoughts:
            yield self._reasoning()
        for choice in self.said.choices[:1]:
            if isinstance(choice, Called):
                yield from (_function_call(call, self._id("fc", place)) for place, call in enumerate(choice.calls))
            else:
                yield _message(choice, self._id("msg"), self._status)

    def _item_events(self) -> Iterator[NumberedEvent]:
        first = 0
        for index, item in enumerate(self._items()):
            where: Json = {"item_id": item.done["id"], "output_index": index}
            yield first, "output_item.added", {"output_index": index, "item": item.begun}
            for token, kind, members in item.told:
                yield first + token, kind, where | members
            yield first + max(0, item.tokens - 1), "output_item.done", {"output_index": index, "item": item.done}
            first += item.tokens

    def _reasoning(self) -> ResponseItem:
        pieces = self.said.thoughts
        sealed: Json = {"encrypted_content": derive(self.said.digest, "sealed").hex()} if self.is_encrypted else {}
        begun: Json = {"id": self._id("rs"), "type": "reasoning", **sealed, "summary": []}
        if not self.is_summarised:
            return ResponseItem(begun, begun, (), len(pieces))
        part: Json = {"type": "summary_text", "text": "".join(pieces)}
        at: Json = {"summary_index": 0}
        last = len(pieces) - 1
        told: tuple[NumberedEvent, ...] = (
            (0, "reasoning_summary_part.added", at | {"part": part | {"text": ""}}),
            *((place, "reasoning_summary_text.delta", at | {"delta": piece}) for place, piece in enumerate(pieces)),
            (last, "reasoning_summary_text.done", at | {"text": part["text"]}),
            (last, "reasoning_summary_part.done", at | {"part": part}),
        )
        return ResponseItem(begun, begun | {"summary": [part]}, told, len(pieces))


def _numbered(kind: str, place: int, members: Json) -> bytes:
    name = f"response.{kind}"
    return event({"type": name, "sequence_number": place, **members}, name)


def _message(choice: Said, name: str, status: str) -> ResponseItem:
    base: Json = {"id": name, "type": "message", "status": status, "role": "assistant"}
    part: Json = {"type": "output_text", "annotations": [], "logprobs": [], "text": choice.text}
    at: Json = {"content_index": 0}
    last = max(0, choice.tokens - 1)
    told: tuple[NumberedEvent, ...] = (
        (0, "content_part.added", at | {"part": part | {"text": ""}}),
        *((place, "output_text.delta", at | {"delta": piece, "logprobs": []}) for place, piece in enumerate(choice.pieces)),
        (last, "output_text.done", at | {"text": choice.text, "logprobs": []}),
        (last, "content_part.done", at | {"part": part}),
    )
    return ResponseItem(base | {"status": "in_progress", "content": []}, base | {"content": [part]}, told, choice.tokens)


def _function_call(call: Call, name: str) -> ResponseItem:
    done: Json = {"id": name, "type": "function_call", "status": "completed", "arguments": call.arguments}
    done |= {"call_id": f"call_{call.mark}", "name": call.name}
    deltas: list[Json] = [{"delta": piece} for piece in call.pieces]
    told: tuple[NumberedEvent, ...] = (
        *((token, "function_call_arguments.delta", delta) for token, delta in enumerate(deltas, 1)),
        (call.tokens - 1, "function_call_arguments.done", {"arguments": call.arguments}),
    )
    return ResponseItem(done | {"status": "in_progress", "arguments": ""}, done, told, call.tokens)
