"""Gather the fragments of calls: which call each of them is of, and those calls that have to wait."""

from dataclasses import dataclass, field

from cachemw.redaction import redacted_repr
from cachemw.translation.messages_to_chat.completion import PartialCall


@dataclass(slots=True, eq=False)
class ToolCall:
    """A call of a tool. `index` is the upstream's number for it, `ordinal` ours."""

    index: int
    ordinal: int
    id: str = ""
    name: str = ""
    fragments: list[str] = field(default_factory=list)

    __repr__ = redacted_repr

    def add(self, fragment: PartialCall) -> None:
        """Take in a fragment: an id or a name that comes again is the same."""
        self.id = self.id or fragment.id or ""
        self.name = self.name or fragment.name
        self.fragments.append(fragment.arguments)

    @property
    def arguments(self) -> str:
        """All of its arguments that came and were not passed on."""
        return "".join(self.fragments)


class ToolCalls:
    """All calls of an answer; those are held for whom it is not yet time."""

    def __init__(self) -> None:
        self.held: dict[ToolCall, None] = {}
        self._by_index: dict[int, ToolCall] = {}
        self._by_id: dict[str, ToolCall] = {}
        self._count = 0

    def of(self, fragment: PartialCall, position: int) -> tuple[ToolCall, bool]:
        """Return the call that a fragment is of, and whether it is the first of it; without an index, its position is that.

        One with an id that is known is of that call, and one with another id and a name begins a call, whatever its index:
        some number each of their calls 0.
        """
        if fragment.id and (known := self._by_id.get(fragment.id)):
            return known, False
        index = position if fragment.index is None else fragment.index
        call = self._by_index.get(index)
        if call is None or fragment.id and fragment.name and call.id:
            return self._new(fragment, index), True
        if fragment.id:
            self._by_id[fragment.id] = call
        return call, False

    def hold(self, call: ToolCall) -> None:
        """Have a call wait."""
        self.held[call] = None

    def released(self) -> list[ToolCall]:
        """Return the calls that waited, in order of their index; they wait no more."""
        calls, self.held = sorted(self.held, key=lambda call: call.index), {}
        return calls

    def _new(self, fragment: PartialCall, index: int) -> ToolCall:
        call = ToolCall(index, self._count)
        call.add(fragment)
        self._count += 1
        self._by_index[index] = call
        if call.id:
            self._by_id[call.id] = call
        return call
