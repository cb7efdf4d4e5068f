"""The bytes of a path: which leave where it begins, in whatever spelling; and that nothing takes long to tell."""

import time
from urllib.parse import unquote_to_bytes

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cachemw.wire.paths import below_version, climbs, is_target

CLIMBING = [
    *(b"/..", b"/v1/..", b"/v1/../admin", b"/v1/a/../../admin", b"..", b"/../"),
    *(b"/v1/..%2f..%2fadmin", b"/v1/%2e%2e%2fadmin", b"/v1/%2E%2e/admin", b"/v1/.%2e/admin", b"/%2e./admin"),
    *(b"/v1/..%5cadmin", b"/v1/..%5C..%5Cadmin", b"/v1/..\\admin", b"/v1\\..\\admin", b"/v1/a%5c..%5cb"),
    *(b"/v1/..;/admin", b"/v1/..;x=1/admin", b"/v1/..%3b/admin", b"/v1/..%253Bx%252fadmin", b"/v1/a;b/..;"),
    *(b"/v1/%252e%252e/admin", b"/v1/%25252e%25252e%25252fadmin", b"/v1/a%2f..%2f..%2f..%2fadmin"),
    *(b"/v1/%%32%65%2e/admin", b"/v1/%2%65%2e/admin", b"/v1/.%%%332e/x"),
    *(b"/v1/a\0b", b"/v1/a%00b", b"/v1/a%2500", b"/v1/a;%00", b"/v1/\0"),
]
STAYING = [
    *(b"", b"/", b"/v1/", b"/v1/chat/completions", b"/v1/.", b"/v1/./files", b"/v1//files", b"/v1/...", b"/v1/..."),
    *(b"/v1/a..", b"/v1/..a", b"/v1/a..b/c", b"/v1/a;..", b"/v1/;/..x", b"/v1/.;./x", b"/v1/%2e", b"/v1/%2e%2e%2e"),
    *(b"/v1/%63hat", b"/v1/%c3", b"/v1/%", b"/v1/%2", b"/v1/%zz", b"/v1/%%", b"/v1/a%2fb%5cc", b"/v1/%c0%ae"),
]


@pytest.mark.parametrize("path", CLIMBING, ids=repr)
def test_a_path_climbs_that_anyone_may_read_as_one_that_does(path: bytes) -> None:
    """F120, A8: escapes of escapes, backslashes, parameters, and what a NUL cuts off."""
    assert climbs(path)


@pytest.mark.parametrize("path", STAYING, ids=repr)
def test_no_other_path_does(path: bytes) -> None:
    """H1."""
    assert not climbs(path)


def by_passes(path: bytes) -> bool:
    """Decide as the ruling says it, pass by pass."""
    while (decoded := unquote_to_bytes(path)) != path:
        path = decoded
    segments = [segment.partition(b";")[0] for segment in path.replace(b"\\", b"/").split(b"/")]
    return b".." in segments or b"\0" in path


@given(
    st.lists(st.sampled_from([b"%", b"2", b"25", b"e", b"f", b"5c", b".", b"..", b"/", b";", b"3", b"0", b"a"])).map(b"".join)
)
def test_it_is_decided_as_by_decoding_again_and_again(path: bytes) -> None:
    """A8."""
    assert climbs(path) == by_passes(path)


def test_no_path_takes_long() -> None:
    """P3: pass by pass this one would take minutes, and all others would wait."""
    size = 15_000
    began = time.process_time()

    assert climbs(b"/." + b"%" * (size + 1) + b"3" * size + b"2e/" + b"%41" * size)

    assert time.process_time() - began < 2


@pytest.mark.parametrize("target", [b"/v1/x?a=%20+'|^\"`{}[]<>", b"/\\", b"/%zz", b"/~!$&()*,;=:@"])
def test_whatever_is_visible_may_be_asked_for(target: bytes) -> None:
    """RFC 9112 §3.2: an upstream may be as lax as it likes."""
    assert is_target(target)


@pytest.mark.parametrize("byte", [b" ", b"\t", b"\r", b"\n", b"\0", b"\x7f", b"\x1f", b"\xe9", b"\xff", b"#"])
def test_what_is_no_part_of_a_target_is_not_asked_for(byte: bytes) -> None:
    """F121."""
    assert not is_target(b"/v1/a" + byte + b"b")
    assert not is_target(b"/v1/a?" + byte)


def test_the_version_is_left_out_once_or_twice() -> None:
    """K2."""
    paths = [b"/v1/x", b"/v1/v1/x", b"/x", b"/v1/v1/v1/x", b"/v1", b"/v1x", b"/v1//x", b"//v1/x"]

    assert [below_version(path) for path in paths] == [b"/x", b"/x", b"/x", b"/v1/x", b"", b"/v1x", b"//x", b"//v1/x"]
