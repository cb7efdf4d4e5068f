"""What is one request in two spellings, and what is two requests."""

import copy
import json
import struct
import unicodedata
from collections.abc import Callable, Iterator
from random import Random
from typing import Any

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from cachemw.endpoints.canonical import canonical
from cachemw.endpoints.chat.request import SHAPE
from cachemw.wire.strict_json import parse
from tests.cache.keying import LEFT_OUT_AROUND_AN_APP, LEFT_OUT_OVER_HTTP, RICH, body_of, form_of
from tests.wire.spelling import CHANCE, spell, spellings_of

Path = tuple[str | int, ...]

ORDER_IS_IGNORED = {
    (),
    ("messages", "*"),
    ("messages", "*", "content", "*"),
    ("response_format",),
    ("response_format", "json_schema"),
    ("tool_choice",),
    ("tool_choice", "function"),
    ("logit_bias",),
    ("prediction",),
}
NULL_IS_ABSENT = (
    "audio frequency_penalty logit_bias logprobs max_completion_tokens max_tokens modalities moderation n prediction"
    " presence_penalty reasoning_effort seed stop temperature top_logprobs top_p verbosity".split()
)
NULL_IS_SOMETHING = (
    "model min_tokens min_completion_tokens response_format tools tool_choice parallel_tool_calls functions function_call"
    " disable_reasoning clear_thinking reasoning_format model_parameters store invented".split()
)
INTEGER_IS_FLOAT = ["temperature", "top_p", "frequency_penalty", "presence_penalty"]


def values_in(value: Any, path: Path = ()) -> Iterator[tuple[Path, Any]]:
    """Yield every value in a document with where it stands, the document itself first."""
    yield path, value
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, member in inner:
        yield from values_in(member, (*path, name))


def replaced(document: Any, path: Path, change: Callable[[Any], Any]) -> Any:
    """Return a copy of the document with the value at the path changed."""
    if not path:
        return change(document)
    document = copy.deepcopy(document)
    holder = document
    for step in path[:-1]:
        holder = holder[step]
    holder[path[-1]] = change(holder[path[-1]])
    return document


def form(document: Any) -> bytes:
    return form_of(json.dumps(document).encode())


def stars(path: Path) -> tuple[str, ...]:
    return tuple("*" if isinstance(step, int) else step for step in path)


def written(path: Path) -> str:
    return "/" + "/".join(map(str, path))


OBJECTS = [path for path, value in values_in(RICH) if isinstance(value, dict) and len(value) > 1]
ARRAYS = [path for path, value in values_in(RICH) if isinstance(value, list) and len(value) > 1]
STRINGS = [path for path, value in values_in(RICH) if isinstance(value, str)]


def test_the_canonical_form_is_compact_json_by_name() -> None:
    """K4."""
    body = (
        b'{ "top_p": 1, "messages": [ {"role":"user", "content":"\\u00e9\\/"} ], "n": null, "z": {"b":1.50,"a":1e2}, "a": 1 }'
    )

    assert form_of(body).decode() == ('{"a":1,"messages":[{"content":"é/","role":"user"}],"top_p":1.0,"z":{"b":1.5,"a":100.0}}')


def test_names_are_sorted_by_their_utf_8() -> None:
    """K4: not by UTF-16, in which the astral planes come before U+E000."""
    names = {"\U0001f600": 1, "\uffff": 2, "é": 3, "Z": 4, "z": 5, "": 6}

    form = json.loads(form_of(body_of(**names, messages=[], logit_bias=names)))

    assert list(form) == ["", "Z", "logit_bias", "messages", "model", "z", "é", "\uffff", "\U0001f600"]
    assert list(form["logit_bias"]) == ["", "Z", "z", "é", "\uffff", "\U0001f600"]


@pytest.mark.parametrize("path", OBJECTS, ids=written)
def test_member_order_is_ignored_in_the_listed_objects_and_only_there(path: Path) -> None:
    """K4: fixed-schema objects fold; schemas, tools and what nobody knows are rendered in their order."""
    turned = replaced(RICH, path, lambda members: dict(reversed(members.items())))

    assert (form(turned) == form(RICH)) is (stars(path) in ORDER_IS_IGNORED)


def test_every_listed_object_is_tried() -> None:
    """K4."""
    assert {stars(path) for path in OBJECTS} >= ORDER_IS_IGNORED


