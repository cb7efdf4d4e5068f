"""Documents that would keep a parser busy, and everything else waiting. Made when they are asked for: they are large."""

from collections.abc import Callable
from functools import lru_cache, partial

from cachemw import Policy

Make = Callable[[], bytes]

LARGE = Policy().max_request_bytes - 10_000
RECORD = Policy().max_record_bytes - 1000


def wide(unit: bytes, size: int = LARGE) -> bytes:
    """Return an array of so many bytes."""
    return b"[" + (unit + b",") * (size // (len(unit) + 1)) + unit + b"]"


@lru_cache(1)
def keys(count: int = 800_000) -> bytes:
    """Return so many members of an object."""
    return ",".join(map('"{:07}":1'.format, range(count))).encode()


def text(unit: bytes, size: int = LARGE) -> bytes:
    """Return a string of so many bytes."""
    return b'"' + unit * (size // len(unit)) + b'"'


def asking_with(value: bytes) -> bytes:
    """Return a chat request's body with this in it."""
    return b'{"model":"m","messages":[{"role":"user","content":"hi"}],"x":' + value + b"}"


def answering(content: bytes, more: bytes = b"") -> bytes:
    """Return a completion with this content, and more members."""
    return b'{"choices":[{"index":0,"message":{"content":' + content + b'},"finish_reason":"stop"}]' + more + b"}"


_VALUES: dict[str, Make] = {
    "a million keys": lambda: b"{" + keys() + b"}",
    "a million keys, spaced": lambda: b"{ " + keys() + b"}",
    "a million keys, one twice": lambda: b"{" + keys() + b',"0000000":2}',
    "one key a million times": lambda: b"{" + b'"a":1,' * 1_000_000 + b'"a":1}',
    "zeros": partial(wide, b"0"),
    "empty texts": partial(wide, b'""'),
    "empty arrays": partial(wide, b"[]"),
    "empty objects": partial(wide, b" {}"),
    "deep arrays": lambda: b"[" * 2_000_000 + b"]" * 2_000_000,
    "deep arrays, open": lambda: b"[" * LARGE,
    "deep objects": lambda: b'{"a":' * 500_000 + b"1" + b"}" * 500_000,
    "a huge integer": lambda: b"1" * LARGE,
    "a huge fraction": lambda: b"0." + b"1" * LARGE,
    "a huge exponent": lambda: b"1e" + b"1" * LARGE,
    "long integers": partial(wide, b"1" * 4300),
    "numbers that are hard to read": partial(wide, b"1e307", 20_000),
    "and smaller ones": partial(wide, b"8.5e-320", 40_000),
    "escapes": partial(text, b"\\u0041"),
    "backslashes": partial(text, b"\\\\"),
    "quotes": partial(text, b'\\"'),
    "NaN behind zeros": lambda: wide(b"0")[:-1] + b",NaN]",
    "garbage behind zeros": lambda: wide(b"0") + b"x",
    "no UTF-8 behind zeros": lambda: wide(b"0")[:-1] + b',"\xff"]',
}

REQUESTS: dict[str, Make] = {
    **{name: lambda make=make: asking_with(make()) for name, make in _VALUES.items()},  # type: ignore[misc]
    "messages": lambda: b'{"messages":' + wide(b'{"role":"user","content":"hi"}') + b"}",
    "members": lambda: b'{"messages":[],' + keys() + b"}",
    "biases": lambda: b'{"messages":[],"logit_bias":{' + keys() + b"}}",
}
"""Bodies of requests that are refused."""

WORST: dict[str, Make] = {
    "plain text": lambda: asking_with(text(b"a")),
    "no ASCII": lambda: asking_with(text("é".encode())),
    "arrays": lambda: asking_with(wide(b"[]", 90_000)),
    "objects": lambda: asking_with(wide(b' {"a":{}}', 120_000)),
    "empty texts": lambda: asking_with(wide(b'""', 300_000)),
    "keys": lambda: asking_with(b"{ " + keys(40_000) + b"}"),
    "long integers": lambda: asking_with(wide(b"1" * 4300, 120_000)),
    "exponents": lambda: asking_with(wide(b"1e307", 11_000)),
    "escapes": lambda: asking_with(text(b"\\n", 2_000_000)),
    "controls": lambda: asking_with(text(b"\\u0001", 6_000_000)),
    "messages": lambda: b'{"messages":' + wide(b'{"role":"user","content":"x"}', 550_000) + b"}",
    "trailing": lambda: asking_with(wide(b"[]", 90_000)) + b"x",
}
"""Bodies of requests that are read, and take longest."""

ANSWERS: dict[str, Make] = {
    "content of arrays": lambda: answering(wide(b"[]", RECORD - 200)),
    "content of exponents": lambda: answering(wide(b"1e307", 20_000)),
    "tool calls": lambda: answering(b'"","tool_calls":' + wide(b"{}", RECORD - 200)),
    "an error": lambda: b'{"error":' + wide(b"[]", RECORD - 200) + b"}",
    "choices": lambda: b'{"choices":' + wide(b"{}", RECORD - 200) + b"}",
}
"""Answers that are not kept."""
