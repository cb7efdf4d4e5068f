"""The order of records: a put never replaces a record that was asked for later."""

import struct
from collections.abc import Iterable

import msgspec

from cachemw.errors import Purged, Superseded
from cachemw.redaction import redacted_repr

_PLACED = struct.Struct(">QQ")


class Order(msgspec.Struct, frozen=True):
    """The place, in the order of a store, of a forward that began just now.

    `generation` is another one after every purge, `puts` counts the records that its store had taken by then, and `began`
    is in nanoseconds on a clock that all processes of the machine share and that never goes back.
    """

    generation: int
    puts: int
    began: int


class Placed(msgspec.Struct, frozen=True):
    """The place of a record, kept beside it: the number of its put, and when its forward began, as in `Order`."""

    put: int
    began: int

    def to_bytes(self) -> bytes:
        """Return 16 bytes for `placed`."""
        return _PLACED.pack(self.put, self.began)


class Others(msgspec.Struct, frozen=True):
    """The other records of a key, as far as one that is put has to do with them, by their indexes.

    It is not put where one under `beside` was asked for later; those under `instead_of` are removed with the put.
    """

    beside: tuple[bytes, ...] = ()
    instead_of: tuple[bytes, ...] = ()

    __repr__ = redacted_repr


ALONE = Others()
"""There is no other record of the key."""


def placed(raw: object) -> Placed | None:
    """Return what `to_bytes` wrote, `None` for anything else."""
    return Placed(*_PLACED.unpack(raw)) if isinstance(raw, bytes) and len(raw) == _PLACED.size else None


def place(order: Order, there: Iterable[Placed | None], at_landing: Order) -> Placed:
    """Return where a record that comes now is placed; `there` are the places of the ones that it would replace, or lie beside.

    The two clocks are compared only where both forwards were under way at once, which no restart of the machine comes
    between. Raises `Purged` and `Superseded`.
    """
    if order.generation != at_landing.generation:
        raise Purged("a purge came between the forward and its end")
    if any(other is not None and _was_asked_for_later(other, order, at_landing) for other in there):
        raise Superseded("a record that was asked for later is there")
    return Placed(at_landing.puts + 1, order.began)


def _was_asked_for_later(there: Placed, order: Order, at_landing: Order) -> bool:
    # whoever can write to a store can claim a place that no put can have
    is_possible = there.put <= at_landing.puts and there.began <= at_landing.began
    return is_possible and there.put > order.puts and there.began > order.began