@pytest.mark.parametrize(
    "path", [("messages",), ("messages", 0, "content"), ("tools", 0), ("stop",), ("response_format", "json_schema", "schema")]
)
def test_an_object_in_an_unexpected_place_keeps_its_order(path: Path) -> None:
    """K4."""
    one: dict[str, Any] = replaced(RICH, path, lambda _: [{"b": [{"d": 1, "c": 2}], "a": 1}])
    other: dict[str, Any] = replaced(RICH, path, lambda _: [{"b": [{"c": 2, "d": 1}], "a": 1}])

    assert form(one) != form(other)


@pytest.mark.parametrize("path", ARRAYS, ids=written)
def test_array_order_counts(path: Path) -> None:
    """K4."""
    turned = replaced(RICH, path, lambda items: items[::-1])

    assert form(turned) != form(RICH)


@pytest.mark.parametrize("path", STRINGS, ids=written)
@pytest.mark.parametrize(
    "change",
    [
        pytest.param(str.upper, id="upper case"),
        pytest.param(str.lower, id="lower case"),
        pytest.param(lambda text: f"{text} ", id="space behind"),
        pytest.param(lambda text: f" {text}", id="space before"),
        pytest.param(lambda text: f"{text}\n", id="line end"),
        pytest.param(lambda text: text.replace(" ", "  "), id="two spaces"),
        pytest.param(lambda text: text.replace("a", "а"), id="Cyrillic"),  # noqa: RUF001
        pytest.param(lambda text: f"{text}\u200b", id="zero width"),
    ],
)
def test_text_is_taken_to_the_letter(path: Path, change: Callable[[str], str]) -> None:
    """K3, K4: letter case and spaces count."""
    changed = replaced(RICH, path, change)

    assert (form(changed) == form(RICH)) is (changed == RICH)


@pytest.mark.parametrize("text", ["é", "Å", "한국", "ﬁ", "①", "e\u0301\u0323"])
def test_unicode_forms_count(text: str) -> None:
    """K4: other forms are other tokens."""
    forms = {text, *(unicodedata.normalize(name, text) for name in ("NFC", "NFD", "NFKC", "NFKD"))}
    assert len(forms) > 1

    asked = [body_of(messages=[{"role": "user", "content": spelled}]) for spelled in forms]

    assert len({form_of(body) for body in asked}) == len(forms)


CHARACTERS = st.characters(exclude_categories=["Cs"])
CHANGES: list[Callable[[str, int, str], str]] = [
    lambda text, at, new: text[:at] + new + text[at + 1 :],
    lambda text, at, new: text[:at] + new + text[at:],
    lambda text, at, _: text[:at] + text[at + 1 :],
]


@given(st.sampled_from(STRINGS), st.data())
def test_any_one_character_counts(path: Path, data: st.DataObject) -> None:
    """K3: in any message, role, part, image, name, tool call or tool id."""

    def change(text: str) -> str:
        at = data.draw(st.integers(0, len(text)))
        return data.draw(st.sampled_from(CHANGES))(text, at, data.draw(CHARACTERS))

    changed = replaced(RICH, path, change)
    assume(changed != RICH)

    assert form(changed) != form(RICH)


@given(st.sampled_from([path for path, value in values_in(RICH) if isinstance(value, dict) and value]), st.data())
def test_any_one_character_of_a_name_counts(path: Path, data: st.DataObject) -> None:
    """K3."""

    def change(members: dict[str, Any]) -> dict[str, Any]:
        name = data.draw(st.sampled_from(list(members)))
        at = data.draw(st.integers(0, len(name)))
        other = data.draw(st.sampled_from(CHANGES))(name, at, data.draw(CHARACTERS))
        assume(other not in members)
        assume(path or name != "messages")
        return {other if member == name else member: value for member, value in members.items()}

    assert form(replaced(RICH, path, change)) != form(RICH)


@given(st.text(), st.text())
@example("ab", "a\u200bb")
@example("\ud7ff", "\ue000")
def test_two_texts_are_two_requests(one: str, other: str) -> None:
    """K3."""
    first, second = (form_of(body_of(messages=[{"role": "user", "content": text}])) for text in (one, other))

    assert (first == second) is (one == other)


@given(CHANCE)
def test_spaces_escapes_and_number_spellings_do_not_count(random: Random) -> None:
    """K4."""
    assert form_of(spell(RICH, random)) == form(RICH)


