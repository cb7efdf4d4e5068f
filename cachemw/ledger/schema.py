"""The tables of the ledger: the sums of each minute, the last exchanges one by one, and what was purged. Pure."""

from collections.abc import Iterable

LEDGER_FILE = "ledger.db"

NOT_WRITTEN = "dropped"
"""The outcome under which the ledger counts exchanges of which it knows no more."""

ANSWERED_HERE = ("hit", "stale", "collapsed")
"""The outcomes in which no upstream was asked for this very exchange, and an answer was given."""

BOUGHT = ("miss", "refresh", "bypass", "passed")
"""The outcomes in which an upstream was asked for this very exchange, and is to be paid."""

MISSES = ("miss", "not_cached")
"""The outcomes in which nothing was stored that answers, although the store was asked."""

KEEPABLE = ("miss", "refresh")
"""The outcomes of which the answer may be kept, and others may read it as it comes."""

LATENCIES = (*(f"below_{2**power}_ms" for power in range(19)), "above_ms")

OF_WHOM = ("minute", "client", "route", "target", "model", "endpoint", "outcome")
"""Whose sums a row of `minutes` has."""

SUMS = (
    *("count", "input_tokens", "output_tokens", "cached_tokens", "spent", "saved", "ms_saved"),
    *("unpriced", "at_least", "estimated", *LATENCIES),
)
"""The sums: money is in nano-dollars; `unpriced`, `at_least` and `estimated` count answers, of whose cost less is known."""

DETAILS = (
    *("id", "at_ms", "worker", "outcome", "detail", "key", "client", "route", "target", "model", "answered_model", "endpoint"),
    *("namespace", "status", "fwd", "fwd_status", "stored", "kept_ms", "bytes_in", "bytes_out"),
    *("input_tokens", "output_tokens", "cached_tokens", "reasoning_tokens", "cache_write_tokens"),
    *("cost", "cost_basis", "at_least", "saved", "first_ms", "total_ms", "took_ms", "attempts", "count", "sketch"),
)
"""What is known of one exchange. `kept_ms`: how long the store holds what was kept, absent until it is evicted; `took_ms`:
how long the stored answer of a hit had taken; `count`: how many exchanges the row stands for."""

LEDGER_VERSION = 2

ENDLESS = 2**63 - 1
"""The largest number that SQLite holds: a place, a minute or a limit beyond all that there are."""


def listed(names: Iterable[str]) -> str:
    """Return names as SQL lists them."""
    return ", ".join(names)


def quoted(words: Iterable[str]) -> str:
    """Return constants as SQL lists them."""
    return listed(f"'{word}'" for word in words)


LEDGER_SCHEMA = (
    f"CREATE TABLE minutes ({listed(OF_WHOM)}, {listed(f'{name} INTEGER NOT NULL' for name in SUMS)},"
    f" PRIMARY KEY ({listed(OF_WHOM)})) WITHOUT ROWID",
    f"CREATE TABLE exchanges (place INTEGER PRIMARY KEY, {listed(DETAILS)})",
    "CREATE TABLE purges (at_ms INTEGER NOT NULL, key TEXT NOT NULL)",
)
