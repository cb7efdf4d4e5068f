"""JSON that can be read in one way only."""

import json
from collections.abc import Callable
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cachemw.wire.strict_json import AMBIGUOUS, DEPTH_LIMIT, INVALID, parse
from tests.wire.spelling import CHANCE, TEXTS, VALUES, Pairs, refusal, spell

PLAIN = [
    *(b"{}", b"[]", b'""', b"0", b"-0", b"-1", b"1.5", b"-0.0", b"1e5", b"1E+5", b"1.25e-3", b"1e-400", b"5e-324"),
    *(b"1.7976931348623157e308", b"18446744073709551615", b"18446744073709551616", b"-9223372036854775809"),
    *(b"123456789012345678901234567890", b"1" * 4300, b"true", b"false", b"null", b" \t\r\n{} \t\r\n"),
    *(b'{ "a" : [ 1 , 2 ] }', b'{"a":{"a":{"a":1}}}', b'[{"a":1},{"a":1}]', b'{"a":1,"A":1}', b'{"a":1,"a ":1}'),
    *(b'{"":1," ":2}', b'{"\xc3\xa9":1,"e\xcc\x81":1}', b'{"\\u0000":1,"\\u0001":1}', b'"\\"\\\\\\/\\b\\f\\n\\r\\t"'),
    *(b'"\\u00e9\\u00C9"', b'"\\ud83d\\ude00"', b'"\xf0\x9f\x98\x80"', b'"\\u0000"', b'"\xef\xbb\xbf"'),
    *(b'"\x7f\xc2\x80\xe2\x80\xa8"', b'"\\ufffe\\uffff\xef\xbf\xbd"', b'"/* no comment */"', b'"{\\"a\\":1,\\"a\\":2}"'),
    b'["NaN", "Infinity", "-Infinity"]',
]
TWO_READINGS = [
    *(b'{"a":1,"a":1}', b'{"a":1,"a":2}', b'{"a":1,"b":2,"a":1}', b'{"":1,"":1}', b'{"a":1,"\\u0061":1}'),
    *(b'{"\\u0061":1,"\\u0061":2}', b'{"/":1,"\\/":1}', b'{"\xc3\xa9":1,"\\u00E9":1}'),
    *(b'{"\xf0\x9f\x98\x80":1,"\\ud83d\\ude00":1}', b'{"\\n":1,"\\u000a":1}', b'{"a":null,"a":null}'),
    *(b'[[{"b":{"a":1,"a":1}}]]', b'{"x":{"a":1,"a":1},"x":1}'),
    *(b'{"messages":[{"role":"user","content":"safe","content":"other"}]}', b"NaN", b"Infinity", b"-Infinity"),
    *(b'{"temperature":NaN}', b"1e400", b"-1e400", b"1.7976931348623159e308", b"1" * 4301, b'"\\ud800"', b'"\\udc00"'),
    *(b'"\\ud800\\u0041"', b'"\\ud800\\ud800"', b'"\\udc00\\ud800"', b'{"\\ud83d":1}', b'"\xed\xa0\x80"', b"\xef\xbb\xbf{}"),
    *('{"a":1}'.encode("utf-16"), '{"a":1}'.encode("utf-16-le"), '{"a":1}'.encode("utf-16-be")),
    *('{"a":1}'.encode("utf-32-le"), b"{}{}", b"{} {}", b"{},", b"{}\x00", b"{}]", b"1 2", b'{"a":1}garbage', b"01", b"1."),
    *(b"0x10", b"[" * (DEPTH_LIMIT + 1) + b"]" * (DEPTH_LIMIT + 1), b"[" * 40_000 + b"]" * 40_000),
    b'{"a":' * 30_000 + b"1" + b"}" * 30_000,
]
NO_JSON = [
    *(b"", b" ", b"{", b"[1,", b'"', b'{"a"}', b'{"a":}', b'{"a":1,}', b"[1,]", b"[,1]", b'{"a":1 "b":2}', b"{a:1}"),
    *(b"{'a':1}", b"{1:1}", b"True", b"nul", b"nan", b"undefined", b"+1", b"--1", b".5", b"-", b'"\\x41"', b'"\\u12"'),
    *(b'"\\U00e9"', b'"a\nb"', b'"a\x00b"', b'"\xff"', b'{"\xff":1}', b'"\xc0\x80"', b'"\xf5\x80\x80\x80"', b"\x00{}"),
    *(b"\xa0{}", b"/**/{}", b"}", b"\xff\xfe\xfd", b"model=x&messages=y", b"<html></html>"),
]


