"""Responses in progress: who forwards, and who waits for it."""

import anyio
from anyio.lowlevel import RunVar

from cachemw.core.effects import Claim, Claimed

FlightKey = tuple[bytes, object]


class Flights:
    """The claims of one process, a table for each event loop. Keyed by the bytes themselves, so joining needs equality."""

    def __init__(self) -> None:
        self._tables: RunVar[dict[FlightKey, anyio.Event]] = RunVar(f"cachemw flights {id(self)}")

    async def claim(self, claim: Claim, patience: float) -> Claimed:
        """Lead, or wait for the one that does until it has landed, at most `patience` seconds."""
        table = self._table()
        landed = table.get(_key(claim))
        if landed is not None:
            with anyio.move_on_after(patience):
                await landed.wait()
            return Claimed.FOLLOWED
        if not claim.may_lead:
            return Claimed.ALONE
        table[_key(claim)] = anyio.Event()
        return Claimed.LEAD

    def land(self, claim: Claim) -> None:
        """Let the others look again: the answer is stored, or it is not going to be."""
        self._table().pop(_key(claim)).set()

    def _table(self) -> dict[FlightKey, anyio.Event]:
        try:
            return self._tables.get()
        except LookupError:
            table: dict[FlightKey, anyio.Event] = {}
            self._tables.set(table)
            return table


def _key(claim: Claim) -> FlightKey:
    return claim.parts, claim.kind
