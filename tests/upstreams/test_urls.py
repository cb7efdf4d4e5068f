"""Where requests go: the base URL alone says it (I6)."""

import contextlib
import itertools
import re

import anyio
import anyio.to_thread
import httpx
import pytest
import yarl
from hypothesis import given, settings
from hypothesis import strategies as st

from cachemw.errors import ConfigurationError, UpstreamError
from cachemw.upstreams import HttpUpstream
from tests.thorough import THOROUGH
from tests.upstreams.raw import ask, outgoing, reaching, read_out


@pytest.mark.parametrize(
    "base_url",
    [
        "",
        "/v1",
        "api.example/v1",
        "api.example:443/v1",
        "//api.example/v1",
        "http:/api.example/v1",
        "http:///v1",
        "ftp://api.example/v1",
        "file:///v1",
        "ws://api.example/v1",
        "http://user:pw@api.example/v1",
        "http://user@api.example/v1",
        "http://api.example/v1?key=1",
        "http://api.example/v1?",
        "http://api.example/v1#here",
        "http://api.example:port/v1",
        "http://api.example:0/v1",
        "http://api.example:65536/v1",
        "http://[::1/v1",
        "http://api.example\n/v1",
    ],
)
def test_what_is_no_base_url_is_refused_at_construction(base_url: str) -> None:
    with pytest.raises(ConfigurationError):
        HttpUpstream(base_url)


def test_a_password_in_a_base_url_is_not_repeated() -> None:
    """F65, I4."""
    for authority in ("user:hunter2@api.example/v1", "user:hunter2@api.example:port/v1", "api.example/v1?key=hunter2"):
        with pytest.raises(ConfigurationError) as refused:
            HttpUpstream(f"http://{authority}")

        assert "hunter2" not in str(refused.value)


@pytest.mark.parametrize(
    ("base_url", "is_held_as"),
    [
        ("https://api.cerebras.ai/v1", "https://api.cerebras.ai:443/v1"),
        ("https://api.cerebras.ai/v1/", "https://api.cerebras.ai:443/v1"),
        ("HTTP://API.Example/V1", "http://api.example:80/V1"),
        ("http://api.example", "http://api.example:80"),
        ("http://api.example:8080/openai/v1", "http://api.example:8080/openai/v1"),
        ("http://[::1]:8080/v1", "http://[::1]:8080/v1"),
        ("http://münchen.example/v1", "http://xn--mnchen-3ya.example:80/v1"),
    ],
)
def test_a_base_url_is_held_in_one_form(base_url: str, is_held_as: str) -> None:
    """K2: the URL is in the key, with scheme and host in lower case and the port written."""
    assert HttpUpstream(base_url).base_url == is_held_as


# What a client asks for, what is requested of http://127.0.0.1:port/openai/v1 then, on the wire.
TARGETS: list[tuple[bytes, bytes, bytes | None]] = [
    (b"/v1/chat/completions", b"", b"/openai/v1/chat/completions"),
    (b"/v1/v1/chat/completions", b"", b"/openai/v1/chat/completions"),
    (b"/chat/completions", b"", b"/openai/v1/chat/completions"),
    (b"/v1/v1/v1/X", b"", b"/openai/v1/v1/X"),
    (b"/v1x", b"", b"/openai/v1/v1x"),
    (b"/v1x/v1/X", b"", b"/openai/v1/v1x/v1/X"),
    (b"/V1/X", b"", b"/openai/v1/V1/X"),
    (b"/v1", b"", b"/openai/v1/"),
    (b"/", b"", b"/openai/v1/"),
    (b"", b"", b"/openai/v1/"),
    (b"/v1/X/", b"", b"/openai/v1/X/"),
    (b"/v1/models", b"format=openrouter", b"/openai/v1/models?format=openrouter"),
    (b"/v1/X", b"a=1&a=2&&b", b"/openai/v1/X?a=1&a=2&&b"),
    (b"/v1/X", b"a=%20b+c%2Bd%26e%3Df", b"/openai/v1/X?a=%20b+c%2Bd%26e%3Df"),
    (b"/v1/X", b"a=../..", b"/openai/v1/X?a=../.."),
    (b"/v1/X", b"u=http://evil.example@x", b"/openai/v1/X?u=http://evil.example@x"),
    (b"//evil.example/X", b"", b"/openai/v1//evil.example/X"),
    (b"/v1//evil.example/X", b"", b"/openai/v1//evil.example/X"),
    (b"///evil.example/X", b"", b"/openai/v1///evil.example/X"),
    (b"@evil.example/X", b"", b"/openai/v1/@evil.example/X"),
    (b"/@evil.example/X", b"", b"/openai/v1/@evil.example/X"),
    (b":80@evil.example/X", b"", b"/openai/v1/:80@evil.example/X"),
    (b".evil.example/X", b"", b"/openai/v1/.evil.example/X"),
    (b"http://evil.example/v1/X", b"", b"/openai/v1/http://evil.example/v1/X"),
    (b"/\\evil.example/X", b"", b"/openai/v1/\\evil.example/X"),
    (b"/a%2Fb%2f..%2fc", b"", b"/openai/v1/a%2Fb%2f..%2fc"),
    (b"/a%252Fb", b"", b"/openai/v1/a%252Fb"),
    (b"/a..b/...", b"", b"/openai/v1/a..b/..."),
    (b"/./a/.", b"", b"/openai/v1/./a/."),
    (b"/%63hat/%c3%C3", b"%63=%c3", b"/openai/v1/%63hat/%c3%C3?%63=%c3"),
    (b"/%7e~%41", b"%7e~%41", b"/openai/v1/%7e~%41?%7e~%41"),
    (b"/a+'|^`{}[]<>\"", b"a+'|^`{}[]<>\"", b"/openai/v1/a+'|^`{}[]<>\"?a+'|^`{}[]<>\""),
    (b"/%zz%", b"%zz%", b"/openai/v1/%zz%?%zz%"),
    (b"/a b", b"", None),
    (b"/X", b"c d", None),
    (b"/\xc3\xa9", b"", None),
    (b"/X", b"\xff", None),
    (b"/..#", b"", None),
    (b"/a#b", b"", None),
    (b"/a\x7fb", b"", None),
    (b"/a\x00b", b"", None),
    (b"/a\tb", b"", None),
    (b"/a\r\nHost: evil.example", b"", None),
]


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("path", "query", "target"), TARGETS, ids=lambda value: repr(value) if isinstance(value, bytes) else None
)
async def test_every_target_is_one_below_the_base_url_or_is_not_requested(
    path: bytes, query: bytes, target: bytes | None
) -> None:
    """F121, I6, A8: as it came, byte by byte; what no request can carry is not spelt in another way."""
    async with reaching(path="/openai/v1") as (server, upstream):
        with contextlib.suppress(UpstreamError):
            await ask(upstream, path, query)

    expected = [] if target is None else [b"POST " + target + b" HTTP/1.1"]
    assert [request.partition(b"\r\n")[0] for request in server.requests] == expected
    assert not server.requests or server.sent(b"host") == [server.origin]


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("path", "query", "target"), TARGETS, ids=lambda value: repr(value) if isinstance(value, bytes) else None
)
async def test_so_it_is_without_await(path: bytes, query: bytes, target: bytes | None) -> None:
    """F122, A8: over httpx's own transport."""
    async with reaching(path="/openai/v1") as (server, upstream):
        with contextlib.suppress(UpstreamError):
            await anyio.to_thread.run_sync(read_out, upstream, outgoing(path, query))

    expected = [] if target is None else [b"POST " + target + b" HTTP/1.1"]
    assert [request.partition(b"\r\n")[0] for request in server.requests] == expected


