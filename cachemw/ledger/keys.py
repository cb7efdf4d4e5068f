"""Sum up the last exchanges of a ledger by their keys: what is asked again and again, and what costs most."""

from enum import StrEnum

import msgspec

from cachemw.ledger.reader import LedgerReader
from cachemw.ledger.reading import EVERY, Condition
from cachemw.ledger.schema import ANSWERED_HERE, BOUGHT, ENDLESS, listed, quoted
from cachemw.redaction import redacted_repr


class KeysBy(StrEnum):
    """What keys are ordered by, the most first."""

    MISSES = "misses"
    COST = "cost"
    TOKENS = "tokens"
    HITS = "hits"


class KeySums(msgspec.Struct, frozen=True):
    """The exchanges that have one key, and one target.

    `asked` counts those that were forwarded, `not_kept` those of them whose answer was not kept, for a reason as in `detail`.
    What is saved is of answers from here; other tokens, and the `cost`, are of what was forwarded. `unpriced` counts answers
    of which nobody knows the cost, `least` is not 0 where it may have been more. `place` and `at_ms` are those of the last.
    """

    key: str
    target: str
    model: str
    endpoint: str
    requests: int
    answered_here: int
    asked: int
    not_kept: int
    detail: str | None
    input_tokens: int
    output_tokens: int
    cached_tokens: int
    saved_input_tokens: int
    saved_output_tokens: int
    cost: int
    unpriced: int
    saved: int
    at_ms: int
    place: int
    least: int

    __repr__ = redacted_repr

    @property
    def tokens(self) -> int:
        """The tokens that are billed."""
        return self.input_tokens + self.output_tokens

    @property
    def is_least(self) -> bool:
        """Say whether it may have cost more."""
        return bool(self.unpriced or self.least)


_IS_HERE = f"outcome IN ({quoted(ANSWERED_HERE)})"
_IS_BOUGHT = f"outcome IN ({quoted(BOUGHT)})"
_TOKENS = ("input_tokens", "output_tokens", "cached_tokens")
_BILLED = "input_tokens_billed + output_tokens_billed DESC"
_ORDERS = {
    KeysBy.MISSES: "asked DESC, not_kept DESC",
    KeysBy.COST: f"spent DESC, {_BILLED}",
    KeysBy.TOKENS: _BILLED,
    KeysBy.HITS: "here DESC",
}
_COLUMNS = (
    *("key", "target", "model", "endpoint", "sum(count)", f"sum({_IS_HERE} * count) AS here", f"sum({_IS_BOUGHT}) AS asked"),
    f"coalesce(sum({_IS_BOUGHT} AND stored = 0), 0) AS not_kept",
    f"max(CASE WHEN {_IS_BOUGHT} AND stored = 0 THEN detail END)",
    *(f"coalesce(sum({_IS_BOUGHT} * {column}), 0) AS {column}_billed" for column in _TOKENS),
    *(f"coalesce(sum({_IS_HERE} * count * {column}), 0)" for column in _TOKENS[:2]),
    f"coalesce(sum({_IS_BOUGHT} * cost), 0) AS spent",
    f"coalesce(sum({_IS_BOUGHT} AND cost IS NULL AND status < 400), 0)",
    *("coalesce(sum(count * saved), 0)", "max(at_ms)", "max(place)", "max(at_least)"),
)
_KEYS = (
    f"SELECT {listed(_COLUMNS)} FROM exchanges WHERE key IS NOT NULL AND ({{}})"  # noqa: S608 - of constants
    " GROUP BY key, target, model ORDER BY {}, max(place) DESC LIMIT ?"
)


def keys(reader: LedgerReader, by: KeysBy, where: Condition = EVERY, *, limit: int = 20) -> list[KeySums]:
    """Return the keys of which there is most, as far back as exchanges are kept one by one. Raises `BookError`."""
    return [KeySums(*row) for row in reader.query(_KEYS.format(where[0], _ORDERS[by]), (*where[1], min(limit, ENDLESS)))]