@pytest.mark.parametrize("name", INTEGER_IS_FLOAT)
@pytest.mark.parametrize(
    ("integer", "number"), [("1", "1.0"), ("0", "0.0"), ("2", "20e-1"), ("-2", "-2.0"), ("1" + "0" * 22, "1e22")]
)
def test_an_integer_is_a_float_where_a_float_is_meant(name: str, integer: str, number: str) -> None:
    """K4: `1` vs `1.0` for float fields."""
    first, second = (b'{"messages":[],"%s":%s}' % (name.encode(), spelled.encode()) for spelled in (integer, number))

    assert form_of(first) == form_of(second)


@pytest.mark.parametrize(
    "place",
    [
        '{"messages":[],"n":%s}',
        '{"messages":[],"seed":%s}',
        '{"messages":[],"max_tokens":%s}',
        '{"messages":[],"max_completion_tokens":%s}',
        '{"messages":[],"top_logprobs":%s}',
        '{"messages":[],"top_k":%s}',
        '{"messages":[],"invented":%s}',
        '{"messages":[],"logit_bias":{"7":%s}}',
        '{"messages":[],"invented":{"temperature":%s}}',
        '{"messages":[],"temperature":[%s]}',
        '{"messages":[],"temperature":{"temperature":%s}}',
        '{"messages":[{"temperature":%s}]}',
        '{"messages":[%s]}',
    ],
)
def test_an_integer_is_no_float_anywhere_else(place: str) -> None:
    """K4, K6."""
    assert form_of((place % "1").encode()) != form_of((place % "1.0").encode())


@pytest.mark.parametrize("name", ["temperature", "seed"])
@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("9007199254740992", "9007199254740993"),
        ("9007199254740993", "9007199254740992.0"),
        ("9007199254740993", "9007199254740993.0"),
        ("18446744073709551615", "18446744073709551616"),
        ("123456789012345678901234567890", "123456789012345678901234567891"),
        ("1" + "0" * 400, "1" + "0" * 401),
        ("1", "2"),
        ("0.1", "0.10000000000000002"),
        ("0.0", "-0.0"),
        ("0.0", "5e-324"),
        ("1", "true"),
        ("1", '"1"'),
        ("0", "false"),
        ("0", '""'),
    ],
)
def test_two_numbers_are_two_requests(name: str, one: str, other: str) -> None:
    """K6: nothing goes through a float that is none, and nothing loses a bit."""
    first, second = (b'{"messages":[],"%s":%s}' % (name.encode(), spelled.encode()) for spelled in (one, other))

    assert form_of(first) != form_of(second)


@given(st.floats(allow_nan=False, allow_infinity=False), st.floats(allow_nan=False, allow_infinity=False), st.data())
def test_a_number_is_its_binary64(one: float, other: float, data: st.DataObject) -> None:
    """K4, K6: in whatever spelling."""

    def asked(number: float) -> bytes:
        spelled = data.draw(st.sampled_from(spellings_of(number)))
        return b'{"messages":[],"invented":%s}' % spelled.encode()

    assert form_of(asked(one)) == form_of(asked(one))
    assert (form_of(asked(one)) == form_of(asked(other))) is (struct.pack(">d", one) == struct.pack(">d", other))


@pytest.mark.parametrize("name", NULL_IS_ABSENT)
def test_null_is_absent_where_the_specification_says_so(name: str) -> None:
    """K8: the equivalences, all of them."""
    assert form_of(body_of(**{name: None})) == form_of(body_of())


@pytest.mark.parametrize("name", NULL_IS_SOMETHING)
def test_null_is_something_everywhere_else(name: str) -> None:
    """K8."""
    absent = json.loads(body_of())
    absent.pop(name, None)

    assert form(absent | {name: None}) != form(absent)


@pytest.mark.parametrize("name", NULL_IS_ABSENT)
@pytest.mark.parametrize("value", [False, 0, 0.0, "", "null", [], {}, 1], ids=repr)
def test_each_explicit_value_is_something(name: str, value: Any) -> None:
    """K8."""
    if name != "audio":
        assert form_of(body_of(**{name: value})) != form_of(body_of(**{name: None}))


@pytest.mark.parametrize("path", [path for path, value in values_in(RICH) if isinstance(value, dict) and path], ids=written)
@pytest.mark.parametrize("name", ["content", "n", "stop", "temperature"])
def test_null_is_something_below_the_top(path: Path, name: str) -> None:
    """K8."""
    absent: dict[str, Any] = replaced(RICH, path, lambda members: {key: members[key] for key in members if key != name})
    null: dict[str, Any] = replaced(absent, path, lambda members: members | {name: None})

    assert form(null) != form(absent)


