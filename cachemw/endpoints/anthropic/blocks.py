"""Judge the blocks of a message: each begun in its turn, ended, and one that can be repeated."""

from cachemw.endpoints.anthropic.reading import (
    MessageEvent,
    is_from_server,
    member_in,
    members_in,
    says_something,
    text_in,
)
from cachemw.endpoints.base import RawMembers
from cachemw.limits import Work
from cachemw.wire.strict_json import TOO_COMPLEX, is_too_complex

_BROKEN = "broken-block"


class OpenBlocks:
    """The blocks so far. `say_something`: there is more in them than nothing."""

    def __init__(self, work: Work) -> None:
        self.say_something = False
        self._work = work
        self._count = 0
        self._inputs: dict[int, list[str]] = {}  # of the open blocks, the pieces of JSON

    @property
    def are_open(self) -> bool:
        """Say whether one has begun and not ended."""
        return bool(self._inputs)

    def take_in(self, said: MessageEvent) -> str | None:
        """Take in an event of a block, and return what is wrong with it; others say nothing of blocks."""
        match said.type:
            case "content_block_start":
                return self._start(said.index, said.content_block)
            case "content_block_delta":
                return self._go_on(said.index, said.delta)
            case "content_block_stop":
                return self._stop(said.index)
        return None

    def take_whole(self, blocks: list[RawMembers]) -> str | None:
        """Take in the blocks of a whole message, and return what is wrong with them."""
        return next((fault for block in blocks if (fault := self._look_at(block))), None)

    def _start(self, index: int | None, block: RawMembers | None) -> str | None:
        if block is None or index != self._count:  # clients append it, whatever its index
            return _BROKEN
        self._count += 1
        self._inputs[index] = []
        return self._look_at(block)

    def _go_on(self, index: int | None, delta: RawMembers | None) -> str | None:
        if delta is None or index not in self._inputs:
            return _BROKEN
        if text_in(delta, "type", self._work) == "input_json_delta":
            piece = text_in(delta, "partial_json", self._work)
            if piece is None:
                return "broken-input"
            self._inputs[index].append(piece)
        self.say_something |= says_something(delta, self._work)
        return None

    def _stop(self, index: int | None) -> str | None:
        if index not in self._inputs:
            return _BROKEN
        written = "".join(self._inputs.pop(index)).encode()
        if is_too_complex(written, self._work.document):
            return TOO_COMPLEX
        return "broken-input" if written and members_in(written) is None else None

    def _look_at(self, block: RawMembers) -> str | None:
        of_type = text_in(block, "type", self._work)
        if of_type is None:
            return _BROKEN
        if is_from_server(of_type):
            return "server-tool"
        if of_type == "tool_use" and not isinstance(member_in(block, "input", self._work), dict):
            return "broken-input"
        self.say_something |= says_something(block, self._work)
        return None
