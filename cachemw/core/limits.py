"""Every limit and its default, in one place. Seconds and bytes."""

MIB = 2**20
GIB = 2**30

REQUEST_BYTES = 10 * MIB
"""A larger request body is passed on unread."""

RECORD_BYTES = 4 * MIB
"""A larger response body is passed on and not kept."""

STORE_BYTES = 4 * GIB
"""What a store holds on disk before the oldest records go."""

STORE_RECORDS = 1_000_000
"""How many records a store holds before the oldest go."""

MEMORY_STORE_BYTES = 256 * MIB
"""What a store in memory holds before the oldest records go."""

LIFETIME = 86_400.0
LONGEST_LIFETIME = 31_536_000.0

STALE_WINDOW = 86_400.0
"""How long beyond its lifetime a record is kept, unless the policy says otherwise: what `max-stale` can still be served."""

PATIENCE = 30.0
"""How long a request waits for an identical one that is under way."""

JSON_HOLD = 10.0
"""How long after its first byte a JSON answer is held so that its head can say whether it was stored."""

DONE_HOLD = 1.0
"""How long `data: [DONE]` is held for the upstream's body to end."""

STORE_PATIENCE = 0.05
"""How long a client waits for the store."""

STORE_OPENING = 1.0
"""How long a client waits for the store to open, once in a process."""

PIECE_BYTES = 64 * 1024
"""What a replay sends at once, on event boundaries."""
