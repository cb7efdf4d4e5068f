"""Put the pieces of a value together by one rule that is never false: what could be one thing or another is a `Loss`."""

import re
from typing import Any, Protocol

from cachemw.endpoints.chat.transcode.reading import index_of
from cachemw.endpoints.deriving import JsonObject, Loss

TEXTS = frozenset(
    "content refusal reasoning reasoning_content reasoning_text thinking text summary data transcript arguments input".split()
)
"""Strings that are known to come in pieces."""

LABELS = frozenset("role type format signature thought_signature channel status phase".split())
"""Strings that may be said again and otherwise: the last one holds."""

NAMES = frozenset("id name url model provider object kind mode language encoding version".split())
"""Strings that may be said again, but not otherwise; so are those whose name ends as `ID_NAMES` do."""

ID_NAMES = ("_id", "_type")

RUNS = frozenset({"text", "thinking"})
"""The types of parts of which one is sent in pieces, each a part."""

_WORD = re.compile(r"[\w.:/-]+")


class Sum(Protocol):
    """Pieces of one value so far. `takes`: the types a piece may have."""

    takes: tuple[type, ...]

    def add(self, piece: Any) -> None:
        """Take a piece in; the pieces are kept, and joined once: an answer may come in a million of them."""

    def total(self) -> Any:
        """Return the whole value."""


class ObjectSum:
    """An object: every member for itself. A null changes nothing.

    A text that nobody knows, and that comes again unchanged, is a label where each piece of the object has it while another
    text of it grows; else it may be a text whose pieces are alike.
    """

    takes: tuple[type, ...] = (dict,)
    labels = LABELS

    def __init__(self) -> None:
        self._sums: dict[str, Sum | None] = {}
        self._size = 0

    def add(self, piece: JsonObject) -> None:
        self._size += bool(piece)
        for name, value in piece.items():
            growing = self._sums.get(name)
            if growing is None:
                growing = self._sums[name] = None if value is None else self._begun(name, value)
            if growing is not None and value is not None:
                if type(value) not in growing.takes:
                    raise Loss
                growing.add(value)

    def total(self) -> JsonObject:
        for growing in self._sums.values():
            if isinstance(growing, UnknownTextSum) and growing.times == self._size:
                growing.is_label = self._has_grown()
        return {name: None if growing is None else growing.total() for name, growing in self._sums.items()}

    def _has_grown(self) -> bool:
        known = (growing for growing in self._sums.values() if isinstance(growing, TextSum | ContentSum))
        return any(growing.has_grown for growing in known if not isinstance(growing, UnknownTextSum))

    def _begun(self, name: str, value: Any) -> Sum:
        if name == "content" and isinstance(value, (str, list)):
            return ContentSum()
        if isinstance(value, str):
            return self._begun_text(name)
        if isinstance(value, dict):
            return ObjectSum()
        if isinstance(value, list):
            return self._begun_list(name)
        return ConstantSum((bool,) if isinstance(value, bool) else (int, float))

    def _begun_text(self, name: str) -> Sum:
        if name in self.labels:
            return LabelSum()
        if name in NAMES or name.endswith(ID_NAMES):
            return NameSum()
        return TextSum() if name in TEXTS else UnknownTextSum()

    def _begun_list(self, name: str) -> Sum:
        if name in RUNS:
            return PartsSum()
        return EntriesSum(is_typed=name != "tool_calls")


class EntrySum(ObjectSum):
    """An entry of a list: it may be given its `id` late, and anew."""

    labels = LABELS | {"id"}


class LogprobsSum(ObjectSum):
    """Log probabilities: entries follow one another, and two tokens may well be alike."""

    def _begun(self, name: str, value: Any) -> Sum:
        if isinstance(value, list):
            return SequenceSum()
        return LogprobsSum() if isinstance(value, dict) else super()._begun(name, value)


class SequenceSum:
    """A list that is known to come in pieces."""

    takes: tuple[type, ...] = (list,)

    def __init__(self) -> None:
        self._entries: list[Any] = []

    def add(self, piece: list[Any]) -> None:
        self._entries += piece

    def total(self) -> list[Any]:
        return self._entries


class EntriesSum:
    """A list: entries with an index are put together by that and their type, others follow one another.

    Entries of a list that is not typed, as tool calls, are told apart by their index alone. A list that begins as all that
    came before may be said again: who knows.
    """

    takes: tuple[type, ...] = (list,)

    def __init__(self, *, is_typed: bool) -> None:
        self._is_typed = is_typed
        self._entries: list[Any] = []
        self._indexed: dict[int, dict[str, ObjectSum]] = {}

    def add(self, piece: list[Any]) -> None:
        if any(isinstance(entry, dict) and entry.get("index") is not None for entry in piece):
            for entry in piece:
                self._merge(entry)
        elif self._entries and piece and piece[: len(self._entries)] == self._entries:
            raise Loss
        else:
            self._entries += piece
        if self._entries and self._indexed:
            raise Loss

    def _merge(self, entry: Any) -> None:
        if not isinstance(entry, dict):
            raise Loss
        at_index = self._indexed.setdefault(index_of(entry), {})
        if self._is_typed:
            of_type = _type_of(entry, at_index)
            at_index.setdefault(of_type, EntrySum()).add(entry)
        else:
            at_index.setdefault("", ObjectSum()).add(entry)

    def total(self) -> list[Any]:
        indexed = [entry.total() for index in sorted(self._indexed) for entry in self._indexed[index].values()]
        return indexed or self._entries