TOOL = {"type": "function", "function": {"name": "look"}}


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"stop": "x"}, {"stop": ["x"]}),
        ({"n": 1}, {}),
        ({"temperature": 1}, {}),
        ({"top_p": 1}, {}),
        ({"frequency_penalty": 0}, {}),
        ({"logprobs": False}, {}),
        ({"seed": 0}, {}),
        ({"max_tokens": 5}, {"max_completion_tokens": 5}),
        ({"tools": []}, {}),
        ({"tool_choice": "auto"}, {}),
        ({"tools": [TOOL], "tool_choice": TOOL}, {"tools": [TOOL], "tool_choice": "look"}),
        ({"response_format": {"type": "text"}}, {}),
        ({"logit_bias": {}}, {}),
        ({"store": False}, {}),
        ({"model": "llama3.1-8b"}, {"model": "Llama3.1-8b"}),
        ({"messages": []}, {"messages": [{}]}),
        (
            {"messages": [{"role": "user", "content": "t"}]},
            {"messages": [{"role": "user", "content": [{"type": "text", "text": "t"}]}]},
        ),
        ({"messages": [{"role": "user", "content": ["ab"]}]}, {"messages": [{"role": "user", "content": ["a", "b"]}]}),
        ({"messages": [{"role": "user", "content": ""}]}, {"messages": [{"role": "user", "content": None}]}),
        ({"messages": [{"role": "user", "content": None}]}, {"messages": [{"role": "user"}]}),
        ({"messages": [{"role": "system", "content": "t"}]}, {"messages": [{"role": "developer", "content": "t"}]}),
        ({"messages": [{"role": "user", "content": "a\r\nb"}]}, {"messages": [{"role": "user", "content": "a\nb"}]}),
        (
            {"messages": [{"role": "user", "content": "a"}, {"role": "user", "content": "b"}]},
            {"messages": [{"role": "user", "content": "ab"}]},
        ),
        ({"messages": [{"arguments": '{"a":1,"b":2}'}]}, {"messages": [{"arguments": '{"b":2,"a":1}'}]}),
        ({"messages": [{"arguments": '{"a":1}'}]}, {"messages": [{"arguments": '{"a": 1}'}]}),
        ({"messages": [{"arguments": '{"a":1}'}]}, {"messages": [{"arguments": {"a": 1}}]}),
        ({"stop": 'a", user="b'}, {"stop": "auser: b"}),
        ({"a": 1, "b": 2}, {"b": 1, "a": 2}),
        ({"a": "b"}, {"a": ["b"]}),
        ({"a": {"b": {}}}, {"a": {}, "b": {}}),
        ({"a": '","b":"'}, {"a": "", "b": ""}),
    ],
    ids=repr,
)
def test_nothing_else_is_folded(one: dict[str, Any], other: dict[str, Any]) -> None:
    """K6, K8: no text, no defaults, no shorthand."""
    assert form_of(body_of(**one)) != form_of(body_of(**other))


def test_the_values_given_are_left_as_they_were() -> None:
    """K5."""
    body = parse(json.dumps(RICH).encode())

    canonical(SHAPE, body, LEFT_OUT_OVER_HTTP)

    assert json.dumps(body) == json.dumps(RICH)


# An independent reference: strict parsing into tagged tuples, then the documented equivalences, and nothing else.

LEFT_OUT = {
    "app": {"stream", "stream_options"},
    "http": {"stream", "stream_options", "user", "safety_identifier", "metadata", "service_tier"}
    | {"prompt_cache_key", "prompt_cache_options", "prompt_cache_retention"},
}


def reference(raw: bytes, left_out: set[str]) -> object:
    """Return a value that two bodies share exactly when they may share a key."""
    kind, members = json.loads(
        raw,
        object_pairs_hook=lambda pairs: ("object", pairs),
        parse_int=lambda digits: ("integer", int(digits)),
        parse_float=lambda digits: ("float", struct.pack(">d", float(digits))),
    )
    assert kind == "object"
    kept = [(name, value) for name, value in members if name not in left_out and not (value is None and name in NULL_IS_ABSENT)]
    return folded((kind, kept), ())


