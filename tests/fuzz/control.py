"""What a request says to the cache: obeyed as it reads, refused, or not for us."""

import math

from cachemw.cache.directives import (
    FOREVER,
    NAMESPACE_LIMIT,
    UNKNOWN_LIMIT,
    CacheControl,
    Directives,
    InvalidControl,
    cache_control,
    read_directives,
)
from cachemw.cache.policy import Policy
from cachemw.messages import Headers

DEFAULTS = ("off", "on", "on, mode=replay")
HONOUR = Policy().honour


def fuzz_one(data: bytes) -> None:
    """What stands before the first line end is a `Cachemw` field, what follows a `Cache-Control` field."""
    asked, _, control = data.partition(b"\n")
    _is_read_as_it_may_be(cache_control(control))
    assert cache_control(b"no-store, " + control).no_store
    for default in DEFAULTS:
        for headers in _ways_to_say(asked, control):
            read = read_directives(headers, default, HONOUR)
            assert read is None or isinstance(read, InvalidControl | Directives)
            if isinstance(read, Directives):
                _can_be_obeyed(read)


def _ways_to_say(asked: bytes, control: bytes) -> list[Headers]:
    return [((b"Cachemw", asked), (b"Cache-Control", control)), ((b"cachemw", asked),), ((b"cache-control", control),)]


def _is_read_as_it_may_be(read: CacheControl) -> None:
    assert read.max_age is None or type(read.max_age) is int and 0 <= read.max_age <= FOREVER
    for seconds in (read.min_fresh, read.max_stale, read.stale_if_error):
        assert seconds is None or seconds == math.inf or 0 <= seconds <= FOREVER


def _can_be_obeyed(read: Directives) -> None:
    _is_read_as_it_may_be(read.control)
    assert read.ttl is None or read.ttl >= 0
    assert read.sample >= 0
    assert 0 <= read.speed < math.inf
    assert read.namespace is None or len(read.namespace.encode()) <= 4 * NAMESPACE_LIMIT
    assert len(read.ignored) <= UNKNOWN_LIMIT + len(HONOUR) + 1
    assert all(word.isprintable() for word in read.ignored)
