"""The rules of `tests.mounts.history`, held against a book."""

from collections.abc import Iterator
from dataclasses import dataclass

from tests.mounts.history import Book, Forward, Op, Purge


@dataclass(frozen=True, slots=True)
class Broken:
    """A rule that was broken, and by what."""

    rule: str
    why: str
    about: tuple[Op | Forward | Purge, ...]


class Rules:
    """Goes through what happened; `broken` yields what should not have."""

    def __init__(self, book: Book) -> None:
        self.ops = {op.number: op for op in book.ops}
        self.of = {forward.value: forward for forward in book.forwards}
        self.own: dict[int, list[Forward]] = {}
        for forward in book.forwards:
            self.own.setdefault(forward.op, []).append(forward)
        self.fences = {
            op.question: [purge for purge in book.purges if purge.question in (None, op.question)] for op in book.ops
        }
        self.known: dict[str, dict[int, Op]] = {}  # by whose end a value is known to be stored
        for op in sorted(book.ops, key=lambda op: op.ended):
            if op.value in self.of and (op.from_store or ("; stored" in op.said and not op.joined)):
                self.known.setdefault(op.question, {}).setdefault(op.value, op)

    def broken(self) -> Iterator[Broken]:
        """Yield every breach."""
        yield from self._keys()
        for op in self.ops.values():
            yield from self._manners(op)
            if op.value is not None and op.value in self.of:
                forward = self.of[op.value]
                owner = self.ops[forward.op]
                yield from self._content(op, forward, owner)
                if op.from_store or op.joined:
                    yield from self._order(op, forward, owner)

    def _keys(self) -> Iterator[Broken]:
        seen: dict[str, Op] = {}
        for op in self.ops.values():
            for name in (op.key, op.question) if op.key else ():
                first = seen.setdefault(name, op)
                if (first.key, first.question) != (op.key, op.question):
                    yield Broken("R3", "two questions have one key, or one has two", (first, op))

    def _manners(self, op: Op) -> Iterator[Broken]:
        """R4 and R9: who asked the upstream, and what is said of it."""
        own, status = self.own.get(op.number, []), op.reply.status
        is_answered = op.from_store if status == 200 else status == 504
        if op.only_stored and (own or op.joined or not is_answered):
            yield Broken("R4", "who allows only what is stored asked, joined, or got something else", (op, *own))
        if op.hit and own:
            yield Broken("R9", "a hit asked the upstream", (op, *own))
        if op.is_new and (op.from_store or op.joined):
            yield Broken("R9", "a refresh got what was there", (op,))
        is_own = op.from_store or op.joined or op.value in [forward.value for forward in own]
        if op.value is not None and not is_own:
            yield Broken("R9", "an answer that is said to be one's own is another's", (op,))
        if op.value is None and op.reply.complete and status not in (502, 504):
            yield Broken("R9", "an answer that no upstream gave", (op,))

    def _content(self, op: Op, forward: Forward, owner: Op) -> Iterator[Broken]:
        """R3, R5 and R6: whose answer it is, and what of it is shown."""
        about = (owner, forward, op)
        if owner.question != op.question:
            yield Broken("R3", "an answer to another question", about)
        if not owner.keeps and owner is not op:
            yield Broken("R6", "an answer that must not be kept is shown to another", about)
        if not forward.is_sound and (op.from_store or (owner is not op and op.began > self._over(forward, owner))):
            yield Broken("R5", "what failed is shown afterwards", about)
        if forward.outcome == "cut" and op.is_whole:
            yield Broken("R5", "what broke off is shown as whole", about)

    def _over(self, forward: Forward, owner: Op) -> float:
        """Return by when its last byte has surely come, and nobody can join it any more."""
        return owner.ended if owner.value == forward.value and owner.reply.complete else max(owner.ended, forward.done)

    def _order(self, op: Op, forward: Forward, owner: Op) -> Iterator[Broken]:
        """R1, R2 and R8: what came before it."""
        is_excused = op.joined and "store-" in op.said  # who cannot read the store may read along with whatever flies
        for purge in self.fences[op.question]:
            if forward.arrived < purge.began and purge.ended < op.began and not is_excused:
                how = "joined" if op.joined else "stored"
                yield Broken("R2", f"what was asked for before a purge is shown after it ({how})", (forward, purge, op))
        for its_owner, its, by in self._newer(op, forward):
            if not op.joined or (self._is_surely_there(its_owner, its, op) and not is_excused):
                rule = "R1" if its_owner.is_new else "R8"
                yield Broken(rule, "an older answer comes back after a newer one was stored", (owner, its_owner, by, op))

    def _newer(self, op: Op, than: Forward) -> Iterator[tuple[Op, Forward, Op]]:
        """Yield what was known stored when an operation began, and was asked for after something."""
        for value, by in self.known.get(op.question, {}).items():
            its = self.of[value]
            if by.ended < op.began and than.arrived < self.ops[its.op].began:
                yield self.ops[its.op], its, by

    def _is_surely_there(self, owner: Op, its: Forward, op: Op) -> bool:
        """Say whether what was known stored was there until an operation ended: not purged, not replaced."""
        is_purged = any(purge.began < op.ended and purge.ended > owner.began for purge in self.fences[op.question])
        return not is_purged and not any(
            forward.is_sound and owner.began <= forward.arrived < op.ended
            for forward in self.of.values()
            if forward is not its and forward.op != op.number and self.ops[forward.op].question == op.question
        )


def is_telling(*books: Book) -> bool:
    """Say whether enough happened to show anything: a tenth of all requests were hits, and there were purges."""
    ops = [op for book in books for op in book.ops]
    return sum(op.from_store for op in ops) * 10 > len(ops) and any(book.purges for book in books)
