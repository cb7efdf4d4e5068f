"""The last refusals: why the last answer to a key was not kept, to be told in that key's next miss. Of content, nothing."""

from collections import Counter, OrderedDict
from collections.abc import Callable
from contextlib import suppress

REMEMBERED = 8192
"""How many keys are remembered at once; then those go whose answer was refused longest ago."""

_SAID_OTHERWISE = frozenset({"not-200", "superseded", "purged"})
"""What is not told again: a status says it by itself, and of the others a newer answer, or a purge, has the last word."""

_FINISH = "finish-"

Told = Callable[[str, str, bytes, str], None]
"""Takes a `detail`, an endpoint's name, a key's index, and the host that answered, empty for an app."""


def _nobody(detail: str, endpoint: str, index: bytes, host: str) -> None:
    """Take note of nothing."""


class LastRefusals:
    """The refusals to keep an answer: one is `told` of each; by key, the last is remembered. Used by any number of threads."""

    def __init__(self, told: Told = _nobody) -> None:
        self.counts = Counter[str]()
        """How many there were, by detail; those of all finish reasons together, for upstreams make them up."""
        self._told = told
        self.by_key: OrderedDict[bytes, tuple[str, int]] = OrderedDict()
        """The detail, and the generation, by the key's index; nearly always there is none."""

    def note(self, detail: str, endpoint: str, index: bytes, generation: int | None, host: str = "") -> None:
        """Take note of a refusal; `generation` is that of the store's purges when the answer was asked for, if it is known."""
        self.counts[_FINISH + "…" if detail.startswith(_FINISH) else detail] += 1
        self._told(detail, endpoint, index, host)
        if generation is None or detail in _SAID_OTHERWISE:
            return
        self.by_key[index] = detail, generation
        with suppress(KeyError):  # another thread has just taken it
            self.by_key.move_to_end(index)
            if len(self.by_key) > REMEMBERED:
                self.by_key.popitem(last=False)

    def forget(self, index: bytes) -> None:
        """Forget that one: an answer to the key is stored."""
        self.by_key.pop(index, None)

    def last(self, index: bytes, generation: int) -> str | None:
        """Return the detail of the key's last refusal; `None` where there was none, or a purge since then."""
        detail, noted_in = self.by_key.get(index, (None, generation))
        return detail if noted_in == generation else None


def was(detail: str) -> str:
    """Return how a refusal is told in the next miss."""
    return f"was-{detail}"
