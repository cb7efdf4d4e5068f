"""Age, lifetime and what a request's `Cache-Control` makes of them: arithmetic only (RFC 9111 §4.2, §5.2.1; RFC 5861)."""

import math
from typing import Literal

from cachemw.cache.directives import FOREVER, CacheControl
from cachemw.messages import StoredResponse

Keep = float | None | Literal["windows"]


def age(stored: StoredResponse, now: float) -> int:
    """Return the value of the `Age` field: whole seconds since the last byte came, never negative."""
    return max(0, math.floor(now - stored.stored_at))


def remaining(stored: StoredResponse, aged: int) -> int:
    """Return the seconds of freshness left at this age, negative once stale: the `ttl` of `Cache-Status`."""
    return math.floor(stored.lifetime) - aged


def is_fresh(stored: StoredResponse, now: float) -> bool:
    """Say whether `Age` is below the lifetime."""
    return age(stored, now) < stored.lifetime


def satisfies(stored: StoredResponse, asked: CacheControl, now: float) -> bool:
    """Say whether the request's directives let this stored response answer it."""
    if not _is_young_enough(stored, asked, now):
        return False
    return is_fresh(stored, now) or (asked.max_stale is not None and _staleness(stored, now) <= asked.max_stale)


def stands_in(stored: StoredResponse, asked: CacheControl, window: float, now: float) -> bool:
    """Say whether this stored response may answer because the upstream failed (RFC 5861 §4). A request may only narrow."""
    if asked.no_cache or not _is_young_enough(stored, asked, now):
        return False
    allowed = window if asked.stale_if_error is None else min(window, asked.stale_if_error)
    return _staleness(stored, now) < allowed


def while_revalidating(stored: StoredResponse, asked: CacheControl, window: float, now: float) -> bool:
    """Say whether this stale response may answer at once while a new one is fetched (RFC 5861 §3)."""
    if asked.no_cache or asked.no_store or asked.only_if_cached or not _is_young_enough(stored, asked, now):
        return False
    return 0 <= _staleness(stored, now) < window


def retention(keep: Keep, lifetime: float, window: float) -> float | None:
    """Return the seconds the store holds a record, `None` until it is evicted; `window`: how long it is of use when stale."""
    if keep is None:
        return None
    return min(lifetime + window if keep == "windows" else max(keep, lifetime), FOREVER)


def _is_young_enough(stored: StoredResponse, asked: CacheControl, now: float) -> bool:
    current = age(stored, now)
    if asked.max_age is not None and (current > asked.max_age or asked.max_age == 0):
        return False
    return asked.min_fresh is None or stored.lifetime - current >= asked.min_fresh


def _staleness(stored: StoredResponse, now: float) -> float:
    return age(stored, now) - stored.lifetime  # negative while fresh
