"""The needs of a request, and what each provider refuses of them or silently ignores: a target that lacks one is not asked.

What is silently ignored would be an answer to another request. What is refused costs a round trip, and the next one is asked.
So of the first the table has what is known, of the second what is sure; the rest shows when it fails. An operator who does
not mind drops the member, or sets it.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec
import xxhash

from cachemw.gateway.routes import TargetEntry
from cachemw.gateway.usage import BYTES_A_TOKEN
from cachemw.redaction import redacted_repr

CONTEXT = "context"
"""The name of the lack of room."""

_ATTACHED = {"input_audio": "data", "file": "file_data", "file_data": ""}
_NEUTRAL: Mapping[str, Any] = {
    **dict.fromkeys(("n", "temperature", "top_p"), 1),
    **dict.fromkeys(("presence_penalty", "frequency_penalty"), 0),
    "response_format": {"type": "text"},
    "modalities": ["text"],
}
"""The values that ask for nothing else than their member's absence does; so do nothing, `false`, and what is empty."""


class Needs(msgspec.Struct, frozen=True):
    """The needs of a request, as its body says them.

    `present` are the members that are there, `meant` those that ask for something; of messages and tools, a few by their paths.
    `text_bytes` are those of messages, tools and schemas; `attached_bytes` those of sounds and files in them; `images` and
    `choices` are numbers. `max_tokens` is the limit that the caller sets itself. `conversation` is the same for every request
    of one conversation. `room` is how many tokens input and output probably have together.
    """

    present: frozenset[str] = frozenset()
    meant: frozenset[str] = frozenset()
    text_bytes: int = 0
    attached_bytes: int = 0
    images: int = 0
    choices: int = 1
    max_tokens: int | None = None
    conversation: bytes = b""
    room: int = 0

    __repr__ = redacted_repr

    @property
    def input_tokens(self) -> int:
        """Return how many tokens the input probably has."""
        return _tokens(self.text_bytes)

    @property
    def most_input_tokens(self) -> int:
        """Return how many tokens the input has at most, images aside: a token is a byte or more."""
        return self.text_bytes + self.attached_bytes


NO_NEEDS = Needs()


class Lacks(msgspec.Struct, frozen=True):
    """What a target refuses wherever it stands, and what it does without where it means something; and how much room it has."""

    refuses: frozenset[str] = frozenset()
    ignores: frozenset[str] = frozenset()
    context: int | None = None

    __repr__ = redacted_repr


def needs_of(body: Mapping[str, Any]) -> Needs:
    """Return what a request needs, whatever its body is: what cannot be read needs nothing."""
    messages = _dicts_in(body.get("messages"))
    inside = {_IN_MESSAGES[name] for message in messages for name in _IN_MESSAGES if message.get(name) is not None}
    attached, images = _looked_through([*messages, *_dicts_in(body.get("input"))])
    most = max(filter(None, [_count(body.get(name)) for name in _LIMITS]), default=None)  # whichever of them a target obeys
    text = sum(len(msgspec.json.encode(body[name])) for name in _WITH_TEXT if body.get(name)) - attached - images[1]
    present = {name for name, value in body.items() if value is not None}
    inside |= _strict_in(body)
    return Needs(
        present=frozenset(present | inside),
        meant=frozenset({name for name in present if _is_meant(name, body[name])} | inside | _hot(body)),
        text_bytes=text,
        attached_bytes=attached,
        images=images[0],
        choices=max(_count(body.get("n")) or 1, _count(body.get("best_of")) or 1) * _prompts(body.get("prompt")),
        max_tokens=most,
        conversation=_conversation(messages),
        room=_tokens(text) + (most or 0),
    )


def lacks_of(known: str | None, target: TargetEntry) -> Lacks:
    """Return what a target lacks: as the provider of this name does, but for what the operator drops or sets himself."""
    row = _ROWS.get(known or "", _NOTHING)
    of_model = [names for pattern, names in row.of_models if pattern.search(target.model)]
    settled = target.rewrite.drop | {name for name, _ in target.rewrite.set}
    refuses = row.refuses.union(*of_model)
    unsettled = [frozenset(name for name in names if _root(name) not in settled) for names in (refuses, row.ignores)]
    return Lacks(unsettled[0], unsettled[1], target.context)


def can_take(needs: Needs, lacks: Lacks) -> bool:
    """Say whether a target takes a request as it is."""
    has_room = lacks.context is None or needs.room <= lacks.context
    return has_room and needs.present.isdisjoint(lacks.refuses) and needs.meant.isdisjoint(lacks.ignores)


def lack_of(needs: Needs, lacks: Lacks) -> frozenset[str]:
    """Return the members of a request that a target does not take, and `CONTEXT` where it has no room for it."""
    missing = (needs.present & lacks.refuses) | (needs.meant & lacks.ignores)
    return missing if lacks.context is None or needs.room <= lacks.context else missing | {CONTEXT}


def hides_reasoning(known: str | None, model: str) -> bool:
    """Say whether a model of the provider of this name reasons before it streams anything: its silence says nothing (E9)."""
    hidden = _ROWS.get(known or "", _NOTHING).hidden
    return hidden is not None and hidden.match(model) is not None


def param_of(lack: str) -> str:
    """Return the member that a lack is about, as errors name it."""
    return "messages" if lack == CONTEXT else lack.partition(">")[0]


