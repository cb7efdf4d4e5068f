"""Could a stored response have been recorded? Whoever can write to a store can give any record the right checksum and proof."""

import math
from itertools import pairwise

from cachemw.core import limits
from cachemw.core.headers import storable
from cachemw.core.messages import Head, StoredResponse
from cachemw.core.recording import head_fault


def is_sound(stored: StoredResponse, now: float) -> bool:
    """Say whether it is something that a recording may have come to by now; its body is judged elsewhere."""
    return (
        stored.status == 200
        and -limits.FOREVER <= stored.stored_at - now <= limits.CLOCK_AHEAD
        and 0 <= stored.lifetime <= limits.FOREVER
        and stored.headers == storable(stored.headers)
        and head_fault(Head(200, stored.headers), stored.kind.stream) is None
        and _are_events(stored)
    )


def _are_events(stored: StoredResponse) -> bool:
    ends, arrivals = stored.event_ends, stored.arrivals
    return (
        bool(ends) == stored.kind.stream
        and len(ends) == len(arrivals)
        and all(end < next_end for end, next_end in pairwise((0, *ends, len(stored.body) + 1)))
        and all(0 <= arrival < math.inf for arrival in arrivals)
    )
