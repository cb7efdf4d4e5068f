"""A row of the ledger: one exchange, as it was written down. Pure."""

import msgspec

from cachemw.ledger.schema import ANSWERED_HERE, BOUGHT
from cachemw.messages import Usage
from cachemw.redaction import redacted_repr


class Row(msgspec.Struct, frozen=True):
    """One exchange, as the ledger has it, or several hits that are one but for their time: `count` says how many.

    Names are empty where there is none. Times are in milliseconds, money is in nano-dollars. `place` is its number in the
    ledger, `kept_ms` for how long the store holds what was kept, `took_ms` how long the stored answer of a hit had taken.
    """

    place: int
    id: str | None
    at_ms: int
    worker: int
    outcome: str
    detail: str | None
    key: str | None
    client: str
    route: str
    target: str
    model: str
    answered_model: str
    endpoint: str
    namespace: str | None
    status: int | None
    fwd: str | None
    fwd_status: int | None
    stored: int | None
    kept_ms: int | None
    bytes_in: int | None
    bytes_out: int | None
    input_tokens: int | None
    output_tokens: int | None
    cached_tokens: int | None
    reasoning_tokens: int | None
    cache_write_tokens: int | None
    cost: int | None
    cost_basis: str | None
    at_least: int
    saved: int | None
    first_ms: int | None
    total_ms: int | None
    took_ms: int | None
    attempts: int
    count: int
    sketch: bytes | None

    __repr__ = redacted_repr

    @property
    def at(self) -> float:
        """When it came, in seconds since the epoch."""
        return self.at_ms / 1000

    @property
    def ended_ms(self) -> int:
        """When its answer ended, in milliseconds since the epoch."""
        return self.at_ms + (self.total_ms or 0)

    @property
    def is_answered_here(self) -> bool:
        """Say whether it was answered without an upstream being asked for it."""
        return self.outcome in ANSWERED_HERE

    @property
    def is_bought(self) -> bool:
        """Say whether an upstream has answered it, and is to be paid."""
        return self.outcome in BOUGHT and self.status is not None and self.status < 400

    @property
    def usage(self) -> Usage:
        """The tokens that its answer says it took, whoever paid them."""
        tokens = self.input_tokens, self.output_tokens, self.cached_tokens, self.reasoning_tokens, self.cache_write_tokens
        return Usage(*tokens)

    @property
    def billed_tokens(self) -> tuple[int | None, int | None]:
        """The tokens of the input and the output that somebody bills: none of an answer from here."""
        return (0, 0) if self.is_answered_here else (self.input_tokens, self.output_tokens)

    @property
    def billed_cost(self) -> int | None:
        """What it cost: nothing where it was answered here; `None` where nobody knows."""
        return 0 if self.is_answered_here else self.cost