def _tokens(text_bytes: int) -> int:
    return -(-text_bytes // BYTES_A_TOKEN)


def _root(name: str) -> str:
    return name.partition(">")[0]


def _dicts_in(value: object) -> list[dict[str, Any]]:
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []


def _looked_through(messages: list[dict[str, Any]]) -> tuple[int, tuple[int, int]]:
    """Return the bytes of attachments, and the number and the bytes of images, in whichever dialect they are said."""
    attached = images = image_bytes = 0
    for part in _parts_in(messages):
        if "image_url" in part:
            images += 1
            image_bytes += len(_text(part["image_url"], "url"))
        elif part.get("type") == "image":
            images += 1
            image_bytes += len(_encoded(part))
        elif part.get("type") == "document":
            attached += len(_encoded(part))
        for name in _ATTACHED.keys() & part.keys():
            attached += len(_text(part[name], _ATTACHED[name]))
    return attached, (images, image_bytes)


def _parts_in(messages: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Return the parts of messages, those of results of tools among them."""
    for message in messages:
        for part in (*_dicts_in(message.get("content")), *_dicts_in(message.get("output"))):
            yield part
            yield from _dicts_in(part.get("content"))


def _prompts(prompt: object) -> int:
    """Return how many texts a legacy completion is to go on with: a list of numbers is one, as tokens."""
    is_many = isinstance(prompt, list) and prompt and not isinstance(prompt[0], int)
    return len(prompt) if is_many and isinstance(prompt, list) else 1


def _text(value: object, name: str) -> str:
    """Return a text, or the one that an object holds by this name."""
    inner = value.get(name) if isinstance(value, dict) else value
    return inner if isinstance(inner, str) else ""


def _encoded(part: dict[str, Any]) -> str:
    """Return what a block of Anthropic's holds that is no text: a picture, or a file."""
    source = part.get("source")
    return _text(source, "data") if isinstance(source, dict) and source.get("type") == "base64" else ""


def _strict_in(body: Mapping[str, Any]) -> set[str]:
    """Return the path of `strict`, where a tool is to be called as its schema says."""
    tools = body.get("tools")
    functions = [tool.get("function") for tool in tools if isinstance(tool, dict)] if isinstance(tools, list) else []
    is_strict = any(isinstance(function, dict) and function.get("strict") is True for function in functions)
    return {_STRICT} if is_strict else set()


def _hot(body: Mapping[str, Any]) -> set[str]:
    temperature = body.get("temperature")
    return {_HOT} if isinstance(temperature, (int, float)) and temperature > 1 else set()


def _is_meant(name: str, value: object) -> bool:
    return value is not False and value not in ("", [], {}) and value != _NEUTRAL.get(name)


def _count(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None


def _conversation(messages: list[dict[str, Any]]) -> bytes:
    """Return a digest of how a conversation begins: up to what its user says first, which later turns repeat."""
    first = next((place for place, message in enumerate(messages) if message.get("role") == "user"), len(messages) - 1)
    return xxhash.xxh3_128_digest(msgspec.json.encode(messages[: first + 1]))


_LIMITS = ("max_completion_tokens", "max_tokens", "max_output_tokens")
_WITH_TEXT = (
    *("messages", "tools", "functions", "response_format", "prediction"),
    *("system", "prompt", "suffix", "input", "instructions", "query", "documents"),  # of other endpoints
)
_IN_MESSAGES = {"name": "messages[].name", "reasoning_content": "messages[].reasoning_content"}
_STRICT = "tools[].function.strict"
_HOT = "temperature>1"


class _Row(msgspec.Struct, frozen=True):
    """What a provider refuses wherever it stands, what it silently ignores or refuses only where it means something, and what
    models whose names have a pattern refuse besides. `hidden` are those models whose reasoning nobody sees in a stream.
    """

    refuses: frozenset[str] = frozenset()
    ignores: frozenset[str] = frozenset()
    of_models: tuple[tuple[re.Pattern[str], frozenset[str]], ...] = ()
    hidden: re.Pattern[str] | None = None

    __repr__ = redacted_repr


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


_NOTHING = _Row()
_ROWS: Mapping[str, _Row] = {
    "cerebras": _Row(_names("store messages[].reasoning_content")),
    "openai": _Row(
        of_models=((re.compile(r"^(?:o[0-9]|gpt-5)(?!.*chat)"), _names("max_tokens")),),
        hidden=re.compile(r"o[1-9]|gpt-5"),
    ),
    "groq": _Row(_names("messages[].name"), _names("logprobs top_logprobs logit_bias n")),
    "gemini": _Row(_names("frequency_penalty"), hidden=re.compile(r"gemini-(?:2\.5|[3-9])")),
    "mistral": _Row(_names("store max_completion_tokens seed logit_bias logprobs top_logprobs functions function_call")),
    "xai": _Row(
        _names("presence_penalty frequency_penalty"),
        of_models=(
            (re.compile(r"^grok-(?:3-mini|4|code)(?!.*non-reasoning)"), _names("stop")),
            (
                re.compile(r"^grok-(?:3(?!-mini)|4(?:-0709|-latest|-1?-?fast.*|\.20-[0-9]{4}.*)?$|code)"),
                _names("reasoning_effort"),
            ),
        ),
        hidden=re.compile("grok-4"),
    ),
    "anthropic": _Row(
        ignores=_names(
            f"response_format {_STRICT} logprobs top_logprobs seed presence_penalty frequency_penalty reasoning_effort"
            f" logit_bias n audio modalities {_HOT}"
        ),
    ),
}
"""By provider; of those that are not here nothing is known. Where `temperature` above 1 is cut to 1, that is silent, too."""
