"""The `Cache-Control` field of a request."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cachemw.cache.directives import UNRESTRICTED, CacheControl, cache_control

FOREVER = 2**31


@pytest.mark.parametrize(
    ("field", "read"),
    [
        (b"no-store", CacheControl(no_store=True)),
        (b"no-cache", CacheControl(no_cache=True)),
        (b"only-if-cached", CacheControl(only_if_cached=True)),
        (b"max-age=60", CacheControl(max_age=60)),
        (b"max-age=0", CacheControl(max_age=0)),
        (b"min-fresh=60", CacheControl(min_fresh=60)),
        (b"max-stale=60", CacheControl(max_stale=60)),
        (b"max-stale", CacheControl(max_stale=math.inf)),
        (b"stale-if-error=60", CacheControl(stale_if_error=60)),
        (b"stale-if-error=0", CacheControl(stale_if_error=0)),
        (b"no-cache, max-age=5,only-if-cached", CacheControl(no_cache=True, max_age=5, only_if_cached=True)),
        (
            b"no-store,no-cache,only-if-cached,max-age=1,min-fresh=2,max-stale=3,stale-if-error=4",
            CacheControl(
                no_store=True, no_cache=True, only_if_cached=True, max_age=1, min_fresh=2, max_stale=3, stale_if_error=4
            ),
        ),
    ],
)
def test_every_directive_is_read(field: bytes, read: CacheControl) -> None:
    assert cache_control(field) == read


@pytest.mark.parametrize(
    ("field", "read"),
    [
        (b"No-Store, MAX-AGE=5", CacheControl(no_store=True, max_age=5)),
        (b"Max-Stale", CacheControl(max_stale=math.inf)),
        (b'max-age="60"', CacheControl(max_age=60)),
        (b'max-age="60", no-store', CacheControl(max_age=60, no_store=True)),
        (b"max-age = 60 ,\tno-store ", CacheControl(max_age=60, no_store=True)),
        (b"no-store=1", CacheControl(no_store=True)),
        (b'no-cache="set-cookie, max-age=9"', CacheControl(no_cache=True)),
        (b'no-cache="a\\", max-age=9"', CacheControl(no_cache=True)),
        (b",, no-store, ,\t,max-age=5,", CacheControl(no_store=True, max_age=5)),
        (b"max-age=00000000000000000000000000000060", CacheControl(max_age=60)),
    ],
)
def test_case_quotes_spaces_and_empty_members_do_not_matter(field: bytes, read: CacheControl) -> None:
    assert cache_control(field) == read


@pytest.mark.parametrize(
    "bad", [b"", b"=", b"=x", b"=-1", b"=+1", b"=1.5", b"=1e3", b'=""', b'="6\\0"', b'="60', b'="60"x', b"=6 0", b"=\xb2"]
)
def test_a_bad_number_is_the_strictest_reading(bad: bytes) -> None:
    assert cache_control(b"max-age" + bad) == CacheControl(max_age=0)
    assert cache_control(b"min-fresh" + bad) == CacheControl(min_fresh=math.inf)
    assert cache_control(b"max-stale" + (bad or b"=")) == CacheControl(max_stale=0)
    assert cache_control(b"stale-if-error" + bad) == CacheControl(stale_if_error=0)


@pytest.mark.parametrize(
    ("field", "read"),
    [
        (b"max-age=60, max-age=5, max-age=30", CacheControl(max_age=5)),
        (b"max-age=60, max-age=x", CacheControl(max_age=0)),
        (b"min-fresh=5, min-fresh=60, min-fresh=30", CacheControl(min_fresh=60)),
        (b"min-fresh=5, min-fresh", CacheControl(min_fresh=math.inf)),
        (b"max-stale, max-stale=60, max-stale=5", CacheControl(max_stale=5)),
        (b"stale-if-error=60, stale-if-error=5, stale-if-error=30", CacheControl(stale_if_error=5)),
        (b"stale-if-error=60, stale-if-error", CacheControl(stale_if_error=0)),
        (b"no-store, no-store", CacheControl(no_store=True)),
    ],
)
def test_what_is_said_twice_adds_up_to_the_strictest(field: bytes, read: CacheControl) -> None:
    assert cache_control(field) == read


@pytest.mark.parametrize("number", [b"2147483648", b"2147483649", b"9" * 19, b"9" * 20, b"9" * 10_000])
def test_a_huge_number_is_forever(number: bytes) -> None:
    assert cache_control(b"max-age=" + number) == CacheControl(max_age=FOREVER)
    assert cache_control(b"max-stale=" + number) == CacheControl(max_stale=FOREVER)
    assert cache_control(b"min-fresh=" + number) == CacheControl(min_fresh=FOREVER)
    assert cache_control(b"stale-if-error=" + number) == CacheControl(stale_if_error=FOREVER)


def test_a_number_below_forever_is_itself() -> None:
    assert cache_control(b"max-age=2147483647") == CacheControl(max_age=FOREVER - 1)


@pytest.mark.parametrize(
    "field",
    [
        *(b"", b" ", b",", b"private", b"no-transform, s-maxage=5", b"no-stores", b"x-no-store", b"=5"),
        *(b"stale-while-revalidate=5", b"stale-if-errors=5"),
    ],
)
def test_unknown_directives_are_ignored(field: bytes) -> None:
    assert cache_control(field) == UNRESTRICTED


@pytest.mark.parametrize("garbage", [b'"', b'"x"', b"=", b"=5", b";", b'=";', b"private", b"a b c", b'x="y', b"\x00\xff"])
def test_garbage_does_not_hide_what_stands_before_it(garbage: bytes) -> None:
    assert cache_control(b"no-store, max-age=5, " + garbage) == CacheControl(no_store=True, max_age=5)


@pytest.mark.parametrize("garbage", [b'"', b'"x"', b"=", b"=5", b";", b'=";', b"private", b"a b c", b"\x00\xff"])
def test_garbage_does_not_hide_what_follows_the_next_comma(garbage: bytes) -> None:
    assert cache_control(garbage + b",no-store,max-age=5") == CacheControl(no_store=True, max_age=5)


PIECES = [
    b"no-store",
    b"max-age",
    b"max-stale",
    b"stale-if-error",
    b"=",
    b'"',
    b"\\",
    b",",
    b";",
    b" ",
    b"\t",
    b"\n",
    b"5",
    b"x",
    b"\x00",
    b"\xff",
]


@given(st.binary() | st.lists(st.sampled_from(PIECES)).map(b"".join))
def test_no_field_is_a_failure(field: bytes) -> None:
    """E2: what cannot be read restricts at most; it raises nothing and asks for nothing impossible."""
    read = cache_control(field)

    assert read.max_age is None or 0 <= read.max_age <= FOREVER
    assert read.min_fresh is None or read.min_fresh >= 0
    assert read.max_stale is None or read.max_stale >= 0
    assert read.stale_if_error is None or 0 <= read.stale_if_error <= FOREVER


@given(st.binary())
def test_nothing_that_follows_a_directive_takes_it_back(rest: bytes) -> None:
    read = cache_control(b"no-store, no-cache, max-age=5," + rest)

    assert read.no_store
    assert read.no_cache
    assert read.max_age is not None
    assert read.max_age <= 5


def test_a_long_field_is_read_in_no_time() -> None:
    assert cache_control(b'"' * 200_000) == UNRESTRICTED
    assert cache_control(b"a=" + b"\\" * 200_000) == UNRESTRICTED
    assert cache_control(b'a="' + b'\\"' * 100_000) == UNRESTRICTED
