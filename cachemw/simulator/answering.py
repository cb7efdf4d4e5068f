"""The answer, before it has any form: the same request has the same answer, always."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Literal

from msgspec import json

from cachemw.simulator.asking import Ask, AskedBody, Function
from cachemw.simulator.prose import derive, draw, fit, paragraph, pieces, salient_words

RIVALS: tuple[str, ...] = (" the", " a", " and", ",", ".", " of", " to", " in", " is", " it", " that")
RIVALS += (" was", " for", " on", " with", " as", " at", " by", " from", " or")

RUN_MARK = re.compile(r"\[tools ([^\[\]]{1,1000})\]")
"""What in a prompt says which tools a run of an agent calls: `[tools x3]`, or `[tools Read, Bash+Grep x2]`."""

TOOL_TURN = re.compile(r"x(?P<bare>[1-9]\d?)|(?!x\d+\Z)(?P<names>[\w.-]+(?:\+[\w.-]+)*)(?: +x(?P<times>[1-9]\d?))?")

ToolTurn = tuple[str, ...]
"""The names of the tools that are called side by side; empty: those that are called without a mark."""

UNMARKED_RUN: tuple[ToolTurn, ...] = ((),)


@dataclass(frozen=True, slots=True)
class LikelyPiece:
    token: str
    logprob: float

    __repr__ = object.__repr__  # it holds what somebody said

    def shown(self) -> dict[str, object]:
        return {"token": self.token, "logprob": self.logprob, "bytes": list(self.token.encode())}


@dataclass(frozen=True, slots=True)
class Score:
    """A token that was chosen, and the likeliest candidates for its place, itself the first."""

    chosen: LikelyPiece
    candidates: tuple[LikelyPiece, ...]

    __repr__ = object.__repr__  # it holds what somebody said

    def shown(self) -> dict[str, object]:
        return self.chosen.shown() | {"top_logprobs": [candidate.shown() for candidate in self.candidates]}


def score(pieces: Sequence[str], seed: bytes, top: int) -> tuple[Score, ...]:
    """Score each piece, with its `top` likeliest candidates."""
    return tuple(_score(piece, seed, f"token {position}", top) for position, piece in enumerate(pieces))


def _score(piece: str, seed: bytes, place: str, top: int) -> Score:
    chosen = LikelyPiece(piece, -draw(seed, place, 690_000) / 1_000_000)  # more than one half: no rival is likelier
    rivals = (rival for rival in RIVALS if rival != piece)
    ranked = [chosen, *(LikelyPiece(rival, -3.25 - 0.5 * rank) for rank, rival in enumerate(islice(rivals, top)))]
    return Score(chosen, tuple(ranked[:top]))


EPOCH = 1_750_000_000  # answers seem to be made in the year that follows
YEAR_SECONDS = 31_536_000
PARALLEL_CALLS = 2


@dataclass(frozen=True, slots=True)
class Said:
    """A choice made of text."""

    index: int
    pieces: tuple[str, ...]
    scores: tuple[Score, ...] | None  # None: log probabilities were not asked for
    finish_reason: Literal["stop", "length", "content_filter"]
    stop: str | None = None  # the sequence at which it stops, where there is one

    __repr__ = object.__repr__  # it holds what somebody said

    @property
    def text(self) -> str:
        return "".join(self.pieces)

    @property
    def tokens(self) -> int:
        return len(self.pieces)


@dataclass(frozen=True, slots=True)
class Call:
    """A tool call; one token is its head, the others are its arguments."""

    mark: str  # 24 hexadecimal digits, the stuff of its id
    name: str
    pieces: tuple[str, ...]

    __repr__ = object.__repr__  # it holds what somebody said

    @property
    def arguments(self) -> str:
        return "".join(self.pieces)

    @property
    def tokens(self) -> int:
        return 1 + len(self.pieces)


@dataclass(frozen=True, slots=True)
class Called:
    """A choice made of tool calls."""

    index: int
    calls: tuple[Call, ...]
    finish_reason: Literal["tool_calls"] = "tool_calls"

    __repr__ = object.__repr__  # it holds what somebody said

    @property
    def tokens(self) -> int:
        return sum(call.tokens for call in self.calls)


Choice = Said | Called


@dataclass(frozen=True, slots=True)
class SimulatedAnswer:
    """An answer: what is said, by which model, when, and at what expense."""

    digest: bytes
    created: int
    model: str
    choices: tuple[Choice, ...]
    prompt_tokens: int
    thoughts: tuple[str, ...] = ()  # shown before the first choice, by the endpoints that show any

    __repr__ = object.__repr__  # it holds what somebody said

    @property
    def completion_tokens(self) -> int:
        return len(self.thoughts) + sum(choice.tokens for choice in self.choices)

    @property
    def longest(self) -> int:
        """Tokens of the longest choice: the choices are written side by side."""
        return len(self.thoughts) + max((choice.tokens for choice in self.choices), default=0)


THOUGHT_TOKENS = 24


def thoughts(digest: bytes, limit: int | None = None) -> tuple[str, ...]:
    """Return what is thought before a request is answered, and leave a token of the limit for the answer."""
    thought = pieces(paragraph(derive(digest, "thoughts"), ()))[:THOUGHT_TOKENS]
    return thought if limit is None else thought[: limit - 1]


def answer(ask: Ask[AskedBody]) -> SimulatedAnswer:
    body = ask.body
    write = _call_tools if _due(body) else _say
    return SimulatedAnswer(
        digest=ask.digest,
        created=EPOCH + draw(ask.digest, "created", YEAR_SECONDS),
        model=body.model,
        choices=tuple(write(body, derive(ask.digest, f"choice {index}"), index) for index in range(body.n or 1)),
        prompt_tokens=sum(len(message.text.split()) for message in body.messages),
    )


def _say(body: AskedBody, seed: bytes, index: int) -> Choice:
    text, stop = _until_stop(paragraph(seed, _subject(body)), body.stop)
    whole = pieces(text)
    limits = [limit for limit in (body.max_tokens, body.max_completion_tokens) if limit is not None]
    kept = whole[: min(limits, default=len(whole))]
    scores = score(kept, seed, body.top_logprobs or 0) if body.logprobs else None
    if len(kept) < len(whole):
        return Said(index, kept, scores, "length")
    return Said(index, kept, scores, "stop", stop)


def _until_stop(text: str, stop: str | tuple[str, ...] | None) -> tuple[str, str | None]:
    stops = (stop,) if isinstance(stop, str) else stop or ()
    found = [(text.index(one), one) for one in stops if one and one in text]
    place, met = min(found, default=(len(text), None))
    return text[:place], met


def _call_tools(body: AskedBody, seed: bytes, index: int) -> Choice:
    words = _subject(body)
    return Called(index, tuple(_call(function, derive(seed, f"call {j}"), words) for j, function in enumerate(_due(body))))


def _call(function: Function, seed: bytes, words: tuple[str, ...]) -> Call:
    arguments = json.encode(fit(function.parameters or {}, seed, words)).decode()
    return Call(seed.hex()[:24], function.name, tuple(re.findall(r"\W*\w*", arguments)[:-1]))


def _due(body: AskedBody) -> list[Function]:
    """Return the functions that this turn of a run calls; none where it ends in text."""
    run, place = tool_turns(_asked_last(body)), _turns_taken(body)
    if body.tool_choice == "none" or place >= len(run):
        return []
    functions = _chosen(body)
    if names := run[place]:
        functions = [function for name in names for function in functions if function.name == name]
    else:
        functions = functions[:PARALLEL_CALLS]
    return functions[:1] if body.parallel_tool_calls is False else functions


def _turns_taken(body: AskedBody) -> int:
    """Return how often tools have answered since the user spoke; the answers to calls side by side are one."""
    roles = [message.role for message in body.messages]
    since = len(roles) - roles[::-1].index("user") if "user" in roles else 0
    return sum(
        role == "tool" and (place == since or roles[place - 1] != "tool") for place, role in enumerate(roles[since:], since)
    )


def _chosen(body: AskedBody) -> list[Function]:
    functions = [tool.function for tool in body.tools or () if tool.function is not None]
    if isinstance(body.tool_choice, str) or body.tool_choice is None or body.tool_choice.function is None:
        return functions
    name = body.tool_choice.function.name
    return [function for function in functions if function.name == name]


def _subject(body: AskedBody) -> tuple[str, ...]:
    """The words of the last user message that an answer should take up."""
    return salient_words(unmarked(_asked_last(body)))


def _asked_last(body: AskedBody) -> str:
    return next((message.text for message in reversed(body.messages) if message.role == "user"), "")


def tool_turns(prompt: str) -> tuple[ToolTurn, ...]:
    """Return the turns in which a run calls tools; a mark that cannot be read is text as any other."""
    found = RUN_MARK.search(prompt)
    steps = [TOOL_TURN.fullmatch(step.strip()) for step in found[1].split(",")] if found else []
    turns = [turn for step in steps if step for turn in _turns(step)]
    return tuple(turns) if found and all(steps) else UNMARKED_RUN


def unmarked(prompt: str) -> str:
    """Return a prompt without its mark."""
    return RUN_MARK.sub(" ", prompt)


def _turns(step: re.Match[str]) -> list[ToolTurn]:
    if step["bare"]:
        return [()] * int(step["bare"])
    return [tuple(step["names"].split("+"))] * int(step["times"] or 1)