def folded(value: Any, path: tuple[object, ...]) -> object:
    if isinstance(value, list):
        return ("array", *(folded(item, (*path, 0)) for item in value))
    match value:
        case ("object", pairs):
            members = [(name, folded(member, (*path, name))) for name, member in pairs]
            is_listed = path in [tuple(0 if step == "*" else step for step in listed) for listed in ORDER_IS_IGNORED]
            return ("object", *(sorted(members, key=lambda pair: pair[0].encode()) if is_listed else members))
        case ("integer", number) if path in [(name,) for name in INTEGER_IS_FLOAT] and is_exact(number):
            return ("float", struct.pack(">d", number))
    return value if isinstance(value, tuple) else (type(value).__name__, value)


def is_exact(number: int) -> bool:
    return abs(number) < 2**1023 and int(float(number)) == number


NAMES = st.sampled_from(
    [*"role content type text function json_schema schema name stop n temperature user stream a b é * 0".split(), ""]
)
SMALL = st.sampled_from(
    [None, True, False, 0, 1, 2**53, 2**53 + 1, 0.0, -0.0, 1.0, 0.5, 2.0**53, "", "a", "A", "1", "é", "e\u0301"]
)
INNER = st.recursive(SMALL, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3), max_leaves=6)
PARTS = st.lists(st.dictionaries(NAMES, INNER, max_size=3) | INNER, max_size=3)
MESSAGES = st.lists(INNER | st.fixed_dictionaries({"content": PARTS}, optional={"role": INNER, "name": INNER}), max_size=3)
TOP = (
    "model temperature top_p presence_penalty seed n stop tools tool_choice response_format logit_bias prediction audio"
    " modalities model_parameters stream stream_options user metadata service_tier prompt_cache_key store invented".split()
)
BODIES = st.builds(
    lambda messages, others: {"messages": messages, **others},
    MESSAGES,
    st.dictionaries(st.sampled_from(TOP), INNER, max_size=4),
)


def turned(value: Any, random: Random) -> Any:
    if isinstance(value, dict):
        return dict(random.sample(list(value.items()), len(value)))
    return value[::-1] if isinstance(value, list | str) else value


def refitted(value: Any, random: Random) -> Any:
    if type(value) is int:
        return float(value)
    return int(value) if isinstance(value, float) and value.is_integer() else value


def thinned(value: Any, random: Random) -> Any:
    if isinstance(value, dict):
        return {name: member for name, member in value.items() if name == "messages" or random.random() < 0.7}
    return value


def filled(value: Any, random: Random) -> Any:
    return value | {random.choice(TOP): random.choice([None, None, 1, "a"])} if isinstance(value, dict) else value


def changed_somewhere(document: Any, change: Callable[[Any, Random], Any], random: Random) -> Any:
    """Return the document with one value changed, itself where the change touches none of its values."""
    places = list(values_in(document))
    changed = ((path, value, change(value, random)) for path, value in random.sample(places, len(places)))
    path, _, other = next(
        ((path, value, other) for path, value, other in changed if repr(other) != repr(value)), ((), 0, document)
    )
    return replaced(document, path, lambda _: other)


def is_a_body(value: Any) -> bool:
    return isinstance(value, dict) and isinstance(value.get("messages"), list)


@given(BODIES, CHANCE, st.lists(st.sampled_from([turned, refitted, thinned, filled]), min_size=1, max_size=2))
def test_two_bodies_share_a_form_exactly_when_they_are_one_request(
    body: Any, random: Random, changes: list[Callable[[Any, Random], Any]]
) -> None:
    """K6: equal by an independent reference, equal by ours; different there, different here."""
    other = body
    for change in changes:
        other = changed_somewhere(other, change, random)
    assume(is_a_body(other))
    first, second = spell(body, random), spell(other, random)

    for left_out, listed in ((LEFT_OUT_OVER_HTTP, LEFT_OUT["http"]), (LEFT_OUT_AROUND_AN_APP, LEFT_OUT["app"])):
        is_one_form = canonical(SHAPE, parse(first), left_out) == canonical(SHAPE, parse(second), left_out)
        assert is_one_form is (reference(first, listed) == reference(second, listed))


@given(BODIES, BODIES, CHANCE)
def test_two_bodies_from_anywhere_share_a_form_exactly_when_they_are_one_request(one: Any, other: Any, random: Random) -> None:
    """K6."""
    first, second = spell(one, random), spell(other, random)

    is_one_form = canonical(SHAPE, parse(first), LEFT_OUT_OVER_HTTP) == canonical(SHAPE, parse(second), LEFT_OUT_OVER_HTTP)

    assert is_one_form is (reference(first, LEFT_OUT["http"]) == reference(second, LEFT_OUT["http"]))
