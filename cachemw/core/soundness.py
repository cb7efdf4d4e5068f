"""Could a stored response have been recorded? Whoever can write to a store can give any record the right checksum and proof."""

import math
import re
from itertools import pairwise

from cachemw.core.headers import storable
from cachemw.core.messages import Head, Headers, StoredResponse
from cachemw.core.recording import head_fault

_FIELD_VALUE = re.compile(rb"[\t\x20-\x7e\x80-\xff]*")  # RFC 9110 §5.5


def is_sound(stored: StoredResponse) -> bool:
    """Say whether it is something that a recording may have come to; its body is judged elsewhere."""
    return (
        stored.status == 200
        and math.isfinite(stored.stored_at)
        and 0 <= stored.lifetime < math.inf
        and _are_fields(stored.headers)
        and head_fault(Head(200, stored.headers), stored.kind.stream) is None
        and _are_events(stored)
    )


def _are_fields(headers: Headers) -> bool:
    return headers == storable(headers) and all(_FIELD_VALUE.fullmatch(value) for _, value in headers)


def _are_events(stored: StoredResponse) -> bool:
    ends, arrivals = stored.event_ends, stored.arrivals
    return (
        bool(ends) == stored.kind.stream
        and len(ends) == len(arrivals)
        and all(end < next_end for end, next_end in pairwise((0, *ends, len(stored.body) + 1)))
        and all(0 <= arrival < math.inf for arrival in arrivals)
    )
