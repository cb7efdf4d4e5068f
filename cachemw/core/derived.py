"""What was derived from records lately: taking a long stream apart costs far more than all the rest of a hit."""

from collections import OrderedDict

from cachemw.core import limits
from cachemw.core.messages import Kind, StoredResponse
from cachemw.core.transcode import derive

Mark = bytes
"""Says which record it is: its header, with the checksum, and its proof."""


class Derived:
    """Keeps answers of other kinds, as many as take `limits.DERIVED_BYTES`; then the oldest go."""

    def __init__(self) -> None:
        self._kept: OrderedDict[tuple[Mark, Kind], StoredResponse] = OrderedDict()
        self._size = 0

    def of(self, mark: Mark, stored: StoredResponse, kind: Kind) -> StoredResponse | str:
        """Return the record in this kind, or the `detail` that says why it cannot be had."""
        if stored.kind == kind:
            return stored
        kept = self._kept.get((mark, kind))
        if kept is not None:
            return kept
        answer = derive(stored, kind)
        if isinstance(answer, StoredResponse):
            self._keep(mark, answer)
        return answer

    def _keep(self, mark: Mark, answer: StoredResponse) -> None:
        self._kept[mark, answer.kind] = answer
        self._size += memory_of(answer)
        while self._size > limits.DERIVED_BYTES:
            try:
                _, oldest = self._kept.popitem(last=False)
            except KeyError:  # an event loop in another thread has just taken the last one
                self._size = 0
            else:
                self._size -= memory_of(oldest)


def memory_of(answer: StoredResponse) -> int:
    """Return about how many bytes of memory it takes: of small ones the body is the smaller part."""
    return len(answer.body) + 100 * len(answer.event_ends) + 1000
