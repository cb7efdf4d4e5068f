"""Arguments that roughly fit a schema."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import json

from cachemw.simulator.prose import fit

SEED = bytes(32)
WORDS = ("Lisbon",)


def fit_one(schema: Any) -> Any:
    return fit({"type": "object", "properties": {"x": schema}}, SEED, WORDS)["x"]


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        ({"type": "string"}, "Lisbon"),
        ({"type": "string", "maxLength": 3}, "Lis"),
        ({"type": "string", "format": "date"}, "2025-03-14"),
        ({"type": ["null", "string"]}, "Lisbon"),
        ({"type": "null"}, None),
        ({"type": "integer", "minimum": 4, "maximum": 4}, 4),
        ({"type": "number", "minimum": 7.0, "maximum": 2}, 7),
        ({"const": 5}, 5),
        ({"enum": ["only"]}, "only"),
        ({"anyOf": [{"const": 1}, {"type": "null"}]}, 1),
        ({"type": "array", "items": {"type": "string"}, "minItems": 2}, ["Lisbon", "Lisbon"]),
        ({"properties": {"y": {"const": 1}}}, {"y": 1}),
        ({}, "Lisbon"),
        (True, "Lisbon"),
    ],
)
def test_a_value_fits_its_schema(schema: Any, value: Any) -> None:
    assert fit_one(schema) == value


def test_a_boolean_is_one_or_the_other() -> None:
    assert fit_one({"type": "boolean"}) in (True, False)


def test_references_are_followed() -> None:
    schema = {"properties": {"x": {"$ref": "#/$defs/Place"}}, "$defs": {"Place": {"const": "here"}}}

    assert fit(schema, SEED, WORDS) == {"x": "here"}


@pytest.mark.parametrize("inner", [{"$ref": "#"}, {"type": "array", "items": {"$ref": "#/properties/x"}}])
def test_a_schema_that_refers_to_itself_comes_to_an_end(inner: Any) -> None:
    assert "x" in fit({"type": "object", "properties": {"x": inner}}, SEED, WORDS)


@pytest.mark.parametrize("schema", [{}, {"properties": []}, {"properties": {"x": {"$ref": "#/nowhere"}}}])
def test_an_odd_schema_is_no_failure(schema: Any) -> None:
    assert fit(schema, SEED, ()) in ({}, {"x": "something"})


NAMES = st.sampled_from(
    ["type", "properties", "items", "enum", "anyOf", "$ref", "minimum", "maximum", "minItems", "maxLength", "x"]
)
LEAVES = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
LEAVES |= st.sampled_from(["#", "#/properties/x", "object", "array", "integer", "string", "null"])
SCHEMAS = st.recursive(LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=4))


@given(st.dictionaries(NAMES, SCHEMAS))
def test_any_schema_is_fitted_somehow(schema: dict[str, Any]) -> None:
    assert isinstance(json.decode(json.encode(fit(schema, SEED, WORDS))), dict)
