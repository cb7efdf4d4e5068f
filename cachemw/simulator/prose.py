"""Text worth caching: a paragraph of 30 to 60 words, and the pieces it is streamed in."""

import re
from collections.abc import Mapping, Sequence
from hashlib import blake2b
from typing import TypeVar, cast

T = TypeVar("T")


def derive(seed: bytes, label: str) -> bytes:
    """Return 32 bytes that are a seed of their own."""
    return blake2b(label.encode(), key=seed, digest_size=32).digest()


def draw(seed: bytes, label: str, below: int) -> int:
    """Return a whole number from 0 up to, not including, `below`."""
    return int.from_bytes(derive(seed, label)[:8]) % below


def pick(options: Sequence[T], seed: bytes, label: str) -> T:
    return options[draw(seed, label, len(options))]


def shuffle(options: Sequence[str], seed: bytes) -> list[str]:
    return sorted(options, key=lambda option: derive(seed, option))


PIECE = re.compile(r"\s*(?:\w+|[^\w\s]+)|\s+$")
SALIENT = re.compile(r"[^\W_]{4,24}")
SALIENT_LIMIT = 3
SEARCHED_CHARACTERS = 4_000  # a long prompt is not read to its end to find three words in it

OPENINGS = ("You asked about", "A word on", "Let us take", "This concerns", "First of all,")
SENTENCES = (
    "The short answer depends on what you measure first.",
    "In practice, a small experiment settles most of the argument.",
    "Start with the simplest case and write down what you expect.",
    "Two effects pull in opposite directions, and the second usually wins.",
    "The numbers change from day to day, yet the shape stays the same.",
    "Most people notice the cost long before they notice the cause.",
    "A café with one table teaches the same lesson about queues.",
    "When in doubt, keep the older version until the new one is proven.",
    "It helps to name the parts before moving any of them.",
    "There is a limit, and it arrives sooner than the manual says.",
    "Nothing here is exotic: three rules cover nearly every situation.",
    "Ask again with other words and the outline will still hold.",
    "The exceptions are rare, but each deserves a line of its own.",
    "What remains is patience, which no amount of tooling replaces.",
)


def paragraph(seed: bytes, about: Sequence[str]) -> str:
    """Return a paragraph that mentions the words it is about and differs, in practice, for every seed."""
    sentences = shuffle(SENTENCES, seed)[:4]
    return " ".join((_opening(seed, about), *sentences, f"Reference {draw(seed, 'reference', 10**6):06d}."))


def salient_words(text: str) -> tuple[str, ...]:
    """Return the longest few words of a text, each once."""
    words = dict.fromkeys(SALIENT.findall(text[:SEARCHED_CHARACTERS]))
    return tuple(sorted(words, key=len, reverse=True)[:SALIENT_LIMIT])


def pieces(text: str) -> tuple[str, ...]:
    """Cut a text into its tokens, which joined give the text again."""
    return tuple(PIECE.findall(text))


def _opening(seed: bytes, about: Sequence[str]) -> str:
    if not about:
        return "That is a brief question."
    return f"{pick(OPENINGS, seed, 'opening')} {' and '.join(about)}."


SCHEMA_DEPTH = 6  # schemas may refer to themselves
FORMATS = {
    "date": "2025-03-14",
    "date-time": "2025-03-14T09:26:53Z",
    "time": "09:26:53Z",
    "email": "someone@example.com",
    "uri": "https://example.com/",
    "uuid": "6f1c7a52-3c1e-4b6a-9d59-2f0f5a1f7e11",
}

Schema = Mapping[str, object]


def fit(schema: Schema, seed: bytes, words: Sequence[str]) -> dict[str, object]:
    """Return the arguments object for a function's `parameters`; its strings are taken from `words`."""
    return _Fitting(schema, seed, words or ("something",)).members(schema, "$", 0)


class _Fitting:
    def __init__(self, root: Schema, seed: bytes, words: Sequence[str]) -> None:
        self._root, self._seed, self._words = root, seed, words

    def members(self, schema: Schema, path: str, depth: int) -> dict[str, object]:
        properties = _mapping(schema.get("properties")) if depth < SCHEMA_DEPTH else {}
        return {name: self._value(_mapping(inner), f"{path}.{name}", depth + 1) for name, inner in properties.items()}

    def _value(self, schema: Schema, path: str, depth: int) -> object:
        schema = self._resolve(schema)
        if "const" in schema:
            return schema["const"]
        if options := _sequence(schema.get("enum")):
            return pick(options, self._seed, path)
        match _kind(schema):
            case "object":
                return self.members(schema, path, depth)
            case "array":
                return self._items(schema, path, depth)
            case "integer" | "number":
                return self._number(schema, path)
            case "boolean":
                return draw(self._seed, path, 2) == 1
            case "null":
                return None
            case _:
                return self._text(schema, path)

    def _resolve(self, schema: Schema) -> Schema:
        for _ in range(SCHEMA_DEPTH):
            branches = [
                *_sequence(schema.get("anyOf")),
                *_sequence(schema.get("oneOf")),
                *_sequence(schema.get("allOf")),
            ]
            if isinstance(reference := schema.get("$ref"), str):
                schema = self._definition(reference)
            elif branches:
                schema = _mapping(branches[0])
        return schema

    def _definition(self, reference: str) -> Schema:
        found: Schema = self._root
        for name in reference.removeprefix("#").strip("/").split("/"):
            found = _mapping(found.get(name)) if name else found
        return found

    def _items(self, schema: Schema, path: str, depth: int) -> list[object]:
        if depth >= SCHEMA_DEPTH:
            return []
        count = min(max(1, _whole(schema.get("minItems"), 1)), SCHEMA_DEPTH)
        return [self._value(_mapping(schema.get("items")), f"{path}[{i}]", depth + 1) for i in range(count)]

    def _number(self, schema: Schema, path: str) -> int:
        lowest = _whole(schema.get("minimum"), 0)
        highest = max(lowest, _whole(schema.get("maximum"), lowest + 99))
        return lowest + draw(self._seed, path, highest - lowest + 1)

    def _text(self, schema: Schema, path: str) -> str:
        text = FORMATS.get(str(schema.get("format"))) or pick(self._words, self._seed, path)
        return text[: _whole(schema.get("maxLength"), len(text))]


def _kind(schema: Schema) -> object:
    kind = schema.get("type", "object" if "properties" in schema else "string")
    return next((one for one in kind if one != "null"), "null") if isinstance(kind, list) else kind


def _mapping(value: object) -> Schema:
    return cast(Schema, value) if isinstance(value, dict) else {}


def _sequence(value: object) -> Sequence[object]:
    return value if isinstance(value, list) else ()


def _whole(value: object, otherwise: int) -> int:
    return int(value) if isinstance(value, int | float) else otherwise
