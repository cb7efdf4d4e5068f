"""Every limit and its default, in one place. Seconds and bytes."""

MIB = 2**20
GIB = 2**30

REQUEST_BYTES = 10 * MIB
"""A larger request body is passed on unread."""

REQUESTS_BYTES = 256 * MIB
"""How much of the bodies of all requests is held; what comes beyond that is passed on unread."""

BODY_BYTES = 64 * MIB
"""A larger request body is not taken by the proxy."""

BODY_TIME = 60.0
"""How long the proxy waits for the rest of a request when it has the head."""

HEAD_TIME = 10.0
"""How long it waits for that."""

HEAD_BYTES = 64 * 1024
"""A larger head of a request is not taken by the proxy."""

HEAD_FIELDS = 100
"""Nor one with more fields."""

RECORD_BYTES = 4 * MIB
"""A larger response body is passed on and not kept."""

STORE_BYTES = 4 * GIB
"""What a store holds on disk before the oldest records go."""

ROW_BYTES = 64 * MIB
"""A larger row is never read, and never written."""

STORE_RECORDS = 1_000_000
"""How many records a store holds before the oldest go."""

MEMORY_STORE_BYTES = 256 * MIB
"""What a store in memory holds before the oldest records go."""

LIFETIME = 86_400.0
LONGEST_LIFETIME = 31_536_000.0

FOREVER = 2**31
"""What a larger number of seconds counts as (RFC 9111 §1.2.2)."""

CLOCK_AHEAD = 86_400.0
"""How far ahead of ours the clock may have been by which a record was stored."""

STALE_IF_ERROR = 86_400.0
"""How long after its lifetime a record answers when the upstream cannot."""

PATIENCE = 30.0
"""How long a request waits for an identical one that is under way."""

APART = 4
"""How many who may not have another's refusal ask one question at a time, each on its own account."""

ABANDON_GRACE = 120.0
"""How long a response that every reader has left is read on."""

DETACHED = 32
"""How many such at once."""

FLIGHT_BYTES = 256 * MIB
"""What all responses in progress hold in memory; beyond it a miss is relayed unrecorded."""

STOP_NOTICE = 1.0
"""How long a wrapped app that was told of a disconnect has before it is cancelled."""

JSON_HOLD = 10.0
"""How long after its first byte a JSON answer is held so that its head can say whether it was stored."""

DONE_HOLD = 1.0
"""How long `data: [DONE]` is held for the upstream's body to end."""

JUDGED_BYTES = 256 * 1024
"""A larger record is judged where nobody else waits meanwhile: megabytes of events take a tenth of a second."""

STORE_PATIENCE = 0.05
"""How long a client waits for the store."""

STORE_OPENING = 0.25
"""How long a client waits for a store that has to open first, or for its secret, once."""

STORE_CALL = 1.0
"""How long a call of a store may run before it counts as one that hangs."""

STORE_CALLS = 64
"""How many calls of a store without a thread of its own are made at once."""

STORE_QUEUE_BYTES = 64 * MIB
"""How much of records may wait to be stored."""

STORE_FAULTS = 5
"""After how many failures in a row a store is left alone."""

STORE_FIRST_REST = 0.25
STORE_REST = 5.0
"""How long it is left alone before it is tried again: at first, and at most."""

FREE_SPACE = 64 * MIB
"""What a store leaves free on its file system, or a twentieth of that if it is less."""

DERIVED_BYTES = 16 * MIB
"""What was derived for other kinds and is kept in memory, so that the next hit need not."""

PIECE_BYTES = 64 * 1024
"""What a replay sends at once, on event boundaries."""

LONGEST_REPLAY = 600.0
"""How long a paced replay may take; what would take longer is sent faster."""

LINGER_TIME = 1.0
"""How long what a refused client goes on sending is taken, so that it can hear why."""

DRAIN_BYTES = MIB
"""How much of a body is taken behind an answer that did not need it, for the sake of the connection."""

WRITE_TIME = 120.0
"""How long a client of the proxy may read nothing of what waits for it."""
