"""Age, lifetime and what a request's `Cache-Control` makes of them: arithmetic only (RFC 9111 §4.2, §5.2.1)."""

import math
from typing import Literal

from cachemw.core.control import Restrictions
from cachemw.core.limits import STALE_WINDOW
from cachemw.core.messages import StoredResponse

Keep = float | None | Literal["windows"]


def age(stored: StoredResponse, now: float) -> int:
    """Return the value of the `Age` field: whole seconds since the last byte came, never negative."""
    return max(0, math.floor(now - stored.stored_at))


def remaining(stored: StoredResponse, now: float) -> int:
    """Return the seconds of freshness left, negative once stale: the `ttl` of `Cache-Status`."""
    return math.floor(stored.lifetime) - age(stored, now)


def is_fresh(stored: StoredResponse, now: float) -> bool:
    """Say whether `Age` is below the lifetime."""
    return age(stored, now) < stored.lifetime


def satisfies(stored: StoredResponse, asked: Restrictions, now: float) -> bool:
    """Say whether the request's directives let this stored response answer it."""
    current = age(stored, now)
    if asked.max_age is not None and (current > asked.max_age or asked.max_age == 0):
        return False
    if asked.min_fresh is not None and stored.lifetime - current < asked.min_fresh:
        return False
    if is_fresh(stored, now):
        return True
    return asked.max_stale is not None and current - stored.lifetime <= asked.max_stale


def retention(keep: Keep, lifetime: float) -> float | None:
    """Return the seconds the store holds a record; `None` until it is evicted."""
    if keep is None:
        return None
    return lifetime + STALE_WINDOW if keep == "windows" else max(keep, lifetime)
