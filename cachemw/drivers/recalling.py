"""Recall plain hits for as long as the store holds what they were made of."""

import os
import threading
from collections.abc import Callable, Hashable, Iterable

from cachemw.cache.effects import Serve
from cachemw.cache.policy import Policy
from cachemw.cache.recall import RECALLED_BODY, Moment, Recall, Recalled, told_by
from cachemw.drivers.tally import Tally
from cachemw.errors import StoreError
from cachemw.limits import Limits
from cachemw.messages import Attested, Caller, Headers, Recipient, Unread
from cachemw.report import Hook
from cachemw.stores.base import Inline
from cachemw.stores.forks import on_fork
from cachemw.stores.guard import GuardedStore

UNTRUSTED = object()
"""The version of a store that is looked at the whole way."""


class Recaller:
    """The plain hits that a mount recalls, and whether they still hold; `tally` counts them.

    A store of which every call may wait is looked at the whole way: to trust it for a while would bring back what was purged.
    `recipient` is where misses go: on it depends which of a request's fields its decision reads.
    """

    def __init__(
        self,
        store: GuardedStore,
        policy: Policy,
        limits: Limits,
        hooks: Iterable[Hook],
        recipient: Recipient,
        clock: Callable[[], float],
    ) -> None:
        self.is_on = limits.recall_bytes > 0 and not callable(policy.partition)  # a function may read anything
        self._lock = threading.Lock()
        self._limit_bytes = limits.recall_bytes
        self.renew()
        self._store, self._clock = store, clock
        self._recipient, self._rules = recipient, policy.header_rules
        self.tally = Tally(hooks, clock)
        on_fork(self)

    def renew(self) -> None:
        """Begin anew: what is recalled by now is not given again, nor what requests under way are still given."""
        self.recall = Recall(os.urandom(32), self._limit_bytes, self._lock)
        self.digest = self.recall.digest
        """Returns the digest of a request: of that of its head, and its body."""

    def door(
        self, asked: tuple[str | bytes | None, ...], headers: Headers, attested: Attested, caller: Caller | None = None
    ) -> "Door":
        """Return the door of a request for what is `asked`. Nobody asks for one where nothing is recalled."""
        recall = self.recall
        head = recall.digest(told_by(asked, headers, attested, caller, self._recipient, self._rules))
        return Door(self, recall, head, recall.knows(head))

    def find(self, digest: bytes) -> tuple[Recalled, Moment] | None:
        """Return the plain hit that a request with this digest is to be given again, and what is said of it now."""
        recalled = self.recall.get(digest)
        if recalled is None:
            return None
        now, last = self._clock(), recalled.moment
        moment = last if last.age <= now - recalled.stored_at < last.ends else recalled.at(now)  # a call less, nearly always
        if moment is None or not self._is_as_found(recalled):
            self.recall.forget(digest)
            return None
        return recalled, moment

    def version(self) -> Hashable | None:
        """Return what the store says of itself, `None` where it does not; `UNTRUSTED` of one of which every call may wait."""
        try:
            return UNTRUSTED if self._store.inline is Inline.NONE else self._store.inline_version()
        except StoreError:
            return None

    def before_fork(self) -> None:
        """Let no other thread be in the middle of something: in the child there is nobody to end it."""
        self._lock.acquire()

    def after_fork(self) -> None:
        """Let the others go on."""
        self._lock.release()

    def _is_as_found(self, recalled: Recalled) -> bool:
        store = self._store
        try:
            if store.inline is Inline.NONE:
                return False
            version = store.inline_version()  # before what it speaks for is read
            if version is not None and version == recalled.version:
                return True
            is_there = self._is_there(recalled)
        except StoreError:
            return False
        if is_there:  # else whoever comes to it by another digest, or in another thread, would take it to be
            recalled.version = version
        return is_there

    def _is_there(self, recalled: Recalled) -> bool:
        return all(self._store.inline_get(index) == record for index, record in recalled.found)


class Door:
    """The way of one request past its decision, where the like of it was decided before, and of its decision to the next one.

    What it is given is remembered in the `recall` that it found when it began: who has been told to begin anew since then has
    forgotten it. `head` is the digest of all that is read of it but its body; `is_known`: one with it was given a plain hit.
    `tally` counts what is given again; `also` is told of what this request is given, and of its body, to remember it in its own
    way.
    """

    __slots__ = ("_body", "_digest", "_recall", "_recaller", "_version", "also", "head", "is_known", "tally")

    def __init__(self, recaller: Recaller, recall: Recall, head: bytes, is_known: bool) -> None:
        self._recaller, self._recall, self.head, self.is_known = recaller, recall, head, is_known
        self.tally = recaller.tally
        self.also: Callable[[Recalled, bytes], None] | None = None
        self._body: bytes | Unread = Unread.LEFT_ALONE
        self._digest: bytes | None = None
        self._version: Hashable | None = None

    def find(self, body: bytes | Unread) -> tuple[Recalled, Moment] | None:
        """Return the plain hit that this request is to be given again, and what is said of it now. Looks once."""
        if not self.is_known or self._digest is not None or not isinstance(body, bytes) or len(body) > RECALLED_BODY:
            return None
        self._digest = self._recall.digest(self.head, body)
        found = self._recaller.find(self._digest)
        if found is not None and self.also is not None:
            self.also(found[0], body)
        return found

    def begin(self, body: bytes | Unread) -> None:
        """Begin to decide the request: note what the store says of itself before it is looked into."""
        self._body, self._version = body, self._recaller.version()

    def remember(self, serve: Serve) -> None:
        """Remember what the request is given, where that is a plain hit."""
        body = self._body
        if serve.basis is None or self._version is UNTRUSTED or not isinstance(body, bytes) or len(body) > RECALLED_BODY:
            return
        recalled = Recalled(serve, serve.basis, self._version)
        self._recall.keep(self.head, self._digest or self._recall.digest(self.head, body), recalled)
        if self.also is not None:
            self.also(recalled, body)
