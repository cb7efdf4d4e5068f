"""Arguments for a tool: a value that roughly fits a JSON schema."""

from collections.abc import Mapping, Sequence
from typing import cast

from cachemw.simulator.dice import draw, pick

DEPTH_LIMIT = 6  # schemas may refer to themselves
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
        properties = _mapping(schema.get("properties")) if depth < DEPTH_LIMIT else {}
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
        for _ in range(DEPTH_LIMIT):
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
        if depth >= DEPTH_LIMIT:
            return []
        count = min(max(1, _whole(schema.get("minItems"), 1)), DEPTH_LIMIT)
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