def shortened(raw: bytes) -> str:
    return repr(raw)[2:42]


@pytest.mark.parametrize("raw", PLAIN, ids=shortened)
def test_plain_json_is_read_as_the_standard_library_reads_it(raw: bytes) -> None:
    """K9."""
    assert repr(parse(raw)) == repr(json.loads(raw))


@pytest.mark.parametrize("raw", TWO_READINGS, ids=shortened)
def test_json_with_two_readings_is_refused(raw: bytes) -> None:
    """K9."""
    assert refusal(raw) == AMBIGUOUS == "ambiguous-json"


@pytest.mark.parametrize("raw", NO_JSON, ids=shortened)
def test_what_nobody_reads_is_refused(raw: bytes) -> None:
    """K9."""
    assert refusal(raw) == INVALID == "invalid-json"


def test_the_tables_are_long_enough_to_mean_something() -> None:
    assert len({*PLAIN, *TWO_READINGS, *NO_JSON}) >= 80


@given(VALUES, st.booleans())
def test_what_the_standard_library_writes_is_read_back(value: Any, ensure_ascii: bool) -> None:
    """K9: integers exact, other numbers binary64, text to the last character."""
    raw = json.dumps(value, ensure_ascii=ensure_ascii).encode()

    assert repr(parse(raw)) == repr(value)


@given(VALUES, CHANCE)
def test_another_spelling_is_the_same_value(value: Any, random: Random) -> None:
    """K4: spaces, escapes and the spelling of a number do not matter."""
    assert repr(parse(spell(value, random))) == repr(value)


OBJECTS = st.dictionaries(TEXTS, VALUES, min_size=1, max_size=4)
WRAPPERS: list[Callable[[Any], Any]] = [
    lambda inner: [inner],
    lambda inner: [1, inner, {"a": 1}],
    lambda inner: {"a": inner},
    lambda inner: {"b": [], "a": inner, "c": "{}"},
]


@given(OBJECTS, VALUES, st.lists(st.sampled_from(WRAPPERS), max_size=5), CHANCE)
def test_a_name_said_twice_is_refused_wherever_it_stands_and_however_it_is_spelt(
    members: dict[str, Any], value: Any, wrappers: list[Callable[[Any], Any]], random: Random
) -> None:
    """K9: also with the same value, also escaped."""
    pairs = list(members.items())
    pairs.insert(random.randint(0, len(pairs)), (random.choice(pairs)[0], value))
    document: Any = Pairs(pairs)
    for wrap in wrappers:
        document = wrap(document)

    assert refusal(spell(document, random)) == AMBIGUOUS


@given(st.binary(max_size=30) | st.text(st.sampled_from('{}[]":,\\u0aNe1-. \n'), max_size=30).map(str.encode))
def test_nothing_sent_is_a_failure(raw: bytes) -> None:
    """K9: what is read is what the standard library reads; all else is refused."""
    detail = refusal(raw)

    assert detail in (None, AMBIGUOUS, INVALID)
    if detail is None:
        assert repr(parse(raw)) == repr(json.loads(raw))


def nested(depth: int, innermost: str, *levels: tuple[str, str]) -> bytes:
    opened = [levels[level % len(levels)] for level in range(depth)]
    return ("".join(start for start, _ in opened) + innermost + "".join(end for _, end in reversed(opened))).encode()


@pytest.mark.parametrize(
    "levels",
    [
        pytest.param([("[", "]")], id="arrays"),
        pytest.param([("[1,", ",2]")], id="arrays with neighbours"),
        pytest.param([('{"a":', "}")], id="objects"),
        pytest.param([("[", "]"), ('{"b":1,"a":', ',"c":2}')], id="both"),
        pytest.param([(' [ "[[[[" , ', " ] ")], id="brackets in text"),
    ],
)
def test_sixty_four_levels_are_read_and_not_one_more(levels: list[tuple[str, str]]) -> None:
    """K9: depth > 64."""
    assert refusal(nested(64, "0", *levels)) is None
    assert refusal(nested(65, "0", *levels)) == AMBIGUOUS


@pytest.mark.parametrize("container", ["[]", "{}"])
def test_an_empty_container_is_a_level_too(container: str) -> None:
    """K9."""
    assert refusal(nested(63, container, ("[", "]"))) is None
    assert refusal(nested(64, container, ("[", "]"))) == AMBIGUOUS


def test_width_is_not_depth() -> None:
    raw = json.dumps([[{"a": []}] for _ in range(10_000)]).encode()

    assert len(parse(raw)) == 10_000
