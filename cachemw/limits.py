"""The bounds of memory, time and work: one frozen `Limits`, which a mount is given and hands on."""

from dataclasses import dataclass, fields

from cachemw.errors import ConfigurationError

MIB = 2**20
GIB = 2**30

PIECE_BYTES = 64 * 1024
"""The bytes that are passed on at once."""

STORE_BYTES = 4 * GIB
"""The default of what a store holds on disk before the oldest records go."""

MEMORY_STORE_BYTES = 256 * MIB
"""The default of what a store in memory holds before the oldest records go."""

STORE_RECORDS = 1_000_000
"""The default of how many records a store holds before the oldest go."""

ROW_BYTES = 64 * MIB
"""The default size beyond which a row is never read, and never written."""

BODY_BYTES = 64 * MIB
"""The default size beyond which the proxy does not take a request's body."""


RECALL_BYTES = 64 * MIB
"""The default of what a process keeps of plain hits, to give them again."""


def _refuse_negative(bounds: "Timeouts | Work | Limits") -> None:
    for field in fields(bounds):
        bound = getattr(bounds, field.name)
        if isinstance(bound, int | float) and not bound >= 0:
            raise ConfigurationError(f"{type(bounds).__name__}.{field.name} must not be negative")


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeouts:
    """The times for which an HTTP upstream is waited for, in seconds.

    first_byte  to connect and to send the request, until the first byte of the answer
    idle        between two bytes of the answer
    total       from the beginning of the request to the end of the answer
    connect     to connect
    pool        for one of httpx's own connections, before it is seen whether there can be one

    Raises `ConfigurationError` where a value cannot work.
    """

    first_byte: float = 600.0
    idle: float = 120.0
    total: float = 3_600.0
    connect: float = 10.0
    pool: float = 1.0

    def __post_init__(self) -> None:
        _refuse_negative(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """The work that one document may be: while it is read, nothing else runs, in any thread. Beyond it, it is not read.

    document       units of work in a request, or in a part of an answer that is judged; 2**23 are 20 ms or so: a million
                   escapes, or 130,000 bytes outside of strings, or 2,000 numbers with a long exponent. A request of 1,000
                   messages and 128 tools has a quarter of that
    answer         the same in an answer of which another kind is made: it may have the probabilities of 20 tokens beside
                   each of 500
    objects        objects in an answer: each could be a choice
    lines          lines in a stream that is recorded: each takes a microsecond. A stream of 16 MiB with a token in each
                   event has 140,000, where an event is as long as upstreams make it
    lines_at_once  the same in one chunk of it
    pieces         pieces into which an answer is cut to make a stream of it: its text is in some 500 of them, and others
                   are whole choices and tool calls

    Raises `ConfigurationError` where a value cannot work.
    """

    document: int = 2**23
    answer: int = 2**25
    objects: int = 2**17
    lines: int = 2**18
    lines_at_once: int = 2**15
    pieces: int = 4096

    def __post_init__(self) -> None:
        _refuse_negative(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """The bounds of the memory, time and work of a mount. Durations are in seconds, sizes in bytes.

    requests_bytes    what is held of the bodies of all requests; what comes beyond that is passed on unread
    flight_bytes      what all responses in progress hold; beyond it a miss is relayed unrecorded
    derived_bytes     what was derived for other kinds and is kept, so that the next hit need not
    recall_bytes      what is kept of plain hits, to be given again to the same request without deciding it anew; 0: nothing
    judged_bytes      a larger record is judged where nobody else waits meanwhile: megabytes take a tenth of a second
    detached          how many responses that every reader has left are read on at once
    abandon_grace     how long such a response is read on
    stop_notice       how long a wrapped app that was told of a disconnect has before it is cancelled
    apart             how many who may not have another's refusal ask one question at a time, each on its own account
    json_hold         how long after its first byte JSON is held so that its head can say whether it was stored
    done_hold         how long `data: [DONE]` is held for the upstream's body to end
    store_patience    how long a client waits for the store
    store_opening     how long a client waits for a store that has to open first, or for its secret, once
    store_call        how long a call of a store may run before it counts as one that hangs
    store_calls       how many calls of a store without a thread of its own are made at once
    store_queue_bytes how much of records may wait to be stored
    store_faults      after how many failures in a row a store is left alone
    store_first_rest  how long it is left alone before it is tried again, at first
    store_rest        the same, at most
    head_bytes        a larger head of a request is not taken by the proxy
    head_fields       nor is one with more fields
    head_time         how long the proxy waits for a head
    body_time         how long it waits for the rest of the request when it has the head
    write_time        how long a client of the proxy may read nothing of what waits for it
    linger_time       how long what a refused client goes on sending is taken, so that it can hear why
    drain_bytes       how much of a body is taken behind an answer that did not need it, for the sake of the connection
    timeouts          how long an HTTP upstream is waited for
    work              how much work one document may be

    Raises `ConfigurationError` where a value cannot work.
    """

    requests_bytes: int = 256 * MIB
    flight_bytes: int = 256 * MIB
    derived_bytes: int = 16 * MIB
    recall_bytes: int = RECALL_BYTES
    judged_bytes: int = 256 * 1024
    detached: int = 32
    abandon_grace: float = 120.0
    stop_notice: float = 1.0
    apart: int = 4
    json_hold: float = 10.0
    done_hold: float = 1.0
    store_patience: float = 0.05
    store_opening: float = 0.25
    store_call: float = 1.0
    store_calls: int = 64
    store_queue_bytes: int = 64 * MIB
    store_faults: int = 5
    store_first_rest: float = 0.25
    store_rest: float = 5.0
    head_bytes: int = 64 * 1024
    head_fields: int = 100
    head_time: float = 10.0
    body_time: float = 60.0
    write_time: float = 120.0
    linger_time: float = 1.0
    drain_bytes: int = MIB
    timeouts: Timeouts = Timeouts()
    work: Work = Work()

    def __post_init__(self) -> None:
        _refuse_negative(self)
