"""Completions, as they were before chat: n answers to each prompt, sixteen tokens if nobody asks for more."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import zip_longest
from typing import Annotated, ClassVar

from msgspec import Meta

from cachemw.simulator.answering import Said, SimulatedAnswer, answer
from cachemw.simulator.asking import Ask, AskedBody, Message, Positive, SimulatedBody, StreamOptions
from cachemw.simulator.dialects.base import Dialect
from cachemw.simulator.dialects.openai import token_counts
from cachemw.simulator.endpoints.base import HollowReason
from cachemw.simulator.endpoints.chat import hollowed
from cachemw.simulator.endpoints.small import SimulatedInput, inputs_of, tokens_in
from cachemw.simulator.events import DONE_EVENT, event
from cachemw.simulator.failures import ErrorWithin
from cachemw.simulator.prose import derive
from cachemw.simulator.script import Json, ScriptEvent

TOKENS = 16


class CompletionsBody(SimulatedBody, frozen=True):
    prompt: SimulatedInput
    n: Annotated[int, Meta(ge=1, le=128)] | None = None
    max_tokens: Positive | None = None
    stop: str | tuple[str, ...] | None = None
    echo: bool | None = None
    logprobs: Annotated[int, Meta(ge=0, le=5)] | None = None
    stream_options: StreamOptions | None = None

    __repr__ = object.__repr__  # it holds what somebody said

    def __post_init__(self) -> None:
        inputs_of(self.prompt)

    def chat(self, prompt: str) -> AskedBody:
        """Return the request, with one of its prompts, as one for chat."""
        return AskedBody(
            (Message("user", prompt),),
            model=self.model,
            n=self.n,
            stop=self.stop,
            max_tokens=self.max_tokens or TOKENS,
            logprobs=self.logprobs is not None,
            top_logprobs=self.logprobs,
        )

    @property
    def prompts(self) -> list[str]:
        return [one if isinstance(one, str) else "".join(f" {token}" for token in one) for one in inputs_of(self.prompt)]


@dataclass(frozen=True, slots=True)
class SpokenCompletion:
    """An answer as a completion; the choices of each prompt follow one another."""

    said: SimulatedAnswer
    echoes: tuple[str, ...]  # what stands before each choice
    include_usage: bool = False

    __repr__ = object.__repr__  # it holds what somebody said

    @property
    def tokens(self) -> int:
        return self.said.longest

    def whole(self) -> Json:
        choices = [
            _entry(choice, echo + choice.text, choice.finish_reason, _scores(choice, 0, choice.tokens, len(echo)))
            for choice, echo in self._spoken()
        ]
        return self._envelope(choices) | {"usage": token_counts(self.said)}

    def events(self) -> tuple[ScriptEvent, ...]:
        usage = {"usage": None} if self.include_usage else {}
        chunks = [ScriptEvent(token, event(self._envelope([entry]) | usage)) for token, entry in self._entries()]
        last = max(0, self.tokens - 1)
        if self.include_usage:
            chunks.append(ScriptEvent(last, event(self._envelope([]) | {"usage": token_counts(self.said)})))
        return (*chunks, ScriptEvent(last, DONE_EVENT))

    def failure(self, error: ErrorWithin, place: int) -> bytes:
        return event(error.event, error.name)

    def _spoken(self) -> list[tuple[Said, str]]:
        said = [choice for choice in self.said.choices if isinstance(choice, Said)]
        return list(zip(said, self.echoes, strict=False))

    def _entries(self) -> Iterator[tuple[int, Json]]:
        """Yield a chunk for each token, its own finish reason on the last of each choice."""
        for token, row in enumerate(zip_longest(*(_slices(choice, echo) for choice, echo in self._spoken()))):
            yield from ((token, entry) for entry in row if entry is not None)

    def _envelope(self, choices: list[Json]) -> Json:
        return {
            "id": f"cmpl-{self.said.digest.hex()[:29]}",
            "object": "text_completion",
            "created": self.said.created,
            "model": self.said.model,
            "choices": choices,
        }


def _slices(choice: Said, echo: str) -> Iterator[Json]:
    if not choice.pieces:
        yield _entry(choice, echo, choice.finish_reason, None)
    written = len(echo)
    for place, piece in enumerate(choice.pieces):
        text = echo + piece if place == 0 else piece
        reason = choice.finish_reason if place == choice.tokens - 1 else None
        yield _entry(choice, text, reason, _scores(choice, place, place + 1, written))
        written += len(piece)


def _entry(choice: Said, text: str, finish_reason: str | None, logprobs: Json | None) -> Json:
    return {"text": text, "index": choice.index, "logprobs": logprobs, "finish_reason": finish_reason}


def _scores(choice: Said, start: int, end: int, offset: int) -> Json | None:
    """Return the log probabilities of some tokens; those of an echo are not told."""
    if choice.scores is None:
        return None
    scores, offsets = choice.scores[start:end], []
    for score in scores:
        offsets.append(offset)
        offset += len(score.chosen.token)
    return {
        "tokens": [score.chosen.token for score in scores],
        "token_logprobs": [score.chosen.logprob for score in scores],
        "top_logprobs": [{rival.token: rival.logprob for rival in score.candidates} for score in scores],
        "text_offset": offsets,
    }


class CompletionsEndpoint:
    name: ClassVar[str] = "completions"
    path: ClassVar[str] = "/completions"
    home: ClassVar[str] = "openai"
    streams: ClassVar[bool] = True

    @property
    def asked(self) -> type[CompletionsBody]:
        return CompletionsBody

    def prompt(self, body: CompletionsBody) -> AskedBody:
        return body.chat(body.prompts[0])

    def sound(self, ask: Ask[CompletionsBody], dialect: Dialect) -> SpokenCompletion:
        return _spoken(ask, _answer(ask))

    def hollow(self, ask: Ask[CompletionsBody], dialect: Dialect, reason: HollowReason) -> SpokenCompletion:
        return _spoken(ask, hollowed(_answer(ask), reason))


def _spoken(ask: Ask[CompletionsBody], said: SimulatedAnswer) -> SpokenCompletion:
    body = ask.body
    echoes = [prompt if body.echo else "" for prompt in body.prompts for _ in range(body.n or 1)]
    return SpokenCompletion(said, tuple(echoes), bool(body.stream_options and body.stream_options.include_usage))


def _answer(ask: Ask[CompletionsBody]) -> SimulatedAnswer:
    """Answer each prompt as a request of its own, and count the choices through."""
    body = ask.body
    answers = [
        answer(Ask(body.chat(prompt), derive(ask.digest, f"prompt {place}"))) for place, prompt in enumerate(body.prompts)
    ]
    choices = [choice for one in answers for choice in one.choices]
    return replace(
        answers[0],
        digest=ask.digest,
        choices=tuple(replace(choice, index=index) for index, choice in enumerate(choices)),
        prompt_tokens=sum(tokens_in(one) for one in inputs_of(body.prompt)),
    )