def _type_of(entry: JsonObject, at_index: dict[str, ObjectSum]) -> str:
    """Return the type of an entry; one that says none goes on with the only entry of its index."""
    named = entry.get("type") or ""
    if not isinstance(named, str):
        raise Loss
    if not named and at_index:
        (named, *others) = at_index
        if others:
            raise Loss
    elif named and "" in at_index:  # it may be that one, or another
        raise Loss
    return named


class ContentSum:
    """Content: a text, or a list of parts, or one after the other, as from models that think first."""

    takes: tuple[type, ...] = (str, list)

    def __init__(self) -> None:
        self._text = TextSum()
        self._parts: PartsSum | None = None

    def add(self, piece: str | list[Any]) -> None:
        if isinstance(piece, list):
            self._as_parts().add(piece)
        elif self._parts is None:
            self._text.add(piece)
        elif piece:
            self._parts.add([{"type": "text", "text": piece}])

    @property
    def has_grown(self) -> bool:
        """Say whether it is a text that came in more than one piece."""
        return self._parts is None and self._text.has_grown

    def total(self) -> str | list[Any]:
        return self._text.total() if self._parts is None else self._parts.total()

    def _as_parts(self) -> "PartsSum":
        if self._parts is None:
            self._parts = PartsSum()
            if before := self._text.total():
                self._parts.add([{"type": "text", "text": before}])
        return self._parts


class PartsSum:
    """A list of parts: a run of one type that comes in pieces is one part, and other parts follow one another."""

    takes: tuple[type, ...] = (list,)

    def __init__(self) -> None:
        self._parts: list[Any] = []
        self._growing: ObjectSum | None = None  # in the place of the last part

    def add(self, piece: list[Any]) -> None:
        if not piece:
            return
        if self._parts:
            self._go_on(piece)
        else:
            self._parts = [*piece]

    def total(self) -> list[Any]:
        return [*self._parts[:-1], self._last()] if self._parts else []

    def _last(self) -> Any:
        return self._parts[-1] if self._growing is None else self._growing.total()

    def _go_on(self, piece: list[Any]) -> None:
        if not all(map(_is_part, (*self._parts[-1:], *piece))):
            raise Loss
        first, *others = piece
        last = self._parts[-1]
        if first["type"] == last["type"] in RUNS:
            if self._growing is None:
                self._growing = ObjectSum()
                self._growing.add(last)
            self._growing.add(first)
        else:
            others = piece
        if others:
            self._parts[-1] = self._last()
            self._parts += others
            self._growing = None


def _is_part(value: Any) -> bool:
    return isinstance(value, dict) and isinstance(value.get("type"), str)


class TextSum:
    """A text that is known to come in pieces."""

    takes: tuple[type, ...] = (str,)

    def __init__(self) -> None:
        self._pieces: list[str] = []

    def add(self, piece: str) -> None:
        if piece:
            self._pieces.append(piece)

    @property
    def has_grown(self) -> bool:
        """Say whether it came in more than one piece."""
        return len(self._pieces) > 1

    def total(self) -> str:
        return "".join(self._pieces)


class UnknownTextSum(TextSum):
    """A text that nobody knows: said once, or in pieces that cannot be taken for anything else.

    They could be a label that changes where each of them is a word, or comes again; or the whole so far, said anew. One piece
    that came some `times`, and no other, is a label where its object says so.
    """

    def __init__(self) -> None:
        super().__init__()
        self._seen: set[str] = set()
        self._size = 0
        self._are_words = True
        self.times, self.is_label = 0, False

    def add(self, piece: str) -> None:
        if not piece:
            return
        self.times += 1
        if self._seen == {piece}:
            return
        came_again = self.times > len(self._seen) + 1 or piece in self._seen
        if came_again or len(piece) > self._size > 0 and piece.startswith(super().total()):
            raise Loss
        self._seen.add(piece)
        self._size += len(piece)
        self._are_words = self._are_words and _WORD.fullmatch(piece) is not None
        super().add(piece)

    def total(self) -> str:
        comes_again = self.times > len(self._seen) and not self.is_label
        if comes_again or len(self._seen) > 1 and self._are_words:
            raise Loss
        return super().total()


class NameSum:
    """A name: it may be repeated, and another is a contradiction."""

    takes: tuple[type, ...] = (str,)

    def __init__(self) -> None:
        self._name = ""

    def add(self, piece: str) -> None:
        if piece and self._name and piece != self._name:
            raise Loss
        self._name = piece or self._name

    def total(self) -> str:
        return self._name


class LabelSum:
    """A label: the last one holds that says something."""

    takes: tuple[type, ...] = (str,)

    def __init__(self) -> None:
        self._last = ""

    def add(self, piece: str) -> None:
        self._last = piece or self._last

    def total(self) -> str:
        return self._last


class ConstantSum:
    """A number or a truth value: it may be repeated; of one that changes nobody knows what it is in the end."""

    def __init__(self, takes: tuple[type, ...]) -> None:
        self.takes = takes
        self._value: Any = None

    def add(self, piece: Any) -> None:
        if self._value is not None and piece != self._value:
            raise Loss
        self._value = piece

    def total(self) -> Any:
        return self._value
