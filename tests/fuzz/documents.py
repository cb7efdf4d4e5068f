"""A JSON document out of any bytes, each a choice: bytes that are mutated at random are hardly ever one themselves."""

from collections.abc import Iterator

NAMES = [
    *(
        b'"messages"',
        b'"content"',
        b'"role"',
        b'"a"',
        b'"\\u0061"',
        b'"b"',
        b'""',
        b'"1"',
        b'"\\n"',
        b'"\xc3\xa9"',
        b'"\\u00e9"',
    ),
    *(b'"\xf0\x9f\x98\x80"', b'"\\ud83d\\ude00"', b'"\\""', b'":"', b'"{\\"a\\":1,"', b'"\\\\"', b'"\\\\\\""'),
    *(b'"temperature"', b'"top_p"', b'"n"', b'"seed"', b'"stop"', b'"audio"', b'"tools"', b'"tool_choice"', b'"function"'),
    *(b'"response_format"', b'"json_schema"', b'"logit_bias"', b'"prediction"', b'"moderation"', b'"modalities"', b'"store"'),
    *(b'"stream"', b'"stream_options"', b'"include_usage"', b'"user"', b'"metadata"', b'"service_tier"', b'"invented"'),
]
LEAVES = [
    *(
        b"null",
        b"true",
        b"false",
        b"0",
        b"-0",
        b"-0.0",
        b"0.0",
        b"1",
        b"1.0",
        b"1e0",
        b"1E+00",
        b"10e-1",
        b"-1",
        b"0.5",
        b"5e-1",
    ),
    *(b"9007199254740992", b"9007199254740993", b"9007199254740993.0", b"18446744073709551616", b"1e16", b"5e-324", b"1e-400"),
    *(b"1e400", b"NaN", b"[]", b"{}", b'"\\ud800"', b'"\\/"', b'"/"', b'"\xff"', b'"\\u0000"', b'"\xe2\x80\xa8"'),
]
SPACES = [b"", b"", b"", b"", b"", b"", b" ", b"\t\r\n"]
DEPTH = 6


def document(choices: bytes) -> bytes:
    """Return a chat request's body; where the choices end, the simplest is made."""
    chosen = iter(choices)
    return b'{"messages":[' + _array(chosen, 1) + b"]," + _object(chosen, 1) + b"}"


def _value(chosen: Iterator[int], depth: int) -> bytes:
    choice = next(chosen, 0)
    if choice % 4 == 0 or depth > DEPTH:
        return (LEAVES + NAMES)[choice // 4 % len(LEAVES + NAMES)]
    if choice % 4 == 1:
        return b"[" + _array(chosen, depth + 1) + b"]"
    return b"{" + _object(chosen, depth + 1) + b"}"


def _array(chosen: Iterator[int], depth: int) -> bytes:
    return b",".join(_space(chosen) + _value(chosen, depth) for _ in range(next(chosen, 0) % 5))


def _object(chosen: Iterator[int], depth: int) -> bytes:
    members = [_member(chosen, depth) for _ in range(next(chosen, 0) % 5)]
    return b",".join(members) or b'"":0'


def _member(chosen: Iterator[int], depth: int) -> bytes:
    name = NAMES[next(chosen, 0) % len(NAMES)]
    return name + _space(chosen) + b":" + _space(chosen) + _value(chosen, depth)


def _space(chosen: Iterator[int]) -> bytes:
    return SPACES[next(chosen, 0) % len(SPACES)]