@pytest.mark.anyio
async def test_what_is_longer_than_any_url_is_not_requested() -> None:
    """H10."""
    async with reaching() as (server, upstream):
        with pytest.raises(UpstreamError):
            await ask(upstream, b"/v1/" + b"x" * 70_000)

    assert not server.requests


@pytest.mark.parametrize(("path", "query", "target"), [row for row in TARGETS if row[2] is not None], ids=repr)
def test_the_key_names_the_very_bytes_that_are_asked_for(path: bytes, query: bytes, target: bytes) -> None:
    """K2, A8."""
    assert HttpUpstream("http://api.example/openai/v1").target(path, query).url == "http://api.example:80" + target.decode(
        "ascii"
    )


PIECES = [
    *(
        b"/",
        b"//",
        b"..",
        b".",
        b"@",
        b":",
        b"\\",
        b"?",
        b"#",
        b"%",
        b"%2f",
        b"%2e",
        b"%40",
        b"[",
        b"]",
        b" ",
        b"\r\n",
        b"\x00",
    ),
    *(b"v1", b"/v1", b"evil.example", b"http:", b"https://evil.example", b":80", b"\xc3\xa9", b"\xff", b"//evil.example:1@"),
]
RAW = st.lists(st.sampled_from(PIECES) | st.binary(max_size=4), max_size=8).map(b"".join)
BASES = ["http://api.example/v1", "https://api.example", "http://[::1]:8080/a/b/v1", "https://api.example:8443/v1"]


def check_origin(base_url: str, path: bytes, query: bytes) -> None:
    """For httpx, and for yarl, by which aiohttp makes the connection."""
    configured = httpx.URL(base_url)
    try:
        requested = httpx.URL(HttpUpstream(base_url).target(path, query).url)
    except httpx.InvalidURL:
        return  # and so nothing is requested
    connected = yarl.URL(str(requested))
    port = configured.port or {"http": 80, "https": 443}[configured.scheme]
    assert (requested.scheme, requested.host, requested.port) == (configured.scheme, configured.host, configured.port)
    assert (connected.scheme, connected.host, connected.port) == (configured.scheme, configured.host, port)
    assert (requested.userinfo, connected.user) == (b"", None)


@given(path=RAW, query=RAW, base_url=st.sampled_from(BASES))
def test_whatever_is_asked_for_the_origin_stays_the_configured_one(path: bytes, query: bytes, base_url: str) -> None:
    """I6."""
    check_origin(base_url, path, query)


def test_no_awkward_pieces_make_another_origin() -> None:
    """I6: at a base URL that ends in its host, where a path could become part of it."""
    for pieces in itertools.product(PIECES, repeat=3 if THOROUGH else 2):
        check_origin("https://api.example", b"".join(pieces), pieces[0])


@given(targets=st.lists(st.tuples(RAW, RAW), min_size=15, max_size=15))
@settings(max_examples=3)
def test_whatever_is_asked_for_only_the_configured_server_hears_of_it(targets: list[tuple[bytes, bytes]]) -> None:
    """I6: at the socket."""

    async def main() -> None:
        async with reaching(path="/v1") as (server, upstream):
            for path, query in targets:
                before = len(server.requests)
                try:
                    await ask(upstream, path, query)
                except UpstreamError:
                    assert len(server.requests) == before
                else:
                    assert len(server.requests) == before + 1
                    assert re.match(rb"POST /v1[/? ]", server.request_line())
                    assert server.sent(b"host") == [server.origin]

    anyio.run(main)
