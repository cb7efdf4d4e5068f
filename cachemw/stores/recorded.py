"""What the records of a store say they answer: the sketch of each, for who looks for the nearest of them."""

from collections.abc import Callable, Iterator
from heapq import nlargest
from operator import attrgetter

import msgspec

from cachemw.cache import record as codec
from cachemw.cache.key import SHARED
from cachemw.cache.nearest import NEWEST
from cachemw.cache.sketch import Sketch, read_sketch, sketch_of_body
from cachemw.errors import RecordError
from cachemw.redaction import redacted_repr
from cachemw.stores.base import Store


class Recorded(msgspec.Struct, frozen=True):
    """A record, without its answer. `sketch` is that of its key, or of the request that it holds, if that says as much.

    `stored_at` is in seconds since the epoch.
    """

    index: bytes
    stored_at: float
    model: str | None
    sketch: Sketch

    __repr__ = redacted_repr


def recorded(store: Store, is_over: Callable[[], bool] = lambda: False) -> list[Recorded]:
    """Return the newest records of a store that have a sketch, or of which one can be made, oldest first.

    Those that were seen before it `is_over`, where there are many. Raises `StoreError`.
    """
    found = nlargest(NEWEST, _recorded(store, is_over), key=attrgetter("stored_at"))
    return found[::-1]


def _recorded(store: Store, is_over: Callable[[], bool]) -> Iterator[Recorded]:
    for index, record in store.scan():
        if is_over():
            return
        try:
            read = codec.view(record)
        except RecordError:
            continue
        sketch = sketch_in(read.sketch, read.request)
        if sketch is not None:
            yield Recorded(index, read.stored_at, read.model, sketch)


def sketch_in(sketch: bytes | None, request: bytes | None) -> Sketch | None:
    """Return the sketch that a record holds, else that of the request it holds; as of one in a partition that all share."""
    if sketch is not None:
        return read_sketch(sketch)
    return None if request is None else sketch_of_body(request, SHARED, b"")
